//! The checked configuration.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use common::{
    api::Quotas,
    config::{self, Loaded, Secret},
    stream::StreamSpec,
};
use url::Url;

use super::Options;
use crate::{
    access::MIN_OPERATOR_KEY,
    fleet::{EncoderRule, RuleError, parse_rules},
    live::streams::{self, ConfiguredError},
    storage::{address::Address, credentials::Environment},
    store::{BadAddress, DatabaseUrl},
    watch::{BadRule, Rule},
    webhooks,
};

/// Three segments of usual profiles, and some.
const SHORTEST_BUFFER: Duration = Duration::from_secs(10);

/// The checked configuration.
#[derive(Debug, Clone)]
pub struct Config {
    pub http: SocketAddr,
    pub admin_key: Option<Secret>,
    /// Opens `/metrics`.
    pub metrics_token: Option<Secret>,
    pub insecure_open: bool,
    /// Where KEDA asks.
    pub scaler: Option<SocketAddr>,
    /// `None`: workers are not listened for.
    pub grpc: Option<Grpc>,
    pub data_dir: PathBuf,
    /// `None`: a file in the data folder.
    pub database: Option<DatabaseUrl>,
    pub storage: StorageConfig,
    pub shared_roots: Vec<PathBuf>,
    pub presets_dir: Option<PathBuf>,
    pub profiles_dir: Option<PathBuf>,
    pub heartbeat_interval: Duration,
    pub lease: Duration,
    pub disconnect_grace: Duration,
    pub live_reserved_slots: u32,
    pub live_buffer: Duration,
    pub live_buffer_bytes: u64,
    /// `None`: once there are API keys.
    pub live_tokens: Option<bool>,
    pub stall_timeout: Duration,
    /// Zero: none.
    pub time_limit: Duration,
    /// Of owners that have none of their own.
    pub quotas: Quotas,
    pub max_upload_bytes: u64,
    pub upload_ttl: Duration,
    pub upload_expiry: Duration,
    pub public_url: Option<Url>,
    pub output_url_ttl: Duration,
    pub webhooks: webhooks::Settings,
    pub encoder_rules: Vec<EncoderRule>,
    /// Live streams that the API cannot remove.
    pub streams: Vec<StreamSpec>,
    pub ready_file: Option<PathBuf>,
}

/// Where objects are.
#[derive(Debug, Clone, Default)]
pub struct StorageConfig {
    /// `None`: below the data folder.
    pub url: Option<Address>,
    /// Workers may be given signed URLs of the store.
    pub direct: bool,
    /// How long those are good.
    pub url_ttl: Duration,
    /// What jobs may name.
    pub buckets: Vec<Address>,
    /// What is watched.
    pub watch: Vec<Rule>,
    pub watch_every: Duration,
    /// What the store's keys are taken from.
    pub environment: Environment,
}

