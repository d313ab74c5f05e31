//! A worker that speaks the real protocol and runs nothing: every attempt ends as soon as it is assigned, or once a gate
//! opens. It ends as `invalid_input`: the one verdict that ends a job for good and needs no file, which a success does.

use std::{
    mem::take,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result, bail};
use common::{
    api::JobState,
    failure::FailureKind,
    id::WorkerId,
    media::EncoderFamily,
    proto::{
        self, AttemptFinished, AttemptProgress, AttemptStarted, Failed, Heartbeat, Hello, PROTOCOL_MAX,
        PROTOCOL_MIN, WorkerMessage, attempt_finished::Result as Outcome,
        coordinator_message::Message as Order, worker_message::Message as Said,
        worker_service_client::WorkerServiceClient,
    },
    worker::{Capabilities, Capacity, Encoder},
};
use tokio::{
    sync::{Notify, Semaphore, mpsc, watch},
    time::interval,
};
use tokio_stream::wrappers::ReceiverStream;

use crate::clock::monotonic_ns;

/// Messages on their way to the coordinator: two for each attempt that a worker may have at once, and some to spare.
const OUTBOX: usize = 1024;

/// While it is `false`, attempts are held as if ffmpeg ran; when it becomes `true`, all of them end.
pub(crate) type Gate = watch::Receiver<bool>;

/// A gate that was never closed.
#[must_use]
pub(crate) fn open_gate() -> Gate {
    // The value stays when the sender is gone.
    watch::channel(true).1
}

/// What all null workers of a run have done together.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Workers that were welcomed.
    registered: AtomicUsize,
    /// Attempts that are held until the gate opens.
    held: AtomicUsize,
    /// Results that the coordinator has on disk.
    accepted: AtomicUsize,
    refused: AtomicUsize,
    /// When the last one was accepted, CLOCK_MONOTONIC in nanoseconds.
    last_ns: AtomicU64,
    changed: Notify,
}

/// How a job ends that a null worker had.
pub(crate) const FINAL: JobState = JobState::Failed;

/// What is counted.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Count {
    Registered,
    Held,
    Accepted,
}

impl Tally {
    fn add(&self, what: Count) {
        self.counter(what).fetch_add(1, Ordering::Release);
        self.changed.notify_one();
    }

    fn acknowledged(&self, accepted: bool) {
        self.last_ns.fetch_max(monotonic_ns(), Ordering::Relaxed);
        if accepted {
            self.add(Count::Accepted);
        } else {
            self.refused.fetch_add(1, Ordering::Release);
            self.changed.notify_one();
        }
    }

    const fn counter(&self, what: Count) -> &AtomicUsize {
        match what {
            Count::Registered => &self.registered,
            Count::Held => &self.held,
            Count::Accepted => &self.accepted,
        }
    }

    /// How many there were until now.
    pub(crate) fn count(&self, what: Count) -> usize {
        self.counter(what).load(Ordering::Acquire)
    }

    /// Waits until there were that many; returns when the last result was accepted.
    pub(crate) async fn reaches(&self, what: Count, count: usize) -> Result<u64> {
        while self.count(what) < count {
            self.changed.notified().await;
            if self.refused.load(Ordering::Acquire) > 0 {
                bail!("the coordinator refused the result of a current attempt");
            }
        }
        Ok(self.last_ns.load(Ordering::Relaxed))
    }
}

/// Connects, with a permit of `connecting` until it is registered, and works until the coordinator ends the stream.
pub(crate) async fn run(
    coordinator: String,
    name: String,
    jobs: u32,
    mut gate: Gate,
    tally: Arc<Tally>,
    connecting: Arc<Semaphore>,
) -> Result<()> {
    let mut permit = Some(connecting.acquire().await?);
    let mut client = WorkerServiceClient::connect(coordinator.clone())
        .await
        .with_context(|| format!("connecting {name} to {coordinator}"))?;
    let (outbox, messages) = mpsc::channel(OUTBOX);
    outbox.send(said(Said::Hello(hello(&name, jobs)))).await?;
    let mut orders =
        client.session(ReceiverStream::new(messages)).await.context("opening a session")?.into_inner();
    let mut heartbeat = interval(Duration::from_secs(1));
    let mut held: Vec<proto::Assign> = Vec::new();
    let mut beats = 0;
    let mut open = *gate.borrow();
    loop {
        tokio::select! {
            biased;
            order = orders.message() => match order.context("the session failed")?.map(|order| order.message) {
                None => return Ok(()),
                Some(Some(Order::Welcome(welcome))) => {
                    heartbeat = interval(Duration::from_millis(welcome.heartbeat_interval_ms.max(1).into()));
                    tally.add(Count::Registered);
                    drop(permit.take());
                }
                Some(Some(Order::Assign(assign))) => {
                    outbox.send(said(Said::AttemptStarted(started(&assign)))).await?;
                    if open {
                        outbox.send(said(Said::AttemptFinished(finished(&assign)))).await?;
                    } else {
                        held.push(assign);
                        tally.add(Count::Held);
                    }
                }
                Some(Some(Order::AttemptAcknowledged(answer))) => tally.acknowledged(answer.accepted),
                Some(Some(Order::StopAttempt(stop))) => bail!("{name} was told to stop {}: {}", stop.task_id, stop.reason),
                Some(Some(Order::LeasesRenewed(_) | Order::SetDraining(_) | Order::Idle(_) | Order::ProbeAgain(_)) | None) => {}
            },
            changed = gate.changed(), if !open => {
                changed.context("the run ended before its gate was opened")?;
                open = *gate.borrow();
                for assign in take(&mut held) {
                    outbox.send(said(Said::AttemptFinished(finished(&assign)))).await?;
                }
            }
            _ = heartbeat.tick() => {
                beats += 1;
                let attempts = held.iter().map(|assign| progress(assign, beats)).collect();
                let load = Some(load(beats));
                outbox.send(said(Said::Heartbeat(Heartbeat { load, attempts, ..Default::default() }))).await?;
            }
        }
    }
}

