//! Viewers of MPEG-TS over HTTP.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use futures::StreamExt;
use reqwest::{StatusCode, header::HeaderMap};
use tokio::task::AbortHandle;

use super::{
    runtime,
    ts::{self, PACKET},
};
use crate::wait;

/// Everything that is waited for comes within this, also on a busy machine.
const SOON: Duration = Duration::from_secs(30);

#[derive(Debug, Default)]
struct State {
    status: Option<(StatusCode, HeaderMap)>,
    /// When they came, and how many there were then.
    arrivals: Vec<(Instant, usize)>,
    bytes: Vec<u8>,
    /// Packets that were looked at, in bytes.
    seen: usize,
    first: Option<u64>,
    /// Ticks of video (audio, where there is none) since the first.
    length: i64,
    ended: Option<Result<(), String>>,
}

impl State {
    fn take(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        self.arrivals.push((Instant::now(), self.bytes.len()));
        while self.seen + PACKET <= self.bytes.len() && self.bytes[self.seen] == 0x47 {
            if let Some(pes) = ts::pes(&self.bytes[self.seen..self.seen + PACKET], self.seen) {
                let first = *self.first.get_or_insert(pes.dts);
                self.length = self.length.max(ts::distance(first, pes.dts));
            }
            self.seen += PACKET;
        }
    }
}

/// Watches until it is stopped or dropped.
#[derive(Debug)]
pub struct Viewer {
    url: String,
    begun: Instant,
    state: Arc<Mutex<State>>,
    task: AbortHandle,
}

impl Drop for Viewer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Viewer {
    #[must_use]
    pub fn watch(url: &str) -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        let task = runtime().spawn(watch(url.to_owned(), Arc::clone(&state))).abort_handle();
        Self { url: url.to_owned(), begun: Instant::now(), state, task }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the head of the answer.
    pub async fn status(&self) -> StatusCode {
        let what = format!("an answer from {}", self.url);
        wait::until(SOON, &what, || async { self.state().status.as_ref().map(|(status, _)| *status) }).await
    }

    pub async fn headers(&self) -> HeaderMap {
        self.status().await;
        self.state().status.as_ref().map(|(_, headers)| headers.clone()).unwrap()
    }

    /// Waits for the first byte, and tells how long it took since the viewer came.
    pub async fn first_byte(&self) -> Duration {
        let what = format!("the first byte of {}", self.url);
        wait::until(SOON, &what, || async {
            let state = self.state();
            let refused = state.status.as_ref().filter(|(status, _)| !status.is_success());
            assert!(refused.is_none(), "{}: {refused:?} {}", self.url, String::from_utf8_lossy(&state.bytes));
            state.arrivals.first().map(|(at, _)| *at - self.begun)
        })
        .await
    }

    /// Seconds of media that have come.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        self.state().length as f64 / 90_000.0
    }

    /// Waits until so many seconds of media have come, more than have now.
    ///
    /// # Panics
    /// The stream ended before, or they did not come in time.
    pub async fn watches(&self, seconds: f64) {
        let until = self.seconds() + seconds;
        let deadline = SOON + Duration::from_secs_f64(seconds);
        let come = wait::try_until(deadline, || async {
            let ended = self.state().ended.clone();
            assert!(ended.is_none() || self.seconds() >= until, "{} ended: {ended:?}", self.url);
            (self.seconds() >= until).then_some(())
        })
        .await;
        assert!(
            come.is_some(),
            "{}: {:.1} s came in {deadline:?} where {until:.1} were waited for",
            self.url,
            self.seconds()
        );
    }

    /// Waits until so many seconds of media have come since it began.
    pub async fn has_watched(&self, seconds: f64) {
        self.watches(seconds - self.seconds().min(seconds)).await;
    }

    /// Waits for its end: `Ok` for a proper one.
    ///
    /// # Panics
    /// It goes on.
    pub async fn ended(&self, deadline: Duration) -> Result<(), String> {
        wait::until(deadline, &format!("the end of {}", self.url), || async { self.state().ended.clone() })
            .await
    }

    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.state().ended.is_some()
    }

    /// Hangs up.
    #[must_use]
    pub fn stop(self) -> Received {
        self.task.abort();
        let state = std::mem::take(&mut *self.state());
        Received { begun: self.begun, bytes: state.bytes, arrivals: state.arrivals, stopped: Instant::now() }
    }
}

