//! Live streams as the HTTP API has them.

use std::{borrow::Cow, fmt, str::FromStr};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize};

use crate::{
    api::WorkerRef,
    id::{AttemptId, StreamId},
    worker::Labels,
};

/// A live source, and what may be asked of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StreamSpec {
    /// In viewers' URLs: 1 to 64 lower-case letters, digits, '-' and '_'.
    pub name: String,
    pub source: SourceSpec,
    /// Profiles that may be watched. Empty: all that there are.
    #[serde(default)]
    pub profiles: Vec<String>,
    #[serde(default)]
    pub options: StreamOptions,
}

impl StreamSpec {
    /// What people may see of it: without the secrets in its source's URL.
    #[must_use]
    pub fn redacted(&self) -> Self {
        Self { source: self.source.redacted(), ..self.clone() }
    }
}

/// Where a stream comes from. As text: `push`, an absolute path, or a URL; `http(s)` that is no playlist is pulled by the
/// coordinator, everything else comes through a worker. `pull:URL` and `ingest:URL` decide it. As JSON: the text, or
/// `{"pull": URL}`, `{"ingest": URL}`, `{"file": PATH}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SourceSpec {
    /// MPEG-TS over HTTP(S), pulled by the coordinator.
    Pull(String),
    /// MPEG-TS that is PUT to `/v1/streams/{id}/input`.
    Push,
    /// Whatever ffmpeg opens, copied by a worker.
    Ingest(String),
    /// A file below a shared root, looped in real time by a worker that has it.
    File(String),
}

impl JsonSchema for SourceSpec {
    fn schema_name() -> Cow<'static, str> {
        "SourceSpec".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let one = |name: &str| {
            json_schema!({
                "type": "object",
                "properties": {name: {"type": "string"}},
                "required": [name],
                "additionalProperties": false,
            })
        };
        json_schema!({"anyOf": [{"type": "string"}, one("pull"), one("ingest"), one("file")]})
    }
}

/// A text that names no source.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no source; write push, a URL (http://host/live.ts, https://host/index.m3u8, rtsp://..., rtmp://..., srt://..., \
     udp://...) or an absolute path"
)]
pub struct NoSource(String);

/// Ends of paths that are playlists, which name the media rather than hold it.
const PLAYLISTS: [&str; 3] = [".m3u8", ".m3u", ".mpd"];

impl FromStr for SourceSpec {
    type Err = NoSource;

    fn from_str(text: &str) -> Result<Self, NoSource> {
        let text = text.trim();
        let http = |text: &str| {
            let scheme = text.split_once("://").map_or("", |(scheme, _)| scheme);
            scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https")
        };
        if text == "push" {
            return Ok(Self::Push);
        }
        if text.starts_with('/') {
            return Ok(Self::File(text.to_owned()));
        }
        if let Some(url) = text.strip_prefix("pull:") {
            return Ok(Self::Pull(url.to_owned()));
        }
        if let Some(url) = text.strip_prefix("ingest:") {
            return Ok(Self::Ingest(url.to_owned()));
        }
        if let Some(path) = text.strip_prefix("file:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            return Ok(Self::File(path.to_owned()));
        }
        let path = text.split(['?', '#']).next().unwrap_or_default().to_ascii_lowercase();
        let playlist = PLAYLISTS.iter().any(|end| path.ends_with(end));
        match text.contains("://") {
            true if http(text) && !playlist => Ok(Self::Pull(text.to_owned())),
            true => Ok(Self::Ingest(text.to_owned())),
            false => Err(NoSource(text.chars().take(200).collect())),
        }
    }
}

/// As it may be shown, see [`SourceSpec::redacted`].
impl fmt::Display for SourceSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Push => f.write_str("push"),
            Self::Pull(url) | Self::Ingest(url) => f.write_str(&without_secrets(url)),
            Self::File(path) => f.write_str(path),
        }
    }
}

impl SourceSpec {
    /// Without what may be secret in a URL: user name, password, query.
    #[must_use]
    pub fn redacted(&self) -> Self {
        match self {
            Self::Pull(url) => Self::Pull(without_secrets(url).into_owned()),
            Self::Ingest(url) => Self::Ingest(without_secrets(url).into_owned()),
            Self::Push | Self::File(_) => self.clone(),
        }
    }
}

