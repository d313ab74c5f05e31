//! Reads arguments into a command: first which file each option belongs to, then what each of them says.

use crate::{
    check,
    command::{Command, Input, Output, Setting, Target},
    error::{Error, Place, Problem, instead, not_ascii},
    graph,
    kind::{Type, shown},
    map::Specifier,
    name::{Name, Role},
    output,
    table::{Media, Refused, TABLES},
    value::Value,
    words::{Argument, stray},
};

/// Files in one command: bounds what a worker must keep open.
const MAX_INPUTS: usize = crate::map::MAX_INPUT + 1;
const MAX_OUTPUTS: usize = 16;

/// An option as it was written, before its value is read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Raw<'a> {
    /// As it was written, with its dash.
    pub(crate) written: &'a str,
    pub(crate) option: &'static str,
    pub(crate) specifier: Option<&'a str>,
    pub(crate) place: Place,
    /// `None` for options that take none.
    pub(crate) value: Option<&'a Argument>,
}

impl Raw<'_> {
    pub(crate) fn error(&self, problem: Problem) -> Error {
        problem.at(self.written, self.place)
    }

    pub(crate) fn value_error(&self, problem: Problem) -> Error {
        problem.at(self.written, self.value_place())
    }

    /// Where its value is, or itself when it takes none.
    fn value_place(&self) -> Place {
        self.value.map_or(self.place, |value| value.place(0))
    }

    /// What is written behind it; nothing for options that take nothing.
    pub(crate) fn text(&self) -> &str {
        self.value.map_or("", |value| &value.text)
    }

    pub(crate) fn is_global(&self) -> bool {
        TABLES.options.get(self.option).is_some_and(|row| row.global)
    }
}

/// Which options belong to which file.
#[derive(Default)]
struct Parted<'a> {
    globals: Vec<Raw<'a>>,
    inputs: Vec<(usize, Vec<Raw<'a>>, Place)>,
    outputs: Vec<(Name, Vec<Raw<'a>>, Place)>,
}

pub(crate) fn command(arguments: &[Argument], format: Option<&str>) -> Result<Command, Error> {
    let arguments = match arguments {
        [first, rest @ ..] if first.text == "ffmpeg" => rest,
        all => all,
    };
    let parted = parted(arguments, format)?;
    let mut globals = Vec::new();
    for raw in &parted.globals {
        let target = target(raw, &[])?;
        let setting =
            Setting { option: raw.option, target, value: value(raw, &TABLES.options[raw.option].kind)? };
        add(&mut globals, setting, raw)?;
    }
    let mut inputs = Vec::new();
    for (number, raws, _) in &parted.inputs {
        inputs.push(Input { number: *number, settings: input(raws)? });
    }
    let mut outputs: Vec<Output> = Vec::new();
    for (name, raws, place) in &parted.outputs {
        outputs.push(output::read(name, raws, *place)?);
    }
    let command = Command { globals, inputs, outputs };
    let places = check::Places {
        globals: parted.globals.iter().map(Raw::value_place).collect(),
        inputs: parted.inputs.iter().map(|(.., place)| *place).collect(),
        outputs: parted
            .outputs
            .iter()
            .map(|(_, raws, place)| check::OutputPlaces {
                name: *place,
                options: raws.iter().map(|raw| (raw.option, raw.value_place())).collect(),
            })
            .collect(),
    };
    check::whole(&command, &places)?;
    Ok(command)
}

fn parted<'a>(arguments: &'a [Argument], format: Option<&str>) -> Result<Parted<'a>, Error> {
    let mut parted = Parted::default();
    let mut pending: Vec<Raw<'a>> = Vec::new();
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let text = argument.text.as_str();
        if text == "-i" {
            let number = input_number(argument, rest.next())?;
            parted.inputs.push((number, std::mem::take(&mut pending), argument.place(0)));
        } else if let Some(name) = text.strip_prefix("{{out:").and_then(|text| text.strip_suffix("}}")) {
            let name =
                Name::read(name, Role::Output).map_err(|problem| problem.at(text, argument.place(0)))?;
            parted.outputs.push((name, std::mem::take(&mut pending), argument.place(0)));
        } else if let Some(name) = text.strip_prefix('-').filter(|name| !name.is_empty()) {
            if let Some(arguments) = TABLES.ignored.get(name) {
                skip(argument, *arguments, &mut rest)?;
                continue;
            }
            let mut raw = option(argument, name)?;
            if takes_value(raw.option) {
                raw.value = Some(rest.next().ok_or_else(|| {
                    raw.error(Problem::new("its value is missing", format!("give {}", explained(raw.option))))
                })?);
            }
            if raw.is_global() { parted.globals.push(raw) } else { pending.push(raw) }
        } else {
            return Err(stray(argument));
        }
    }
    implied(&mut parted, pending, arguments.last(), format)?;
    bounded(&parted)?;
    Ok(parted)
}

