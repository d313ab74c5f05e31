//! Presets: named specs, built in or read from a folder of TOML files.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::spec::Spec;

/// A named spec.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Preset {
    pub name: String,
    /// One line for people.
    pub description: String,
    pub spec: Spec,
}

/// The presets that can be asked for, by name.
#[derive(Debug, Clone, Default)]
pub struct Presets(BTreeMap<String, Preset>);

/// A preset that cannot be used, or a folder of them that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("reading the presets in {folder}: {source}; check TVARR_PRESETS_DIR and the folder's permissions", folder = .folder.display())]
    Folder { folder: PathBuf, source: std::io::Error },
    #[error("reading the preset {file}: {source}; make it readable or move it away", file = .file.display())]
    File { file: PathBuf, source: std::io::Error },
    #[error("preset {file}: {problem}", file = .file.display())]
    Syntax { file: PathBuf, problem: String },
    #[error("preset {file}: spec.{source}", file = .file.display())]
    Spec { file: PathBuf, source: crate::spec::Error },
    #[error("preset {file}: the name {name:?} is not usable; use 1 to 64 lower-case letters, digits and '-'", file = .file.display())]
    Name { file: PathBuf, name: String },
}

macro_rules! builtin {
    ($($name:literal),+ $(,)?) => {
        [$(($name, include_str!(concat!("builtin/", $name, ".toml")))),+]
    };
}

const BUILTIN: [(&str, &str); 15] = builtin!(
    "archive-dnxhr",
    "archive-prores",
    "audio-only",
    "av1",
    "compress-video",
    "convert-to-hls",
    "h264",
    "hevc",
    "hls-ladder",
    "proxy",
    "social-landscape",
    "social-square",
    "social-vertical",
    "thumbnails",
    "vp9",
);

/// A preset's file. The name is the file's own unless it is given.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PresetFile {
    name: Option<String>,
    description: String,
    spec: Spec,
}

impl Presets {
    /// Those that come with the program.
    #[must_use]
    pub fn builtin() -> Self {
        let parse = |(name, text): (&str, &str)| {
            let preset = parse(text, Path::new(name)).expect("built-in presets are tested");
            (preset.name.clone(), preset)
        };
        Self(BUILTIN.into_iter().map(parse).collect())
    }

    /// The built-in ones and those of `*.toml` in a folder, which replace built-in ones of the same name.
    ///
    /// # Errors
    /// The first file that is no usable preset, with the field that is wrong.
    pub fn load(folder: &Path) -> Result<Self, Error> {
        let mut presets = Self::builtin();
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
            let preset = parse(&text, &file)?;
            presets.0.insert(preset.name.clone(), preset);
        }
        Ok(presets)
    }

    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Preset> {
        self.0.get(name)
    }

    /// By name.
    pub fn iter(&self) -> impl Iterator<Item = &Preset> {
        self.0.values()
    }

    /// Names, in order, for messages about an unknown one.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

fn parse(text: &str, file: &Path) -> Result<Preset, Error> {
    let parsed: PresetFile = toml::from_str(text).map_err(|error| Error::Syntax {
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
    let name =
        parsed.name.unwrap_or_else(|| file.file_stem().unwrap_or_default().to_string_lossy().into_owned());
    let plain = (1..=64).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && name != "custom";
    if !plain {
        return Err(Error::Name { file: file.to_owned(), name });
    }
    parsed.spec.validate().map_err(|source| Error::Spec { file: file.to_owned(), source })?;
    Ok(Preset { name, description: parsed.description, spec: parsed.spec })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_built_in_preset_is_usable_and_survives_json() {
        let presets = Presets::builtin();
        assert_eq!(presets.iter().count(), BUILTIN.len());
        for (name, _) in BUILTIN {
            let preset = presets.get(name).unwrap();
            let json = serde_json::to_string(&preset.spec).unwrap();
            assert_eq!(serde_json::from_str::<Spec>(&json).unwrap(), preset.spec, "{name}");
        }
    }

    #[test]
    fn every_built_in_preset_is_documented() {
        let page = include_str!("../../../docs/presets.md");
        for (name, _) in BUILTIN {
            assert!(page.contains(&format!("| `{name}` |")), "docs/presets.md does not name {name}");
        }
    }

    fn folder(file: &str, text: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(file), text).unwrap();
        fs::write(folder.path().join("notes.txt"), "not a preset").unwrap();
        folder
    }

    const PODCAST: &str = "description = \"Mono speech\"\n[spec]\nkind = \"file\"\ncontainer = \"mp3\"\n\
                           audio = { codec = \"mp3\", bitrate = 96000, max_channels = 1 }\n";

    #[test]
    fn a_folder_adds_presets_and_may_replace_built_in_ones() {
        let added = folder("podcast.toml", PODCAST);
        assert!(Presets::load(added.path()).unwrap().get("podcast").is_some());
        let replaced = folder("h264.toml", PODCAST);
        let presets = Presets::load(replaced.path()).unwrap();
        assert_eq!(presets.get("h264").unwrap().description, "Mono speech");
        assert_eq!(presets.iter().count(), BUILTIN.len());
    }

    #[test]
    fn a_bad_file_is_named_with_its_field() {
        let error =
            |file: &str, text: &str| Presets::load(folder(file, text).path()).unwrap_err().to_string();
        let unknown = error("a.toml", &PODCAST.replace("max_channels", "channels"));
        assert!(unknown.contains("a.toml") && unknown.contains("channels"), "{unknown}");
        let wrong = error("b.toml", &PODCAST.replace("96000", "96"));
        assert!(wrong.contains("b.toml: spec.audio.bitrate: 96 bits per second"), "{wrong}");
        let name = error("No Name.toml", PODCAST);
        assert!(name.contains("\"No Name\" is not usable"), "{name}");
    }
}
