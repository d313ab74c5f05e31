//! Logs and traces to a collector over OTLP.
//!
//! Both go through a queue of 2,048 (`OTEL_BSP_*`, `OTEL_BLRP_*`) to a thread of their own: what does not fit is lost, and
//! nobody waits.

use std::time::Duration;

use opentelemetry::{
    InstrumentationScope, KeyValue,
    logs::{AnyValue, LogRecord as _},
    trace::TracerProvider as _,
};
use opentelemetry_appender_tracing::layer::{OpenTelemetryTracingBridge, TracingSpanAttributes};
use opentelemetry_otlp::{
    ExporterBuildError, LogExporter, SpanExporter, WithHttpConfig as _, WithTonicConfig as _,
};
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    logs::{LogProcessor, SdkLogRecord, SdkLogger, SdkLoggerProvider},
    resource::{EnvResourceDetector, TelemetryResourceDetector},
    trace::{Config, SdkTracerProvider},
};
use tonic::transport::ClientTlsConfig;
use uuid::Uuid;

use super::{
    Program,
    collector::{Http, Told},
    settings::{Error, Protocol, Settings, Signal},
    trace::{self, ByTrace, Ids, Part},
};
use crate::id::{AttemptId, Epoch, JobId, StreamId, TaskId};

/// What the records go through on their way to the collector. A record about them would make the next.
const CARRIERS: [&str; 8] =
    ["h2", "hyper", "hyper_util", "opentelemetry", "reqwest", "rustls", "tonic", "tower"];

pub(super) fn carries(target: &str) -> bool {
    let name = target.split("::").next().unwrap_or(target);
    CARRIERS.contains(&name) || name.starts_with("opentelemetry")
}

#[derive(Debug)]
pub(super) struct Otlp {
    program: Program,
    traces: Option<SdkTracerProvider>,
    logs: Option<SdkLoggerProvider>,
}

impl Otlp {
    pub(super) fn open(settings: &Settings, program: Program) -> Result<Self, Error> {
        let resource = resource(settings, program);
        let traces = settings.traces.map(|signal| {
            let exporter = spans(signal).map_err(|error| refused("TRACES", &error))?;
            let provider = SdkTracerProvider::builder()
                .with_resource(resource.clone())
                .with_sampler(ByTrace(Config::default().sampler))
                .with_id_generator(Ids::default())
                .with_batch_exporter(Told::new(exporter, "spans"));
            Ok(provider.build())
        });
        let logs = settings.logs.map(|signal| {
            let exporter = records(signal).map_err(|error| refused("LOGS", &error))?;
            let provider = SdkLoggerProvider::builder()
                .with_resource(resource)
                .with_log_processor(Placed { runs_attempts: program.runs_attempts })
                .with_batch_exporter(Told::new(exporter, "log records"));
            Ok(provider.build())
        });
        Ok(Self { program, traces: traces.transpose()?, logs: logs.transpose()? })
    }

    /// From now on spans are sent.
    pub(super) fn begin(&self) {
        if let Some(traces) = &self.traces {
            let scope = InstrumentationScope::builder(self.program.name).with_version(self.program.version);
            trace::begin(traces.tracer_with_scope(scope.build()));
        }
    }

    pub(super) fn logs(&self) -> Option<OpenTelemetryTracingBridge<SdkLoggerProvider, SdkLogger>> {
        let provider = self.logs.as_ref()?;
        let bridge = OpenTelemetryTracingBridge::builder(provider);
        Some(bridge.with_tracing_span_attributes(TracingSpanAttributes::all()).build())
    }

    /// Sends what waits, both at once.
    pub(super) async fn shutdown(self, patience: Duration) {
        let logs =
            tokio::task::spawn_blocking(move || self.logs.map(|logs| logs.shutdown_with_timeout(patience)));
        let traces = tokio::task::spawn_blocking(move || {
            self.traces.map(|traces| traces.shutdown_with_timeout(patience))
        });
        // What could not be sent was told of by `Told`, or is still on its way.
        let _ = tokio::join!(logs, traces);
    }
}

