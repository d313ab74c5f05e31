//! The proxy against servers that misbehave, over real sockets.

mod following;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use common::{failure::FailureKind, reach::Reach};
use prometheus_client::metrics::counter::Counter;
use reqwest::{Client, StatusCode};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::*;

const LIMITS: Limits = Limits {
    connect: Duration::from_secs(2),
    stall: Duration::from_millis(300),
    resumes: 2,
    largest: 1 << 30,
    longest: Duration::from_secs(60),
    slowest: 1,
};

/// A server that answers each connection as `answer` says: it gets the number of the connection and the request.
struct Server {
    url: reqwest::Url,
    connections: Arc<AtomicUsize>,
    stop: CancellationToken,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// What a server does: these bytes, and then hang up or go silent.
struct Script {
    bytes: Vec<u8>,
    silent: bool,
}

fn says(head: &str, body: &[u8]) -> Script {
    let mut bytes = format!("HTTP/1.1 {head}\r\n\r\n").into_bytes();
    bytes.extend_from_slice(body);
    Script { bytes, silent: false }
}

async fn server(answer: impl Fn(usize, &str) -> Script + Send + Sync + 'static) -> Server {
    common::tls::install_provider();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url =
        format!("http://user:secret@{}/clip.mp4?sig=s", listener.local_addr().unwrap()).parse().unwrap();
    let (stop, connections) = (CancellationToken::new(), Arc::new(AtomicUsize::new(0)));
    let (token, count, tasks) = (stop.clone(), Arc::clone(&connections), TaskTracker::new());
    let answer = Arc::new(answer);
    TaskTracker::new().spawn(stop.clone().run_until_cancelled_owned(async move {
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            let number = count.fetch_add(1, Ordering::SeqCst);
            let answer = Arc::clone(&answer);
            tasks.spawn(token.clone().run_until_cancelled_owned(async move {
                serve(socket, |request| answer(number, request)).await;
            }));
        }
    }));
    Server { url, connections, stop }
}

async fn serve(mut socket: TcpStream, answer: impl Fn(&str) -> Script) {
    let mut request = Vec::new();
    while !request.windows(4).any(|four| four == b"\r\n\r\n") {
        let mut buffer = [0; 1024];
        let count = socket.read(&mut buffer).await.unwrap_or(0);
        if count == 0 {
            return;
        }
        request.extend_from_slice(&buffer[..count]);
    }
    let script = answer(&String::from_utf8_lossy(&request).to_ascii_lowercase());
    let _ = socket.write_all(&script.bytes).await;
    if script.silent {
        std::future::pending::<()>().await;
    }
    let _ = socket.shutdown().await;
}

fn range_start(request: &str) -> usize {
    let (_, rest) = request.split_once("range: bytes=").expect("the proxy asks for ranges");
    rest.split('-').next().unwrap().parse().unwrap()
}

/// The part of the film that a request asks for.
fn part(request: &str) -> Script {
    let (film, start) = (film(), range_start(request));
    let head = format!(
        "206 Partial Content\r\nETag: \"1\"\r\nContent-Range: bytes {start}-{}/{}\r\nContent-Length: {}",
        film.len() - 1,
        film.len(),
        film.len() - start
    );
    says(&head, &film[start..])
}

