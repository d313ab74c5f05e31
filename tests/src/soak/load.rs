//! A steady stream of jobs: a mix of presets over small clips, by upload and by URL.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use common::{api::InputRef, id::UploadId};
use rand::{RngExt, SeedableRng, rngs::StdRng, seq::IndexedRandom};
use reqwest::StatusCode;
use tokio::{task::JoinSet, time::sleep};

use super::{
    Ledger, Plan, SLOTS, Wanted,
    client::{Client, Trouble, request},
};
use crate::{
    clip,
    web::{Behaviour, Web},
};

/// Clip, preset and how many of a hundred jobs are such.
const MIX: [(&str, &str, u32); 12] = [
    ("bikes-2s.mp4", "proxy", 24),
    ("bikes-2s.mp4", "thumbnails", 8),
    ("bikes-2s.mp4", "h264", 12),
    ("bikes.mp4", "proxy", 12),
    ("bikes.mp4", "h264", 8),
    ("bigbuckbunny-2s.mp4", "proxy", 10),
    ("bigbuckbunny-2s.mp4", "convert-to-hls", 6),
    ("bigbuckbunny-2s.mp4", "audio-only", 6),
    ("ocean-2s.mp4", "social-square", 4),
    ("ocean-2s.mp4", "archive-prores", 2),
    ("bikes-2min.mp4", "proxy", 4),
    // Can be done by nobody.
    (BROKEN, "proxy", 4),
];
pub(super) const BROKEN: &str = "no-moov.mp4";
/// A client that was refused or not answered tries again after this.
const AGAIN: Duration = Duration::from_millis(400);
/// Between two looks at a job.
const LOOK: Duration = Duration::from_millis(500);
/// Jobs that one upload is the input of, on average.
const JOBS_PER_UPLOAD: u32 = 6;

/// Clients that submit, wait for the end, and submit again.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    clients: JoinSet<()>,
    _web: Web,
}

struct Customer {
    client: Client,
    ledger: Arc<Ledger>,
    stop: Arc<AtomicBool>,
    rng: StdRng,
    urls: Arc<BTreeMap<&'static str, String>>,
    uploads: BTreeMap<&'static str, UploadId>,
}

impl Load {
    pub(crate) async fn start(client: Client, ledger: Arc<Ledger>, plan: Plan, rng: &mut StdRng) -> Self {
        let clips: BTreeMap<&'static str, Vec<u8>> =
            MIX.iter().map(|(name, ..)| (*name, std::fs::read(clip(name)).unwrap())).collect();
        let pages: Vec<(&'static str, Behaviour)> = clips
            .into_iter()
            .map(|(name, bytes)| (&*format!("/{name}").leak(), Behaviour::Ranges(bytes)))
            .collect();
        let paths: Vec<&'static str> = pages.iter().map(|(path, _)| *path).collect();
        let web = Web::serve(pages).await;
        let urls: BTreeMap<_, _> = paths.into_iter().map(|path| (&path[1..], web.url(path))).collect();
        let urls = Arc::new(urls);
        let stop = Arc::new(AtomicBool::new(false));
        let mut clients = JoinSet::new();
        for _ in 0..plan.workers * SLOTS as usize * 2 {
            let mut customer = Customer {
                client: client.clone(),
                ledger: Arc::clone(&ledger),
                stop: Arc::clone(&stop),
                rng: StdRng::seed_from_u64(rng.random()),
                urls: Arc::clone(&urls),
                uploads: BTreeMap::new(),
            };
            clients.spawn(async move {
                while !customer.stopped() {
                    customer.one_job().await;
                }
            });
        }
        Self { stop, clients, _web: web }
    }

    /// Submits no more. Inputs by URL stay there.
    pub(crate) async fn stop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        while self.clients.join_next().await.is_some() {}
    }
}

impl Customer {
    fn stopped(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    async fn one_job(&mut self) {
        let (clip, preset, _) = *MIX.choose_weighted(&mut self.rng, |(.., weight)| *weight).unwrap();
        let Some(input) = self.input(clip).await else { return };
        let wanted = request(input, preset);
        let job = loop {
            match self.client.submit(&wanted).await {
                Ok(view) => {
                    let wanted = Wanted { clip, preset };
                    self.ledger.accepted.lock().unwrap().insert(view.summary.id, wanted);
                    break view.summary.id;
                }
                Err(Trouble::Silence) => {}
                Err(Trouble::Refused(
                    StatusCode::SERVICE_UNAVAILABLE | StatusCode::INSUFFICIENT_STORAGE,
                    _,
                )) => {
                    self.ledger.count("submits refused with 503 or 507");
                }
                Err(Trouble::Refused(status, problem)) => {
                    self.ledger.wrong(format!("{clip} with {preset} was refused: {status} {problem}"));
                    return;
                }
            }
            if self.stopped() {
                return;
            }
            sleep(AGAIN).await;
        };
        while !self.stopped() {
            if let Ok(view) = self.client.job(job).await
                && view.summary.state.is_final()
            {
                return;
            }
            sleep(LOOK).await;
        }
    }

    async fn input(&mut self, clip: &'static str) -> Option<InputRef> {
        if self.rng.random_ratio(1, 3) {
            return Some(InputRef::Url(self.urls[clip].clone()));
        }
        if let Some(known) = self.uploads.get(clip)
            && !self.rng.random_ratio(1, JOBS_PER_UPLOAD)
        {
            return Some(InputRef::Upload(*known));
        }
        let bytes = tokio::fs::read(crate::clip(clip)).await.unwrap();
        while !self.stopped() {
            match self.client.upload(clip, bytes.clone()).await {
                Ok(upload) => {
                    self.uploads.insert(clip, upload.id);
                    return Some(InputRef::Upload(upload.id));
                }
                Err(Trouble::Silence) => {}
                Err(Trouble::Refused(status, problem)) if !status.is_server_error() => {
                    self.ledger.wrong(format!("the upload of {clip} was refused: {status} {problem}"));
                    return None;
                }
                Err(Trouble::Refused(..)) => self.ledger.count("uploads refused with 5xx"),
            }
            sleep(AGAIN).await;
        }
        None
    }
}
