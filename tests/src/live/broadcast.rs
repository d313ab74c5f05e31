//! A broadcast: a recording played in a circle and in real time, over HTTP, from wherever it is when somebody tunes in.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::broadcast,
    task::{AbortHandle, JoinSet},
    time::{Instant, sleep_until},
};

use super::{
    recording::{Recording, Reel},
    runtime,
    ts::{self, Counters, PACKET},
};

/// Pieces that a listener may be behind before it is cut off: twenty seconds.
const BEHIND: usize = 512;
/// First timestamp, unless a test wants another: no round number.
const ORIGIN: u64 = 1_234_567;
const CYCLE: i64 = 1 << 33;

/// Who may come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Door {
    Open,
    /// Connections are accepted and closed.
    Shut,
    /// An HTTP status, and that is it.
    Status(u16),
}

#[derive(Debug)]
struct Control {
    door: Door,
    /// Packets go nowhere; time goes on.
    silent: bool,
    /// Time stands still.
    paused: bool,
    /// Added to all timestamps, once.
    jump: i64,
    next: Option<Arc<Reel>>,
    /// Who tunes in gets the group of pictures that is on the air, at once.
    bursts: bool,
    group: Vec<Bytes>,
}

#[derive(Debug)]
struct Shared {
    control: Mutex<Control>,
    connections: AtomicUsize,
    open: AtomicUsize,
    /// Changes when who listens is to be cut off.
    cut: tokio::sync::watch::Sender<u64>,
    /// Groups of pictures that were begun.
    groups: tokio::sync::watch::Sender<u64>,
    sender: broadcast::Sender<Bytes>,
}

impl Shared {
    fn control(&self) -> MutexGuard<'_, Control> {
        self.control.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// On the air until it is dropped.
#[derive(Debug)]
pub struct Broadcast {
    address: SocketAddr,
    shared: Arc<Shared>,
    tasks: Vec<AbortHandle>,
}

impl Drop for Broadcast {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl Broadcast {
    /// From the recording's beginning.
    #[must_use]
    pub fn of(recording: &Recording) -> Self {
        Self::starting_at(recording, ORIGIN)
    }

    /// The 33 bits of the timestamps wrap after so long.
    #[must_use]
    pub fn wrapping_after(recording: &Recording, time: Duration) -> Self {
        Self::starting_at(recording, (CYCLE as u64).wrapping_sub(time.as_millis() as u64 * 90))
    }

    fn starting_at(recording: &Recording, origin: u64) -> Self {
        let reel = recording.load();
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let control = Control {
            door: Door::Open,
            silent: false,
            paused: false,
            jump: 0,
            next: None,
            bursts: false,
            group: Vec::new(),
        };
        let shared = Arc::new(Shared {
            control: Mutex::new(control),
            connections: AtomicUsize::new(0),
            open: AtomicUsize::new(0),
            cut: tokio::sync::watch::channel(0).0,
            groups: tokio::sync::watch::channel(0).0,
            sender: broadcast::channel(BEHIND).0,
        });
        let player = runtime().spawn(play(reel, origin, Arc::clone(&shared))).abort_handle();
        let door = runtime().spawn(serve(listener, Arc::clone(&shared))).abort_handle();
        Self { address, shared, tasks: vec![player, door] }
    }

    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}/channel.ts", self.address)
    }

    /// How often somebody tuned in.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// How many listen now.
    #[must_use]
    pub fn listeners(&self) -> usize {
        self.shared.open.load(Ordering::SeqCst)
    }

    /// Whoever listens is cut off, and whoever comes too, until [`Broadcast::back`].
    pub fn gone(&self) {
        self.shared.control().door = Door::Shut;
        self.cut_off();
    }

    /// Whoever listens is cut off; whoever comes gets this status until [`Broadcast::back`].
    pub fn answering(&self, status: u16) {
        self.shared.control().door = Door::Status(status);
        self.cut_off();
    }

    /// Whoever listens is cut off, and may come again at once.
    pub fn cut_off(&self) {
        self.shared.cut.send_modify(|count| *count += 1);
    }

    /// The connection stays, nothing comes, and what would have come is lost.
    pub fn silent(&self) {
        self.shared.control().silent = true;
    }

    /// Nothing comes, and goes on afterwards where it was.
    pub fn paused(&self) {
        self.shared.control().paused = true;
    }

    /// As if nothing had been, from now on.
    pub fn back(&self) {
        let mut control = self.shared.control();
        (control.door, control.silent, control.paused) = (Door::Open, false, false);
    }

    /// Timestamps jump by so many seconds, back where they are negative; the pictures go on.
    pub fn jump(&self, seconds: f64) {
        self.shared.control().jump += (seconds * 90_000.0) as i64;
    }

    /// From now on who tunes in gets the group of pictures that is on the air from its beginning.
    pub fn bursts(&self) {
        self.shared.control().bursts = true;
    }

    /// Waits for the next key frame.
    ///
    /// # Panics
    /// It is off the air.
    pub async fn key_frame(&self) {
        let mut groups = self.shared.groups.subscribe();
        groups.changed().await.expect("on the air");
    }

    /// Another recording follows, on the same timestamps.
    pub fn switch(&self, recording: &Recording) {
        let reel = recording.load();
        self.shared.control().next = Some(reel);
    }

    /// What is on the air from now on.
    pub fn listen(&self) -> broadcast::Receiver<Bytes> {
        self.shared.sender.subscribe()
    }
}

