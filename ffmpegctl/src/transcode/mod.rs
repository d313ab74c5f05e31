//! `transcode`: files in, files out. Here or on a farm, the way is the same: bring the input, submit a job, follow it,
//! fetch what it made.

mod embedded;
mod fetch;
mod folder;
pub(crate) mod inputs;
pub(crate) mod outputs;
pub(crate) mod pipeline;
mod stuck;
mod wanted;

use std::{fs, num::NonZero, path::Path};

use futures::{StreamExt, stream};
use tokio::sync::Semaphore;

pub(crate) use self::wanted::local as local_presets;
use self::{
    embedded::Embedded,
    folder::MadeFolders,
    inputs::{Input, Sources},
    outputs::{Found, Makes, Place, Target},
    pipeline::Pipeline,
    wanted::OwnCommand,
};
use crate::{
    cli::TranscodeArgs,
    client::{Client, Events, Farm},
    error::Error,
    exit::Exit,
    follow::Link,
    interrupt::Interrupt,
    progress::{self, Outcome, Reporter, Style},
};

/// Inputs that are on a farm at the same time unless the user says otherwise: enough to keep a rack busy, few enough to
/// leave the queue to others.
const FARM_JOBS: u32 = 16;
/// Files that are sent at the same time: more only share the same line.
pub(crate) const UPLOADS: usize = 3;
/// Cores that one encode keeps busy, about.
const CORES_PER_JOB: u32 = 4;

/// With their places among the arguments.
type Numbered<T> = Vec<(usize, T)>;

pub(crate) async fn run(
    args: TranscodeArgs,
    farm: &Farm,
    verbose: bool,
    interrupt: &Interrupt,
) -> Result<Exit, Error> {
    let json = args.json;
    let result = Box::pin(transcode(args, farm, verbose, interrupt)).await;
    if let (true, Err(error)) = (json, &result) {
        progress::json_error(error);
    }
    result
}

async fn transcode(
    args: TranscodeArgs,
    farm: &Farm,
    verbose: bool,
    interrupt: &Interrupt,
) -> Result<Exit, Error> {
    let farm = farm.named()?;
    let command = OwnCommand::of(&args)?;
    let style = Style::choose(args.json, args.quiet, verbose);
    let together = command.as_ref().map(OwnCommand::inputs).filter(|inputs| *inputs > 1);
    let (reporter, sources, mut outcomes) = match together {
        Some(inputs) => {
            (together_in(style, &args), vec![(0, all(&args, inputs, farm.is_some())?)], Vec::new())
        }
        None => {
            let reporter = each_in(style, &args);
            let (sources, outcomes) = check(&args, farm.is_some(), &reporter);
            (reporter, sources, outcomes)
        }
    };
    if sources.is_empty() {
        return Ok(conclude(&reporter, &mut outcomes));
    }
    let makes = match (&command, args.preset.as_deref()) {
        (Some(command), _) => command.makes(),
        (None, preset) => {
            let (preset, format) = (preset.unwrap_or_default(), args.format.as_deref());
            let finding = wanted::of_preset(preset, format, farm.as_ref(), args.presets_dir.as_deref());
            interruptible(interrupt, finding).await?
        }
    };
    let (places, made) = place(&args, &sources, &makes, farm.is_some())?;
    if !outcomes.is_empty() {
        reporter.note(&format!("going on with {} of {} inputs", sources.len(), args.inputs.len()));
    }
    let jobs = args.jobs.unwrap_or_else(|| {
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        default_jobs(farm.is_some(), u32::try_from(cores).unwrap_or(u32::MAX))
    });
    let run = Run {
        args: &args,
        command: command.as_ref(),
        sources: &sources,
        places: &places,
        jobs,
        reporter: &reporter,
        interrupt,
    };
    let ended = match &farm {
        Some(client) => unless_insisted(interrupt, run.work(client, false)).await,
        None => Box::pin(run.here()).await?,
    };
    // Folders into which nothing came go again.
    drop(made);
    let Some(ended) = ended else {
        reporter.clear();
        return Err(Error::interrupted());
    };
    outcomes.extend(ended);
    Ok(conclude(&reporter, &mut outcomes))
}

