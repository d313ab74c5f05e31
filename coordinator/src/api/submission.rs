//! Checking a submission: everything that can be known to be wrong is said now, by field, and not by a failed job later.

use std::sync::Arc;

use command::Command;
use common::{
    api::{CommandLine, InputRef, JobRequest},
    id::UploadId,
    media::HardwarePolicy,
    preset::Presets,
    spec::{CommandSpec, Spec},
    worker::Labels,
};
use url::Url;

use super::{Api, problem::Error, suggest, uploads, webhooks};
use crate::{
    access::{Caller, MAX_OWNER},
    queue::{InputLocation, JobInput},
    storage::{
        Key,
        address::{Address, BadAddress, Scheme},
        buckets::Refused as NotNamed,
        shared::Refused,
    },
    store::JobDetails,
};

/// Seconds: a month.
const MAX_TIME_LIMIT: u64 = 31 * 24 * 3600;
const MAX_URL: usize = 4096;
const MAX_PATH: usize = 4096;
const MAX_LABELS: usize = 32;
const MAX_LABEL: usize = 128;
const PRIORITIES: std::ops::RangeInclusive<i32> = -100..=100;
/// What a job has as preset: with a spec of its own, with a command, with a question to ffprobe.
const CUSTOM: &str = "custom";
const COMMAND: &str = "command";
const PROBE: &str = "probe";
/// Bytes of a command.
const MAX_COMMAND: usize = 32 * 1024;

/// The job that `request` asks for.
pub(super) async fn check(api: &Api, caller: &Caller, request: JobRequest) -> Result<JobDetails, Error> {
    let wanted = Wanted {
        preset: request.preset,
        spec: request.spec,
        command: request.command,
        format: request.output_format,
    };
    let (preset, spec) = output(&api.presets, wanted)?;
    hardware(request.hardware, &spec)?;
    priority(request.priority)?;
    labels(&request.labels)?;
    let owner = caller.named(request.owner)?;
    if let Some(owner) = &owner {
        printable("owner", owner, MAX_OWNER)?;
    }
    let more = request.more_inputs.len();
    if more + 1 != spec.inputs() {
        return Err(Error::invalid(
            "more_inputs",
            format!("{} inputs are given and {} are taken", more + 1, spec.inputs()),
            "give `input` for {{in}} and one of `more_inputs` for each of {{in_2}} and the following of a command",
        ));
    }
    let first = input(api, caller, request.input).await.map_err(|error| error.within("input"))?;
    let mut more_inputs = Vec::with_capacity(more);
    for (index, given) in request.more_inputs.into_iter().enumerate() {
        let given = input(api, caller, given).await;
        more_inputs.push(given.map_err(|error| error.within(&format!("more_inputs[{index}]")))?);
    }
    api.holdings.admit_job(owner.as_deref()).await?;
    Ok(JobDetails {
        input: first,
        more_inputs,
        preset,
        spec,
        hardware: request.hardware,
        priority: request.priority,
        labels: request.labels,
        owner,
        on_damaged_input: request.on_damaged_input,
        time_limit_ms: time_limit(request.time_limit_seconds)?,
        output: target(api, request.output)?,
        webhook: webhooks::check(&api.webhooks, request.webhook)?,
    })
}

pub(super) fn priority(priority: i32) -> Result<(), Error> {
    if PRIORITIES.contains(&priority) {
        return Ok(());
    }
    Err(Error::invalid(
        "priority",
        format!("{priority} is not from -100 to 100"),
        "0 is usual, higher runs first",
    ))
}

/// Seconds to milliseconds; no limit at all is not for a job to choose.
fn time_limit(seconds: Option<u64>) -> Result<Option<u64>, Error> {
    match seconds {
        Some(seconds) if !(1..=MAX_TIME_LIMIT).contains(&seconds) => Err(Error::invalid(
            "time_limit_seconds",
            format!("{seconds} is not from 1 to {MAX_TIME_LIMIT}"),
            "leave it out for the coordinator's TVARR_TIME_LIMIT",
        )),
        seconds => Ok(seconds.map(|seconds| seconds * 1000)),
    }
}

async fn input(api: &Api, caller: &Caller, given: InputRef) -> Result<JobInput, Error> {
    match given {
        InputRef::Url(text) if Address::claims(&text) => bucket(api, &text).await,
        InputRef::Url(text) => url(&text),
        InputRef::Path(text) => shared(api, text).await,
        InputRef::Upload(id) => uploaded(api, caller, id).await,
    }
}

