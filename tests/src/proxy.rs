//! The network between a worker and the coordinator, as bad as it is told to be.
//!
//! Forwards bytes from a port of its own. It runs on a thread of its own, so that a test that blocks its runtime does not
//! slow the network down unasked.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
    sync::watch,
    task::JoinSet,
    time::{sleep, timeout},
};

/// Bytes that are moved at a time; small, so that a slow line is slow evenly.
const CHUNK: usize = 16 * 1024;
/// A kernel buffer of this size on both sides: larger ones would swallow a slow line's whole upload at once.
const SOCKET_BUFFER: u32 = 64 * 1024;
const CONNECT: Duration = Duration::from_secs(5);

/// What happens to bytes of one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    Open,
    Slow {
        bytes_per_second: u64,
        /// Before each chunk.
        latency: Duration,
    },
    /// Bytes wait, and go on once the line heals: a partition that TCP survives.
    Held,
    /// Bytes are taken and vanish, without a FIN: a half-open connection. It is dead, and reset once the line heals.
    Swallowed,
}

/// The state of the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Weather {
    /// From the worker to the coordinator.
    pub up: Flow,
    /// From the coordinator to the worker.
    pub down: Flow,
    /// Every connection is reset, and every new one too.
    pub cut: bool,
}

impl Weather {
    pub const FAIR: Self = Self { up: Flow::Open, down: Flow::Open, cut: false };

    /// The same in both directions.
    #[must_use]
    pub const fn both(flow: Flow) -> Self {
        Self { up: flow, down: flow, cut: false }
    }
}

/// A line to the coordinator's worker port. Ends with everything on it when dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    weather: watch::Sender<Weather>,
    open: Arc<AtomicUsize>,
    down: Arc<AtomicU64>,
}

impl Proxy {
    /// Forwards to a port on this machine.
    ///
    /// # Panics
    /// No port or thread is to be had.
    #[must_use]
    pub fn to(port: u16) -> Self {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let upstream = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let (weather, forecast) = watch::channel(Weather::FAIR);
        let open = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&open);
        let down = Arc::new(AtomicU64::new(0));
        let bytes = Arc::clone(&down);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        std::thread::Builder::new()
            .name("proxy".to_owned())
            .spawn(move || runtime.block_on(serve(listener, upstream, forecast, (count, bytes))))
            .unwrap();
        Self { address, weather, open, down }
    }

    /// `host:port` for a worker.
    #[must_use]
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// Connections that are open at the moment.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }

    /// Bytes that the worker was sent so far.
    #[must_use]
    pub fn sent_down(&self) -> u64 {
        self.down.load(Ordering::SeqCst)
    }

    pub fn set(&self, weather: Weather) {
        self.weather.send_replace(weather);
    }

    /// Resets everything until [`Proxy::heal`].
    pub fn cut(&self) {
        self.set(Weather { cut: true, ..Weather::FAIR });
    }

    pub fn heal(&self) {
        self.set(Weather::FAIR);
    }
}

type Forecast = watch::Receiver<Weather>;

async fn serve(
    listener: std::net::TcpListener,
    upstream: SocketAddr,
    mut forecast: Forecast,
    (open, down): (Arc<AtomicUsize>, Arc<AtomicU64>),
) {
    let listener = TcpListener::from_std(listener).unwrap();
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((client, _)) = accepted else { continue };
                let (forecast, open, down) = (forecast.clone(), Arc::clone(&open), Arc::clone(&down));
                connections.spawn(async move {
                    open.fetch_add(1, Ordering::SeqCst);
                    // How a connection ends is the business of both sides.
                    let _ = carry(client, upstream, forecast, &down).await;
                    open.fetch_sub(1, Ordering::SeqCst);
                });
            }
            _ = connections.join_next(), if !connections.is_empty() => {}
            gone = gone(&mut forecast) => {
                let () = gone;
                return;
            }
        }
    }
}

/// Until the [`Proxy`] is dropped.
async fn gone(forecast: &mut Forecast) {
    while forecast.changed().await.is_ok() {}
}

async fn carry(
    client: TcpStream,
    upstream: SocketAddr,
    mut forecast: Forecast,
    sent_down: &AtomicU64,
) -> io::Result<()> {
    if forecast.borrow().cut {
        return client.set_zero_linger();
    }
    let socket = TcpSocket::new_v4()?;
    socket.set_send_buffer_size(SOCKET_BUFFER)?;
    socket.set_recv_buffer_size(SOCKET_BUFFER)?;
    let server = match timeout(CONNECT, socket.connect(upstream)).await {
        Ok(Ok(server)) => server,
        // Nobody is there: said as the kernel would say it.
        Ok(Err(_)) | Err(_) => return client.set_zero_linger(),
    };
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let lost = AtomicBool::new(false);
    let (mut client, mut server) = (client, server);
    let reset = {
        let (client_in, client_out) = client.split();
        let (server_in, server_out) = server.split();
        let (up, down) = (forecast.clone(), forecast.clone());
        let sent_up = AtomicU64::new(0);
        let both = async {
            tokio::join!(
                pump(client_in, server_out, up, |weather| weather.up, &lost, &sent_up),
                pump(server_in, client_out, down, |weather| weather.down, &lost, sent_down),
            )
        };
        tokio::select! {
            // One side may have said its last word while the other still speaks.
            (up, down) = both => up.is_err() || down.is_err(),
            _ = forecast.wait_for(|weather| weather.cut) => true,
        }
    };
    if reset {
        client.set_zero_linger()?;
        server.set_zero_linger()?;
    }
    Ok(())
}

