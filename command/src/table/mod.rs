//! What is allowed, read from the files in `tables/`, whose heads say how they are written.

mod load;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::LazyLock,
};

use crate::kind::Type;

pub(crate) static TABLES: LazyLock<Tables> = LazyLock::new(load::tables);

#[derive(Debug)]
pub(crate) struct Tables {
    pub(crate) options: BTreeMap<&'static str, OptionRow>,
    /// Another name of an option: the option, and the specifier that the name stands for.
    pub(crate) aliases: BTreeMap<&'static str, (&'static str, Option<&'static str>)>,
    /// Options that are read and left out, with the number of their arguments.
    pub(crate) ignored: BTreeMap<&'static str, usize>,
    pub(crate) encoders: BTreeMap<&'static str, Encoder>,
    /// What a codec may be called, and the encoder that is meant.
    pub(crate) called: BTreeMap<&'static str, &'static str>,
    pub(crate) decoders: BTreeMap<&'static str, Media>,
    pub(crate) muxers: BTreeMap<&'static str, Muxer>,
    pub(crate) filters: BTreeMap<&'static str, FilterRow>,
    pub(crate) variables: BTreeMap<&'static str, BTreeMap<&'static str, Variable>>,
    pub(crate) dictionaries: BTreeMap<&'static str, Rows>,
    pub(crate) refused: BTreeMap<(Refused, &'static str), &'static str>,
    /// Names of all options of encoders and containers.
    pub(crate) private: BTreeSet<&'static str>,
}

/// An option of ffmpeg itself, or of every codec or container.
#[derive(Debug)]
pub(crate) struct OptionRow {
    pub(crate) global: bool,
    pub(crate) input: bool,
    pub(crate) output: bool,
    pub(crate) repeats: bool,
    /// Which media a specifier may name; empty when there is no specifier.
    pub(crate) media: Vec<Media>,
    pub(crate) kind: Type,
    pub(crate) meaning: &'static str,
}

/// The kind of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Media {
    Video,
    Audio,
    Subtitle,
    Data,
}

impl Media {
    pub(crate) const ALL: [Self; 4] = [Self::Video, Self::Audio, Self::Subtitle, Self::Data];

    pub(crate) fn letter(self) -> char {
        match self {
            Self::Video => 'v',
            Self::Audio => 'a',
            Self::Subtitle => 's',
            Self::Data => 'd',
        }
    }

    pub(crate) fn of_letter(letter: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|media| letter.len() == 1 && letter.starts_with(media.letter()))
    }
}

#[derive(Debug)]
pub(crate) struct Encoder {
    pub(crate) media: Media,
    pub(crate) options: Rows,
}

#[derive(Debug)]
pub(crate) struct Muxer {
    pub(crate) called: Option<&'static str>,
    pub(crate) layout: Layout,
    pub(crate) extensions: Vec<&'static str>,
    /// Encoders of streams for which none is named.
    pub(crate) defaults: Vec<(Media, &'static str)>,
    /// Encoders of video for single extensions.
    pub(crate) special_defaults: Vec<(&'static str, &'static str)>,
    pub(crate) options: Rows,
}

/// How an output's files are named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layout {
    File,
    Hls,
    Dash,
    Images,
    Segments,
}

#[derive(Debug)]
pub(crate) struct FilterRow {
    /// It takes `enable`.
    pub(crate) timeline: bool,
    pub(crate) options: Rows,
}

/// Options in their order, which for filters is that of positional values.
pub(crate) type Rows = Vec<Row>;

#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) other_names: Vec<&'static str>,
    /// Why it is refused, or what it takes.
    pub(crate) kind: Result<Type, &'static str>,
}

pub(crate) fn row<'a>(rows: &'a [Row], name: &str) -> Option<&'a Row> {
    rows.iter().find(|row| row.name == name || row.other_names.contains(&name))
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Variable {
    /// With the value that stands for it in checks.
    Value(f64),
    /// With the number of its arguments.
    Function(usize),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Refused {
    Option,
    Filter,
    Muxer,
    Dictionary,
}

impl Tables {
    pub(crate) fn muxer_of_extension(&self, extension: &str) -> Option<&'static str> {
        self.muxers.iter().find(|(_, muxer)| muxer.extensions.contains(&extension)).map(|(name, _)| *name)
    }

    /// A container by ffmpeg's name, by what users call it, or by an extension.
    pub(crate) fn muxer_called(&self, name: &str) -> Option<&'static str> {
        let called = self.muxers.iter().find(|(known, muxer)| **known == name || muxer.called == Some(name));
        called.map(|(known, _)| *known)
    }
}
