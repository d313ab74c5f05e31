//! What a person may set, and the checked [`Config`] that comes of it.

mod address;
mod capacity;
mod duration;

use std::{
    env, fs, io,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;
use common::{
    bytes,
    config::{self, Secret},
    reach::Reach,
    telemetry::LogFormat,
    worker::{Capabilities, Labels},
};
use uuid::Uuid;

pub use self::{address::Address, capacity::Limits};
use crate::{
    fetch,
    probe::{self, HwAccel},
    run::SCRATCH_MINIMUM,
};

/// How long a draining worker waits for what it runs.
const DRAIN_TIMEOUT: &str = "60s";

/// Options of a worker. Command line over environment over file over default.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// The coordinator's worker port: `host:9090`, `http://host:9090` or `https://farm.example`. The only address that
    /// a worker needs. Without a scheme it is http, and without a port 9090.
    #[arg(long, env = "TVARR_COORDINATOR_URL", default_value = "http://127.0.0.1:9090", value_name = "URL")]
    pub coordinator_url: Address,

    /// Token that the coordinator asks for (its `TVARR_GRPC_AUTH_TOKEN`).
    #[arg(long, env = "TVARR_AUTH_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    pub auth_token: Option<String>,

    /// File that holds the token.
    #[arg(long, env = "TVARR_AUTH_TOKEN_FILE", value_name = "FILE")]
    pub auth_token_file: Option<PathBuf>,

    /// Jobs at once. Default: GPU jobs and CPU jobs together.
    #[arg(long, env = "TVARR_MAX_JOBS", value_name = "N")]
    pub max_jobs: Option<u32>,

    /// Jobs at once that encode on a GPU. Default: two for each GPU with a hardware encoder that works.
    #[arg(long, env = "TVARR_MAX_GPU_JOBS", value_name = "N")]
    pub max_gpu_jobs: Option<u32>,

    /// Jobs at once that encode on the CPU. Default: a quarter of the cores, at least one.
    #[arg(long, env = "TVARR_MAX_CPU_JOBS", value_name = "N")]
    pub max_cpu_jobs: Option<u32>,

    /// Which hardware encoders may be offered: auto (every one that passes its trial), none, or families with commas,
    /// for example nvenc,vaapi.
    #[arg(long, env = "TVARR_HWACCEL", default_value = "auto", value_name = "FAMILIES")]
    pub hwaccel: HwAccel,

    /// NVENC preset for every NVENC encode here, from p1 (fastest) to p7 (best). Default: what the job's speed asks for.
    #[arg(long, env = "TVARR_NVENC_PRESET", value_parser = nvenc_preset, value_name = "P")]
    pub nvenc_preset: Option<u8>,

    /// Labels that jobs may ask for: `key=value`, several with commas.
    #[arg(long, env = "TVARR_LABELS", default_value = "", hide_default_value = true, value_name = "LABELS")]
    pub labels: String,

    /// Name that people see. Default: the host name.
    #[arg(long, env = "TVARR_WORKER_NAME", value_name = "NAME")]
    pub worker_name: Option<String>,

    /// Take only jobs of these presets; several with commas. Default: all.
    #[arg(long, env = "TVARR_PRESETS", value_delimiter = ',', value_name = "PRESETS")]
    pub presets: Vec<String>,

    /// Exit with code 0 once nothing is queued that this worker could take: for rented machines and Kubernetes Jobs.
    #[arg(long, env = "TVARR_EXIT_WHEN_IDLE")]
    pub exit_when_idle: bool,

    /// How long SIGTERM and SIGINT let running jobs go on before they are handed back: 90s, 2m, 1h30m.
    #[arg(long, env = "TVARR_DRAIN_TIMEOUT", default_value = DRAIN_TIMEOUT, value_parser = duration::parse, value_name = "TIME")]
    pub drain_timeout: Duration,

    /// Folder for the worker's id and its scratch files; one per worker. Default: `/var/lib/ffmpegd` where it can be
    /// written, else `$XDG_STATE_HOME/ffmpegd` (`~/.local/state/ffmpegd`).
    #[arg(long, env = "TVARR_STATE_DIR", value_name = "DIR")]
    pub state_dir: Option<PathBuf>,

    /// Folder for files in the making: fast, and with room for the largest result. Default: `scratch` in the state
    /// folder.
    #[arg(long, env = "TVARR_SCRATCH_DIR", value_name = "DIR")]
    pub scratch_dir: Option<PathBuf>,

    /// What files in the making may take together: 500MB, 64GiB. Default: what the file system holds.
    #[arg(long, env = "TVARR_SCRATCH_LIMIT", value_parser = common::bytes::parse, value_name = "BYTES")]
    pub scratch_limit: Option<u64>,

    /// What files in the making leave free on their file system. Default: 1GiB, or a twentieth of the file system if
    /// that is less.
    #[arg(long, env = "TVARR_SCRATCH_KEEP_FREE", value_parser = common::bytes::parse, value_name = "BYTES")]
    pub scratch_keep_free: Option<u64>,

    /// ffmpeg: a path, or a name to look up in PATH.
    #[arg(long, env = "TVARR_FFMPEG", default_value = "ffmpeg", value_name = "PROGRAM")]
    pub ffmpeg: PathBuf,

    /// ffprobe: a path, or a name to look up in PATH. Default: the one beside ffmpeg if there is one, else `ffprobe`.
    #[arg(long, env = "TVARR_FFPROBE", value_name = "PROGRAM")]
    pub ffprobe: Option<PathBuf>,

    /// Folders that coordinator and worker share at the same path (NFS); several with commas. Inputs below them are
    /// opened in place.
    #[arg(long, env = "TVARR_SHARED_ROOTS", value_delimiter = ',', value_name = "DIRS")]
    pub shared_roots: Vec<PathBuf>,

    /// How long connecting to the server of an input may take.
    #[arg(long, env = "TVARR_SOURCE_CONNECT_TIMEOUT", default_value = "10s", value_parser = duration::parse, value_name = "TIME")]
    pub source_connect_timeout: Duration,

    /// An input whose server sends no byte for this long is stalled.
    #[arg(long, env = "TVARR_SOURCE_STALL_TIMEOUT", default_value = "30s", value_parser = duration::parse, value_name = "TIME")]
    pub source_stall_timeout: Duration,

    /// Addresses that URLs of inputs may lead to besides public ones: networks and addresses with commas (192.168.0.0/16,
    /// 10.0.0.5), or any. Default: none (`ffmpegctl transcode` without a coordinator: any).
    #[arg(long, env = "TVARR_SOURCE_ALLOW", value_name = "NETWORKS")]
    pub source_allow: Option<Reach>,

    /// What one input may have: 500MB, 64GiB.
    #[arg(long, env = "TVARR_SOURCE_MAX_SIZE", default_value = "1TiB", value_parser = common::bytes::parse, value_name = "BYTES")]
    pub source_max_size: u64,

    /// How long a read of an input may wait for its server, all together.
    #[arg(long, env = "TVARR_SOURCE_MAX_TIME", default_value = "24h", value_parser = duration::parse, value_name = "TIME")]
    pub source_max_time: Duration,

    /// What the server of an input has to send in a second in which the worker waits for it, over 30 s of that.
    #[arg(long, env = "TVARR_SOURCE_MIN_RATE", default_value = "1KiB", value_parser = common::bytes::parse, value_name = "BYTES")]
    pub source_min_rate: u64,

    /// NVML library, for machines that keep it in an unusual place. Default: the system's `libnvidia-ml.so.1`.
    #[arg(long, env = "TVARR_NVML_LIBRARY", value_name = "FILE")]
    pub nvml_library: Option<PathBuf>,

    /// Port for what others ask of this worker: `/metrics`, `/healthz` and `/readyz`. 0: any free one. Default: none.
    #[arg(long, env = "TVARR_METRICS_PORT", value_name = "PORT")]
    pub metrics_port: Option<u16>,

    /// Address of that port.
    #[arg(long, env = "TVARR_METRICS_BIND", default_value = "127.0.0.1", value_name = "ADDRESS")]
    pub metrics_bind: IpAddr,

    /// What is logged, in the syntax of `RUST_LOG`: info, ffmpegd=debug,info.
    #[arg(long, env = "TVARR_LOG", default_value = "info", value_name = "FILTER")]
    pub log: String,

    /// How log lines look.
    #[arg(long, env = "TVARR_LOG_FORMAT", value_enum, default_value = "text", value_name = "FORMAT")]
    pub log_format: LogFormat,
}