/// Bytes of the job's first input, where that is known before anybody has read it.
pub(super) async fn size(api: &Api, job: &JobDetails) -> Result<Option<u64>, Error> {
    match job.input.location() {
        InputLocation::Object(key) => match Key::parse(key) {
            Ok(key) => Ok(api.storage.size(&key).await?),
            Err(_) => Ok(None),
        },
        InputLocation::Bucket(text) => match text.parse() {
            Ok(address) => Ok(api.buckets.size(&address).await?),
            Err(_) => Ok(None),
        },
        InputLocation::Url(_) | InputLocation::Path(_) => Ok(None),
    }
}

/// What is to be made, in one of three ways.
#[derive(Debug, Default)]
struct Wanted {
    preset: Option<String>,
    spec: Option<Spec>,
    command: Option<CommandLine>,
    format: Option<String>,
}

fn output(presets: &Presets, wanted: Wanted) -> Result<(String, Arc<Spec>), Error> {
    let Wanted { preset, spec, command, format } = wanted;
    let format = format.as_deref();
    match (preset, spec, command) {
        (Some(name), None, None) => match presets.get(&name) {
            Some(preset) => Ok((name, Arc::new(in_format(preset.spec.clone(), format)?))),
            None => Err(unknown_preset(presets, &name)),
        },
        (None, Some(_), None) if format.is_some() => Err(Error::invalid(
            "output_format",
            "a spec takes no output format",
            "leave it out: the spec's container says it",
        )),
        (None, Some(spec), None) => match spec.validate() {
            Ok(()) => Ok((own_name(&spec).to_owned(), Arc::new(spec))),
            Err(error) => Err(Error::invalid(format!("spec.{}", error.field), error.problem, error.remedy)),
        },
        (None, None, Some(command)) => {
            let spec = Spec::Command(CommandSpec { command: read_command(&command, format)? });
            match spec.validate() {
                Ok(()) => Ok((COMMAND.to_owned(), Arc::new(spec))),
                Err(error) => Err(Error::invalid(error.field, error.problem, error.remedy)),
            }
        }
        (None, None, None) => Err(Error::invalid(
            "preset",
            "none of preset, spec and command is given",
            "name a preset of GET /v1/presets, or give an ffmpeg command",
        )),
        _ => Err(Error::invalid(
            "preset",
            "more than one of preset, spec and command is given",
            "give one of the three",
        )),
    }
}

/// A preset's spec with its file in another container.
fn in_format(spec: Spec, format: Option<&str>) -> Result<Spec, Error> {
    let Some(format) = format else { return Ok(spec) };
    spec.in_format(format).map_err(|error| Error::invalid(error.field, error.problem, error.remedy))
}

const fn own_name(spec: &Spec) -> &'static str {
    match spec {
        Spec::File(_) | Spec::Hls(_) | Spec::Thumbnails(_) => CUSTOM,
        Spec::Command(_) => COMMAND,
        Spec::Probe => PROBE,
    }
}

fn read_command(given: &CommandLine, format: Option<&str>) -> Result<Command, Error> {
    let bytes = match given {
        CommandLine::Text(text) => text.len(),
        CommandLine::Arguments(args) => args.iter().map(String::len).sum(),
    };
    if bytes > MAX_COMMAND {
        let problem = format!("it has {bytes} bytes, more than {MAX_COMMAND}");
        return Err(Error::invalid("command", problem, "split the work over several jobs"));
    }
    let read = match given {
        CommandLine::Text(text) => Command::parse_for(text, format),
        CommandLine::Arguments(args) => Command::parse_args_for(args, format),
    };
    read.map_err(Error::Command)
}

/// A command is run with the encoders that it names, wherever those are.
fn hardware(policy: HardwarePolicy, spec: &Spec) -> Result<(), Error> {
    let Spec::Command(_) = spec else { return Ok(()) };
    let in_hardware = spec.need().video.is_some();
    let wrong = |problem: &str, remedy: &str| Err(Error::invalid("hardware", problem, remedy));
    match policy {
        HardwarePolicy::Require if !in_hardware => wrong(
            "hardware is required and the command names no hardware encoder",
            "name one, such as h264_nvenc",
        ),
        HardwarePolicy::Never if in_hardware => wrong(
            "hardware is refused and the command names a hardware encoder",
            "name another, such as libx264",
        ),
        HardwarePolicy::Require | HardwarePolicy::Never | HardwarePolicy::Prefer => Ok(()),
    }
}