/// Tells of each input by itself.
fn each_in(style: Style, args: &TranscodeArgs) -> Reporter {
    let names = |name: fn(&Path) -> String| args.inputs.iter().map(|input| name(input)).collect();
    Reporter::new(style, names(inputs::name), names(inputs::short_name))
}

/// Tells of all inputs as of one.
fn together_in(style: Style, args: &TranscodeArgs) -> Reporter {
    let name = |name: fn(&Path) -> String| inputs::joined(args.inputs.iter().map(|input| name(input)));
    Reporter::new(style, vec![name(inputs::name)], vec![name(inputs::short_name)])
}

/// The inputs of the one job that takes `count` of them.
fn all(args: &TranscodeArgs, count: usize, on_farm: bool) -> Result<Sources, Error> {
    match args.inputs.as_slice() {
        [first, more @ ..] if more.len() + 1 == count => Sources::check(first, more, on_farm),
        given => Err(Error::invalid(format!(
            "the command names {{{{in_{count}}}}}, so it takes {count} inputs, and {} came; give them in its order",
            given.len()
        ))),
    }
}

/// Checks the inputs before anything is started. Those that cannot be used are told at once and cost only themselves.
fn check(args: &TranscodeArgs, on_farm: bool, reporter: &Reporter) -> (Numbered<Sources>, Numbered<Outcome>) {
    let (mut sources, mut outcomes) = (Vec::new(), Vec::new());
    for (index, argument) in args.inputs.iter().enumerate() {
        match inputs::check(argument, on_farm) {
            Ok(input) => sources.push((index, input.into())),
            Err(error) => {
                let mut outcome = Outcome::new(inputs::name(argument));
                outcome.fail(error);
                reporter.finished(index, &outcome, &[]);
                outcomes.push((index, outcome));
            }
        }
    }
    (sources, outcomes)
}

fn conclude(reporter: &Reporter, outcomes: &mut Numbered<Outcome>) -> Exit {
    outcomes.sort_by_key(|(index, _)| *index);
    let outcomes: Vec<_> = outcomes.drain(..).map(|(_, outcome)| outcome).collect();
    let exit = Exit::worst(outcomes.iter().map(|outcome| outcome.exit_code));
    reporter.result(exit, &outcomes);
    exit
}

/// Runs what may be left where it is on the first Ctrl-C.
async fn interruptible<T>(
    interrupt: &Interrupt,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    tokio::select! {
        biased;
        () = interrupt.asked.cancelled() => Err(Error::interrupted()),
        result = work => result,
    }
}

/// Runs what cleans up by itself on the first Ctrl-C; `None` on the second.
async fn unless_insisted<T>(interrupt: &Interrupt, work: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        () = interrupt.insisted.cancelled() => None,
        result = work => Some(result),
    }
}

/// Decides where results go, and makes sure that they can.
fn place(
    args: &TranscodeArgs,
    sources: &[(usize, Sources)],
    makes: &Makes,
    on_farm: bool,
) -> Result<(Vec<Place>, MadeFolders), Error> {
    let stems: Vec<_> = sources.iter().map(|(_, sources)| sources.stem()).collect();
    if let Some(url) = outputs::delivery(&args.output)? {
        if !on_farm {
            return Err(Error::invalid(format!(
                "-o {url}: only a farm delivers results; name it with --coordinator URL, or give a file or folder"
            )));
        }
        return Ok((outputs::deliveries(url, &stems), MadeFolders::default()));
    }
    let found = match fs::metadata(&args.output) {
        Ok(metadata) if metadata.is_dir() => Found::Folder,
        Ok(_) => Found::File,
        Err(_) => Found::Nothing,
    };
    let targets = outputs::plan(&args.output, found, makes, &stems)?;
    for target in &targets {
        if let Target::File(file) = target {
            refuse_input(file, sources.iter().flat_map(|(_, sources)| sources.iter()))?;
        }
    }
    let made = folder::prepare(&targets, args.force)?;
    Ok((targets.into_iter().map(Place::Here).collect(), made))
}

