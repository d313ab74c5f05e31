//! What Kubernetes' autoscaler KEDA asks: how much work there is for one kind of workers.
//!
//! A trigger's metadata says which tasks its workers are for (`policies`, `presets`, `labels`) and how many of them one worker
//! takes at once (`tasksPerWorker`). Tasks that run are counted like those that wait, or KEDA would take away the very workers
//! that run them.
//!
//! KEDA sends no token, so this has an address of its own, which is closed unless it is configured.

use std::{collections::HashMap, pin::Pin, time::Duration};

use axum::Router;
use common::{
    media::HardwarePolicy,
    proto::keda::{
        GetMetricSpecResponse, GetMetricsRequest, GetMetricsResponse, IsActiveResponse, MetricSpec,
        MetricValue, ScaledObjectRef,
        external_scaler_server::{ExternalScaler, ExternalScalerServer},
    },
    worker::Labels,
};
use futures::Stream;
use tokio::{sync::mpsc, time::interval};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::{Request, Response, Status, service::Routes};

use crate::queue::{Demand, Handle};

/// What there is, by this name.
const METRIC: &str = "tvarr_tasks";
/// How often it is looked whether there is something to do, for those who want to be told.
const LOOK: Duration = Duration::from_secs(1);
/// Bytes of a question.
const MAX_MESSAGE: usize = 64 * 1024;
/// Of a trigger's metadata, those that are for KEDA itself.
const KEDAS: [&str; 6] =
    ["scalerAddress", "tlsCertFile", "caCert", "tlsClientCert", "tlsClientKey", "unsafeSsl"];

/// Answers KEDA.
#[derive(Clone)]
struct Scaler {
    queue: Handle,
    stop: CancellationToken,
    tracker: TaskTracker,
}

pub(crate) fn router(queue: Handle, stop: CancellationToken, tracker: &TaskTracker) -> Router {
    let scaler = Scaler { queue, stop, tracker: tracker.clone() };
    let service = ExternalScalerServer::new(scaler).max_decoding_message_size(MAX_MESSAGE);
    Routes::new(service).into_axum_router()
}

/// What a trigger says.
#[derive(Debug, Clone, PartialEq)]
struct Trigger {
    demand: Demand,
    tasks_per_worker: u32,
    /// Keys that mean nothing.
    unknown: Vec<String>,
}

impl Trigger {
    fn read(metadata: &HashMap<String, String>) -> Result<Self, Status> {
        let mut this = Self { demand: Demand::default(), tasks_per_worker: 1, unknown: Vec::new() };
        for (key, value) in metadata {
            let words = || value.split(',').map(str::trim).filter(|word| !word.is_empty());
            let wrong = |why: &str| Status::invalid_argument(format!("metadata {key}: {value:?}: {why}"));
            match key.as_str() {
                "policies" => {
                    let read: Result<Vec<HardwarePolicy>, _> = words().map(str::parse).collect();
                    this.demand.policies = read.map_err(|error| wrong(&error.to_string()))?;
                }
                "presets" => this.demand.presets = words().map(str::to_owned).collect(),
                "labels" => {
                    let read: Option<Labels> = words()
                        .map(|word| {
                            word.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned()))
                        })
                        .collect();
                    this.demand.labels = read.ok_or_else(|| wrong("write name=value,name=value"))?;
                }
                "tasksPerWorker" => {
                    let read = value.parse().ok().filter(|tasks| *tasks > 0);
                    this.tasks_per_worker = read.ok_or_else(|| wrong("write a number, 1 or more"))?;
                }
                other if KEDAS.contains(&other) => {}
                other => this.unknown.push(other.to_owned()),
            }
        }
        Ok(this)
    }
}

impl Scaler {
    async fn tasks(&self, demand: Demand) -> Result<u64, Status> {
        self.queue.demand(demand).await.map_err(|error| Status::unavailable(error.to_string()))
    }
}

