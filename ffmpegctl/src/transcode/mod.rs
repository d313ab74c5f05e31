//! `transcode`: files in, files out. Here or on a farm, the way is the same: bring the input, submit a job, follow it,
//! fetch what it made.

mod embedded;
mod fetch;
mod folder;
mod inputs;
mod outputs;
mod pipeline;
mod preset;

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
    client::{Client, Events},
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

pub(crate) async fn run(
    args: TranscodeArgs,
    coordinator: Option<String>,
    verbose: bool,
    interrupt: &Interrupt,
) -> Result<Exit, Error> {
    let json = args.json;
    let result = transcode(args, coordinator, verbose, interrupt).await;
    if let (true, Err(error)) = (json, &result) {
        progress::json_error(error);
    }
    result
}

async fn transcode(
    args: TranscodeArgs,
    coordinator: Option<String>,
    verbose: bool,
    interrupt: &Interrupt,
) -> Result<Exit, Error> {
    let inputs: Vec<Input> =
        args.inputs.iter().map(|input| inputs::check(input)).collect::<Result<_, _>>()?;
    let farm = coordinator.as_deref().map(Client::new).transpose()?;
    let spec = tokio::select! {
        biased;
        () = interrupt.asked.cancelled() => return Err(Error::interrupted()),
        spec = preset::find(&args.preset, farm.as_ref(), args.presets_dir.as_deref()) => spec?,
    };
    let (targets, made) = place(&args, &inputs, &spec)?;
    let style = Style::choose(args.json, args.quiet, verbose);
    let reporter = Reporter::new(
        style,
        inputs.iter().map(Input::name).collect(),
        inputs.iter().map(Input::short_name).collect(),
    );
    let jobs = args.jobs.unwrap_or_else(|| {
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        default_jobs(farm.is_some(), u32::try_from(cores).unwrap_or(u32::MAX))
    });
    let embedded = match &farm {
        Some(_) => None,
        None => {
            let starting = Embedded::start(&args, &inputs, jobs);
            tokio::select! {
                biased;
                () = interrupt.asked.cancelled() => return Err(Error::interrupted()),
                embedded = starting => Some(embedded?),
            }
        }
    };
    let client = match (&embedded, farm) {
        (Some(embedded), _) => embedded.client()?,
        (None, Some(client)) => client,
        (None, None) => {
            return Err(Error::failed("there is neither a farm nor a coordinator in this process"));
        }
    };
    let work = work(&args, &inputs, &targets, &client, embedded.is_some(), jobs, &reporter, interrupt);
    let outcomes = tokio::select! {
        biased;
        () = interrupt.insisted.cancelled() => None,
        outcomes = work => Some(outcomes),
    };
    if let Some(embedded) = embedded {
        let stopping = embedded.stop();
        tokio::select! {
            () = interrupt.insisted.cancelled() => {}
            () = stopping => {}
        }
    }
    drop(made);
    let Some(outcomes) = outcomes else {
        reporter.result(Exit::Interrupted, &[]);
        return Err(Error::interrupted());
    };
    let exit = Exit::worst(outcomes.iter().map(|outcome| outcome.exit_code));
    reporter.result(exit, &outcomes);
    Ok(exit)
}

/// Decides where results go, and makes sure that they can.
fn place(args: &TranscodeArgs, inputs: &[Input], spec: &Spec) -> Result<(Vec<Target>, MadeFolders), Error> {
    let found = match fs::metadata(&args.output) {
        Ok(metadata) if metadata.is_dir() => Found::Folder,
        Ok(_) => Found::File,
        Err(_) => Found::Nothing,
    };
    let stems: Vec<_> = inputs.iter().map(Input::stem).collect();
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
fn refuse_input(result: &Path, inputs: &[Input]) -> Result<(), Error> {
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

#[allow(clippy::too_many_arguments)]
async fn work(
    args: &TranscodeArgs,
    inputs: &[Input],
    targets: &[Target],
    client: &Client,
    embedded: bool,
    jobs: u32,
    reporter: &Reporter,
    interrupt: &Interrupt,
) -> Vec<Outcome> {
    let request = |input| JobRequest {
        input,
        preset: Some(args.preset.clone()),
        spec: None,
        hardware: args.hardware.into(),
        priority: args.priority,
        labels: args.labels.iter().cloned().collect(),
        owner: args.owner.clone(),
    };
    let pipeline = Pipeline {
        client,
        events: Events::start(client.clone()),
        link: Link::new(|message| reporter.note(message)),
        reporter,
        interrupt,
        request: &request,
        force: args.force,
        in_place: embedded,
        uploads: Semaphore::new(UPLOADS),
    };
    let mut outcomes: Vec<(usize, Outcome)> = stream::iter(inputs.iter().zip(targets).enumerate())
        .map(|(index, (input, target))| {
            let pipeline = &pipeline;
            async move { (index, pipeline.run(index, input, target).await) }
        })
        .buffer_unordered(jobs as usize)
        .collect()
        .await;
    outcomes.sort_by_key(|(index, _)| *index);
    outcomes.into_iter().map(|(_, outcome)| outcome).collect()
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
        let inputs = [inputs::check(&clip).unwrap()];
        let around = folder.path().join("./clip.mp4");
        assert!(refuse_input(&around, &inputs).unwrap_err().message.contains("would overwrite the input"));
        refuse_input(&folder.path().join("other.mp4"), &inputs).unwrap();
    }
}
