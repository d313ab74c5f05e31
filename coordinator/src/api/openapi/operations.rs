//! Which routes there are, and what they take and give.

use common::{
    api::{
        AttemptLog, DrainRequest, JobPatch, JobRequest, JobSummary, JobView, KeyCreated, KeyRequest, KeyView,
        OwnerView, Page, PresetView, ProbePending, ProbeRequest, Quotas, RedriveRequest, Redriven, RunAnswer,
        SessionView, SignIn, Summary, Upload, WebhookSecrets, WebhookView, WorkerHistory, WorkerSummary,
        WorkerView,
    },
    profile::Profile,
    stream::{StreamSpec, StreamView, TokenRequest, TokenView},
    worker::OutputFile,
};
use schemars::JsonSchema;

use super::{
    super::{
        events::EventsQuery, jobs::ListQuery, outputs::OutputQuery, uploads::UploadQuery,
        webhooks::SecretQuery, workers::ListQuery as WorkersQuery,
    },
    Describe, schema_of,
};

/// A method of a route.
pub(super) struct Operation {
    /// In small letters, as OpenAPI has it.
    pub(super) method: &'static str,
    /// As the router has it.
    pub(super) path: &'static str,
    pub(super) tag: &'static str,
    pub(super) summary: &'static str,
    pub(super) description: &'static str,
    pub(super) query: Option<Describe>,
    /// Names, and what they are for.
    pub(super) headers: Vec<(&'static str, &'static str)>,
    pub(super) body: Body,
    pub(super) answers: Vec<Answer>,
}

#[derive(Clone, Copy)]
pub(super) enum Body {
    None,
    Json {
        schema: Describe,
        required: bool,
    },
    /// Of this media type.
    Bytes(&'static str),
}

pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) description: &'static str,
    pub(super) media: Option<&'static str>,
    /// `None`: bytes.
    pub(super) schema: Option<Describe>,
}

impl Operation {
    fn new(method: &'static str, path: &'static str, summary: &'static str) -> Self {
        let tag = match path.trim_start_matches("/v1").split('/').nth(1) {
            Some("run" | "probe" | "jobs" | "signed" | "webhooks") => "Jobs",
            Some("uploads") => "Uploads",
            Some("workers") => "Workers",
            Some("keys" | "owners" | "session") => "API keys",
            Some("presets" | "profiles") => "Presets and profiles",
            Some("streams" | "live") => "Live streams",
            _ => "The coordinator",
        };
        Self {
            method,
            path,
            tag,
            summary,
            description: "",
            query: None,
            headers: Vec::new(),
            body: Body::None,
            answers: Vec::new(),
        }
    }

    fn says(self, description: &'static str) -> Self {
        Self { description, ..self }
    }

    fn query<T: JsonSchema>(self) -> Self {
        Self { query: Some(schema_of::<T>), ..self }
    }

    fn header(mut self, name: &'static str, description: &'static str) -> Self {
        self.headers.push((name, description));
        self
    }

    fn takes<T: JsonSchema>(self) -> Self {
        Self { body: Body::Json { schema: schema_of::<T>, required: true }, ..self }
    }

    fn may_take<T: JsonSchema>(self) -> Self {
        Self { body: Body::Json { schema: schema_of::<T>, required: false }, ..self }
    }

    fn takes_bytes(self, media: &'static str) -> Self {
        Self { body: Body::Bytes(media), ..self }
    }

    fn gives<T: JsonSchema>(mut self, status: u16, description: &'static str) -> Self {
        let (media, schema): (_, Option<Describe>) = (Some("application/json"), Some(schema_of::<T>));
        self.answers.push(Answer { status, description, media, schema });
        self
    }

    fn gives_bytes(mut self, status: u16, media: &'static str, description: &'static str) -> Self {
        self.answers.push(Answer { status, description, media: Some(media), schema: None });
        self
    }

    fn gives_nothing(mut self, status: u16, description: &'static str) -> Self {
        self.answers.push(Answer { status, description, media: None, schema: None });
        self
    }

    /// `get_v1_jobs_id`.
    pub(super) fn id(&self) -> String {
        let path: String = self.path.chars().filter(|c| !matches!(c, '{' | '}' | '*')).collect();
        format!("{}{}", self.method, path.replace(['/', '.'], "_").trim_end_matches('_'))
    }
}

