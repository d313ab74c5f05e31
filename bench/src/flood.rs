//! Many submissions at once, by a client that costs next to nothing: with two cores, what the client computes is taken from
//! the coordinator. Requests are made before the clock runs, and of an answer only the status and the length are read.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use anyhow::{Context, Result, bail};
use common::api::JobRequest;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
};

use crate::clock::{milliseconds, monotonic_ns};

/// Head and body of an answer; a job's view is about 2 KiB.
const BUFFER: usize = 64 * 1024;

/// Requests that are ready to be sent.
#[derive(Debug)]
pub(crate) struct Flood {
    address: String,
    requests: Vec<Vec<u8>>,
}

/// How a flood went.
#[derive(Debug)]
pub(crate) struct Flooded {
    /// Just before the first request, CLOCK_MONOTONIC in nanoseconds.
    pub(crate) before_ns: u64,
    /// The last answer was there.
    pub(crate) after_ns: u64,
    /// How long each took.
    pub(crate) milliseconds: Vec<f64>,
}

impl Flood {
    /// Submissions to `path` (`/v1/jobs`, `/v1/run`) of the coordinator at `address` (host:port).
    pub(crate) fn new(path: &str, address: &str, jobs: impl IntoIterator<Item = JobRequest>) -> Result<Self> {
        let requests = jobs.into_iter().map(|job| {
            let body = serde_json::to_vec(&job)?;
            let mut request = format!(
                "POST {path} HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
                body.len()
            )
            .into_bytes();
            request.extend(body);
            Ok(request)
        });
        Ok(Self { address: address.to_owned(), requests: requests.collect::<Result<_>>()? })
    }

    /// Sends all of them over `clients` kept-alive connections, each of which waits for its answer before the next.
    ///
    /// # Errors
    /// An answer is not 201.
    pub(crate) async fn send(self, clients: usize) -> Result<Flooded> {
        let (requests, next) = (Arc::new(self.requests), Arc::new(AtomicUsize::new(0)));
        let mut connections = Vec::with_capacity(clients);
        for _ in 0..clients {
            let stream = TcpStream::connect(&self.address)
                .await
                .with_context(|| format!("connecting to {}", self.address))?;
            stream.set_nodelay(true)?;
            connections.push(stream);
        }
        let before_ns = monotonic_ns();
        let mut running = JoinSet::new();
        for mut stream in connections {
            let (requests, next) = (Arc::clone(&requests), Arc::clone(&next));
            running.spawn(async move {
                let (mut took, mut buffer) = (Vec::new(), vec![0; BUFFER]);
                while let Some(request) = requests.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let before = monotonic_ns();
                    stream.write_all(request).await?;
                    created(&mut stream, &mut buffer).await?;
                    took.push(milliseconds(before, monotonic_ns()));
                }
                anyhow::Ok(took)
            });
        }
        let mut took = Vec::with_capacity(requests.len());
        while let Some(client) = running.join_next().await {
            took.extend(client??);
        }
        Ok(Flooded { before_ns, after_ns: monotonic_ns(), milliseconds: took })
    }
}

/// Reads one answer, which must be 201 and have a length.
async fn created(stream: &mut TcpStream, buffer: &mut [u8]) -> Result<()> {
    let mut filled = 0;
    loop {
        let read = stream.read(&mut buffer[filled..]).await?;
        filled += read;
        let said = || String::from_utf8_lossy(&buffer[..filled.min(500)]).into_owned();
        if read == 0 {
            bail!("the coordinator closed the connection after {:?}", said());
        }
        let Some(length) = length(&buffer[..filled]) else { continue };
        if !buffer.starts_with(b"HTTP/1.1 201 ") {
            bail!("a submission was answered with {:?}", said());
        }
        if filled >= length {
            return Ok(());
        }
    }
}

/// Length of the answer with its head, once the head is there. Without `content-length`, that of the head.
fn length(answer: &[u8]) -> Option<usize> {
    let head = answer.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let body = answer[..head].split(|byte| *byte == b'\n').find_map(|line| {
        let (name, value) = line.split_at(line.iter().position(|byte| *byte == b':')?);
        let value = std::str::from_utf8(&value[1..]).ok()?;
        name.eq_ignore_ascii_case(b"content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    Some(head + body.unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn an_answer_is_as_long_as_its_head_says() {
        assert_eq!(length(b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n"), None);
        assert_eq!(length(b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\n{"), Some(45));
        assert_eq!(length(b"HTTP/1.1 204 No Content\r\n\r\n"), Some(27));
    }

    /// Answers one request on one connection with these bytes, in two pieces.
    async fn answered(answer: &'static [u8]) -> Result<()> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 16];
            stream.read_exact(&mut request).await.unwrap();
            let (first, second) = answer.split_at(answer.len() / 2);
            stream.write_all(first).await.unwrap();
            stream.write_all(second).await.unwrap();
        };
        let client = async {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(&[0; 16]).await.unwrap();
            created(&mut stream, &mut vec![0; BUFFER]).await
        };
        tokio::join!(server, client).1
    }

    #[tokio::test]
    async fn only_201_counts_as_accepted() {
        answered(b"HTTP/1.1 201 Created\r\ncontent-length: 2\r\n\r\n{}").await.unwrap();
        let refused = answered(b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 2\r\n\r\n{}").await;
        assert!(refused.unwrap_err().to_string().contains("503"));
        assert!(answered(b"HTTP/1.1 201 Created\r\ncontent-length: 9\r\n\r\n{}").await.is_err());
    }
}
