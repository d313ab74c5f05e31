//! Profiles: named live output specs, built in or read from a folder of TOML files.

mod declared;
mod file;
mod validate;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub(crate) use self::declared::frame_rate;
pub use self::{declared::Declared, validate::Invalid};
use crate::{
    live::Container,
    media::{HardwarePolicy, VideoCodec},
    worker::{Need, VideoNeed},
};

/// A named live output spec. As TOML and JSON it is flat: `kind` beside the fields of what it gives.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "file::Flat")]
// As it is written; what a file may say is in docs/live.md.
#[schemars(!try_from)]
pub struct Profile {
    pub name: String,
    /// One line for people.
    pub description: String,
    #[serde(flatten)]
    pub output: Output,
}

/// What a profile gives.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Output {
    /// One encode.
    Rendition(Rendition),
    /// Several profiles as one master playlist, the best first; those taller than the source are left out, but never all.
    Ladder { renditions: Vec<String> },
    /// The source as it is, repackaged without an encoder.
    Copy(Packaging),
}

/// One encode of a source.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Rendition {
    #[serde(default)]
    pub hardware: HardwarePolicy,
    #[serde(flatten)]
    pub packaging: Packaging,
    /// `None`: audio only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub video: Option<Video>,
    /// `None`: video only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audio: Option<Audio>,
}

/// How a stream is cut and packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Packaging {
    /// Length of a segment and of a GOP: key frames are at its multiples. 1000 to 10000.
    #[serde(default = "default_segment_ms")]
    pub segment_ms: u32,
    /// HLS has parts (LL-HLS, fMP4), and the encoder is told to hold nothing back.
    #[serde(default)]
    pub low_latency: bool,
    /// Length of a part.
    #[serde(default = "default_part_ms")]
    pub part_ms: u32,
}

impl Default for Packaging {
    fn default() -> Self {
        Self { segment_ms: default_segment_ms(), low_latency: false, part_ms: default_part_ms() }
    }
}

const fn default_segment_ms() -> u32 {
    2000
}

const fn default_part_ms() -> u32 {
    500
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Video {
    pub codec: VideoCodec,
    /// The picture is fitted into this and padded, so that the size never changes.
    pub width: u32,
    pub height: u32,
    /// Bits per second; also the most over a second.
    pub bitrate: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Audio {
    pub codec: AudioCodec,
    pub bitrate: u64,
    /// 1 or 2.
    #[serde(default = "default_channels")]
    pub channels: u8,
    /// 48000: the one rate at which an AAC frame is a whole number of ticks of 90 kHz.
    #[serde(default = "default_sample_rate")]
    pub sample_rate: u32,
}

const fn default_channels() -> u8 {
    2
}

const fn default_sample_rate() -> u32 {
    SAMPLE_RATE
}

/// Of the audio that is encoded: 1024 samples, a frame of AAC, are 1920 ticks.
pub const SAMPLE_RATE: u32 = 48_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AudioCodec {
    Aac,
}

impl AudioCodec {
    /// As ffmpeg names it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Aac => "aac",
        }
    }

    /// The encoders for this codec, best first.
    #[must_use]
    pub const fn encoders(self) -> &'static [&'static str] {
        match self {
            Self::Aac => &["aac"],
        }
    }
}

impl Output {
    /// How it is cut and packed; a ladder's renditions each say so themselves.
    #[must_use]
    pub const fn packaging(&self) -> Option<Packaging> {
        match self {
            Self::Rendition(rendition) => Some(rendition.packaging),
            Self::Copy(packaging) => Some(*packaging),
            Self::Ladder { .. } => None,
        }
    }
}

/// Filters that every encode of a picture uses: those before the begin are left out, the rest is brought to size.
const VIDEO_FILTERS: [&str; 6] = ["select", "setpts", "scale", "pad", "setsar", "format"];
const AUDIO_FILTERS: [&str; 3] = ["aresample", "aformat", "atrim"];

impl Rendition {
    /// What a worker must have for it.
    #[must_use]
    pub fn need(&self) -> Need {
        let mut filters: Vec<String> = Vec::new();
        let mut any_of = Vec::new();
        let video = self.video.as_ref().map(|video| {
            filters.extend(VIDEO_FILTERS.map(str::to_owned));
            VideoNeed { codec: video.codec, encoder: None, bit_depth: 8, sessions: 1 }
        });
        if let Some(audio) = &self.audio {
            filters.extend(AUDIO_FILTERS.map(str::to_owned));
            any_of.push(audio.codec.encoders().iter().map(|name| (*name).to_owned()).collect());
        }
        filters.sort();
        Need { video, any_of, filters, ..Need::default() }
    }

    /// What comes back from the worker.
    #[must_use]
    pub fn container(&self) -> Container {
        match &self.video {
            Some(video) if video.codec == VideoCodec::Av1 => Container::FragmentedMp4,
            _ => Container::MpegTs,
        }
    }
}

/// The profiles that can be asked for, by name.
#[derive(Debug, Clone, Default)]
pub struct Profiles(BTreeMap<String, Profile>);

