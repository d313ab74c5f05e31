//! Media playlists.

use std::fmt::Write as _;

use crate::Ticks;

/// A playlist of one rendition.
#[derive(Debug, Clone, PartialEq)]
pub struct Media {
    /// Seconds; must never change. No segment rounds to more.
    pub target_duration: u32,
    /// Of the first segment.
    pub media_sequence: u64,
    /// Discontinuities before the first segment.
    pub discontinuity_sequence: u64,
    /// Oldest first. Only the last may be unfinished, and only with [`LowLatency`].
    pub segments: Vec<Segment>,
    pub low_latency: Option<LowLatency>,
    /// No segment follows.
    pub ended: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Segment {
    pub uri: String,
    /// `None`: it is being written, and only its parts are there.
    pub duration: Option<Ticks>,
    /// Milliseconds since the Unix epoch.
    pub program_date_time: i64,
    pub discontinuity: bool,
    /// It begins with a key frame, and nothing in it needs what was before.
    pub independent: bool,
    /// Its init segment; `None` for MPEG-TS.
    pub map: Option<String>,
    pub parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    pub uri: String,
    pub duration: Ticks,
    /// A decoder can start with it.
    pub independent: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub struct LowLatency {
    /// No part is longer.
    pub part_target: Ticks,
    /// The part that comes next.
    pub hint: Option<String>,
}

impl Media {
    /// The playlist's text.
    #[must_use]
    pub fn text(&self) -> String {
        let mut out = String::with_capacity(256 + self.segments.len() * 256);
        out.push_str("#EXTM3U\n");
        _ = writeln!(out, "#EXT-X-VERSION:{}", self.version());
        _ = writeln!(out, "#EXT-X-TARGETDURATION:{}", self.target_duration);
        if let Some(low) = &self.low_latency {
            // Three target durations from the end of a playlist that can be waited for; three parts in low latency
            // (RFC 8216bis, 4.4.3.8).
            _ = writeln!(
                out,
                "#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK={},HOLD-BACK={}",
                Seconds(Ticks(low.part_target.0 * 3)),
                self.target_duration * 3
            );
            _ = writeln!(out, "#EXT-X-PART-INF:PART-TARGET={}", Seconds(low.part_target));
        }
        _ = writeln!(out, "#EXT-X-MEDIA-SEQUENCE:{}", self.media_sequence);
        _ = writeln!(out, "#EXT-X-DISCONTINUITY-SEQUENCE:{}", self.discontinuity_sequence);
        // It speaks of every segment in the playlist (RFC 8216bis, 4.4.2.1).
        if self.segments.iter().filter(|segment| self.lists(segment)).all(|segment| segment.independent) {
            out.push_str("#EXT-X-INDEPENDENT-SEGMENTS\n");
        }
        let with_parts = self.first_with_parts();
        let mut map = None;
        for (index, segment) in self.segments.iter().enumerate() {
            self.segment(&mut out, segment, index >= with_parts, &mut map);
        }
        if self.ended {
            out.push_str("#EXT-X-ENDLIST\n");
        } else if let Some(hint) = self.low_latency.as_ref().and_then(|low| low.hint.as_ref()) {
            _ = writeln!(out, "#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"{}\"", Quoted(hint));
        }
        out
    }

    /// What the features used demand (RFC 8216bis, section 8).
    fn version(&self) -> u8 {
        match (&self.low_latency, self.segments.iter().any(|segment| segment.map.is_some())) {
            (Some(_), _) => 9,
            (None, true) => 7,
            (None, false) => 3,
        }
    }

    /// Parts are of use near the end only: those more than three target durations away are to be left out
    /// (RFC 8216bis, 4.4.4.9).
    fn first_with_parts(&self) -> usize {
        if self.low_latency.is_none() {
            return self.segments.len();
        }
        let wanted = Ticks(i64::from(self.target_duration) * 3 * Ticks::PER_SECOND);
        let mut behind = Ticks::ZERO;
        let last_without = self.segments.iter().rposition(|segment| {
            let enough = behind >= wanted;
            behind += segment
                .duration
                .unwrap_or_else(|| segment.parts.iter().fold(Ticks::ZERO, |sum, part| sum + part.duration));
            enough
        });
        last_without.map_or(0, |index| index + 1)
    }

    /// Of what is being written only parts can be listed.
    fn lists(&self, segment: &Segment) -> bool {
        segment.duration.is_some() || (self.low_latency.is_some() && !segment.parts.is_empty())
    }

    fn segment<'a>(&self, out: &mut String, segment: &'a Segment, parts: bool, map: &mut Option<&'a str>) {
        if !self.lists(segment) {
            return;
        }
        if segment.discontinuity {
            out.push_str("#EXT-X-DISCONTINUITY\n");
        }
        if let Some(uri) = segment.map.as_deref()
            && *map != Some(uri)
        {
            _ = writeln!(out, "#EXT-X-MAP:URI=\"{}\"", Quoted(uri));
            *map = Some(uri);
        }
        if let Ok(time) = jiff::Timestamp::from_millisecond(segment.program_date_time) {
            _ = writeln!(out, "#EXT-X-PROGRAM-DATE-TIME:{time:.3}");
        }
        for part in segment.parts.iter().filter(|_| parts) {
            _ = write!(out, "#EXT-X-PART:DURATION={},URI=\"{}\"", Seconds(part.duration), Quoted(&part.uri));
            out.push_str(if part.independent { ",INDEPENDENT=YES\n" } else { "\n" });
        }
        if let Some(duration) = segment.duration {
            _ = writeln!(out, "#EXTINF:{},", Seconds(duration));
            _ = writeln!(out, "{}", Line(&segment.uri));
        }
    }
}

/// Decimal seconds, to the microsecond: one tick is eleven.
struct Seconds(Ticks);

impl std::fmt::Display for Seconds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let micros = (i128::from(self.0.0.max(0)) * 100 + 4) / 9;
        write!(f, "{}.{:06}", micros / 1_000_000, micros % 1_000_000)
    }
}

