//! Names of a variant's files in URLs.

use std::fmt;

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
    /// `seg-7.m4s`, `video-7.m4s`, `audio-7.m4s`
    Fragments(Tracks, u64),
    /// `part-7.0.m4s`
    Part(u64, u32),
    /// `init-0-1a2b3c4d.mp4`, `video-init-0-1a2b3c4d.mp4`
    Init(Tracks, Init),
}

/// Which tracks of the variant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tracks {
    All,
    Video,
    Audio,
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
                ("", init) => (Tracks::All, init),
                ("video-", init) => (Tracks::Video, init),
                ("audio-", init) => (Tracks::Audio, init),
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
            ("seg", "m4s") => Some(Self::Fragments(Tracks::All, integer(number)?)),
            ("video", "m4s") => Some(Self::Fragments(Tracks::Video, integer(number)?)),
            ("audio", "m4s") => Some(Self::Fragments(Tracks::Audio, integer(number)?)),
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
            Self::Fragments(Tracks::Audio, _) | Self::Init(Tracks::Audio, _) => "audio/mp4",
            Self::Fragments(..) | Self::Part(..) => "video/iso.segment",
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
            Self::Fragments(tracks, sequence) => {
                let kind = match tracks {
                    Tracks::All => "seg",
                    Tracks::Video => "video",
                    Tracks::Audio => "audio",
                };
                write!(f, "{kind}-{sequence}.m4s")
            }
            Self::Part(sequence, part) => write!(f, "part-{sequence}.{part}.m4s"),
            Self::Init(tracks, Init { number, digest }) => {
                let kind = match tracks {
                    Tracks::All => "",
                    Tracks::Video => "video-",
                    Tracks::Audio => "audio-",
                };
                write!(f, "{kind}init-{number}-{digest:08x}.mp4")
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
            File::Fragments(Tracks::All, 7),
            File::Fragments(Tracks::Video, 7),
            File::Fragments(Tracks::Audio, 7),
            File::Part(7, 0),
            File::Init(Tracks::All, init.clone()),
            File::Init(Tracks::Video, init.clone()),
            File::Init(Tracks::Audio, init),
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
