//! A headless Chromium that plays a stream, with hls.js or by itself, and tells how it goes.
//!
//! The page comes from a server of the test's own, so that what it plays comes from another origin.

use std::{
    net::Ipv4Addr,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::header,
    response::{Html, IntoResponse},
    routing::{get, post},
};
use reqwest::Url;
use rustix::process::{Pid, Signal};
use serde::Deserialize;
use tempfile::TempDir;
use tokio::task::AbortHandle;

use super::runtime;
use crate::{
    binaries,
    wait::{self, seconds},
};

const PAGE: &str = include_str!("page/player.html");
/// A browser takes its time to start on a busy machine.
const SOON: Duration = seconds(60);

/// How it plays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    HlsJs,
    /// With parts.
    HlsJsLowLatency,
    /// As the source of a video element.
    Itself,
}

/// What the page said at one moment.
#[derive(Debug, Clone, Deserialize)]
pub struct Report {
    #[serde(skip)]
    pub at: Option<Instant>,
    /// Seconds.
    pub time: f64,
    pub ready: u8,
    /// Pieces of media that do not touch.
    pub ranges: u32,
    pub ahead: f64,
    pub frames: u64,
    pub dropped: u64,
    pub width: u32,
    /// The number in the picture.
    pub picture: Option<u32>,
    /// How often it ran out of media.
    pub waits: u32,
    pub errors: Vec<String>,
    /// What the browser says of HLS: empty, `maybe`, `probably`.
    pub offered: String,
}

type Reports = Arc<Mutex<Vec<Report>>>;

/// Plays until it is dropped.
#[derive(Debug)]
pub struct Browser {
    child: Child,
    reports: Reports,
    server: AbortHandle,
    _profile: TempDir,
}

impl Drop for Browser {
    fn drop(&mut self) {
        let group = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        let _ = rustix::process::kill_process_group(group, Signal::KILL);
        let _ = self.child.wait();
        self.server.abort();
    }
}

impl Browser {
    /// Opens the page.
    ///
    /// # Panics
    /// There is no Chromium, or no hls.js.
    pub async fn play(url: &str, by: By) -> Self {
        let script = binaries::root().join(".tools/hls.min.js");
        let script = std::fs::read(&script)
            .unwrap_or_else(|_| panic!("{} is not there: run make footage", script.display()));
        let reports = Reports::default();
        let state = Arc::clone(&reports);
        let (told, address) = tokio::sync::oneshot::channel();
        let server = runtime().spawn(async move {
            let script = Bytes::from(script);
            let routes = Router::new()
                .route("/", get(|| async { Html(PAGE) }))
                .route(
                    "/hls.min.js",
                    get(|| async { ([(header::CONTENT_TYPE, "text/javascript")], script).into_response() }),
                )
                .route("/report", post(report))
                .with_state(state);
            let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
            let _ = told.send(listener.local_addr().unwrap());
            axum::serve(listener, routes).await.unwrap();
        });
        let mut page = Url::parse(&format!("http://{}/", address.await.unwrap())).unwrap();
        page.query_pairs_mut().append_pair("url", url);
        match by {
            By::HlsJs => {}
            By::HlsJsLowLatency => drop(page.query_pairs_mut().append_pair("low", "1")),
            By::Itself => drop(page.query_pairs_mut().append_pair("native", "1")),
        }
        let profile = tempfile::tempdir().unwrap();
        let child = chromium(profile.path()).arg(page.as_str()).spawn().unwrap();
        Self { child, reports, server: server.abort_handle(), _profile: profile }
    }

    fn last(&self) -> Option<Report> {
        self.reports.lock().unwrap_or_else(PoisonError::into_inner).last().cloned()
    }

    /// Waits for a report that is as it is wanted.
    ///
    /// # Panics
    /// None came.
    pub async fn shows(&self, what: &str, wanted: impl Fn(&Report) -> bool) -> Report {
        let report = wait::try_until(SOON, || async { self.last().filter(|report| wanted(report)) }).await;
        report
            .unwrap_or_else(|| panic!("the browser does not show {what}; its last words: {:?}", self.last()))
    }