/// A checked configuration. Programs that embed a worker start from [`Config::new`].
#[derive(Debug, Clone)]
pub struct Config {
    pub coordinator: Address,
    pub token: Option<Secret>,
    pub limits: Limits,
    pub hwaccel: HwAccel,
    /// 1 to 7.
    pub nvenc_preset: Option<u8>,
    pub labels: Labels,
    pub name: String,
    /// Empty: all.
    pub presets: Vec<String>,
    pub exit_when_idle: bool,
    pub drain_timeout: Duration,
    pub state_dir: PathBuf,
    /// `None`: `scratch` in the state folder.
    pub scratch_dir: Option<PathBuf>,
    /// Bytes; `None`: what the file system holds.
    pub scratch_limit: Option<u64>,
    /// Bytes; `None`: 1 GiB, or a twentieth of the file system if that is less.
    pub scratch_keep_free: Option<u64>,
    pub ffmpeg: PathBuf,
    pub ffprobe: PathBuf,
    /// Canonical.
    pub shared_roots: Vec<PathBuf>,
    pub source: fetch::Limits,
    /// Where users' URLs may lead.
    pub reach: Reach,
    pub nvml_library: Option<PathBuf>,
    /// `None`: nobody can ask this worker anything.
    pub metrics: Option<SocketAddr>,
    /// What is already known of this machine; `None`: it is probed.
    pub capabilities: Option<Capabilities>,
}

