//! A variant's media playlist, and when it is sent.

use std::{collections::BTreeMap, time::Duration};

use mux::{
    Codec, Ticks,
    codec::Parameters,
    fmp4,
    hls::{LowLatency, Media, Part, Segment},
};

use super::name::{File, Init};
use crate::live::output::{Format, Window};

/// Which segments HLS has: fragmented MP4 where MPEG-TS will not do, for codecs and for low latency; MPEG-TS, which every
/// player takes, otherwise.
pub(super) fn format(parameters: &[Parameters], low_latency: bool) -> Format {
    let codec = |parameters: &Parameters| match parameters {
        Parameters::Video(video) => video.codec,
        Parameters::Audio(audio) => audio.codec,
    };
    let carried = parameters.iter().map(codec).all(fmp4::carries);
    let wanted =
        low_latency || parameters.iter().map(codec).any(|codec| matches!(codec, Codec::Hevc | Codec::Av1));
    if carried && wanted { Format::Fmp4 } else { Format::MpegTs }
}

/// The playlist of what there is. `inits`: names of the init segments; `carried`: the query of every URI.
pub(super) fn media(window: &Window, format: Format, inits: &BTreeMap<u32, Init>, carried: &str) -> Media {
    let uri = |file: File| format!("{file}{carried}");
    let segments = window.segments.iter().map(|line| Segment {
        uri: uri(match format {
            Format::MpegTs => File::Packets(line.sequence),
            Format::Fmp4 => File::Fragments(line.sequence),
        }),
        duration: line.duration,
        program_date_time: line.program_date_time,
        discontinuity: line.discontinuity,
        independent: line.independent,
        map: match format {
            Format::MpegTs => None,
            Format::Fmp4 => inits.get(&line.init).map(|init| uri(File::Init(None, init.clone()))),
        },
        parts: (0..)
            .zip(&line.parts)
            .map(|(number, part)| Part {
                uri: uri(File::Part(line.sequence, number)),
                duration: part.duration,
                independent: part.independent,
            })
            .collect(),
    });
    let low_latency = window.part_target.filter(|_| format == Format::Fmp4).map(|part_target| LowLatency {
        part_target,
        hint: next_part(window).map(|(sequence, part)| uri(File::Part(sequence, part))),
    });
    Media {
        target_duration: window.target_duration,
        media_sequence: window.segments.first().map_or(0, |first| first.sequence),
        discontinuity_sequence: window.discontinuity_sequence,
        segments: segments.collect(),
        low_latency,
        ended: window.ended,
    }
}

/// Whether there is something in it to play. Parts alone are not enough: players take a playlist without a whole segment for
/// an empty one.
pub(super) fn is_playable(window: &Window) -> bool {
    window.segments.iter().any(|line| line.duration.is_some())
}

/// The part that comes next.
fn next_part(window: &Window) -> Option<(u64, u32)> {
    let last = window.segments.last()?;
    match last.duration {
        Some(_) => Some((last.sequence + 1, 0)),
        None => Some((last.sequence, u32::try_from(last.parts.len()).ok()?)),
    }
}

/// What becomes of a request for a playlist that has to have a segment or part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reload {
    Now,
    Wait,
    /// It asks for what is too far away: 400.
    TooFar,
}

/// Decides on `_HLS_msn` and `_HLS_part` (RFC 8216bis, 6.2.5.2).
pub(super) fn reload(window: &Window, sequence: u64, part: Option<u32>) -> Reload {
    let Some((next, next_part)) = next_part(window) else { return Reload::Wait };
    let newest = next.saturating_sub(u64::from(next_part == 0));
    if window.ended || sequence < next {
        return Reload::Now;
    }
    if sequence > newest + 2 {
        return Reload::TooFar;
    }
    let Some(part) = part else { return Reload::Wait };
    if sequence == next && part < next_part {
        return Reload::Now;
    }
    // Three parts, or three seconds of them (the "Advance Part Limit").
    let limit = match window.part_target {
        Some(target) if target.0 > 0 && target.0 < Ticks::PER_SECOND => {
            (3 * Ticks::PER_SECOND + target.0 - 1) / target.0
        }
        _ => 3,
    };
    let ahead = if sequence == next { part.saturating_sub(next_part) } else { part };
    if i64::from(ahead) >= limit + i64::from(window_parts(window)) { Reload::TooFar } else { Reload::Wait }
}

/// Parts of a whole segment: a part number beyond the end of its segment means the next one's first, which is no nonsense.
fn window_parts(window: &Window) -> u32 {
    let target = i64::from(window.target_duration) * Ticks::PER_SECOND;
    let part = window.part_target.map_or(target, |part| part.0.max(1));
    u32::try_from(target.div_euclid(part) + 1).unwrap_or(1)
}

/// How long a playlist is waited for: beyond it a server says so (RFC 8216bis, 6.2.5.2).
pub(super) fn patience(window: &Window) -> Duration {
    Duration::from_secs(3 * u64::from(window.target_duration.max(1)))
}

