//! Players of HLS: they read the playlist as players do, fetch each segment once, and keep both.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use reqwest::{StatusCode, Url};
use tokio::{task::AbortHandle, time::sleep};

use super::{
    playlist::{Part, Playlist, Segment},
    runtime,
};
use crate::wait;

const SOON: Duration = Duration::from_secs(40);
/// While there is no new segment.
const AGAIN: Duration = Duration::from_millis(200);

/// A segment as it was fetched.
#[derive(Debug, Clone)]
pub struct Fetched {
    pub segment: Segment,
    pub bytes: Vec<u8>,
    /// When the playlist first had it.
    pub at: Instant,
}

#[derive(Debug, Default)]
struct State {
    playlists: Vec<(Instant, Playlist)>,
    segments: Vec<Fetched>,
    /// Bytes by their address.
    inits: BTreeMap<String, Vec<u8>>,
    parts: Vec<(Instant, Part, Vec<u8>)>,
    faults: Vec<String>,
    ended: bool,
}

/// Plays until it is stopped or dropped.
#[derive(Debug)]
pub struct HlsPlayer {
    url: String,
    state: Arc<Mutex<State>>,
    task: AbortHandle,
}

impl Drop for HlsPlayer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl HlsPlayer {
    /// Plays a media playlist, by parts and blocking reload where the playlist has them.
    #[must_use]
    pub fn play(url: &str) -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        let task = runtime().spawn(play(url.to_owned(), Arc::clone(&state))).abort_handle();
        Self { url: url.to_owned(), state, task }
    }

    /// Waits until so many more segments have come.
    ///
    /// # Panics
    /// They did not.
    pub async fn fetches(&self, segments: usize) {
        let wanted = lock(&self.state).segments.len() + segments;
        let come =
            wait::try_until(SOON, || async { (lock(&self.state).segments.len() >= wanted).then_some(()) })
                .await;
        let state = lock(&self.state);
        assert!(
            come.is_some(),
            "{}: {} segments of {wanted}; {:?}",
            self.url,
            state.segments.len(),
            state.faults
        );
    }

    /// Waits for the end of the list.
    pub async fn ends(&self) {
        wait::until(SOON, &format!("the end of {}", self.url), || async {
            lock(&self.state).ended.then_some(())
        })
        .await;
    }

    /// Stops, and gives what was fetched.
    #[must_use]
    pub fn stop(self) -> Played {
        self.task.abort();
        let state = std::mem::take(&mut *lock(&self.state));
        Played {
            playlists: state.playlists,
            segments: state.segments,
            inits: state.inits,
            parts: state.parts,
            faults: state.faults,
        }
    }
}

async fn play(url: String, state: Arc<Mutex<State>>) {
    let client = super::client();
    let base = Url::parse(&url).unwrap();
    let mut last: Option<Playlist> = None;
    loop {
        let mut address = base.clone();
        if let Some(last) = last.as_ref().filter(|last| last.blocks) {
            address.query_pairs_mut().append_pair("_HLS_msn", &last.next_sequence().to_string());
            if last.part_target.is_some() {
                address.query_pairs_mut().append_pair("_HLS_part", &last.parts.len().to_string());
            }
        }
        let playlist = match playlist(client, &address).await {
            Ok(playlist) => playlist,
            Err(fault) => {
                lock(&state).faults.push(format!("{address}: {fault}"));
                sleep(AGAIN).await;
                continue;
            }
        };
        let now = Instant::now();
        {
            let mut state = lock(&state);
            state.faults.extend(playlist.faults());
            if let Some(last) = &last {
                state.faults.extend(playlist.faults_after(last));
                if playlist.blocks && *last == playlist && !playlist.ended {
                    state.faults.push(format!("{address} was answered with nothing new"));
                }
            }
            state.playlists.push((now, playlist.clone()));
        }
        let from = lock(&state).segments.last().map(|fetched| fetched.segment.sequence + 1);
        // A player begins three target durations before the end.
        let begin = from.unwrap_or_else(|| playlist.next_sequence().saturating_sub(3).max(playlist.sequence));
        if playlist.sequence > begin && !playlist.segments.is_empty() {
            lock(&state).faults.push(format!("segment {begin} was gone before it was fetched"));
        }
        let new: Vec<Segment> =
            playlist.segments.iter().filter(|segment| segment.sequence >= begin).cloned().collect();
        let waits = new.is_empty() && !playlist.blocks;
        for segment in new {
            if let Err(fault) = fetch(client, &base, &segment, now, &state).await {
                lock(&state).faults.push(format!("{}: {fault}", segment.uri));
            }
        }
        for part in playlist.parts.iter().chain(playlist.segments.iter().flat_map(|segment| &segment.parts)) {
            if lock(&state).parts.iter().any(|(_, known, _)| known.uri == part.uri) {
                continue;
            }
            match get(client, &base.join(&part.uri).unwrap()).await {
                Ok((bytes, _)) => lock(&state).parts.push((now, part.clone(), bytes)),
                Err(fault) => lock(&state).faults.push(format!("{}: {fault}", part.uri)),
            }
        }
        if playlist.ended {
            lock(&state).ended = true;
            return;
        }
        last = Some(playlist);
        if waits {
            sleep(AGAIN).await;
        }
    }
}

