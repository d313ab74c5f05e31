//! A command's text in arguments, as a shell splits it, without anything that a shell does besides.
//!
//! `'...'` and `"..."` keep words together and are gone afterwards; a backslash outside of quotes, and before `"`, `\` and
//! `$` within `"..."`, makes the next character a plain one. Variables, commands, globs, operators and comments mean
//! nothing here: `$` and `` ` `` are refused where a shell would expand them, everything else stands for itself.

use crate::{
    error::{Error, Place, Problem, not_ascii},
    kind::shown,
};

/// Bytes of the longest command, however it is given.
pub(crate) const MAX_BYTES: usize = 32 * 1024;
const MAX_ARGUMENTS: usize = 1000;

/// One argument, and where its bytes were.
#[derive(Debug, Clone)]
pub(crate) struct Argument {
    pub(crate) text: String,
    pub(crate) index: usize,
    /// For each byte of `text` where it was in the whole command, then where the argument ended. `None` when arguments were
    /// given: each is counted by itself then.
    offsets: Option<Vec<usize>>,
}

impl Argument {
    pub(crate) fn place(&self, byte: usize) -> Place {
        let offset = match &self.offsets {
            Some(offsets) => offsets.get(byte).or(offsets.last()).copied().unwrap_or_default(),
            None => byte,
        };
        Place { argument: self.index, offset }
    }
}

pub(crate) fn given<S: AsRef<str>>(args: &[S]) -> Result<Vec<Argument>, Error> {
    let bytes: usize = args.iter().map(|arg| arg.as_ref().len()).sum();
    bounded(bytes, args.len())?;
    let arguments: Vec<Argument> = args
        .iter()
        .enumerate()
        .map(|(index, text)| Argument { text: text.as_ref().to_owned(), index, offsets: None })
        .collect();
    for argument in &arguments {
        let control = argument.text.char_indices().find(|(_, character)| character.is_control());
        if let Some((at, character)) = control {
            return Err(control_character(character, argument.place(at)));
        }
    }
    Ok(arguments)
}

fn bounded(bytes: usize, arguments: usize) -> Result<(), Error> {
    if bytes <= MAX_BYTES && arguments <= MAX_ARGUMENTS {
        return Ok(());
    }
    Err(Problem::new(
        format!("it has {bytes} bytes and {arguments} arguments"),
        format!("use at most {MAX_BYTES} bytes and {MAX_ARGUMENTS} arguments"),
    )
    .at("the command", Place { argument: 0, offset: 0 }))
}