/// A URL as it may be shown: without user name and password, and with `?...` for its query.
#[must_use]
pub fn without_secrets(url: &str) -> Cow<'_, str> {
    let Some((scheme, rest)) = url.split_once("://") else { return Cow::Borrowed(url) };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let (path, query) = match path.find(['?', '#']) {
        Some(at) => (&path[..at], "?..."),
        None => (path, ""),
    };
    if host.len() == authority.len() && query.is_empty() {
        return Cow::Borrowed(url);
    }
    Cow::Owned(format!("{scheme}://{host}{path}{query}"))
}

impl<'de> Deserialize<'de> for SourceSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl<'de> serde::de::Visitor<'de> for Either {
            type Value = SourceSpec;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("push, a URL, an absolute path, or one of {\"pull\"|\"ingest\"|\"file\": ...}")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<SourceSpec, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<SourceSpec, A::Error> {
                use serde::de::Error as _;
                let one = || A::Error::custom("a source has exactly one of pull, ingest and file");
                let kind: Kind = map.next_key()?.ok_or_else(one)?;
                let text = map.next_value()?;
                if map.next_key::<Kind>()?.is_some() {
                    return Err(one());
                }
                Ok(match kind {
                    Kind::Pull => SourceSpec::Pull(text),
                    Kind::Ingest => SourceSpec::Ingest(text),
                    Kind::File => SourceSpec::File(text),
                })
            }
        }

        #[derive(Deserialize)]
        #[serde(rename_all = "snake_case")]
        enum Kind {
            Pull,
            Ingest,
            File,
        }

        deserializer.deserialize_any(Either)
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct StreamOptions {
    /// How long an encode goes on without a viewer.
    pub linger_ms: u64,
    /// How long viewers are held while nobody can encode.
    pub hold_ms: u64,
    /// Workers that encode each variant side by side: 1 or 2.
    pub redundancy: u8,
    /// What is shown while the source is away; `None`: nothing, the picture stands still.
    pub slate: Option<String>,
    /// Workers that may encode it.
    pub labels: Labels,
    /// Whose it is: whoever holds a key of this owner sees, sends and watches it. `None`: the farm's own, which every
    /// holder of a key with the scope `view` may watch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
}

impl Default for StreamOptions {
    fn default() -> Self {
        Self {
            linger_ms: 30_000,
            hold_ms: 15_000,
            redundancy: 1,
            slate: None,
            labels: Labels::default(),
            owner: None,
        }
    }
}

