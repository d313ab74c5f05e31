//! Reads the tables. They are part of the program, so a mistake in them is a bug: it panics, and a test reads them all.

use std::collections::{BTreeMap, BTreeSet};

use super::{Encoder, FilterRow, Layout, Media, Muxer, OptionRow, Refused, Row, Rows, Tables, Variable};
use crate::kind::{Macros, Type};

const FILTERS: [&str; 4] = [
    include_str!("../../tables/filters-frame.txt"),
    include_str!("../../tables/filters-picture.txt"),
    include_str!("../../tables/filters-audio.txt"),
    include_str!("../../tables/filters-source.txt"),
];

pub(super) fn tables() -> Tables {
    let (macros, dictionaries) = types(include_str!("../../tables/types.txt"));
    let options = options(include_str!("../../tables/options.txt"), &macros);
    let Codecs { encoders, called, decoders } = codecs(include_str!("../../tables/codecs.txt"), &macros);
    let muxers = muxers(include_str!("../../tables/muxers.txt"), &macros);
    let private = encoders
        .values()
        .flat_map(|encoder| &encoder.options)
        .chain(muxers.values().flat_map(|muxer| &muxer.options))
        .flat_map(|row| row.other_names.iter().chain([&row.name]))
        .copied()
        .collect::<BTreeSet<_>>();
    Tables {
        options,
        aliases: aliases(include_str!("../../tables/aliases.txt")),
        ignored: ignored(include_str!("../../tables/ignored.txt")),
        encoders,
        called,
        decoders,
        muxers,
        filters: FILTERS.into_iter().flat_map(|text| filters(text, &macros)).collect(),
        variables: variables(include_str!("../../tables/variables.txt")),
        dictionaries,
        refused: refused(include_str!("../../tables/refused.txt")),
        private,
    }
}

