//! A command that was read: what it needs, what it makes, how ffmpeg gets it.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    ffi::{OsStr, OsString},
    fmt,
    path::Path,
};

use serde::{Deserialize, Serialize};

use crate::{
    error::Error,
    graph::Graph,
    map::{Map, Specifier},
    name::Name,
    parse,
    table::{Layout, Media, TABLES},
    value::Value,
};

/// A user's command, of which everything is allowed.
///
/// It is serialized as its arguments with placeholders, and deserialized by reading those like any others.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(into = "Written", try_from = "Written")]
pub struct Command {
    pub(crate) globals: Vec<Setting>,
    /// In the order of `-i`.
    pub(crate) inputs: Vec<Input>,
    pub(crate) outputs: Vec<Output>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Input {
    /// Of the placeholder: 1 for `{{in}}`, 2 for `{{in_2}}`.
    pub(crate) number: usize,
    pub(crate) settings: Vec<Setting>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Output {
    pub(crate) name: Name,
    pub(crate) muxer: &'static str,
    /// `-f` is not among them.
    pub(crate) settings: Vec<Setting>,
}

/// An option with its value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Setting {
    pub(crate) option: &'static str,
    pub(crate) target: Target,
    pub(crate) value: Value,
}

/// What an option is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    /// It has no specifier.
    All,
    Streams(Specifier),
    /// The tags of streams; those of the file are [`Target::All`].
    Tags(Specifier),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    args: Vec<String>,
}

impl From<Command> for Written {
    fn from(command: Command) -> Self {
        Self { args: command.args() }
    }
}

impl TryFrom<Written> for Command {
    type Error = Error;

    fn try_from(written: Written) -> Result<Self, Error> {
        Self::parse_args(&written.args)
    }
}

/// What a file that comes out is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Produced {
    /// The file's name, or the pattern of names.
    pub name: Name,
    /// As ffmpeg names the container.
    pub muxer: &'static str,
    pub kind: Kind,
}

/// The files that belong to one output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    File,
    /// The name is a pattern with a number.
    Images,
    /// The name is a pattern with a number.
    Segments,
    /// The name is the playlist's. Where there are variants, `%v` in names stands for each of them.
    Hls {
        segments: Name,
        init: Option<Name>,
        master: Option<Name>,
        variants: Vec<String>,
    },
    /// The name is the manifest's; `init-stream*.m4s` and `chunk-stream*-*.m4s` (or `.webm`) belong to it.
    Dash,
}

impl Produced {
    /// Whether ffprobe finds streams in its files: in all but bare samples, which do not say what they are.
    #[must_use]
    pub fn is_described(&self) -> bool {
        self.muxer != "rawvideo"
    }
}

/// What a worker must have, by ffmpeg's names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Needs {
    /// With how many streams each encodes, as far as the command says it. `copy` is none.
    pub encoders: BTreeMap<&'static str, usize>,
    /// Only those that the command names.
    pub decoders: BTreeSet<&'static str>,
    pub filters: BTreeSet<&'static str>,
    pub muxers: BTreeSet<&'static str>,
    pub bitstream_filters: BTreeSet<&'static str>,
}

/// What the worker brings along when a command is written for its ffmpeg.
#[derive(Debug, Clone, Copy)]
pub struct Argv<'a> {
    /// Addresses of the inputs: the first for `{{in}}`, the second for `{{in_2}}`.
    pub inputs: &'a [OsString],
    /// Options in front of each input: which protocols and demuxers may be used.
    pub guard: &'a [&'a str],
    /// An absolute path without `%`, which several containers read as a counter.
    pub output_dir: &'a Path,
    /// Which GPU the encoders of NVENC take, by its index; ffmpeg's own choice when absent.
    pub gpu: Option<&'a str>,
}

/// Why a command cannot be written for a worker. Both are the caller's mistakes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Setup {
    #[error("the command has {wanted} inputs and {given} addresses were given; give one for each")]
    Inputs { wanted: usize, given: usize },
    #[error("the output folder must be an absolute path without '%'; give another")]
    Folder,
}

