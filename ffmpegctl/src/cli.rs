//! The command line.

mod keys;
mod paperwork;
mod probe;
mod streams;

use std::path::PathBuf;

use clap::{
    ArgGroup, Args, Parser, Subcommand, ValueEnum, ValueHint,
    builder::{NonEmptyStringValueParser, PossibleValuesParser, TypedValueParser},
};
use common::{
    api::{JobState, OnDamagedInput},
    failure::FailureKind,
    media::HardwarePolicy,
};
use jiff::SignedDuration;

pub use self::keys::{KeysCommand, KeysCreate, KeysList, KeysRevoke, OwnersCommand, OwnersSet};
pub use self::paperwork::{CompletionsArgs, ManArgs, Program};
pub use self::probe::ProbeArgs;
pub use self::streams::{AllStreams, OneStream, SomeStreams, StreamsAdd, StreamsCommand, StreamsWatch};

const EXIT_CODES: &str = "\
Exit codes:
  0    everything that was asked for is there
  1    a job failed or was cancelled elsewhere, or the coordinator could not do it
  2    wrong usage, or an input that cannot be transcoded; trying again does not help
  3    the coordinator cannot be reached
  4    the results cannot be written: no permission, no space left
  130  interrupted (Ctrl-C, SIGTERM): jobs were cancelled and nothing was left behind
With several inputs the gravest end decides: 130, then 3, 4, 1, 2.";

const TRANSCODE_EXAMPLES: &str = "\
Examples:
  ffmpegctl transcode clip.mov -o clip.mp4 --preset h264
  ffmpegctl transcode *.mov -o out/ --preset proxy --jobs 4
  ffmpegctl transcode clip.mov -o clip.mp4 --command '-vf scale=1280:-2 -c:v libx264 -crf 23 -c:a aac'
  ffmpegctl transcode clip.mov -o out/ --command '-c:v libx264 {{out:film.mp4}} -vn {{out:sound.mp3}}'
  ffmpegctl transcode clip.mov logo.png -o out.mp4 \\
      --command '-i {{in}} -i {{in_2}} -filter_complex overlay=8:8 -c:v libx264'
  ffmpegctl transcode s3://camera/take-7.mov -o s3://website/take-7/ --preset hls-ladder
";