/// One input and one output go without saying.
fn implied<'a>(
    parted: &mut Parted<'a>,
    pending: Vec<Raw<'a>>,
    last: Option<&Argument>,
    format: Option<&str>,
) -> Result<(), Error> {
    let start = Place { argument: 0, offset: 0 };
    let end = last.map_or(start, |last| last.place(last.text.len()));
    if parted.outputs.is_empty() {
        let name = implied_name(&pending, format, end)?;
        parted.outputs.push((name, pending, end));
    } else if let Some(raw) = pending.first() {
        return Err(
            raw.error(Problem::new("it comes after the last output", "move it in front of {{out:...}}"))
        );
    }
    if parted.inputs.is_empty() {
        parted.inputs.push((1, Vec::new(), start));
    }
    Ok(())
}

fn implied_name(pending: &[Raw<'_>], format: Option<&str>, end: Place) -> Result<Name, Error> {
    let named = pending.iter().find(|raw| raw.option == "f").map(Raw::text);
    let Some(format) = format.or(named) else {
        return Err(Problem::new(
            "nothing says what comes out",
            "write {{out:NAME.EXTENSION}}, or give an output format",
        )
        .at("the output", end));
    };
    let extension = if TABLES.muxer_of_extension(format).is_some() {
        Some(format)
    } else {
        TABLES.muxer_called(format).and_then(|muxer| TABLES.muxers[muxer].extensions.first().copied())
    };
    let Some(extension) = extension else {
        return Err(unknown_muxer(format).at("the output format", end));
    };
    Name::read(&format!("output.{extension}"), Role::Output)
        .map_err(|problem| problem.at("the output format", end))
}

/// What is wrong with a container that is not allowed.
pub(crate) fn unknown_muxer(name: &str) -> Problem {
    if let Some(reason) = TABLES.refused.get(&(Refused::Muxer, name)) {
        return Problem::new(format!("the container {name} is refused: it {reason}"), "choose another");
    }
    not_ascii(name).unwrap_or_else(|| {
        let names = TABLES.muxers.iter().map(|(name, muxer)| muxer.called.unwrap_or(name));
        Problem::new(format!("the container '{}' is not allowed", shown(name)), instead(name, names))
    })
}

fn bounded(parted: &Parted<'_>) -> Result<(), Error> {
    let too_many = |what: &str, most: usize, place: Place| {
        Err(Problem::new(format!("there are too many {what}s"), format!("use at most {most}"))
            .at(format!("an {what}"), place))
    };
    if let Some((.., place)) = parted.inputs.get(MAX_INPUTS) {
        return too_many("input", MAX_INPUTS, *place);
    }
    if let Some((.., place)) = parted.outputs.get(MAX_OUTPUTS) {
        return too_many("output", MAX_OUTPUTS, *place);
    }
    Ok(())
}

fn input_number(option: &Argument, value: Option<&Argument>) -> Result<usize, Error> {
    let placeholder = value.and_then(|value| value.text.strip_prefix("{{in")?.strip_suffix("}}"));
    let number = match placeholder {
        Some("") => Some(1),
        Some(number) => number
            .strip_prefix('_')
            .and_then(|digits| (1..=MAX_INPUTS).find(|number| number.to_string() == digits)),
        None => None,
    };
    number.ok_or_else(|| {
        let what = value.map_or_else(|| "nothing".to_owned(), |value| format!("'{}'", shown(&value.text)));
        Problem::new(
            format!("{what} is no input: inputs are given beside the command"),
            format!("write {{{{in}}}}, or {{{{in_2}}}} to {{{{in_{MAX_INPUTS}}}}}"),
        )
        .at("-i", value.unwrap_or(option).place(0))
    })
}

fn skip<'a>(
    option: &Argument,
    arguments: usize,
    rest: &mut impl Iterator<Item = &'a Argument>,
) -> Result<(), Error> {
    for _ in 0..arguments {
        let value = rest.next();
        let fine =
            |value: &&Argument| value.text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'+');
        if value.filter(fine).is_none_or(|value| value.text.is_empty()) {
            return Err(Problem::new("its value is no word", "leave the option out: the worker sets it")
                .at(&option.text, value.unwrap_or(option).place(0)));
        }
    }
    Ok(())
}

/// Finds the one name of an option.
fn option<'a>(argument: &'a Argument, name: &'a str) -> Result<Raw<'a>, Error> {
    let place = argument.place(0);
    let (base, specifier) =
        name.split_once(':').map_or((name, None), |(base, specifier)| (base, Some(specifier)));
    let raw = |option, specifier| Raw { written: &argument.text, option, specifier, place, value: None };
    if let Some((option, implied)) = TABLES.aliases.get(base) {
        match (implied, specifier) {
            // `-b:a` is `-b` with a specifier, though `-b` alone is `-b:v`.
            (Some(_), Some(_)) if *option != base => {
                return Err(Problem::new("it takes no stream specifier", format!("use -{option} with one"))
                    .at(name_of(argument), place));
            }
            (_, given) => return Ok(raw(*option, given.or(*implied))),
        }
    }
    if let Some((option, _)) = TABLES.options.get_key_value(base) {
        return Ok(raw(*option, specifier));
    }
    if let Some(option) = TABLES.private.get(base) {
        return Ok(raw(*option, specifier));
    }
    Err(unknown_option(base).at(name_of(argument), place))
}