impl Command {
    /// Reads a command as a user wrote it, with `{{out:...}}` or `-f` to say what comes out.
    ///
    /// # Errors
    /// The first thing that is not allowed.
    pub fn parse(text: &str) -> Result<Self, Error> {
        Self::parse_for(text, None)
    }

    /// Reads a command, with the format of its output: an extension such as `mp4`, or a container such as `hls`. It holds
    /// when the command itself has no `{{out:...}}`; its output is called `output` then.
    ///
    /// # Errors
    /// The first thing that is not allowed.
    pub fn parse_for(text: &str, format: Option<&str>) -> Result<Self, Error> {
        parse::command(&crate::words::split(text)?, format)
    }

    /// Reads a command in arguments. Nothing is split or unquoted.
    ///
    /// # Errors
    /// The first thing that is not allowed.
    pub fn parse_args<S: AsRef<str>>(args: &[S]) -> Result<Self, Error> {
        Self::parse_args_for(args, None)
    }

    /// As [`Command::parse_for`], in arguments.
    ///
    /// # Errors
    /// The first thing that is not allowed.
    pub fn parse_args_for<S: AsRef<str>>(args: &[S], format: Option<&str>) -> Result<Self, Error> {
        parse::command(&crate::words::given(args)?, format)
    }

    /// How many inputs it takes: `{{in}}`, then `{{in_2}}` to this number.
    #[must_use]
    pub fn inputs(&self) -> usize {
        self.inputs.iter().map(|input| input.number).max().unwrap_or_default()
    }

    #[must_use]
    pub fn outputs(&self) -> Vec<Produced> {
        self.outputs
            .iter()
            .map(|output| Produced { name: output.name.clone(), muxer: output.muxer, kind: output.kind() })
            .collect()
    }

    #[must_use]
    pub fn needs(&self) -> Needs {
        let mut needs = Needs::default();
        for setting in self.inputs.iter().flat_map(|input| &input.settings) {
            if let (Value::Word(decoder), "c") = (&setting.value, setting.option) {
                needs.decoders.insert(decoder);
            }
        }
        for output in &self.outputs {
            needs.muxers.insert(output.muxer);
            if let (Layout::Segments, Some(muxer)) = (output.layout(), output.inner_muxer()) {
                needs.muxers.insert(muxer);
            }
            for setting in &output.settings {
                match (&setting.value, setting.option) {
                    (Value::Word(encoder), "c") if *encoder != "copy" => {
                        *needs.encoders.entry(encoder).or_default() += output.streams(setting.target);
                    }
                    (Value::List(_, names), "bsf") => {
                        needs.bitstream_filters.extend(names.iter().filter_map(Value::word));
                    }
                    _ => {}
                }
            }
        }
        needs.filters.extend(self.graphs().flat_map(Graph::filters).map(|filter| filter.name));
        needs
    }

    pub(crate) fn graphs(&self) -> impl Iterator<Item = &Graph> {
        let settings = self.globals.iter().chain(self.outputs.iter().flat_map(|output| &output.settings));
        settings.filter_map(|setting| match &setting.value {
            Value::Graph(graph) => Some(graph),
            _ => None,
        })
    }

    /// The command as arguments with placeholders, every option by its one name. Reading them gives the same command.
    #[must_use]
    pub fn args(&self) -> Vec<String> {
        let mut args = Vec::new();
        self.write(
            &mut args,
            String::from,
            |input| vec![String::from("-i"), placeholder(input.number)],
            |name, place| match place {
                Place::Option => name.to_string(),
                Place::File => format!("{{{{out:{name}}}}}"),
            },
        );
        args
    }

