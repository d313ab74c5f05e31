//! What a stream may be.

use std::path::{Component, Path};

use common::{
    ffmpeg::live::schemes,
    profile::Profiles,
    stream::{SourceSpec, StreamSpec},
    worker::Labels,
};
use url::Url;
use uuid::Uuid;

/// A field that cannot be as it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}; {remedy}")]
pub struct Invalid {
    pub field: String,
    pub problem: String,
    pub remedy: String,
}

const MAX_NAME: usize = 64;
const MAX_SOURCE: usize = 4096;
const MAX_PROFILES: usize = 64;
const MAX_SLATE: usize = 200;
const MAX_LABELS: usize = 32;
const MAX_LABEL: usize = 128;
/// Milliseconds: a day.
const MAX_LINGER: u64 = 24 * 3600 * 1000;
/// Milliseconds. A player that waits longer has given up.
const MAX_HOLD: u64 = 600_000;

/// Whether there can be such a stream.
///
/// # Errors
/// The first field that cannot be used.
pub fn check(spec: &StreamSpec, profiles: &Profiles) -> Result<(), Invalid> {
    name(&spec.name)?;
    source(&spec.source)?;
    if spec.profiles.len() > MAX_PROFILES {
        return Err(invalid(
            "profiles",
            format!("there are more than {MAX_PROFILES}"),
            "name fewer, or none for all",
        ));
    }
    for (index, profile) in spec.profiles.iter().enumerate() {
        if profiles.get(profile).is_none() {
            let known = profiles.names().collect::<Vec<_>>().join(", ");
            return Err(invalid(
                &format!("profiles[{index}]"),
                format!("there is no profile {:?}", profile.chars().take(MAX_NAME).collect::<String>()),
                &format!("use some of {known}; none means all of them"),
            ));
        }
    }
    let options = &spec.options;
    range("options.linger_ms", options.linger_ms, 0, MAX_LINGER)?;
    range("options.hold_ms", options.hold_ms, 0, MAX_HOLD)?;
    range("options.redundancy", options.redundancy.into(), 1, 2)?;
    if let Some(slate) = &options.slate {
        text("options.slate", slate, MAX_SLATE)?;
    }
    if let Some(owner) = &options.owner {
        text("options.owner", owner, crate::access::MAX_OWNER)?;
    }
    labels(&options.labels)
}

fn invalid(field: &str, problem: impl Into<String>, remedy: &str) -> Invalid {
    Invalid { field: field.to_owned(), problem: problem.into(), remedy: remedy.to_owned() }
}

fn name(name: &str) -> Result<(), Invalid> {
    let plain =
        name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_'));
    if !plain || !(1..=MAX_NAME).contains(&name.len()) {
        return Err(invalid(
            "name",
            format!("{:?} cannot be part of a URL as it is", name.chars().take(MAX_NAME).collect::<String>()),
            "use 1 to 64 lower-case letters, digits, '-' and '_'",
        ));
    }
    if Uuid::parse_str(name).is_ok() {
        return Err(invalid("name", format!("{name:?} looks like an id"), "use a name that is no UUID"));
    }
    Ok(())
}

fn source(source: &SourceSpec) -> Result<(), Invalid> {
    match source {
        SourceSpec::Push => Ok(()),
        SourceSpec::Pull(url) => {
            let url = parse(url)?;
            if !matches!(url.scheme(), "http" | "https") {
                return Err(invalid(
                    "source",
                    format!("{} cannot be pulled", url.scheme()),
                    "pull http or https; everything else comes through a worker: {\"ingest\": URL}",
                ));
            }
            Ok(())
        }
        SourceSpec::Ingest(url) => {
            let url = parse(url)?;
            if !schemes().any(|scheme| scheme == url.scheme()) {
                let known = schemes().collect::<Vec<_>>().join(", ");
                return Err(invalid(
                    "source",
                    format!("a URL with {} is not taken", url.scheme()),
                    &format!("use one of {known}, or an absolute path below a shared root"),
                ));
            }
            Ok(())
        }
        SourceSpec::File(path) => {
            text("source", path, MAX_SOURCE)?;
            let upwards = Path::new(path).components().any(|part| part == Component::ParentDir);
            if !path.starts_with('/') || upwards {
                return Err(invalid(
                    "source",
                    format!("{path:?} is no absolute path"),
                    "write the whole path from / without .., below a shared root of a worker",
                ));
            }
            Ok(())
        }
    }
}