fn get(path: &'static str, summary: &'static str) -> Operation {
    Operation::new("get", path, summary)
}

fn post(path: &'static str, summary: &'static str) -> Operation {
    Operation::new("post", path, summary)
}

const WAIT: (&str, &str) =
    ("Prefer", "wait=SECONDS (up to 300): the answer comes when the job has ended, or when the time is over");
const ONCE: (&str, &str) = (
    "Idempotency-Key",
    "The same request under the same key gives the same job, for a day; another request is refused",
);
const ANY: &str = "*/*";
const BYTES: &str = "application/octet-stream";

/// All of them.
pub(super) fn operations() -> Vec<Operation> {
    [jobs(), uploads(), fleet(), live(), coordinator()].into_iter().flatten().collect()
}

fn jobs() -> Vec<Operation> {
    vec![
        post("/v1/run", "From an input to a URL of the result, in one request")
            .says(
                "Queues a job and answers with a signed URL that gives the result once the job has succeeded, to whoever has \
                 it. The estimate comes from what this farm did before with such work.",
            )
            .header(WAIT.0, WAIT.1)
            .header(ONCE.0, ONCE.1)
            .takes::<JobRequest>()
            .gives::<RunAnswer>(201, "The job is durable"),
        post("/v1/probe", "What ffprobe says about an input")
            .says("A worker asks it, under the same rules as for a job's input. Waits for 30 s unless told otherwise.")
            .header(WAIT.0, WAIT.1)
            .takes::<ProbeRequest>()
            .gives::<serde_json::Value>(200, "As ffprobe -of json -show_format -show_streams -show_chapters prints it")
            .gives::<ProbePending>(202, "It did not come in time; it will be the job's output probe.json"),
        get("/v1/jobs", "List jobs, newest first").query::<ListQuery>().gives::<Page<JobSummary>>(200, "A page"),
        post("/v1/jobs", "Submit a job")
            .header(ONCE.0, ONCE.1)
            .takes::<JobRequest>()
            .gives::<JobView>(201, "The job is durable: it reaches a final state, whatever dies")
            .gives::<JobView>(200, "The job that the same request gave before, as it is now"),
        post("/v1/jobs/redrive", "Queue dead letters again")
            .takes::<RedriveRequest>()
            .gives::<Redriven>(200, "Which were queued, and which could not be"),
        get("/v1/jobs/{id}", "Everything about a job")
            .header(WAIT.0, WAIT.1)
            .gives::<JobView>(200, "The job as it is"),
        Operation::new("patch", "/v1/jobs/{id}", "Change the priority of a job that has not ended")
            .takes::<JobPatch>()
            .gives::<JobView>(200, "It is changed"),
        Operation::new("delete", "/v1/jobs/{id}", "Remove a job that is over, with its outputs")
            .says("Outputs that were delivered elsewhere stay there. One that has not ended is to be cancelled first.")
            .gives_nothing(204, "It is gone"),
        post("/v1/jobs/{id}/cancel", "Cancel a job").gives::<JobView>(200, "It is cancelled"),
        post("/v1/jobs/{id}/retry", "Queue a job again that failed, was cancelled or is a dead letter")
            .gives::<JobView>(200, "It is queued"),
        get("/v1/jobs/{id}/logs", "What ffmpeg said, by attempt")
            .says("text/plain for who asks for it.")
            .gives::<Vec<AttemptLog>>(200, "Every attempt's lines"),
        get("/v1/jobs/{id}/webhooks", "What the receiver of a job's webhook was told of its end")
            .gives::<Page<WebhookView>>(200, "Every end, with the attempts to tell it"),
        post("/v1/jobs/{id}/webhooks/{event}/redeliver", "Tell the receiver once more")
            .says("At once, and from there on as if it were new, under the same id.")
            .gives::<WebhookView>(200, "It is on its way"),
        get("/v1/webhooks/secret", "The secret to verify webhooks with")
            .says("Of the API key's owner. Whoever has it can sign what receivers will believe.")
            .query::<SecretQuery>()
            .gives::<WebhookSecrets>(200, "One, or several while it is changed"),
        get("/v1/jobs/{id}/outputs", "The files that a job published")
            .gives::<Page<OutputFile>>(200, "All of them"),
        get("/v1/jobs/{id}/outputs/{*path}", "One of them")
            .says("With ranges.")
            .query::<OutputQuery>()
            .gives_bytes(200, ANY, "The file")
            .gives_bytes(206, ANY, "The part that was asked for"),
        get("/signed/{id}/{leave}", "The most important output, for whoever has the URL")
            .gives_nothing(302, "To the file"),
        get("/signed/{id}/{leave}/{*path}", "An output, for whoever has the URL")
            .gives_bytes(200, ANY, "The file")
            .gives_bytes(206, ANY, "The part that was asked for"),
    ]
}

