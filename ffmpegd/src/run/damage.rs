//! What was wrong with an input: counted from ffmpeg's own words while it runs, and told when it has ended.
//!
//! ffmpeg goes on after what it cannot decode and exits with 0. (Above an error rate of two thirds it exits with an error;
//! that is left as it is: of such an input too little is right to be worth keeping.)

use common::{ffmpeg::Survey, media::MediaInfo, worker::Damage};

use super::classify::bare;

/// Encoders, muxers, filters and devices: what they complain of is not the input. A decoder and an encoder may have the
/// same name (`aac`, `flac`); an encoder's error ends ffmpeg, so nothing is counted in vain.
const NOT_THE_INPUT: [&str; 26] = [
    "vost#",
    "aost#",
    "sost#",
    "out#",
    "enc:",
    "vf#",
    "af#",
    "fc#",
    "Parsed_",
    "auto_",
    "graph",
    "AVFilterGraph",
    "AVHW",
    "CUDA",
    "swscaler",
    "SWR",
    "lib",
    "prores_",
    "http",
    "tcp",
    "file",
    "hls",
    "mp4",
    "ipod",
    "image2",
    "framecrc",
];

/// Decoders whose names begin like those of encoders.
const DECODERS: [&str; 3] = ["libdav1d", "libaom", "libjxl"];

/// Warnings that tell of damage; ffmpeg repeats some of them in other words, which are left out.
const WARNINGS: [&str; 3] = ["Packet corrupt (stream", "corrupt decoded frame", "Truncating packet"];

/// Words that only an input which ends before its headers say can cause.
const CUT: [&str; 3] = ["partial file", "File ended prematurely", "filesize and duration do not match"];

/// The input's headers hold no duration: what ffprobe says of it is a guess.
const GUESSED: &str = "Estimating duration from bitrate";

/// An input without such words may still end early where a demuxer stops without a word. Seconds that may be missing:
/// headers are rounded, and the last subtitle or frame may be counted or not.
const MISSING: f64 = 1.0;

/// Sees every line of a process, so that what is no longer kept is still counted.
#[derive(Debug, Default)]
pub(super) struct Tally {
    errors: u64,
    first: Option<String>,
    /// The first line of a warning, if no error comes.
    first_warning: Option<String>,
    cut: bool,
    guessed: bool,
    /// The last line counted, for `Last message repeated 12 times`.
    counted: bool,
}

/// What a [`Tally`] came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Complaints {
    /// Of demuxer and decoders.
    pub(super) errors: u64,
    pub(super) first: Option<String>,
    /// The input ends before its headers say.
    pub(super) cut: bool,
    /// The input's duration is a guess.
    pub(super) guessed: bool,
}

impl Tally {
    pub(super) fn line(&mut self, line: &str) {
        if let Some(times) = repeated(line) {
            if self.counted {
                self.errors += times;
            }
            return;
        }
        let said = Said::of(line);
        self.guessed |= said.text.contains(GUESSED);
        self.counted = false;
        if matches!(said.level, Level::Note) || !said.is_about_the_input() {
            return;
        }
        self.cut |= CUT.iter().any(|word| said.text.contains(word));
        let warning = matches!(said.level, Level::Warning);
        if warning && !WARNINGS.iter().any(|word| said.text.contains(word)) {
            return;
        }
        self.counted = true;
        self.errors += 1;
        let first = if warning { &mut self.first_warning } else { &mut self.first };
        first.get_or_insert_with(|| bare(line));
    }

    pub(super) fn complaints(&self) -> Complaints {
        Complaints {
            errors: self.errors,
            first: self.first.clone().or_else(|| self.first_warning.clone()),
            cut: self.cut,
            guessed: self.guessed,
        }
    }
}

fn repeated(line: &str) -> Option<u64> {
    line.trim().strip_prefix("Last message repeated ")?.strip_suffix(" times")?.parse().ok()
}

#[derive(Debug, Clone, Copy)]
enum Level {
    Error,
    Warning,
    Note,
}

/// A line taken apart: `[vist#0:0/h264 @ 0x1] [dec:h264 @ 0x2] [error] Decoding error: ...`
struct Said<'a> {
    contexts: Vec<&'a str>,
    level: Level,
    text: &'a str,
}

impl<'a> Said<'a> {
    fn of(line: &'a str) -> Self {
        let (mut contexts, mut level, mut text) = (Vec::new(), Level::Note, line.trim());
        while let Some((word, rest)) = text.strip_prefix('[').and_then(|rest| rest.split_once("] ")) {
            match word {
                "error" | "fatal" | "panic" => level = Level::Error,
                "warning" => level = Level::Warning,
                "info" | "verbose" | "debug" => {}
                word => match word.split_once(" @ 0x") {
                    Some((name, _)) => contexts.push(name),
                    None => break,
                },
            }
            text = rest.trim_start();
        }
        Self { contexts, level, text }
    }