/// A profile that cannot be used, or a folder of them that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("reading the profiles in {folder}: {source}; check TVARR_PROFILES_DIR and the folder's permissions", folder = .folder.display())]
    Folder { folder: PathBuf, source: std::io::Error },
    #[error("reading the profile {file}: {source}; make it readable or move it away", file = .file.display())]
    File { file: PathBuf, source: std::io::Error },
    #[error("profile {file}: {problem}", file = .file.display())]
    Syntax { file: PathBuf, problem: String },
    #[error("profile {file}: {source}", file = .file.display())]
    Invalid { file: PathBuf, source: Invalid },
    #[error("profile {profile:?}: {problem}")]
    Ladder { profile: String, problem: String },
}

macro_rules! builtin {
    ($($name:literal),+ $(,)?) => {
        [$(($name, include_str!(concat!("builtin/", $name, ".toml")))),+]
    };
}

const BUILTIN: [(&str, &str); 9] = builtin!(
    "audio-aac",
    "av1-720p",
    "copy",
    "h264-1080p",
    "h264-480p",
    "h264-720p",
    "h264-720p-ll",
    "hevc-1080p",
    "ladder",
);

impl Profiles {
    /// Those that come with the program.
    #[must_use]
    pub fn builtin() -> Self {
        let parse = |(name, text): (&str, &str)| {
            let profile = parse(text, Path::new(name)).expect("built-in profiles are tested");
            (profile.name.clone(), profile)
        };
        Self(BUILTIN.into_iter().map(parse).collect())
    }

    /// The built-in ones and those of `*.toml` in a folder, which replace built-in ones of the same name.
    ///
    /// # Errors
    /// The first file that is no usable profile, with the field that is wrong; a ladder of what there is not.
    pub fn load(folder: &Path) -> Result<Self, Error> {
        let mut profiles = Self::builtin();
        let failed = |source| Error::Folder { folder: folder.to_owned(), source };
        let mut files = Vec::new();
        for entry in fs::read_dir(folder).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if path.extension().is_some_and(|extension| extension == "toml") {
                files.push(path);
            }
        }
        files.sort();
        for file in files {
            let text =
                fs::read_to_string(&file).map_err(|source| Error::File { file: file.clone(), source })?;
            let profile = parse(&text, &file)?;
            profiles.0.insert(profile.name.clone(), profile);
        }
        profiles.check_ladders()?;
        Ok(profiles)
    }

    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Profile> {
        self.0.get(name)
    }

    /// By name.
    pub fn iter(&self) -> impl Iterator<Item = &Profile> {
        self.0.values()
    }

    /// Names, in order, for messages about an unknown one.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// The renditions behind a name, the best first: a ladder's, or itself. Empty when it is neither (`copy`), or unknown.
    #[must_use]
    pub fn renditions(&self, name: &str) -> Vec<(&str, &Rendition)> {
        let one = |profile: &'_ Profile| match &profile.output {
            Output::Rendition(_) => self.0.get_key_value(&profile.name),
            Output::Ladder { .. } | Output::Copy(_) => None,
        };
        let names: Vec<&str> = match self.get(name).map(|profile| &profile.output) {
            Some(Output::Ladder { renditions }) => renditions.iter().map(String::as_str).collect(),
            Some(Output::Rendition(_)) => vec![name],
            Some(Output::Copy(_)) | None => Vec::new(),
        };
        names
            .into_iter()
            .filter_map(|name| one(self.get(name)?))
            .filter_map(|(name, profile)| match &profile.output {
                Output::Rendition(rendition) => Some((name.as_str(), rendition)),
                Output::Ladder { .. } | Output::Copy(_) => None,
            })
            .collect()
    }

    /// The rungs of a ladder are switched between at segments: all of them are there, and cut alike.
    fn check_ladders(&self) -> Result<(), Error> {
        for profile in self.iter() {
            let Output::Ladder { renditions } = &profile.output else { continue };
            let wrong = |problem: String| Error::Ladder { profile: profile.name.clone(), problem };
            for name in renditions {
                match self.get(name).map(|profile| &profile.output) {
                    None => {
                        let known = self.names().collect::<Vec<_>>().join(", ");
                        return Err(wrong(format!(
                            "its rendition {name:?} is no profile; there are {known}"
                        )));
                    }
                    Some(Output::Rendition(_)) => {}
                    Some(Output::Ladder { .. } | Output::Copy(_)) => {
                        return Err(wrong(format!("{name:?} is no rendition: it encodes nothing itself")));
                    }
                }
            }
            let rungs = self.renditions(&profile.name);
            if let Some((odd, _)) = rungs.iter().find(|(_, rung)| rung.packaging != rungs[0].1.packaging) {
                let first = rungs[0].0;
                return Err(wrong(format!(
                    "{odd:?} is cut otherwise than {first:?}; give them the same segment_ms, part_ms and low_latency"
                )));
            }
        }
        Ok(())
    }
}