fn name_of(argument: &Argument) -> String {
    shown(&argument.text)
}

fn unknown_option(name: &str) -> Problem {
    if let Some(reason) = TABLES.refused.get(&(Refused::Option, name)) {
        return Problem::new(format!("it is refused: it {reason}"), "leave it out");
    }
    if name.starts_with('/') {
        return Problem::new("it is refused: it reads its value from a file", "write the value");
    }
    not_ascii(name).unwrap_or_else(|| {
        let names = TABLES.options.keys().chain(&TABLES.private).chain(TABLES.aliases.keys());
        Problem::new("this option is not allowed", instead(name, names.copied()))
    })
}

fn takes_value(option: &str) -> bool {
    TABLES.options.get(option).is_none_or(|row| !matches!(row.kind, Type::Flag))
}

fn explained(option: &str) -> String {
    TABLES.options.get(option).map_or_else(|| "one".to_owned(), |row| row.kind.to_string())
}

fn input(raws: &[Raw<'_>]) -> Result<Vec<Setting>, Error> {
    let mut settings = Vec::new();
    for raw in raws {
        let row = TABLES.options.get(raw.option).filter(|row| row.input);
        let Some(row) = row else {
            return Err(raw.error(Problem::new(
                "it is no option of an input",
                "move it behind the inputs, in front of the output",
            )));
        };
        let target = target(raw, &row.media)?;
        let value = match row.kind {
            Type::Codec => decoder(raw, target)?,
            ref kind => value(raw, kind)?,
        };
        add(&mut settings, Setting { option: raw.option, target, value }, raw)?;
    }
    Ok(settings)
}

fn decoder(raw: &Raw<'_>, target: Target) -> Result<Value, Error> {
    let wanted = match target {
        Target::Streams(Specifier { media, .. }) => media,
        _ => None,
    };
    let fits = |media: Media| wanted.is_none_or(|wanted| wanted == media);
    match TABLES.decoders.get_key_value(raw.text()) {
        Some((name, media)) if fits(*media) => Ok(Value::Word(name)),
        _ => Err(raw.value_error(not_ascii(raw.text()).unwrap_or_else(|| {
            let names = TABLES.decoders.iter().filter(|(_, media)| fits(**media)).map(|(name, _)| *name);
            Problem::new(
                format!("the decoder '{}' is not allowed", shown(raw.text())),
                instead(raw.text(), names),
            )
        }))),
    }
}

/// What an option is for, by its specifier and the media that it may name.
pub(crate) fn target(raw: &Raw<'_>, media: &[Media]) -> Result<Target, Error> {
    let Some(text) = raw.specifier else { return Ok(Target::All) };
    let wrong = |remedy: String| {
        Err(raw.error(not_ascii(text).unwrap_or_else(|| {
            Problem::new(format!("'{}' is no stream specifier for it", shown(text)), remedy)
        })))
    };
    if media.is_empty() {
        return wrong("leave it out".to_owned());
    }
    let letters: Vec<String> = media.iter().map(|media| media.letter().to_string()).collect();
    match Specifier::read(text) {
        Some(streams) if streams.media.is_none_or(|of| media.contains(&of)) => Ok(Target::Streams(streams)),
        _ => {
            wrong(format!("use {}, with an index such as {}:0, or an index", letters.join(", "), letters[0]))
        }
    }
}

pub(crate) fn value(raw: &Raw<'_>, kind: &Type) -> Result<Value, Error> {
    match (kind, raw.value) {
        (Type::Flag, _) => Ok(Value::Flag),
        (Type::Graph(scope), Some(argument)) => graph::read(argument, raw.written, *scope).map(Value::Graph),
        _ => kind.read(raw.text()).map_err(|problem| raw.value_error(problem)),
    }
}

/// Adds an option, unless it says again what was said of the same stream. What is for one stream may come after what is
/// for all of them; the other way round, ffmpeg would forget the first.
pub(crate) fn add(settings: &mut Vec<Setting>, setting: Setting, raw: &Raw<'_>) -> Result<(), Error> {
    let repeats = TABLES.options.get(setting.option).is_some_and(|row| row.repeats);
    let again = settings.iter().filter(|known| known.option == setting.option).any(|known| {
        match (&known.value, &setting.value) {
            (Value::Metadata { key, .. }, Value::Metadata { key: again, .. }) => {
                key.eq_ignore_ascii_case(again) && known.target == setting.target
            }
            _ if repeats => false,
            _ => overrides(known.target, setting.target),
        }
    });
    if again {
        return Err(raw.error(Problem::new(
            "it is given twice for the same stream",
            "give it once; what is for one stream comes after what is for all",
        )));
    }
    settings.push(setting);
    Ok(())
}

fn overrides(known: Target, again: Target) -> bool {
    let streams = |target: Target| match target {
        Target::All => Specifier::default(),
        Target::Streams(streams) | Target::Tags(streams) => streams,
    };
    let (known, again) = (streams(known), streams(again));
    known.overlaps(again) && known.closeness() >= again.closeness()
}