fn ticks(ticks: i64) -> Duration {
    Duration::from_nanos(ticks as u64 * 100_000 / 9)
}

async fn play(mut reel: Arc<Reel>, origin: u64, shared: Arc<Shared>) {
    let mut counters = Counters::default();
    let mut origin = origin as i64;
    let (mut begun, mut played, mut next) = (Instant::now(), 0, 0);
    loop {
        sleep_until(begun + ticks(played)).await;
        let silent = {
            let mut control = shared.control();
            if control.paused {
                begun += Duration::from_millis(10);
                continue;
            }
            origin += std::mem::take(&mut control.jump);
            if let Some(other) = control.next.take() {
                (reel, next) = (other, 0);
            }
            control.silent
        };
        let piece = reel.pieces[next];
        let mut bytes = reel.bytes[piece.from..piece.to].to_vec();
        let by = (origin + played - piece.dts as i64).rem_euclid(CYCLE) as u64;
        for packet in bytes.chunks_exact_mut(PACKET) {
            ts::shift(packet, by);
            counters.renumber(packet);
        }
        if !silent {
            let bytes = Bytes::from(bytes);
            let key = piece.key;
            // In one step with what a new listener is given.
            let mut control = shared.control();
            if key {
                control.group.clear();
            }
            control.group.push(bytes.clone());
            // Nobody may be listening.
            let _ = shared.sender.send(bytes);
            drop(control);
            if key {
                shared.groups.send_modify(|count| *count += 1);
            }
        }
        played += piece.lasts;
        next = (next + 1) % reel.pieces.len();
    }
}

async fn serve(listener: std::net::TcpListener, shared: Arc<Shared>) {
    let listener = TcpListener::from_std(listener).unwrap();
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let shared = Arc::clone(&shared);
        connections.spawn(async move {
            shared.connections.fetch_add(1, Ordering::SeqCst);
            shared.open.fetch_add(1, Ordering::SeqCst);
            // How a connection ends is the listener's business.
            let _ = transmit(stream, &shared).await;
            shared.open.fetch_sub(1, Ordering::SeqCst);
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn transmit(mut stream: TcpStream, shared: &Shared) -> std::io::Result<()> {
    let door = shared.control().door;
    if door == Door::Shut {
        return Ok(());
    }
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    if let Door::Status(status) = door {
        let head = format!("HTTP/1.1 {status} No\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        return stream.write_all(head.as_bytes()).await;
    }
    let mut cut = shared.cut.subscribe();
    let (mut pieces, group) = {
        let control = shared.control();
        let group = if control.bursts { control.group.concat() } else { Vec::new() };
        (shared.sender.subscribe(), group)
    };
    // Without a length: it ends when the connection does.
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: video/mp2t\r\nconnection: close\r\n\r\n").await?;
    stream.write_all(&group).await?;
    let (mut from, mut to) = stream.split();
    let mut rest = [0; 1];
    loop {
        tokio::select! {
            piece = pieces.recv() => match piece {
                Ok(piece) => to.write_all(&piece).await?,
                Err(_) => return Ok(()),
            },
            // Who hangs up is gone at once, also in silence.
            read = from.read(&mut rest) => if read? == 0 { return Ok(()) },
            _ = cut.changed() => return Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::live::{Decoded, Viewer};

    async fn watched(broadcast: &Broadcast, seconds: f64) -> crate::live::Received {
        let viewer = Viewer::watch(&broadcast.url());
        viewer.watches(seconds).await;
        viewer.stop()
    }

    #[tokio::test]
    async fn a_broadcast_is_whole_from_the_first_key_frame_on_also_over_the_wrap() {
        let recording = Recording::default();
        let broadcast = Broadcast::wrapping_after(&recording, Duration::from_secs(2));
        // Up to a second of it lies before the first key frame.
        let received = watched(&broadcast, 4.0).await;
        assert_eq!(ts::faults(&received.bytes), Vec::<String>::new());
        let bytes = ts::from_key_frame(ts::complete(&received.bytes));
        let key = ts::all_pes(bytes)[0];
        assert!(key.pts > 8_000_000_000, "{key:?}: it wraps too early");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("it.ts");
        std::fs::write(&path, bytes).unwrap();
        let decoded = Decoded::of(&path);
        decoded.assert_whole(&recording);
        assert!(decoded.seconds() > 2.0, "{} s", decoded.seconds());
        assert_eq!((broadcast.connections(), broadcast.listeners()), (1, 0));
    }

    #[tokio::test]
    async fn a_broadcast_can_go_and_come_back_elsewhere_on_the_timeline() {
        let recording = Recording::default();
        let broadcast = Broadcast::of(&recording);
        let viewer = Viewer::watch(&broadcast.url());
        viewer.watches(0.5).await;
        broadcast.jump(-3.0);
        broadcast.gone();
        assert_eq!(viewer.ended(Duration::from_secs(5)).await, Ok(()));
        let before = ts::all_pes(&viewer.stop().bytes).last().copied().unwrap();
        broadcast.back();
        let after = ts::all_pes(&watched(&broadcast, 0.5).await.bytes)[0];
        assert!(ts::distance(before.dts, after.dts) < -90_000, "{before:?} {after:?}");
        broadcast.answering(404);
        assert_eq!(Viewer::watch(&broadcast.url()).status().await, 404);
    }
}
