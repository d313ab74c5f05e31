//! From a stream's terms and its source to what a worker is asked for.

use std::collections::BTreeSet;

use common::{
    ffmpeg::live::needed_protocol,
    id::{AttemptId, StreamId, WorkerId},
    live::{Begin, Container, Encode, Ingest, Slate, SourceTracks, Work},
    media::{HardwarePolicy, VideoCodec},
    profile::Rendition,
    stream::{SourceSpec, StreamOptions},
    worker::Need,
};
use mux::{Kind, Ticks, codec::Parameters};

use super::{
    source::{From, Generation},
    splice::{Cut, Role},
};
use crate::{
    fleet::{Class, Requirement},
    queue::LiveOrder,
};

/// An attempt's timestamps begin about here: audio that precedes the first key frame stays positive.
const EARLIEST: Ticks = Ticks(10 * Ticks::PER_SECOND);
/// Samples of a frame of AAC-LC.
const AAC_FRAME: i64 = 1024;
/// A slate's size and rate where nothing is known of the source.
const SLATE: (u32, u32, u32) = (1280, 720, 25);

/// Where an attempt of a role begins to read.
pub(super) fn reads_from(role: Role, generation: &Generation, delivered: bool, cut: Cut) -> From {
    match role {
        // Whoever watched the one before misses nothing of this one.
        Role::Generation(_) if delivered => {
            From::Covering { video: Some(generation.start), audio: Some(generation.start) }
        }
        Role::Generation(_) | Role::Successor => From::Newest,
        Role::Replacement | Role::Standby if cut == Cut::default() => From::Newest,
        Role::Replacement | Role::Standby => From::Covering { video: cut.video, audio: cut.audio },
    }
}

/// What is taken from the timestamps for an attempt that begins at `start`: a multiple of the grid, so that the grid stays
/// where it is.
pub(super) fn base(start: Ticks, grid: Ticks) -> Ticks {
    Ticks((start - EARLIEST).interval(grid) * grid.0)
}

/// What is encoded of a source: the rendition without the tracks that the source has not.
///
/// # Errors
/// Nothing is left of it.
pub(super) fn fitting(rendition: &Rendition, generation: &Generation) -> Result<Rendition, String> {
    let has = |kind| generation.program.first(kind).is_some();
    let video = rendition.video.clone().filter(|_| has(Kind::Video));
    let audio = rendition.audio.clone().filter(|_| has(Kind::Audio));
    match (&rendition.video, &rendition.audio) {
        _ if video.is_some() || audio.is_some() => Ok(Rendition { video, audio, ..rendition.clone() }),
        (Some(_), None) => Err("the source has no video, and the profile is nothing else".to_owned()),
        (None, Some(_)) => Err("the source has no audio, and the profile is nothing else".to_owned()),
        _ => Err("the source has neither video nor audio".to_owned()),
    }
}

/// Where the first audio frame at or after `start` begins, when they are counted from `origin`: alike in all attempts that begin
/// somewhere in a generation.
fn audio_frame_from(origin: Ticks, start: Ticks, rate: u32) -> Ticks {
    let samples = (start - origin).0.max(0) * i64::from(rate);
    let frames =
        samples / (Ticks::PER_SECOND * AAC_FRAME) + i64::from(samples % (Ticks::PER_SECOND * AAC_FRAME) > 0);
    origin + Ticks::from_samples(frames * AAC_FRAME, rate)
}

/// The encode of a generation, read from `start` on. Its times are the attempt's: without `base`.
pub(super) fn encode(
    rendition: Rendition,
    generation: &Generation,
    role: Role,
    cut: Cut,
    start: Ticks,
    base: Ticks,
) -> Encode {
    let track = |kind| generation.program.first(kind);
    let frame = track(Kind::Video).and_then(|id| match generation.parameters.get(usize::from(id.0)) {
        Some(Some(Parameters::Video(video))) => video.frame,
        _ => None,
    });
    let rate = rendition.audio.as_ref().map(|audio| audio.sample_rate);
    let from_start = rate.map(|rate| audio_frame_from(generation.start, start, rate));
    let (video, audio) = match role {
        Role::Generation(_) => (None, from_start),
        // The successor's key frames are those of the grid; its audio frames begin where the others' do.
        Role::Successor => (None, cut.audio.or(from_start)),
        Role::Replacement | Role::Standby => (cut.video, cut.audio.or(from_start)),
    };
    let begin = Begin { video: video.map(|at| (at - base).0), audio: audio.map(|at| (at - base).0) };
    let container = match rendition.video.as_ref().map(|video| video.codec) {
        Some(VideoCodec::Av1) => Container::FragmentedMp4,
        _ => Container::MpegTs,
    };
    let source = SourceTracks {
        video: rendition.video.is_some(),
        audio: rendition.audio.is_some(),
        frame: frame.map(|frame| frame.0),
    };
    Encode { rendition, container, source, begin }
}

