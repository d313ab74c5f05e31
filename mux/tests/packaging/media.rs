//! Media made by ffmpeg, and what ffmpeg makes of media.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::LazyLock,
};

use bytes::Bytes;
use mux::{
    Codec, Event, Ticks, TrackId, Unit,
    codec::{Audio, Parameters, Video},
    fmp4,
};

use crate::support::pipe;

/// Where the timeline of the media here begins: as far from zero as that of an attempt.
pub(super) const START: i64 = 11 * 90_000;

pub(super) fn ffmpegs() -> Vec<PathBuf> {
    let next = std::env::var_os("TVARR_TEST_FFMPEG_NEXT").filter(|path| !path.is_empty()).map(PathBuf::from);
    [PathBuf::from("ffmpeg")].into_iter().chain(next).collect()
}

/// Encoders talk on stderr whatever they are told. So does the parser that ffmpeg's DASH reader runs over AV1 with frames
/// that are shown again; what is decoded does not come from it.
const NOISE: &[&str] = &["Svt[", "[NULL @"];

/// Runs ffmpeg; what it wrote.
pub(super) fn run(ffmpeg: &Path, arguments: &str, input: &[u8]) -> Vec<u8> {
    let arguments: Vec<&str> = std::iter::once("-nostdin").chain(arguments.split_whitespace()).collect();
    pipe(ffmpeg, &arguments, input, NOISE)
}

/// Time and hash of each decoded frame of a stream (`v`, `a`), without the last: how much of it is played depends on how long
/// the container says that it is.
pub(super) fn frames(ffmpeg: &Path, input: &str, stream: &str, bytes: &[u8]) -> BTreeSet<String> {
    let scale = if stream == "v" { "-enc_time_base:v 1:90000" } else { "" };
    let arguments = format!("-copyts {input} -map 0:{stream} {scale} -f framemd5 -");
    let text = String::from_utf8(run(ffmpeg, &arguments, bytes)).unwrap();
    let mut lines: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
    lines.pop();
    let frames: BTreeSet<_> = lines
        .into_iter()
        .map(|line| {
            let fields: Vec<_> = line.split(',').map(str::trim).collect();
            format!("{} {}", fields[2], fields[5])
        })
        .collect();
    assert!(!frames.is_empty(), "{input}");
    frames
}

pub(super) const AOM: &str = "libaom-av1 -cpu-used 8 -usage realtime";
pub(super) const SVT: &str = "libsvtav1 -preset 12";

/// Two seconds of AV1 and AAC as a worker writes them.
pub(super) fn av1(ffmpeg: &Path, encoder: &str) -> Vec<u8> {
    let arguments = format!(
        "-f lavfi -i testsrc2=s=160x90:r=25 -f lavfi -i sine=r=48000 -t 2 -c:v {encoder} \
         -g 25 -c:a aac -output_ts_offset 11 -avoid_negative_ts disabled -video_track_timescale 90000 \
         -min_frag_duration 1 -movflags +frag_every_frame+empty_moov+default_base_moof+frag_discont -f mp4 -"
    );
    run(ffmpeg, &arguments, &[])
}

pub(super) struct Media {
    pub(super) file: Vec<u8>,
    pub(super) units: Vec<Unit>,
    pub(super) parameters: Vec<(TrackId, Parameters)>,
}

pub(super) static AV1: LazyLock<Media> = LazyLock::new(|| {
    let file = av1(Path::new("ffmpeg"), SVT);
    let units = units(&demux([&file[..]]));
    // Behind the header of the box: four bytes of length, four of name.
    let at = file.windows(4).position(|name| name == b"av1C").unwrap();
    let length = u32::from_be_bytes(file[at - 4..at].try_into().unwrap()) as usize;
    let video = Parameters::Video(Video {
        codec: Codec::Av1,
        width: 160,
        height: 90,
        rfc6381: "av01.0.00M.08".to_owned(),
        record: Bytes::copy_from_slice(&file[at + 4..at - 4 + length]),
        frame: Some(Ticks(3600)),
    });
    Media { file, units, parameters: vec![(TrackId(0), video), (TrackId(1), aac())] }
});

fn aac() -> Parameters {
    Parameters::Audio(Audio {
        codec: Codec::Aac,
        sample_rate: 48_000,
        channels: 1,
        frame_samples: 1024,
        rfc6381: "mp4a.40.2".to_owned(),
        record: Bytes::from_static(&[0x11, 0x88]),
    })
}

pub(super) fn demux<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<Event> {
    let (mut demuxer, mut events) = (fmp4::Demuxer::default(), Vec::new());
    for piece in pieces {
        demuxer.push(piece, &mut events).unwrap();
    }
    events
}

pub(super) fn units(events: &[Event]) -> Vec<Unit> {
    let unit = |event: &Event| match event {
        Event::Unit(unit) => Some(unit.clone()),
        Event::Program(_) => None,
    };
    events.iter().filter_map(unit).collect()
}

/// One fragment for each stretch of `length`, from key frame to key frame where `length` is that of a GOP.
pub(super) fn fragments(media: &Media, length: Ticks) -> Vec<Bytes> {
    let first = media.units.iter().map(|unit| unit.dts.interval(length)).min().unwrap();
    let last = media.units.iter().map(|unit| unit.dts.interval(length)).max().unwrap();
    (first..=last)
        .map(|interval| {
            let of = |track: TrackId| {
                let all = media.units.iter().filter(move |unit| unit.track == track);
                let units: Vec<_> =
                    all.clone().filter(|unit| unit.dts.interval(length) == interval).cloned().collect();
                let frame = if track.0 == 0 { Ticks(3600) } else { Ticks(1920) };
                let end = units.last().map_or(Ticks::ZERO, |unit| unit.dts + frame);
                let next = all
                    .clone()
                    .map(|unit| unit.dts)
                    .find(|dts| dts.interval(length) > interval)
                    .unwrap_or(end);
                (units, next)
            };
            let tracks: Vec<_> = media.parameters.iter().map(|(id, _)| (*id, of(*id))).collect();
            let tracks: Vec<_> = tracks
                .iter()
                .map(|(track, (units, next))| fmp4::Fragment { track: *track, units, next: *next })
                .collect();
            fmp4::fragment((interval - first) as u32 + 1, &tracks, &media.parameters)
        })
        .collect()
}