    /// ffmpeg's arguments, without the program's name and without what is the worker's own: how it logs, its devices.
    ///
    /// # Errors
    /// What the worker brings along does not fit.
    pub fn argv(&self, with: Argv<'_>) -> Result<Vec<OsString>, Setup> {
        if with.inputs.len() != self.inputs() {
            return Err(Setup::Inputs { wanted: self.inputs(), given: with.inputs.len() });
        }
        if !with.output_dir.is_absolute() || with.output_dir.to_string_lossy().contains('%') {
            return Err(Setup::Folder);
        }
        let mut argv = Vec::new();
        self.placed_on(with.gpu).write(
            &mut argv,
            OsString::from,
            |input| {
                let mut argv: Vec<OsString> = with.guard.iter().map(OsString::from).collect();
                argv.extend([OsStr::new("-i").to_owned(), with.inputs[input.number - 1].clone()]);
                argv
            },
            |name, _| with.output_dir.join(name.as_str()).into_os_string(),
        );
        Ok(argv)
    }

    /// With the GPU said to every encoder of NVENC.
    fn placed_on(&self, gpu: Option<&str>) -> Cow<'_, Self> {
        let Some(gpu) = gpu else { return Cow::Borrowed(self) };
        let mut command = self.clone();
        for output in &mut command.outputs {
            let on_gpu = |setting: &Setting| match (&setting.value, setting.option) {
                (Value::Word(encoder), "c") => encoder.ends_with("_nvenc"),
                _ => false,
            };
            let targets: Vec<_> = output
                .settings
                .iter()
                .filter(|setting| on_gpu(setting))
                .map(|setting| setting.target)
                .collect();
            output.settings.extend(targets.into_iter().map(|target| Setting {
                option: "gpu",
                target,
                value: Value::Text(gpu.to_owned()),
            }));
        }
        Cow::Owned(command)
    }

    /// Media seconds that come out at most, when `input` come in by `{{in}}`; `None` where the command changes how time
    /// goes. For progress: nothing depends on it.
    #[must_use]
    pub fn seconds(&self, input: Option<f64>) -> Option<f64> {
        const CHANGE_TIME: [&str; 14] = [
            "adelay", "aloop", "apad", "areverse", "asetpts", "atempo", "atrim", "concat", "loop", "reverse",
            "setpts", "tpad", "trim", "xfade",
        ];
        let changes = |settings: &[Setting]| {
            settings
                .iter()
                .any(|setting| matches!(setting.option, "stream_loop" | "itsscale" | "loop" | "sseof"))
        };
        let filters = self.needs().filters;
        let first = self.inputs.first()?;
        if CHANGE_TIME.iter().any(|name| filters.contains(name)) || changes(&first.settings) {
            return None;
        }
        let read = span(&first.settings, input);
        let longest = self.outputs.iter().map(|output| span(&output.settings, read));
        longest.collect::<Option<Vec<_>>>()?.into_iter().reduce(f64::max)
    }

    /// Writes all arguments in the order that ffmpeg wants: what is global, inputs, outputs.
    fn write<A>(
        &self,
        args: &mut Vec<A>,
        plain: impl Fn(String) -> A,
        input_args: impl Fn(&Input) -> Vec<A>,
        file: impl Fn(&Name, Place) -> A,
    ) {
        let settings = |args: &mut Vec<A>, settings: &[Setting]| {
            for setting in settings {
                args.push(plain(setting.name()));
                match &setting.value {
                    Value::Flag => {}
                    // The HLS muxer opens segments as they are named, and everything else beside the playlist.
                    Value::Name(name) if setting.option == "hls_segment_filename" => {
                        args.push(file(name, Place::Option));
                    }
                    value => args.push(plain(value.to_string())),
                }
            }
        };
        settings(args, &self.globals);
        for input in &self.inputs {
            settings(args, &input.settings);
            args.extend(input_args(input));
        }
        for output in &self.outputs {
            settings(args, &output.settings);
            args.extend(["-f", output.muxer].map(|arg| plain(arg.to_owned())));
            args.push(file(&output.name, Place::File));
        }
    }
}

