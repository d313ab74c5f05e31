//! Rules that a sequence of media playlists has to keep, as Apple's mediastreamvalidator looks at them: for tests, here and
//! of the whole farm.

use std::collections::HashSet;

/// Looks at a media playlist again and again.
#[derive(Debug, Default)]
pub struct Checker {
    last: Option<Playlist>,
}

#[derive(Debug, Default)]
struct Playlist {
    target: i64,
    sequence: u64,
    discontinuity_sequence: u64,
    /// The last may have no duration: then only its parts are there.
    segments: Vec<Segment>,
    part_target: Option<i64>,
    part_hold_back: Option<i64>,
    hint: Option<String>,
    ended: bool,
}

/// Times in microseconds.
#[derive(Debug, Default, Clone, PartialEq)]
struct Segment {
    uri: String,
    duration: Option<i64>,
    /// Discontinuities up to it, since the stream began.
    discontinuities: u64,
    map: Option<String>,
    program_date_time: Option<i64>,
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq)]
struct Part {
    uri: String,
    duration: i64,
    independent: bool,
}

/// Decimals are rounded: two ways to the same time differ by less than this.
const TOLERANCE: i64 = 2_000;

impl Checker {
    /// The same playlist, fetched later than the one before.
    ///
    /// # Errors
    /// The first rule that it breaks, in words.
    pub fn push(&mut self, text: &str) -> Result<(), String> {
        let playlist = parse(text)?;
        alone(&playlist)?;
        if let Some(last) = &self.last {
            after(last, &playlist)?;
        }
        self.last = Some(playlist);
        Ok(())
    }

    /// The numbers of the finished segments in the playlist pushed last, with their URIs.
    #[must_use]
    pub fn segments(&self) -> Vec<(u64, String)> {
        self.last.iter().flat_map(Playlist::numbered).map(|(number, one)| (number, one.uri.clone())).collect()
    }

    /// The playlist pushed last says that no segment follows.
    #[must_use]
    pub fn ended(&self) -> bool {
        self.last.as_ref().is_some_and(|last| last.ended)
    }
}

impl Playlist {
    fn finished(&self) -> impl Iterator<Item = &Segment> {
        self.segments.iter().filter(|segment| segment.duration.is_some())
    }

    fn numbered(&self) -> impl Iterator<Item = (u64, &Segment)> {
        (self.sequence..).zip(self.finished())
    }

    fn length(&self) -> i64 {
        self.finished().filter_map(|segment| segment.duration).sum()
    }
}

fn rule(kept: bool, broken: impl FnOnce() -> String) -> Result<(), String> {
    if kept { Ok(()) } else { Err(broken()) }
}

/// Rules for one playlist.
fn alone(playlist: &Playlist) -> Result<(), String> {
    rule(playlist.target > 0, || "there is no TARGETDURATION".to_owned())?;
    let mut uris = HashSet::new();
    for (number, segment) in playlist.numbered() {
        let duration = segment.duration.unwrap_or_default();
        rule((duration + 500_000) / 1_000_000 <= playlist.target, || {
            format!("segment {number} of {duration} µs is longer than TARGETDURATION {}", playlist.target)
        })?;
        rule(uris.insert(&segment.uri), || format!("{} is there twice", segment.uri))?;
        if !segment.parts.is_empty() {
            let sum: i64 = segment.parts.iter().map(|part| part.duration).sum();
            rule((sum - duration).abs() <= TOLERANCE, || {
                format!("the parts of segment {number} have {sum} µs, itself {duration} µs")
            })?;
        }
    }
    for pair in playlist.segments.windows(2) {
        rule(pair[0].duration.is_some(), || format!("{} follows an unfinished segment", pair[1].uri))?;
        if let (Some(first), Some(second)) = (pair[0].program_date_time, pair[1].program_date_time)
            && pair[0].discontinuities == pair[1].discontinuities
        {
            let expected = first + pair[0].duration.unwrap_or_default();
            rule((second - expected).abs() <= TOLERANCE, || {
                format!("{} begins {} µs off the end of the segment before", pair[1].uri, second - expected)
            })?;
        }
    }
    parts(playlist)
}

