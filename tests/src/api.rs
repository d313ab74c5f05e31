//! The HTTP API as a client sees it.

use std::{path::Path, pin::Pin, time::Duration};

use common::{
    api::{
        AttemptLog, AttemptView, Event, InputRef, JobRequest, JobSummary, JobView, Page, PresetView, Problem,
        Upload, WorkerSummary, WorkerView,
    },
    id::{JobId, WorkerId},
};
use futures::{Stream, StreamExt};
use reqwest::{Client, Response, StatusCode, header};
use serde::de::DeserializeOwned;

/// An answer that is no 2xx.
#[derive(Debug, Clone)]
pub struct Refused {
    pub status: StatusCode,
    pub problem: Problem,
}

#[derive(Debug, Clone)]
pub struct Api {
    pub base: String,
    client: Client,
}

impl Api {
    /// `base`: `http://host:port`.
    #[must_use]
    pub fn new(base: &str) -> Self {
        Self::keyed(base, None)
    }

    /// With an API key, if there is one.
    #[must_use]
    pub fn keyed(base: &str, key: Option<&str>) -> Self {
        common::tls::install_provider();
        let key = key.map(|key| (header::AUTHORIZATION, format!("Bearer {key}").parse().unwrap()));
        let client =
            Client::builder().timeout(Duration::from_secs(60)).default_headers(key.into_iter().collect());
        Self { base: base.to_owned(), client: client.build().unwrap() }
    }

    /// # Errors
    /// The connection failed or ended early.
    pub async fn get(&self, path: &str) -> Result<Response, reqwest::Error> {
        self.client.get(format!("{}{path}", self.base)).send().await
    }

    /// A part of a resource, by a `Range` header.
    pub async fn get_range(&self, path: &str, range: &str) -> Response {
        self.client.get(format!("{}{path}", self.base)).header(header::RANGE, range).send().await.unwrap()
    }

    /// Sends any body as JSON, for what the types forbid.
    pub async fn post_json(&self, path: &str, body: String) -> Response {
        self.client
            .post(format!("{}{path}", self.base))
            .header(header::CONTENT_TYPE, "application/json")
            .body(body)
            .send()
            .await
            .unwrap()
    }

    async fn post<T: DeserializeOwned>(&self, path: &str) -> Result<T, Refused> {
        answer(self.client.post(format!("{}{path}", self.base)).send().await.unwrap()).await
    }