    /// Whether a demuxer or decoder says this.
    fn is_about_the_input(&self) -> bool {
        let foreign = |name: &&str| {
            NOT_THE_INPUT.iter().any(|other| name.starts_with(other))
                && !DECODERS.iter().any(|decoder| name.starts_with(decoder))
                // The demuxer is `mov,mp4,m4a,3gp,3g2,mj2`, the muxer `mov`.
                || matches!(*name, "mov" | "matroska" | "webm")
        };
        if !self.contexts.is_empty() {
            return !self.contexts.iter().any(foreign);
        }
        // ffmpeg 5.1 says this itself, without a name in front; a demuxer's error follows the input's name.
        self.text.starts_with("Error while decoding stream")
            || self.text.contains("corrupt decoded frame")
            || [": Input/output error", ": Invalid data found when processing input"]
                .iter()
                .any(|end| self.text.ends_with(end) && !self.text.starts_with("Error "))
    }
}

/// What is wrong with an input, if anything is. `survey`: of the input, when there was a reason to look.
pub(super) fn damage(complaints: &Complaints, input: &MediaInfo, survey: Option<&Survey>) -> Option<Damage> {
    let claimed = input.duration.filter(|_| !complaints.guessed);
    let there = survey.filter(|survey| !survey.jumps()).and_then(|survey| {
        let start = input.start_time.or_else(|| survey.start()).unwrap_or(0.0);
        Some((survey.end()? - start).max(0.0))
    });
    let early = match (claimed, there) {
        (Some(claimed), Some(there)) => complaints.cut || claimed - there > MISSING,
        _ => complaints.cut,
    };
    (early || complaints.errors > 0).then_some(Damage {
        errors: complaints.errors,
        ends_at_seconds: there.filter(|_| early),
        claimed_seconds: claimed.filter(|_| early),
    })
}

