//! A client that does not mind a coordinator that is not there.

use std::time::Duration;

use common::{
    api::{
        InputRef, JobRequest, JobState, JobSummary, JobView, Page, RedriveRequest, Upload, WorkerSummary,
        WorkerView,
    },
    id::{JobId, WorkerId},
};
use reqwest::{Response, StatusCode};
use serde::de::DeserializeOwned;

/// Longer than a coordinator takes that is frozen for a while.
const TIMEOUT: Duration = Duration::from_secs(30);
/// The most that a list gives at once.
const PAGE: usize = 500;

/// Why there is no answer, or none that was hoped for.
#[derive(Debug, Clone)]
pub(crate) enum Trouble {
    /// Nobody answered to the end: it may have been done or not.
    Silence,
    Refused(StatusCode, String),
}

#[derive(Debug, Clone)]
pub(crate) struct Client {
    base: String,
    http: reqwest::Client,
}

impl Client {
    pub(crate) fn new(base: &str) -> Self {
        common::tls::install_provider();
        let http = reqwest::Client::builder().timeout(TIMEOUT).build().unwrap();
        Self { base: base.to_owned(), http }
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    pub(crate) async fn upload(&self, name: &str, body: Vec<u8>) -> Result<Upload, Trouble> {
        let request = self.http.post(self.url("/v1/uploads")).query(&[("filename", name)]).body(body);
        answer(request.send().await).await
    }

    pub(crate) async fn submit(&self, request: &JobRequest) -> Result<JobView, Trouble> {
        answer(self.http.post(self.url("/v1/jobs")).json(request).send().await).await
    }

    pub(crate) async fn job(&self, job: JobId) -> Result<JobView, Trouble> {
        answer(self.http.get(self.url(&format!("/v1/jobs/{job}"))).send().await).await
    }

    /// Every job.
    pub(crate) async fn jobs(&self) -> Result<Vec<JobSummary>, Trouble> {
        let mut all = Vec::new();
        let mut cursor = None;
        loop {
            let mut request = self.http.get(self.url("/v1/jobs")).query(&[("limit", PAGE)]);
            if let Some(cursor) = &cursor {
                request = request.query(&[("cursor", cursor)]);
            }
            let page: Page<JobSummary> = answer(request.send().await).await?;
            all.extend(page.items);
            cursor = page.next_cursor;
            if cursor.is_none() {
                return Ok(all);
            }
        }
    }

    /// Jobs in this state, some of them at least.
    pub(crate) async fn jobs_that_are(&self, state: JobState) -> Result<Vec<JobSummary>, Trouble> {
        let state = serde_json::to_value(state).unwrap();
        let query = [("state", state.as_str().unwrap()), ("limit", "500")];
        let page: Page<JobSummary> =
            answer(self.http.get(self.url("/v1/jobs")).query(&query).send().await).await?;
        Ok(page.items)
    }

    pub(crate) async fn workers(&self) -> Result<Vec<WorkerSummary>, Trouble> {
        let page: Page<WorkerSummary> = answer(self.http.get(self.url("/v1/workers")).send().await).await?;
        Ok(page.items)
    }

    /// `true` when it was answered with a 2xx.
    pub(crate) async fn cancel(&self, job: JobId) -> Result<JobView, Trouble> {
        self.post(&format!("/v1/jobs/{job}/cancel")).await
    }

    pub(crate) async fn drain(&self, worker: WorkerId, draining: bool) -> Result<WorkerView, Trouble> {
        let verb = if draining { "drain" } else { "resume" };
        self.post(&format!("/v1/workers/{worker}/{verb}")).await
    }

    /// Queues one dead letter again.
    pub(crate) async fn redrive(&self, job: JobId) -> Result<JobView, Trouble> {
        self.post(&format!("/v1/jobs/{job}/retry")).await
    }

    /// Queues every dead letter again.
    pub(crate) async fn redrive_all(&self) -> Result<common::api::Redriven, Trouble> {
        let request = self.http.post(self.url("/v1/jobs/redrive")).json(&RedriveRequest::default());
        answer(request.send().await).await
    }

    async fn post<T: DeserializeOwned>(&self, path: &str) -> Result<T, Trouble> {
        answer(self.http.post(self.url(path)).send().await).await
    }
}

async fn answer<T: DeserializeOwned>(response: Result<Response, reqwest::Error>) -> Result<T, Trouble> {
    let response = response.map_err(|_| Trouble::Silence)?;
    let status = response.status();
    let body = response.bytes().await.map_err(|_| Trouble::Silence)?;
    if !status.is_success() {
        return Err(Trouble::Refused(status, String::from_utf8_lossy(&body).into_owned()));
    }
    let parsed = serde_json::from_slice(&body);
    Ok(parsed.unwrap_or_else(|error| panic!("{error} in {}", String::from_utf8_lossy(&body))))
}

/// A job for a preset.
pub(crate) fn request(input: InputRef, preset: &str) -> JobRequest {
    crate::api::request(input, preset)
}
