//! ffprobe's answer for people.

use serde_json::Value;

use super::super::table;
use crate::text;

/// A line about the file, a table of its streams, and its tags.
pub(super) fn of(name: &str, answer: &Value) -> String {
    let format = &answer["format"];
    let mut about = vec![word(&format["format_long_name"]).or_else(|| word(&format["format_name"]))];
    about.push(figure(&format["duration"]).map(text::clock));
    about.push(count(&format["size"]).map(text::bytes));
    about.push(count(&format["bit_rate"]).map(text::bitrate));
    let about = listed(about);
    let about = if about.is_empty() { "no format" } else { &about };
    let mut lines = vec![format!("{}: {about}", text::printable(name))];
    let streams = list(&answer["streams"]);
    if !streams.is_empty() {
        let mut table = table(&["#", "TYPE", "CODEC", "FORMAT", "BITRATE", "LANGUAGE", "FLAGS"]);
        for stream in streams {
            table.add_row(row(stream));
        }
        lines.push(table.trim_fmt());
    }
    let chapters = list(&answer["chapters"]);
    if !chapters.is_empty() {
        lines.push(format!("chapters: {}", chapters.len()));
    }
    for (tag, value) in tags(format) {
        lines.push(format!("{tag}: {value}"));
    }
    lines.join("\n")
}

fn row(stream: &Value) -> Vec<String> {
    let dash = || "-".to_owned();
    let kind = word(&stream["codec_type"]).unwrap_or_else(dash);
    let codec = match (word(&stream["codec_name"]), word(&stream["profile"])) {
        (Some(codec), Some(profile)) => format!("{codec} ({profile})"),
        (codec, profile) => codec.or(profile).unwrap_or_else(dash),
    };
    let format = match kind.as_str() {
        "video" => picture(stream),
        "audio" => sound(stream),
        _ => String::new(),
    };
    let flag = |name: &str| (stream["disposition"][name] == 1).then(|| name.replace('_', " "));
    let flags = ["default", "forced", "attached_pic"].map(flag);
    vec![
        stream["index"].to_string(),
        kind,
        codec,
        if format.is_empty() { dash() } else { format },
        count(&stream["bit_rate"]).map_or_else(dash, text::bitrate),
        word(&stream["tags"]["language"]).unwrap_or_else(dash),
        listed(flags.into()),
    ]
}

/// `1280x720 yuv420p 25 fps`
fn picture(stream: &Value) -> String {
    let size = match (count(&stream["width"]), count(&stream["height"])) {
        (Some(width), Some(height)) => Some(format!("{width}x{height}")),
        _ => None,
    };
    let rate = word(&stream["avg_frame_rate"]).and_then(|rate| ratio(&rate)).map(|rate| {
        let shown = format!("{rate:.3}");
        format!("{} fps", shown.trim_end_matches('0').trim_end_matches('.'))
    });
    spaced([size, word(&stream["pix_fmt"]), rate])
}

/// `48 kHz stereo`
fn sound(stream: &Value) -> String {
    let rate = count(&stream["sample_rate"]).map(|rate| format!("{} kHz", rate as f64 / 1000.0));
    let layout = word(&stream["channel_layout"])
        .or_else(|| count(&stream["channels"]).map(|channels| format!("{channels} channels")));
    spaced([rate, layout])
}

/// What a fraction such as `30000/1001` comes to; nothing for `0/0`.
fn ratio(text: &str) -> Option<f64> {
    let (over, under) = text.split_once('/')?;
    let rate = over.parse::<f64>().ok()? / under.parse::<f64>().ok()?;
    (rate.is_finite() && rate > 0.0).then_some(rate)
}

/// Tags that say something about what is in the file.
fn tags(format: &Value) -> impl Iterator<Item = (&'static str, String)> {
    ["title", "artist", "album", "date", "creation_time", "encoder", "comment"]
        .into_iter()
        .filter_map(move |tag| Some((tag, word(&format["tags"][tag])?)))
}

fn listed(words: Vec<Option<String>>) -> String {
    words.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn spaced<const N: usize>(words: [Option<String>; N]) -> String {
    words.into_iter().flatten().collect::<Vec<_>>().join(" ")
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// Text from the file, on one line.
fn word(value: &Value) -> Option<String> {
    value
        .as_str()
        .filter(|text| !text.is_empty())
        .map(|text| text::printable(text).replace(['\n', '\t'], " "))
}

/// ffprobe writes some numbers as text.
fn figure(value: &Value) -> Option<f64> {
    value.as_f64().or_else(|| value.as_str()?.parse().ok())
}

fn count(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_film_is_told_in_a_few_lines() {
        let answer = json!({
            "format": {
                "format_long_name": "QuickTime / MOV", "duration": "62.04", "size": "1572864",
                "bit_rate": "4500000", "tags": {"title": "A\u{1b}[2J\nfilm", "unknown": "x"}
            },
            "streams": [
                {"index": 0, "codec_type": "video", "codec_name": "h264", "profile": "High", "width": 1280,
                 "height": 720, "pix_fmt": "yuv420p", "avg_frame_rate": "30000/1001", "bit_rate": "4300000",
                 "disposition": {"default": 1, "forced": 0}, "tags": {"language": "eng"}},
                {"index": 1, "codec_type": "audio", "codec_name": "aac", "sample_rate": "44100",
                 "channel_layout": "stereo"},
                {"index": 2, "codec_type": "data"}
            ],
            "chapters": [{}, {}]
        });
        let text = of("clip.mov", &answer);
        let lines: Vec<_> = text.lines().map(|line| line.split("  ").map(str::trim)).collect();
        let lines: Vec<Vec<_>> =
            lines.into_iter().map(|words| words.filter(|word| !word.is_empty()).collect()).collect();
        assert_eq!(lines[0], ["clip.mov: QuickTime / MOV, 1:02, 1.5 MiB, 4.5 Mb/s"]);
        assert_eq!(
            lines[2],
            ["0", "video", "h264 (High)", "1280x720 yuv420p 29.97 fps", "4.3 Mb/s", "eng", "default"]
        );
        assert_eq!(lines[3], ["1", "audio", "aac", "44.1 kHz stereo", "-", "-"]);
        assert_eq!(lines[4], ["2", "data", "-", "-", "-", "-"]);
        assert_eq!(lines[5..], [["chapters: 2"], ["title: A\u{fffd}[2J film"]]);
    }

    #[test]
    fn an_answer_without_anything_is_no_fault() {
        assert_eq!(of("x", &json!({})), "x: no format");
        assert_eq!((ratio("0/0"), ratio("x"), ratio("25/1")), (None, None, Some(25.0)));
    }
}