fn control_character(character: char, place: Place) -> Error {
    Problem::new(
        format!("it has the control character U+{:04X}", u32::from(character)),
        "write the command in one line, with plain spaces",
    )
    .at("the command", place)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Quote {
    None,
    Single { from: usize },
    Double { from: usize },
}

pub(crate) fn split(text: &str) -> Result<Vec<Argument>, Error> {
    bounded(text.len(), 0)?;
    let mut splitter = Splitter { arguments: Vec::new(), word: None, quote: Quote::None };
    let mut characters = text.char_indices().peekable();
    while let Some((at, character)) = characters.next() {
        let place = Place { argument: splitter.arguments.len(), offset: at };
        if character.is_control() {
            return Err(control_character(character, place));
        }
        match (splitter.quote, character) {
            (Quote::Single { .. }, '\'') | (Quote::Double { .. }, '"') => splitter.quote = Quote::None,
            (Quote::Single { .. }, _) => splitter.push(character, at),
            (_, '$' | '`') => {
                return Err(Problem::new(
                    format!("a shell would expand the '{character}' in it, and nothing is expanded here"),
                    "leave it out, or put it between single quotes",
                )
                .at("the command", place));
            }
            (Quote::Double { .. }, '\\') => {
                match characters.next_if(|(_, next)| matches!(next, '"' | '\\' | '$')) {
                    Some((at, next)) => splitter.push(next, at),
                    None => splitter.push('\\', at),
                }
            }
            (Quote::Double { .. }, _) => splitter.push(character, at),
            (Quote::None, '\'') => splitter.open(Quote::Single { from: at }),
            (Quote::None, '"') => splitter.open(Quote::Double { from: at }),
            (Quote::None, '\\') => match characters.next() {
                Some((at, next)) if !next.is_control() => splitter.push(next, at),
                _ => {
                    return Err(Problem::new("it has a backslash with nothing behind it", "leave it out")
                        .at("the command", place));
                }
            },
            (Quote::None, ' ') => splitter.end(at),
            (Quote::None, _) => splitter.push(character, at),
        }
    }
    if let Quote::Single { from } | Quote::Double { from } = splitter.quote {
        return Err(Problem::new("it has a quote that is not closed", "close it, or leave it out")
            .at("the command", Place { argument: splitter.arguments.len(), offset: from }));
    }
    splitter.end(text.len());
    bounded(text.len(), splitter.arguments.len())?;
    Ok(splitter.arguments)
}

struct Splitter {
    arguments: Vec<Argument>,
    /// The word that is being read, with the places of its bytes.
    word: Option<(String, Vec<usize>)>,
    quote: Quote,
}

impl Splitter {
    fn push(&mut self, character: char, at: usize) {
        let (word, offsets) = self.word.get_or_insert_default();
        word.push(character);
        offsets.extend(std::iter::repeat_n(at, character.len_utf8()));
    }

    fn open(&mut self, quote: Quote) {
        self.word.get_or_insert_default();
        self.quote = quote;
    }

    fn end(&mut self, at: usize) {
        if let Some((text, mut offsets)) = self.word.take() {
            offsets.push(at);
            self.arguments.push(Argument { text, index: self.arguments.len(), offsets: Some(offsets) });
        }
    }
}

/// What an argument is that is neither an option nor a placeholder.
pub(crate) fn stray(argument: &Argument) -> Error {
    let problem = not_ascii(&argument.text).unwrap_or_else(|| {
        Problem::new(
            "it is neither an option, nor the value of one, nor a placeholder",
            "write outputs as {{out:NAME.EXTENSION}}, inputs as -i {{in}}, and quote values that have spaces",
        )
    });
    problem.at(shown(&argument.text), argument.place(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(command: &str) -> Vec<String> {
        split(command).unwrap().into_iter().map(|argument| argument.text).collect()
    }

    #[test]
    fn words_are_split_as_a_shell_splits_them() {
        assert_eq!(texts("  -vf  scale=1:2 "), ["-vf", "scale=1:2"]);
        assert_eq!(texts("-metadata title=\"a b\"'c d'"), ["-metadata", "title=a bc d"]);
        assert_eq!(texts(r"a\ b c\,d"), ["a b", "c,d"]);
        assert_eq!(texts(r#""eq(n\,0)" "a\\b" 'c\,d'"#), [r"eq(n\,0)", r"a\b", r"c\,d"]);
        assert_eq!(texts("'' a;b|c"), ["", "a;b|c"]);
        assert_eq!(texts("'$5'"), ["$5"]);
    }

    #[test]
    fn what_a_shell_would_do_besides_is_refused() {
        for command in [
            "$HOME",
            "\"$(id)\"",
            "`id`",
            "'open",
            "\"open",
            "back\\",
            "a\nb",
            "a\tb",
            "a\0b",
            "a\\\nb",
            "a\u{85}b",
        ] {
            assert!(split(command).is_err(), "{command:?}");
        }
    }

    #[test]
    fn places_are_those_of_the_text() {
        let arguments = split(r#"-vf "a b" ü x"#).unwrap();
        assert_eq!(arguments[1].place(0), Place { argument: 1, offset: 5 });
        assert_eq!(arguments[1].place(2), Place { argument: 1, offset: 7 });
        assert_eq!(arguments[3].place(0), Place { argument: 3, offset: 13 });
        let given = given(&["-vf", "abc"]).unwrap();
        assert_eq!(given[1].place(2), Place { argument: 1, offset: 2 });
    }
}
