//! What must hold for a command as a whole: every stream, label and input that is named is there, and no two outputs write
//! the same file.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    command::{Command, Output, Setting},
    error::{Error, Place, Problem},
    graph::Graph,
    map::{Label, Map},
    name::Name,
    table::Layout,
    value::Value,
};

/// Names and patterns of files in one command. Each is compared with each.
const MAX_NAMES: usize = 128;

/// Where the parts of a command were written.
pub(crate) struct Places {
    pub(crate) globals: Vec<Place>,
    pub(crate) inputs: Vec<Place>,
    pub(crate) outputs: Vec<OutputPlaces>,
}

/// Where an output was written: its name, and the values of its options in their order.
pub(crate) struct OutputPlaces {
    pub(crate) name: Place,
    pub(crate) options: Vec<(&'static str, Place)>,
}

impl OutputPlaces {
    /// Of each option of an output. What nobody wrote stands where the output stands.
    fn settings<'a>(&'a self, output: &'a Output) -> impl Iterator<Item = (&'a Setting, Place)> {
        let mut before: BTreeMap<&str, usize> = BTreeMap::new();
        output.settings.iter().map(move |setting| {
            let nth = before.entry(setting.option).or_default();
            let mut same = self.options.iter().filter(|(option, _)| *option == setting.option);
            let place = same.nth(*nth).map_or(self.name, |(_, place)| *place);
            *nth += 1;
            (setting, place)
        })
    }
}

pub(crate) fn whole(command: &Command, places: &Places) -> Result<(), Error> {
    inputs(command, places)?;
    references(command, places)?;
    labels(command, places)?;
    for (output, place) in command.outputs.iter().zip(&places.outputs) {
        simple_labels(output, place)?;
    }
    names(command, places)
}

/// `{{in}}` to the highest number are all used.
fn inputs(command: &Command, places: &Places) -> Result<(), Error> {
    let used: BTreeSet<usize> = command.inputs.iter().map(|input| input.number).collect();
    match (1..=command.inputs()).find(|number| !used.contains(number)) {
        None => Ok(()),
        Some(number) => Err(Problem::new(
            format!("input {number} is not used, and a higher one is"),
            "number the inputs {{in}}, {{in_2}}, {{in_3}} without a gap",
        )
        .at("-i", places.inputs[0])),
    }
}

/// Inputs that are named by their index are there.
fn references(command: &Command, places: &Places) -> Result<(), Error> {
    let count = command.inputs.len();
    let missing = |index: usize| {
        Problem::new(
            format!("it names input {index}, and there are {count}, counted from 0"),
            "name an input that is there, or add -i {{in_2}}",
        )
    };
    for (setting, place) in command.globals.iter().zip(&places.globals) {
        let graph_streams = match &setting.value {
            Value::Graph(graph) => graph.streams().map(|streams| streams.input).max(),
            _ => None,
        };
        if let Some(index) = graph_streams.filter(|index| *index >= count) {
            return Err(missing(index).at(setting.name(), *place));
        }
    }
    for (output, places) in command.outputs.iter().zip(&places.outputs) {
        for (setting, place) in places.settings(output) {
            let index = match (&setting.value, setting.option) {
                (Value::Map(Map::Streams { streams, .. }), _) => Some(streams.input),
                (Value::Integer(index), "map_metadata" | "map_chapters") => usize::try_from(*index).ok(),
                _ => None,
            };
            if let Some(index) = index.filter(|index| *index >= count) {
                return Err(missing(index).at(setting.name(), place));
            }
        }
    }
    Ok(())
}

/// Labels of a graph that nothing in it takes, and those that nothing in it makes.
#[derive(Default)]
struct Ends<'a> {
    made: Vec<&'a str>,
    wanted: Vec<&'a str>,
}

/// Connects filters as libavfilter does, one after the other: a label may be used again once it was taken.
fn ends(graph: &Graph) -> Result<Ends<'_>, Problem> {
    fn take<'a>(from: &mut Vec<&'a str>, label: &str) -> Option<&'a str> {
        from.iter().position(|known| *known == label).map(|at| from.remove(at))
    }
    let twice = |label: &str, what: &str| {
        Err(Problem::new(
            format!("the label [{label}] is {what} twice, with nothing in between"),
            "give each its own name; split and asplit make copies of a stream",
        ))
    };
    let mut ends = Ends::default();
    for filter in graph.filters() {
        for label in filter.consumed().map(Label::as_str) {
            if take(&mut ends.made, label).is_none() {
                if ends.wanted.contains(&label) {
                    return twice(label, "taken");
                }
                ends.wanted.push(label);
            }
        }
        for label in filter.outputs.iter().map(Label::as_str) {
            if take(&mut ends.wanted, label).is_none() {
                if ends.made.contains(&label) {
                    return twice(label, "made");
                }
                ends.made.push(label);
            }
        }
    }
    Ok(ends)
}

