//! What is wrong with a command, where, and what to write instead.

use serde::Serialize;

/// Why a command is refused: one mistake, the first one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("{name} (argument {argument}, byte {offset}): {problem}; {remedy}")]
pub struct Error {
    /// The option as it was written, with its dash; the filter's name; `FILTER OPTION` for an option of a filter; for what
    /// has no name, what it would be.
    pub name: String,
    /// Which argument it is in, the first being 0.
    pub argument: usize,
    /// Bytes before it: from the beginning of the text that was parsed, or of the argument when arguments were given.
    pub offset: usize,
    /// What is wrong with it.
    pub problem: String,
    /// What to do.
    pub remedy: String,
}

/// What is wrong with a text, before it is known whose it is and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) problem: String,
    pub(crate) remedy: String,
}

impl Problem {
    pub(crate) fn new(problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { problem: problem.into(), remedy: remedy.into() }
    }

    pub(crate) fn at(self, name: impl Into<String>, place: Place) -> Error {
        Error {
            name: name.into(),
            argument: place.argument,
            offset: place.offset,
            problem: self.problem,
            remedy: self.remedy,
        }
    }
}

/// Where something stands in what was parsed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) argument: usize,
    pub(crate) offset: usize,
}

/// How many names an error lists before it leaves the rest out.
const LISTED: usize = 24;

/// Bytes of the longest text for which a near name is looked for.
const LONGEST: usize = 64;

/// Which names there are, the nearest first when one is near.
pub(crate) fn instead<'a>(wrong: &str, names: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.into_iter().collect();
    // Of what is longer than any name, none is near.
    let nearest = names
        .iter()
        .filter(|_| wrong.len() <= LONGEST)
        .map(|name| (strsim::damerau_levenshtein(&wrong.to_ascii_lowercase(), name), *name))
        .filter(|(distance, name)| *distance <= 2.min(name.len() / 2))
        .min();
    if let Some((_, name)) = nearest {
        return format!("did you mean {name}?");
    }
    let more = if names.len() > LISTED { ", ... (docs/commands-reference.md lists all)" } else { "" };
    format!("allowed: {}{more}", names.iter().take(LISTED).copied().collect::<Vec<_>>().join(", "))
}

/// Says which character of a text is not ASCII, because the worst of them look as if they were.
pub(crate) fn not_ascii(text: &str) -> Option<Problem> {
    let character = text.chars().find(|character| !character.is_ascii())?;
    Some(Problem::new(
        format!("it has the character '{character}' (U+{:04X}), which is not ASCII", u32::from(character)),
        "write it with ASCII digits, letters and signs",
    ))
}
