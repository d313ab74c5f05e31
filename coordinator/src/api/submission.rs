//! Checking a submission: everything that can be known to be wrong is said now, by field, and not by a failed job later.

use std::sync::Arc;

use common::{
    api::{InputRef, JobRequest},
    id::UploadId,
    preset::Presets,
    spec::Spec,
    worker::Labels,
};
use url::Url;

use super::{Api, problem::Error, suggest};
use crate::{
    queue::{InputLocation, JobInput},
    storage::shared::Refused,
    store::JobDetails,
};

/// Seconds: a month.
const MAX_TIME_LIMIT: u64 = 31 * 24 * 3600;
const MAX_URL: usize = 4096;
const MAX_PATH: usize = 4096;
const MAX_OWNER: usize = 128;
const MAX_LABELS: usize = 32;
const MAX_LABEL: usize = 128;
const PRIORITIES: std::ops::RangeInclusive<i32> = -100..=100;
/// What a job with a spec of its own has as preset.
const CUSTOM: &str = "custom";

/// The job that `request` asks for.
pub(super) async fn check(api: &Api, request: JobRequest) -> Result<JobDetails, Error> {
    let (preset, spec) = output(&api.presets, request.preset, request.spec)?;
    if !PRIORITIES.contains(&request.priority) {
        return Err(Error::invalid(
            "priority",
            format!("{} is not from -100 to 100", request.priority),
            "0 is usual, higher runs first",
        ));
    }
    labels(&request.labels)?;
    let owner = request.owner.filter(|owner| !owner.is_empty());
    if let Some(owner) = &owner {
        printable("owner", owner, MAX_OWNER)?;
    }
    let input = match request.input {
        InputRef::Url(text) => url(&text)?,
        InputRef::Path(text) => shared(api, text).await?,
        InputRef::Upload(id) => uploaded(api, id).await?,
    };
    Ok(JobDetails {
        input,
        preset,
        spec,
        hardware: request.hardware,
        priority: request.priority,
        labels: request.labels,
        owner,
        on_damaged_input: request.on_damaged_input,
        time_limit_ms: time_limit(request.time_limit_seconds)?,
    })
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

fn output(
    presets: &Presets,
    preset: Option<String>,
    spec: Option<Spec>,
) -> Result<(String, Arc<Spec>), Error> {
    match (preset, spec) {
        (Some(name), None) => match presets.get(&name) {
            Some(preset) => Ok((name, Arc::new(preset.spec.clone()))),
            None => Err(unknown_preset(presets, &name)),
        },
        (None, Some(spec)) => match spec.validate() {
            Ok(()) => Ok((CUSTOM.to_owned(), Arc::new(spec))),
            Err(error) => Err(Error::invalid(format!("spec.{}", error.field), error.problem, error.remedy)),
        },
        (Some(_), Some(_)) => {
            Err(Error::invalid("spec", "both preset and spec are given", "give one of the two"))
        }
        (None, None) => Err(Error::invalid(
            "preset",
            "neither preset nor spec is given",
            "name a preset of GET /v1/presets",
        )),
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

fn printable(field: &str, text: &str, max: usize) -> Result<(), Error> {
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

fn url(text: &str) -> Result<JobInput, Error> {
    let wrong = |problem: String, remedy: &str| Err(Error::invalid("input.url", problem, remedy));
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

async fn shared(api: &Api, text: String) -> Result<JobInput, Error> {
    if text.len() > MAX_PATH {
        return Err(Error::invalid(
            "input.path",
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
            Err(Error::invalid("input.path", format!("{name:?} {refused}"), remedy))
        }
    }
}

async fn uploaded(api: &Api, id: UploadId) -> Result<JobInput, Error> {
    match api.storage.upload(id).await? {
        Some(upload) => {
            let location = InputLocation::Object(upload.key.as_str().to_owned());
            Ok(JobInput::new(location, upload.key.name().to_owned()))
        }
        None => Err(Error::invalid(
            "input.upload",
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
            assert_eq!((problem.status, problem.field.as_deref()), (422, Some("input.url")), "{text}");
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
