//! The farm's HTTP API, as far as it is measured.

use std::path::Path;

use anyhow::{Context, Result, bail};
use common::{
    api::{
        InputRef, JobRequest, JobState, JobSummary, JobView, Page, Problem, Upload, WorkerSummary, WorkerView,
    },
    id::JobId,
    media::HardwarePolicy,
    stream::{StreamSpec, StreamView},
};
use serde::de::DeserializeOwned;

/// The largest page that `GET /v1/jobs` gives.
const PAGE: u32 = 500;

/// A client that keeps its connections open.
#[derive(Debug, Clone)]
pub(crate) struct Api {
    base: String,
    http: reqwest::Client,
}

/// A job of that preset with everything else left at its default; never on a GPU, so that all runs do the same work.
#[must_use]
pub(crate) fn request(input: InputRef, preset: &str) -> JobRequest {
    JobRequest { preset: Some(preset.to_owned()), hardware: HardwarePolicy::Never, ..JobRequest::new(input) }
}

impl Api {
    pub(crate) fn new(base: &str) -> Result<Self> {
        let http = reqwest::Client::builder().no_proxy().tcp_nodelay(true).build()?;
        Ok(Self { base: base.trim_end_matches('/').to_owned(), http })
    }

    /// `host:port`.
    #[must_use]
    pub(crate) fn address(&self) -> &str {
        self.base.split_once("://").map_or(&self.base, |(_, address)| address)
    }

    pub(crate) async fn submit(&self, request: &JobRequest) -> Result<JobView> {
        read(self.http.post(self.url("/v1/jobs")).json(request)).await.context("submitting a job")
    }

    pub(crate) async fn job(&self, id: JobId) -> Result<JobView> {
        read(self.http.get(self.url(&format!("/v1/jobs/{id}"))))
            .await
            .with_context(|| format!("reading job {id}"))
    }

    pub(crate) async fn cancel(&self, id: JobId) -> Result<JobView> {
        let request = self.http.post(self.url(&format!("/v1/jobs/{id}/cancel")));
        read(request).await.with_context(|| format!("cancelling job {id}"))
    }

    pub(crate) async fn workers(&self) -> Result<Vec<WorkerView>> {
        let page: Page<WorkerSummary> =
            read(self.http.get(self.url("/v1/workers?limit=1000"))).await.context("listing workers")?;
        let mut workers = Vec::with_capacity(page.items.len());
        for row in page.items {
            let path = format!("/v1/workers/{}", row.id);
            workers.push(read(self.http.get(self.url(&path))).await.context("reading a worker")?);
        }
        Ok(workers)
    }

    pub(crate) async fn add_stream(&self, spec: &StreamSpec) -> Result<StreamView> {
        read(self.http.post(self.url("/v1/streams")).json(spec)).await.context("adding a stream")
    }

    pub(crate) async fn stream(&self, name: &str) -> Result<StreamView> {
        read(self.http.get(self.url(&format!("/v1/streams/{name}")))).await.context("reading a stream")
    }

    /// What Prometheus scrapes.
    pub(crate) async fn metrics(&self) -> Result<String> {
        let response = self.http.get(self.url("/metrics")).send().await?;
        Ok(response.error_for_status().context("scraping")?.text().await?)
    }

    pub(crate) async fn output(&self, id: JobId, path: &str) -> Result<Vec<u8>> {
        let response = self.http.get(self.url(&format!("/v1/jobs/{id}/outputs/{path}"))).send().await?;
        let response = response.error_for_status().with_context(|| format!("fetching {path} of job {id}"))?;
        Ok(response.bytes().await?.to_vec())
    }

    /// Uploads a file to be an input.
    pub(crate) async fn upload(&self, file: &Path) -> Result<InputRef> {
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let body =
            tokio::fs::File::open(file).await.with_context(|| format!("opening {}", file.display()))?;
        let request = self.http.post(self.url("/v1/uploads")).query(&[("filename", name)]);
        let upload: Upload = read(request.body(body)).await.context("uploading the input")?;
        Ok(InputRef::Upload(upload.id))
    }

    /// Makes an upload that comes in pieces: its URL's path, and the input that it will be.
    pub(crate) async fn create_upload(&self, name: &str, length: usize) -> Result<(String, InputRef)> {
        let request = self.http.post(self.url("/v1/uploads")).query(&[("filename", name)]);
        let request = request.header("tus-resumable", "1.0.0").header("upload-length", length);
        let response = request.send().await?.error_for_status().context("creating an upload")?;
        let path = response.headers().get("location").context("an upload has a place")?.to_str()?.to_owned();
        let id = path.rsplit('/').next().unwrap_or_default().parse()?;
        Ok((path, InputRef::Upload(id)))
    }

    /// Sends a piece of an upload, which must be taken.
    pub(crate) async fn send_piece(
        &self,
        upload: &str,
        offset: usize,
        length: usize,
        body: reqwest::Body,
    ) -> Result<()> {
        let request = self
            .http
            .patch(self.url(upload))
            .header("tus-resumable", "1.0.0")
            .header("upload-offset", offset)
            .header("content-length", length)
            .header("content-type", "application/offset+octet-stream")
            .body(body);
        request.send().await?.error_for_status().context("sending a piece")?;
        Ok(())
    }

    /// How many jobs are in that state, counted page by page.
    pub(crate) async fn count(&self, state: JobState) -> Result<usize> {
        let state = serde_json::to_value(state)?;
        let state = state.as_str().context("a state is a word")?;
        let (mut count, mut cursor) = (0, None::<String>);
        loop {
            let mut request =
                self.http.get(self.url("/v1/jobs")).query(&[("state", state), ("limit", &PAGE.to_string())]);
            if let Some(cursor) = &cursor {
                request = request.query(&[("cursor", cursor)]);
            }
            let page: Page<JobSummary> = read(request).await.context("counting jobs")?;
            count += page.items.len();
            cursor = page.next_cursor;
            if cursor.is_none() {
                return Ok(count);
            }
        }
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }
}

async fn read<T: DeserializeOwned>(request: reqwest::RequestBuilder) -> Result<T> {
    let response = request.send().await?;
    let status = response.status();
    let body = response.bytes().await?;
    if !status.is_success() {
        match serde_json::from_slice::<Problem>(&body) {
            Ok(problem) => bail!("{status}: {problem}"),
            Err(_) => bail!("{status}: {}", String::from_utf8_lossy(&body)),
        }
    }
    serde_json::from_slice(&body).context("the answer is not what common::api describes")
}