fn parts(playlist: &Playlist) -> Result<(), String> {
    let Some(target) = playlist.part_target else {
        return rule(playlist.segments.iter().all(|segment| segment.parts.is_empty()), || {
            "there are parts without PART-INF".to_owned()
        });
    };
    rule(playlist.part_hold_back.is_some_and(|back| back >= 2 * target), || {
        "PART-HOLD-BACK is less than two parts".to_owned()
    })?;
    for segment in &playlist.segments {
        for (index, part) in segment.parts.iter().enumerate() {
            rule(part.duration <= target + TOLERANCE, || format!("{} is longer than PART-TARGET", part.uri))?;
            // The last of a segment may be shorter (RFC 8216bis, 4.4.4.9).
            let last = index + 1 == segment.parts.len();
            rule(last || part.duration * 100 >= target * 85, || {
                format!("{} has less than 85 % of PART-TARGET, and is not the last", part.uri)
            })?;
        }
    }
    rule(playlist.ended || playlist.hint.is_some(), || "there is no PRELOAD-HINT".to_owned())
}

/// Rules for what may change.
fn after(last: &Playlist, now: &Playlist) -> Result<(), String> {
    rule(now.target == last.target, || {
        format!("TARGETDURATION changed from {} to {}", last.target, now.target)
    })?;
    rule(now.part_target == last.part_target, || "PART-TARGET changed".to_owned())?;
    rule(now.sequence >= last.sequence, || {
        format!("MEDIA-SEQUENCE went back from {} to {}", last.sequence, now.sequence)
    })?;
    rule(now.discontinuity_sequence >= last.discontinuity_sequence, || {
        format!(
            "DISCONTINUITY-SEQUENCE went back from {} to {}",
            last.discontinuity_sequence, now.discontinuity_sequence
        )
    })?;
    if last.ended {
        return rule(now.ended && now.segments == last.segments, || {
            "the playlist changed after ENDLIST".to_owned()
        });
    }
    let end = |playlist: &Playlist| playlist.sequence + playlist.finished().count() as u64;
    rule(end(now) >= end(last), || {
        format!("segment {} was there and is not any more", end(last).saturating_sub(1))
    })?;
    // Nothing may be taken away that makes it shorter than three target durations (RFC 8216, 6.2.2).
    rule(now.sequence == last.sequence || now.length() >= now.target * 3_000_000, || {
        format!("segments were removed, and only {} µs are left", now.length())
    })?;
    for (number, was) in last.numbered() {
        let is = number.checked_sub(now.sequence).and_then(|index| now.segments.get(index as usize));
        let Some(is) = is else { continue };
        // Parts may go.
        let same = Segment { parts: was.parts.clone(), ..is.clone() } == *was;
        rule(same && (is.parts.is_empty() || is.parts == was.parts), || {
            format!("segment {number} changed from {was:?} to {is:?}")
        })?;
    }
    unfinished(last, now)
}

/// Parts of a segment that was not finished stay as they are; the hint says which comes next.
fn unfinished(last: &Playlist, now: &Playlist) -> Result<(), String> {
    let number = last.sequence + last.finished().count() as u64;
    let was = last.segments.last().filter(|segment| segment.duration.is_none());
    let known = was.map_or(&[][..], |segment| &segment.parts);
    let Some(is) = number.checked_sub(now.sequence).and_then(|index| now.segments.get(index as usize)) else {
        return rule(known.is_empty(), || format!("segment {number} had parts and has gone"));
    };
    if is.parts.is_empty() {
        return Ok(());
    }
    rule(is.parts.starts_with(known), || format!("the parts of segment {number} changed"))?;
    if let Some(was) = was {
        rule(is.discontinuities == was.discontinuities && is.map == was.map, || {
            format!("segment {number} changed while it was written")
        })?;
    }
    match (&last.hint, is.parts.get(known.len())) {
        // The hinted part may turn out to belong to the next segment.
        (Some(hint), Some(next)) => {
            rule(*hint == next.uri, || format!("{hint} was hinted, and {} came", next.uri))
        }
        _ => Ok(()),
    }
}

