//! `probe`: what ffprobe says about a file, a URL or an upload, asked by a worker of the farm.

mod summary;

use std::{fs, io::IsTerminal as _, path::Path};

use common::{
    api::{InputRef, JobRequest},
    spec::PROBE_ANSWER,
};
use serde_json::Value;
use tokio::sync::Semaphore;

use crate::{
    cli::ProbeArgs,
    client::{Events, Farm},
    console,
    error::Error,
    exit::Exit,
    follow::Link,
    interrupt::Interrupt,
    progress::{Reporter, Style},
    transcode::{
        UPLOADS,
        inputs::{self, Input},
        outputs::{Place, Target},
        pipeline::Pipeline,
    },
};

pub(crate) async fn run(args: ProbeArgs, farm: &Farm, interrupt: &Interrupt) -> Result<Exit, Error> {
    let client = super::connect(farm)?;
    let input = input(&args.input)?;
    let folder = tempfile::Builder::new()
        .prefix("ffmpegctl-")
        .tempdir()
        .map_err(|error| Error::writing("use the temporary folder", &std::env::temp_dir(), &error))?;
    // Of what is over in a moment, only a person at a terminal wants to see how far it is.
    let silent = args.json || !std::io::stderr().is_terminal();
    let reporter = Reporter::new(
        Style::choose(false, silent, false),
        vec![inputs::name(&args.input)],
        vec![inputs::short_name(&args.input)],
    );
    let request = |input: InputRef| JobRequest { owner: args.owner.clone(), ..JobRequest::probe(input) };
    let pipeline = Pipeline {
        client: &client,
        events: Events::start(client.clone()),
        link: Link::new(|message| reporter.note(message)),
        reporter: &reporter,
        interrupt,
        request: &request,
        force: false,
        in_place: false,
        uploads: Semaphore::new(UPLOADS),
    };
    let (sources, place) = (input.into(), Place::Here(Target::Folder(folder.path().to_owned())));
    let outcome = tokio::select! {
        biased;
        () = interrupt.insisted.cancelled() => Err(Error::interrupted()),
        (outcome, _) = pipeline.attempt(0, &sources, &place) => Ok(outcome),
    };
    reporter.clear();
    let outcome = outcome?;
    if outcome.exit_code != Exit::Ok {
        for line in outcome.words() {
            console::say(&line);
        }
        return Ok(outcome.exit_code);
    }
    let answer = read(&folder.path().join(PROBE_ANSWER))?;
    if args.json {
        console::print_json(&answer)?;
    } else {
        console::print(&summary::of(&sources.name(), &answer))?;
    }
    Ok(Exit::Ok)
}

/// A file that is called like the id of an upload is a file.
fn input(argument: &Path) -> Result<Input, Error> {
    match argument.to_str().and_then(|text| text.parse().ok()) {
        Some(upload) if !argument.exists() => Ok(Input::Upload(upload)),
        _ => inputs::check(argument, true),
    }
}

fn read(path: &Path) -> Result<Value, Error> {
    let strange =
        |error: &dyn std::fmt::Display| Error::failed(format!("the farm's answer cannot be read: {error}"));
    let bytes = fs::read(path).map_err(|error| strange(&error))?;
    serde_json::from_slice(&bytes).map_err(|error| strange(&error))
}

#[cfg(test)]
mod tests {
    use common::id::UploadId;

    use super::*;

    #[test]
    fn an_id_is_an_upload_unless_a_file_is_called_so() {
        let id = UploadId::new();
        assert_eq!(input(Path::new(&id.to_string())).unwrap(), Input::Upload(id));
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(id.to_string());
        fs::write(&file, "x").unwrap();
        assert!(matches!(input(&file).unwrap(), Input::File(_)));
    }
}
