//! Graphs of filters: what was read, and how ffmpeg gets it.
//!
//! ffmpeg unescapes a graph twice, when it parts the filters and when it parts their options. Values are kept without any
//! escapes; all options are written by name; what would be read as a sign of either level gets one backslash for each.

mod read;

use std::fmt;

pub(crate) use self::read::read;
use crate::{
    map::{Label, Streams},
    value::Value,
};

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Graph {
    /// Filters of a chain feed each other.
    pub(crate) chains: Vec<Vec<Filter>>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Filter {
    pub(crate) inputs: Vec<Pad>,
    pub(crate) name: &'static str,
    pub(crate) options: Vec<(&'static str, Value)>,
    pub(crate) outputs: Vec<Label>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Pad {
    Streams(Streams),
    Label(Label),
}

impl Graph {
    pub(crate) fn filters(&self) -> impl Iterator<Item = &Filter> {
        self.chains.iter().flatten()
    }

    pub(crate) fn streams(&self) -> impl Iterator<Item = Streams> {
        self.filters().flat_map(|filter| &filter.inputs).filter_map(|pad| match pad {
            Pad::Streams(streams) => Some(*streams),
            Pad::Label(_) => None,
        })
    }
}

impl Filter {
    /// Labels that it begins with.
    pub(crate) fn consumed(&self) -> impl Iterator<Item = &Label> {
        self.inputs.iter().filter_map(|pad| match pad {
            Pad::Label(label) => Some(label),
            Pad::Streams(_) => None,
        })
    }
}

impl fmt::Display for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, chain) in self.chains.iter().enumerate() {
            f.write_str(if place > 0 { ";" } else { "" })?;
            for (place, filter) in chain.iter().enumerate() {
                f.write_str(if place > 0 { "," } else { "" })?;
                filter.fmt(f)?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for pad in &self.inputs {
            match pad {
                Pad::Streams(streams) => write!(f, "[{streams}]")?,
                Pad::Label(label) => write!(f, "[{label}]")?,
            }
        }
        f.write_str(self.name)?;
        for (place, (name, value)) in self.options.iter().enumerate() {
            let value = escaped(&value.to_string(), &['\\', '\'', ':']);
            let separator = if place > 0 { ':' } else { '=' };
            write!(f, "{separator}{name}={}", escaped(&value, &['\\', '\'', '[', ']', ',', ';']))?;
        }
        self.outputs.iter().try_for_each(|label| write!(f, "[{label}]"))
    }
}

fn escaped(text: &str, special: &[char]) -> String {
    let mut result = String::with_capacity(text.len());
    for character in text.chars() {
        if special.contains(&character) {
            result.push('\\');
        }
        result.push(character);
    }
    result
}