/// A setting that cannot be used. Nothing was started.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Config(#[from] config::Error),
    #[error("TVARR_LABELS: {0}")]
    Labels(String),
    #[error("TVARR_MAX_JOBS is 0: this worker would take no work; leave it away or set 1 or more")]
    NoJobs,
    #[error(
        "TVARR_SCRATCH_LIMIT is less than {}, which is what one job needs at least: this worker would take no work; leave it \
         away or set more",
        bytes::show(SCRATCH_MINIMUM)
    )]
    ScratchLimit,
    #[error("TVARR_SHARED_ROOTS: cannot use {}: {source}; mount it here or take it off the list", path.display())]
    SharedRoot { path: PathBuf, source: io::Error },
    #[error("TVARR_SHARED_ROOTS: {} is no folder", path.display())]
    SharedRootIsNoFolder { path: PathBuf },
    #[error(
        "there is no folder for the worker's state: neither /var/lib/ffmpegd can be written nor is HOME set; set \
         TVARR_STATE_DIR"
    )]
    NoStateDir,
}

fn nvenc_preset(text: &str) -> Result<u8, String> {
    text.strip_prefix('p')
        .and_then(|number| number.parse().ok())
        .filter(|number| (1..=7).contains(number))
        .ok_or_else(|| "use p1 (fastest) to p7 (best)".to_owned())
}