fn unknown_preset(presets: &Presets, name: &str) -> Error {
    let names = || presets.iter().map(|preset| preset.name.as_str());
    let shown: String = name.chars().take(64).collect();
    let problem = match suggest::nearest(name, names()) {
        Some(near) => format!("there is no preset {shown:?}; did you mean {near:?}?"),
        None => format!("there is no preset {shown:?}"),
    };
    Error::invalid("preset", problem, format!("use one of {}", names().collect::<Vec<_>>().join(", ")))
}

pub(super) fn printable(field: &str, text: &str, max: usize) -> Result<(), Error> {
    if text.len() > max {
        return Err(Error::invalid(field, format!("it is longer than {max} bytes"), "use a shorter one"));
    }
    if text.chars().any(char::is_control) {
        return Err(Error::invalid(field, "it holds control characters", "use printable characters"));
    }
    Ok(())
}

fn labels(labels: &Labels) -> Result<(), Error> {
    if labels.len() > MAX_LABELS {
        return Err(Error::invalid("labels", format!("there are more than {MAX_LABELS}"), "use fewer"));
    }
    for (key, value) in labels {
        let field = format!("labels.{}", key.chars().take(32).collect::<String>());
        if key.is_empty() {
            return Err(Error::invalid(field, "a label has no name", "write {\"name\": \"value\"}"));
        }
        printable(&field, key, MAX_LABEL)?;
        printable(&field, value, MAX_LABEL)?;
    }
    Ok(())
}

/// An http or https URL that may be shown: without a user, and without a fragment.
pub(super) fn http_url(text: &str) -> Result<Url, Error> {
    let wrong = |problem: String, remedy: &str| Err(Error::invalid("url", problem, remedy));
    if text.len() > MAX_URL {
        return wrong(format!("it is longer than {MAX_URL} bytes"), "use a shorter URL");
    }
    let mut url = match Url::parse(text) {
        Ok(url) => url,
        Err(error) => {
            return wrong(
                format!("{text:?} is no URL: {error}"),
                "write http://host/file or https://host/file; upload files with POST /v1/uploads",
            );
        }
    };
    if !matches!(url.scheme(), "http" | "https") {
        return wrong(
            format!("the scheme {:?} is not taken", url.scheme()),
            "use http or https, upload the file, or give a path below a shared root",
        );
    }
    if url.host_str().is_none_or(str::is_empty) {
        return wrong("it names no host".to_owned(), "write http://host/file");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return wrong(
            "it holds a user name or password, which would show in lists and logs".to_owned(),
            "use a signed URL (its query is not shown), or upload the file",
        );
    }
    url.set_fragment(None);
    Ok(url)
}

fn url(text: &str) -> Result<JobInput, Error> {
    let mut url = http_url(text)?;
    let location = InputLocation::Url(url.to_string());
    // A query is where signed URLs carry their secret.
    let name = if url.query().is_some() {
        url.set_query(None);
        format!("{url}?...")
    } else {
        url.to_string()
    };
    Ok(JobInput::new(location, name))
}

/// An object in a bucket that jobs may name.
async fn bucket(api: &Api, text: &str) -> Result<JobInput, Error> {
    let address = address(api, "url", text)?;
    if address.scheme == Scheme::File {
        return Err(Error::invalid(
            "url",
            "an input is no file:// URL",
            "give a path below a shared root: {\"path\": \"/...\"}",
        ));
    }
    if address.folder {
        return Err(Error::invalid("url", format!("{address} names no object"), "name a file, not a folder"));
    }
    match api.buckets.size(&address).await? {
        Some(0) => Err(Error::invalid("url", format!("{address} is empty"), "check how it got there")),
        Some(_) => {
            let text = address.to_string();
            Ok(JobInput::new(InputLocation::Bucket(text.clone()), text))
        }
        None => Err(Error::invalid(
            "url",
            format!("there is no object {address}"),
            "check the bucket and the key",
        )),
    }
}

