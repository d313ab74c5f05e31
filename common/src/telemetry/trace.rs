//! A job's trace: from its submission to its final state, through both daemons.
//!
//! Every id in it follows from ids that both daemons have: the trace's is the job's UUID itself, a span's comes from the part
//! of the job that it tells of. So nothing about traces goes over the wire, a job's trace is found by its id, and a daemon
//! that was restarted in between goes on with the same trace. A span is told once it is over, with the times that were
//! written down: no span is open anywhere, and none is lost with a process that only waits.
//!
//! ```text
//! job                      coordinator: from its submission to its final state
//! ├─ queue                 until an attempt was assigned; one for each attempt
//! └─ attempt               from assignment until its end is known
//!    └─ run                worker: all of it
//!       └─ probing, encoding, checking, uploading, waiting
//! ```

use std::{
    cell::Cell,
    sync::OnceLock,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

pub use opentelemetry::KeyValue;
use opentelemetry::{
    Context,
    trace::{
        Link, Span as _, SpanBuilder, SpanContext, SpanId, SpanKind, Status, TraceContextExt as _,
        TraceFlags, TraceId, TraceState, Tracer as _,
    },
};
use opentelemetry_sdk::trace::{IdGenerator, RandomIdGenerator, SamplingResult, SdkTracer, ShouldSample};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::id::{AttemptId, JobId, StreamId};

/// Set once, when traces are sent.
static TRACER: OnceLock<SdkTracer> = OnceLock::new();

thread_local! {
    /// The ids of the span that this thread is making.
    static NEXT: Cell<Option<(TraceId, SpanId)>> = const { Cell::new(None) };
}

/// What a span tells of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    Job(JobId),
    /// The wait for an attempt.
    Queue(JobId, AttemptId),
    Attempt(JobId, AttemptId),
    Run(JobId, AttemptId),
    /// What a run does, and as the how manieth.
    Phase(JobId, AttemptId, &'static str, u32),
    /// An attempt of a live stream, which has a trace of its own that does not end.
    Live(StreamId, AttemptId),
}

/// A span that is over.
#[derive(Debug, Clone)]
pub struct Span {
    pub part: Part,
    pub began: SystemTime,
    pub ended: SystemTime,
    pub attributes: Vec<KeyValue>,
    /// Why it failed.
    pub failure: Option<String>,
}

impl Part {
    fn trace(self) -> TraceId {
        let id = match self {
            Self::Job(job)
            | Self::Queue(job, _)
            | Self::Attempt(job, _)
            | Self::Run(job, _)
            | Self::Phase(job, ..) => job.0,
            Self::Live(stream, _) => stream.0,
        };
        trace(id)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Job(_) => "job",
            Self::Queue(..) => "queue",
            Self::Attempt(..) => "attempt",
            Self::Run(..) => "run",
            Self::Phase(_, _, name, _) => name,
            Self::Live(..) => "live",
        }
    }

    /// The same for whoever asks.
    fn span(self) -> SpanId {
        let mut digest = Sha256::new();
        digest.update(self.name());
        digest.update(self.trace().to_bytes());
        match self {
            Self::Job(_) => {}
            Self::Queue(_, attempt)
            | Self::Attempt(_, attempt)
            | Self::Run(_, attempt)
            | Self::Phase(_, attempt, ..)
            | Self::Live(_, attempt) => {
                digest.update(attempt.task.0.as_bytes());
                digest.update(attempt.epoch.0.to_be_bytes());
            }
        }
        if let Self::Phase(_, _, _, number) = self {
            digest.update(number.to_be_bytes());
        }
        let mut id = [0; 8];
        id.copy_from_slice(&digest.finalize()[..8]);
        SpanId::from_bytes(id)
    }

    fn parent(self) -> Option<Self> {
        match self {
            Self::Job(_) | Self::Live(..) => None,
            Self::Queue(job, _) | Self::Attempt(job, _) => Some(Self::Job(job)),
            Self::Run(job, attempt) => Some(Self::Attempt(job, attempt)),
            Self::Phase(job, attempt, ..) => Some(Self::Run(job, attempt)),
        }
    }

    fn kind(self) -> SpanKind {
        match self {
            // The two sides of one request, as maps of services want them.
            Self::Attempt(..) => SpanKind::Client,
            Self::Run(..) | Self::Live(..) => SpanKind::Server,
            Self::Job(_) | Self::Queue(..) | Self::Phase(..) => SpanKind::Internal,
        }
    }

    /// The trace and the span of it that a log record belongs to.
    pub(super) fn context(self) -> (TraceId, SpanId) {
        (self.trace(), self.span())
    }
}

