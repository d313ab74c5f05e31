//! Is everything in a result that was in its input? Compared by the times and the number of packets.
//!
//! The input is believed at first ([`Extents::claimed`]: its headers); where a result differs from that, all packets of the
//! input are looked at ([`Extents::surveyed`]), and they decide. So the tolerances here are those of what is really there:
//!
//! * Picture: one frame of the slower of input and result. Either the last frames begin together or they end together:
//!   not every encoder and container keeps how long a last frame stands.
//! * Sound: the longest packet of the input and two of the result. Encoders put a frame of silence in front and fill up the
//!   last frame (AAC 1024 samples, MP3 1152, Opus 960).
//! * Containers round: Matroska and WebM to 1 ms.

use std::collections::BTreeMap;

use super::{Expected, Frames, Survey, VideoTiming, picture, verify::Playlist, verify::about};
use crate::{
    failure::Failure,
    media::{MediaInfo, StreamInfo, StreamKind},
};

/// Matroska's clock ticks each millisecond, at both ends of a span and in input and result.
const ROUNDING: f64 = 0.004;

/// A frame of sound where its length is not known: 1152 samples of MP3 at 44100 Hz, rounded up. Seconds.
const SOUND_FRAME: f64 = 0.027;

/// When the streams of an input begin and end. Time 0 is where the first stream starts: ffmpeg moves all by that.
#[derive(Debug, Clone, PartialEq)]
pub struct Extents {
    streams: BTreeMap<u32, Extent>,
    /// Timestamps jump; ffmpeg closes the gaps and no time can be foretold.
    jumps: bool,
}

/// One stream. Seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Extent {
    start: f64,
    /// When the last frame is shown; as `end` where that is not known.
    last: f64,
    /// When the last frame has been shown.
    end: f64,
    /// Frames, where each packet is one and all can be decoded.
    frames: Option<u64>,
    /// The longest packet, where that is known.
    longest: f64,
}

/// A result that is not as long as its input.
#[derive(Debug, Clone, PartialEq)]
pub struct Deviation {
    /// Something is missing, and nothing too much.
    pub short: bool,
    /// What, in words.
    pub failure: Failure,
}

impl Extents {
    /// What the input's headers say.
    #[must_use]
    pub fn claimed(input: &MediaInfo) -> Self {
        let zero = zero(input);
        let streams = input.streams.iter().filter_map(|stream| {
            let start = stream.start_time.map_or(0.0, |start| start - zero);
            let end = match stream.duration {
                Some(duration) => start + duration,
                // Only the whole file's is known, and that is the longest stream's.
                None => input.duration?,
            };
            let frames = countable(input, stream);
            Some((stream.index, Extent { start, last: end, end, frames, longest: SOUND_FRAME }))
        });
        Self { streams: streams.collect(), jumps: false }
    }

    /// What the input's packets say.
    #[must_use]
    pub fn surveyed(input: &MediaInfo, survey: &Survey) -> Self {
        let zero = zero(input);
        let streams = input.streams.iter().filter_map(|stream| {
            let packets = survey.stream(stream.index)?;
            let extent = Extent {
                start: packets.first_decodable()? - zero,
                last: packets.last? - zero,
                end: packets.end? - zero,
                frames: countable(input, stream).map(|_| packets.decodable()),
                longest: packets.longest,
            };
            Some((stream.index, extent))
        });
        Self { streams: streams.collect(), jumps: survey.jumps() }
    }

    /// When the last of all streams has ended.
    #[must_use]
    pub fn end(&self) -> Option<f64> {
        self.streams.values().map(|extent| extent.end).max_by(f64::total_cmp)
    }
}

/// Where ffmpeg puts time 0.
pub(super) fn zero(input: &MediaInfo) -> f64 {
    let first = || input.streams.iter().filter_map(|stream| stream.start_time).min_by(f64::total_cmp);
    input.start_time.or_else(first).unwrap_or(0.0)
}

/// The frames that an index lists, where a packet is a frame. In AVI and transport streams a packet may be a field, an
/// empty placeholder or a picture that is never shown.
fn countable(input: &MediaInfo, stream: &StreamInfo) -> Option<u64> {
    let StreamKind::Video(video) = &stream.kind else { return None };
    let progressive = match video.field_order.as_deref() {
        Some(order) => order == "progressive",
        None => !matches!(stream.codec.as_str(), "h264" | "mpeg2video" | "mpeg4"),
    };
    let frames = video.frames.filter(|frames| *frames > 0)?;
    (input.format.starts_with("mov,") && progressive && !picture::is_variable(video)).then_some(frames)
}

