//! What is told to whoever scrapes.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use common::{api::JobState, metrics, stream::StreamView};
use prometheus_client::{collector::Collector, encoding::DescriptorEncoder, registry::Registry};
use tokio::time::{Instant, timeout};

use super::{HttpMetrics, LiveMetrics, Operations, QueueMetrics, fleet, live};
use crate::{
    live::service::Live,
    queue::{self, Figures},
    store::JobStore,
};

/// Of every name of ours.
const PREFIX: &str = "tvarr";
/// How long a count of all jobs is good: it reads an index from one end to the other.
const COUNTED_FOR: Duration = Duration::from_secs(30);
/// How long a scrape waits for the job store. Without it the rest is told.
const PATIENCE: Duration = Duration::from_secs(2);

/// Whatever counts by itself.
pub(crate) struct Counted<'a> {
    pub(crate) queue: &'a QueueMetrics,
    pub(crate) live: &'a LiveMetrics,
    pub(crate) store: &'a Operations,
    pub(crate) storage: &'a Operations,
}

/// What is asked at each scrape.
#[derive(Clone)]
pub(crate) struct Asked {
    pub(crate) queue: queue::Handle,
    pub(crate) live: Live,
    pub(crate) store: Arc<dyn JobStore>,
}

/// Everything that `/metrics` tells; cheap to clone.
#[derive(Clone)]
pub(crate) struct Metrics {
    pub(crate) http: HttpMetrics,
    counted: Arc<Registry>,
    asked: Asked,
    jobs: Arc<Mutex<Option<(Instant, Counts)>>>,
}

type Counts = Arc<BTreeMap<JobState, u64>>;

/// Why there is nothing to tell.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Queue(#[from] queue::Error),
    #[error(transparent)]
    Live(#[from] crate::live::service::Error),
    #[error("the text of the metrics cannot be written")]
    Text(#[from] fmt::Error),
}

impl Metrics {
    pub(crate) fn new(counted: &Counted<'_>, asked: Asked) -> Self {
        let mut registry = metrics::registry("coordinator", env!("CARGO_PKG_VERSION"));
        let ours = registry.sub_registry_with_prefix(PREFIX);
        counted.queue.register(ours);
        counted.live.register(ours);
        counted.store.register("store", "the job store", ours);
        counted.storage.register("storage", "the object storage", ours);
        let http = HttpMetrics::default();
        http.register(ours);
        Self { http, counted: Arc::new(registry), asked, jobs: Arc::default() }
    }

    /// OpenMetrics, see [`metrics::CONTENT_TYPE`].
    ///
    /// # Errors
    /// The coordinator is shutting down.
    pub(crate) async fn text(&self) -> Result<String, Error> {
        let (figures, streams, jobs) =
            tokio::join!(self.asked.queue.figures(), self.asked.live.streams(), self.jobs());
        let now = Now { figures: figures?, streams: streams?, jobs };
        let mut registry = Registry::with_prefix(PREFIX);
        registry.register_collector(Box::new(now));
        Ok(metrics::text(&[&self.counted, &registry])?)
    }

    /// Empty where the store does not say: it counts that by itself.
    async fn jobs(&self) -> Counts {
        let known = self.jobs.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((at, counts)) = known
            && at.elapsed() < COUNTED_FOR
        {
            return counts;
        }
        let Ok(Ok(counts)) = timeout(PATIENCE, self.asked.store.job_counts(None)).await else {
            return Counts::default();
        };
        let counts = Arc::new(counts);
        let mut jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        *jobs = Some((Instant::now(), Arc::clone(&counts)));
        counts
    }
}

/// What is so at the moment of a scrape.
#[derive(Debug)]
struct Now {
    figures: Box<Figures>,
    streams: Vec<StreamView>,
    jobs: Counts,
}

impl Collector for Now {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        fleet::encode_jobs(&self.jobs, &mut encoder)?;
        fleet::encode_queue(&self.figures, &mut encoder)?;
        fleet::encode_workers(&self.figures.workers, &mut encoder)?;
        live::encode(&self.streams, &mut encoder)
    }
}
