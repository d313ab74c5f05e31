//! The coordinator's HTTP API.

mod error;
mod events;
mod sse;
mod transfer;

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use common::{
    api::{
        AttemptLog, DrainRequest, JobPatch, JobRequest, JobState, JobSummary, JobView, KeyCreated,
        KeyRequest, KeyView, OwnerView, Page, PresetView, Problem, Quotas, RedriveRequest, Redriven,
        WorkerSummary, WorkerView,
    },
    config::Secret,
    failure::FailureKind,
    id::{JobId, KeyId, UploadId, WorkerId},
    profile::Profile,
    stream::{StreamSpec, StreamView, TokenRequest, TokenView},
};
use reqwest::{
    Method, RequestBuilder, Response, Url,
    header::{self, HeaderMap, HeaderValue},
};
use serde::{Serialize, de::DeserializeOwned};
use uuid::Uuid;

pub(crate) use self::{
    error::Error,
    events::{Events, Signal},
    transfer::Counter,
};
use crate::names;

/// Where `jobs`, `workers` and `streams` look when nothing is said.
pub(crate) const DEFAULT_ADDRESS: &str = "http://127.0.0.1:8080";
/// A machine that is there answers the handshake well within this.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// For calls that carry no media.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a player may ask for more.
const WATCHING: &str = "12h";
/// Jobs asked for at once; the API gives no more.
const PAGE: u32 = 500;
/// How many pages are searched for a piece of an id: the newest 20,000 jobs.
const SEARCHED_PAGES: usize = 40;

/// Where the farm is, and what opens it.
#[derive(Debug, Clone)]
pub(crate) struct Farm {
    address: Option<String>,
    key: Option<Secret>,
}

impl Farm {
    /// An empty key is none, as in a shell's unset variable.
    pub(crate) fn new(address: Option<String>, key: Option<String>) -> Self {
        Self { address, key: key.filter(|key| !key.is_empty()).map(Secret::new) }
    }

    /// The farm that was named, if one was.
    pub(crate) fn named(&self) -> Result<Option<Client>, crate::Error> {
        self.address.as_deref().map(|address| Client::new(address, self.key.as_ref())).transpose()
    }

    /// The one on this machine.
    pub(crate) fn usual(&self) -> Result<Client, crate::Error> {
        Client::new(DEFAULT_ADDRESS, self.key.as_ref())
    }
}

/// A coordinator, by its address.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    http: reqwest::Client,
    base: Url,
    has_key: bool,
}

/// What `GET /v1/jobs` is asked for.
#[derive(Debug, Clone, Default)]
pub(crate) struct JobQuery {
    pub states: Vec<JobState>,
    pub owner: Option<String>,
    pub kind: Option<FailureKind>,
    pub preset: Option<String>,
    pub worker: Option<String>,
    pub text: Option<String>,
}

impl Client {
    /// The coordinator at `address`: `http://farm:8080`, `farm:8080`, `https://farm/api`.
    pub(crate) fn new(address: &str, key: Option<&Secret>) -> Result<Self, crate::Error> {
        Self::build(parse_address(address)?, key, reqwest::Client::builder())
    }

    /// A coordinator in this process, which no proxy stands before.
    pub(crate) fn local(address: SocketAddr, key: &Secret) -> Result<Self, crate::Error> {
        let base = parse_address(&format!("http://{address}"))?;
        Self::build(base, Some(key), reqwest::Client::builder().no_proxy())
    }