fn uploads() -> Vec<Operation> {
    vec![
        post("/v1/uploads", "Upload a file, or begin a resumable upload")
            .says("With the header Tus-Resumable this is tus 1.0 (docs/uploads.md); without it, the body is the file.")
            .query::<UploadQuery>()
            .takes_bytes(BYTES)
            .gives::<Upload>(201, "The file is on disk"),
        Operation::new("put", "/v1/uploads/{path}", "Upload a file under a name: curl -T FILE .../v1/uploads/")
            .takes_bytes(BYTES)
            .gives::<Upload>(201, "The file is on disk"),
        Operation::new("delete", "/v1/uploads/{path}", "Remove an upload, by its id")
            .gives_nothing(204, "It is gone"),
        Operation::new("head", "/v1/uploads/{path}", "How far a resumable upload is")
            .header("Tus-Resumable", "1.0.0")
            .gives_nothing(200, "Upload-Offset and Upload-Length tell it"),
        Operation::new("patch", "/v1/uploads/{path}", "The next bytes of a resumable upload")
            .header("Tus-Resumable", "1.0.0")
            .header("Upload-Offset", "Where they begin")
            .header("Upload-Checksum", "ALGORITHM BASE64")
            .takes_bytes("application/offset+octet-stream")
            .gives_nothing(204, "They are on disk"),
        Operation::new("options", "/v1/uploads", "Which parts of tus are spoken here")
            .gives_nothing(204, "Tus-Version, Tus-Extension, Tus-Max-Size, Tus-Checksum-Algorithm"),
    ]
}

fn fleet() -> Vec<Operation> {
    vec![
        get("/v1/summary", "The farm at a glance")
            .says("Workers by state, slots, what runs, the asker's jobs by state, and who asks.")
            .gives::<Summary>(200, "As it is"),
        get("/v1/workers", "List workers, by name")
            .query::<WorkersQuery>()
            .gives::<Page<WorkerSummary>>(200, "A page"),
        get("/v1/workers/{id}", "Everything about a worker").gives::<WorkerView>(200, "The worker as it is"),
        Operation::new("delete", "/v1/workers/{id}", "Forget a worker that is gone")
            .says("What still waits for it to come back goes to others. One that is connected is refused.")
            .gives_nothing(204, "It is listed no more"),
        get("/v1/workers/{id}/history", "What a worker was like in the last hour")
            .gives::<WorkerHistory>(200, "Load, frames per second and jobs, in steps"),
        post("/v1/workers/{id}/probe", "Have a worker look again at what it can do")
            .says("It tries its encoders beside what runs. What it finds lifts quarantines or confirms them.")
            .gives::<WorkerView>(200, "It is asked"),
        post("/v1/workers/{id}/drain", "Give a worker no more work")
            .may_take::<Option<DrainRequest>>()
            .gives::<WorkerView>(200, "It drains"),
        post("/v1/workers/{id}/resume", "Give a drained worker work again")
            .gives::<WorkerView>(200, "It takes work"),
        get("/v1/owners", "List owners with what they have of what they may have")
            .gives::<Page<OwnerView>>(200, "Those with quotas of their own, and those that have something"),
        Operation::new("put", "/v1/owners/{path}/quotas", "Give an owner quotas of its own")
            .takes::<Quotas>()
            .gives::<OwnerView>(200, "They hold"),
        Operation::new("delete", "/v1/owners/{path}/quotas", "Let an owner have what everybody has")
            .gives_nothing(204, "They hold no more"),
        get("/v1/keys", "List API keys").gives::<Page<KeyView>>(200, "All of them, revoked ones too"),
        post("/v1/keys", "Make an API key")
            .takes::<KeyRequest>()
            .gives::<KeyCreated>(201, "The key itself, which is never told again"),
        Operation::new("delete", "/v1/keys/{id}", "Revoke an API key")
            .gives::<KeyView>(200, "It opens nothing any more"),
        get("/v1/session", "Who asks").gives::<SessionView>(200, "Whoever holds the key or the cookie; or nobody, and why"),
        post("/v1/session", "Sign in, for pages: a cookie stands for a key")
            .says(
                "HttpOnly and SameSite=Strict, for 12 hours from its last use and as long as the key is good. A request with it \
                 that changes something needs the header X-Tvarr-Page: 1.",
            )
            .takes::<SignIn>()
            .gives::<SessionView>(200, "Set-Cookie has the cookie"),
        Operation::new("delete", "/v1/session", "Sign out: takes the cookie away").gives_nothing(204, "It is gone"),
        get("/v1/presets", "What jobs can make by name").gives::<Page<PresetView>>(200, "All of them"),
        get("/v1/presets/{path}", "A preset by name").gives::<PresetView>(200, "The preset"),
        get("/v1/profiles", "What live streams can be watched as").gives::<Page<Profile>>(200, "All of them"),
        get("/v1/profiles/{path}", "A profile by name").gives::<Profile>(200, "The profile"),
    ]
}

