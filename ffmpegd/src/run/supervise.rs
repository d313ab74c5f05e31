//! Watches one child process from start to end.

use std::{
    io,
    process::ExitStatus,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncRead, AsyncReadExt},
    time::{MissedTickBehavior, interval, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    lines::Lines,
    log::Log,
    scratch::{Growth, Shortage},
    spawn::{Exit, Process},
    watchdog::{Signs, Watchdog},
};
use crate::fetch::Source;

/// How often the watchdog looks.
const LOOK: Duration = Duration::from_millis(500);
/// For what is left in the pipes after the process has ended; only a grandchild can hold them open longer.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// What limits a process.
#[derive(Debug, Clone)]
pub(super) struct Bounds {
    /// Ends it at once.
    pub(super) stop: CancellationToken,
    /// Without a sign of life.
    pub(super) stall: Option<Duration>,
    /// For the whole attempt.
    pub(super) deadline: Option<Instant>,
    /// Their bytes are signs of life too.
    pub(super) sources: Vec<Arc<Source>>,
    /// The folder that must not outgrow its reservation.
    pub(super) growth: Option<Growth>,
}

/// How it went.
#[derive(Debug)]
pub(super) enum End {
    Exited(Exit),
    /// Killed by us.
    Stopped,
    Stalled(Duration),
    OutOfTime,
    /// Its folder outgrew what could be reserved.
    NoRoom(Shortage),
    /// It could not be waited for.
    Lost(io::Error),
}

/// What is done with stdout.
pub(super) trait Stdout {
    fn take(&mut self, bytes: &[u8]);
    /// Signs of life that were in it: media time and frames.
    fn signs(&self) -> (u64, u64) {
        (0, 0)
    }
}

/// Keeps everything, up to a limit.
#[derive(Debug)]
pub(super) struct Keep {
    pub(super) bytes: Vec<u8>,
    pub(super) limit: usize,
}

impl Stdout for Keep {
    fn take(&mut self, bytes: &[u8]) {
        let room = self.limit.saturating_sub(self.bytes.len());
        self.bytes.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }
}

/// Runs the process to its end, whichever comes first. When this returns the process and its group are gone.
pub(super) async fn supervise(
    mut process: Process,
    stdout: &mut impl Stdout,
    log: &Mutex<Log>,
    bounds: &Bounds,
) -> End {
    let Some((out, err)) = process.take_output() else {
        return End::Lost(io::Error::other("it has no output to read"));
    };
    let stdout = Mutex::new(stdout);
    let pid = process.id();
    let pipes = async {
        tokio::join!(
            drain(out, |bytes| stdout.lock().unwrap_or_else(PoisonError::into_inner).take(bytes)),
            read_log(err, log)
        )
    };
    let mut pipes = std::pin::pin!(pipes);
    let outgrown = async {
        match &bounds.growth {
            Some(growth) => growth.outgrown().await,
            None => std::future::pending().await,
        }
    };
    let mut outgrown = std::pin::pin!(outgrown);
    let mut open = true;
    let mut watchdog = Watchdog::new(bounds.stall, Instant::now());
    let mut look = interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let ended: Result<io::Result<ExitStatus>, End> = loop {
        tokio::select! {
            biased;
            () = bounds.stop.cancelled() => break Err(End::Stopped),
            _ = &mut pipes, if open => open = false,
            status = process.wait() => break Ok(status),
            shortage = &mut outgrown => break Err(End::NoRoom(shortage)),
            _ = look.tick() => {
                let now = Instant::now();
                let (out_time_us, frames) = stdout.lock().unwrap_or_else(PoisonError::into_inner).signs();
                let fetched = bounds.sources.iter().map(|source| source.bytes()).sum();
                // What waits for an upload does not hang, and its time does not run.
                let (waited, waiting) = waited(&bounds.sources);
                if waiting {
                    watchdog.forgive(now);
                }
                let signs = Signs { out_time_us, frames, read: bytes_read(pid), fetched };
                if watchdog.hangs(signs, now) {
                    break Err(End::Stalled(bounds.stall.unwrap_or_default()));
                }
                if bounds.deadline.is_some_and(|deadline| now >= deadline + waited) {
                    break Err(End::OutOfTime);
                }
            }
        }
    };
    match ended {
        Ok(status) => {
            if open {
                // Late lines may tell the cause.
                let _ = timeout(LAST_WORDS, pipes).await;
            }
            status.map_or_else(End::Lost, |status| End::Exited(status.into()))
        }
        Err(end) => {
            if let Err(error) = process.kill().await {
                tracing::warn!(%error, "cannot wait for a killed process");
            }
            end
        }
    }
}

