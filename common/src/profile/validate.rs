//! What a profile may ask for.

use super::{Audio, Output, Packaging, Profile, Rendition, SAMPLE_RATE, Video};
use crate::media::VideoCodec;

/// A field that cannot be as it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct Invalid {
    pub field: &'static str,
    pub problem: String,
}

impl Invalid {
    pub(super) fn new(field: &'static str, problem: impl Into<String>) -> Self {
        Self { field, problem: problem.into() }
    }
}

/// More rungs than any player switches between.
const MAX_RUNGS: usize = 16;

pub(super) fn check(profile: &Profile) -> Result<(), Invalid> {
    let name = &profile.name;
    let plain = (1..=64).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_'));
    if !plain {
        return Err(Invalid::new(
            "name",
            format!("{name:?} is not usable; use 1 to 64 lower-case letters, digits, '-' and '_'"),
        ));
    }
    match &profile.output {
        Output::Rendition(rendition) => rendition.validate(),
        Output::Copy(packaging) => packaging.validate(),
        Output::Ladder { renditions } => match renditions.len() {
            0 => Err(Invalid::new("renditions", "a ladder needs at least one profile")),
            1..=MAX_RUNGS => Ok(()),
            count => {
                Err(Invalid::new("renditions", format!("{count} are too many; name {MAX_RUNGS} at most")))
            }
        },
    }
}

impl Rendition {
    /// Whether it can be encoded. Of a profile this is known; a worker asks again.
    ///
    /// # Errors
    /// The field that is wrong, and what it may be.
    pub fn validate(&self) -> Result<(), Invalid> {
        self.packaging.validate()?;
        if self.video.is_none() && self.audio.is_none() {
            return Err(Invalid::new(
                "video",
                "there is neither video nor audio; give [video], [audio] or both",
            ));
        }
        self.video.as_ref().map_or(Ok(()), video)?;
        self.audio.as_ref().map_or(Ok(()), audio)
    }
}

impl Packaging {
    fn validate(&self) -> Result<(), Invalid> {
        let &Self { segment_ms, part_ms, .. } = self;
        if !(1000..=10_000).contains(&segment_ms) {
            return Err(Invalid::new(
                "segment_ms",
                format!("{segment_ms} ms is not usable; segments last 1000 to 10000 ms"),
            ));
        }
        if !(100..=segment_ms).contains(&part_ms) {
            return Err(Invalid::new(
                "part_ms",
                format!("{part_ms} ms is not usable; parts last 100 ms to a whole segment ({segment_ms} ms)"),
            ));
        }
        Ok(())
    }
}

/// What the encoders of all families take at least, and what the largest level of their codecs allows.
const EDGE: (u32, u32) = (160, 8192);

fn video(video: &Video) -> Result<(), Invalid> {
    match video.codec {
        VideoCodec::H264 | VideoCodec::Hevc | VideoCodec::Av1 => {}
        codec @ (VideoCodec::Vp9 | VideoCodec::ProRes | VideoCodec::DnxHr) => {
            return Err(Invalid::new(
                "video.codec",
                format!("{codec} is not streamed live; use h264, hevc or av1"),
            ));
        }
    }
    for (field, edge, least) in [("video.width", video.width, EDGE.0), ("video.height", video.height, 128)] {
        if edge % 2 != 0 || !(least..=EDGE.1).contains(&edge) {
            return Err(Invalid::new(
                field,
                format!("{edge} pixels is not usable; give an even number from {least} to {}", EDGE.1),
            ));
        }
    }
    bitrate("video.bitrate", video.bitrate, 50_000, 200_000_000)
}

fn audio(audio: &Audio) -> Result<(), Invalid> {
    bitrate("audio.bitrate", audio.bitrate, 16_000, 512_000)?;
    if !matches!(audio.channels, 1 | 2) {
        return Err(Invalid::new("audio.channels", format!("{} is not usable; give 1 or 2", audio.channels)));
    }
    if audio.sample_rate != SAMPLE_RATE {
        return Err(Invalid::new(
            "audio.sample_rate",
            format!(
                "{} Hz is not usable; only at {SAMPLE_RATE} Hz frames fit the clock exactly",
                audio.sample_rate
            ),
        ));
    }
    Ok(())
}

fn bitrate(field: &'static str, given: u64, least: u64, most: u64) -> Result<(), Invalid> {
    if (least..=most).contains(&given) {
        return Ok(());
    }
    Err(Invalid::new(field, format!("{given} bits per second is not usable; give {least} to {most}")))
}
