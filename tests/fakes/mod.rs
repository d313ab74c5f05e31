//! Machines that this one is not: a fake NVML library, and stand-ins for ffmpeg. For test targets, which take this file
//! in with `#[path = ".../tests/fakes/mod.rs"] mod fakes;`.

#![allow(dead_code, unreachable_pub)]

use std::{
    fmt::Write as _,
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

/// Where the stand-ins are.
fn folder() -> PathBuf {
    // Both packages that include this file lie directly below the workspace's root.
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fakes").canonicalize().expect("tests/fakes is there")
}

/// A fake NVML library.
#[derive(Debug, Clone)]
pub struct Nvml {
    /// For `TVARR_NVML_LIBRARY` or `probe::Settings::nvml_library`.
    pub library: PathBuf,
    conf: PathBuf,
}

impl Nvml {
    /// Compiles the library into `target`. Without a call of [`Nvml::show`] it finds no driver.
    pub fn build(target: &Path) -> Self {
        let library = target.join("libfake-nvml.so");
        let compiler = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
        let output = Command::new(&compiler)
            .args(["-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror", "-o"])
            .arg(&library)
            .arg(folder().join("nvml/fake_nvml.c"))
            .arg("-ldl")
            .output()
            .unwrap_or_else(|error| panic!("cannot run {compiler:?} (apt install gcc): {error}"));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Self { library, conf: target.join("fake-nvml.conf") }
    }

    /// Shows these GPUs from now on; a `None` is one that fell off the bus. Replaced in one step, since a worker may look
    /// at any moment.
    pub fn show(&self, driver: &str, gpus: &[Option<NvmlGpu>]) {
        let draft = self.conf.with_extension("draft");
        fs::write(&draft, config(driver, gpus)).expect("the folder of the fake NVML can be written");
        fs::rename(&draft, &self.conf).expect("the figures of the fake NVML can be replaced");
    }
}

fn config(driver: &str, gpus: &[Option<NvmlGpu>]) -> String {
    let figure = |figure: Option<u32>| figure.map_or_else(|| "-".to_owned(), |figure| figure.to_string());
    let mut text = format!("driver;{driver}\n");
    for gpu in gpus {
        match gpu {
            None => text.push_str("gpu;lost\n"),
            Some(gpu) => {
                let figures = [gpu.utilisation, gpu.encoder, gpu.decoder, gpu.sessions, gpu.temperature];
                let _ = writeln!(
                    text,
                    "gpu;{};{};{};{};{}",
                    gpu.name,
                    gpu.uuid,
                    gpu.memory_mib,
                    gpu.memory_used_mib,
                    figures.map(figure).join(";")
                );
            }
        }
    }
    text
}

/// A GPU as the fake NVML shows it. `None`: the GPU does not tell.
#[derive(Debug, Clone)]
pub struct NvmlGpu {
    pub name: String,
    pub uuid: String,
    pub memory_mib: u64,
    pub memory_used_mib: u64,
    pub utilisation: Option<u32>,
    pub encoder: Option<u32>,
    pub decoder: Option<u32>,
    pub sessions: Option<u32>,
    pub temperature: Option<u32>,
}

impl NvmlGpu {
    /// An idle one.
    pub fn new(name: &str, uuid: &str) -> Self {
        Self {
            name: name.to_owned(),
            uuid: uuid.to_owned(),
            memory_mib: 10240,
            memory_used_mib: 300,
            utilisation: Some(0),
            encoder: Some(0),
            decoder: Some(0),
            sessions: Some(0),
            temperature: Some(40),
        }
    }
}

/// How the ffmpeg with a fake NVENC behaves.
#[derive(Debug, Clone, Default)]
pub struct Nvenc {
    /// The ffmpeg behind it; `None`: `ffmpeg` in `PATH`.
    pub ffmpeg: Option<PathBuf>,
    pub gpus: Option<u32>,
    /// Encode sessions that may be open at a time.
    pub sessions: Option<u32>,
}

/// Puts an ffmpeg whose NVENC encoders work into `target`, with the file of its log.
pub fn ffmpeg_with_nvenc(target: &Path, nvenc: &Nvenc) -> (PathBuf, NvencLog) {
    let (program, log, locks) =
        (target.join("ffmpeg-with-nvenc"), target.join("nvenc.log"), target.join("nvenc-sessions"));
    fs::create_dir_all(&locks).expect("the folder of the fake NVENC can be written");
    let mut conf = format!("FAKE_NVENC_LOG='{}'\nFAKE_NVENC_LOCKS='{}'\n", log.display(), locks.display());
    if let Some(ffmpeg) = &nvenc.ffmpeg {
        let _ = writeln!(conf, "FAKE_FFMPEG='{}'", ffmpeg.display());
    }
    if let Some(gpus) = nvenc.gpus {
        let _ = writeln!(conf, "FAKE_NVENC_GPUS={gpus}");
    }
    if let Some(sessions) = nvenc.sessions {
        let _ = writeln!(conf, "FAKE_NVENC_SESSIONS={sessions}");
    }
    fs::write(target.join("fake-nvenc.conf"), conf).expect("the folder of the fake NVENC can be written");
    // A link, not a copy: a program that is being written cannot be started (ETXTBSY).
    symlink(stand_in("ffmpeg-with-nvenc"), &program).expect("the fake NVENC can be linked");
    (program, NvencLog(log))
}

/// One of the programs here: `ffmpeg-that-hangs`, `ffmpeg-that-prints-garbage`, `ffmpeg-without-listings`.
pub fn stand_in(name: &str) -> PathBuf {
    let path = folder().join(name);
    assert!(path.is_file(), "there is no stand-in {}", path.display());
    path
}

/// What the fake NVENC was asked to encode.
#[derive(Debug, Clone)]
pub struct NvencLog(PathBuf);

/// One encode on the fake NVENC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NvencEncode {
    /// Of a probe.
    pub trial: bool,
    pub encoder: String,
    /// ffmpeg's `-gpu`; `any` without it.
    pub gpu: String,
    pub pid: u32,
}