/// For how long caches may keep a playlist that was asked for by its number: it is the same for everybody who asks for that.
pub(super) const PLAYLIST_CACHE: &str = "no-cache";
/// The same name is the same segment for ever, but nobody needs it for long.
pub(super) const SEGMENT_CACHE: &str = "public, max-age=60";

#[cfg(test)]
mod tests {
    use mux::hls::Checker;
    use proptest::prelude::*;

    use super::*;
    use crate::live::output::{PartLine, SegmentLine};

    fn line(sequence: u64, finished: bool, parts: u32) -> SegmentLine {
        let start = Ticks(sequence as i64 * 180_000);
        SegmentLine {
            sequence,
            duration: finished.then_some(Ticks(180_000)),
            start,
            program_date_time: 1_795_000_000_000 + start.millis(),
            discontinuity: false,
            independent: true,
            run: (Ticks::ZERO, 1_795_000_000_000),
            init: 0,
            parts: (0..parts)
                .map(|part| PartLine { duration: Ticks(45_000), independent: part == 0 })
                .collect(),
        }
    }

    fn window(segments: Vec<SegmentLine>, part_target: Option<Ticks>) -> Window {
        Window { segments, discontinuity_sequence: 2, target_duration: 2, part_target, ended: false }
    }

    #[test]
    fn mpeg_ts_segments_are_in_the_playlist_when_they_are_finished() {
        let window = window(vec![line(7, true, 0), line(8, true, 0), line(9, false, 0)], None);
        assert!(is_playable(&window));
        let text = media(&window, Format::MpegTs, &BTreeMap::new(), "?token=t").text();
        assert!(text.contains("seg-8.ts?token=t\n") && !text.contains("seg-9"), "{text}");
        assert!(text.contains("#EXT-X-MEDIA-SEQUENCE:7\n#EXT-X-DISCONTINUITY-SEQUENCE:2\n"), "{text}");
        assert!(!text.contains("PART") && !text.contains("MAP"), "{text}");
    }

    #[test]
    fn low_latency_names_the_next_part() {
        let inits = BTreeMap::from([(0, Init::of(0, b"x"))]);
        let part = Some(Ticks(45_000));
        for (segments, hint) in [
            (vec![line(7, true, 4), line(8, false, 2)], "part-8.2.m4s"),
            (vec![line(7, true, 4), line(8, false, 0)], "part-8.0.m4s"),
            (vec![line(7, true, 4)], "part-8.0.m4s"),
        ] {
            let text = media(&window(segments, part), Format::Fmp4, &inits, "").text();
            assert!(text.contains(&format!("#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"{hint}\"")), "{text}");
            assert!(
                text.contains("#EXT-X-PART:DURATION=0.500000,URI=\"part-7.0.m4s\",INDEPENDENT=YES"),
                "{text}"
            );
            assert!(text.contains("#EXT-X-MAP:URI=\"init-0-"), "{text}");
        }
    }

    #[test]
    fn a_reload_waits_for_what_comes_soon_and_refuses_the_rest() {
        let part = Some(Ticks(45_000));
        let open = window(vec![line(7, true, 4), line(8, false, 2)], part);
        for (sequence, part, expected) in [
            (0, None, Reload::Now),
            (7, Some(9), Reload::Now),
            (8, None, Reload::Wait),
            (8, Some(1), Reload::Now),
            (8, Some(2), Reload::Wait),
            (8, Some(4), Reload::Wait),
            (9, Some(0), Reload::Wait),
            (10, None, Reload::Wait),
            (11, None, Reload::TooFar),
            (8, Some(1000), Reload::TooFar),
            (u64::MAX, Some(u32::MAX), Reload::TooFar),
        ] {
            assert_eq!(reload(&open, sequence, part), expected, "{sequence} {part:?}");
        }
        let ended = Window { ended: true, ..open };
        assert_eq!(reload(&ended, 8, Some(2)), Reload::Now);
        assert_eq!(reload(&window(Vec::new(), part), 8, None), Reload::Wait);
    }

    proptest! {
        /// Part after part, with any number of segments kept, fetched at any of these moments.
        #[test]
        fn playlists_keep_the_rules(kept in 4..8_usize, fetched in prop::collection::vec(any::<bool>(), 60)) {
            let inits = BTreeMap::from([(0, Init::of(0, b"x"))]);
            let mut checker = Checker::default();
            let (mut segments, mut open) = (Vec::<SegmentLine>::new(), line(5, false, 0));
            for fetch in fetched {
                let parts = open.parts.len() as u32 + 1;
                open = line(open.sequence, parts == 4, parts);
                if parts == 4 {
                    segments.push(open.clone());
                    open = line(open.sequence + 1, false, 0);
                }
                let first = segments.len().saturating_sub(kept);
                segments.drain(..first);
                let all = segments.iter().cloned().chain([open.clone()]).collect();
                let window = window(all, Some(Ticks(45_000)));
                if fetch && is_playable(&window) {
                    let text = media(&window, Format::Fmp4, &inits, "").text();
                    prop_assert_eq!(checker.push(&text), Ok(()), "{}", text);
                }
            }
        }
    }
}