/// What `-ss`, `-t` and `-to` leave of that many seconds.
fn span(settings: &[Setting], seconds: Option<f64>) -> Option<f64> {
    let value = |option: &str| {
        settings.iter().find(|setting| setting.option == option).and_then(|setting| match setting.value {
            Value::Duration(micros) => Some(micros as f64 / 1e6),
            _ => None,
        })
    };
    let start = value("ss").unwrap_or_default();
    let left = seconds.map(|seconds| (seconds - start).max(0.0));
    // As in ffmpeg, -t comes before -to.
    match (value("t").or_else(|| value("to").map(|end| (end - start).max(0.0))), left) {
        (Some(length), Some(left)) => Some(length.min(left)),
        (length, left) => length.or(left),
    }
}

/// Where a file's name stands.
#[derive(Clone, Copy)]
enum Place {
    /// As the value of an option.
    Option,
    /// As an output.
    File,
}

fn placeholder(number: usize) -> String {
    if number == 1 { "{{in}}".to_owned() } else { format!("{{{{in_{number}}}}}") }
}

impl fmt::Display for Command {
    /// For logs: the arguments with placeholders, parted by spaces.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.args().join(" "))
    }
}

impl Setting {
    /// With its dash and its specifier.
    pub(crate) fn name(&self) -> String {
        match self.target {
            Target::All => format!("-{}", self.option),
            Target::Streams(streams) => format!("-{}:{streams}", self.option),
            Target::Tags(streams) if streams == Specifier::default() => format!("-{}:s", self.option),
            Target::Tags(streams) => format!("-{}:s:{streams}", self.option),
        }
    }
}

impl Value {
    pub(crate) fn word(&self) -> Option<&'static str> {
        match self {
            Self::Word(word) => Some(word),
            _ => None,
        }
    }
}

impl Output {
    pub(crate) fn layout(&self) -> Layout {
        TABLES.muxers[self.muxer].layout
    }

    pub(crate) fn value(&self, option: &str) -> Option<&Value> {
        self.settings.iter().find(|setting| setting.option == option).map(|setting| &setting.value)
    }

    /// How many of its streams an encoder is for: those that are mapped by a medium or a label, or one.
    fn streams(&self, target: Target) -> usize {
        let Target::Streams(Specifier { media, index: None }) = target else { return 1 };
        let mapped = self.settings.iter().filter(|setting| match &setting.value {
            // Nobody says what comes out of a graph: picture, for who counts encode sessions.
            Value::Map(Map::Label(_)) => media == Some(Media::Video),
            Value::Map(Map::Streams { without: false, streams, .. }) => streams.specifier.media == media,
            _ => false,
        });
        mapped.count().max(1)
    }

    /// The container of the segments.
    pub(crate) fn inner_muxer(&self) -> Option<&'static str> {
        TABLES.muxer_of_extension(self.name.extension())
    }

    /// What `%v` stands for in each HLS variant: its name, or its number.
    pub(crate) fn variants(&self) -> Vec<String> {
        let Some(Value::Shape(map)) = self.value("var_stream_map") else { return Vec::new() };
        let groups = map.split(' ').enumerate();
        groups
            .map(|(index, group)| {
                let name = group.split(',').find_map(|item| item.strip_prefix("name:"));
                name.map_or_else(|| index.to_string(), str::to_owned)
            })
            .collect()
    }

    fn kind(&self) -> Kind {
        let named = |option: &str| match self.value(option) {
            Some(Value::Name(name)) => Some(name.clone()),
            _ => None,
        };
        match self.layout() {
            Layout::Images if self.name.pattern().is_some() => Kind::Images,
            Layout::File | Layout::Images => Kind::File,
            Layout::Segments => Kind::Segments,
            Layout::Dash => Kind::Dash,
            Layout::Hls => Kind::Hls {
                segments: named("hls_segment_filename").expect("it is added to every HLS output"),
                init: named("hls_fmp4_init_filename"),
                master: named("master_pl_name"),
                variants: self.variants(),
            },
        }
    }
}