/// Checks that the file holds what ffmpeg says that it encoded. `frames`: of this output, when ffmpeg says so.
///
/// # Errors
/// [`crate::failure::FailureKind::OutputWrong`].
pub fn written(
    expected: &Expected,
    found: &MediaInfo,
    packets: &Survey,
    frames: Option<u64>,
) -> Result<(), Failure> {
    if let Some((stream, _)) = found.video().next()
        && expected.video.as_ref().is_some_and(|video| video.timing.is_some())
    {
        let there = packets.stream(stream.index).map_or(0, |packets| packets.count);
        if there == 0 {
            return Err(about(expected, "it holds no frame"));
        }
        if let Some(frames) = frames
            && frames != there
        {
            return Err(about(
                expected,
                format_args!(
                    "it holds {there} frames and ffmpeg encoded {frames}; the disk may have been full"
                ),
            ));
        }
    }
    for (index, (stream, _)) in found.audio().enumerate() {
        if packets.stream(stream.index).is_none_or(|packets| packets.count == 0) {
            return Err(about(expected, format_args!("audio track {index} holds nothing")));
        }
    }
    Ok(())
}

/// Checks that a playlist's segments are as long together as the media in them.
///
/// # Errors
/// [`crate::failure::FailureKind::OutputWrong`].
pub fn listed(expected: &Expected, list: &Playlist, packets: &Survey) -> Result<(), Failure> {
    let (Some(start), Some(end)) = (packets.start(), packets.end()) else { return Ok(()) };
    let frame = expected.video.as_ref().and_then(|video| video.timing).map_or(0.0, |timing| timing.frame);
    let longest = packets.longest().max(frame);
    // Each segment's duration is rounded to a microsecond.
    let rounding = ROUNDING + 1e-6 * list.segments.len() as f64;
    let (told, there) = (list.duration(), end - start);
    if (told - there).abs() <= longest + rounding {
        return Ok(());
    }
    Err(about(expected, format_args!("the playlist lists {told:.3} s and the segments hold {there:.3} s")))
}

/// Checks that a result is as long as its input, and has its frames where they are kept. `unseen`: frames that ffmpeg
/// says it dropped, less those that it doubled.
///
/// # Errors
/// The first stream that is not.
pub fn complete(
    expected: &Expected,
    found: &MediaInfo,
    packets: &Survey,
    input: &Extents,
    unseen: i64,
) -> Result<(), Deviation> {
    if input.jumps {
        return Ok(());
    }
    let deviation = |short: bool, what: String| Err(Deviation { short, failure: about(expected, what) });
    let timing = expected.video.as_ref().and_then(|video| video.timing.as_ref());
    if let (Some(timing), Some((stream, _))) = (timing, found.video().next())
        && let (Some(source), Some(made)) = (input.streams.get(&timing.source), packets.stream(stream.index))
        && let (Some(first), Some(end)) = (made.first, made.end)
    {
        let made_span = (made.last.unwrap_or(end) - first, end - first);
        if let Some(short) = picture_deviates(timing, source, made_span) {
            let (there, wanted) = (made_span.1, picture_span(timing, source).1);
            return deviation(short, format!("the video lasts {there:.3} s and the input's {wanted:.3} s"));
        }
        if let (Frames::Each, Some(frames)) = (timing.frames, source.frames) {
            let wanted = frames.saturating_add_signed(-unseen);
            if made.count != wanted {
                return deviation(
                    made.count < wanted,
                    format!("it holds {} frames and the input has {frames}", made.count),
                );
            }
        }
    }
    for (index, ((stream, _), track)) in found.audio().zip(&expected.audio).enumerate() {
        let (Some(source), Some(made)) = (input.streams.get(&track.source), packets.stream(stream.index))
        else {
            continue;
        };
        let (Some(first), Some(end)) = (made.first, made.end) else { continue };
        let length = end - first;
        let allowed = source.longest + 2.0 * made.longest + ROUNDING;
        if (length - source.end).abs() > allowed {
            return deviation(
                length < source.end,
                format!("audio track {index} lasts {length:.3} s and the input's {:.3} s", source.end),
            );
        }
    }
    Ok(())
}

/// Seconds until the last frame is shown, and until it has been shown.
fn picture_span(timing: &VideoTiming, source: &Extent) -> (f64, f64) {
    let start = match timing.frames {
        // Filled up from time 0.
        Frames::Constant => 0.0,
        Frames::Each | Frames::Times => source.start,
    };
    (source.last - start, source.end - start)
}

/// Whether the picture is too short (or else too long), if it is either.
fn picture_deviates(timing: &VideoTiming, source: &Extent, (last, end): (f64, f64)) -> Option<bool> {
    let (source_last, source_end) = picture_span(timing, source);
    let allowed = timing.frame + ROUNDING;
    let fits = match timing.frames {
        Frames::Constant => end >= source_last - allowed && end <= source_end + allowed,
        // A last frame that stands for long ends when its encoder thinks fit, but begins when it began.
        Frames::Each | Frames::Times => {
            (last - source_last).abs() <= allowed || (end - source_end).abs() <= allowed
        }
    };
    (!fits).then_some(end < source_end)
}