async fn get(client: &reqwest::Client, url: &Url) -> Result<(Vec<u8>, String), String> {
    let response = client.get(url.clone()).send().await.map_err(|error| format!("{error:?}"))?;
    let status = response.status();
    let kind =
        response.headers().get("content-type").and_then(|kind| kind.to_str().ok()).unwrap_or("").to_owned();
    let bytes = response.bytes().await.map_err(|error| format!("{error:?}"))?.to_vec();
    if status != StatusCode::OK {
        return Err(format!("{status}: {}", String::from_utf8_lossy(&bytes)));
    }
    Ok((bytes, kind))
}

async fn playlist(client: &reqwest::Client, url: &Url) -> Result<Playlist, String> {
    let (bytes, kind) = get(client, url).await?;
    if kind != "application/vnd.apple.mpegurl" {
        return Err(format!("a playlist of type {kind:?}"));
    }
    Playlist::parse(&String::from_utf8_lossy(&bytes))
}

async fn fetch(
    client: &reqwest::Client,
    base: &Url,
    segment: &Segment,
    at: Instant,
    state: &Mutex<State>,
) -> Result<(), String> {
    if let Some(init) = &segment.init
        && !lock(state).inits.contains_key(init)
    {
        let (bytes, kind) = get(client, &base.join(init).unwrap()).await?;
        if kind != "video/mp4" && kind != "audio/mp4" {
            lock(state).faults.push(format!("{init} is of type {kind:?}"));
        }
        lock(state).inits.insert(init.clone(), bytes);
    }
    let (bytes, kind) = get(client, &base.join(&segment.uri).unwrap()).await?;
    let known = if segment.init.is_some() {
        &["video/mp4", "audio/mp4", "video/iso.segment"][..]
    } else {
        &["video/mp2t"]
    };
    if !known.contains(&kind.as_str()) {
        lock(state).faults.push(format!("{} is of type {kind:?}", segment.uri));
    }
    lock(state).segments.push(Fetched { segment: segment.clone(), bytes, at });
    Ok(())
}

/// What a player of HLS got.
#[derive(Debug, Clone)]
pub struct Played {
    pub playlists: Vec<(Instant, Playlist)>,
    pub segments: Vec<Fetched>,
    pub inits: BTreeMap<String, Vec<u8>>,
    pub parts: Vec<(Instant, Part, Vec<u8>)>,
    pub faults: Vec<String>,
}

impl Played {
    /// # Panics
    /// A playlist broke a rule, or something was not to be had.
    pub fn assert_proper(&self) {
        assert!(self.faults.is_empty(), "{}", self.faults.join("\n"));
        for pair in self.segments.windows(2) {
            assert_eq!(pair[0].segment.sequence + 1, pair[1].segment.sequence);
        }
    }

    /// How late the latest segment was for somebody who began to play when the first was there and, as players do, plays
    /// three segments behind.
    #[must_use]
    pub fn latest(&self) -> Duration {
        let Some(first) = self.segments.first() else { return Duration::ZERO };
        let mut due = first.at + Duration::from_secs_f64(3.0 * first.segment.duration);
        let mut latest = Duration::ZERO;
        for fetched in &self.segments {
            latest = latest.max(fetched.at.saturating_duration_since(due));
            due += Duration::from_secs_f64(fetched.segment.duration);
        }
        latest
    }

    #[must_use]
    pub fn discontinuities(&self) -> usize {
        self.segments.iter().skip(1).filter(|fetched| fetched.segment.discontinuity).count()
    }

    /// The segments one after the other, with the init segments where they are named.
    ///
    /// # Panics
    /// The file cannot be written.
    #[must_use]
    pub fn save(&self, folder: &Path) -> PathBuf {
        let mut bytes = Vec::new();
        let mut init = None;
        for fetched in &self.segments {
            if fetched.segment.init != init {
                init.clone_from(&fetched.segment.init);
                bytes.extend(init.as_ref().map(|init| &self.inits[init][..]).unwrap_or_default());
            }
            bytes.extend(&fetched.bytes);
        }
        let path = folder.join(if init.is_some() { "played.mp4" } else { "played.ts" });
        fs::write(&path, bytes).unwrap();
        path
    }

    /// Every segment begins with a key frame and can be decoded by itself: those that cannot.
    #[must_use]
    pub fn dependent(&self, folder: &Path) -> Vec<String> {
        let mut found = Vec::new();
        for fetched in &self.segments {
            let one = Self { segments: vec![fetched.clone()], ..self.clone() };
            let decoded = super::Decoded::of(&one.save(folder));
            if !decoded.complaints.is_empty() {
                found.push(format!("{}: {}", fetched.segment.uri, decoded.complaints));
            }
        }
        found
    }
}