/// The worker port.
#[derive(Debug, Clone)]
pub struct Grpc {
    pub address: SocketAddr,
    /// `None` only with a loopback address.
    pub token: Option<Secret>,
}

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Load(#[from] config::Error),
    #[error(
        "TVARR_GRPC_BIND={0}: without a token anybody who reaches that address could take jobs; set \
         TVARR_GRPC_AUTH_TOKEN (or TVARR_GRPC_AUTH_TOKEN_FILE), or bind 127.0.0.1"
    )]
    OpenToAll(IpAddr),
    #[error(
        "TVARR_GRPC_AUTH_TOKEN has characters that no HTTP header can carry; use printable ASCII without spaces"
    )]
    Token,
    #[error("TVARR_ADMIN_KEY must be {MIN_OPERATOR_KEY} or more printable ASCII characters without spaces")]
    AdminKey,
    #[error(
        "TVARR_METRICS_TOKEN must be {MIN_OPERATOR_KEY} or more printable ASCII characters without spaces"
    )]
    MetricsToken,
    #[error("TVARR_HTTP_PORT and TVARR_GRPC_PORT are both {0}; workers and the API need ports of their own")]
    SamePort(u16),
    #[error(
        "TVARR_LEASE ({lease:?}) must be at least twice TVARR_HEARTBEAT_INTERVAL ({heartbeat:?}): one lost heartbeat would cost a worker its tasks"
    )]
    ShortLease { lease: Duration, heartbeat: Duration },
    #[error("TVARR_PUBLIC_URL={0} is no address of a website; write https://host or https://host/path")]
    PublicUrl(Url),
    #[error("INPUT_BUCKET, OUTPUT_BUCKET: {0}")]
    Watch(#[from] BadRule),
    #[error("{name} must not be 0")]
    Zero { name: &'static str },
    #[error(
        "TVARR_LIVE_BUFFER={0:?} is too short: a player needs three segments of the longest profile, so 10s is the least"
    )]
    ShortBuffer(Duration),
    #[error("no folder for data: neither XDG_DATA_HOME nor HOME is set; set TVARR_DATA_DIR")]
    NoDataDir,
    #[error("TVARR_SHARED_ROOTS: {} is not absolute", .0.display())]
    RelativeRoot(PathBuf),
    #[error("TVARR_DATABASE_URL: {0}")]
    Database(#[from] BadAddress),
    #[error("TVARR_WEBHOOK_SECRET: {0}")]
    WebhookSecret(#[from] webhooks::NoSecret),
    #[error(transparent)]
    Rules(#[from] RuleError),
    #[error(transparent)]
    Streams(#[from] ConfiguredError),
}

impl Config {
    /// Checks everything that can be checked before anything is bound or opened.
    ///
    /// # Errors
    /// What is wrong, with the variable's name and what to do.
    pub fn new(loaded: Loaded<Options>) -> Result<Self, Error> {
        let Loaded { options, mut sections } = loaded;
        let token = Secret::resolve(
            "TVARR_GRPC_AUTH_TOKEN",
            options.grpc_auth_token.as_deref(),
            options.grpc_auth_token_file.as_deref(),
        )?;
        let admin_key = Secret::resolve(
            "TVARR_ADMIN_KEY",
            options.admin_key.as_deref(),
            options.admin_key_file.as_deref(),
        )?;
        if admin_key.as_ref().is_some_and(|key| !is_long_enough(key)) {
            return Err(Error::AdminKey);
        }
        let metrics_token = Secret::resolve(
            "TVARR_METRICS_TOKEN",
            options.metrics_token.as_deref(),
            options.metrics_token_file.as_deref(),
        )?;
        if metrics_token.as_ref().is_some_and(|token| !is_long_enough(token)) {
            return Err(Error::MetricsToken);
        }
        let webhook_secret = Secret::resolve(
            "TVARR_WEBHOOK_SECRET",
            options.webhook_secret.as_deref(),
            options.webhook_secret_file.as_deref(),
        )?;
        let webhooks = webhooks::Settings {
            secrets: webhook_secret.map(|secret| secret.expose().parse()).transpose()?,
            reach: options.webhook_allow.unwrap_or_default(),
        };
        let database = Secret::resolve(
            "TVARR_DATABASE_URL",
            options.database_url.as_deref(),
            options.database_url_file.as_deref(),
        )?;
        let grpc = match options.grpc_enabled {
            true => Some(worker_port(options.grpc_port, options.grpc_bind, token)?),
            false => None,
        };
        if grpc.is_some() && options.http_port != 0 && options.http_port == options.grpc_port {
            return Err(Error::SamePort(options.http_port));
        }
        for (name, value) in [
            ("TVARR_HEARTBEAT_INTERVAL", options.heartbeat_interval),
            ("TVARR_STALL_TIMEOUT", options.stall_timeout),
            ("TVARR_UPLOAD_TTL", options.upload_ttl),
            ("TVARR_UPLOAD_EXPIRY", options.upload_expiry),
            ("TVARR_OUTPUT_URL_TTL", options.output_url_ttl),
            ("TVARR_STORAGE_URL_TTL", options.storage_url_ttl),
            ("TVARR_WATCH_EVERY", options.watch_every),
        ] {
            if value.is_zero() {
                return Err(Error::Zero { name });
            }
        }
        if options.live_buffer < SHORTEST_BUFFER {
            return Err(Error::ShortBuffer(options.live_buffer));
        }
        if options.max_upload_bytes == 0 {
            return Err(Error::Zero { name: "TVARR_MAX_UPLOAD_BYTES" });
        }
        if options.lease < options.heartbeat_interval * 2 {
            return Err(Error::ShortLease { lease: options.lease, heartbeat: options.heartbeat_interval });
        }
        let shared_roots: Vec<_> =
            options.shared_roots.into_iter().filter(|root| !root.as_os_str().is_empty()).collect();
        if let Some(root) = shared_roots.iter().find(|root| !root.is_absolute()) {
            return Err(Error::RelativeRoot(root.clone()));
        }
        let mut watch = options.watch;
        if let Some(input) = options.input_bucket.as_deref().filter(|input| !input.is_empty()) {
            let output = options.output_bucket.as_deref().filter(|output| !output.is_empty());
            watch.push(Rule::of_buckets(input, output, &options.preset)?);
        }
        let encoder_rules = match sections.remove("encoder_rules") {
            Some(section) => parse_rules(section)?,
            None => Vec::new(),
        };
        let streams = match sections.remove("streams") {
            Some(section) => streams::parse(section)?,
            None => Vec::new(),
        };
        Ok(Self {
            http: SocketAddr::new(options.http_bind, options.http_port),
            admin_key,
            metrics_token,
            insecure_open: options.insecure_open,
            scaler: options.scaler_address,
            grpc,
            data_dir: options.data_dir.or_else(default_data_dir).ok_or(Error::NoDataDir)?,
            database: database.map(|url| url.expose().parse()).transpose()?,
            storage: StorageConfig {
                url: options.storage_url,
                direct: options.storage_direct,
                url_ttl: options.storage_url_ttl,
                buckets: options.storage_buckets,
                watch,
                watch_every: options.watch_every,
                environment: Environment::of_process(),
            },
            shared_roots,
            presets_dir: options.presets_dir,
            profiles_dir: options.profiles_dir,
            heartbeat_interval: options.heartbeat_interval,
            lease: options.lease,
            disconnect_grace: options.disconnect_grace,
            live_reserved_slots: options.live_reserved_slots,
            live_buffer: options.live_buffer,
            live_buffer_bytes: options.live_buffer_bytes,
            live_tokens: options.live_tokens,
            stall_timeout: options.stall_timeout,
            time_limit: options.time_limit,
            quotas: Quotas {
                queued: Some(options.owner_max_queued).filter(|most| *most > 0),
                running: Some(options.owner_max_running).filter(|most| *most > 0),
                bytes: Some(options.owner_max_bytes).filter(|most| *most > 0),
            },
            max_upload_bytes: options.max_upload_bytes,
            upload_ttl: options.upload_ttl,
            upload_expiry: options.upload_expiry,
            public_url: public_url(options.public_url)?,
            output_url_ttl: options.output_url_ttl,
            webhooks,
            encoder_rules,
            streams,
            ready_file: options.ready_file,
        })
    }

    /// Defaults for running inside another program: both ports on loopback, any free ones, everything below `data_dir`,
    /// workers with `token` only.
    ///
    /// # Panics
    /// Never: the defaults are valid.
    #[must_use]
    pub fn embedded(data_dir: PathBuf, token: Secret) -> Self {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        // Not from the environment, which is meant for the coordinator itself.
        Self {
            http: any,
            admin_key: None,
            metrics_token: None,
            insecure_open: false,
            scaler: None,
            grpc: Some(Grpc { address: any, token: Some(token) }),
            data_dir,
            database: None,
            storage: StorageConfig::default(),
            shared_roots: Vec::new(),
            presets_dir: None,
            profiles_dir: None,
            heartbeat_interval: Duration::from_secs(5),
            lease: Duration::from_secs(30),
            disconnect_grace: Duration::from_secs(10),
            live_reserved_slots: 0,
            live_buffer: Duration::from_secs(30),
            live_buffer_bytes: 64 << 20,
            live_tokens: None,
            stall_timeout: Duration::from_secs(60),
            time_limit: Duration::ZERO,
            quotas: Quotas::default(),
            max_upload_bytes: 256 << 30,
            upload_ttl: Duration::from_secs(24 * 3600),
            upload_expiry: Duration::from_secs(24 * 3600),
            public_url: None,
            output_url_ttl: Duration::from_secs(24 * 3600),
            webhooks: webhooks::Settings::default(),
            encoder_rules: Vec::new(),
            streams: Vec::new(),
            ready_file: None,
        }
    }
}

/// Whether a secret that an operator chose can be sent in a header and is not soon guessed.
fn is_long_enough(secret: &Secret) -> bool {
    let secret = secret.expose();
    secret.len() >= MIN_OPERATOR_KEY && secret.bytes().all(|byte| byte.is_ascii_graphic())
}

fn public_url(url: Option<Url>) -> Result<Option<Url>, Error> {
    match url {
        Some(url)
            if !matches!(url.scheme(), "http" | "https")
                || url.query().is_some()
                || url.fragment().is_some() =>
        {
            Err(Error::PublicUrl(url))
        }
        url => Ok(url),
    }
}

fn worker_port(port: u16, bind: Option<IpAddr>, token: Option<Secret>) -> Result<Grpc, Error> {
    if let Some(token) = &token
        && !token.expose().bytes().all(|byte| byte.is_ascii_graphic())
    {
        return Err(Error::Token);
    }
    let default = if token.is_some() { Ipv4Addr::UNSPECIFIED } else { Ipv4Addr::LOCALHOST };
    let ip = bind.unwrap_or(IpAddr::V4(default));
    if token.is_none() && !ip.is_loopback() {
        return Err(Error::OpenToAll(ip));
    }
    Ok(Grpc { address: SocketAddr::new(ip, port), token })
}

fn default_data_dir() -> Option<PathBuf> {
    if rustix::process::geteuid().is_root() {
        return Some(PathBuf::from("/var/lib/tvarr"));
    }
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("XDG_DATA_HOME")
        .filter(|path| path.is_absolute())
        .or_else(|| set("HOME").map(|home| home.join(".local/share")))
        .map(|base| base.join("tvarr"))
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::{super::load, *};

    fn config(args: &[&str]) -> Result<Config, Error> {
        let argv = ["coordinator", "--data-dir", "/tmp/x"].iter().chain(args).map(OsString::from);
        Config::new(load(argv)?)
    }

    #[test]
    fn without_a_token_workers_are_taken_from_this_machine_only() {
        let grpc = config(&[]).unwrap().grpc.unwrap();
        assert_eq!(grpc.address, "127.0.0.1:9090".parse().unwrap());
        let grpc = config(&["--grpc-auth-token", "t"]).unwrap().grpc.unwrap();
        assert_eq!(grpc.address, "0.0.0.0:9090".parse().unwrap());
        let error = config(&["--grpc-bind", "0.0.0.0"]).unwrap_err().to_string();
        assert!(error.contains("TVARR_GRPC_AUTH_TOKEN"), "{error}");
        assert!(config(&["--grpc-bind", "::1"]).is_ok());
        assert!(config(&["--grpc-enabled", "false"]).unwrap().grpc.is_none());
    }

    #[test]
    fn what_cannot_work_is_refused_with_its_name() {
        for (args, name) in [
            (vec!["--http-port", "9090"], "TVARR_GRPC_PORT"),
            (vec!["--lease", "6s"], "TVARR_LEASE"),
            (vec!["--heartbeat-interval", "0"], "TVARR_HEARTBEAT_INTERVAL"),
            (vec!["--shared-roots", "media"], "TVARR_SHARED_ROOTS"),
            (vec!["--grpc-auth-token", "a b"], "TVARR_GRPC_AUTH_TOKEN"),
            (vec!["--admin-key", "short"], "TVARR_ADMIN_KEY"),
            (vec!["--admin-key", "long enough, but with spaces"], "TVARR_ADMIN_KEY"),
            (vec!["--metrics-token", "short"], "TVARR_METRICS_TOKEN"),
            (vec!["--max-upload-bytes", "0"], "TVARR_MAX_UPLOAD_BYTES"),
            (vec!["--live-buffer", "5s"], "TVARR_LIVE_BUFFER"),
            (vec!["--public-url", "ftp://a/"], "TVARR_PUBLIC_URL"),
            (vec!["--webhook-secret", "whsec_short"], "TVARR_WEBHOOK_SECRET"),
            (vec!["--output-url-ttl", "0"], "TVARR_OUTPUT_URL_TTL"),
            (vec!["--database-url", "postgres://ann:hunter2@host"], "TVARR_DATABASE_URL"),
        ] {
            let error = config(&args).unwrap_err().to_string();
            assert!(error.contains(name) && !error.contains("hunter2"), "{args:?}: {error}");
        }
        assert!(config(&["--http-port", "0", "--grpc-port", "0"]).is_ok());
    }
}
