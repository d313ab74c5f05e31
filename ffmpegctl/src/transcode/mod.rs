//! `transcode`: files in, files out. Here or on a farm, the way is the same: bring the input, submit a job, follow it,
//! fetch what it made.

mod embedded;
mod fetch;
mod folder;
mod inputs;
mod outputs;
mod pipeline;
mod preset;
mod stuck;

use std::{fs, num::NonZero, path::Path};

use common::{api::JobRequest, spec::Spec};
use futures::{StreamExt, stream};
use tokio::sync::Semaphore;

pub(crate) use self::preset::local as local_presets;
use self::{
    embedded::Embedded,
    folder::MadeFolders,
    inputs::Input,
    outputs::{Found, Target},
    pipeline::Pipeline,
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
const UPLOADS: usize = 3;
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
    let reporter = Reporter::new(
        Style::choose(args.json, args.quiet, verbose),
        args.inputs.iter().map(|input| inputs::name(input)).collect(),
        args.inputs.iter().map(|input| inputs::short_name(input)).collect(),
    );
    let (inputs, mut outcomes) = check(&args, &reporter);
    if inputs.is_empty() {
        return Ok(conclude(&reporter, &mut outcomes));
    }
    let finding = preset::find(&args.preset, farm.as_ref(), args.presets_dir.as_deref());
    let spec = interruptible(interrupt, finding).await?;
    let (targets, made) = place(&args, &inputs, &spec)?;
    if !outcomes.is_empty() {
        reporter.note(&format!("going on with {} of {} inputs", inputs.len(), args.inputs.len()));
    }
    let jobs = args.jobs.unwrap_or_else(|| {
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        default_jobs(farm.is_some(), u32::try_from(cores).unwrap_or(u32::MAX))
    });
    let run = Run { args: &args, inputs: &inputs, targets: &targets, jobs, reporter: &reporter, interrupt };
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

/// Checks the inputs before anything is started. Those that cannot be used are told at once and cost only themselves.
fn check(args: &TranscodeArgs, reporter: &Reporter) -> (Numbered<Input>, Numbered<Outcome>) {
    let (mut inputs, mut outcomes) = (Vec::new(), Vec::new());
    for (index, argument) in args.inputs.iter().enumerate() {
        match inputs::check(argument) {
            Ok(input) => inputs.push((index, input)),
            Err(error) => {
                let mut outcome = Outcome::new(inputs::name(argument));
                outcome.fail(error);
                reporter.finished(index, &outcome, &[]);
                outcomes.push((index, outcome));
            }
        }
    }
    (inputs, outcomes)
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
    inputs: &[(usize, Input)],
    spec: &Spec,
) -> Result<(Vec<Target>, MadeFolders), Error> {
    let found = match fs::metadata(&args.output) {
        Ok(metadata) if metadata.is_dir() => Found::Folder,
        Ok(_) => Found::File,
        Err(_) => Found::Nothing,
    };
    let stems: Vec<_> = inputs.iter().map(|(_, input)| input.stem()).collect();
    let targets = outputs::plan(&args.output, found, &args.preset, spec, &stems)?;
    for target in &targets {
        if let Target::File(file) = target {
            refuse_input(file, inputs)?;
        }
    }
    let made = folder::prepare(&targets, args.force)?;
    Ok((targets, made))
}

/// No result may take the place of an input, whatever was allowed to be overwritten.
fn refuse_input(result: &Path, inputs: &[(usize, Input)]) -> Result<(), Error> {
    let Ok(canonical) = result.canonicalize() else { return Ok(()) };
    for (_, input) in inputs {
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
    /// With their places among the arguments.
    inputs: &'a [(usize, Input)],
    /// One for each input.
    targets: &'a [Target],
    /// Inputs at the same time.
    jobs: u32,
    reporter: &'a Reporter,
    interrupt: &'a Interrupt,
}

impl Run<'_> {
    /// Everything inside this process. `None` when it was left in the middle.
    async fn here(&self) -> Result<Option<Numbered<Outcome>>, Error> {
        let starting =
            Box::pin(Embedded::start(self.args, self.inputs.iter().map(|(_, input)| input), self.jobs));
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
        let request = |input| JobRequest {
            preset: Some(self.args.preset.clone()),
            hardware: self.args.hardware.into(),
            priority: self.args.priority,
            labels: self.args.labels.iter().cloned().collect(),
            owner: self.args.owner.clone(),
            on_damaged_input: self.args.on_damaged_input.into(),
            time_limit_seconds: self.args.time_limit,
            ..JobRequest::new(input)
        };
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
        stream::iter(self.inputs.iter().zip(self.targets))
            .map(|((index, input), target)| {
                let pipeline = &pipeline;
                async move { (*index, pipeline.run(*index, input, target).await) }
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
        let inputs = [(0, inputs::check(&clip).unwrap())];
        let around = folder.path().join("./clip.mp4");
        assert!(refuse_input(&around, &inputs).unwrap_err().message.contains("would overwrite the input"));
        refuse_input(&folder.path().join("other.mp4"), &inputs).unwrap();
    }
}