fn spans(signal: Signal) -> Result<SpanExporter, ExporterBuildError> {
    match signal.protocol {
        Protocol::Grpc => SpanExporter::builder().with_tonic().with_tls_config(tls()).build(),
        Protocol::HttpProtobuf => SpanExporter::builder().with_http().with_http_client(http(signal)?).build(),
    }
}

fn records(signal: Signal) -> Result<LogExporter, ExporterBuildError> {
    match signal.protocol {
        Protocol::Grpc => LogExporter::builder().with_tonic().with_tls_config(tls()).build(),
        Protocol::HttpProtobuf => LogExporter::builder().with_http().with_http_client(http(signal)?).build(),
    }
}

/// The system's certificates, for https.
fn tls() -> ClientTlsConfig {
    ClientTlsConfig::new().with_enabled_roots()
}

fn http(signal: Signal) -> Result<Http, ExporterBuildError> {
    Http::new(Duration::from_millis(signal.timeout_ms))
        .map_err(|error| ExporterBuildError::InternalFailure(error.to_string()))
}

fn refused(signal: &str, error: &ExporterBuildError) -> Error {
    let variable = format!("OTEL_EXPORTER_OTLP_{signal}_ENDPOINT");
    let value = std::env::var(&variable)
        .or_else(|_| std::env::var("OTEL_EXPORTER_OTLP_ENDPOINT"))
        .unwrap_or_default();
    Error { variable, value, problem: error.to_string() }
}

/// Who tells. What the environment says wins.
fn resource(settings: &Settings, program: Program) -> Resource {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let own = [
        KeyValue::new("service.name", program.name),
        KeyValue::new("service.version", program.version),
        KeyValue::new("service.instance.id", Uuid::new_v4().to_string()),
        KeyValue::new("host.name", host),
    ];
    let resource = Resource::builder_empty()
        .with_detector(Box::new(TelemetryResourceDetector))
        .with_attributes(own)
        .with_detector(Box::new(EnvResourceDetector::new()));
    match &settings.service_name {
        Some(name) => resource.with_service_name(name.clone()).build(),
        None => resource.build(),
    }
}

/// Puts each record into the trace of the job that it names, or of the stream.
#[derive(Debug)]
struct Placed {
    runs_attempts: bool,
}

impl LogProcessor for Placed {
    fn emit(&self, record: &mut SdkLogRecord, _: &InstrumentationScope) {
        if let Some((trace, span)) = self.part(record).map(Part::context) {
            record.set_trace_context(trace, span, None);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

impl Placed {
    fn part(&self, record: &SdkLogRecord) -> Option<Part> {
        let attempt = || {
            let epoch = match field(record, "epoch")? {
                AnyValue::Int(epoch) => u64::try_from(*epoch).ok()?,
                AnyValue::String(text) => text.as_str().parse().ok()?,
                _ => return None,
            };
            Some(AttemptId { task: id::<TaskId>(record, "task")?, epoch: Epoch(epoch) })
        };
        if let Some(job) = id::<JobId>(record, "job") {
            return Some(match attempt() {
                Some(attempt) if self.runs_attempts => Part::Run(job, attempt),
                Some(attempt) => Part::Attempt(job, attempt),
                None => Part::Job(job),
            });
        }
        Some(Part::Live(id::<StreamId>(record, "stream")?, attempt()?))
    }
}

/// The last of that name: what an event says comes after what the spans around it say.
fn field<'a>(record: &'a SdkLogRecord, name: &str) -> Option<&'a AnyValue> {
    record.attributes_iter().filter(|(key, _)| key.as_str() == name).last().map(|(_, value)| value)
}

fn id<T: std::str::FromStr>(record: &SdkLogRecord, name: &str) -> Option<T> {
    match field(record, name)? {
        AnyValue::String(text) => text.as_str().parse().ok(),
        _ => None,
    }
}
