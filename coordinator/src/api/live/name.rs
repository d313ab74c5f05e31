//! Names of a variant's files in URLs.

use std::fmt;

use mux::Ticks;
use sha2::{Digest as _, Sha256};

/// What a viewer asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum File {
    /// `stream.ts`
    Stream,
    /// `index.m3u8`
    Playlist,
    /// `master.m3u8`
    Master,
    /// `manifest.mpd`
    Manifest,
    /// `seg-7.ts`
    Packets(u64),
    /// `seg-7.m4s`
    Fragments(u64),
    /// `video-1795283538766-1620000.m4s`, `audio-1795283538766-1620000.m4s`
    Track(Kind, Place),
    /// `part-7.0.m4s`
    Part(u64, u32),
    /// `init-0-1a2b3c4d.mp4`; of one track `video-init-0-1a2b3c4d.mp4`, `audio-init-0-1a2b3c4d.mp4`
    Init(Option<Kind>, Init),
}

/// Which track of the variant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Video,
    Audio,
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Video => "video",
            Self::Audio => "audio",
        }
    }
}

/// A segment by its time, as DASH has it: ffmpeg finds its way in a manifest that grows by nothing else. After a restart of the
/// variant the same time may mean another one, so the beginning of the run goes with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// When the first segment since the last discontinuity began, in milliseconds since the Unix epoch.
    pub(super) run: i64,
    pub(super) start: Ticks,
}

impl Place {
    fn parse(text: &str) -> Option<Self> {
        let (run, start) = text.split_once('-')?;
        Some(Self { run: integer(run)?, start: Ticks(integer(start)?) })
    }
}

/// An init segment by its number and its content: after a restart of the variant the same number may mean another one, and
/// players keep what they have by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Init {
    pub(super) number: u32,
    digest: u32,
}

impl Init {
    pub(super) fn of(number: u32, bytes: &[u8]) -> Self {
        let digest = Sha256::digest(bytes);
        Self { number, digest: u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]) }
    }
}

impl File {
    pub(super) fn parse(name: &str) -> Option<Self> {
        match name {
            "stream.ts" => return Some(Self::Stream),
            "index.m3u8" => return Some(Self::Playlist),
            "master.m3u8" => return Some(Self::Master),
            "manifest.mpd" => return Some(Self::Manifest),
            _ => {}
        }
        let (stem, extension) = name.rsplit_once('.')?;
        if extension == "mp4" {
            let (tracks, init) = match stem.split_once("init-")? {
                ("", init) => (None, init),
                ("video-", init) => (Some(Kind::Video), init),
                ("audio-", init) => (Some(Kind::Audio), init),
                _ => return None,
            };
            let (number, digest) = init.split_once('-')?;
            let lower_hex = digest.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
            let digest = u32::from_str_radix(digest, 16).ok().filter(|_| digest.len() == 8 && lower_hex)?;
            return Some(Self::Init(tracks, Init { number: integer(number)?, digest }));
        }
        let (kind, number) = stem.split_once('-')?;
        match (kind, extension) {
            ("seg", "ts") => Some(Self::Packets(integer(number)?)),
            ("seg", "m4s") => Some(Self::Fragments(integer(number)?)),
            ("video", "m4s") => Some(Self::Track(Kind::Video, Place::parse(number)?)),
            ("audio", "m4s") => Some(Self::Track(Kind::Audio, Place::parse(number)?)),
            ("part", "m4s") => {
                let (sequence, part) = number.split_once('.')?;
                Some(Self::Part(integer(sequence)?, integer(part)?))
            }
            _ => None,
        }
    }

    pub(super) const fn content_type(&self) -> &'static str {
        match self {
            Self::Stream | Self::Packets(_) => "video/mp2t",
            Self::Playlist | Self::Master => "application/vnd.apple.mpegurl",
            Self::Manifest => "application/dash+xml",
            Self::Track(Kind::Audio, _) | Self::Init(Some(Kind::Audio), _) => "audio/mp4",
            Self::Fragments(_) | Self::Track(..) | Self::Part(..) => "video/iso.segment",
            Self::Init(..) => "video/mp4",
        }
    }
}

/// Decimal, written in the one way there is: each file has one name.
fn integer<T: std::str::FromStr + ToString>(text: &str) -> Option<T> {
    let number: T = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}

impl fmt::Display for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stream => f.write_str("stream.ts"),
            Self::Playlist => f.write_str("index.m3u8"),
            Self::Master => f.write_str("master.m3u8"),
            Self::Manifest => f.write_str("manifest.mpd"),
            Self::Packets(sequence) => write!(f, "seg-{sequence}.ts"),
            Self::Fragments(sequence) => write!(f, "seg-{sequence}.m4s"),
            Self::Track(kind, Place { run, start }) => write!(f, "{}-{run}-{}.m4s", kind.name(), start.0),
            Self::Part(sequence, part) => write!(f, "part-{sequence}.{part}.m4s"),
            Self::Init(kind, Init { number, digest }) => {
                if let Some(kind) = kind {
                    write!(f, "{}-", kind.name())?;
                }
                write!(f, "init-{number}-{digest:08x}.mp4")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_is_found_by_its_name() {
        let init = Init::of(3, b"moov");
        for file in [
            File::Stream,
            File::Playlist,
            File::Master,
            File::Manifest,
            File::Packets(0),
            File::Packets(u64::MAX),
            File::Fragments(7),
            File::Track(Kind::Video, Place { run: 1_795_283_538_766, start: Ticks(1_620_000) }),
            File::Track(Kind::Audio, Place { run: 0, start: Ticks(-1) }),
            File::Part(7, 0),
            File::Init(None, init.clone()),
            File::Init(Some(Kind::Video), init.clone()),
            File::Init(Some(Kind::Audio), init),
        ] {
            assert_eq!(File::parse(&file.to_string()), Some(file.clone()), "{file}");
        }
    }

    #[test]
    fn a_file_has_one_name() {
        for name in [
            "",
            ".",
            "seg-07.ts",
            "seg-+7.ts",
            "seg-.ts",
            "seg-7.mp4",
            "seg-7",
            "seg-18446744073709551616.ts",
            "part-7.m4s",
            "video-7.m4s",
            "video-7-07.m4s",
            "part-7.0.0.m4s",
            "init-0.mp4",
            "init-0-1A2B3C4D.mp4",
            "init-0-1a2b.mp4",
            "x-init-0-00000000.mp4",
            "../seg-7.ts",
            "seg-7.ts ",
            "INDEX.M3U8",
        ] {
            assert_eq!(File::parse(name), None, "{name}");
        }
    }
}