fn lines(text: &'static str) -> impl Iterator<Item = &'static str> {
    text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#'))
}

/// Columns are parted by two spaces or more.
fn columns(line: &'static str) -> Vec<&'static str> {
    line.split("  ").map(str::trim).filter(|column| !column.is_empty()).collect()
}

/// A line without indentation, and those below it that have some.
fn blocks(text: &'static str) -> Vec<(&'static str, Vec<&'static str>)> {
    let mut blocks: Vec<(&str, Vec<&str>)> = Vec::new();
    for line in lines(text) {
        match blocks.last_mut() {
            Some((_, below)) if line.starts_with(' ') => below.push(line),
            _ => blocks.push((line, Vec::new())),
        }
    }
    blocks
}

fn rows(below: &[&'static str], macros: &Macros) -> Rows {
    below
        .iter()
        .map(|line| {
            let columns = columns(line);
            let [names, kind] = columns[..] else { panic!("an option is a name and a type: {line}") };
            let mut names = names.split(',');
            let name = names.next().expect("split gives at least one");
            let kind = match kind.strip_prefix('!') {
                Some(reason) => Err(reason),
                None => Ok(Type::of_table(kind, macros)),
            };
            Row { name, other_names: names.collect(), kind }
        })
        .collect()
}

fn types(text: &'static str) -> (Macros, BTreeMap<&'static str, Rows>) {
    let blocks = blocks(text);
    let mut macros = Macros::new();
    for (head, below) in &blocks {
        if below.is_empty() {
            let columns = columns(head);
            let [name, kind] = columns[..] else { panic!("a type is a name and what it stands for: {head}") };
            macros.insert(name, kind);
        }
    }
    let dictionaries = blocks
        .iter()
        .filter(|(_, below)| !below.is_empty())
        .map(|(head, below)| (columns(head)[0], rows(below, &macros)))
        .collect();
    (macros, dictionaries)
}

fn options(text: &'static str, macros: &Macros) -> BTreeMap<&'static str, OptionRow> {
    lines(text)
        .map(|line| {
            let columns = columns(line);
            let [name, place, media, kind, meaning] = columns[..] else { panic!("five columns: {line}") };
            let row = OptionRow {
                global: place.contains('g'),
                input: place.contains('i'),
                output: place.contains('o'),
                repeats: place.contains('*'),
                media: Media::ALL.into_iter().filter(|of| media.contains(of.letter())).collect(),
                kind: Type::of_table(kind, macros),
                meaning: meaning.trim_start_matches("# "),
            };
            (name, row)
        })
        .collect()
}

fn aliases(text: &'static str) -> BTreeMap<&'static str, (&'static str, Option<&'static str>)> {
    lines(text)
        .map(|line| {
            let columns = columns(line);
            let [name, option] = columns[..] else { panic!("two columns: {line}") };
            let target = match option.split_once(':') {
                Some((option, specifier)) => (option, Some(specifier)),
                None => (option, None),
            };
            (name, target)
        })
        .collect()
}

fn ignored(text: &'static str) -> BTreeMap<&'static str, usize> {
    lines(text)
        .map(|line| {
            let columns = columns(line);
            (columns[0], columns[1].parse().expect("a number of arguments"))
        })
        .collect()
}

fn media(letter: &str) -> Media {
    Media::of_letter(letter).unwrap_or_else(|| panic!("v, a, s or d, not {letter}"))
}

#[derive(Default)]
struct Codecs {
    encoders: BTreeMap<&'static str, Encoder>,
    called: BTreeMap<&'static str, &'static str>,
    decoders: BTreeMap<&'static str, Media>,
}

fn codecs(text: &'static str, macros: &Macros) -> Codecs {
    let mut codecs = Codecs::default();
    for (head, below) in blocks(text) {
        let words: Vec<&str> = head.split_whitespace().collect();
        match words[..] {
            ["encoder", name, letter] => {
                let encoder = Encoder { media: media(letter), options: rows(&below, macros) };
                codecs.encoders.insert(name, encoder);
            }
            ["encoder", name, letter, "like", model] => {
                let options = inherited(rows(&below, macros), &codecs.encoders[model].options);
                codecs.encoders.insert(name, Encoder { media: media(letter), options });
            }
            ["called", ref pairs @ ..] => {
                codecs.called.extend(pairs.iter().filter_map(|pair| pair.split_once('=')));
            }
            ["decoder", letter, ref names @ ..] => {
                codecs.decoders.extend(names.iter().map(|name| (*name, media(letter))));
            }
            _ => panic!("an encoder or decoders: {head}"),
        }
    }
    codecs
}

/// What is said of an option here comes before what its model says.
fn inherited(mut own: Rows, model: &[Row]) -> Rows {
    let more: Rows =
        model.iter().filter(|row| own.iter().all(|known| known.name != row.name)).cloned().collect();
    own.extend(more);
    own
}

fn muxers(text: &'static str, macros: &Macros) -> BTreeMap<&'static str, Muxer> {
    let mut muxers: BTreeMap<&'static str, Muxer> = BTreeMap::new();
    for (head, below) in blocks(text) {
        let mut words = head.split_whitespace().skip(1);
        let name = words.next().unwrap_or_else(|| panic!("a container has a name: {head}"));
        let mut muxer = Muxer {
            called: None,
            layout: Layout::File,
            extensions: Vec::new(),
            defaults: Vec::new(),
            special_defaults: Vec::new(),
            options: rows(&below, macros),
        };
        for word in words {
            match word.split_once('=') {
                Some(("as", called)) => muxer.called = Some(called),
                Some(("kind", kind)) => muxer.layout = layout(kind),
                Some(("ext", list)) => {
                    muxer.extensions = list.split(',').filter(|part| !part.is_empty()).collect();
                }
                Some(("like", model)) => muxer.options = inherited(muxer.options, &muxers[model].options),
                Some(("video", encoder)) => muxer.defaults.push((Media::Video, encoder)),
                Some(("audio", encoder)) => muxer.defaults.push((Media::Audio, encoder)),
                Some(("subtitle", encoder)) => muxer.defaults.push((Media::Subtitle, encoder)),
                Some((key, encoder)) if key.starts_with("video:") => {
                    muxer.special_defaults.push((&key["video:".len()..], encoder));
                }
                _ => panic!("unknown {word} in {head}"),
            }
        }
        muxers.insert(name, muxer);
    }
    muxers
}

fn layout(word: &str) -> Layout {
    match word {
        "file" => Layout::File,
        "hls" => Layout::Hls,
        "dash" => Layout::Dash,
        "images" => Layout::Images,
        "segments" => Layout::Segments,
        _ => panic!("unknown kind {word}"),
    }
}

fn filters(text: &'static str, macros: &Macros) -> Vec<(&'static str, FilterRow)> {
    blocks(text)
        .into_iter()
        .map(|(head, below)| {
            let mut words = head.split_whitespace();
            let name = words.next().expect("a block has a head");
            (name, FilterRow { timeline: words.next() == Some("enable"), options: rows(&below, macros) })
        })
        .collect()
}

fn variables(text: &'static str) -> BTreeMap<&'static str, BTreeMap<&'static str, Variable>> {
    lines(text)
        .map(|line| {
            let mut words = line.split_whitespace();
            let set = words.next().expect("a line is not empty");
            (set, words.map(variable).collect())
        })
        .collect()
}

fn variable(word: &'static str) -> (&'static str, Variable) {
    if let Some((name, arguments)) = word.split_once('(') {
        let arguments = arguments.trim_end_matches(')').parse().expect("a number of arguments");
        return (name, Variable::Function(arguments));
    }
    match word.split_once('=') {
        Some((name, value)) => (name, Variable::Value(value.parse().expect("a number"))),
        None => (word, Variable::Value(f64::NAN)),
    }
}

fn refused(text: &'static str) -> BTreeMap<(Refused, &'static str), &'static str> {
    lines(text)
        .map(|line| {
            let columns = columns(line);
            let [what, name, reason] = columns[..] else { panic!("three columns: {line}") };
            let what = match what {
                "option" => Refused::Option,
                "filter" => Refused::Filter,
                "muxer" => Refused::Muxer,
                "dictionary" => Refused::Dictionary,
                _ => panic!("unknown {what} in {line}"),
            };
            ((what, name), reason)
        })
        .collect()
}
