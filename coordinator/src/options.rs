//! How the coordinator is configured. [`Options`] is what people write; [`Config`] is what was checked.

mod config;

use std::{
    ffi::OsString,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use clap::{ArgAction, Parser};
use common::{
    config::{self as configuration, Loaded},
    reach::Reach,
    telemetry::LogFormat,
};
use url::Url;

pub use self::config::{Config, Error, Grpc, StorageConfig};
use crate::{storage::address::Address, watch::Rule};

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

    /// Token that opens /metrics and nothing else, for whatever scrapes it; 20 or more printable characters. An API key with
    /// the scope metrics does too.
    #[arg(long, env = "TVARR_METRICS_TOKEN", hide_env_values = true)]
    pub metrics_token: Option<String>,

    /// File that holds the token for /metrics.
    #[arg(long, env = "TVARR_METRICS_TOKEN_FILE")]
    pub metrics_token_file: Option<PathBuf>,

    /// While there is no API key: everybody who can reach the HTTP API may do everything, and not this machine alone.
    #[arg(long, env = "TVARR_INSECURE_OPEN")]
    pub insecure_open: bool,

    /// Address on which Kubernetes' autoscaler KEDA is told how many tasks there are (its external scaler, gRPC), for example
    /// 0.0.0.0:9093. It asks without a key, so whoever reaches this address learns that number. Default: nobody is told.
    #[arg(long, env = "TVARR_SCALER_ADDRESS")]
    pub scaler_address: Option<SocketAddr>,

    /// Folder for jobs and objects. Default: /var/lib/tvarr for root, else $XDG_DATA_HOME/tvarr (~/.local/share/tvarr).
    #[arg(long, env = "TVARR_DATA_DIR")]
    pub data_dir: Option<PathBuf>,

    /// PostgreSQL database that jobs and all else but objects are kept in, instead of a file in the data folder:
    /// postgres://user:password@host:5432/database, with ?sslmode=require or verify-full for TLS. One coordinator at a time.
    #[arg(long, env = "TVARR_DATABASE_URL", hide_env_values = true)]
    pub database_url: Option<String>,

    /// File that holds the address of the PostgreSQL database.
    #[arg(long, env = "TVARR_DATABASE_URL_FILE")]
    pub database_url_file: Option<PathBuf>,

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
    /// s3://camera/in/ h264 s3://website/out/. Each new file becomes one job, of the owner that owner=NAME names.
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

    /// Bytes that one owner may hold in the farm's storage, uploads and outputs together; more is refused with 429. 0: as many
    /// as there is room for.
    #[arg(long, env = "TVARR_OWNER_MAX_BYTES", default_value = "0", value_parser = common::bytes::parse)]
    pub owner_max_bytes: u64,

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

    /// Secret that webhooks are signed with: whsec_ and 24 to 64 bytes in base64; several with commas all sign, for changing
    /// it. Default: one that is made and kept in the data folder.
    #[arg(long, env = "TVARR_WEBHOOK_SECRET", hide_env_values = true)]
    pub webhook_secret: Option<String>,

    /// File that holds the secret that webhooks are signed with.
    #[arg(long, env = "TVARR_WEBHOOK_SECRET_FILE")]
    pub webhook_secret_file: Option<PathBuf>,

    /// Addresses that webhooks may go to besides public ones: networks and addresses with commas (192.168.0.0/16, 10.0.0.5),
    /// or any. Default: none.
    #[arg(long, env = "TVARR_WEBHOOK_ALLOW", value_name = "NETWORKS")]
    pub webhook_allow: Option<Reach>,

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

/// Reads options from the command line, the environment and the configuration file.
///
/// # Errors
/// Wrong usage, an unreadable or wrong file.
pub fn load(argv: impl IntoIterator<Item = OsString>) -> Result<Loaded<Options>, configuration::Error> {
    configuration::load(argv, SECTIONS)
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

    #[test]
    fn the_command_line_is_consistent() {
        Options::command().debug_assert();
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