fn live() -> Vec<Operation> {
    vec![
        get("/v1/streams", "List live streams").gives::<Page<StreamView>>(200, "All of them"),
        post("/v1/streams", "Add a live stream")
            .takes::<StreamSpec>()
            .gives::<StreamView>(201, "It can be watched"),
        get("/v1/streams/{stream}", "A live stream, by name or id")
            .gives::<StreamView>(200, "The stream as it is"),
        Operation::new("delete", "/v1/streams/{stream}", "Remove a live stream")
            .gives_nothing(204, "It is gone"),
        Operation::new(
            "put",
            "/v1/streams/{stream}/input",
            "Push MPEG-TS for as long as the connection lasts",
        )
        .says("POST does the same.")
        .takes_bytes("video/mp2t")
        .gives_nothing(204, "The connection ended"),
        post("/v1/streams/{stream}/tokens", "Leave to watch a stream, until a time")
            .takes::<TokenRequest>()
            .gives::<TokenView>(200, "A token, and a URL with it"),
        get("/live/{stream}/{file}", "The master playlist of a stream: index.m3u8").gives_bytes(
            200,
            ANY,
            "The playlist",
        ),
        get(
            "/live/{stream}/{profile}/{file}",
            "A stream in a profile: stream.ts, index.m3u8, manifest.mpd, and segments",
        )
        .gives_bytes(200, ANY, "Media or playlist")
        .gives_bytes(206, ANY, "The part that was asked for")
        .gives_nothing(307, "A ladder's playlist is its master playlist"),
    ]
}

fn coordinator() -> Vec<Operation> {
    vec![
        get("/v1/events", "What happens, as server-sent events")
            .says(
                "Each topic needs the scope of what it tells: jobs and progress `read`, workers and load `admin`, streams \
                 `view`, summary any key. Everything but jobs and workers comes at most once a second and is not remembered: \
                 listen first, then read the lists.",
            )
            .query::<EventsQuery>()
            .header("Last-Event-ID", "The last event that was seen: what came after it comes first")
            .gives_bytes(200, "text/event-stream", "Events, for as long as the connection lasts"),
        get("/", "What this is")
            .gives_bytes(200, "text/plain", "A few words")
            .gives_nothing(307, "To the pages, for a browser"),
        get("/healthz", "Whether the process answers").gives_bytes(200, "text/plain", "It does"),
        get("/readyz", "Whether storage and queue answer").gives_bytes(200, "text/plain", "They do"),
        get("/metrics", "Figures for Prometheus")
            .says("OpenMetrics text. docs/monitoring.md has every name. The token of `TVARR_METRICS_TOKEN` opens it too.")
            .gives_bytes(200, "application/openmetrics-text", "The figures"),
        get("/openapi.json", "This description").gives::<serde_json::Value>(200, "OpenAPI 3.1"),
        get("/docs", "This description, to read").gives_bytes(200, "text/html", "A page"),
    ]
}