/// No result may take the place of an input, whatever was allowed to be overwritten.
fn refuse_input<'a>(result: &Path, inputs: impl Iterator<Item = &'a Input>) -> Result<(), Error> {
    let Ok(canonical) = result.canonicalize() else { return Ok(()) };
    for input in inputs {
        if let Input::File(file) = input
            && file.canonical == canonical
        {
            return Err(Error::invalid(format!(
                "the result {} would overwrite the input {}; choose another name or folder",
                result.display(),
                file.given.display()
            )));
        }
    }
    Ok(())
}

fn default_jobs(farm: bool, cores: u32) -> u32 {
    if farm { FARM_JOBS } else { (cores / CORES_PER_JOB).max(2) }
}

/// What is to be done, decided.
struct Run<'a> {
    args: &'a TranscodeArgs,
    command: Option<&'a OwnCommand<'a>>,
    /// Of each job, with their places among the arguments.
    sources: &'a [(usize, Sources)],
    /// One for each job.
    places: &'a [Place],
    /// Inputs at the same time.
    jobs: u32,
    reporter: &'a Reporter,
    interrupt: &'a Interrupt,
}

impl Run<'_> {
    /// Everything inside this process. `None` when it was left in the middle.
    async fn here(&self) -> Result<Option<Numbered<Outcome>>, Error> {
        let inputs = self.sources.iter().flat_map(|(_, sources)| sources.iter());
        let starting = Box::pin(Embedded::start(self.args, inputs, self.jobs));
        let mut embedded = interruptible(self.interrupt, starting).await?;
        let client = embedded.client()?;
        let outcomes = tokio::select! {
            biased;
            () = self.interrupt.insisted.cancelled() => Ok(None),
            error = embedded.died() => Err(error),
            outcomes = self.begin_here(&embedded, &client) => outcomes.map(Some),
        };
        unless_insisted(self.interrupt, embedded.stop()).await;
        embedded.remove().await;
        outcomes
    }

    async fn begin_here(&self, embedded: &Embedded, client: &Client) -> Result<Numbered<Outcome>, Error> {
        interruptible(self.interrupt, embedded.connected(client)).await?;
        Ok(self.work(client, true).await)
    }

    async fn work(&self, client: &Client, in_place: bool) -> Numbered<Outcome> {
        let request = |input| wanted::request(self.args, self.command, input);
        let pipeline = Pipeline {
            client,
            events: Events::start(client.clone()),
            link: Link::new(|message| self.reporter.note(message)),
            reporter: self.reporter,
            interrupt: self.interrupt,
            request: &request,
            force: self.args.force,
            in_place,
            uploads: Semaphore::new(UPLOADS),
        };
        stream::iter(self.sources.iter().zip(self.places))
            .map(|((index, sources), place)| {
                let pipeline = &pipeline;
                async move { (*index, pipeline.run(*index, sources, place).await) }
            })
            .buffer_unordered(self.jobs as usize)
            .collect()
            .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_inputs_run_side_by_side_on_any_machine() {
        assert_eq!(default_jobs(false, 1), 2);
        assert_eq!(default_jobs(false, 64), 16);
        assert_eq!(default_jobs(true, 1), FARM_JOBS);
    }

    #[test]
    fn a_result_never_takes_the_place_of_an_input() {
        let folder = tempfile::tempdir().unwrap();
        let clip = folder.path().join("clip.mp4");
        fs::write(&clip, "x").unwrap();
        let inputs = [inputs::check(&clip, false).unwrap()];
        let around = folder.path().join("./clip.mp4");
        let error = refuse_input(&around, inputs.iter()).unwrap_err();
        assert!(error.message.contains("would overwrite the input"), "{error}");
        refuse_input(&folder.path().join("other.mp4"), inputs.iter()).unwrap();
    }
}