    fn build(base: Url, key: Option<&Secret>, builder: reqwest::ClientBuilder) -> Result<Self, crate::Error> {
        let mut headers = HeaderMap::new();
        if let Some(key) = key {
            let mut value = HeaderValue::try_from(format!("Bearer {}", key.expose())).map_err(|_| {
                crate::Error::invalid("TVARR_API_KEY: it has characters that no key has; copy it again")
            })?;
            value.set_sensitive(true);
            headers.insert(header::AUTHORIZATION, value);
        }
        let http = builder
            .default_headers(headers)
            .user_agent(concat!("ffmpegctl/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIMEOUT)
            .build()
            .map_err(|error| {
                crate::Error::failed(format!("cannot set up HTTP: {}", error::innermost(&error)))
            })?;
        Ok(Self { http, base, has_key: key.is_some() })
    }

    /// The address, for people.
    pub(crate) fn address(&self) -> &str {
        self.base.as_str().trim_end_matches('/')
    }

    pub(crate) const fn has_key(&self) -> bool {
        self.has_key
    }

    /// The address of something there.
    pub(crate) fn address_of(&self, path: &[&str]) -> Url {
        self.url(path)
    }

    // ---- jobs

    /// `key`: the same gives the same job, however often it is sent.
    pub(crate) async fn submit(&self, request: &JobRequest, key: Uuid) -> Result<JobView, Error> {
        let request = self.post(&["v1", "jobs"]).header("idempotency-key", key.to_string()).json(request);
        self.json(request).await
    }

    pub(crate) async fn set_priority(&self, job: JobId, priority: i32) -> Result<JobView, Error> {
        let request = self.request(Method::PATCH, &["v1", "jobs", &job.to_string()]);
        self.json(request.json(&JobPatch { priority })).await
    }

    pub(crate) async fn job(&self, job: JobId) -> Result<JobView, Error> {
        self.json(self.get(&["v1", "jobs", &job.to_string()])).await
    }

    pub(crate) async fn cancel(&self, job: JobId) -> Result<JobView, Error> {
        self.json(self.post(&["v1", "jobs", &job.to_string(), "cancel"])).await
    }

    pub(crate) async fn retry(&self, job: JobId) -> Result<JobView, Error> {
        self.json(self.post(&["v1", "jobs", &job.to_string(), "retry"])).await
    }

    /// With its outputs.
    pub(crate) async fn remove_job(&self, job: JobId) -> Result<(), Error> {
        let request = self.request(Method::DELETE, &["v1", "jobs", &job.to_string()]);
        self.send(request.timeout(CALL_TIMEOUT)).await.map(drop)
    }

    /// A page of dead letters back into the queue; the answer says whether there are more.
    pub(crate) async fn redrive(&self, request: &RedriveRequest) -> Result<Redriven, Error> {
        self.json(self.post(&["v1", "jobs", "redrive"]).json(request)).await
    }

    pub(crate) async fn logs(&self, job: JobId) -> Result<Vec<AttemptLog>, Error> {
        self.json(self.get(&["v1", "jobs", &job.to_string(), "logs"])).await
    }

    /// The newest jobs, at most `limit`.
    pub(crate) async fn jobs(&self, query: &JobQuery, limit: usize) -> Result<Vec<JobSummary>, Error> {
        let mut jobs = Vec::new();
        let mut cursor = None;
        while jobs.len() < limit {
            let size = PAGE.min(u32::try_from(limit - jobs.len()).unwrap_or(PAGE));
            let page: Page<JobSummary> = self.jobs_page(query, size, cursor.as_deref()).await?;
            jobs.extend(page.items);
            cursor = page.next_cursor;
            if cursor.is_none() {
                break;
            }
        }
        jobs.truncate(limit);
        Ok(jobs)
    }

    async fn jobs_page(
        &self,
        query: &JobQuery,
        limit: u32,
        cursor: Option<&str>,
    ) -> Result<Page<JobSummary>, Error> {
        let states: Vec<_> = query.states.iter().map(|state| state.as_str()).collect();
        let mut parameters = vec![("limit", limit.to_string())];
        if !states.is_empty() {
            parameters.push(("state", states.join(",")));
        }
        parameters.extend(query.owner.iter().map(|owner| ("owner", owner.clone())));
        parameters.extend(query.kind.map(|kind| ("kind", kind.to_string())));
        parameters.extend(query.preset.iter().map(|preset| ("preset", preset.clone())));
        parameters.extend(query.worker.iter().map(|worker| ("worker", worker.clone())));
        parameters.extend(query.text.iter().map(|text| ("text", text.clone())));
        parameters.extend(cursor.map(|cursor| ("cursor", cursor.to_owned())));
        self.json(self.get(&["v1", "jobs"]).query(&parameters)).await
    }

    /// The job whose id is, begins or ends with `piece`.
    pub(crate) async fn find_job(&self, piece: &str) -> Result<JobId, crate::Error> {
        if let Ok(id) = piece.parse() {
            return Ok(id);
        }
        let mut found = Vec::new();
        if names::may_be_piece(piece) {
            let mut cursor = None;
            for _ in 0..SEARCHED_PAGES {
                let page = self.jobs_page(&JobQuery::default(), PAGE, cursor.as_deref()).await?;
                let ids = page.items.into_iter().map(|job| job.id);
                found.extend(
                    ids.map(|id| (id.to_string(), id)).filter(|(text, _)| names::is_piece_of(piece, text)),
                );
                cursor = page.next_cursor;
                if cursor.is_none() {
                    break;
                }
            }
        }
        names::only("job", piece, found)
    }

    // ---- workers

    /// All of them, by name.
    pub(crate) async fn workers(&self) -> Result<Vec<WorkerSummary>, Error> {
        let mut found = Vec::new();
        let mut cursor: Option<String> = None;
        loop {
            let mut parameters = vec![("limit", "1000".to_owned())];
            parameters.extend(cursor.map(|cursor| ("cursor", cursor)));
            let page: Page<WorkerSummary> =
                self.json(self.get(&["v1", "workers"]).query(&parameters)).await?;
            found.extend(page.items);
            cursor = page.next_cursor;
            if cursor.is_none() {
                return Ok(found);
            }
        }
    }

    pub(crate) async fn worker(&self, worker: WorkerId) -> Result<WorkerView, Error> {
        self.json(self.get(&["v1", "workers", &worker.to_string()])).await
    }

    /// The worker whose name is `piece`, or whose id is, begins or ends with it.
    pub(crate) async fn find_worker(&self, piece: &str) -> Result<WorkerSummary, crate::Error> {
        let workers = self.workers().await?;
        let named: Vec<_> = workers.iter().filter(|worker| worker.name == piece).collect();
        let fits = |worker: &WorkerSummary| {
            let id = worker.id.to_string();
            if named.is_empty() {
                names::may_be_piece(piece) && names::is_piece_of(piece, &id)
            } else {
                worker.name == piece
            }
        };
        let found = workers.iter().filter(|worker| fits(worker));
        names::only("worker", piece, found.map(|worker| (worker.id.to_string(), worker.clone())).collect())
    }

    pub(crate) async fn drain(&self, worker: WorkerId, drain: DrainRequest) -> Result<WorkerView, Error> {
        self.json(self.post(&["v1", "workers", &worker.to_string(), "drain"]).json(&drain)).await
    }

    pub(crate) async fn resume(&self, worker: WorkerId) -> Result<WorkerView, Error> {
        self.json(self.post(&["v1", "workers", &worker.to_string(), "resume"])).await
    }

    pub(crate) async fn probe_worker(&self, worker: WorkerId) -> Result<WorkerView, Error> {
        self.json(self.post(&["v1", "workers", &worker.to_string(), "probe"])).await
    }

    pub(crate) async fn forget_worker(&self, worker: WorkerId) -> Result<(), Error> {
        let request = self.request(Method::DELETE, &["v1", "workers", &worker.to_string()]);
        self.send(request.timeout(CALL_TIMEOUT)).await.map(drop)
    }

    // ---- presets

    pub(crate) async fn presets(&self) -> Result<Vec<PresetView>, Error> {
        let page: Page<PresetView> = self.json(self.get(&["v1", "presets"])).await?;
        Ok(page.items)
    }

    pub(crate) async fn profiles(&self) -> Result<Vec<Profile>, Error> {
        let page: Page<Profile> = self.json(self.get(&["v1", "profiles"])).await?;
        Ok(page.items)
    }

    // ---- keys

    pub(crate) async fn keys(&self) -> Result<Vec<KeyView>, Error> {
        let page: Page<KeyView> = self.json(self.get(&["v1", "keys"])).await?;
        Ok(page.items)
    }

    pub(crate) async fn create_key(&self, request: &KeyRequest) -> Result<KeyCreated, Error> {
        self.json(self.post(&["v1", "keys"]).json(request)).await
    }

    pub(crate) async fn revoke_key(&self, key: KeyId) -> Result<KeyView, Error> {
        self.json(self.request(Method::DELETE, &["v1", "keys", &key.to_string()])).await
    }

    // ---- owners

    /// Those with quotas of their own, and those that have something.
    pub(crate) async fn owners(&self) -> Result<Vec<OwnerView>, Error> {
        let page: Page<OwnerView> = self.json(self.get(&["v1", "owners"])).await?;
        Ok(page.items)
    }

    pub(crate) async fn set_quotas(&self, owner: &str, quotas: &Quotas) -> Result<OwnerView, Error> {
        self.json(self.request(Method::PUT, &["v1", "owners", owner, "quotas"]).json(quotas)).await
    }

    /// What is configured for everybody holds again.
    pub(crate) async fn reset_quotas(&self, owner: &str) -> Result<(), Error> {
        let request = self.request(Method::DELETE, &["v1", "owners", owner, "quotas"]);
        self.send(request.timeout(CALL_TIMEOUT)).await.map(drop)
    }

    // ---- streams

    pub(crate) async fn streams(&self) -> Result<Vec<StreamView>, Error> {
        let page: Page<StreamView> = self.json(self.get(&["v1", "streams"])).await?;
        Ok(page.items)
    }

    pub(crate) async fn add_stream(&self, spec: &StreamSpec) -> Result<StreamView, Error> {
        self.json(self.post(&["v1", "streams"]).json(spec)).await
    }

    /// By name or id.
    pub(crate) async fn stream(&self, stream: &str) -> Result<StreamView, Error> {
        self.json(self.get(&["v1", "streams", stream])).await
    }

    pub(crate) async fn remove_stream(&self, stream: &str) -> Result<(), Error> {
        let request = self.request(Method::DELETE, &["v1", "streams", stream]);
        self.send(request.timeout(CALL_TIMEOUT)).await.map(drop)
    }

    /// Leave to watch for a while, for players, which send no key; `None`: it is not given, so perhaps none is needed.
    pub(crate) async fn token(&self, stream: &str, profile: &str) -> Result<Option<String>, Error> {
        let request = TokenRequest { expires_in: WATCHING.to_owned(), profile: Some(profile.to_owned()) };
        match self.json(self.post(&["v1", "streams", stream, "tokens"]).json(&request)).await {
            Ok(TokenView { token, .. }) => Ok(Some(token)),
            Err(Error::Refused(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// A body without an end. A coordinator that says why there is none was reached, whatever its status.
    pub(crate) async fn open(&self, url: &str) -> Result<Response, Error> {
        let response = self.http.get(url).send().await.map_err(|error| self.transport(&error))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let bytes = response.bytes().await.unwrap_or_default();
        match serde_json::from_slice::<Problem>(&bytes) {
            Ok(problem) => Err(Error::Refused(Box::new(problem))),
            Err(_) => Err(Error::from_answer(self.address(), status, &bytes)),
        }
    }

    /// The next bytes of it; `None` at its end.
    pub(crate) async fn piece(&self, response: &mut Response) -> Result<Option<Bytes>, Error> {
        response.chunk().await.map_err(|error| self.transport(&error))
    }

    // ---- uploads

    pub(crate) async fn delete_upload(&self, upload: UploadId) -> Result<(), Error> {
        let request = self.request(Method::DELETE, &["v1", "uploads", &upload.to_string()]);
        self.send(request.timeout(CALL_TIMEOUT)).await.map(drop)
    }

    // ---- calls

    fn url(&self, path: &[&str]) -> Url {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        url
    }

    fn request(&self, method: Method, path: &[&str]) -> RequestBuilder {
        self.http.request(method, self.url(path))
    }

    fn get(&self, path: &[&str]) -> RequestBuilder {
        self.request(Method::GET, path)
    }

    fn post(&self, path: &[&str]) -> RequestBuilder {
        self.request(Method::POST, path)
    }

    async fn json<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, Error> {
        let response = self.send(request.timeout(CALL_TIMEOUT)).await?;
        self.body(response).await
    }

    async fn body<T: DeserializeOwned>(&self, response: Response) -> Result<T, Error> {
        let bytes = response.bytes().await.map_err(|error| self.transport(&error))?;
        serde_json::from_slice(&bytes).map_err(|error| Error::NotTheApi {
            address: self.address().to_owned(),
            reason: format!("its answer is not what this version expects ({error})"),
        })
    }

    /// Sends, and turns every answer but success into an error.
    async fn send(&self, request: RequestBuilder) -> Result<Response, Error> {
        let response = request.send().await.map_err(|error| self.transport(&error))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let bytes = response.bytes().await.unwrap_or_default();
        Err(Error::from_answer(self.address(), status, &bytes))
    }

    fn transport(&self, error: &reqwest::Error) -> Error {
        Error::from_transport(self.address(), error)
    }
}

/// An address as people write it.
fn parse_address(address: &str) -> Result<Url, crate::Error> {
    let wrong = |reason: &str| {
        crate::Error::invalid(format!(
            "{address:?} is no coordinator address: {reason}; write for example http://farm:8080"
        ))
    };
    let text = address.trim();
    let text = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    let url = Url::parse(&text).map_err(|error| wrong(&error.to_string()))?;
    match url.scheme() {
        "http" | "https" if url.has_host() => Ok(url),
        scheme => Err(wrong(&format!("the scheme {scheme} is not http or https"))),
    }
}

/// Kept in one place with the calls that send it.
#[derive(Debug, Serialize)]
struct UploadParameters<'a> {
    filename: &'a str,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_needs_no_scheme_and_may_have_a_path() {
        assert_eq!(parse_address("farm:8080").unwrap().as_str(), "http://farm:8080/");
        assert_eq!(parse_address("https://farm/api/").unwrap().as_str(), "https://farm/api/");
        let error = parse_address("ftp://farm").unwrap_err();
        assert_eq!(error.exit, crate::Exit::Invalid);
        assert!(error.message.contains("ftp"), "{error}");
        assert!(parse_address("http://").is_err());
    }

    #[test]
    fn paths_are_encoded_below_the_base() {
        common::tls::install_provider();
        let client = Client::new("http://farm/api/", None).unwrap();
        assert_eq!(client.url(&["v1", "a b", "c/d"]).as_str(), "http://farm/api/v1/a%20b/c%2Fd");
    }
}
