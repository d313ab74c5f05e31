//! The way to the collector: what is lost on it is told now and then, never for each batch.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{LogExporter, SpanExporter};
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    logs::{LogBatch, LogExporter as ExportLogs},
    trace::{SpanData, SpanExporter as ExportSpans},
};
use tokio::runtime::Handle;

/// Between two warnings that the collector is away.
const TELL_EVERY: Duration = Duration::from_secs(300);
/// Bytes of a collector's answer; it has a few words.
const MAX_ANSWER: usize = 64 << 10;

/// An exporter that says when what it exports is lost.
#[derive(Debug)]
pub(super) struct Told<E> {
    exporter: E,
    what: &'static str,
    away: Mutex<Away>,
}

#[derive(Debug, Default)]
struct Away {
    /// Items since the last one that arrived.
    lost: usize,
    told: Option<Instant>,
}

/// What there is to say after an export.
#[derive(Debug, PartialEq, Eq)]
enum News {
    Lost(usize),
    Back(usize),
}

impl Away {
    fn after(&mut self, items: usize, arrived: bool, now: Instant) -> Option<News> {
        if arrived {
            let lost = std::mem::take(&mut self.lost);
            return self.told.take().map(|_| News::Back(lost));
        }
        self.lost += items;
        if self.told.is_some_and(|told| now.duration_since(told) < TELL_EVERY) {
            return None;
        }
        self.told = Some(now);
        Some(News::Lost(self.lost))
    }
}

impl<E> Told<E> {
    pub(super) fn new(exporter: E, what: &'static str) -> Self {
        Self { exporter, what, away: Mutex::default() }
    }

    fn after(&self, items: usize, result: OTelSdkResult) -> OTelSdkResult {
        let what = self.what;
        let news = self.away.lock().unwrap_or_else(PoisonError::into_inner).after(
            items,
            result.is_ok(),
            Instant::now(),
        );
        match (news, &result) {
            (Some(News::Lost(lost)), Err(error)) => tracing::warn!(
                what, lost, %error,
                "the OTLP collector does not take what it is sent; see OTEL_EXPORTER_OTLP_ENDPOINT"
            ),
            (Some(News::Back(lost)), _) => {
                tracing::info!(what, lost, "the OTLP collector takes what it is sent again");
            }
            _ => {}
        }
        result
    }
}

impl ExportSpans for Told<SpanExporter> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let items = batch.len();
        self.after(items, self.exporter.export(batch).await)
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

impl ExportLogs for Told<LogExporter> {
    async fn export(&self, batch: LogBatch<'_>) -> OTelSdkResult {
        let items = batch.iter().count();
        self.after(items, self.exporter.export(batch).await)
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

/// HTTP for exporters, whose threads are outside the runtime.
#[derive(Debug)]
pub(super) struct Http {
    client: reqwest::Client,
    runtime: Handle,
}

impl Http {
    pub(super) fn new(timeout: Duration) -> reqwest::Result<Self> {
        let client = reqwest::Client::builder()
            .timeout(timeout)
            .redirect(reqwest::redirect::Policy::none())
            .build()?;
        Ok(Self { client, runtime: Handle::current() })
    }
}

#[tonic::async_trait]
impl HttpClient for Http {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (client, request) = (self.client.clone(), reqwest::Request::try_from(request)?);
        let exchange = async move {
            let mut answer = client.execute(request).await?;
            let mut body = Vec::new();
            while let Some(chunk) = answer.chunk().await? {
                let room = MAX_ANSWER.saturating_sub(body.len());
                body.extend_from_slice(&chunk[..chunk.len().min(room)]);
                if chunk.len() > room {
                    break;
                }
            }
            let mut response = Response::new(Bytes::from(body));
            *response.status_mut() = answer.status();
            *response.headers_mut() = std::mem::take(answer.headers_mut());
            Ok::<_, reqwest::Error>(response)
        };
        Ok(self.runtime.spawn(exchange).await??)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_collector_that_is_away_is_told_of_once_in_a_while() {
        let (mut away, start) = (Away::default(), Instant::now());
        let after = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(away.after(10, true, after(0)), None);
        assert_eq!(away.after(10, false, after(5)), Some(News::Lost(10)));
        for second in 6..300 {
            assert_eq!(away.after(1, false, after(second)), None);
        }
        assert_eq!(away.after(1, false, after(306)), Some(News::Lost(305)));
        assert_eq!(away.after(10, true, after(310)), Some(News::Back(305)));
        assert_eq!(away.after(10, true, after(315)), None);
    }
}
