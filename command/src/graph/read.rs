//! Reads a graph as libavfilter does: `avfilter_graph_parse`, then `av_opt_set_from_string` for the options of each filter,
//! both with `av_get_token`. Quotes that are not closed and names that are escaped are refused.

use super::{Filter, Graph, Pad};
use crate::{
    error::{Error, Problem, instead, not_ascii},
    kind::{Scope, Type, shown},
    map::{Label, Streams},
    table::{FilterRow, Refused, Row, TABLES},
    value::Value,
    words::Argument,
};

/// Filters in one graph.
const MAX_FILTERS: usize = 128;

/// Labels in front of one filter, and behind it.
const MAX_LABELS: usize = 64;

/// `enable` of the filters that have it.
const TIMELINE: Type = Type::Expression { set: "enable", range: None };

/// Reads a graph as ffmpeg would. Where ffmpeg would not read it, commas and semicolons between parentheses are taken to
/// belong to an expression: `select=gt(t,5)` needs neither quotes nor backslashes here.
pub(crate) fn read(argument: &Argument, option: &str, scope: Scope) -> Result<Graph, Error> {
    let characters: Vec<Character> =
        argument.text.char_indices().map(|(at, character)| Character { character, at }).collect();
    let reader = Reader { argument, option, scope, rest: &characters, parentheses: false };
    Reader { ..reader }
        .graph()
        .or_else(|error| Reader { parentheses: true, ..reader }.graph().map_err(|_| error))
}

/// A character, and the byte of the argument where it was.
#[derive(Debug, Clone, Copy)]
struct Character {
    character: char,
    at: usize,
}

struct Reader<'a> {
    argument: &'a Argument,
    option: &'a str,
    scope: Scope,
    rest: &'a [Character],
    /// Whether parentheses keep a value together.
    parentheses: bool,
}