fn parse(text: &str) -> Result<Url, Invalid> {
    self::text("source", text, MAX_SOURCE)?;
    let remedy =
        "write for example http://host/live.ts, https://host/index.m3u8, rtsp://host/1 or srt://host:9000";
    let url =
        Url::parse(text).map_err(|error| invalid("source", format!("it is no URL: {error}"), remedy))?;
    if url.host_str().is_none_or(str::is_empty) && !matches!(url.scheme(), "udp" | "rtp" | "srt") {
        return Err(invalid("source", "its URL names no host", remedy));
    }
    Ok(url)
}

fn range(field: &str, value: u64, least: u64, most: u64) -> Result<(), Invalid> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(invalid(field, format!("{value} is not from {least} to {most}"), "leave it out for the default"))
}

fn text(field: &str, text: &str, most: usize) -> Result<(), Invalid> {
    if text.is_empty() || text.len() > most || text.chars().any(char::is_control) {
        return Err(invalid(
            field,
            "it is empty, too long, or holds control characters",
            &format!("use 1 to {most} bytes of printable text"),
        ));
    }
    Ok(())
}

fn labels(labels: &Labels) -> Result<(), Invalid> {
    if labels.len() > MAX_LABELS {
        return Err(invalid("options.labels", format!("there are more than {MAX_LABELS}"), "use fewer"));
    }
    for (key, value) in labels {
        text("options.labels", key, MAX_LABEL)?;
        if !value.is_empty() {
            text("options.labels", value, MAX_LABEL)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use common::stream::StreamOptions;

    use super::*;

    fn spec(change: impl FnOnce(&mut StreamSpec)) -> StreamSpec {
        let mut spec = StreamSpec {
            name: "news-1".to_owned(),
            source: SourceSpec::Push,
            profiles: vec!["h264-720p".to_owned()],
            options: StreamOptions::default(),
        };
        change(&mut spec);
        spec
    }

    fn refused(change: impl FnOnce(&mut StreamSpec)) -> String {
        check(&spec(change), &Profiles::builtin()).unwrap_err().field
    }

    #[test]
    fn what_can_be_is_taken() {
        let profiles = Profiles::builtin();
        for source in [
            "push",
            "http://u:p@host/live.ts?token=1",
            "https://host/index.m3u8",
            "srt://host:9000?mode=caller",
            "udp://@239.0.0.1:5000",
            "/mnt/media/a b.mkv",
        ] {
            let spec = spec(|spec| spec.source = source.parse().unwrap());
            assert_eq!(check(&spec, &profiles), Ok(()), "{source}");
        }
        assert_eq!(check(&spec(|spec| spec.profiles.clear()), &profiles), Ok(()));
    }

    #[test]
    fn what_cannot_be_is_refused_by_its_field() {
        for name in ["", "News", "a/b", "a b", "..", &"x".repeat(65), "0193a5b0-7c1d-7000-8000-3f2a9c4d5e6f"]
        {
            assert_eq!(refused(|spec| spec.name = name.to_owned()), "name", "{name}");
        }
        for source in [
            SourceSpec::Pull("ftp://host/a".to_owned()),
            SourceSpec::Pull("http://".to_owned()),
            SourceSpec::Pull("live.ts".to_owned()),
            SourceSpec::Ingest("file:///etc/passwd".to_owned()),
            SourceSpec::Ingest("concat:a|b".to_owned()),
            SourceSpec::Ingest("http://h/a\nb".to_owned()),
            SourceSpec::File("a.mkv".to_owned()),
            SourceSpec::File("/mnt/../etc/passwd".to_owned()),
        ] {
            assert_eq!(refused(|spec| spec.source = source.clone()), "source", "{source:?}");
        }
        assert_eq!(refused(|spec| spec.profiles.push("h265".to_owned())), "profiles[1]");
        assert_eq!(refused(|spec| spec.options.redundancy = 3), "options.redundancy");
        assert_eq!(refused(|spec| spec.options.hold_ms = 1 << 40), "options.hold_ms");
        assert_eq!(refused(|spec| spec.options.slate = Some(String::new())), "options.slate");
    }
}