fn parse(text: &str) -> Result<Playlist, String> {
    let mut lines = text.lines();
    rule(lines.next() == Some("#EXTM3U"), || "it does not begin with #EXTM3U".to_owned())?;
    let mut playlist = Playlist::default();
    let mut segment = Segment::default();
    let (mut discontinuities, mut map) = (0, None);
    let mut once = HashSet::new();
    for line in lines {
        let (tag, value) = line.split_once(':').unwrap_or((line, ""));
        rule(
            !matches!(
                tag,
                "#EXT-X-VERSION"
                    | "#EXT-X-TARGETDURATION"
                    | "#EXT-X-MEDIA-SEQUENCE"
                    | "#EXT-X-DISCONTINUITY-SEQUENCE"
                    | "#EXT-X-SERVER-CONTROL"
                    | "#EXT-X-PART-INF"
                    | "#EXT-X-ENDLIST"
            ) || once.insert(tag),
            || format!("{tag} is there twice"),
        )?;
        match tag {
            "#EXT-X-TARGETDURATION" => playlist.target = number(line, value)?,
            "#EXT-X-MEDIA-SEQUENCE" => playlist.sequence = number(line, value)?,
            "#EXT-X-DISCONTINUITY-SEQUENCE" => {
                playlist.discontinuity_sequence = number(line, value)?;
                discontinuities = playlist.discontinuity_sequence;
            }
            "#EXT-X-SERVER-CONTROL" => {
                playlist.part_hold_back = attribute(value, "PART-HOLD-BACK").map(micros).transpose()?;
            }
            "#EXT-X-PART-INF" => {
                playlist.part_target = attribute(value, "PART-TARGET").map(micros).transpose()?;
            }
            "#EXT-X-DISCONTINUITY" => discontinuities += 1,
            "#EXT-X-MAP" => map = Some(attribute(value, "URI").ok_or_else(|| format!("no URI: {line}"))?),
            "#EXT-X-PROGRAM-DATE-TIME" => {
                let time: jiff::Timestamp = value.parse().map_err(|error| format!("{line}: {error}"))?;
                segment.program_date_time = Some(time.as_microsecond());
            }
            "#EXT-X-PART" => segment.parts.push(Part {
                uri: attribute(value, "URI").ok_or_else(|| format!("no URI: {line}"))?.to_owned(),
                duration: micros(
                    attribute(value, "DURATION").ok_or_else(|| format!("no DURATION: {line}"))?,
                )?,
                independent: attribute(value, "INDEPENDENT") == Some("YES"),
            }),
            "#EXT-X-PRELOAD-HINT" => playlist.hint = attribute(value, "URI").map(str::to_owned),
            "#EXTINF" => segment.duration = Some(micros(value.split(',').next().unwrap_or_default())?),
            "#EXT-X-ENDLIST" => playlist.ended = true,
            _ if line.starts_with('#') || line.is_empty() => {}
            _ => {
                rule(segment.duration.is_some(), || format!("there is no EXTINF before {line}"))?;
                line.clone_into(&mut segment.uri);
                segment.discontinuities = discontinuities;
                segment.map = map.map(str::to_owned);
                playlist.segments.push(std::mem::take(&mut segment));
            }
        }
    }
    rule(segment.duration.is_none(), || "an EXTINF has no URI".to_owned())?;
    if !segment.parts.is_empty() {
        segment.discontinuities = discontinuities;
        segment.map = map.map(str::to_owned);
        playlist.segments.push(segment);
    }
    Ok(playlist)
}

fn number<T: std::str::FromStr>(line: &str, value: &str) -> Result<T, String> {
    value.parse().map_err(|_| format!("that is no number: {line}"))
}