/// Moves bytes until the source ends. An error means that the connection is to be reset.
async fn pump(
    mut from: tokio::net::tcp::ReadHalf<'_>,
    mut to: tokio::net::tcp::WriteHalf<'_>,
    mut forecast: Forecast,
    flow: impl Fn(&Weather) -> Flow,
    lost: &AtomicBool,
    moved: &AtomicU64,
) -> io::Result<()> {
    let dead = || io::Error::from(io::ErrorKind::ConnectionReset);
    let mut chunk = vec![0; CHUNK];
    loop {
        let count = tokio::select! {
            read = from.read(&mut chunk) => read?,
            // A line that has lost bytes and heals is reset, whoever is silent on it.
            changed = forecast.changed() => {
                changed.map_err(|_| dead())?;
                if lost.load(Ordering::SeqCst) && flow(&forecast.borrow()) != Flow::Swallowed {
                    return Err(dead());
                }
                continue;
            }
        };
        let now = *forecast.wait_for(|weather| flow(weather) != Flow::Held).await.map_err(|_| dead())?;
        match flow(&now) {
            Flow::Swallowed => {
                lost.store(true, Ordering::SeqCst);
                if count == 0 {
                    forecast.wait_for(|now| flow(now) != Flow::Swallowed).await.map_err(|_| dead())?;
                    return Err(dead());
                }
                continue;
            }
            Flow::Slow { bytes_per_second, latency } => {
                let line = Duration::from_secs_f64(count as f64 / bytes_per_second.max(1) as f64);
                sleep(latency + line).await;
            }
            Flow::Open | Flow::Held => {}
        }
        if lost.load(Ordering::SeqCst) {
            return Err(dead());
        }
        if count == 0 {
            return to.shutdown().await;
        }
        to.write_all(&chunk[..count]).await?;
        moved.fetch_add(count as u64, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Echoes everything.
    async fn echo() -> (u16, JoinSet<()>) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut server = JoinSet::new();
        server.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                connections.spawn(async move {
                    let (mut from, mut to) = stream.split();
                    let _ = tokio::io::copy(&mut from, &mut to).await;
                });
            }
        });
        (port, server)
    }

    async fn says(stream: &mut TcpStream, word: &[u8; 4]) -> io::Result<[u8; 4]> {
        stream.write_all(word).await?;
        let mut answer = [0; 4];
        stream.read_exact(&mut answer).await?;
        Ok(answer)
    }

    #[tokio::test]
    async fn a_cut_resets_and_a_healed_line_carries_again() {
        let (port, _server) = echo().await;
        let proxy = Proxy::to(port);
        let mut first = TcpStream::connect(proxy.address).await.unwrap();
        assert_eq!(&says(&mut first, b"ping").await.unwrap(), b"ping");
        proxy.cut();
        let error = first.read_u8().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        // Reset while it connects, or after.
        if let Ok(mut second) = TcpStream::connect(proxy.address).await {
            assert!(says(&mut second, b"ping").await.is_err());
        }
        proxy.heal();
        let mut third = TcpStream::connect(proxy.address).await.unwrap();
        assert_eq!(&says(&mut third, b"pong").await.unwrap(), b"pong");
    }

    #[tokio::test]
    async fn held_bytes_arrive_later_and_swallowed_ones_never() {
        let (port, _server) = echo().await;
        let proxy = Proxy::to(port);
        let mut line = TcpStream::connect(proxy.address).await.unwrap();
        assert_eq!(&says(&mut line, b"ping").await.unwrap(), b"ping");
        proxy.set(Weather { up: Flow::Held, ..Weather::FAIR });
        line.write_all(b"held").await.unwrap();
        proxy.heal();
        let mut answer = [0; 4];
        line.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"held");

        proxy.set(Weather::both(Flow::Swallowed));
        line.write_all(b"gone").await.unwrap();
        // Taken by the line before it heals, or the bytes would only have been late.
        let mut late = TcpStream::connect(proxy.address).await.unwrap();
        late.write_all(b"gone").await.unwrap();
        assert!(timeout(Duration::from_millis(200), late.read_u8()).await.is_err(), "it answered");
        proxy.heal();
        assert!(line.read_u8().await.is_err(), "a connection that lost bytes goes on");
        assert!(late.read_u8().await.is_err(), "a connection that lost bytes goes on");
        let mut fresh = TcpStream::connect(proxy.address).await.unwrap();
        assert_eq!(&says(&mut fresh, b"pong").await.unwrap(), b"pong");
    }
}
