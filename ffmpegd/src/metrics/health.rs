//! `ffmpegd health`: asks the worker of this machine whether it is ready, for images that have no other program for that.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

/// For all of it: health checks have little patience.
const PATIENCE: Duration = Duration::from_secs(3);
/// Bytes of an answer.
const MAX_ANSWER: u64 = 8 << 10;

/// Why the worker does not count as ready.
#[derive(Debug, thiserror::Error)]
pub enum Unhealthy {
    #[error("TVARR_METRICS_PORT is not set: the worker has no port to ask")]
    NoPort,
    #[error("the worker does not answer on {address}: {source}")]
    Away { address: SocketAddr, source: io::Error },
    #[error("the worker is not ready: {0}")]
    NotReady(String),
}

/// Asks `/readyz` of the worker that serves there. What it answers, in words.
///
/// # Errors
/// It does not answer, or it is not ready.
pub async fn check(bound: Option<SocketAddr>) -> Result<String, Unhealthy> {
    let address = reachable(bound.ok_or(Unhealthy::NoPort)?);
    let answer =
        timeout(PATIENCE, ask(address)).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
    let answer = answer.map_err(|source| Unhealthy::Away { address, source })?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).unwrap_or_default();
    match status {
        "200" => Ok(body.trim().to_owned()),
        _ => Err(Unhealthy::NotReady(body.trim().to_owned())),
    }
}

/// Who listens everywhere listens on loopback too.
fn reachable(bound: SocketAddr) -> SocketAddr {
    let ip = match bound.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, bound.port())
}

async fn ask(address: SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await?;
    let mut answer = String::new();
    stream.take(MAX_ANSWER).read_to_string(&mut answer).await?;
    Ok(answer)
}