    /// Waits until it has played so many seconds more.
    pub async fn plays(&self, seconds: f64) -> Report {
        let from = self.shows("a picture", |report| report.frames > 0).await.time;
        self.shows(&format!("{seconds} s more"), |report| report.time >= from + seconds).await
    }

    /// Everything it said.
    #[must_use]
    pub fn reports(&self) -> Vec<Report> {
        self.reports.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The longest time without any progress, from `since` on.
    #[must_use]
    pub fn longest_stall_since(&self, since: Instant) -> Duration {
        let reports = self.reports();
        let after: Vec<_> = reports
            .iter()
            .filter_map(|report| Some((report.at?, report.time)))
            .filter(|(at, _)| *at >= since)
            .collect();
        let (mut longest, mut moved) = (Duration::ZERO, None);
        for (at, time) in after {
            match moved {
                Some((since, last)) if time <= last => longest = longest.max(at - since),
                _ => moved = Some((at, time)),
            }
        }
        longest
    }
}

async fn report(State(reports): State<Reports>, body: Bytes) {
    let mut report: Report = serde_json::from_slice(&body).unwrap();
    report.at = Some(Instant::now());
    reports.lock().unwrap_or_else(PoisonError::into_inner).push(report);
}

/// Debian's, without a screen, without sandbox (tests may run as root), without waiting for a finger, without sound.
fn chromium(profile: &std::path::Path) -> Command {
    use std::os::unix::process::CommandExt;
    let mut command = Command::new(binaries::system("setpriv"));
    command
        .args(["--pdeathsig", "KILL", "--"])
        .arg(binaries::system("chromium"))
        .args(["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--mute-audio"])
        .args([
            "--autoplay-policy=no-user-gesture-required",
            "--no-first-run",
            "--disable-background-networking",
        ])
        .args(["--disable-component-update", "--disable-sync", "--no-proxy-server"])
        .arg(format!("--user-data-dir={}", profile.display()))
        .env("HOME", profile)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0);
    command
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::live::{Recording, recording::Reel};

    /// HLS as ffmpeg writes it, from a server that allows every origin.
    async fn vod(reel: &Reel, folder: &std::path::Path) -> String {
        let source = folder.join("source.ts");
        std::fs::write(&source, &reel.bytes).unwrap();
        let made = Command::new(binaries::system("ffmpeg"))
            .args(["-nostdin", "-v", "error", "-i"])
            .arg(&source)
            .args(["-c", "copy", "-f", "hls", "-hls_time", "2", "-hls_list_size", "0"])
            .arg(folder.join("index.m3u8"))
            .status()
            .unwrap();
        assert!(made.success());
        let folder = folder.to_owned();
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let file = move |axum::extract::Path(name): axum::extract::Path<String>| async move {
            let kind = if name.ends_with("m3u8") { "application/vnd.apple.mpegurl" } else { "video/mp2t" };
            let head = [(header::CONTENT_TYPE, kind), (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*")];
            (head, std::fs::read(folder.join(name)).unwrap())
        };
        let routes = Router::new().route("/{name}", get(file));
        runtime().spawn(async move { axum::serve(listener, routes).await.unwrap() });
        format!("http://{address}/index.m3u8")
    }

    #[tokio::test]
    async fn the_browser_plays_what_ffmpeg_wrote_and_reads_the_numbers_in_the_pictures() {
        let folder = tempfile::tempdir().unwrap();
        let url = vod(&Recording::default().load(), folder.path()).await;
        for by in [By::HlsJs, By::Itself] {
            let browser = Browser::play(&url, by).await;
            let report = browser.plays(2.0).await;
            eprintln!("{by:?}: {report:?}");
            assert_eq!(report.errors, Vec::<String>::new(), "{by:?}");
            let numbers: Vec<u32> = browser.reports().iter().filter_map(|report| report.picture).collect();
            assert!(numbers.len() > 5 && numbers.is_sorted(), "{by:?}: {numbers:?}");
            assert_eq!(report.width, 640);
        }
    }
}