#[tonic::async_trait]
impl ExternalScaler for Scaler {
    async fn is_active(&self, of: Request<ScaledObjectRef>) -> Result<Response<IsActiveResponse>, Status> {
        let trigger = Trigger::read(&of.get_ref().scaler_metadata)?;
        let result = self.tasks(trigger.demand).await? > 0;
        Ok(Response::new(IsActiveResponse { result }))
    }

    type StreamIsActiveStream = Pin<Box<dyn Stream<Item = Result<IsActiveResponse, Status>> + Send>>;

    async fn stream_is_active(
        &self,
        of: Request<ScaledObjectRef>,
    ) -> Result<Response<Self::StreamIsActiveStream>, Status> {
        let trigger = Trigger::read(&of.get_ref().scaler_metadata)?;
        let (tell, told) = mpsc::channel(1);
        let this = self.clone();
        self.tracker.spawn(async move {
            let mut look = interval(LOOK);
            let mut known = None;
            loop {
                tokio::select! {
                    () = this.stop.cancelled() => return,
                    () = tell.closed() => return,
                    _ = look.tick() => {}
                }
                let active = this.tasks(trigger.demand.clone()).await.map(|tasks| tasks > 0);
                let is_over = active.is_err();
                if active.as_ref().ok() != known.as_ref() || is_over {
                    known = active.as_ref().ok().copied();
                    let answer = active.map(|result| IsActiveResponse { result });
                    if tell.send(answer).await.is_err() || is_over {
                        return;
                    }
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(told))))
    }

    async fn get_metric_spec(
        &self,
        of: Request<ScaledObjectRef>,
    ) -> Result<Response<GetMetricSpecResponse>, Status> {
        let object = of.get_ref();
        let trigger = Trigger::read(&object.scaler_metadata)?;
        if !trigger.unknown.is_empty() {
            tracing::warn!(
                object = object.name, namespace = object.namespace, unknown = ?trigger.unknown,
                "a trigger of KEDA has metadata that means nothing here; known are policies, presets, labels and tasksPerWorker"
            );
        }
        let spec = MetricSpec {
            metric_name: METRIC.to_owned(),
            target_size: trigger.tasks_per_worker.into(),
            target_size_float: trigger.tasks_per_worker.into(),
        };
        Ok(Response::new(GetMetricSpecResponse { metric_specs: vec![spec] }))
    }

    async fn get_metrics(
        &self,
        of: Request<GetMetricsRequest>,
    ) -> Result<Response<GetMetricsResponse>, Status> {
        let object = of.into_inner().scaled_object_ref.unwrap_or_default();
        let tasks = self.tasks(Trigger::read(&object.scaler_metadata)?.demand).await?;
        let value = MetricValue {
            metric_name: METRIC.to_owned(),
            metric_value: i64::try_from(tasks).unwrap_or(i64::MAX),
            metric_value_float: tasks as f64,
        };
        Ok(Response::new(GetMetricsResponse { metric_values: vec![value] }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Trigger, Status> {
        Trigger::read(&pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn a_trigger_says_which_tasks_its_workers_are_for() {
        let trigger = read(&[
            ("scalerAddress", "coordinator:9093"),
            ("policies", "require, prefer"),
            ("presets", "h264"),
            ("labels", "site=berlin,gpu=l4"),
            ("tasksPerWorker", "3"),
        ])
        .unwrap();
        assert_eq!(trigger.tasks_per_worker, 3);
        assert_eq!(trigger.demand.policies, [HardwarePolicy::Require, HardwarePolicy::Prefer]);
        assert_eq!(trigger.demand.presets, ["h264"]);
        assert_eq!(trigger.demand.labels.len(), 2);
        assert!(trigger.unknown.is_empty());
        assert_eq!(read(&[]).unwrap().demand, Demand::default());
        assert_eq!(read(&[("polices", "never")]).unwrap().unknown, ["polices"]);
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_its_name() {
        for (key, value) in
            [("policies", "always"), ("labels", "berlin"), ("tasksPerWorker", "0"), ("tasksPerWorker", "-1")]
        {
            let status = read(&[(key, value)]).unwrap_err();
            assert!(status.message().contains(key) && status.message().contains(value), "{status}");
        }
    }
}