/// A stream as it is now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StreamView {
    pub id: StreamId,
    #[serde(flatten)]
    pub spec: StreamSpec,
    /// It comes from the configuration file: it cannot be removed by the API.
    pub configured: bool,
    pub created_at: i64,
    pub source_state: SourceView,
    pub variants: Vec<VariantView>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SourceView {
    pub state: SourceState,
    /// What is wrong, in words.
    pub problem: Option<String>,
    /// For people: `h264 1920x1080, aac 48000 Hz`.
    pub tracks: Vec<String>,
    pub bitrate: u64,
    pub bytes_held: u64,
    pub buffered_ms: u64,
    /// Runs of the source since the stream began.
    pub generations: u32,
    /// Packets that were lost on the way here.
    pub gaps: u64,
    /// The worker through which it comes.
    pub worker: Option<WorkerRef>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SourceState {
    /// Nobody watches: nothing is pulled.
    #[default]
    Idle,
    Connecting,
    Live,
    /// It was there and is not: it is tried again.
    Lost,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct VariantView {
    pub profile: String,
    pub state: VariantState,
    /// Why it waits, in words.
    pub problem: Option<String>,
    /// Connections that read its MPEG-TS, and players that asked for a piece of it a moment ago.
    pub viewers: u32,
    /// Viewers that were dropped because they did not keep up.
    pub dropped_viewers: u64,
    pub bytes_sent: u64,
    pub bytes_held: u64,
    pub bitrate: u64,
    /// Of the segment that begins next.
    pub media_sequence: u64,
    /// Frames that no attempt gave where one followed another.
    #[serde(default)]
    pub missing_frames: u64,
    pub attempts: Vec<VariantAttempt>,
    pub failovers: Vec<FailoverView>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum VariantState {
    Starting,
    Live,
    /// No attempt encodes it; viewers are held.
    Held,
    /// Nobody watches; it ends soon.
    Lingering,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct VariantAttempt {
    pub attempt: AttemptId,
    pub worker: WorkerRef,
    pub encoder: Option<String>,
    /// `active`, `successor`, `standby`.
    pub role: String,
    pub since: i64,
}

/// One attempt that was replaced.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FailoverView {
    pub at: i64,
    pub from: WorkerRef,
    pub to: Option<WorkerRef>,
    /// `worker lost`, `no output for 2 s`, `draining`, `preempted`, ...
    pub reason: String,
    /// From the last frame of the old attempt to the first of the new one, in milliseconds.
    pub stall_ms: Option<u64>,
}

/// `POST /v1/streams/{stream}/tokens`: leave to watch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenRequest {
    /// `30m`, `12h`, `7d`.
    pub expires_in: String,
    /// `None`: all profiles of the stream.
    #[serde(default)]
    pub profile: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TokenView {
    pub token: String,
    /// Milliseconds since the Unix epoch, by the coordinator's clock.
    pub expires_at: i64,
    /// Path and query of what can be watched with it, on the HTTP port.
    pub url: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> SourceSpec {
        text.parse().unwrap()
    }

    #[test]
    fn a_text_says_how_a_source_comes() {
        assert_eq!(source("push"), SourceSpec::Push);
        for text in ["http://host/live.ts", "HTTPS://host/a?x=.m3u8", "http://host:80/udp/239.0.0.1:1234"] {
            assert_eq!(source(text), SourceSpec::Pull(text.to_owned()));
        }
        for text in [
            "https://host/Index.M3U8?token=1",
            "rtsp://cam/1",
            "srt://h:1?mode=caller",
            "udp://239.0.0.1:5000",
        ] {
            assert_eq!(source(text), SourceSpec::Ingest(text.to_owned()));
        }
        assert_eq!(source("ingest:http://host/a.mp4"), SourceSpec::Ingest("http://host/a.mp4".to_owned()));
        assert_eq!(source("/mnt/a b.mkv"), SourceSpec::File("/mnt/a b.mkv".to_owned()));
        assert_eq!(source("file:///mnt/a.mkv"), SourceSpec::File("/mnt/a.mkv".to_owned()));
        for wrong in ["", "camera", "a.mp4", "host:1234"] {
            let error = wrong.parse::<SourceSpec>().unwrap_err().to_string();
            assert!(error.contains("push, a URL"), "{error}");
        }
    }

    #[test]
    fn json_takes_text_and_objects_and_survives() {
        let read = |json: &str| serde_json::from_str::<SourceSpec>(json);
        assert_eq!(read("\"http://h/a\"").unwrap(), SourceSpec::Pull("http://h/a".to_owned()));
        assert_eq!(
            read("{\"ingest\": \"http://h/a\"}").unwrap(),
            SourceSpec::Ingest("http://h/a".to_owned())
        );
        for spec in [
            SourceSpec::Push,
            SourceSpec::Pull("http://h/index.m3u8".to_owned()),
            SourceSpec::Ingest("http://h/a.ts".to_owned()),
            SourceSpec::File("/a".to_owned()),
        ] {
            assert_eq!(read(&serde_json::to_string(&spec).unwrap()).unwrap(), spec);
        }
        for wrong in ["{}", "{\"pull\": \"a\", \"file\": \"b\"}", "{\"push\": \"a\"}", "1", "\"camera\""] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn secrets_of_a_url_are_not_shown() {
        for (url, shown) in [
            ("http://u:p@host/a@b?token=1#x", "http://host/a@b?..."),
            ("rtsp://cam/1", "rtsp://cam/1"),
            ("srt://u@h:1?passphrase=x", "srt://h:1?..."),
            ("http://host?a@b", "http://host?..."),
        ] {
            assert_eq!(without_secrets(url), shown);
        }
    }
}
