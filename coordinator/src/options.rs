//! How the coordinator is configured. [`Options`] is what people write; [`Config`] is what was checked.

use std::{
    ffi::OsString,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use clap::{ArgAction, Parser};
use common::{
    api::Quotas,
    config::{self, Loaded, Secret},
    stream::StreamSpec,
    telemetry::LogFormat,
};
use url::Url;

use crate::{
    access::MIN_OPERATOR_KEY,
    fleet::{EncoderRule, RuleError, parse_rules},
    live::streams::{self, ConfiguredError},
    storage::{address::Address, credentials::Environment},
    watch::{BadRule, Rule},
};

/// Three segments of usual profiles, and some.
const SHORTEST_BUFFER: Duration = Duration::from_secs(10);

/// Keys of the configuration file that are no options.
pub const SECTIONS: &[&str] = &["encoder_rules", "streams"];

/// Takes jobs, knows the fleet, places work and publishes results. Runs no ffmpeg itself: start ffmpegd for that.
#[derive(Debug, Parser)]
#[command(name = "coordinator", version)]
pub struct Options {
    /// TOML file that sets any of these options by its long name, `[[encoder_rules]]` and `[[streams]]`.
    #[arg(long, env = "TVARR_CONFIG")]
    pub config: Option<PathBuf>,

    /// Port for workers: gRPC and signed URLs. 0: any free one.
    #[arg(long, env = "TVARR_GRPC_PORT", default_value_t = 9090)]
    pub grpc_port: u16,

    /// Whether workers are listened for at all.
    #[arg(long, env = "TVARR_GRPC_ENABLED", default_value_t = true, action = ArgAction::Set)]
    pub grpc_enabled: bool,

    /// Token that every worker has to present.
    #[arg(long, env = "TVARR_GRPC_AUTH_TOKEN", hide_env_values = true)]
    pub grpc_auth_token: Option<String>,

    /// File that holds the token that every worker has to present.
    #[arg(long, env = "TVARR_GRPC_AUTH_TOKEN_FILE")]
    pub grpc_auth_token_file: Option<PathBuf>,

    /// Address for workers to connect to: 0.0.0.0 when there is a token, else 127.0.0.1. Without a token only a loopback
    /// address is taken.
    #[arg(long, env = "TVARR_GRPC_BIND")]
    pub grpc_bind: Option<IpAddr>,

    /// Port of the HTTP API. 0: any free one.
    #[arg(long, env = "TVARR_HTTP_PORT", default_value_t = 8080)]
    pub http_port: u16,

    /// Address of the HTTP API. While there is no API key it answers this machine only, wherever it is bound.
    #[arg(long, env = "TVARR_HTTP_BIND", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    pub http_bind: IpAddr,

    /// An API key with the scope admin, for making the others; 20 or more printable characters. With it nobody gets in
    /// without a key.
    #[arg(long, env = "TVARR_ADMIN_KEY", hide_env_values = true)]
    pub admin_key: Option<String>,

    /// File that holds the API key with the scope admin.
    #[arg(long, env = "TVARR_ADMIN_KEY_FILE")]
    pub admin_key_file: Option<PathBuf>,

    /// While there is no API key: everybody who can reach the HTTP API may do everything, and not this machine alone.
    #[arg(long, env = "TVARR_INSECURE_OPEN")]
    pub insecure_open: bool,

    /// Folder for jobs and objects. Default: /var/lib/tvarr for root, else $XDG_DATA_HOME/tvarr (~/.local/share/tvarr).
    #[arg(long, env = "TVARR_DATA_DIR")]
    pub data_dir: Option<PathBuf>,

    /// Where results are kept: file:///folder, s3://bucket/prefix, gs://bucket/prefix or az://container/prefix. Default: the
    /// data folder. Keys to the cloud come from its usual environment variables, files and instance roles.
    #[arg(long, env = "TVARR_STORAGE_URL")]
    pub storage_url: Option<Address>,

    /// Whether workers read from and write to the bucket themselves, with URLs that expire. Turn it off where they cannot
    /// reach it.
    #[arg(long, env = "TVARR_STORAGE_DIRECT", default_value_t = true, action = ArgAction::Set)]
    pub storage_direct: bool,

    /// How long a URL of the bucket is good that a worker gets; it asks for another one when it has expired.
    #[arg(long, env = "TVARR_STORAGE_URL_TTL", default_value = "15m", value_parser = parse_duration)]
    pub storage_url_ttl: Duration,

    /// Folders and buckets that jobs may name as their input (buckets) and as where to deliver to, separated by commas:
    /// s3://bucket, s3://bucket/prefix, file:///folder. Jobs may name no other.
    #[arg(long, env = "TVARR_STORAGE_BUCKETS", value_delimiter = ',')]
    pub storage_buckets: Vec<Address>,

    /// Folders and bucket prefixes to watch, separated by commas, each with a preset and, if it is to be delivered, a target:
    /// s3://camera/in/ h264 s3://website/out/. Each new file becomes one job.
    #[arg(long, env = "TVARR_WATCH", value_delimiter = ',')]
    pub watch: Vec<Rule>,

    /// How often is looked. A file in a folder is taken when it was the same at two looks.
    #[arg(long, env = "TVARR_WATCH_EVERY", default_value = "10s", value_parser = parse_duration)]
    pub watch_every: Duration,

    /// Bucket (of S3, or an address) to watch; with OUTPUT_BUCKET and PRESET the same as TVARR_WATCH.
    #[arg(long, env = "INPUT_BUCKET")]
    pub input_bucket: Option<String>,

    /// Bucket (of S3, or an address) where what comes of INPUT_BUCKET is delivered to.
    #[arg(long, env = "OUTPUT_BUCKET")]
    pub output_bucket: Option<String>,

    /// Preset for what comes in INPUT_BUCKET.
    #[arg(long, env = "PRESET", default_value = "h264")]
    pub preset: String,

    /// Folders whose files may be inputs without an upload (NFS, mounted disks), separated by commas.
    #[arg(long, env = "TVARR_SHARED_ROOTS", value_delimiter = ',')]
    pub shared_roots: Vec<PathBuf>,

    /// Folder of TOML files with more presets.
    #[arg(long, env = "TVARR_PRESETS_DIR")]
    pub presets_dir: Option<PathBuf>,

    /// Folder of TOML files with more profiles for live streams.
    #[arg(long, env = "TVARR_PROFILES_DIR")]
    pub profiles_dir: Option<PathBuf>,

    /// How often a worker says that it is alive.
    #[arg(long, env = "TVARR_HEARTBEAT_INTERVAL", default_value = "5s", value_parser = parse_duration)]
    pub heartbeat_interval: Duration,

    /// How long a silent worker keeps its tasks. At least twice the heartbeat interval.
    #[arg(long, env = "TVARR_LEASE", default_value = "30s", value_parser = parse_duration)]
    pub lease: Duration,

    /// How long a worker whose connection broke may take to come back before its tasks go to others.
    #[arg(long, env = "TVARR_DISCONNECT_GRACE", default_value = "10s", value_parser = parse_duration)]
    pub disconnect_grace: Duration,

    /// Job slots of the fleet that batch jobs leave free for live streams.
    #[arg(long, env = "TVARR_LIVE_RESERVED_SLOTS", default_value_t = 0)]
    pub live_reserved_slots: u32,

    /// How much of each live variant is kept for its viewers: one that falls further behind is disconnected.
    #[arg(long, env = "TVARR_LIVE_BUFFER", default_value = "30s", value_parser = parse_duration)]
    pub live_buffer: Duration,

    /// Most memory for each live variant, and for each source.
    #[arg(long, env = "TVARR_LIVE_BUFFER_BYTES", default_value = "64MiB", value_parser = common::bytes::parse)]
    pub live_buffer_bytes: u64,

    /// Whether viewers of live streams need a token, from POST /v1/streams/STREAM/tokens, or an API key with the scope view;
    /// false: everybody may watch. Default: once there are API keys.
    #[arg(long, env = "TVARR_LIVE_TOKENS", action = ArgAction::Set)]
    pub live_tokens: Option<bool>,

    /// Time without any progress after which a worker gives an attempt up.
    #[arg(long, env = "TVARR_STALL_TIMEOUT", default_value = "60s", value_parser = parse_duration)]
    pub stall_timeout: Duration,

    /// Longest time that an attempt may take; 0: no limit.
    #[arg(long, env = "TVARR_TIME_LIMIT", default_value = "0", value_parser = parse_duration)]
    pub time_limit: Duration,

    /// Jobs of one owner that may wait; another one is refused with 429. 0: as many as there are. `ffmpegctl owners` sets it
    /// for one owner.
    #[arg(long, env = "TVARR_OWNER_MAX_QUEUED", default_value_t = 0)]
    pub owner_max_queued: u32,

    /// Tasks of one owner that may run at once; others wait. 0: as many as there is room for.
    #[arg(long, env = "TVARR_OWNER_MAX_RUNNING", default_value_t = 0)]
    pub owner_max_running: u32,

    /// Largest upload, in bytes or with a unit (500MB, 64GiB).
    #[arg(long, env = "TVARR_MAX_UPLOAD_BYTES", default_value = "256GiB", value_parser = common::bytes::parse)]
    pub max_upload_bytes: u64,

    /// How long an upload is kept that no unfinished job uses.
    #[arg(long, env = "TVARR_UPLOAD_TTL", default_value = "24h", value_parser = parse_duration)]
    pub upload_ttl: Duration,

    /// How long an upload that has not ended is kept without a byte coming.
    #[arg(long, env = "TVARR_UPLOAD_EXPIRY", default_value = "24h", value_parser = parse_duration)]
    pub upload_expiry: Duration,
    /// Where the HTTP API is reached from outside, for the URLs of results: https://farm.example. Default: what the client
    /// called this host.
    #[arg(long, env = "TVARR_PUBLIC_URL")]
    pub public_url: Option<Url>,

    /// How long a signed URL of a result works.
    #[arg(long, env = "TVARR_OUTPUT_URL_TTL", default_value = "24h", value_parser = parse_duration)]
    pub output_url_ttl: Duration,

    /// What is logged, in the syntax of RUST_LOG: info, coordinator=debug,info.
    #[arg(long, env = "TVARR_LOG", default_value = "info")]
    pub log: String,

    /// How log lines look.
    #[arg(long, env = "TVARR_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,

    /// File to write when everything is ready, as JSON with the bound addresses: {"http": "127.0.0.1:8080", "grpc": ...}.
    /// Removed at shutdown.
    #[arg(long, env = "TVARR_READY_FILE")]
    pub ready_file: Option<PathBuf>,
}

/// The checked configuration.
#[derive(Debug, Clone)]
pub struct Config {
    pub http: SocketAddr,
    pub admin_key: Option<Secret>,
    pub insecure_open: bool,
    /// `None`: workers are not listened for.
    pub grpc: Option<Grpc>,
    pub data_dir: PathBuf,
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
    #[error(transparent)]
    Rules(#[from] RuleError),
    #[error(transparent)]
    Streams(#[from] ConfiguredError),
}

/// Reads options from the command line, the environment and the configuration file.
///
/// # Errors
/// Wrong usage, an unreadable or wrong file.
pub fn load(argv: impl IntoIterator<Item = OsString>) -> Result<Loaded<Options>, config::Error> {
    config::load(argv, SECTIONS)
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
        if admin_key.as_ref().is_some_and(|key| {
            let key = key.expose();
            key.len() < MIN_OPERATOR_KEY || !key.bytes().all(|byte| byte.is_ascii_graphic())
        }) {
            return Err(Error::AdminKey);
        }
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
            insecure_open: options.insecure_open,
            grpc,
            data_dir: options.data_dir.or_else(default_data_dir).ok_or(Error::NoDataDir)?,
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
            },
            max_upload_bytes: options.max_upload_bytes,
            upload_ttl: options.upload_ttl,
            upload_expiry: options.upload_expiry,
            public_url: public_url(options.public_url)?,
            output_url_ttl: options.output_url_ttl,
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
            insecure_open: false,
            grpc: Some(Grpc { address: any, token: Some(token) }),
            data_dir,
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
            encoder_rules: Vec::new(),
            streams: Vec::new(),
            ready_file: None,
        }
    }
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

fn number_and_unit(text: &str) -> (&str, &str) {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    (&text[..end], text[end..].trim())
}

/// `500ms`, `5s`, `10m`, `24h`, `7d`; a number alone is seconds.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no duration; write for example 500ms, 5s, 10m, 24h or 7d");
    let (number, unit) = number_and_unit(text);
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let milliseconds = match unit {
        "ms" => Some(number),
        "" | "s" => number.checked_mul(1_000),
        "m" | "min" => number.checked_mul(60_000),
        "h" => number.checked_mul(3_600_000),
        "d" => number.checked_mul(86_400_000),
        _ => return Err(wrong()),
    };
    // Over a century, arithmetic on deadlines could overflow somewhere.
    milliseconds.filter(|&ms| ms <= 3_200_000_000_000).map(Duration::from_millis).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    fn config(args: &[&str]) -> Result<Config, Error> {
        let argv = ["coordinator", "--data-dir", "/tmp/x"].iter().chain(args).map(OsString::from);
        Config::new(load(argv)?)
    }

    #[test]
    fn the_command_line_is_consistent() {
        Options::command().debug_assert();
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
            (vec!["--max-upload-bytes", "0"], "TVARR_MAX_UPLOAD_BYTES"),
            (vec!["--live-buffer", "5s"], "TVARR_LIVE_BUFFER"),
            (vec!["--public-url", "ftp://a/"], "TVARR_PUBLIC_URL"),
            (vec!["--output-url-ttl", "0"], "TVARR_OUTPUT_URL_TTL"),
        ] {
            let error = config(&args).unwrap_err().to_string();
            assert!(error.contains(name), "{args:?}: {error}");
        }
        assert!(config(&["--http-port", "0", "--grpc-port", "0"]).is_ok());
    }

    #[test]
    fn durations_have_units() {
        assert_eq!(parse_duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(parse_duration("2 h"), Ok(Duration::from_secs(7200)));
        assert_eq!(parse_duration("3"), Ok(Duration::from_secs(3)));
        for wrong in ["", "-1s", "1y", "s", "99999999999999999999", "1e9d"] {
            assert!(parse_duration(wrong).is_err(), "{wrong}");
        }
    }
}