fn unmade(label: &str) -> Problem {
    Problem::new(
        format!("no filter ends with the label [{label}]"),
        "write it behind the filter that makes it",
    )
}

fn untaken(label: &str) -> Problem {
    Problem::new(format!("nothing takes the label [{label}]"), "use it in a filter, or with -map")
}

/// In complex graphs every label that is made is taken once: by a filter of the same graph, or by `-map`.
fn labels(command: &Command, places: &Places) -> Result<(), Error> {
    let mut open: BTreeMap<&str, (&Setting, Place, usize)> = BTreeMap::new();
    for (setting, place) in command.globals.iter().zip(&places.globals) {
        let Value::Graph(graph) = &setting.value else { continue };
        let at = |problem: Problem| problem.at(setting.name(), *place);
        let ends = ends(graph).map_err(at)?;
        if let Some(label) = ends.wanted.first() {
            return Err(at(unmade(label)));
        }
        for label in ends.made {
            if open.insert(label, (setting, *place, 0)).is_some() {
                let problem = format!("two graphs end with the label [{label}]");
                return Err(at(Problem::new(problem, "give each a name of its own")));
            }
        }
    }
    for (output, places) in command.outputs.iter().zip(&places.outputs) {
        for (setting, place) in places.settings(output) {
            let Value::Map(Map::Label(label)) = &setting.value else { continue };
            let problem = match open.get_mut(label.as_str()) {
                Some((.., taken)) if *taken == 0 => {
                    *taken += 1;
                    continue;
                }
                Some(_) => Problem::new(
                    format!("the label [{label}] is mapped twice"),
                    "make copies with split or asplit",
                ),
                None => unmade(label.as_str()),
            };
            return Err(problem.at(setting.name(), place));
        }
    }
    match open.iter().find(|(_, (.., taken))| *taken == 0) {
        None => Ok(()),
        Some((label, (setting, place, _))) => Err(untaken(label).at(setting.name(), *place)),
    }
}

/// In a graph of one stream, `[in]` and `[out]` are its ends.
fn simple_labels(output: &Output, places: &OutputPlaces) -> Result<(), Error> {
    for (setting, place) in places.settings(output) {
        let Value::Graph(graph) = &setting.value else { continue };
        let at = |problem: Problem| problem.at(setting.name(), place);
        let ends = ends(graph).map_err(at)?;
        if let Some(label) = ends.wanted.iter().find(|label| **label != "in") {
            return Err(at(unmade(label)));
        }
        if let Some(label) = ends.made.iter().find(|label| **label != "out") {
            return Err(at(untaken(label)));
        }
    }
    Ok(())
}

/// No two files that the command may write have the same name.
fn names(command: &Command, places: &Places) -> Result<(), Error> {
    let mut all: Vec<Name> = Vec::new();
    for (output, place) in command.outputs.iter().zip(&places.outputs) {
        for name in written(output) {
            let problem = if all.iter().any(|other| other.meets(&name)) {
                Problem::new(
                    format!("the file {name} may be written by something else in this command too"),
                    "give each output, and each variant, names of its own",
                )
            } else if all.len() >= MAX_NAMES {
                Problem::new(
                    "the command has too many files",
                    format!("name at most {MAX_NAMES}, segments apart"),
                )
            } else {
                all.push(name);
                continue;
            };
            return Err(problem.at(output.name.as_str(), place.name));
        }
    }
    dash_names(command, places)
}

/// The files of an output, those of HLS variants one by one.
fn written(output: &Output) -> Vec<Name> {
    let variants = output.variants();
    let names = output.settings.iter().filter_map(|setting| match &setting.value {
        Value::Name(name) => Some(name),
        _ => None,
    });
    std::iter::once(&output.name)
        .chain(names)
        .flat_map(|name| match name.is_per_variant() {
            true => variants.iter().map(|variant| name.of_variant(variant)).collect(),
            false => vec![name.clone()],
        })
        .collect()
}

/// The DASH muxer names its segments by itself.
fn dash_names(command: &Command, places: &Places) -> Result<(), Error> {
    let dash = command.outputs.iter().filter(|output| output.layout() == Layout::Dash).count();
    for (output, place) in command.outputs.iter().zip(&places.outputs) {
        let name = output.name.as_str().to_ascii_lowercase();
        let like_a_segment = name.starts_with("init-stream") || name.starts_with("chunk-stream");
        if dash > 0 && like_a_segment || dash > 1 && output.layout() == Layout::Dash {
            return Err(Problem::new(
                "segments of a DASH output may have its name",
                "make one DASH output only, and let no other begin with init-stream or chunk-stream",
            )
            .at(output.name.as_str(), place.name));
        }
    }
    Ok(())
}