fn said(message: Said) -> WorkerMessage {
    WorkerMessage { message: Some(message) }
}

fn started(assign: &proto::Assign) -> AttemptStarted {
    AttemptStarted {
        task_id: assign.task_id.clone(),
        epoch: assign.epoch,
        argv: vec!["true".to_owned()],
        input_info_json: String::new(),
    }
}

fn finished(assign: &proto::Assign) -> AttemptFinished {
    AttemptFinished {
        task_id: assign.task_id.clone(),
        epoch: assign.epoch,
        result: Some(Outcome::Failed(Failed {
            kind: FailureKind::InvalidInput.as_str().to_owned(),
            message: "nothing was run".to_owned(),
            ..Default::default()
        })),
        log_tail: Vec::new(),
    }
}

/// A machine that is never twice the same.
fn load(beats: u32) -> proto::Load {
    proto::Load {
        cpu: f64::from(beats % 97) / 97.0,
        memory_used_bytes: (u64::from(beats % 31) + 1) << 28,
        scratch_free_bytes: (u64::from(beats % 89) + 1) << 30,
        ..Default::default()
    }
}

/// What a heartbeat says of an attempt that is held: an encode that goes on and on.
fn progress(assign: &proto::Assign, beats: u32) -> AttemptProgress {
    let progress = proto::Progress {
        fraction: Some(f64::from(beats % 100) / 100.0),
        frames: 150 * u64::from(beats),
        fps: 30.0,
        speed: 1.0,
        out_time_us: 30_000_000,
        phase: "encoding".to_owned(),
        ..Default::default()
    };
    AttemptProgress {
        task_id: assign.task_id.clone(),
        epoch: assign.epoch,
        progress: Some(progress),
        log: Vec::new(),
    }
}

/// The abilities of Debian's ffmpeg on a machine without a GPU, as far as the `h264` preset asks for them.
fn hello(name: &str, jobs: u32) -> Hello {
    let encoder = |name: &str, codec: &str| Encoder {
        name: name.to_owned(),
        codec: codec.to_owned(),
        family: EncoderFamily::Software,
        devices: Vec::new(),
    };
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    let capabilities = Capabilities {
        ffmpeg_version: "5.1.0".to_owned(),
        ffprobe_version: "5.1.0".to_owned(),
        encoders: vec![encoder("libx264", "h264"), encoder("aac", "aac")],
        decoders: words(&["h264", "aac"]),
        muxers: words(&["mp4"]),
        filters: words(&["scale", "format", "aresample"]),
        protocols: words(&["file", "http"]),
        ..Capabilities::default()
    };
    Hello {
        protocol_min: PROTOCOL_MIN,
        protocol_max: PROTOCOL_MAX,
        worker_id: WorkerId::new().to_string(),
        name: name.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        capabilities: Some(capabilities.into()),
        capacity: Some(Capacity { max_jobs: jobs, max_gpu_jobs: 0, max_cpu_jobs: jobs }.into()),
        ..Hello::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attempt_is_reported_under_its_own_epoch_and_without_outputs() {
        let assign = proto::Assign { task_id: "t".to_owned(), epoch: 3, ..Default::default() };
        let (started, progress, finished) = (started(&assign), progress(&assign, 1), finished(&assign));
        assert_eq!((started.task_id.as_str(), started.epoch), ("t", 3));
        assert_eq!((progress.task_id.as_str(), progress.epoch), ("t", 3));
        assert_eq!((finished.task_id.as_str(), finished.epoch), ("t", 3));
        let Some(Outcome::Failed(failed)) = finished.result else { panic!("a success would need a file") };
        assert_eq!(failed.kind.parse(), Ok(FailureKind::InvalidInput));
    }

    #[test]
    fn an_open_gate_stays_open() {
        assert!(*open_gate().borrow());
    }

    #[tokio::test]
    async fn the_tally_tells_when_all_were_accepted_and_notices_a_refusal() {
        let tally = Tally::default();
        tally.acknowledged(true);
        tally.acknowledged(true);
        assert!(tally.reaches(Count::Accepted, 2).await.unwrap() > 0);
        tally.acknowledged(false);
        assert!(tally.reaches(Count::Accepted, 3).await.is_err());
    }
}
