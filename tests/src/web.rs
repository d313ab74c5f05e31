//! A web server that behaves as badly as it is told to.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

/// What happens to whoever asks for a path.
#[derive(Debug, Clone)]
pub enum Behaviour {
    /// The whole file, and parts of it on request.
    Ranges(Vec<u8>),
    /// The whole file, whatever part was asked for.
    NoRanges(Vec<u8>),
    Status(u16),
    /// So many bytes of the file, then silence on an open connection.
    Stall(Vec<u8>, usize),
    /// So many bytes of the file, then the connection is closed.
    HangUp(Vec<u8>, usize),
}

/// Listens until it is dropped.
#[derive(Debug)]
pub struct Web {
    address: SocketAddr,
    requests: Arc<AtomicUsize>,
    ranges: Arc<Mutex<Vec<String>>>,
    _accept: JoinSet<()>,
}

impl Web {
    /// Paths with their leading slash.
    pub async fn serve(pages: impl IntoIterator<Item = (&'static str, Behaviour)>) -> Self {
        let pages: BTreeMap<&str, Behaviour> = pages.into_iter().collect();
        let pages = Arc::new(pages);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(AtomicUsize::new(0));
        let ranges = Arc::new(Mutex::new(Vec::new()));
        let mut accept = JoinSet::new();
        let (counter, seen) = (requests.clone(), ranges.clone());
        accept.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (pages, counter, seen) = (pages.clone(), counter.clone(), seen.clone());
                // A client that hangs up early is no fault of the server's.
                connections.spawn(async move {
                    let _ = answer(stream, &pages, &counter, &seen).await;
                });
                while connections.try_join_next().is_some() {}
            }
        });
        Self { address, requests, ranges, _accept: accept }
    }

    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// How often it was asked for anything.
    #[must_use]
    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    /// The `Range` headers that came, in order.
    #[must_use]
    pub fn ranges(&self) -> Vec<String> {
        self.ranges.lock().unwrap().clone()
    }
}

async fn answer(
    mut stream: TcpStream,
    pages: &BTreeMap<&str, Behaviour>,
    requests: &AtomicUsize,
    ranges: &Mutex<Vec<String>>,
) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    requests.fetch_add(1, Ordering::SeqCst);
    let head = String::from_utf8_lossy(&head).into_owned();
    let mut words = head.split_whitespace();
    let body_wanted = words.next() != Some("HEAD");
    let path = words.next().unwrap_or_default();
    let range = head
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("range"))
        .map(|(_, value)| value.trim().to_owned());
    ranges.lock().unwrap().extend(range.clone());
    match pages.get(path).unwrap_or(&Behaviour::Status(404)) {
        Behaviour::Status(status) => {
            let head = format!("HTTP/1.1 {status} No\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            stream.write_all(head.as_bytes()).await
        }
        Behaviour::Ranges(file) => {
            let part = range.and_then(|range| span(&range, file.len()));
            let status = if part.is_some() { "206 Partial Content" } else { "200 OK" };
            let (first, last) = part.unwrap_or((0, file.len() - 1));
            let head = format!(
                "HTTP/1.1 {status}\r\naccept-ranges: bytes\r\ncontent-length: {}\r\n\
                 content-range: bytes {first}-{last}/{}\r\nconnection: close\r\n\r\n",
                last + 1 - first,
                file.len()
            );
            stream.write_all(head.as_bytes()).await?;
            send(&mut stream, &file[first..=last], body_wanted).await
        }
        Behaviour::NoRanges(file) => {
            stream.write_all(head_for(file.len()).as_bytes()).await?;
            send(&mut stream, file, body_wanted).await
        }
        Behaviour::Stall(file, bytes) => {
            stream.write_all(head_for(file.len()).as_bytes()).await?;
            send(&mut stream, &file[..*bytes], body_wanted).await?;
            // Until the client gives up and closes.
            stream.read_u8().await.map(drop)
        }
        Behaviour::HangUp(file, bytes) => {
            stream.write_all(head_for(file.len()).as_bytes()).await?;
            send(&mut stream, &file[..*bytes], body_wanted).await
        }
    }
}

fn head_for(length: usize) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n")
}

async fn send(stream: &mut TcpStream, bytes: &[u8], wanted: bool) -> std::io::Result<()> {
    if wanted {
        stream.write_all(bytes).await?;
    }
    stream.flush().await
}

/// `bytes=first-last` within `length`, inclusive.
fn span(range: &str, length: usize) -> Option<(usize, usize)> {
    let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
    let last = last.parse().unwrap_or(usize::MAX).min(length - 1);
    let first = first.parse().ok()?;
    (first <= last).then_some((first, last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_ranges_end_with_the_file() {
        assert_eq!(span("bytes=5-", 10), Some((5, 9)));
        assert_eq!(span("bytes=0-99", 10), Some((0, 9)));
        assert_eq!(span("bytes=10-", 10), None);
    }
}