/// An address that jobs may name.
fn address(api: &Api, field: &str, text: &str) -> Result<Address, Error> {
    let address: Address = text.parse().map_err(|error: BadAddress| {
        Error::invalid(
            field,
            error.to_string(),
            "write s3://bucket/key, gs://bucket/key or az://container/key",
        )
    })?;
    api.buckets.check(&address).map_err(|refused| {
        let remedy = match &refused {
            NotNamed::NotAllowed => "add it to TVARR_STORAGE_BUCKETS of the coordinator",
            NotNamed::Unusable(_) => "check the coordinator's keys for it (docs/storage.md)",
        };
        Error::invalid(field, format!("{address} {refused}"), remedy)
    })?;
    Ok(address)
}

/// Where the results are delivered to.
fn target(api: &Api, wanted: Option<String>) -> Result<Option<String>, Error> {
    let Some(text) = wanted else { return Ok(None) };
    Ok(Some(address(api, "output", &text)?.to_string()))
}

async fn shared(api: &Api, text: String) -> Result<JobInput, Error> {
    if text.len() > MAX_PATH {
        return Err(Error::invalid(
            "path",
            format!("it is longer than {MAX_PATH} bytes"),
            "use a shorter path",
        ));
    }
    let roots = api.shared.clone();
    let name = text.clone();
    // A network file system may take its time.
    let resolved = tokio::task::spawn_blocking(move || roots.resolve(&text)).await;
    let resolved =
        resolved.map_err(|error| Error::Internal { problem: format!("checking {name}: {error}") })?;
    match resolved {
        Ok(path) => {
            let path = path.to_str().expect("resolve returns UTF-8").to_owned();
            Ok(JobInput::new(InputLocation::Path(path), name))
        }
        Err(refused) => {
            let remedy = match &refused {
                Refused::NotAbsolute => "write the whole path from /",
                Refused::NoRoots => "set TVARR_SHARED_ROOTS, or upload the file with POST /v1/uploads",
                Refused::Outside { .. } => {
                    "move the file below a shared root, add its folder to TVARR_SHARED_ROOTS, or upload it"
                }
                Refused::Missing => "check the name, as the coordinator's machine sees it",
                Refused::NotRegular => "name a file, not a folder or device",
                Refused::Empty => "check how it got there: it has no bytes",
                Refused::Unreadable(_) => "let the coordinator's user read it",
            };
            Err(Error::invalid("path", format!("{name:?} {refused}"), remedy))
        }
    }
}

async fn uploaded(api: &Api, caller: &Caller, id: UploadId) -> Result<JobInput, Error> {
    let seen = uploads::is_seen(api, caller, id).await?;
    // Before it has ended, too: the queue knows how far it has come.
    if seen && let Some(key) = api.incoming.input(id)? {
        let location = InputLocation::Object(key.as_str().to_owned());
        return Ok(JobInput::new(location, key.name().to_owned()));
    }
    let stored = api.storage.upload(id).await?;
    match stored.filter(|_| seen) {
        Some(upload) => {
            let location = InputLocation::Object(upload.key.as_str().to_owned());
            Ok(JobInput::new(location, upload.key.name().to_owned()))
        }
        None => Err(Error::invalid(
            "upload",
            format!("there is no upload {id}"),
            "upload the file with POST /v1/uploads; uploads that no job uses are removed after a while",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_kept_whole_and_shown_without_its_query() {
        let input = url("https://host/a b.mp4?sig=secret#t").unwrap();
        assert_eq!(*input.location(), InputLocation::Url("https://host/a%20b.mp4?sig=secret".to_owned()));
        assert_eq!(input.name(), "https://host/a%20b.mp4?...");
    }

    #[test]
    fn a_url_that_cannot_be_an_input_is_refused_by_name() {
        for text in
            ["", "clip.mp4", "file:///etc/passwd", "ftp://h/a", "http://", "http://u:p@h/a", "concat:a|b"]
        {
            let problem = url(text).unwrap_err().into_problem();
            assert_eq!((problem.status, problem.field.as_deref()), (422, Some("url")), "{text}");
        }
        assert!(url(&format!("http://h/{}", "a".repeat(5000))).is_err());
    }

    #[test]
    fn labels_and_owners_are_short_and_printable() {
        assert!(labels(&Labels::from([("a".to_owned(), "b".to_owned())])).is_ok());
        assert!(labels(&Labels::from([(String::new(), "b".to_owned())])).is_err());
        assert!(labels(&Labels::from([("a".to_owned(), "b\n".to_owned())])).is_err());
        assert!(printable("owner", &"x".repeat(200), MAX_OWNER).is_err());
    }
}