/// What a quoted string cannot hold is left out (RFC 8216bis, 4.2).
pub(super) struct Quoted<'a>(pub(super) &'a str);

impl std::fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.split(['"', '\r', '\n']).try_for_each(|piece| f.write_str(piece))
    }
}

/// A URI on a line of its own.
pub(super) struct Line<'a>(pub(super) &'a str);

impl std::fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.split(['\r', '\n']).try_for_each(|piece| f.write_str(piece))
    }
}

#[cfg(test)]
mod tests {
    use m3u8_rs::parse_media_playlist_res;
    use proptest::prelude::*;

    use super::*;

    fn segments() -> impl Strategy<Value = Vec<Segment>> {
        let one = (
            1..180_000_i64,
            0..4_102_444_800_000_i64,
            any::<bool>(),
            prop::bool::weighted(0.9),
            prop::option::of(0..3_u8),
        );
        prop::collection::vec(one, 1..12).prop_map(|all| {
            (0..)
                .zip(all)
                .map(|(number, (duration, program_date_time, discontinuity, independent, map))| Segment {
                    duration: Some(Ticks(duration)),
                    program_date_time,
                    discontinuity,
                    map: map.map(|map| format!("init-{map}.mp4")),
                    ..segment(&format!("seg-{number}.m4s?token=a"), independent)
                })
                .collect()
        })
    }

    fn segment(uri: &str, independent: bool) -> Segment {
        Segment {
            uri: uri.to_owned(),
            duration: Some(Ticks(180_000)),
            program_date_time: 0,
            discontinuity: false,
            independent,
            map: None,
            parts: Vec::new(),
        }
    }

    fn media(segments: Vec<Segment>) -> Media {
        Media {
            target_duration: 2,
            media_sequence: 0,
            discontinuity_sequence: 0,
            segments,
            low_latency: None,
            ended: false,
        }
    }

    #[test]
    fn segments_are_said_to_be_independent_where_every_one_in_the_list_is() {
        let says = |media: &Media| media.text().contains("#EXT-X-INDEPENDENT-SEGMENTS");
        let (key, forced) = (segment("key", true), segment("forced", false));
        assert!(says(&media(vec![key.clone(), key.clone()])));
        assert!(!says(&media(vec![key.clone(), forced.clone()])));
        assert!(!says(&media(vec![forced.clone(), key.clone()])));
        // The one that is being written counts as soon as a part of it is there.
        let part = Part { uri: "part".to_owned(), duration: Ticks(45_000), independent: false };
        let open = |parts| Segment { duration: None, parts, ..forced.clone() };
        let low_latency = Some(LowLatency { part_target: Ticks(45_000), hint: None });
        let with_open =
            |parts| Media { low_latency: low_latency.clone(), ..media(vec![key.clone(), open(parts)]) };
        assert!(says(&with_open(Vec::new())));
        assert!(!says(&with_open(vec![part])));
    }

    proptest! {
        #[test]
        fn another_parser_reads_what_was_written(
            segments in segments(),
            media_sequence in 0..u64::MAX / 2,
            discontinuity_sequence in 0..u64::MAX / 2,
            ended in any::<bool>(),
        ) {
            let media = Media { media_sequence, discontinuity_sequence, ended, ..media(segments) };
            let text = media.text();
            let read = parse_media_playlist_res(text.as_bytes()).unwrap();
            prop_assert_eq!(read.target_duration, 2);
            prop_assert_eq!((read.media_sequence, read.discontinuity_sequence), (media_sequence, discontinuity_sequence));
            let independent = media.segments.iter().all(|segment| segment.independent);
            prop_assert_eq!((read.end_list, read.independent_segments), (ended, independent));
            prop_assert_eq!(read.segments.len(), media.segments.len());
            let mut map = None;
            for (read, written) in read.segments.iter().zip(&media.segments) {
                prop_assert_eq!(&read.uri, &written.uri);
                let seconds = written.duration.unwrap().seconds();
                prop_assert!((f64::from(read.duration) - seconds).abs() < 1e-5, "{} {seconds}", read.duration);
                prop_assert_eq!(read.discontinuity, written.discontinuity);
                prop_assert_eq!(read.program_date_time.unwrap().timestamp_millis(), written.program_date_time);
                // Only what is new is said.
                let new = written.map.as_ref().filter(|uri| map != Some(*uri));
                prop_assert_eq!(read.map.as_ref().map(|map| &map.uri), new);
                map = written.map.as_ref().or(map);
            }
        }
    }

    #[test]
    fn nothing_breaks_out_of_its_line() {
        let text = media(vec![Segment {
            program_date_time: i64::MAX,
            map: Some("i\"\n,BYTERANGE=\"1".to_owned()),
            ..segment("a\n#EXT-X-ENDLIST\r", true)
        }])
        .text();
        assert!(
            text.ends_with("#EXT-X-MAP:URI=\"i,BYTERANGE=1\"\n#EXTINF:2.000000,\na#EXT-X-ENDLIST\n"),
            "{text}"
        );
    }
}