async fn watch(url: String, state: Arc<Mutex<State>>) {
    let lock = || state.lock().unwrap_or_else(PoisonError::into_inner);
    let client = super::client();
    let mut response = match client.get(url).send().await {
        Ok(response) => {
            lock().status = Some((response.status(), response.headers().clone()));
            response.bytes_stream()
        }
        Err(error) => {
            lock().ended = Some(Err(format!("{error:?}")));
            return;
        }
    };
    let end = loop {
        match response.next().await {
            Some(Ok(bytes)) => lock().take(&bytes),
            Some(Err(error)) => break Err(format!("{error:?}")),
            None => break Ok(()),
        }
    };
    lock().ended = Some(end);
}

/// What a viewer has got.
#[derive(Debug, Clone)]
pub struct Received {
    pub begun: Instant,
    pub stopped: Instant,
    pub bytes: Vec<u8>,
    arrivals: Vec<(Instant, usize)>,
}

impl Received {
    /// The longest time without a byte, after the first one.
    #[must_use]
    pub fn longest_stall(&self) -> Duration {
        let last = self.arrivals.last().map(|(at, _)| self.stopped - *at);
        let between = self.arrivals.windows(2).map(|pair| pair[1].0 - pair[0].0);
        between.chain(last).max().unwrap_or_default()
    }

    /// From `since` on: the longest time without a byte.
    #[must_use]
    pub fn longest_stall_since(&self, since: Instant) -> Duration {
        let mut last = since;
        let mut longest = Duration::ZERO;
        for (at, _) in self.arrivals.iter().filter(|(at, _)| *at > since) {
            longest = longest.max(*at - last);
            last = *at;
        }
        longest.max(self.stopped.saturating_duration_since(last))
    }

    #[must_use]
    pub fn first_byte(&self) -> Option<Duration> {
        self.arrivals.first().map(|(at, _)| *at - self.begun)
    }

    /// Everything that came in whole frames, as a file.
    ///
    /// # Panics
    /// It cannot be written.
    #[must_use]
    pub fn save(&self, folder: &Path, name: &str) -> PathBuf {
        let path = folder.join(name);
        std::fs::write(&path, ts::complete(&self.bytes)).unwrap();
        path
    }
}

/// A viewer that asks and then reads nothing.
#[derive(Debug)]
pub struct Sleeper {
    stream: std::net::TcpStream,
}

impl Sleeper {
    /// # Panics
    /// Nobody listens.
    #[must_use]
    pub fn watch(url: &str) -> Self {
        use std::io::Write;
        let (host, path) = url.trim_start_matches("http://").split_once('/').unwrap();
        let mut stream = std::net::TcpStream::connect(host).unwrap();
        // Little is taken by the kernel in its stead; less than a packet of the loopback, and waking up takes it minutes.
        rustix::net::sockopt::set_socket_recv_buffer_size(&stream, 96 * 1024).unwrap();
        write!(stream, "GET /{path} HTTP/1.1\r\nhost: {host}\r\n\r\n").unwrap();
        Self { stream }
    }

    /// Wakes up and reads what there still is, until the end; how many bytes there were.
    ///
    /// # Panics
    /// The stream goes on.
    #[must_use]
    pub fn wakes(mut self, deadline: Duration) -> usize {
        use std::io::Read;
        self.stream.set_read_timeout(Some(deadline)).unwrap();
        let (mut count, mut buffer) = (0, [0; 65536]);
        let end = Instant::now() + deadline;
        loop {
            assert!(Instant::now() < end, "the stream goes on");
            match self.stream.read(&mut buffer) {
                Ok(0) => return count,
                Ok(read) => count += read,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    panic!("nothing came, and no end")
                }
                Err(_) => return count,
            }
        }
    }
}