impl Config {
    /// Defaults for a worker of that coordinator that keeps its files in `state_dir`.
    #[must_use]
    pub fn new(coordinator: Address, state_dir: PathBuf) -> Self {
        Self {
            coordinator,
            token: None,
            limits: Limits::default(),
            hwaccel: HwAccel::Auto,
            nvenc_preset: None,
            labels: Labels::new(),
            name: host_name(),
            presets: Vec::new(),
            exit_when_idle: false,
            drain_timeout: Duration::from_secs(60),
            state_dir,
            scratch_dir: None,
            scratch_limit: None,
            scratch_keep_free: None,
            ffmpeg: PathBuf::from("ffmpeg"),
            ffprobe: PathBuf::from("ffprobe"),
            shared_roots: Vec::new(),
            source: fetch::Limits::default(),
            reach: Reach::default(),
            nvml_library: None,
            metrics: None,
            capabilities: None,
        }
    }

    /// What to probe on this machine.
    #[must_use]
    pub fn probe_settings(&self) -> probe::Settings {
        probe::Settings {
            ffmpeg: self.ffmpeg.clone(),
            ffprobe: self.ffprobe.clone(),
            scratch: self.scratch(),
            hwaccel: self.hwaccel.clone(),
            nvml_library: self.nvml_library.clone(),
            ..probe::Settings::default()
        }
    }

    /// Where attempts' files go.
    #[must_use]
    pub fn scratch(&self) -> PathBuf {
        self.scratch_dir.clone().unwrap_or_else(|| self.state_dir.join("scratch"))
    }
}

impl TryFrom<Options> for Config {
    type Error = Error;

    fn try_from(options: Options) -> Result<Self, Error> {
        let token = Secret::resolve(
            "TVARR_AUTH_TOKEN",
            options.auth_token.as_deref(),
            options.auth_token_file.as_deref(),
        )?;
        if options.max_jobs == Some(0) {
            return Err(Error::NoJobs);
        }
        if options.scratch_limit.is_some_and(|limit| limit < SCRATCH_MINIMUM) {
            return Err(Error::ScratchLimit);
        }
        let state_dir = match options.state_dir {
            Some(dir) => dir,
            None => default_state_dir().ok_or(Error::NoStateDir)?,
        };
        let ffprobe = options.ffprobe.unwrap_or_else(|| ffprobe_beside(&options.ffmpeg));
        Ok(Self {
            coordinator: options.coordinator_url,
            token,
            limits: Limits {
                jobs: options.max_jobs,
                gpu_jobs: options.max_gpu_jobs,
                cpu_jobs: options.max_cpu_jobs,
            },
            hwaccel: options.hwaccel,
            nvenc_preset: options.nvenc_preset,
            labels: config::parse_labels(&options.labels).map_err(Error::Labels)?,
            name: options.worker_name.filter(|name| !name.trim().is_empty()).unwrap_or_else(host_name),
            presets: non_empty(options.presets),
            exit_when_idle: options.exit_when_idle,
            drain_timeout: options.drain_timeout,
            state_dir,
            scratch_dir: options.scratch_dir,
            scratch_limit: options.scratch_limit,
            scratch_keep_free: options.scratch_keep_free,
            ffmpeg: options.ffmpeg,
            ffprobe,
            shared_roots: options
                .shared_roots
                .into_iter()
                .filter(|root| !root.as_os_str().is_empty())
                .map(shared_root)
                .collect::<Result<_, _>>()?,
            source: fetch::Limits {
                connect: options.source_connect_timeout,
                stall: options.source_stall_timeout,
                largest: options.source_max_size,
                longest: options.source_max_time,
                slowest: options.source_min_rate,
                ..fetch::Limits::default()
            },
            reach: options.source_allow.unwrap_or_default(),
            nvml_library: options.nvml_library,
            metrics: options.metrics_port.map(|port| SocketAddr::new(options.metrics_bind, port)),
            capabilities: None,
        })
    }
}

fn non_empty(names: Vec<String>) -> Vec<String> {
    names.into_iter().map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()).collect()
}

fn shared_root(path: PathBuf) -> Result<PathBuf, Error> {
    match fs::canonicalize(&path) {
        Ok(root) if root.is_dir() => Ok(root),
        Ok(_) => Err(Error::SharedRootIsNoFolder { path }),
        Err(source) => Err(Error::SharedRoot { path, source }),
    }
}

