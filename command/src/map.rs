//! Which streams are meant: specifiers of options, and what `-map` takes.

use std::fmt;

use crate::{number, table::Media};

/// Streams of one file that an option is for. With neither part: all of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Specifier {
    pub media: Option<Media>,
    /// Among those of the medium; among all streams when there is none.
    pub index: Option<u32>,
}

/// Highest index of a stream.
const MAX_STREAM: i64 = 99;
/// Highest number of an input, from 0.
pub(crate) const MAX_INPUT: usize = 7;

impl Specifier {
    /// What comes after the colon of `-b:v:0`, and after `0:` in a map.
    pub(crate) fn read(text: &str) -> Option<Self> {
        let index = |text: &str| {
            number::integer(text)
                .filter(|index| (0..=MAX_STREAM).contains(index))
                .and_then(|index| u32::try_from(index).ok())
        };
        match text.split_once(':') {
            Some((media, place)) => {
                Some(Self { media: Some(Media::of_letter(media)?), index: Some(index(place)?) })
            }
            None => match Media::of_letter(text) {
                Some(media) => Some(Self { media: Some(media), index: None }),
                None => Some(Self { media: None, index: Some(index(text)?) }),
            },
        }
    }

    /// Whether some stream may be meant by both.
    pub(crate) fn overlaps(self, other: Self) -> bool {
        let apart =
            |one: Option<u32>, two: Option<u32>| matches!((one, two), (Some(one), Some(two)) if one != two);
        match (self.media, other.media) {
            (Some(one), Some(two)) if one != two => false,
            (Some(_), Some(_)) | (None, None) => !apart(self.index, other.index),
            // An index among all streams against one among those of a medium: nobody knows.
            _ => true,
        }
    }

    /// How much it says: of two that overlap, the one that says more is the exception to the other.
    pub(crate) fn closeness(self) -> u8 {
        u8::from(self.media.is_some()) + 2 * u8::from(self.index.is_some())
    }
}

impl fmt::Display for Specifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.media, self.index) {
            (None, None) => Ok(()),
            (Some(media), None) => write!(f, "{}", media.letter()),
            (None, Some(index)) => write!(f, "{index}"),
            (Some(media), Some(index)) => write!(f, "{}:{index}", media.letter()),
        }
    }
}

/// Streams of an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Streams {
    /// In the order of `-i`, from 0.
    pub(crate) input: usize,
    pub(crate) specifier: Specifier,
}

impl Streams {
    /// `0`, `0:v`, `1:a:0`, `0:2`.
    pub(crate) fn read(text: &str) -> Option<Self> {
        let (input, specifier) = match text.split_once(':') {
            Some((input, specifier)) => (input, Specifier::read(specifier)?),
            None => (text, Specifier::default()),
        };
        let input = usize::try_from(number::integer(input)?).ok().filter(|input| *input <= MAX_INPUT)?;
        Some(Self { input, specifier })
    }
}

impl fmt::Display for Streams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.input)?;
        if self.specifier == Specifier::default() { Ok(()) } else { write!(f, ":{}", self.specifier) }
    }
}

/// What `-map` takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Map {
    Streams {
        /// Taken out of what was mapped before.
        without: bool,
        streams: Streams,
        /// No error when there are none.
        optional: bool,
    },
    /// An output of a graph.
    Label(Label),
}

pub(crate) fn read(text: &str) -> Option<Map> {
    if let Some(label) = text.strip_prefix('[') {
        return Some(Map::Label(Label::read(label.strip_suffix(']')?)?));
    }
    let (without, rest) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (rest, optional) = rest.strip_suffix('?').map_or((rest, false), |rest| (rest, true));
    // Without a number, ffmpeg takes the first input.
    let first = |specifier: Specifier| Streams { input: 0, specifier };
    let streams =
        Streams::read(rest).or_else(|| Specifier::read(rest).filter(|of| of.media.is_some()).map(first))?;
    Some(Map::Streams { without, streams, optional })
}

impl fmt::Display for Map {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Label(label) => write!(f, "[{label}]"),
            Self::Streams { without, streams, optional } => {
                write!(f, "{}{streams}{}", if *without { "-" } else { "" }, if *optional { "?" } else { "" })
            }
        }
    }
}

/// The name of a connection in a graph. It has a letter, so that it is not the number of an input.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Label(String);

impl Label {
    pub(crate) fn read(text: &str) -> Option<Self> {
        let fine = text.len() <= 32
            && text.starts_with(|first: char| first.is_ascii_alphanumeric())
            && text.bytes().any(|byte| byte.is_ascii_alphabetic())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
        fine.then(|| Self(text.to_owned()))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_written_as_they_were_read() {
        for text in ["0", "0:v", "0:v:0", "1:a?", "-0:s", "0:2", "[v1]", "[360p]", "-1:a:3?"] {
            assert_eq!(read(text).map(|map| map.to_string()).as_deref(), Some(text));
        }
        assert_eq!(read("v:0").map(|map| map.to_string()).as_deref(), Some("0:v:0"));
        for text in [
            "",
            "0:x",
            "0:v:0:0",
            "[0:v]",
            "[]",
            "[a b]",
            "99",
            "0:m:language:eng",
            "0:v:-1",
            "０:v",
            "[v",
            "0:p:1",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn what_may_mean_the_same_stream_overlaps() {
        let read = |text: &str| Specifier::read(text).unwrap_or_default();
        for (one, two, expected) in [
            ("v", "v:0", true),
            ("v", "a", false),
            ("v:0", "v:1", false),
            ("", "a:1", true),
            ("1", "2", false),
            ("1", "v", true),
        ] {
            assert_eq!(read(one).overlaps(read(two)), expected, "{one} {two}");
            assert_eq!(read(two).overlaps(read(one)), expected, "{one} {two}");
        }
    }
}