fn parse(text: &str, file: &Path) -> Result<Profile, Error> {
    let flat: file::Named = toml::from_str(text).map_err(|error| Error::Syntax {
        file: file.to_owned(),
        // toml's own text is several lines long, with the place in the file; it fits into one.
        problem: error
            .to_string()
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .collect::<Vec<_>>()
            .join(" "),
    })?;
    let stem = file.file_stem().unwrap_or_default().to_string_lossy();
    flat.named(&stem).map_err(|source| Error::Invalid { file: file.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_built_in_profile_is_usable_and_survives_json_and_toml() {
        let profiles = Profiles::builtin();
        assert_eq!(profiles.iter().count(), BUILTIN.len());
        profiles.check_ladders().unwrap();
        for (name, _) in BUILTIN {
            let profile = profiles.get(name).unwrap();
            let json = serde_json::to_string(profile).unwrap();
            assert_eq!(&serde_json::from_str::<Profile>(&json).unwrap(), profile, "{json}");
            let text = toml::to_string_pretty(profile).unwrap();
            assert_eq!(&toml::from_str::<Profile>(&text).unwrap(), profile, "{text}");
        }
    }

    #[test]
    fn a_rendition_survives_the_way_to_the_worker() {
        for (_, rendition) in Profiles::builtin().renditions("ladder") {
            let json = serde_json::to_string(rendition).unwrap();
            assert_eq!(&serde_json::from_str::<Rendition>(&json).unwrap(), rendition, "{json}");
        }
    }

    fn folder(file: &str, text: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(file), text).unwrap();
        fs::write(folder.path().join("notes.txt"), "not a profile").unwrap();
        folder
    }

    const RADIO: &str = "description = \"Speech\"\nkind = \"rendition\"\n[audio]\ncodec = \"aac\"\nbitrate = 64000\n\
                         channels = 1\n";

    #[test]
    fn a_folder_adds_profiles_and_may_replace_built_in_ones() {
        let added = folder("radio.toml", RADIO);
        let profiles = Profiles::load(added.path()).unwrap();
        let Output::Rendition(radio) = &profiles.get("radio").unwrap().output else { panic!("no rendition") };
        assert_eq!((radio.video.as_ref(), radio.packaging), (None, Packaging::default()));
        let replaced = folder("audio-aac.toml", RADIO);
        let profiles = Profiles::load(replaced.path()).unwrap();
        assert_eq!(profiles.get("audio-aac").unwrap().description, "Speech");
        assert_eq!(profiles.iter().count(), BUILTIN.len());
    }

    #[test]
    fn a_bad_file_is_named_with_its_field() {
        let error =
            |file: &str, text: &str| Profiles::load(folder(file, text).path()).unwrap_err().to_string();
        let unknown = error("a.toml", &RADIO.replace("channels", "chanels"));
        assert!(unknown.contains("a.toml") && unknown.contains("chanels"), "{unknown}");
        let stray = error("a.toml", &format!("segments = 3\n{RADIO}"));
        assert!(stray.contains("segments"), "{stray}");
        let wrong = error("b.toml", &RADIO.replace("64000", "64"));
        assert!(wrong.contains("b.toml: audio.bitrate: 64 bits per second"), "{wrong}");
        let name = error("No Name.toml", RADIO);
        assert!(name.contains("\"No Name\" is not usable"), "{name}");
    }

    #[test]
    fn what_belongs_to_another_kind_is_refused() {
        let error = |text: &str| Profiles::load(folder("a.toml", text).path()).unwrap_err().to_string();
        let copy = error("description = \"x\"\nkind = \"copy\"\n[audio]\ncodec = \"aac\"\nbitrate = 64000\n");
        assert!(copy.contains("audio: a profile of kind copy has none"), "{copy}");
        let ladder = error(
            "description = \"x\"\nkind = \"ladder\"\nrenditions = [\"h264-720p\"]\nsegment_ms = 4000\n",
        );
        assert!(ladder.contains("segment_ms: a profile of kind ladder has none"), "{ladder}");
    }

    #[test]
    fn a_ladder_holds_renditions_that_are_cut_alike() {
        let error = |text: &str| Profiles::load(folder("mine.toml", text).path()).unwrap_err().to_string();
        let ladder = |of: &str| format!("description = \"x\"\nkind = \"ladder\"\nrenditions = [{of}]\n");
        assert!(error(&ladder("\"h264-1080\"")).contains("\"h264-1080\" is no profile"));
        assert!(error(&ladder("\"copy\"")).contains("is no rendition"));
        assert!(error(&ladder("\"h264-720p\", \"h264-720p-ll\"")).contains("is cut otherwise"));
        assert!(error(&ladder("")).contains("renditions: a ladder needs"));
    }

    #[test]
    fn a_worker_needs_what_the_encode_uses() {
        let profiles = Profiles::builtin();
        let need = profiles.renditions("h264-720p")[0].1.need();
        assert_eq!(need.video.unwrap().codec, VideoCodec::H264);
        assert_eq!(need.any_of, [["aac"]]);
        assert!(need.filters.iter().any(|name| name == "scale"), "{:?}", need.filters);
        assert_eq!(profiles.renditions("audio-aac")[0].1.need().video, None);
    }
}
