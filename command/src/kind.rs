//! Types of values: how the tables write them, what they accept, how they are explained.

use std::{collections::BTreeMap, fmt};

use crate::{
    error::{Problem, instead, not_ascii},
    expression, map,
    name::{Name, Role},
    number,
    shape::Shape,
    table::{Refused, TABLES, row},
    text,
    value::Value,
};

/// Types with a name, for `@name`.
pub(crate) type Macros = BTreeMap<&'static str, &'static str>;

#[derive(Debug, Clone)]
pub(crate) enum Type {
    Flag,
    Bool,
    Integer {
        least: i64,
        most: i64,
    },
    Number {
        least: f64,
        most: f64,
    },
    /// A factor, or the same in decibels, `-60dB`.
    Level {
        least: f64,
        most: f64,
    },
    /// Bits per second or bits, `128k`.
    Amount {
        least: i64,
        most: i64,
    },
    Rate {
        least: f64,
        most: f64,
    },
    Ratio {
        least: f64,
        most: f64,
    },
    /// In microseconds.
    Duration {
        least: i64,
        most: i64,
    },
    Size,
    Word(Vec<&'static str>),
    /// Other words for a word: what may be written, and what is meant.
    Also(Vec<(&'static str, &'static str)>),
    Flags(Vec<&'static str>),
    List {
        separator: char,
        most: usize,
        item: Box<Self>,
    },
    /// With the variables that it may read, and what it may come to.
    Expression {
        set: &'static str,
        range: Option<(f64, f64)>,
    },
    Shape(Shape),
    Text,
    Metadata,
    KeyFrames,
    Dictionary(&'static str),
    Name(Role),
    Map,
    Codec,
    Muxer,
    Graph(Scope),
    OneOf(Vec<Self>),
}

/// What a graph of filters is connected to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// One stream of an output.
    Simple,
    /// Streams of all inputs; its outputs are mapped.
    Complex,
}

impl Type {
    /// Reads a type as the tables have it.
    ///
    /// # Panics
    /// It is none: the tables are part of the program.
    pub(crate) fn of_table(text: &'static str, macros: &Macros) -> Self {
        let alternatives: Vec<&str> = text.split(" | ").collect();
        // In `list | 32 TYPE` the bar is a separator of values.
        if let Some(list) = text.strip_prefix("list | ") {
            return Self::list('|', list, macros);
        }
        match alternatives[..] {
            [one] => Self::single(one, macros),
            _ => {
                let types = alternatives.into_iter().flat_map(|text| match Self::single(text, macros) {
                    Self::OneOf(types) => types,
                    one => vec![one],
                });
                Self::OneOf(types.collect())
            }
        }
    }

    fn list(separator: char, text: &'static str, macros: &Macros) -> Self {
        let (most, item) =
            text.split_once(' ').unwrap_or_else(|| panic!("a list has a length and a type: {text}"));
        let most = most.parse().unwrap_or_else(|_| panic!("a length, not {most}"));
        Self::List { separator, most, item: Box::new(Self::of_table(item, macros)) }
    }

    fn single(text: &'static str, macros: &Macros) -> Self {
        if let Some(name) = text.strip_prefix('@') {
            return Self::of_table(macros[name], macros);
        }
        let (kind, rest) = text.split_once(' ').unwrap_or((text, ""));
        let words: Vec<&'static str> = rest.split(' ').filter(|word| !word.is_empty()).collect();
        let float = |at: usize| -> f64 { words[at].parse().unwrap_or_else(|_| panic!("a number in {text}")) };
        let whole =
            |at: usize| -> i64 { words[at].parse().unwrap_or_else(|_| panic!("a whole number in {text}")) };
        match kind {
            "flag" => Self::Flag,
            "bool" => Self::Bool,
            "int" => Self::Integer { least: whole(0), most: whole(1) },
            "num" => Self::Number { least: float(0), most: float(1) },
            "level" => Self::Level { least: float(0), most: float(1) },
            "bits" | "bytes" => Self::Amount { least: whole(0), most: whole(1) },
            "rate" => Self::Rate { least: float(0), most: float(1) },
            "ratio" => Self::Ratio { least: float(0), most: float(1) },
            #[expect(clippy::cast_possible_truncation, reason = "the tables have days, not ages")]
            "duration" => Self::Duration { least: (float(0) * 1e6) as i64, most: (float(1) * 1e6) as i64 },
            "size" => Self::Size,
            "word" => Self::Word(words),
            "also" => Self::Also(words.iter().filter_map(|word| word.split_once('=')).collect()),
            "flags" => Self::Flags(words),
            "list" => {
                let (separator, rest) =
                    rest.split_once(' ').unwrap_or_else(|| panic!("a separator in {text}"));
                let separator =
                    separator.chars().next().map(|separator| if separator == '_' { ' ' } else { separator });
                Self::list(separator.unwrap_or_else(|| panic!("a separator in {text}")), rest, macros)
            }
            "expr" => {
                Self::Expression { set: words[0], range: (words.len() > 1).then(|| (float(1), float(2))) }
            }
            "text" => Self::Text,
            "metadata" => Self::Metadata,
            "keyframes" => Self::KeyFrames,
            "dict" => Self::Dictionary(words[0]),
            "name" => Self::Name(Role::of_table(words[0])),
            "map" => Self::Map,
            "codec" => Self::Codec,
            "muxer" => Self::Muxer,
            "graph" if rest == "simple" => Self::Graph(Scope::Simple),
            "graph" => Self::Graph(Scope::Complex),
            _ => Self::Shape(Shape::of_table(kind, &words)),
        }
    }

    /// Reads a whole text as a value of this type. Graphs, codecs and containers need to know more and are read elsewhere.
    pub(crate) fn read(&self, text: &str) -> Result<Value, Problem> {
        match self.read_closely(text)? {
            Some(value) => Ok(value),
            None => Err(not_ascii(text).unwrap_or_else(|| {
                Problem::new(format!("'{}' is not allowed", shown(text)), self.remedy(text))
            })),
        }
    }

    fn remedy(&self, text: &str) -> String {
        match self {
            Self::Word(words) => instead(text, words.iter().copied()),
            Self::Flags(words) => {
                let wrong = text.split(['+', '-']).find(|part| !part.is_empty() && !words.contains(part));
                instead(wrong.unwrap_or(text), words.iter().copied())
            }
            Self::OneOf(types) => {
                let near = types
                    .iter()
                    .map(|kind| kind.remedy(text))
                    .find(|remedy| remedy.starts_with("did you mean"));
                near.unwrap_or_else(|| format!("give {self}"))
            }
            _ => format!("give {self}"),
        }
    }

    /// Nothing for what the explanation of the type explains well enough.
    fn read_closely(&self, text: &str) -> Result<Option<Value>, Problem> {
        let within = |value: f64, least: f64, most: f64| (least..=most).contains(&value);
        Ok(match self {
            Self::Flag | Self::Codec | Self::Muxer | Self::Graph(_) => None,
            Self::Bool => boolean(text).map(Value::Bool),
            Self::Integer { least, most } => {
                number::integer(text).filter(|value| (least..=most).contains(&value)).map(Value::Integer)
            }
            Self::Number { least, most } => {
                number::decimal(text).filter(|value| within(*value, *least, *most)).map(Value::Number)
            }
            Self::Level { least, most } => level(text, *least, *most),
            Self::Amount { least, most } => {
                number::amount(text).filter(|value| (least..=most).contains(&value)).map(Value::Integer)
            }
            Self::Rate { least, most } => rational(text, *least, *most, number::named_rate),
            Self::Ratio { least, most } => rational(text, *least, *most, |_| None),
            Self::Duration { least, most } => {
                number::duration(text).filter(|value| (least..=most).contains(&value)).map(Value::Duration)
            }
            Self::Size => number::size(text).map(|(width, height)| Value::Size(width, height)),
            Self::Word(words) => words.iter().find(|word| **word == text).map(|word| Value::Word(word)),
            Self::Also(words) => {
                words.iter().find(|(also, _)| *also == text).map(|(_, word)| Value::Word(word))
            }
            Self::Flags(words) => flags(text, words).map(Value::Flags),
            Self::List { separator, most, item } => list(text, *separator, *most, item)?,
            Self::Expression { set, range } => Some(expression(text, set, *range)?),
            Self::Shape(shape) => shape.read(text).map(Value::Shape),
            Self::Text if text.contains("%{") => {
                return Err(Problem::new(
                    "the text has '%{', and nothing in it is expanded",
                    "write what is to be drawn",
                ));
            }
            Self::Text => Some(Value::Text(text::read(text)?)),
            Self::Metadata => Some(metadata(text)?),
            Self::KeyFrames => key_frames(text)?,
            Self::Dictionary(name) => Some(dictionary(text, name)?),
            Self::Name(role) => Some(Value::Name(Name::read(text, *role)?)),
            Self::Map => map::read(text).map(Value::Map),
            Self::OneOf(types) => one_of(text, types)?,
        })
    }
}

/// As much of a wrong value as an error repeats, with what shows nothing made visible.
pub(crate) fn shown(text: &str) -> String {
    const SHOWN: usize = 80;
    let visible = |character: char| match character {
        '\'' | '"' | '`' | '\\' => character.to_string(),
        _ if text::allowed(character) => character.to_string(),
        _ => character.escape_unicode().to_string(),
    };
    let more = if text.chars().count() > SHOWN { "..." } else { "" };
    text.chars().take(SHOWN).map(visible).chain([more.to_owned()]).collect()
}

fn boolean(text: &str) -> Option<bool> {
    match text {
        "1" | "true" | "yes" | "y" | "on" | "enable" | "enabled" => Some(true),
        "0" | "false" | "no" | "n" | "off" | "disable" | "disabled" => Some(false),
        _ => None,
    }
}

#[expect(clippy::cast_precision_loss, reason = "both are below 2^31")]
fn rational(text: &str, least: f64, most: f64, named: impl Fn(&str) -> Option<(i64, i64)>) -> Option<Value> {
    let fine = |value: f64| (least..=most).contains(&value);
    match number::ratio(text).or_else(|| named(text)) {
        Some((numerator, denominator)) => {
            fine(numerator as f64 / denominator as f64).then_some(Value::Ratio(numerator, denominator))
        }
        None => number::decimal(text).filter(|value| fine(*value)).map(Value::Number),
    }
}

fn level(text: &str, least: f64, most: f64) -> Option<Value> {
    let fine = |factor: f64| (least..=most).contains(&factor);
    let Some(decibels) = text.strip_suffix("dB") else {
        return number::decimal(text).filter(|factor| fine(*factor)).map(Value::Number);
    };
    let decibels = number::decimal(decibels).filter(|decibels| fine(10_f64.powf(decibels / 20.0)))?;
    Some(Value::Shape(format!("{decibels}dB")))
}

fn flags(text: &str, words: &[&'static str]) -> Option<Vec<(Option<char>, &'static str)>> {
    let mut flags = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let sign = rest.chars().next().filter(|first| matches!(first, '+' | '-'));
        if sign.is_none() && !flags.is_empty() {
            return None;
        }
        rest = &rest[sign.map_or(0, char::len_utf8)..];
        let (word, after) = rest.split_at(rest.find(['+', '-']).unwrap_or(rest.len()));
        let known = words.iter().find(|known| **known == word)?;
        if flags.iter().any(|(_, flag)| flag == known) {
            return None;
        }
        flags.push((sign, *known));
        rest = after;
    }
    (!flags.is_empty()).then_some(flags)
}

fn list(text: &str, separator: char, most: usize, item: &Type) -> Result<Option<Value>, Problem> {
    let items =
        text.split(separator).map(|text| item.read_closely(text)).collect::<Result<Option<Vec<_>>, _>>()?;
    Ok(items.filter(|items| items.len() <= most).map(|items| Value::List(separator, items)))
}

fn expression(text: &str, set: &'static str, range: Option<(f64, f64)>) -> Result<Value, Problem> {
    if let Some(problem) = not_ascii(text) {
        return Err(problem);
    }
    let read = expression::read(text, set)?;
    if let Some((least, most)) = range
        && (read.value < least || read.value > most)
    {
        return Err(Problem::new(
            format!("'{}' comes to {} for a picture of 640x360", shown(text), read.value),
            format!("keep it from {least} to {most}"),
        ));
    }
    Ok(Value::Expression(read.text))
}

fn metadata(text: &str) -> Result<Value, Problem> {
    let fine = |key: &str| {
        key.len() <= 64
            && key.starts_with(|first: char| first.is_ascii_alphabetic())
            && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'))
    };
    match text.split_once('=') {
        Some((key, text)) if fine(key) => {
            Ok(Value::Metadata { key: key.to_owned(), text: text::read(text)? })
        }
        _ => Err(not_ascii(text.split('=').next().unwrap_or_default()).unwrap_or_else(|| {
            Problem::new(
                format!("'{}' is no tag", shown(text)),
                "write KEY=VALUE, with a key of letters, digits, '_', '-' and '.'",
            )
        })),
    }
}

fn key_frames(text: &str) -> Result<Option<Value>, Problem> {
    if let Some(condition) = text.strip_prefix("expr:") {
        let Value::Expression(condition) = expression(condition, "keyframes", None)? else { return Ok(None) };
        return Ok(Some(Value::Expression(format!("expr:{condition}"))));
    }
    if text == "source" {
        return Ok(Some(Value::Word("source")));
    }
    list(text, ',', 1000, &Type::Duration { least: 0, most: 360_000_000_000 })
}

fn dictionary(text: &str, name: &str) -> Result<Value, Problem> {
    let rows = &TABLES.dictionaries[name];
    let mut entries: Vec<(&'static str, Value)> = Vec::new();
    for entry in text.split(':') {
        let (key, value) = entry.split_once('=').unwrap_or((entry, "1"));
        let row = row(rows, key);
        let reason = TABLES.refused.get(&(Refused::Dictionary, key)).copied();
        let kind = match (row.map(|row| row.kind.as_ref().map_err(|reason| *reason)), reason) {
            (Some(Ok(kind)), _) => kind,
            (Some(Err(reason)), _) | (None, Some(reason)) => {
                return Err(Problem::new(format!("its key {key} is refused: it {reason}"), "leave it out"));
            }
            (None, None) => {
                return Err(not_ascii(key).unwrap_or_else(|| {
                    Problem::new(
                        format!("its key '{}' is not allowed", shown(key)),
                        instead(key, rows.iter().map(|row| row.name)),
                    )
                }));
            }
        };
        let key = row.map_or("", |row| row.name);
        if entries.iter().any(|(known, _)| *known == key) {
            return Err(Problem::new(format!("its key {key} is given twice"), "give it once"));
        }
        let value = kind.read(value).map_err(|problem| Problem {
            problem: format!("its key {key}: {}", problem.problem),
            ..problem
        })?;
        entries.push((key, value));
    }
    Ok(Value::Dictionary(entries))
}

/// When nothing fits, an expression explains best what is wrong with it.
fn one_of(text: &str, types: &[Type]) -> Result<Option<Value>, Problem> {
    let mut explained = None;
    for kind in types {
        match kind.read_closely(text) {
            Ok(Some(value)) => return Ok(Some(value)),
            Ok(None) => {}
            Err(problem) => explained = Some(problem),
        }
    }
    explained.map_or(Ok(None), Err)
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const LISTED: usize = 24;
        let words = |f: &mut fmt::Formatter<'_>, words: &[&str]| {
            let more = if words.len() > LISTED { ", ..." } else { "" };
            write!(f, "{}{more}", words.iter().take(LISTED).copied().collect::<Vec<_>>().join(", "))
        };
        #[expect(clippy::cast_precision_loss, reason = "the tables have days, not ages")]
        let seconds = |micros: i64| micros as f64 / 1e6;
        match self {
            Self::Flag => f.write_str("nothing"),
            Self::Bool => f.write_str("0 or 1"),
            Self::Integer { least, most } => write!(f, "a whole number from {least} to {most}"),
            Self::Number { least, most } => write!(f, "a number from {least} to {most}"),
            Self::Level { least, most } => {
                write!(f, "a factor from {least} to {most}, or the same in decibels such as -60dB")
            }
            Self::Amount { least, most } => write!(f, "an amount such as 128k, from {least} to {most}"),
            Self::Rate { least, most } => {
                write!(f, "a rate such as 25, 30000/1001 or ntsc, from {least} to {most}")
            }
            Self::Ratio { least, most } => write!(f, "a ratio such as 16/9, from {least} to {most}"),
            Self::Duration { least, most } => write!(
                f,
                "a time such as 90, 1.5 or 00:01:30, from {} to {} seconds",
                seconds(*least),
                seconds(*most)
            ),
            Self::Size => {
                f.write_str("a size such as 1280x720 or hd720, up to 16384x16384 and 67 megapixels")
            }
            Self::Word(list) => {
                f.write_str(if list.len() == 1 { "" } else { "one of " })?;
                words(f, list)
            }
            Self::Also(list) => words(f, &list.iter().map(|(also, _)| *also).collect::<Vec<_>>()),
            Self::Flags(list) => {
                f.write_str("flags joined by '+', of ")?;
                words(f, list)
            }
            Self::List { separator, most, item } => {
                let separator =
                    if *separator == ' ' { "spaces".to_owned() } else { format!("'{separator}'") };
                write!(f, "up to {most} joined by {separator}, each {item}")
            }
            Self::Expression { range: None, .. } => f.write_str("an expression"),
            Self::Expression { range: Some((least, most)), .. } => {
                write!(f, "an expression that comes to {least} to {most}")
            }
            Self::Shape(shape) => f.write_str(shape.explained()),
            Self::Text => f.write_str("text"),
            Self::Metadata => f.write_str("KEY=VALUE"),
            Self::KeyFrames => f.write_str("times joined by ',', expr:EXPRESSION, or source"),
            Self::Dictionary(name) => {
                f.write_str("KEY=VALUE joined by ':', with ")?;
                let keys: Vec<&str> = TABLES.dictionaries[name].iter().map(|row| row.name).collect();
                words(f, &keys)
            }
            Self::Name(role) => f.write_str(role.explained()),
            Self::Map => f.write_str("streams such as 0:v:0, 1:a? or -0:s, or a label such as [out]"),
            Self::Codec => f.write_str("a codec"),
            Self::Muxer => f.write_str("a container"),
            Self::Graph(Scope::Simple) => f.write_str("a graph of filters for one stream"),
            Self::Graph(Scope::Complex) => f.write_str("a graph of filters with labels"),
            Self::OneOf(types) => types.iter().enumerate().try_for_each(|(index, kind)| {
                f.write_str(if index > 0 { ", or " } else { "" })?;
                kind.fmt(f)
            }),
        }
    }
}
