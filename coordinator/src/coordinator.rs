//! Everything put together: what is opened in which order, and closed in the other.

use std::{io, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use common::{
    api::WorkerPort,
    preset::{self, Presets},
    profile::{self, Profiles},
};
use tokio::{
    net::TcpListener,
    sync::{RwLock, mpsc},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    access::{Access, Sessions as SignIns, Token},
    api::{
        self, Api, Batches, Cookies, Estimates, EventHub, Links, Reached,
        live::{Audience, Viewers},
    },
    delivery::Deliverer,
    fleet::Policy,
    holdings::Holdings,
    incoming::{self, Incoming},
    live::{self, runtime::Settings as LiveSettings, service::Live, source::Limits, streams::Streams},
    lock::{self, DataLock},
    metrics::{Asked, Counted, Metrics, Operations, TimedStore},
    options::{Config, StorageConfig},
    queue::{Handle, Service, Settings},
    ready, scaler,
    serve::{Stop, serve},
    session::{self, Sessions, Uploads},
    storage::{Storage, address::Address, buckets::Buckets, shared::SharedRoots, sign::Signer},
    store::{self, JobStore, Stores},
    sweep::{self, Found, Sweeper},
    watch::Watcher,
    webhooks::Webhooks,
};

/// How long requests that are under way may take after shutdown began.
const DRAIN: Duration = Duration::from_secs(5);
/// How long the queue may take to commit what was decided.
const COMMIT: Duration = Duration::from_secs(10);
/// How much of a live source is kept: a replacement begins at the key frame before the last frame that was delivered, which is
/// some GOPs and a stall ago.
const SOURCE_BUFFER: Duration = Duration::from_secs(30);

/// Why the coordinator did not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    DataDir(#[from] lock::Error),
    #[error("cannot open the object storage in {}: {source}", path.display())]
    Storage { path: PathBuf, source: io::Error },
    #[error("TVARR_STORAGE_URL={url}: {source}")]
    StorageUrl { url: Address, source: io::Error },
    #[error("cannot read or make the key for signed URLs in {}: {source}", path.display())]
    SigningKey { path: PathBuf, source: io::Error },
    #[error("cannot read or make the secret of webhooks in {}: {source}", path.display())]
    WebhookSecret { path: PathBuf, source: io::Error },
    #[error("TVARR_SHARED_ROOTS: {}: {source}; mount it, or take it out of the list", path.display())]
    SharedRoot { path: PathBuf, source: io::Error },
    #[error("TVARR_WATCH: {}: {source}; a watched folder must be there", path.display())]
    WatchedFolder { path: PathBuf, source: io::Error },
    #[error("TVARR_WATCH: {0}: there is no such preset; ffmpegctl presets ls names them")]
    WatchPreset(String),
    #[error("TVARR_PRESETS_DIR: {0}")]
    Presets(#[from] preset::Error),
    #[error("TVARR_PROFILES_DIR: {0}")]
    Profiles(#[from] profile::Error),
    #[error(transparent)]
    Streams(#[from] live::streams::OpenError),
    #[error("cannot listen on {address} ({port}): {source}; choose another port or stop who has it")]
    Bind { address: SocketAddr, port: &'static str, source: io::Error },
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error("cannot take up the uploads that have not ended: {0}")]
    Incoming(String),
    #[error("cannot write the ready file {}: {source}", path.display())]
    ReadyFile { path: PathBuf, source: io::Error },
}

/// A running coordinator. To be ended with [`Coordinator::shutdown`]; dropped, it stops without waiting for anything,
/// which loses nothing that was accepted.
pub struct Coordinator {
    http: SocketAddr,
    workers: Option<SocketAddr>,
    scaler: Option<SocketAddr>,
    stop: Stop,
    /// Sessions and connections.
    tracker: TaskTracker,
    /// The queue's task, which outlives the sessions.
    queue_tracker: TaskTracker,
    queue_stop: CancellationToken,
    store: Arc<dyn JobStore>,
    superseded: CancellationToken,
    ready_file: Option<PathBuf>,
    _lock: DataLock,
}

/// What workers reach by signed URLs.
struct Media {
    live: Live,
    storage: Storage,
    shared: SharedRoots,
    buckets: Buckets,
    signer: Signer,
    uploads: Uploads,
    incoming: Incoming,
}

impl Coordinator {
    /// Opens the data folder, restores unfinished jobs, binds both ports and serves.
    ///
    /// # Errors
    /// What could not be opened or bound, and what to do about it. Nothing runs then.
    pub async fn start(config: Config) -> Result<Self, Error> {
        let presets = match &config.presets_dir {
            Some(folder) => Presets::load(folder)?,
            None => Presets::builtin(),
        };
        let profiles = Arc::new(match &config.profiles_dir {
            Some(folder) => Profiles::load(folder)?,
            None => Profiles::builtin(),
        });
        let shared = SharedRoots::new(&config.shared_roots)
            .map_err(|(path, source)| Error::SharedRoot { path, source })?;
        let watched = shared_with_watched(&config)?;
        if let Some(rule) = config.storage.watch.iter().find(|rule| presets.get(&rule.preset).is_none()) {
            return Err(Error::WatchPreset(rule.to_string()));
        }
        let presets = Arc::new(presets);
        let lock = DataLock::acquire(&config.data_dir)?;
        let (storage, found) = open_storage(&config).await?;
        let key = config.data_dir.join("signing.key");
        let signer = ready::signing_key(&key).map_err(|source| Error::SigningKey { path: key, source })?;
        let path = config.data_dir.join("webhook.secret");
        let webhook_secrets = match config.webhooks.secrets.clone() {
            Some(secrets) => secrets,
            None => ready::webhook_secrets(&path).map_err(|source| Error::WebhookSecret { path, source })?,
        };
        let http = bind(config.http, "TVARR_HTTP_PORT").await?;
        let scaler = match config.scaler {
            Some(address) => Some(bind(address, "TVARR_SCALER_ADDRESS").await?),
            None => None,
        };
        let grpc = match &config.grpc {
            Some(grpc) => Some(bind(grpc.address, "TVARR_GRPC_PORT").await?),
            None => None,
        };
        let stores = Stores::open(&config.data_dir, config.database.as_ref()).await?;
        let store_operations = Operations::default();
        let store: Arc<dyn JobStore> = Arc::new(TimedStore::new(stores.jobs, store_operations.clone()));
        let access = Access::open(stores.keys, config.admin_key.as_ref()).await?;
        let holdings = Holdings::new(stores.holdings, config.quotas, store.quotas().await?);
        let streams = Streams::open(stores.streams, config.streams.clone(), &profiles).await?;
        let (mut service, queue, sweeps) = Service::open(settings(&config), Arc::clone(&store)).await?;
        let queue_metrics = service.metrics();
        let live_events = service.live_events();
        let deliveries = service.delivery_orders();

        let mut this = Self {
            http: http.1,
            workers: grpc.as_ref().map(|(_, address)| *address),
            scaler: scaler.as_ref().map(|(_, address)| *address),
            stop: Stop::default(),
            tracker: TaskTracker::new(),
            queue_tracker: TaskTracker::new(),
            queue_stop: CancellationToken::new(),
            store,
            superseded: stores.superseded,
            ready_file: None,
            _lock: lock,
        };
        this.queue_tracker.spawn(service.run(this.queue_stop.clone()));
        let uploads = incoming::Settings {
            folder: config.data_dir.join("uploads"),
            limits: upload_limits(&config),
            queue: queue.clone(),
            stop: this.stop.graceful.clone(),
            tracker: this.tracker.clone(),
        };
        // Before any worker is there: what waits for an upload is not begun.
        let incoming = Incoming::open(uploads, stores.uploads, storage.clone())
            .await
            .map_err(|error| Error::Incoming(error.to_string()))?;
        let live = live::service::start(
            live_settings(&config),
            queue.clone(),
            live_events.expect("nobody took them before"),
            Arc::clone(&profiles),
            streams,
            &this.tracker,
            this.stop.graceful.clone(),
        );
        let Places { nameable, all } = Places::of(&config);
        let deliverer = Deliverer { storage: storage.clone(), buckets: all.clone(), queue: queue.clone() };
        let orders = deliveries.expect("nobody took them before");
        this.tracker.spawn(deliverer.run(orders, this.stop.graceful.clone()));
        let webhooks = Webhooks {
            reach: config.webhooks.reach.clone(),
            secrets: webhook_secrets,
            store: stores.webhooks,
            woken: queue.webhooks(),
        };
        webhooks.start(&queue, &this.tracker, this.stop.graceful.clone());
        for rule in &config.storage.watch {
            let watcher = Watcher {
                rule: rule.clone(),
                every: config.storage.watch_every,
                presets: Arc::clone(&presets),
                buckets: all.clone(),
                queue: queue.clone(),
                store: Arc::clone(&stores.watched),
                holdings: holdings.clone(),
            };
            this.tracker.spawn(watcher.run(this.stop.graceful.clone()));
        }
        let uploads = Uploads::default();
        let (lost, left_behind) = mpsc::unbounded_channel();
        let late = (config.storage.direct && storage.is_remote()).then_some(config.storage.url_ttl);
        let sweeper = Sweeper::new(storage.clone(), uploads.clone(), late);
        this.tracker.spawn(sweeper.run(sweeps, left_behind, this.stop.graceful.clone()));
        this.tracker.spawn(sweep::left_behind(
            Arc::clone(&this.store),
            found,
            lost,
            this.stop.graceful.clone(),
        ));
        let viewers = Viewers::new(&signer, Audience::of(config.live_tokens));
        let links = Links::new(&signer, config.output_url_ttl, config.public_url.clone());
        let cookies = Cookies {
            sessions: SignIns::new(signer.derived("sign-ins"), access.clone()),
            public: config.public_url.clone(),
        };
        let counted = Counted {
            queue: &queue_metrics,
            live: &live.metrics(),
            store: &store_operations,
            storage: &storage.operations(),
        };
        let asked = Asked { queue: queue.clone(), live: live.clone(), store: Arc::clone(&this.store) };
        let metrics = Metrics::new(&counted, asked);
        let events = EventHub::new();
        this.tracker.spawn(events.clone().run(queue.events(), this.stop.graceful.clone()));
        let batches = Batches::new(events.clone(), queue.clone(), live.clone());
        this.tracker.spawn(batches.run(this.stop.graceful.clone()));
        let api = Api {
            queue: queue.clone(),
            store: Arc::clone(&this.store),
            storage: storage.clone(),
            presets: Arc::clone(&presets),
            shared,
            buckets: nameable,
            max_upload: config.max_upload_bytes,
            incoming: incoming.clone(),
            uploads: Arc::new(RwLock::new(())),
            removals: Arc::new(RwLock::new(())),
            upload_owners: stores.upload_owners,
            holdings,
            access,
            cookies,
            events,
            live: live.clone(),
            profiles,
            viewers,
            links,
            estimates: Estimates::default(),
            webhooks,
            metrics,
            worker_port: this
                .workers
                .zip(config.grpc.as_ref())
                .map(|(address, grpc)| WorkerPort { port: address.port(), token: grpc.token.is_some() }),
            stop: this.stop.graceful.clone(),
        };
        this.serve_api(&config, http.0, api.clone());
        let patience = api::sweep::Patience { unused: config.upload_ttl, unfinished: config.upload_expiry };
        this.tracker.spawn(api::sweep::run(api, patience, this.stop.graceful.clone()));
        if let Some((listener, _)) = scaler {
            let router = scaler::router(queue.clone(), this.stop.graceful.clone(), &this.tracker);
            this.tracker.spawn(serve(listener, router, this.stop.clone(), this.tracker.clone()));
        }
        if let Some((listener, _)) = grpc {
            let media = Media { live, storage, shared: watched, buckets: all, signer, uploads, incoming };
            this.serve_workers(&config, listener, queue, media);
        }
        if let Some(path) = config.ready_file {
            ready::write(&path, this.http, this.workers)
                .map_err(|source| Error::ReadyFile { path: path.clone(), source })?;
            this.ready_file = Some(path);
        }
        let grpc = this.workers.map(tracing::field::display);
        tracing::info!(http = %this.http, grpc, data = %config.data_dir.display(), "the coordinator is ready");
        Ok(this)
    }

    fn serve_api(&self, config: &Config, listener: TcpListener, api: Api) {
        let loopback = self.http.ip().is_loopback();
        if !loopback && !api.access.is_closed() && config.insecure_open {
            tracing::warn!(
                address = %self.http,
                "TVARR_INSECURE_OPEN: until the first API key is made, everybody who can reach this address may do everything"
            );
        } else if !loopback && !api.access.is_closed() {
            tracing::warn!(
                address = %self.http,
                "there is no API key: the HTTP API answers this machine only; set TVARR_ADMIN_KEY, or make a key here with \
                 ffmpegctl keys create --scope admin"
            );
        }
        let reached = Reached {
            loopback,
            insecure_open: config.insecure_open,
            scraper: config.metrics_token.as_ref().map(Token::new),
        };
        let router = api::router(api, reached);
        self.tracker.spawn(serve(listener, router, self.stop.clone(), self.tracker.clone()));
    }

    fn serve_workers(
        &self,
        config: &Config,
        listener: TcpListener,
        queue: Handle,
        Media { live, storage, shared, buckets, signer, uploads, incoming }: Media,
    ) {
        let token = config.grpc.as_ref().and_then(|grpc| grpc.token.as_ref());
        if token.is_none() {
            tracing::warn!(
                "no TVARR_GRPC_AUTH_TOKEN: the worker port listens on loopback only, so any program on this machine can be a worker and no other machine can"
            );
        }
        let sessions = Sessions {
            queue,
            storage,
            shared,
            buckets,
            signer,
            uploads,
            direct: config.storage.direct.then_some(config.storage.url_ttl),
            incoming,
            live,
            protocols: Arc::default(),
            heartbeat_interval: config.heartbeat_interval,
            lease: config.lease,
            stall_timeout: config.stall_timeout,
            stop: self.stop.graceful.clone(),
            tracker: self.tracker.clone(),
        };
        let router = session::router(sessions, token);
        self.tracker.spawn(serve(listener, router, self.stop.clone(), self.tracker.clone()));
    }

    /// Where the HTTP API answers.
    #[must_use]
    pub fn http_addr(&self) -> SocketAddr {
        self.http
    }

    /// Where workers connect to; `None` when they are not listened for.
    #[must_use]
    pub fn worker_addr(&self) -> Option<SocketAddr> {
        self.workers
    }

    /// Where KEDA asks; `None` when it may not.
    #[must_use]
    pub fn scaler_addr(&self) -> Option<SocketAddr> {
        self.scaler
    }

    /// Returns once another coordinator has taken the database, after which there is nothing left to do but to stop.
    pub async fn superseded(&self) {
        self.superseded.cancelled().await;
    }

    /// Ends sessions and event streams, lets requests finish for a moment, commits and closes.
    pub async fn shutdown(mut self) {
        if let Some(path) = self.ready_file.take() {
            // It may have been taken away already.
            let _ = std::fs::remove_file(path);
        }
        self.stop.graceful.cancel();
        self.tracker.close();
        if tokio::time::timeout(DRAIN, self.tracker.wait()).await.is_err() {
            tracing::info!(connections = self.tracker.len(), "dropping what has not ended");
            self.stop.now.cancel();
            self.tracker.wait().await;
        }
        self.queue_stop.cancel();
        self.queue_tracker.close();
        let close = async {
            self.queue_tracker.wait().await;
            self.store.close().await;
        };
        if tokio::time::timeout(COMMIT, close).await.is_err() {
            tracing::error!("the job store did not close in time; what was accepted is on disk");
        }
        tracing::info!("the coordinator has stopped");
    }
}

impl Drop for Coordinator {
    fn drop(&mut self) {
        self.stop.graceful.cancel();
        self.stop.now.cancel();
        self.queue_stop.cancel();
    }
}

fn live_settings(config: &Config) -> LiveSettings {
    let max_bytes = usize::try_from(config.live_buffer_bytes).unwrap_or(usize::MAX);
    LiveSettings {
        source: Limits { max_bytes, max_length: SOURCE_BUFFER },
        max_bytes,
        max_length: config.live_buffer,
    }
}

fn upload_limits(config: &Config) -> incoming::Limits {
    incoming::Limits {
        max_bytes: config.max_upload_bytes,
        expiry_ms: i64::try_from(config.upload_expiry.as_millis()).unwrap_or(i64::MAX),
    }
}

fn settings(config: &Config) -> Settings {
    Settings {
        lease: config.lease,
        grace: config.disconnect_grace,
        time_limit: (!config.time_limit.is_zero()).then_some(config.time_limit),
        quotas: config.quotas,
        policy: Policy {
            rules: config.encoder_rules.clone(),
            live_reserved: config.live_reserved_slots,
            stale_after: config.lease,
        },
    }
}

/// The storage, and the attempts that have objects in it.
async fn open_storage(config: &Config) -> Result<(Storage, Found), Error> {
    let path = config.data_dir.join("objects");
    let (folder, storage) = (path.clone(), config.storage.clone());
    let opening = move || match &storage.url {
        Some(url) => Storage::open(&folder, url, &storage.environment),
        None => Storage::open_local(&folder),
    };
    let opened = tokio::task::spawn_blocking(opening).await;
    let opened = opened.unwrap_or_else(|error| Err(io::Error::other(error)));
    let failed = |source| match &config.storage.url {
        Some(url) => Error::StorageUrl { url: url.clone(), source },
        None => Error::Storage { path: path.clone(), source },
    };
    let storage = opened.map_err(failed)?;
    storage.tidy().await;
    if storage.is_remote() {
        return Ok((storage.clone(), Found::Beside(storage)));
    }
    let found = storage.attempts().await.map_err(|error| failed(io::Error::other(error)))?;
    Ok((storage, Found::Before(found)))
}

/// The folders and buckets that are configured.
struct Places {
    /// What jobs may name.
    nameable: Buckets,
    /// With what is watched, and where that is delivered to.
    all: Buckets,
}

impl Places {
    fn of(config: &Config) -> Self {
        let StorageConfig { buckets, watch, environment, .. } = &config.storage;
        let watched = watch.iter().flat_map(|rule| std::iter::once(&rule.place).chain(&rule.target));
        let all = buckets.iter().chain(watched).cloned().collect();
        Self {
            nameable: Buckets::new(buckets.clone(), environment.clone()),
            all: Buckets::new(all, environment.clone()),
        }
    }
}

/// The shared roots and the folders that are watched: of those, workers read what the watch has found.
fn shared_with_watched(config: &Config) -> Result<SharedRoots, Error> {
    let watched = config.storage.watch.iter().filter_map(|rule| rule.place.file());
    let roots: Vec<PathBuf> = config.shared_roots.iter().cloned().chain(watched).collect();
    SharedRoots::new(&roots).map_err(|(path, source)| Error::WatchedFolder { path, source })
}

async fn bind(address: SocketAddr, port: &'static str) -> Result<(TcpListener, SocketAddr), Error> {
    let failed = |source| Error::Bind { address, port, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}