fn trace(id: Uuid) -> TraceId {
    TraceId::from_bytes(id.into_bytes())
}

/// Milliseconds since 1970, as rows have them.
#[must_use]
pub fn at(milliseconds: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(u64::try_from(milliseconds).unwrap_or_default())
}

/// Whether spans go anywhere: what only serves them need not be done otherwise.
#[must_use]
pub fn is_sent() -> bool {
    TRACER.get().is_some()
}

/// Puts a span into the queue to the collector. It waits for nothing; without room there the span is lost.
pub fn tell(span: Span) {
    if let Some(tracer) = TRACER.get() {
        tell_by(tracer, span);
    }
}

pub(super) fn begin(tracer: SdkTracer) {
    // A program installs its telemetry once.
    let _ = TRACER.set(tracer);
}

fn tell_by(tracer: &SdkTracer, span: Span) {
    let Span { part, began, ended, attributes, failure } = span;
    let trace = part.trace();
    let parent = part.parent().map_or_else(Context::new, |parent| {
        let flags = TraceFlags::SAMPLED;
        let remote = matches!(part, Part::Run(..));
        Context::new().with_remote_span_context(SpanContext::new(
            trace,
            parent.span(),
            flags,
            remote,
            TraceState::NONE,
        ))
    });
    let builder = SpanBuilder::from_name(part.name())
        .with_kind(part.kind())
        .with_start_time(began)
        .with_attributes(attributes);
    NEXT.set(Some((trace, part.span())));
    let mut told = tracer.build_with_context(builder, &parent);
    NEXT.set(None);
    if let Some(failure) = failure {
        told.set_status(Status::error(failure));
    }
    // Clocks may go backwards.
    told.end_with_timestamp(ended.max(began));
}

/// Gives each span the id of its part.
#[derive(Debug, Default)]
pub(super) struct Ids(RandomIdGenerator);

impl IdGenerator for Ids {
    fn new_trace_id(&self) -> TraceId {
        NEXT.get().map_or_else(|| self.0.new_trace_id(), |(trace, _)| trace)
    }

    fn new_span_id(&self) -> SpanId {
        NEXT.get().map_or_else(|| self.0.new_span_id(), |(_, span)| span)
    }
}

/// Lets the trace alone decide whether its spans are sent, so that both daemons decide alike without telling each other.
///
/// A ratio goes by the second half of the trace's id, which in a UUID begins with the same two bits always: it is asked about
/// a digest instead.
#[derive(Debug, Clone)]
pub(super) struct ByTrace(pub(super) Box<dyn ShouldSample>);

impl ShouldSample for ByTrace {
    fn should_sample(
        &self,
        _parent: Option<&Context>,
        trace: TraceId,
        name: &str,
        kind: &SpanKind,
        attributes: &[KeyValue],
        links: &[Link],
    ) -> SamplingResult {
        let mut spread = [0; 16];
        spread.copy_from_slice(&Sha256::digest(trace.to_bytes())[..16]);
        self.0.should_sample(None, TraceId::from_bytes(spread), name, kind, attributes, links)
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::TracerProvider as _;
    use opentelemetry_sdk::{
        error::OTelSdkResult,
        trace::{Sampler, SdkTracerProvider, SpanData, SpanExporter},
    };

    use super::*;
    use crate::id::{Epoch, TaskId};

    #[derive(Debug, Clone, Default)]
    struct Sent(std::sync::Arc<std::sync::Mutex<Vec<SpanData>>>);

    impl SpanExporter for Sent {
        async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
            self.0.lock().unwrap().extend(batch);
            Ok(())
        }
    }