/// How long inputs that are still on their way were waited for, and whether one is at the moment.
fn waited(sources: &[Arc<Source>]) -> (Duration, bool) {
    sources
        .iter()
        .map(|source| source.waited())
        .fold((Duration::ZERO, false), |(sum, any), (waited, waits)| {
            (sum.saturating_add(waited), any || waits)
        })
}

async fn read_log(stderr: impl AsyncRead + Unpin, log: &Mutex<Log>) {
    let mut lines = Lines::default();
    drain(stderr, |bytes| {
        let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
        lines.push(bytes, |line| log.push(line));
    })
    .await;
    let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
    lines.finish(|line| log.push(line));
}

async fn drain(mut pipe: impl AsyncRead + Unpin, mut take: impl FnMut(&[u8])) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(count @ 1..) = pipe.read(&mut buffer).await {
        take(&buffer[..count]);
    }
}

/// Bytes that the process has read so far, from whatever it reads; 0 where the system does not tell.
fn bytes_read(pid: Option<u32>) -> u64 {
    let Some(pid) = pid else { return 0 };
    let Ok(text) = std::fs::read_to_string(format!("/proc/{pid}/io")) else { return 0 };
    text.lines().find_map(|line| line.strip_prefix("rchar: ")?.trim().parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::spawn::{Program, Spawner};

    fn bounds() -> Bounds {
        Bounds {
            growth: None,
            stop: CancellationToken::new(),
            stall: None,
            deadline: None,
            sources: Vec::new(),
        }
    }

    async fn run(script: &str, bounds: &Bounds) -> (End, Vec<u8>, Vec<String>) {
        let program = Program {
            path: "/bin/sh".into(),
            args: vec!["-c".into(), script.into()],
            folder: std::env::temp_dir(),
            stdin: false,
            network: false,
        };
        let spawner = Spawner::start().unwrap();
        let process = spawner.spawn(&program).await.unwrap();
        let mut stdout = Keep { bytes: Vec::new(), limit: 1 << 20 };
        let log = Mutex::new(Log::default());
        let end = supervise(process, &mut stdout, &log, bounds).await;
        let tail = log.lock().unwrap().tail();
        (end, stdout.bytes, tail)
    }

    #[tokio::test]
    async fn exit_output_and_last_words_are_kept() {
        let (end, out, log) = run("echo out; echo why >&2; printf end >&2; exit 3", &bounds()).await;
        assert!(matches!(end, End::Exited(Exit::Code(3))), "{end:?}");
        assert_eq!((out.as_slice(), log), (b"out\n".as_slice(), vec!["why".to_owned(), "end".to_owned()]));
    }

    #[tokio::test]
    async fn a_silent_process_is_stalled() {
        let limit = Duration::from_millis(600);
        let (end, ..) = run("exec sleep 600", &Bounds { stall: Some(limit), ..bounds() }).await;
        assert!(matches!(end, End::Stalled(patience) if patience == limit), "{end:?}");
    }

    #[tokio::test]
    async fn the_deadline_holds() {
        let (end, ..) = run("exec sleep 600", &Bounds { deadline: Some(Instant::now()), ..bounds() }).await;
        assert!(matches!(end, End::OutOfTime), "{end:?}");
    }

    #[tokio::test]
    async fn stopping_is_immediate() {
        let bounds = bounds();
        bounds.stop.cancel();
        let (end, ..) = run("trap '' TERM; exec sleep 600", &bounds).await;
        assert!(matches!(end, End::Stopped), "{end:?}");
    }

    #[tokio::test]
    async fn a_grandchild_that_keeps_the_pipes_open_is_not_waited_for() {
        let (end, ..) = run("sleep 600 & exit 0", &bounds()).await;
        assert!(matches!(end, End::Exited(Exit::Code(0))), "{end:?}");
    }
}
