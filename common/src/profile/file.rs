//! A profile as it is written: flat, and every key that is not known refused. (serde cannot refuse unknown keys of a struct
//! that is flattened into another.)

use serde::Deserialize;

use super::{Audio, Invalid, Output, Packaging, Profile, Rendition, Video, validate::check};
use crate::media::HardwarePolicy;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Rendition,
    Ladder,
    Copy,
}

impl Kind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Rendition => "rendition",
            Self::Ladder => "ladder",
            Self::Copy => "copy",
        }
    }
}

macro_rules! flat {
    ($(#[$doc:meta])* $struct:ident { $name:ty }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub(super) struct $struct {
            name: $name,
            description: String,
            kind: Kind,
            segment_ms: Option<u32>,
            low_latency: Option<bool>,
            part_ms: Option<u32>,
            hardware: Option<HardwarePolicy>,
            video: Option<Video>,
            audio: Option<Audio>,
            renditions: Option<Vec<String>>,
        }
    };
}

flat!(
    /// With its name.
    Flat { String }
);
flat!(
    /// A file, whose name is the profile's unless it says another.
    Named { Option<String> }
);

impl Named {
    pub(super) fn named(self, stem: &str) -> Result<Profile, Invalid> {
        let Self {
            name,
            description,
            kind,
            segment_ms,
            low_latency,
            part_ms,
            hardware,
            video,
            audio,
            renditions,
        } = self;
        let name = name.unwrap_or_else(|| stem.to_owned());
        Flat { name, description, kind, segment_ms, low_latency, part_ms, hardware, video, audio, renditions }
            .try_into()
    }
}

impl TryFrom<Flat> for Profile {
    type Error = Invalid;

    fn try_from(flat: Flat) -> Result<Self, Invalid> {
        let kind = flat.kind.as_str();
        let absent = |field: &'static str, given: bool| {
            if given {
                return Err(Invalid::new(field, format!("a profile of kind {kind} has none; take it out")));
            }
            Ok(())
        };
        let default = Packaging::default();
        let packaging = Packaging {
            segment_ms: flat.segment_ms.unwrap_or(default.segment_ms),
            low_latency: flat.low_latency.unwrap_or(default.low_latency),
            part_ms: flat.part_ms.unwrap_or(default.part_ms),
        };
        if flat.kind != Kind::Rendition {
            absent("video", flat.video.is_some())?;
            absent("audio", flat.audio.is_some())?;
            absent("hardware", flat.hardware.is_some())?;
        }
        if flat.kind != Kind::Ladder {
            absent("renditions", flat.renditions.is_some())?;
        }
        let output = match flat.kind {
            Kind::Rendition => Output::Rendition(Rendition {
                hardware: flat.hardware.unwrap_or_default(),
                packaging,
                video: flat.video,
                audio: flat.audio,
            }),
            Kind::Ladder => {
                absent("segment_ms", flat.segment_ms.is_some())?;
                absent("low_latency", flat.low_latency.is_some())?;
                absent("part_ms", flat.part_ms.is_some())?;
                Output::Ladder { renditions: flat.renditions.unwrap_or_default() }
            }
            Kind::Copy => Output::Copy(packaging),
        };
        let profile = Self { name: flat.name, description: flat.description, output };
        check(&profile)?;
        Ok(profile)
    }
}