impl NvencLog {
    /// All encodes so far, in the order in which they started.
    pub fn read(&self) -> Vec<NvencEncode> {
        let text = fs::read_to_string(&self.0).unwrap_or_default();
        text.lines()
            .map(|line| parse(line).unwrap_or_else(|| panic!("bad line in nvenc.log: {line}")))
            .collect()
    }
}

fn parse(line: &str) -> Option<NvencEncode> {
    let mut words = line.split(' ');
    Some(NvencEncode {
        trial: words.next()? == "trial",
        encoder: words.next()?.to_owned(),
        gpu: words.next()?.strip_prefix("gpu=")?.to_owned(),
        pid: words.next()?.strip_prefix("pid=")?.parse().ok()?,
    })
}

/// Puts an ffmpeg that goes wrong into `target`, a folder of its own: `fault` as its head lists them, on the encodes with
/// these numbers, counted from 1; on all without any.
pub fn ffmpeg_with_fault(target: &Path, fault: &str, runs: &[u32]) -> Faulty {
    fs::create_dir_all(target).expect("the folder of the faulty ffmpeg can be made");
    let runs: Vec<_> = runs.iter().map(u32::to_string).collect();
    let conf = format!("FAULT={fault}\nFAULT_RUNS='{}'\n", runs.join(" "));
    fs::write(target.join("fake-fault.conf"), conf).expect("the conf of the faulty ffmpeg can be written");
    let program = target.join("ffmpeg-with-fault");
    symlink(folder().join("ffmpeg-with-fault"), &program).expect("the faulty ffmpeg can be linked");
    Faulty { program, runs: target.join("runs") }
}

/// An ffmpeg that goes wrong.
#[derive(Debug, Clone)]
pub struct Faulty {
    pub program: PathBuf,
    runs: PathBuf,
}

impl Faulty {
    /// Encodes so far.
    pub fn runs(&self) -> usize {
        fs::read_to_string(&self.runs).unwrap_or_default().lines().count()
    }
}

/// Puts an ffmpeg and an ffprobe that repeat themselves into `target`, a folder of its own, and gives both. An encode
/// takes so many seconds.
pub fn ffmpeg_with_memory(target: &Path, encode_seconds: f64) -> (PathBuf, PathBuf) {
    fs::create_dir_all(target.join("memory")).expect("the folder of the remembering ffmpeg can be made");
    let conf = format!("MEMORY_ENCODE_SECONDS={encode_seconds}\n");
    fs::write(target.join("fake-memory.conf"), conf).expect("its conf can be written");
    let [ffmpeg, ffprobe] = ["ffmpeg", "ffprobe"].map(|name| {
        let program = target.join(name);
        symlink(folder().join("ffmpeg-with-memory"), &program).expect("the remembering ffmpeg can be linked");
        program
    });
    (ffmpeg, ffprobe)
}