/// The same in words, one line for each thing.
pub(super) fn words(damage: &Damage, complaints: &Complaints) -> Vec<String> {
    let mut words = Vec::new();
    match (damage.ends_at_seconds, damage.claimed_seconds) {
        (Some(there), Some(claimed)) if claimed - there < 0.1 => {
            words.push("the input ends early: its last packets are missing".to_owned());
        }
        (Some(there), Some(claimed)) => words.push(format!(
            "the input ends early: {there:.1} s of the {claimed:.1} s that it claims are there"
        )),
        (Some(there), None) => words.push(format!("the input ends early, after {there:.1} s")),
        (None, _) if complaints.cut => words.push("the input ends early".to_owned()),
        (None, _) => {}
    }
    let first = complaints.first.as_deref().unwrap_or("no words for it");
    match damage.errors {
        0 => {}
        1 => words.push(format!("1 error while decoding the input: {first}")),
        errors => words.push(format!("{errors} errors while decoding the input; first: {first}")),
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaints(text: &str) -> Complaints {
        let mut tally = Tally::default();
        text.lines().for_each(|line| tally.line(line));
        tally.complaints()
    }

    /// Recorded: an mp4 with its index in front, cut at 60 %.
    const CUT_5_1: &str = "\
[NULL @ 0x1] [error] Invalid NAL unit size (7686 > 1583).
[NULL @ 0x1] [error] missing picture in access unit with size 1587
[mov,mp4,m4a,3gp,3g2,mj2 @ 0x5595be7f1a00] [error] stream 1, offset 0xa24d4: partial file
[mov,mp4,m4a,3gp,3g2,mj2 @ 0x5595be7f1a00] [warning] Packet corrupt (stream = 0, dts = 79872).
[warning] cut.mp4: corrupt input packet in stream 0
[mov,mp4,m4a,3gp,3g2,mj2 @ 0x5595be7f1a00] [error] stream 1, offset 0xa24dd: partial file
[h264 @ 0x3] [error] Invalid NAL unit size (7686 > 1583).
[h264 @ 0x3] [error] Error splitting the input into NAL units.
[error] Error while decoding stream #0:0: Invalid data found when processing input
[libx264 @ 0x2] [info] frame I:1     Avg QP:10.00  size:  1000";

    const CUT_9_0: &str = "\
[in#0/mov,mp4,m4a,3gp,3g2,mj2 @ 0x1] [warning] Packet corrupt (stream = 0, dts = 79872).
[in#0/mov,mp4,m4a,3gp,3g2,mj2 @ 0x1] [warning] corrupt input packet in stream 0
[in#0/mov,mp4,m4a,3gp,3g2,mj2 @ 0x1] [error] stream 1, offset 0xa24d4: partial file
[h264 @ 0x2] [error] Invalid NAL unit size (7686 > 1583).
[h264 @ 0x2] [error] Error splitting the input into NAL units.
[vist#0:0/h264 @ 0x3] [dec:h264 @ 0x4] [error] Decoding error: Invalid data found when processing input";

    #[test]
    fn what_demuxer_and_decoders_say_is_counted() {
        let old = complaints(CUT_5_1);
        assert_eq!((old.errors, old.cut), (8, true));
        assert_eq!(old.first.as_deref(), Some("Invalid NAL unit size (7686 > 1583)."));
        let new = complaints(CUT_9_0);
        assert_eq!((new.errors, new.cut), (5, true));
        assert!(complaints("[in#0/matroska,webm @ 0x1] [error] File ended prematurely").cut);
        assert!(complaints("[mp3 @ 0x1] [warning] filesize and duration do not match (growing file?)").cut);
        assert_eq!(complaints("[error] cut.aac: Input/output error").errors, 1);
        assert_eq!(complaints("[libdav1d @ 0x1] [error] Error parsing OBU data").errors, 1);
    }

    #[test]
    fn repeated_lines_are_counted_too() {
        let text = "[h264 @ 0x1] [error] out of range intra chroma pred mode\n    Last message repeated 41 times\n\
                    [mp4 @ 0x1] [warning] Timestamps are unset in a packet\n    Last message repeated 9 times";
        assert_eq!(complaints(text).errors, 42);
    }

    #[test]
    fn notes_and_what_others_say_are_not() {
        let text = "\
[warning] Guessed Channel Layout for Input Stream #0.0 : stereo
[swscaler @ 0x55d2] [warning] deprecated pixel format used, make sure you did set range correctly
[mp3 @ 0x1] [warning] Estimating duration from bitrate, this may be inaccurate
[mp4 @ 0x1] [error] Application provided invalid, non monotonically increasing dts to muxer in stream 0
[mov @ 0x1] [warning] Packet corrupt (stream = 0, dts = 1)
[libx264 @ 0x1] [error] something of the encoder
[vost#0:0/libx264 @ 0x1] [enc:libx264 @ 0x2] [error] Error while encoding
[aost#0:1/aac @ 0x1] [warning] Queue input is backward in time
[out#0/mp4 @ 0x1] [error] Error muxing a packet
[Parsed_scale_0 @ 0x1] [error] Option not found
[http @ 0x1] [error] Stream ends prematurely at 48, should be 226362
[h264 @ 0x1] [info] concealing 120 DC, 120 AC, 120 MV errors in P frame
[info]     title           : [error] partial file";
        let found = complaints(text);
        assert_eq!((found.errors, found.cut, found.guessed), (0, false, true));
    }

    fn survey(end: f64) -> Survey {
        let mut survey = Survey::default();
        survey.line("0,0.0,0.0,0.04,K_");
        survey.line(&format!("0,{0},{0},0.04,__", end - 0.04));
        survey
    }

    #[test]
    fn an_input_that_ends_early_is_told_in_seconds() {
        let input = MediaInfo { duration: Some(10.0), start_time: Some(0.0), ..MediaInfo::default() };
        let cut =
            Complaints { errors: 214, first: Some("partial file".to_owned()), cut: true, guessed: false };
        let found = damage(&cut, &input, Some(&survey(6.0))).unwrap();
        assert_eq!(found, Damage { errors: 214, ends_at_seconds: Some(6.0), claimed_seconds: Some(10.0) });
        assert_eq!(
            words(&found, &cut),
            [
                "the input ends early: 6.0 s of the 10.0 s that it claims are there",
                "214 errors while decoding the input; first: partial file"
            ]
        );
        let silent = Complaints::default();
        assert!(damage(&silent, &input, Some(&survey(6.0))).unwrap().ends_at_seconds.is_some());
        assert_eq!(damage(&silent, &input, Some(&survey(9.5))), None);
        assert_eq!(damage(&silent, &input, None), None);
        let guess = Complaints { guessed: true, ..silent };
        assert_eq!(damage(&guess, &input, Some(&survey(6.0))), None, "nobody claimed 10 s");
        // Nobody could look: it is told all the same.
        let blind = damage(&cut, &input, None).unwrap();
        assert_eq!(words(&blind, &cut)[0], "the input ends early");
    }

    #[test]
    fn errors_alone_are_no_early_end() {
        let input = MediaInfo { duration: Some(10.0), ..MediaInfo::default() };
        let one = Complaints { errors: 1, first: Some("Header missing".to_owned()), ..Complaints::default() };
        let found = damage(&one, &input, None).unwrap();
        assert_eq!(found, Damage { errors: 1, ends_at_seconds: None, claimed_seconds: None });
        assert_eq!(words(&found, &one), ["1 error while decoding the input: Header missing"]);
    }
}