struct Rig {
    proxy: Proxy,
    stop: CancellationToken,
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn rig() -> Rig {
    rig_with(LIMITS, Reach::anywhere()).await
}

async fn rig_with(limits: Limits, reach: Reach) -> Rig {
    common::tls::install_provider();
    let stop = CancellationToken::new();
    let proxy =
        Proxy::start(limits, reach, Counter::default(), &TaskTracker::new(), stop.clone()).await.unwrap();
    Rig { proxy, stop }
}

/// Reads through the proxy: status and body, or that the connection broke.
async fn read(mount: &Mount, range: Option<&str>) -> (StatusCode, Result<Vec<u8>, reqwest::Error>) {
    let mut request = Client::builder().no_proxy().build().unwrap().get(&mount.url);
    if let Some(range) = range {
        request = request.header("range", range);
    }
    let response = request.send().await.unwrap();
    (response.status(), response.bytes().await.map(|bytes| bytes.to_vec()))
}

fn film() -> Vec<u8> {
    (0..300_000_u32).map(|number| (number % 251) as u8).collect()
}

#[tokio::test]
async fn ranges_are_passed_through() {
    let server = server(|_, request| part(request)).await;
    let rig = rig().await;
    let mount = rig.proxy.mount(server.url.clone(), Origin::User, "clip.MP4");
    assert!(mount.url.ends_with("/input.mp4"), "{}", mount.url);
    let (status, body) = read(&mount, Some("bytes=1000-")).await;
    assert_eq!((status, body.unwrap()), (StatusCode::PARTIAL_CONTENT, film()[1000..].to_vec()));
    let (status, body) = read(&mount, None).await;
    assert_eq!((status, body.unwrap().len()), (StatusCode::OK, 300_000));
    let seen = mount.source.observed();
    assert_eq!((seen.ranges, seen.size, seen.failure), (Some(true), Some(300_000), None));
    let url = mount.url.clone();
    drop(mount);
    let gone = Client::builder().no_proxy().build().unwrap().get(url).send().await.unwrap();
    assert_eq!(gone.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn what_was_read_is_not_asked_for_again() {
    let server = server(|_, request| part(request)).await;
    let rig = rig().await;
    let mount = rig.proxy.mount(server.url.clone(), Origin::User, "clip.mp4");
    assert_eq!(read(&mount, Some("bytes=100000-")).await.1.unwrap(), film()[100_000..]);
    assert_eq!(server.connections.load(Ordering::SeqCst), 1);
    for (range, part) in [("bytes=100000-", 100_000..300_000), ("bytes=150000-150999", 150_000..151_000)] {
        let (status, body) = read(&mount, Some(range)).await;
        assert_eq!((status, body.unwrap()), (StatusCode::PARTIAL_CONTENT, film()[part].to_vec()));
    }
    assert_eq!(server.connections.load(Ordering::SeqCst), 1);
    // What comes before was not read yet.
    assert_eq!(read(&mount, Some("bytes=99000-")).await.1.unwrap(), film()[99_000..]);
    assert_eq!(server.connections.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn what_was_held_is_never_joined_to_another_version() {
    let server = server(|number, request| {
        let film = film();
        if number == 0 {
            let head = format!(
                "206 Partial Content\r\nETag: \"1\"\r\nContent-Range: bytes 0-99999/{}\r\nContent-Length: 100000",
                film.len()
            );
            return says(&head, &film[..100_000]);
        }
        assert!(request.contains("if-range: \"1\""), "{request}");
        let head = format!("200 OK\r\nETag: \"2\"\r\nContent-Length: {}", film.len());
        says(&head, &film)
    })
    .await;
    let rig = rig().await;
    let mount = rig.proxy.mount(server.url.clone(), Origin::User, "clip.mp4");
    assert_eq!(read(&mount, Some("bytes=0-99999")).await.1.unwrap(), film()[..100_000]);
    assert!(read(&mount, Some("bytes=0-")).await.1.is_err());
    let failure = mount.source.observed().failure.unwrap();
    assert!(matches!(&failure, SourceFailure::Nonsense(why) if why.contains("changed")), "{failure:?}");
}

#[tokio::test]
async fn a_read_that_breaks_goes_on_where_it_broke() {
    let server = server(|number, request| {
        let (film, start) = (film(), range_start(request));
        let end = if number < 2 { start + 100_000 } else { film.len() };
        let head = format!(
            "206 Partial Content\r\nContent-Range: bytes {start}-{}/{}\r\nContent-Length: {}",
            film.len() - 1,
            film.len(),
            film.len() - start
        );
        says(&head, &film[start..end])
    })
    .await;
    let rig = rig().await;
    let mount = rig.proxy.mount(server.url.clone(), Origin::User, "clip.mp4");
    let (_, body) = read(&mount, Some("bytes=0-")).await;
    assert_eq!(body.unwrap(), film());
    assert_eq!(server.connections.load(Ordering::SeqCst), 3);
    assert_eq!(mount.source.observed().failure, None);
}

#[tokio::test]
async fn a_server_that_always_hangs_up_is_given_up() {
    let server = server(|_, request| {
        let start = range_start(request);
        let head = format!(
            "206 Partial Content\r\nContent-Range: bytes {start}-999/1000\r\nContent-Length: {}",
            1000 - start
        );
        says(&head, if start == 0 { b"ten bytes!" } else { b"" })
    })
    .await;
    let rig = rig().await;
    let mount = rig.proxy.mount(server.url.clone(), Origin::User, "clip.mp4");
    assert!(read(&mount, Some("bytes=0-")).await.1.is_err());
    let failure = mount.source.observed().failure.unwrap();
    assert_eq!(failure, SourceFailure::HungUp { at: 10, of: Some(1000) });
    let failure = failure.failure(&mount.source.shown, Origin::User);
    assert_eq!(failure.kind, FailureKind::SourceUnreachable);
    assert!(!failure.message.contains("secret") && !failure.message.contains("sig="), "{failure}");
}

#[tokio::test]
async fn a_server_that_stalls_is_given_up() {
    for silent_from_the_start in [true, false] {
        let server = server(move |_, request| {
            if silent_from_the_start {
                return Script { bytes: Vec::new(), silent: true };
            }
            let start = range_start(request);
            let head = format!(
                "206 Partial Content\r\nContent-Range: bytes {start}-999/1000\r\nContent-Length: {}",
                1000 - start
            );
            Script { silent: true, ..says(&head, if start == 0 { b"start" } else { b"" }) }
        })
        .await;
        let rig = rig().await;
        let mount = rig.proxy.mount(server.url.clone(), Origin::User, "clip.mp4");
        let (status, body) = read(&mount, Some("bytes=0-")).await;
        assert!(status == StatusCode::GATEWAY_TIMEOUT || body.is_err(), "{status}");
        let failure = mount.source.observed().failure;
        assert!(matches!(failure, Some(SourceFailure::Stalled { .. })), "{failure:?}");
    }
}

#[tokio::test]
async fn what_does_not_exist_is_asked_for_once() {
    let server = server(|_, _| says("404 Not Found\r\nContent-Length: 0", b"")).await;
    let rig = rig().await;
    let mount = rig.proxy.mount(server.url.clone(), Origin::User, "clip.mp4");
    assert_eq!(read(&mount, Some("bytes=0-")).await.0, StatusCode::NOT_FOUND);
    assert_eq!(mount.source.observed().failure, Some(SourceFailure::Status(404)));
    assert_eq!(server.connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_server_without_ranges_is_read_from_the_start_only() {
    let server = server(|_, _| says("200 OK\r\nContent-Length: 5", b"hello")).await;
    let rig = rig().await;
    let mount = rig.proxy.mount(server.url.clone(), Origin::User, "clip.mp4");
    let response = Client::builder()
        .no_proxy()
        .build()
        .unwrap()
        .get(&mount.url)
        .header("range", "bytes=0-")
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()["accept-ranges"], "none");
    assert_eq!(response.bytes().await.unwrap(), "hello");
    assert_eq!(read(&mount, Some("bytes=2-")).await.0, StatusCode::RANGE_NOT_SATISFIABLE);
    assert_eq!(mount.source.observed().ranges, Some(false));
}

#[tokio::test]
async fn an_empty_file_is_known_to_be_empty() {
    for head in [
        "200 OK\r\nContent-Length: 0",
        "416 Range Not Satisfiable\r\nContent-Range: bytes */0\r\nContent-Length: 0",
    ] {
        let server = server(move |_, _| says(head, b"")).await;
        let rig = rig().await;
        let mount = rig.proxy.mount(server.url.clone(), Origin::User, "clip.mp4");
        let (status, body) = read(&mount, Some("bytes=0-")).await;
        assert_eq!((status, body.unwrap().len()), (StatusCode::OK, 0), "{head}");
        assert_eq!(mount.source.observed().size, Some(0), "{head}");
    }
}

#[tokio::test]
async fn redirects_end_and_lead_to_http_only() {
    let to_file =
        server(|_, _| says("302 Found\r\nLocation: file:///etc/passwd\r\nContent-Length: 0", b"")).await;
    let in_circles = server(|_, _| says("302 Found\r\nLocation: /clip.mp4\r\nContent-Length: 0", b"")).await;
    let rig = rig().await;
    for server in [&to_file, &in_circles] {
        let mount = rig.proxy.mount(server.url.clone(), Origin::User, "clip.mp4");
        assert_eq!(read(&mount, None).await.0, StatusCode::BAD_GATEWAY);
        let failure = mount.source.observed().failure.unwrap();
        assert!(matches!(failure, SourceFailure::Redirect(_)), "{failure:?}");
    }
}

#[tokio::test]
async fn nobody_there_is_said_in_words() {
    let server = server(|_, _| says("200 OK", b"")).await;
    let url = server.url.clone();
    drop(server);
    // The port is free again once the listener's task has ended.
    let rig = rig().await;
    let mount = rig.proxy.mount(url, Origin::User, "clip.mp4");
    for _ in 0..50 {
        let (status, _) = read(&mount, None).await;
        if status == StatusCode::BAD_GATEWAY {
            break;
        }
    }
    let failure = mount.source.observed().failure.unwrap().failure("http://h/clip.mp4", Origin::User);
    assert_eq!(failure.kind, FailureKind::SourceUnreachable);
    assert!(failure.message.contains("refused"), "{failure}");
}

/// Why a user's source was refused, and how many connections its server saw.
async fn refused(server: &Server, url: &str, reach: Reach) -> (Option<SourceFailure>, usize) {
    let rig = rig_with(LIMITS, reach).await;
    let mount = rig.proxy.mount(url.parse().unwrap(), Origin::User, "clip.mp4");
    let _ = read(&mount, None).await;
    (mount.source.observed().failure, server.connections.load(Ordering::SeqCst))
}

#[tokio::test]
async fn an_address_out_of_reach_is_not_connected_to() {
    let server = server(|_, _| says("200 OK\r\ncontent-length: 6", b"secret")).await;
    let port = server.url.port().unwrap();
    // The address itself, and names that stand for it: they are resolved by the system.
    for host in ["127.0.0.1", "[::ffff:127.0.0.1]", "localhost", "127.1"] {
        let url = format!("http://{host}:{port}/x");
        let (failure, connections) = refused(&server, &url, Reach::default()).await;
        let Some(SourceFailure::Refused(reason)) = failure else { panic!("{url}: {failure:?}") };
        assert!(reason.contains("loopback") && reason.contains("TVARR_SOURCE_ALLOW"), "{reason}");
        assert_eq!(connections, 0, "{url}");
    }
    let url = format!("http://localhost:{port}/x");
    let (failure, connections) = refused(&server, &url, "127.0.0.0/8".parse().unwrap()).await;
    assert_eq!((failure, connections), (None, 1), "an allowed address is read");
}

#[tokio::test]
async fn a_redirect_out_of_reach_is_not_followed() {
    for host in ["[::1]", "169.254.169.254", "10.0.0.1", "0x0a000001"] {
        let location = format!("302 Found\r\nlocation: http://{host}/latest/meta-data/\r\ncontent-length: 0");
        let server = server(move |_, _| says(&location, b"")).await;
        let url = server.url.to_string();
        let (failure, connections) = refused(&server, &url, "127.0.0.0/8".parse().unwrap()).await;
        let Some(SourceFailure::Redirect(reason)) = failure else { panic!("{host}: {failure:?}") };
        assert!(reason.contains("TVARR_SOURCE_ALLOW"), "{reason}");
        assert_eq!(connections, 1, "{host}: it is not asked again");
    }
}

#[tokio::test]
async fn an_input_that_is_too_large_is_refused_whether_it_says_so_or_not() {
    const MOST: Limits = Limits { largest: 1000, ..LIMITS };
    let too_large = Some(SourceFailure::TooLarge { most: 1000 });
    let said = server(|_, _| says("200 OK\r\ncontent-length: 1001", &[7; 1001])).await;
    let unsaid = server(|_, _| says("200 OK\r\nconnection: close", &[7; 5000])).await;
    let fits = server(|_, _| says("200 OK\r\nconnection: close", &[7; 1000])).await;
    let rig = rig_with(MOST, Reach::anywhere()).await;
    for (server, expected) in [(&said, &too_large), (&unsaid, &too_large), (&fits, &None)] {
        let mount = rig.proxy.mount(server.url.clone(), Origin::User, "clip.mp4");
        // The connection may be cut before anything of the answer is sent.
        let answer = Client::builder().no_proxy().build().unwrap().get(&mount.url).send().await;
        let body = match answer.and_then(reqwest::Response::error_for_status) {
            Ok(answer) => answer.bytes().await.ok(),
            Err(_) => None,
        };
        assert_eq!(&mount.source.observed().failure, expected);
        assert_eq!(body.is_some_and(|body| body.len() == 1000), expected.is_none());
        assert_eq!(server.connections.load(Ordering::SeqCst), 1, "it is not asked again");
    }
}

/// A coordinator that sends on to `store` whoever follows, and gives the film to everybody else.
async fn coordinator(store: reqwest::Url) -> Server {
    server(move |_, request| {
        if !request.contains("x-tvarr-direct: 1") {
            return part(request);
        }
        let head = "307 Temporary Redirect\r\nContent-Length: 0\r\nCache-Control: private, max-age=900";
        says(&format!("{head}\r\nLocation: {store}"), b"")
    })
    .await
}

#[tokio::test]
async fn the_coordinators_store_is_read_itself_until_its_url_expires() {
    // The third request meets an expired URL.
    let store = server(|number, request| match number {
        2 => says("403 Forbidden\r\nContent-Length: 0", b""),
        _ => part(request),
    })
    .await;
    let coordinator = coordinator(store.url.clone()).await;
    // Loopback is out of a user's reach, and not of the coordinator's.
    let rig = rig_with(LIMITS, Reach::default()).await;
    let mount = rig.proxy.mount(coordinator.url.clone(), Origin::Coordinator, "clip.mp4");
    // From earlier each time: what was read is not asked for again.
    for (start, asked, read_there) in [(3000, 1, 1), (2000, 1, 2), (1000, 2, 4)] {
        let (status, body) = read(&mount, Some(&format!("bytes={start}-"))).await;
        assert_eq!((status, body.unwrap()), (StatusCode::PARTIAL_CONTENT, film()[start..].to_vec()));
        let seen = |server: &Server| server.connections.load(Ordering::SeqCst);
        assert_eq!((seen(&coordinator), seen(&store)), (asked, read_there));
    }
}

#[tokio::test]
async fn a_store_out_of_reach_is_read_through_the_coordinator() {
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let coordinator = coordinator(format!("http://{nobody}/x").parse().unwrap()).await;
    let rig = rig().await;
    let mount = rig.proxy.mount(coordinator.url.clone(), Origin::Coordinator, "clip.mp4");
    for (start, asked) in [(1000, 2), (0, 3)] {
        let (_, body) = read(&mount, Some(&format!("bytes={start}-"))).await;
        assert!(body.unwrap() == film()[start..]);
        assert_eq!(coordinator.connections.load(Ordering::SeqCst), asked);
    }
}

#[tokio::test]
async fn users_servers_do_not_send_a_worker_on_to_anywhere() {
    let inside = server(|_, request| part(request)).await;
    let outside = coordinator(inside.url.clone()).await;
    let rig = rig().await;
    let mount = rig.proxy.mount(outside.url.clone(), Origin::User, "clip.mp4");
    // It does not say that it follows.
    assert!(read(&mount, Some("bytes=0-")).await.1.unwrap() == film());
    assert_eq!(inside.connections.load(Ordering::SeqCst), 0);
}
