//! An OpenTelemetry collector: takes traces and logs over gRPC and over HTTP, on one port.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use axum::{Router, body::Bytes, http::StatusCode, routing::post};
use opentelemetry_proto::tonic::{
    collector::{
        logs::v1::{
            ExportLogsServiceRequest, ExportLogsServiceResponse,
            logs_service_server::{LogsService, LogsServiceServer},
        },
        trace::v1::{
            ExportTraceServiceRequest, ExportTraceServiceResponse,
            trace_service_server::{TraceService, TraceServiceServer},
        },
    },
    common::v1::{AnyValue, KeyValue, any_value::Value},
    resource::v1::Resource,
};
use prost::Message;
use tokio::{net::TcpListener, task::JoinSet};
use tonic::{Request, Response, Status, service::Routes};

/// A span, as far as tests look at it.
#[derive(Debug, Clone)]
pub struct Span {
    pub service: String,
    /// In hexadecimal, as are the others.
    pub trace: String,
    pub id: String,
    /// Empty for a root.
    pub parent: String,
    pub name: String,
    /// Nanoseconds since 1970.
    pub began: u64,
    pub ended: u64,
    pub attributes: BTreeMap<String, String>,
    pub failed: bool,
}

/// A log record, as far as tests look at it.
#[derive(Debug, Clone)]
pub struct Record {
    pub service: String,
    /// Empty: of none.
    pub trace: String,
    pub span: String,
    /// The module that logged it.
    pub target: String,
    pub level: String,
    pub body: String,
    pub attributes: BTreeMap<String, String>,
}

#[derive(Debug, Default)]
struct Taken {
    spans: Vec<Span>,
    records: Vec<Record>,
}

/// Takes what it is sent.
#[derive(Debug)]
pub struct Collector {
    address: SocketAddr,
    taken: Desk,
    _serving: JoinSet<()>,
}

#[derive(Debug, Clone, Default)]
struct Desk(Arc<Mutex<Taken>>);

impl Collector {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, taken) = (listener.local_addr().unwrap(), Desk::default());
        let grpc = Routes::new(TraceServiceServer::new(taken.clone()))
            .add_service(LogsServiceServer::new(taken.clone()));
        let (spans, records) = (taken.clone(), taken.clone());
        let http = Router::new()
            .route("/v1/traces", post(async move |body| decoded(body, |request| spans.spans(request))))
            .route("/v1/logs", post(async move |body| decoded(body, |request| records.records(request))));
        let mut serving = JoinSet::new();
        let router = grpc.into_axum_router().merge(http);
        serving.spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, taken, _serving: serving }
    }

    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    #[must_use]
    pub fn spans(&self) -> Vec<Span> {
        self.taken.0.lock().unwrap().spans.clone()
    }

    #[must_use]
    pub fn records(&self) -> Vec<Record> {
        self.taken.0.lock().unwrap().records.clone()
    }
}

fn decoded<R: Message + Default>(body: Bytes, take: impl Fn(R)) -> StatusCode {
    match R::decode(body) {
        Ok(request) => {
            take(request);
            StatusCode::OK
        }
        Err(_) => StatusCode::BAD_REQUEST,
    }
}

impl Desk {
    fn spans(&self, request: ExportTraceServiceRequest) {
        let mut taken = self.0.lock().unwrap();
        for group in request.resource_spans {
            let service = service(group.resource.as_ref());
            for span in group.scope_spans.into_iter().flat_map(|scope| scope.spans) {
                taken.spans.push(Span {
                    service: service.clone(),
                    trace: hex(&span.trace_id),
                    id: hex(&span.span_id),
                    parent: hex(&span.parent_span_id),
                    name: span.name,
                    began: span.start_time_unix_nano,
                    ended: span.end_time_unix_nano,
                    attributes: words(span.attributes),
                    // STATUS_CODE_ERROR
                    failed: span.status.is_some_and(|status| status.code == 2),
                });
            }
        }
    }

    fn records(&self, request: ExportLogsServiceRequest) {
        let mut taken = self.0.lock().unwrap();
        for group in request.resource_logs {
            let service = service(group.resource.as_ref());
            for scope in group.scope_logs {
                let target = scope.scope.map(|scope| scope.name).unwrap_or_default();
                for record in scope.log_records {
                    taken.records.push(Record {
                        service: service.clone(),
                        trace: hex(&record.trace_id),
                        span: hex(&record.span_id),
                        target: target.clone(),
                        level: record.severity_text,
                        body: record.body.map(word).unwrap_or_default(),
                        attributes: words(record.attributes),
                    });
                }
            }
        }
    }
}

#[tonic::async_trait]
impl TraceService for Desk {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.spans(request.into_inner());
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl LogsService for Desk {
    async fn export(
        &self,
        request: Request<ExportLogsServiceRequest>,
    ) -> Result<Response<ExportLogsServiceResponse>, Status> {
        self.records(request.into_inner());
        Ok(Response::new(ExportLogsServiceResponse::default()))
    }
}

fn service(resource: Option<&Resource>) -> String {
    let attributes = resource.map(|resource| resource.attributes.clone()).unwrap_or_default();
    words(attributes).remove("service.name").unwrap_or_default()
}

fn words(attributes: Vec<KeyValue>) -> BTreeMap<String, String> {
    attributes.into_iter().map(|pair| (pair.key, pair.value.map(word).unwrap_or_default())).collect()
}

fn word(value: AnyValue) -> String {
    match value.value {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::BoolValue(truth)) => truth.to_string(),
        Some(Value::DoubleValue(number)) => number.to_string(),
        other => format!("{other:?}"),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