/// Transcodes files here or on a farm, and shows what the farm does.
#[derive(Debug, Parser)]
#[command(name = "ffmpegctl", version, propagate_version = true, after_help = EXIT_CODES, max_term_width = 100)]
pub struct Cli {
    /// The farm's HTTP address, for example http://farm:8080.
    ///
    /// Without it `transcode` does everything inside this process, `presets` and `profiles` show the built-in ones, and
    /// everything else asks http://127.0.0.1:8080.
    #[arg(long, global = true, env = "TVARR_API_URL", value_name = "URL", value_hint = ValueHint::Url)]
    pub coordinator: Option<String>,
    /// The key for the farm's HTTP API, once it has keys; `ffmpegctl keys` makes them.
    #[arg(long, global = true, env = "TVARR_API_KEY", value_name = "KEY", hide_env_values = true)]
    pub api_key: Option<String>,
    /// Log what happens inside to stderr, for finding faults; plain lines instead of the progress bar.
    #[arg(short, long, global = true)]
    pub verbose: bool,
    /// What --verbose logs.
    #[arg(long, global = true, env = "TVARR_LOG", default_value = "info", hide = true)]
    pub log: String,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Transcode files, here or on a farm, and wait for the results.
    #[command(after_help = format!("{TRANSCODE_EXAMPLES}\n{EXIT_CODES}"))]
    Transcode(Box<TranscodeArgs>),
    /// Show what ffprobe says about a file, asked by a worker of the farm.
    #[command(after_help = probe::EXAMPLES)]
    Probe(ProbeArgs),
    /// Look at jobs and steer them.
    #[command(subcommand)]
    Jobs(JobsCommand),
    /// Look at workers and steer them.
    #[command(subcommand)]
    Workers(WorkersCommand),
    /// Add, look at and watch live streams.
    #[command(subcommand)]
    Streams(StreamsCommand),
    /// Make, list and revoke the keys of the HTTP API.
    #[command(subcommand)]
    Keys(KeysCommand),
    /// Say what owners may have at once.
    #[command(subcommand)]
    Owners(OwnersCommand),
    /// Look at what can be made.
    #[command(subcommand)]
    Presets(PresetsCommand),
    /// Look at what live streams can be watched as.
    #[command(subcommand)]
    Profiles(ProfilesCommand),
    /// Print what lets a shell complete the arguments of this program or of a daemon.
    #[command(after_help = paperwork::EXAMPLES)]
    Completions(CompletionsArgs),
    /// Write manual pages of all three programs into a folder.
    #[command(hide = true)]
    Man(ManArgs),
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("wanted").required(true).args(["preset", "command"]))]
pub struct TranscodeArgs {
    /// Files or URLs: http(s), and on a farm s3, gs and az. Each is a job, unless the command takes several.
    #[arg(required = true, value_name = "INPUT", value_hint = ValueHint::FilePath)]
    pub inputs: Vec<PathBuf>,
    /// A file for one input and what makes one file, a folder otherwise; or a URL, where the farm delivers the results to:
    /// s3://bucket/prefix/, gs://, az:// or file:///folder/.
    #[arg(short, long, value_name = "OUT", value_hint = ValueHint::AnyPath)]
    pub output: PathBuf,
    /// What to make; `ffmpegctl presets ls` lists what there is.
    #[arg(
        short,
        long,
        value_name = "PRESET",
        required_unless_present = "command",
        conflicts_with = "command"
    )]
    pub preset: Option<String>,
    /// An ffmpeg command instead of a preset, in one word of the shell. {{in}}, {{in_2}} are the inputs in their order,
    /// {{out:NAME.EXT}} the outputs; with one of each they go without saying.
    #[arg(short, long, value_name = "ARGS", allow_hyphen_values = true)]
    pub command: Option<String>,
    /// As which format, such as mp4 or hls: of a command that names no output (default: as the name of OUT ends), or
    /// instead of a preset's own.
    #[arg(short, long, value_name = "FORMAT")]
    pub format: Option<String>,
    /// Whether a hardware encoder should, must or must not be used.
    #[arg(long, default_value = "prefer", value_name = "POLICY")]
    pub hardware: Hardware,
    /// Jobs with a higher priority run first; -100 to 100.
    #[arg(long, default_value_t = 0, allow_negative_numbers = true, value_parser = clap::value_parser!(i32).range(-100..=100))]
    pub priority: i32,
    /// Only a worker with this label may do it. May be repeated.
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label)]
    pub labels: Vec<(String, String)>,
    /// In whose name, for `jobs ls --owner`. Default: the API key's owner; another one takes an admin key.
    #[arg(long, value_name = "NAME")]
    pub owner: Option<String>,
    /// What becomes of an input that decodes with errors or ends early.
    #[arg(long, default_value = "warn", value_name = "POLICY")]
    pub on_damaged_input: OnDamage,
    /// How long ffmpeg may take for one input, all attempts together: 90s, 2h, 1h30m. Default: what the farm allows.
    #[arg(long, value_name = "DURATION", value_parser = seconds)]
    pub time_limit: Option<u64>,
    /// Inputs at the same time. Default: 2 or more here, depending on the cores; 16 on a farm.
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub jobs: Option<u32>,
    /// Overwrite results that are there.
    #[arg(short = 'y', long, visible_alias = "overwrite")]
    pub force: bool,
    /// One JSON object per line on stdout for every event, and one for the result at the end.
    #[arg(long)]
    pub json: bool,
    /// No progress, only results and errors.
    #[arg(short, long, conflicts_with = "json")]
    pub quiet: bool,
    /// A folder with more presets (TOML files), when everything runs here.
    #[arg(long, value_name = "DIR", env = "TVARR_PRESETS_DIR", value_hint = ValueHint::DirPath)]
    pub presets_dir: Option<PathBuf>,
    /// Where intermediate files go when everything runs here; they need about the room of the results. Default: the
    /// system's folder for temporary files.
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub temp_dir: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Hardware {
    /// Hardware if there is room, software otherwise.
    Prefer,
    /// Hardware or wait.
    Require,
    /// Software only.
    Never,
}