/// Microseconds of decimal seconds.
fn micros(value: &str) -> Result<i64, String> {
    let seconds: f64 = number(value, value)?;
    Ok((seconds * 1e6).round() as i64)
}

/// The value of an attribute, without its quotes.
fn attribute<'a>(list: &'a str, name: &str) -> Option<&'a str> {
    let mut rest = list;
    while let Some((key, after)) = rest.split_once('=') {
        let (value, next) = match after.strip_prefix('"') {
            Some(quoted) => {
                let (value, next) = quoted.split_once('"')?;
                (value, next.strip_prefix(',').unwrap_or(next))
            }
            None => after.split_once(',').unwrap_or((after, "")),
        };
        if key == name {
            return Some(value);
        }
        rest = next;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "#EXTM3U\n#EXT-X-TARGETDURATION:2\n";

    fn playlist(sequence: u64, discontinuity_sequence: u64, segments: &[&str]) -> String {
        format!(
            "{HEAD}#EXT-X-MEDIA-SEQUENCE:{sequence}\n#EXT-X-DISCONTINUITY-SEQUENCE:{discontinuity_sequence}\n{}",
            segments.concat()
        )
    }

    /// What the last of these playlists breaks; those before break nothing.
    fn broken(playlists: &[String]) -> String {
        let mut checker = Checker::default();
        let (last, before) = playlists.split_last().unwrap();
        before.iter().for_each(|playlist| checker.push(playlist).unwrap());
        checker.push(last).unwrap_err()
    }

    const A: &str = "#EXTINF:2.0,\na\n";
    const B: &str = "#EXTINF:2.0,\nb\n";
    const C: &str = "#EXT-X-DISCONTINUITY\n#EXTINF:2.0,\nc\n";
    const D: &str = "#EXTINF:2.4,\nd\n";
    const E: &str = "#EXTINF:2.0,\ne\n";

    #[test]
    fn a_window_that_moves_breaks_no_rule() {
        let mut checker = Checker::default();
        for playlist in [
            playlist(0, 0, &[A]),
            playlist(0, 0, &[A, B, C]),
            playlist(1, 0, &[B, C, D]),
            playlist(2, 0, &[C, D, E]),
            playlist(3, 1, &[D, E, "#EXTINF:2.0,\nf\n"]),
        ] {
            checker.push(&playlist).unwrap();
        }
        assert_eq!(checker.segments()[0], (3, "d".to_owned()));
        assert!(!checker.ended());
    }

    #[test]
    fn every_rule_is_looked_at() {
        let all = || playlist(0, 0, &[A, B, C, D, E]);
        for (playlists, words) in [
            (vec!["#EXTINF:2,\na\n".to_owned()], "#EXTM3U"),
            (vec![playlist(0, 0, &["#EXTINF:2.6,\na\n"])], "longer than TARGETDURATION"),
            (vec![playlist(0, 0, &[A, A])], "there twice"),
            (vec![playlist(1, 0, &[B, C, D, E]), all()], "MEDIA-SEQUENCE went back"),
            (vec![playlist(1, 1, &[B]), playlist(1, 0, &[B])], "DISCONTINUITY-SEQUENCE went back"),
            (vec![all(), playlist(3, 0, &[D, E, A])], "segment 3 changed"),
            (vec![all(), playlist(3, 1, &[D, E])], "segments were removed"),
            (vec![all(), playlist(0, 0, &[A, B, C, D])], "was there and is not any more"),
            (vec![all(), all().replace("2.4", "2.3")], "segment 3 changed"),
            (vec![all(), all().replace("DURATION:2", "DURATION:3")], "TARGETDURATION changed"),
            (
                vec![format!("{}#EXT-X-ENDLIST\n", playlist(0, 0, &[A])), playlist(0, 0, &[A, B])],
                "after ENDLIST",
            ),
            (vec![playlist(0, 0, &["#EXT-X-PART:DURATION=1,URI=\"p\"\n"])], "without PART-INF"),
        ] {
            let problem = broken(&playlists);
            assert!(problem.contains(words), "{problem} is not {words}");
        }
    }
}