/// Who may do it.
pub(super) struct Terms<'a> {
    pub(super) stream: StreamId,
    pub(super) name: &'a str,
    pub(super) options: &'a StreamOptions,
    pub(super) profile: &'a str,
    pub(super) avoid: Vec<WorkerId>,
    pub(super) only_elsewhere: bool,
    pub(super) preempts: bool,
}

pub(super) fn encode_order(attempt: AttemptId, encode: Encode, terms: &Terms<'_>) -> LiveOrder {
    let (need, policy) = (encode.rendition.need(), encode.rendition.hardware);
    order(attempt, Work::Encode(Box::new(encode)), need, policy, terms)
}

/// The source itself through a worker; `None`: it needs none.
pub(super) fn ingest_order(attempt: AttemptId, source: &SourceSpec, terms: &Terms<'_>) -> Option<LiveOrder> {
    let (ingest, need) = match source {
        SourceSpec::Pull(_) | SourceSpec::Push => return None,
        SourceSpec::Ingest(url) => {
            // A worker refuses what has none, and says why.
            let protocols = needed_protocol(url).map(str::to_owned).into_iter().collect();
            let need = Need { protocols, ..Need::default() };
            (Ingest { url: url.clone(), file: false }, need)
        }
        SourceSpec::File(path) => {
            let need = Need { shared_path: Some(path.clone()), ..Need::default() };
            (Ingest { url: path.clone(), file: true }, need)
        }
    };
    Some(order(attempt, Work::Ingest(ingest), need, HardwarePolicy::Never, terms))
}

/// A picture in the size and rate of the source that it stands in for.
pub(super) fn slate_order(
    attempt: AttemptId,
    text: &str,
    generation: Option<&Generation>,
    terms: &Terms<'_>,
) -> LiveOrder {
    let known = generation.into_iter().flat_map(|generation| generation.parameters.iter().flatten());
    let video = known.filter_map(|parameters| match parameters {
        Parameters::Video(video) => Some(video),
        Parameters::Audio(_) => None,
    });
    let (mut width, mut height, rate) = SLATE;
    let mut frame_rate = (rate, 1);
    if let Some(video) = video.last() {
        (width, height) = (video.width & !1, video.height & !1);
        if let Some(ticks) =
            video.frame.and_then(|frame| u32::try_from(frame.0).ok()).filter(|ticks| *ticks > 0)
        {
            frame_rate = (90_000, ticks);
        }
    }
    let any_of = [["libx264"], ["aac"]].map(|names| names.map(str::to_owned).to_vec()).to_vec();
    let need = Need { any_of, ..Need::default() };
    let slate = Slate { width, height, frame_rate, text: text.to_owned() };
    order(attempt, Work::Slate(slate), need, HardwarePolicy::Never, terms)
}

fn order(attempt: AttemptId, work: Work, need: Need, policy: HardwarePolicy, terms: &Terms<'_>) -> LiveOrder {
    let requirement = Requirement {
        need,
        policy,
        labels: terms.options.labels.clone(),
        preset: terms.profile.to_owned(),
        class: Class::Live,
        avoid: terms.avoid.iter().copied().collect::<BTreeSet<_>>(),
    };
    LiveOrder {
        stream: terms.stream,
        name: terms.name.to_owned(),
        attempt,
        requirement,
        // An encode alone takes in what the coordinator has.
        reads: matches!(work, Work::Encode(_)),
        work,
        only_elsewhere: terms.only_elsewhere,
        preempts: terms.preempts,
    }
}

/// Of the source's picture.
pub(super) fn height(generation: &Generation) -> Option<u32> {
    generation.parameters.iter().flatten().find_map(|parameters| match parameters {
        Parameters::Video(video) => Some(video.height),
        Parameters::Audio(_) => None,
    })
}

/// Whether everything of the source is among the codecs that a viewer names.
pub(super) fn is_played_by(generation: &Generation, accepted: &[String]) -> bool {
    let mut played =
        generation.program.tracks.iter().filter(|track| track.codec.kind() != Kind::Other).peekable();
    played.peek().is_some()
        && played.all(|track| accepted.iter().any(|name| name.eq_ignore_ascii_case(&track.codec.to_string())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_that_begin_anywhere_have_the_same_audio_frames() {
        let origin = Ticks(900_000);
        for rate in [48_000, 44_100] {
            for start in (900_000..1_300_000).step_by(3_600) {
                let first = audio_frame_from(origin, Ticks(start), rate);
                assert!(first.0 >= start - 1 && first.0 < start + 2_091, "{start}: {first:?}");
                let frames = (first - origin).0 as f64 * f64::from(rate) / 90_000.0 / 1024.0;
                assert!((frames - frames.round()).abs() < 0.001, "{start}: {frames}");
            }
        }
    }

    #[test]
    fn timestamps_begin_small_and_the_grid_stays_where_it_is() {
        for seconds in [0, 10, 3_600, 200_000] {
            let (start, grid) = (Ticks(seconds * 90_000 + 1234), Ticks(180_000));
            let base = base(start, grid);
            assert_eq!(base.0 % grid.0, 0);
            assert!((10 * 90_000..12 * 90_000).contains(&(start - base).0), "{seconds}: {base:?}");
        }
    }
}