impl From<Hardware> for HardwarePolicy {
    fn from(hardware: Hardware) -> Self {
        match hardware {
            Hardware::Prefer => Self::Prefer,
            Hardware::Require => Self::Require,
            Hardware::Never => Self::Never,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OnDamage {
    /// Make what can be made of it, and say what is missing.
    Warn,
    /// Make nothing.
    Fail,
}

impl From<OnDamage> for OnDamagedInput {
    fn from(policy: OnDamage) -> Self {
        match policy {
            OnDamage::Warn => Self::Warn,
            OnDamage::Fail => Self::Fail,
        }
    }
}

/// `90s`, `2h`, `1h30m`; a bare number means seconds. Rounded up to whole seconds.
fn seconds(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let duration = match text.parse() {
        Ok(seconds) => SignedDuration::from_secs(seconds),
        Err(_) => text.parse::<SignedDuration>().map_err(|_| WRITE_A_DURATION.to_owned())?,
    };
    let whole = duration.as_secs() + i64::from(duration.subsec_nanos() > 0);
    u64::try_from(whole).ok().filter(|seconds| *seconds > 0).ok_or_else(|| WRITE_A_DURATION.to_owned())
}

const WRITE_A_DURATION: &str = "write a duration such as 90s, 2h or 1h30m";

#[derive(Debug, Subcommand)]
pub enum JobsCommand {
    /// List jobs, newest first.
    Ls(JobsLs),
    /// Everything about one job: states and times, worker, ffmpeg's command line, failure, outputs.
    Show(OneJob),
    /// What ffmpeg said.
    Logs(OneJob),
    /// Cancel jobs.
    Cancel(SomeJobs),
    /// Queue failed, cancelled or dead jobs again.
    Retry(SomeJobs),
    /// Remove jobs that are over, with their outputs.
    Rm(SomeJobs),
    /// Let waiting jobs run sooner or later.
    Priority(JobsPriority),
    /// Queue dead letters again: those that are named, or all that fit.
    ///
    /// A dead letter is a job that was given up after failures that may not be its own fault; `jobs show` says why. It
    /// begins anew, with a fresh budget of tries and with any worker.
    Redrive(JobsRedrive),
    /// Follow jobs to their end; the exit code is that of the gravest end.
    Watch(SomeJobs),
}

#[derive(Debug, Args)]
pub struct JobsPriority {
    /// Higher runs first; -100 to 100.
    #[arg(allow_negative_numbers = true, value_name = "PRIORITY", value_parser = clap::value_parser!(i32).range(-100..=100))]
    pub priority: i32,
    #[command(flatten)]
    pub jobs: SomeJobs,
}

#[derive(Debug, Args)]
pub struct JobsLs {
    /// Only jobs in this state. May be repeated.
    #[arg(long = "state", value_name = "STATE", value_delimiter = ',')]
    pub states: Vec<State>,
    /// Only this owner's jobs.
    #[arg(long, value_name = "NAME")]
    pub owner: Option<String>,
    /// Only jobs that failed in this way.
    #[arg(long, value_name = "KIND", value_parser = failure_kind())]
    pub kind: Option<FailureKind>,
    /// Only jobs with this preset.
    #[arg(long, value_name = "PRESET")]
    pub preset: Option<String>,
    /// Only jobs that this worker has, or had last; its name.
    #[arg(long, value_name = "WORKER")]
    pub worker: Option<String>,
    /// Only jobs with this in the id or in the name of the input.
    #[arg(long, value_name = "TEXT")]
    pub text: Option<String>,
    /// At most so many.
    #[arg(short = 'n', long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    pub limit: u32,
    /// Without a limit.
    #[arg(long, conflicts_with = "limit")]
    pub all: bool,
    /// Whole ids instead of the last twelve characters.
    #[arg(long)]
    pub full: bool,
    #[arg(long, help = JSON)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct JobsRedrive {
    /// The ids of dead letters, or enough of their beginnings or ends.
    #[arg(value_name = "JOB", conflicts_with_all = ["kind", "preset", "worker", "owner", "text", "all"])]
    pub jobs: Vec<String>,
    /// Every dead letter that failed in this way.
    #[arg(long, value_name = "KIND", value_parser = failure_kind())]
    pub kind: Option<FailureKind>,
    /// Every dead letter with this preset.
    #[arg(long, value_name = "PRESET", value_parser = NonEmptyStringValueParser::new())]
    pub preset: Option<String>,
    /// Every dead letter that this worker had last; its name.
    #[arg(long, value_name = "WORKER", value_parser = NonEmptyStringValueParser::new())]
    pub worker: Option<String>,
    /// Every dead letter of this owner.
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    pub owner: Option<String>,
    /// Every dead letter with this in its id or in the name of its input.
    #[arg(long, value_name = "TEXT", value_parser = NonEmptyStringValueParser::new())]
    pub text: Option<String>,
    /// Every dead letter.
    #[arg(long, conflicts_with_all = ["kind", "preset", "worker", "owner", "text"])]
    pub all: bool,
    #[arg(long, help = JSON)]
    pub json: bool,
}

const JSON: &str = "JSON instead of text, as the coordinator's HTTP API writes it";

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum State {
    Queued,
    Running,
    Succeeded,
    Failed,
    Cancelled,
    /// Given up after failures that may not be the job's own fault.
    Dead,
}

impl From<State> for JobState {
    fn from(state: State) -> Self {
        match state {
            State::Queued => Self::Queued,
            State::Running => Self::Running,
            State::Succeeded => Self::Succeeded,
            State::Failed => Self::Failed,
            State::Cancelled => Self::Cancelled,
            State::Dead => Self::Dead,
        }
    }
}

#[derive(Debug, Args)]
pub struct OneJob {
    /// The id, or enough of its beginning or end.
    #[arg(value_name = "JOB")]
    pub job: String,
    #[arg(long, help = JSON)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct SomeJobs {
    /// The ids, or enough of their beginnings or ends.
    #[arg(required = true, value_name = "JOB")]
    pub jobs: Vec<String>,
    #[arg(long, help = JSON)]
    pub json: bool,
}

#[derive(Debug, Subcommand)]
pub enum WorkersCommand {
    /// List workers.
    Ls(AllWorkers),
    /// Everything about one worker: encoders, the rejected ones with the reasons, GPUs, load, what it runs.
    Show(OneWorker),
    /// Give a worker no more work; what it runs goes on, or with --now to other workers.
    Drain(WorkersDrain),
    /// Give a drained worker work again.
    Resume(OneWorker),
    /// Have a worker look again at what it can do; a quarantine ends if it finds nothing wrong.
    Probe(OneWorker),
    /// List a worker no more that is gone; what still waits for it goes to others.
    Forget(WorkerToForget),
}

#[derive(Debug, Args)]
pub struct AllWorkers {
    /// Whole ids instead of the last twelve characters.
    #[arg(long)]
    pub full: bool,
    #[arg(long, help = JSON)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct OneWorker {
    /// The name, the id, or enough of the id's beginning or end.
    #[arg(value_name = "WORKER")]
    pub worker: String,
    #[arg(long, help = JSON)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct WorkerToForget {
    /// The name, the id, or enough of the id's beginning or end.
    #[arg(value_name = "WORKER")]
    pub worker: String,
}

#[derive(Debug, Args)]
pub struct WorkersDrain {
    #[command(flatten)]
    pub worker: OneWorker,
    /// Take away at once what it runs: other workers begin it anew, and none of its tries is used up.
    #[arg(long)]
    pub now: bool,
}

#[derive(Debug, Subcommand)]
pub enum PresetsCommand {
    /// List presets: the built-in ones, or those of the farm that --coordinator names.
    Ls(AllPresets),
    /// One preset as TOML, ready to be changed into one of your own.
    Show(OnePreset),
}

#[derive(Debug, Args)]
pub struct AllPresets {
    /// A folder with more presets (TOML files), when no farm is named.
    #[arg(long, value_name = "DIR", env = "TVARR_PRESETS_DIR", value_hint = ValueHint::DirPath)]
    pub presets_dir: Option<PathBuf>,
    #[arg(long, help = JSON)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct OnePreset {
    #[arg(value_name = "PRESET")]
    pub preset: String,
    /// A folder with more presets (TOML files), when no farm is named.
    #[arg(long, value_name = "DIR", env = "TVARR_PRESETS_DIR", value_hint = ValueHint::DirPath)]
    pub presets_dir: Option<PathBuf>,
    #[arg(long, help = JSON)]
    pub json: bool,
}

#[derive(Debug, Subcommand)]
pub enum ProfilesCommand {
    /// List profiles: the built-in ones, or those of the farm that --coordinator names.
    Ls(AllProfiles),
    /// One profile as TOML, ready to be changed into one of your own.
    Show(OneProfile),
}

#[derive(Debug, Args)]
pub struct AllProfiles {
    /// A folder with more profiles (TOML files), when no farm is named.
    #[arg(long, value_name = "DIR", env = "TVARR_PROFILES_DIR", value_hint = ValueHint::DirPath)]
    pub profiles_dir: Option<PathBuf>,
    #[arg(long, help = JSON)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct OneProfile {
    #[arg(value_name = "PROFILE")]
    pub profile: String,
    /// A folder with more profiles (TOML files), when no farm is named.
    #[arg(long, value_name = "DIR", env = "TVARR_PROFILES_DIR", value_hint = ValueHint::DirPath)]
    pub profiles_dir: Option<PathBuf>,
    #[arg(long, help = JSON)]
    pub json: bool,
}

fn failure_kind() -> impl TypedValueParser<Value = FailureKind> {
    PossibleValuesParser::new(FailureKind::ALL.map(FailureKind::as_str))
        .try_map(|word| word.parse::<FailureKind>())
}

fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => Ok((key.trim().to_owned(), value.trim().to_owned())),
        _ => Err(format!("{text:?} is no label; write key=value")),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_help_tells_the_exit_codes() {
        let help = Cli::command().render_help().to_string();
        assert!(help.contains("130  interrupted"), "{help}");
    }

    #[test]
    fn a_negative_priority_is_no_flag() {
        let cli = Cli::try_parse_from([
            "ffmpegctl",
            "transcode",
            "a.mp4",
            "-o",
            "b.mp4",
            "-p",
            "h264",
            "--priority",
            "-5",
            "--label",
            "gpu=yes",
        ])
        .unwrap();
        let Command::Transcode(args) = cli.command else { panic!("not transcode") };
        assert_eq!((args.priority, args.labels.len()), (-5, 1));
    }

    #[test]
    fn redriving_takes_jobs_or_conditions_and_not_both() {
        let parse = |arguments: &[&str]| {
            let command = ["ffmpegctl", "jobs", "redrive"].iter().chain(arguments);
            Cli::try_parse_from(command).map_err(|error| error.to_string())
        };
        let Command::Jobs(JobsCommand::Redrive(args)) =
            parse(&["--kind", "out_of_memory", "--worker", "gpu-1"]).unwrap().command
        else {
            panic!("not redrive")
        };
        assert_eq!((args.kind, args.worker.as_deref()), (Some(FailureKind::OutOfMemory), Some("gpu-1")));
        assert!(parse(&["3f2a9c4d5e6f", "--all"]).unwrap_err().contains("cannot be used with"));
        for condition in ["--owner", "--text"] {
            assert!(parse(&["--all", condition, "ann"]).unwrap_err().contains("cannot be used with"));
        }
        assert!(parse(&["--kind", "crash"]).unwrap_err().contains("crashed"));
        for condition in ["--preset", "--worker", "--owner", "--text"] {
            assert!(
                parse(&[condition, ""]).unwrap_err().contains("a value is required"),
                "else it is all of them"
            );
        }
    }

    #[test]
    fn a_time_limit_is_a_duration() {
        for (text, limit) in [("90s", 90), ("2h", 7200), ("1h30m", 5400), ("45", 45), ("1500ms", 2)] {
            assert_eq!(seconds(text), Ok(limit), "{text}");
        }
        for text in ["0", "0s", "-5s", "soon", ""] {
            assert!(seconds(text).unwrap_err().contains("90s"), "{text}");
        }
    }

    #[test]
    fn a_label_without_a_value_is_refused() {
        assert!(label("gpu").unwrap_err().contains("write key=value"));
    }
}