    pub(crate) async fn send<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl serde::Serialize,
    ) -> Result<T, Refused> {
        answer(self.client.post(format!("{}{path}", self.base)).json(body).send().await.unwrap()).await
    }

    /// Whatever a success says, or nothing.
    pub(crate) async fn delete(&self, path: &str) -> Result<(), Refused> {
        let response = self.client.delete(format!("{}{path}", self.base)).send().await.unwrap();
        if response.status().is_success() {
            return Ok(());
        }
        answer::<serde_json::Value>(response).await.map(drop)
    }

    pub(crate) async fn read<T: DeserializeOwned>(&self, path: &str) -> Result<T, Refused> {
        answer(self.get(path).await.unwrap()).await
    }

    pub async fn upload(&self, file: &Path) -> Upload {
        let body = tokio::fs::read(file).await.unwrap();
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        self.upload_bytes(&name, body).await.unwrap()
    }

    /// # Errors
    /// The coordinator refused it.
    pub async fn upload_bytes(&self, name: &str, body: Vec<u8>) -> Result<Upload, Refused> {
        let request = self.client.post(format!("{}/v1/uploads", self.base)).query(&[("filename", name)]);
        answer(request.body(body).send().await.unwrap()).await
    }

    /// # Errors
    /// The coordinator refused it.
    pub async fn try_submit(&self, request: &JobRequest) -> Result<JobView, Refused> {
        answer(self.client.post(format!("{}/v1/jobs", self.base)).json(request).send().await.unwrap()).await
    }

    /// # Panics
    /// The coordinator refused it.
    pub async fn submit(&self, request: &JobRequest) -> JobView {
        self.try_submit(request)
            .await
            .unwrap_or_else(|refused| panic!("{request:?} was refused: {refused:?}"))
    }

    pub async fn job(&self, job: JobId) -> JobView {
        self.read(&format!("/v1/jobs/{job}")).await.unwrap()
    }

    /// `query` as in `state=running&limit=10`.
    pub async fn jobs(&self, query: &str) -> Page<JobSummary> {
        self.read(&format!("/v1/jobs?{query}")).await.unwrap()
    }

    /// # Errors
    /// The job is over already.
    pub async fn cancel(&self, job: JobId) -> Result<JobView, Refused> {
        self.post(&format!("/v1/jobs/{job}/cancel")).await
    }

    /// # Errors
    /// The job is not failed or cancelled.
    pub async fn retry(&self, job: JobId) -> Result<JobView, Refused> {
        self.post(&format!("/v1/jobs/{job}/retry")).await
    }

    pub async fn logs(&self, job: JobId) -> Vec<AttemptLog> {
        self.read(&format!("/v1/jobs/{job}/logs")).await.unwrap()
    }

    pub async fn workers(&self) -> Vec<WorkerView> {
        self.try_workers().await.unwrap()
    }

    /// # Errors
    /// The coordinator is not there.
    pub async fn try_workers(&self) -> Result<Vec<WorkerView>, reqwest::Error> {
        let rows: Page<WorkerSummary> = self.get("/v1/workers?limit=1000").await?.json().await?;
        let mut workers = Vec::with_capacity(rows.items.len());
        for row in rows.items {
            workers.push(self.get(&format!("/v1/workers/{}", row.id)).await?.json().await?);
        }
        Ok(workers)
    }

    pub async fn worker(&self, name: &str) -> WorkerView {
        let workers = self.workers().await;
        workers.into_iter().find(|worker| worker.name == name).unwrap_or_else(|| panic!("no worker {name}"))
    }

    pub async fn presets(&self) -> Vec<PresetView> {
        let page: serde_json::Value = self.read("/v1/presets").await.unwrap();
        let items = page.get("items").cloned().unwrap_or(page);
        serde_json::from_value(items).unwrap()
    }

    /// Every event from now on.
    pub async fn events(&self) -> Events {
        let client = Client::new();
        let response = client.get(format!("{}/v1/events", self.base)).send().await.unwrap();
        assert_eq!(response.headers()[header::CONTENT_TYPE], "text/event-stream");
        Events { bytes: Box::pin(response.bytes_stream()), text: String::new() }
    }

    pub async fn drain(&self, worker: WorkerId) -> WorkerView {
        self.post(&format!("/v1/workers/{worker}/drain")).await.unwrap()
    }

    pub async fn resume(&self, worker: WorkerId) -> WorkerView {
        self.post(&format!("/v1/workers/{worker}/resume")).await.unwrap()
    }

    /// Every output of a job, below `folder`.
    pub async fn download(&self, job: &JobView, folder: &Path) {
        for output in &job.outputs {
            let response =
                self.get(&format!("/v1/jobs/{}/outputs/{}", job.summary.id, output.path)).await.unwrap();
            assert_eq!(response.status(), StatusCode::OK, "{}", output.path);
            let bytes = response.bytes().await.unwrap();
            assert_eq!(bytes.len() as u64, output.size, "{}", output.path);
            let file = folder.join(&output.path);
            tokio::fs::create_dir_all(file.parent().unwrap()).await.unwrap();
            tokio::fs::write(file, bytes).await.unwrap();
        }
    }
}

async fn answer<T: DeserializeOwned>(response: Response) -> Result<T, Refused> {
    let status = response.status();
    let body = response.bytes().await.unwrap();
    if status.is_success() {
        return Ok(serde_json::from_slice(&body)
            .unwrap_or_else(|error| panic!("{error} in {}", String::from_utf8_lossy(&body))));
    }
    let problem = serde_json::from_slice(&body).unwrap_or_else(|error| {
        panic!("{status} without a problem document ({error}): {}", String::from_utf8_lossy(&body))
    });
    Err(Refused { status, problem })
}

/// A job for a preset with everything else left at its default.
#[must_use]
pub fn request(input: InputRef, preset: &str) -> JobRequest {
    JobRequest { preset: Some(preset.to_owned()), ..JobRequest::new(input) }
}

/// A listener at `GET /v1/events`.
pub struct Events {
    bytes: Pin<Box<dyn Stream<Item = Result<bytes::Bytes, reqwest::Error>>>>,
    text: String,
}

impl Events {
    /// The next event; `None` when the stream has ended.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            while let Some(end) = self.text.find("\n\n") {
                let block: String = self.text.drain(..end + 2).collect();
                let data: String = block.lines().filter_map(|line| line.strip_prefix("data:")).collect();
                // What has no data is a comment that keeps the connection open.
                if !data.is_empty() {
                    let event: Event = serde_json::from_str(&data).unwrap();
                    let name = block.lines().find_map(|line| line.strip_prefix("event:")).map(str::trim);
                    assert_eq!(name, Some(event.name()), "{block}");
                    return Some(event);
                }
            }
            let bytes = self.bytes.next().await?.ok()?;
            self.text.push_str(std::str::from_utf8(&bytes).unwrap());
        }
    }
}

/// Every attempt of every task of the job, oldest first.
pub fn attempts(job: &JobView) -> impl Iterator<Item = &AttemptView> {
    job.tasks.iter().flat_map(|task| &task.attempts)
}