/// The kernel's host name.
fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// ffmpeg's own ffprobe, so that both are of one version; a static build may come without one.
fn ffprobe_beside(ffmpeg: &Path) -> PathBuf {
    let beside = ffmpeg.with_file_name("ffprobe");
    let is_path = ffmpeg.parent().is_some_and(|parent| !parent.as_os_str().is_empty());
    if is_path && beside.is_file() { beside } else { PathBuf::from("ffprobe") }
}

fn default_state_dir() -> Option<PathBuf> {
    let system = Path::new("/var/lib/ffmpegd");
    if writable(system) {
        return Some(system.to_owned());
    }
    let absolute = |name| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    absolute("XDG_STATE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".local/state")))
        .map(|state| state.join("ffmpegd"))
}

/// Whether files can be made in the folder, which is made if need be.
fn writable(dir: &Path) -> bool {
    let trial = dir.join(format!(".write-{}", Uuid::new_v4()));
    fs::create_dir_all(dir)
        .and_then(|()| fs::write(&trial, b""))
        .and_then(|()| fs::remove_file(&trial))
        .is_ok()
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        options: Options,
    }

    fn config(args: &[&str]) -> Result<Config, String> {
        let argv = ["ffmpegd", "--state-dir", "/nowhere"].iter().chain(args);
        let cli = Cli::try_parse_from(argv).map_err(|error| error.to_string())?;
        Config::try_from(cli.options).map_err(|error| error.to_string())
    }

    #[test]
    fn everything_has_a_default() {
        let config = config(&[]).unwrap();
        assert_eq!(config.coordinator.to_string(), "http://127.0.0.1:9090");
        assert_eq!(config.drain_timeout, Duration::from_secs(60));
        assert!(!config.name.is_empty());
        assert!(config.presets.is_empty());
        assert_eq!(config.scratch(), Path::new("/nowhere/scratch"));
    }

    #[test]
    fn the_nvenc_preset_is_p1_to_p7() {
        assert_eq!(config(&["--nvenc-preset", "p5"]).unwrap().nvenc_preset, Some(5));
        for wrong in ["p0", "p8", "5", "slow", ""] {
            let error = config(&["--nvenc-preset", wrong]).unwrap_err();
            assert!(error.contains("use p1 (fastest) to p7 (best)"), "{error}");
        }
    }

    #[test]
    fn wrong_values_are_told_before_anything_starts() {
        for (args, expected) in [
            (["--labels", "gpu"], "key=value"),
            (["--max-jobs", "0"], "would take no work"),
            (["--scratch-limit", "1MiB"], "64.0 MiB"),
            (["--scratch-keep-free", "much"], "500MB"),
            (["--drain-timeout", "soon"], "90s"),
            (["--coordinator-url", "ftp://farm"], "http"),
            (["--shared-roots", "/does/not/exist"], "/does/not/exist"),
        ] {
            let error = config(&args).unwrap_err();
            assert!(error.contains(expected), "{args:?}: {error}");
        }
    }

    #[test]
    fn a_token_comes_from_one_place_only() {
        let error = config(&["--auth-token", "a", "--auth-token-file", "/x"]).unwrap_err();
        assert!(error.contains("both set"), "{error}");
    }

    #[test]
    fn the_ffprobe_beside_ffmpeg_is_taken_if_there_is_one() {
        let dir = tempfile::tempdir().unwrap();
        let ffmpeg = dir.path().join("ffmpeg");
        assert_eq!(ffprobe_beside(&ffmpeg), Path::new("ffprobe"));
        fs::write(dir.path().join("ffprobe"), "").unwrap();
        assert_eq!(ffprobe_beside(&ffmpeg), dir.path().join("ffprobe"));
        assert_eq!(ffprobe_beside(Path::new("ffmpeg")), Path::new("ffprobe"));
    }
}