impl Reader<'_> {
    fn graph(mut self) -> Result<Graph, Error> {
        let mut chains = vec![Vec::new()];
        loop {
            let filter = self.filter()?;
            chains.last_mut().expect("there is one from the beginning").push(filter);
            if chains.iter().map(Vec::len).sum::<usize>() > MAX_FILTERS {
                return Err(self.error(
                    self.option,
                    "it has too many filters",
                    format!("use at most {MAX_FILTERS}"),
                ));
            }
            match self.next() {
                None => return Ok(Graph { chains }),
                Some(',') => {}
                Some(';') => chains.push(Vec::new()),
                Some(other) => {
                    return Err(self.error(
                        self.option,
                        format!("'{}' has no place there in a graph", other.escape_default()),
                        "part filters by ',', chains by ';', and begin labels with '['",
                    ));
                }
            }
        }
    }

    fn error(&self, name: &str, problem: impl Into<String>, remedy: impl Into<String>) -> Error {
        let at = self.rest.first().map_or(self.argument.text.len(), |next| next.at);
        Problem::new(problem, remedy).at(name, self.argument.place(at))
    }

    fn skip_spaces(&mut self) {
        while let [Character { character: ' ', .. }, rest @ ..] = self.rest {
            self.rest = rest;
        }
    }

    fn peek(&mut self) -> Option<char> {
        self.skip_spaces();
        self.rest.first().map(|next| next.character)
    }

    fn next(&mut self) -> Option<char> {
        let next = self.peek();
        self.rest = self.rest.get(1..).unwrap_or_default();
        next
    }

    fn filter(&mut self) -> Result<Filter, Error> {
        let mut inputs = Vec::new();
        while self.peek() == Some('[') {
            let (text, at) = self.label(inputs.len())?;
            inputs.push(self.pad(&text, at)?);
        }
        let at = self.rest.first().map_or(self.argument.text.len(), |next| next.at);
        let name = text_of(&self.token(&['=', ',', ';', '['])?);
        let (name, row) = self.row(&name, at)?;
        let mut options = Vec::new();
        if self.rest.first().is_some_and(|next| next.character == '=') {
            self.rest = &self.rest[1..];
            let arguments = self.token(&['[', ']', ',', ';'])?;
            options = self.options(name, row, &arguments)?;
        }
        // ffmpeg would expand `%{...}` in the text, which reads metadata and evaluates expressions.
        if name == "drawtext" && options.iter().all(|(option, _)| *option != "expansion") {
            options.push(("expansion", Value::Word("none")));
        }
        let mut outputs = Vec::new();
        while self.peek() == Some('[') {
            let (text, at) = self.label(outputs.len())?;
            let label = Label::read(&text).ok_or_else(|| self.wrong_label(&text, at))?;
            outputs.push(label);
        }
        Ok(Filter { inputs, name, options, outputs })
    }

    fn label(&mut self, before: usize) -> Result<(String, usize), Error> {
        if before >= MAX_LABELS {
            return Err(self.error(
                self.option,
                "a filter has too many labels",
                format!("use at most {MAX_LABELS}"),
            ));
        }
        let at = self.rest[0].at;
        self.rest = &self.rest[1..];
        let text = text_of(&self.token(&[']'])?);
        if self.next() != Some(']') {
            return Err(self.error(self.option, "a label is not closed", "write it as [NAME]"));
        }
        Ok((text, at))
    }

    fn pad(&self, text: &str, at: usize) -> Result<Pad, Error> {
        if let Some(label) = Label::read(text) {
            return Ok(Pad::Label(label));
        }
        match Streams::read(text) {
            Some(streams) if self.scope == Scope::Complex => Ok(Pad::Streams(streams)),
            Some(_) => Err(Problem::new(
                format!(
                    "[{}] names a stream of an input, and this graph has the output's stream as its only one",
                    shown(text)
                ),
                "use -filter_complex and -map",
            )
            .at(self.option, self.argument.place(at))),
            None => Err(self.wrong_label(text, at)),
        }
    }

    fn wrong_label(&self, text: &str, at: usize) -> Error {
        not_ascii(text)
            .unwrap_or_else(|| {
                Problem::new(
                    format!("[{}] is no label", shown(text)),
                    "use up to 32 letters, digits, '-' and '_', with a letter among them; streams of inputs are [0:v], [1:a:0]",
                )
            })
            .at(self.option, self.argument.place(at))
    }

    fn row(&self, name: &str, at: usize) -> Result<(&'static str, &'static FilterRow), Error> {
        if let Some((name, row)) = TABLES.filters.get_key_value(name) {
            return Ok((name, row));
        }
        let problem = match TABLES.refused.get(&(Refused::Filter, name)) {
            Some(reason) => Problem::new(format!("this filter is refused: it {reason}"), "leave it out"),
            None => not_ascii(name).unwrap_or_else(|| {
                Problem::new("this filter is not allowed", instead(name, TABLES.filters.keys().copied()))
            }),
        };
        let name = if name.is_empty() { "a filter".to_owned() } else { shown(name) };
        Err(problem.at(name, self.argument.place(at)))
    }

    fn options(
        &self,
        filter: &'static str,
        row: &'static FilterRow,
        arguments: &[Character],
    ) -> Result<Vec<(&'static str, Value)>, Error> {
        let mut options: Vec<(&'static str, Value)> = Vec::new();
        let mut reader = Reader { rest: arguments, ..*self };
        let mut positions = row.options.iter();
        while reader.peek().is_some() {
            let at = reader.rest[0].at;
            let (name, kind) = match reader.key() {
                Some(key) => {
                    positions = [].iter();
                    self.named(filter, row, &key, at)?
                }
                None => self.positional(filter, positions.next(), at)?,
            };
            let value_at = reader.rest.first().map_or(at, |next| next.at);
            let text = text_of(&reader.token(&[':'])?);
            reader.next();
            let named = format!("{filter} {name}");
            if options.iter().any(|(known, _)| *known == name) {
                return Err(
                    Problem::new("it is given twice", "give it once").at(named, self.argument.place(at))
                );
            }
            let value =
                kind.read(&text).map_err(|problem| problem.at(named, self.argument.place(value_at)))?;
            options.push((name, value));
        }
        Ok(options)
    }

    /// A name with its `=`, when that is what comes.
    fn key(&mut self) -> Option<String> {
        let is_key =
            |character: char| character.is_ascii_alphanumeric() || matches!(character, '_' | '-' | '/' | '.');
        let length = self.rest.iter().take_while(|next| is_key(next.character)).count();
        let (key, after) = self.rest.split_at(length);
        let spaces = after.iter().take_while(|next| next.character == ' ').count();
        if after.get(spaces).is_none_or(|next| next.character != '=') {
            return None;
        }
        self.rest = &after[spaces + 1..];
        Some(text_of(key))
    }

    fn named(
        &self,
        filter: &str,
        row: &'static FilterRow,
        key: &str,
        at: usize,
    ) -> Result<(&'static str, &'static Type), Error> {
        if key == "enable" && row.timeline {
            return Ok(("enable", &TIMELINE));
        }
        if let Some(row) = crate::table::row(&row.options, key) {
            return self.allowed(filter, row, at);
        }
        let names = row.options.iter().filter(|row| row.kind.is_ok()).map(|row| row.name);
        let names = names.chain(row.timeline.then_some("enable"));
        Err(Problem::new("this option of the filter is not allowed", instead(key, names))
            .at(format!("{filter} {}", shown(key)), self.argument.place(at)))
    }

    fn positional(
        &self,
        filter: &str,
        row: Option<&'static Row>,
        at: usize,
    ) -> Result<(&'static str, &'static Type), Error> {
        match row {
            Some(row) => self.allowed(filter, row, at),
            None => Err(Problem::new(
                "a value has no name, and no position that has one",
                "write NAME=VALUE; nothing without a name comes after something with one",
            )
            .at(filter, self.argument.place(at))),
        }
    }

    fn allowed(
        &self,
        filter: &str,
        row: &'static Row,
        at: usize,
    ) -> Result<(&'static str, &'static Type), Error> {
        match &row.kind {
            Ok(kind) => Ok((row.name, kind)),
            Err(reason) => Err(Problem::new(
                format!("this option of the filter is refused: it {}", said(reason)),
                "leave it out",
            )
            .at(format!("{filter} {}", row.name), self.argument.place(at))),
        }
    }

    /// `av_get_token`: up to one of the terminators, with quotes and backslashes taken away.
    fn token(&mut self, terminators: &[char]) -> Result<Vec<Character>, Error> {
        self.skip_spaces();
        let mut token: Vec<Character> = Vec::new();
        // What is escaped or quoted is kept when spaces at the end are cut off.
        let mut kept = 0;
        let mut depth = 0_usize;
        while let [next, rest @ ..] = self.rest {
            let inside = depth > 0 && matches!(next.character, ',' | ';');
            if terminators.contains(&next.character) && !inside {
                break;
            }
            match next.character {
                '(' if self.parentheses => depth += 1,
                ')' => depth = depth.saturating_sub(1),
                _ => {}
            }
            self.rest = rest;
            match (next.character, rest) {
                ('\\', [escaped, after @ ..]) => {
                    token.push(*escaped);
                    kept = token.len();
                    self.rest = after;
                }
                ('\'', _) => {
                    let Some(length) = rest.iter().position(|next| next.character == '\'') else {
                        return Err(Problem::new(
                            "a quote in the graph is not closed",
                            "close it, or leave it out",
                        )
                        .at(self.option, self.argument.place(next.at)));
                    };
                    token.extend_from_slice(&rest[..length]);
                    kept = token.len();
                    self.rest = &rest[length + 1..];
                }
                _ => token.push(*next),
            }
        }
        while token.len() > kept && token.last().is_some_and(|last| last.character == ' ') {
            token.pop();
        }
        Ok(token)
    }
}

fn text_of(characters: &[Character]) -> String {
    characters.iter().map(|next| next.character).collect()
}

/// A reason in the tables as it follows "it".
fn said(reason: &str) -> String {
    if reason.starts_with("not ") { format!("is {reason}") } else { reason.to_owned() }
}
