//! Values that have a type. How they are written here is how ffmpeg gets them.

use std::fmt;

use crate::{graph::Graph, map::Map, name::Name};

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    /// The option itself says it all.
    Flag,
    Bool(bool),
    Integer(i64),
    Number(f64),
    /// The denominator is above 0.
    Ratio(i64, i64),
    /// Microseconds.
    Duration(i64),
    Size(u32, u32),
    Word(&'static str),
    /// Each with `+` or `-` in front; the first may be without.
    Flags(Vec<(Option<char>, &'static str)>),
    List(char, Vec<Self>),
    /// As [`crate::expression`] put it together.
    Expression(String),
    /// As [`crate::shape`] put it together.
    Shape(String),
    /// As [`crate::text`] let it through.
    Text(String),
    Dictionary(Vec<(&'static str, Self)>),
    Metadata {
        key: String,
        text: String,
    },
    Map(Map),
    Name(Name),
    Graph(Graph),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag => Ok(()),
            Self::Bool(value) => f.write_str(if *value { "1" } else { "0" }),
            Self::Integer(value) => value.fmt(f),
            Self::Number(value) => value.fmt(f),
            Self::Ratio(numerator, denominator) => write!(f, "{numerator}/{denominator}"),
            Self::Duration(micros) => seconds(*micros, f),
            Self::Size(width, height) => write!(f, "{width}x{height}"),
            Self::Word(word) => f.write_str(word),
            Self::Flags(flags) => flags.iter().try_for_each(|(sign, flag)| {
                sign.iter().try_for_each(|sign| write!(f, "{sign}"))?;
                f.write_str(flag)
            }),
            Self::List(separator, items) => items.iter().enumerate().try_for_each(|(index, item)| {
                if index > 0 {
                    write!(f, "{separator}")?;
                }
                item.fmt(f)
            }),
            Self::Expression(text) | Self::Shape(text) | Self::Text(text) => f.write_str(text),
            Self::Dictionary(entries) => entries.iter().enumerate().try_for_each(|(index, (key, value))| {
                let separator = if index > 0 { ":" } else { "" };
                write!(f, "{separator}{key}={value}")
            }),
            Self::Metadata { key, text } => write!(f, "{key}={text}"),
            Self::Map(map) => map.fmt(f),
            Self::Name(name) => name.fmt(f),
            Self::Graph(graph) => graph.fmt(f),
        }
    }
}

/// Seconds with as many digits as are needed.
fn seconds(micros: i64, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let sign = if micros < 0 { "-" } else { "" };
    let (whole, rest) = (micros.unsigned_abs() / 1_000_000, micros.unsigned_abs() % 1_000_000);
    if rest == 0 {
        return write!(f, "{sign}{whole}");
    }
    let fraction = format!("{rest:06}");
    write!(f, "{sign}{whole}.{}", fraction.trim_end_matches('0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_written_as_ffmpeg_reads_them() {
        assert_eq!(Value::Duration(90_500_000).to_string(), "90.5");
        assert_eq!(Value::Duration(-1).to_string(), "-0.000001");
        assert_eq!(Value::Number(0.000_001).to_string(), "0.000001");
        assert_eq!(Value::Flags(vec![(None, "a"), (Some('-'), "b")]).to_string(), "a-b");
        assert_eq!(Value::List('|', vec![Value::Integer(1), Value::Word("x")]).to_string(), "1|x");
    }
}
