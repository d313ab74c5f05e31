//! A variant's DASH manifest.

use std::collections::BTreeMap;

use mux::{
    Ticks, TrackId,
    codec::Parameters,
    dash::{Manifest, Media, Period, Track},
};

use super::name::{File, Init, Kind, Place};
use crate::live::output::{SegmentLine, Window};

/// An init segment: its name for each track, and its tracks.
pub(super) struct Described {
    pub(super) tracks: Vec<(Parameters, Init)>,
}

/// The manifest of what there is, finished segments only. `bitrate`: of all tracks together; `now`: milliseconds since the
/// Unix epoch.
pub(super) fn manifest(
    window: &Window,
    inits: &BTreeMap<u32, Described>,
    bitrate: u64,
    now: i64,
    carried: &str,
) -> Manifest {
    let finished: Vec<_> = window.segments.iter().filter(|line| line.duration.is_some()).collect();
    let mut discontinuities = window.discontinuity_sequence;
    let mut periods = Vec::new();
    for run in finished.chunk_by(|_, next| !next.discontinuity) {
        discontinuities += u64::from(run[0].discontinuity);
        if let Some(init) = inits.get(&run[0].init) {
            periods.push(period(run, discontinuities, init, bitrate, carried));
        }
    }
    let last = finished.last().copied();
    Manifest {
        publish_time: last
            .map_or(now, |last| last.program_date_time + last.duration.unwrap_or_default().millis()),
        segment: Ticks::from_millis(i64::from(window.target_duration) * 1000),
        depth: finished.iter().filter_map(|line| line.duration).fold(Ticks::ZERO, |sum, one| sum + one),
        now,
        periods,
        ended: window.ended,
    }
}

fn period(run: &[&SegmentLine], number: u64, init: &Described, bitrate: u64, carried: &str) -> Period {
    let (start, start_wall) = run[0].run;
    let timeline: Vec<_> = run.iter().map(|line| (line.start, line.duration.unwrap_or_default())).collect();
    let track = |(parameters, init): &(Parameters, Init)| {
        let (kind, id, media, codecs) = match parameters {
            Parameters::Video(video) => (
                Kind::Video,
                "video",
                Media::Video { width: video.width, height: video.height, frame: video.frame },
                &video.rfc6381,
            ),
            Parameters::Audio(audio) => (
                Kind::Audio,
                "audio",
                Media::Audio { sample_rate: audio.sample_rate, channels: audio.channels },
                &audio.rfc6381,
            ),
        };
        let place = Place { run: start_wall, start: Ticks::ZERO };
        let segment = File::Track(kind, place).to_string().replace("-0.", "-$Time$.");
        Track {
            id: id.to_owned(),
            media,
            codecs: codecs.clone(),
            bandwidth: bitrate,
            init: format!("{}{carried}", File::Init(Some(kind), init.clone())),
            segments: format!("{segment}{carried}"),
            timeline: timeline.clone(),
        }
    };
    Period { id: number.to_string(), start_wall, start, tracks: init.tracks.iter().map(track).collect() }
}

/// The first track of its kind.
pub(super) fn track_of(kind: Kind, all: &[(TrackId, Parameters)]) -> Option<TrackId> {
    let is = |parameters: &Parameters| match kind {
        Kind::Video => matches!(parameters, Parameters::Video(_)),
        Kind::Audio => matches!(parameters, Parameters::Audio(_)),
    };
    all.iter().find(|(_, parameters)| is(parameters)).map(|(track, _)| *track)
}

#[cfg(test)]
mod tests {
    use mux::{Codec, codec::Audio};

    use super::*;

    fn line(sequence: u64, discontinuity: bool, run: (Ticks, i64)) -> SegmentLine {
        SegmentLine {
            sequence,
            duration: Some(Ticks(180_000)),
            start: Ticks(sequence as i64 * 180_000),
            program_date_time: run.1,
            discontinuity,
            independent: true,
            run,
            init: 0,
            parts: Vec::new(),
        }
    }

    #[test]
    fn a_period_keeps_its_number_and_start_when_its_first_segments_go() {
        let (first, second) = ((Ticks(180_000), 1_000_000), (Ticks(540_000), 2_000_000));
        let lines =
            [line(1, false, first), line(2, false, first), line(3, true, second), line(4, false, second)];
        let inits = BTreeMap::from([(
            0,
            Described {
                tracks: vec![(
                    Parameters::Audio(Audio {
                        codec: Codec::Aac,
                        sample_rate: 48_000,
                        channels: 2,
                        frame_samples: 1024,
                        rfc6381: "mp4a.40.2".to_owned(),
                        record: vec![0x11, 0x90].into(),
                    }),
                    Init::of(0, b"x"),
                )],
            },
        )]);
        let of = |lines: &[SegmentLine], discontinuity_sequence| {
            let window = Window {
                segments: lines.to_vec(),
                discontinuity_sequence,
                target_duration: 2,
                part_target: None,
                ended: false,
            };
            manifest(&window, &inits, 100_000, 5, "?token=t")
        };
        let all = of(&lines, 4);
        assert_eq!(all.periods.iter().map(|period| period.id.as_str()).collect::<Vec<_>>(), ["4", "5"]);
        // The second one's first segment is gone, and the discontinuity with it.
        let later = of(&lines[3..], 5);
        let pick = |period: &Period| (period.id.clone(), period.start, period.start_wall);
        assert_eq!(pick(&later.periods[0]), pick(&all.periods[1]));
        assert_eq!(later.periods[0].tracks[0].timeline, [(Ticks(720_000), Ticks(180_000))]);
        assert_eq!(later.periods[0].tracks[0].segments, "audio-2000000-$Time$.m4s?token=t");
    }
}