    fn sent(sampler: Sampler, spans: Vec<Span>) -> Vec<SpanData> {
        let sent = Sent::default();
        let provider = SdkTracerProvider::builder()
            .with_sampler(ByTrace(Box::new(sampler)))
            .with_id_generator(Ids::default())
            .with_simple_exporter(sent.clone())
            .build();
        let tracer = provider.tracer("test");
        spans.into_iter().for_each(|span| tell_by(&tracer, span));
        let sent = sent.0.lock().unwrap();
        sent.clone()
    }

    fn over(part: Part) -> Span {
        Span { part, began: at(1_000), ended: at(3_000), attributes: Vec::new(), failure: None }
    }

    fn attempt() -> AttemptId {
        AttemptId { task: TaskId::new(), epoch: Epoch(7) }
    }

    #[test]
    fn what_two_daemons_tell_apart_is_one_trace() {
        let (job, attempt) = (JobId::new(), attempt());
        let coordinator = sent(
            Sampler::AlwaysOn,
            vec![over(Part::Job(job)), over(Part::Queue(job, attempt)), over(Part::Attempt(job, attempt))],
        );
        let worker = sent(
            Sampler::AlwaysOn,
            vec![over(Part::Phase(job, attempt, "encoding", 1)), over(Part::Run(job, attempt))],
        );
        let all: Vec<_> = coordinator.iter().chain(&worker).collect();
        for span in &all {
            assert_eq!(span.span_context.trace_id().to_string(), job.0.as_simple().to_string());
            let parent = all.iter().find(|other| other.span_context.span_id() == span.parent_span_id);
            let expected = match span.name.as_ref() {
                "job" => None,
                "queue" | "attempt" => Some("job"),
                "run" => Some("attempt"),
                _ => Some("run"),
            };
            assert_eq!(parent.map(|parent| parent.name.as_ref()), expected, "{}", span.name);
        }
        let ids: std::collections::HashSet<_> = all.iter().map(|span| span.span_context.span_id()).collect();
        assert_eq!(ids.len(), 5);
    }

    #[test]
    fn a_span_has_the_times_and_the_failure_that_it_was_given() {
        let part = Part::Job(JobId::new());
        let failed = Span { failure: Some("disk full".to_owned()), ..over(part) };
        let backwards = Span { ended: at(500), ..over(part) };
        let sent = sent(Sampler::AlwaysOn, vec![failed, backwards]);
        assert_eq!((sent[0].start_time, sent[0].end_time), (at(1_000), at(3_000)));
        assert_eq!(sent[0].status, Status::error("disk full"));
        assert_eq!(sent[1].end_time, at(1_000));
    }

    #[test]
    fn a_ratio_takes_that_part_of_the_jobs_and_all_of_each() {
        let ratio = 0.25;
        let jobs: Vec<JobId> = (0..2_000).map(|_| JobId::new()).collect();
        let attempt = attempt();
        let of = |part: fn(JobId, AttemptId) -> Part| {
            let spans = jobs.iter().map(|job| over(part(*job, attempt))).collect();
            let told = sent(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(ratio))), spans);
            told.into_iter().map(|span| span.span_context.trace_id()).collect::<Vec<_>>()
        };
        let (of_coordinator, of_worker) = (of(Part::Attempt), of(Part::Run));
        assert_eq!(of_coordinator, of_worker);
        let share = of_worker.len() as f64 / jobs.len() as f64;
        assert!((0.19..0.31).contains(&share), "{share}");
    }
}
