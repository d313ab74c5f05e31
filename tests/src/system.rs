//! What the kernel says about processes and files: the judge of whether anything was left behind.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// Set for everything that a harness starts, and inherited by what that starts.
pub const MARK: &str = "TVARR_E2E_MARK";

/// A running process, as `/proc` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    pub pid: u32,
    pub parent: u32,
    pub command: Vec<String>,
}

impl Process {
    /// Does this run ffmpeg itself (any build of it, also through a wrapper script)?
    #[must_use]
    pub fn is_ffmpeg(&self) -> bool {
        self.command.iter().take(2).any(|word| {
            let name = Path::new(word).file_name().unwrap_or_default().to_string_lossy();
            name.starts_with("ffmpeg") && !name.starts_with("ffmpegd") && !name.starts_with("ffmpegctl")
        })
    }
}

/// Every process that carries `mark`, has `folder` in its command line or works inside it. Zombies are left out: they
/// run nothing and are their parent's.
#[must_use]
pub fn processes_of(mark: &str, folder: &Path) -> Vec<Process> {
    let own = std::process::id();
    let mark = format!("{MARK}={mark}");
    let folder = folder.to_string_lossy();
    let belongs = |process: &Process| {
        let path = PathBuf::from(format!("/proc/{}", process.pid));
        let marked = words(&path.join("environ")).contains(&mark);
        let named = process.command.iter().any(|word| word.contains(&*folder));
        let inside = fs::read_link(path.join("cwd")).is_ok_and(|cwd| cwd.starts_with(&*folder));
        marked || named || inside
    };
    running()
        .filter(|process| process.pid != own && !process.command.is_empty() && belongs(process))
        .collect()
}

/// The ffmpegs that a process has started, also through others.
#[must_use]
pub fn ffmpegs_below(ancestor: u32) -> Vec<Process> {
    let all: Vec<Process> = running().collect();
    let mut family = BTreeSet::from([ancestor]);
    // A process may stand before its parent in the list.
    loop {
        let before = family.len();
        for process in &all {
            if family.contains(&process.parent) {
                family.insert(process.pid);
            }
        }
        if family.len() == before {
            break;
        }
    }
    all.into_iter().filter(|process| family.contains(&process.pid) && process.is_ffmpeg()).collect()
}

/// Every process that is no zombie.
fn running() -> impl Iterator<Item = Process> {
    fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| {
        let pid = entry.file_name().to_string_lossy().parse().ok()?;
        let path = entry.path();
        Some(Process { pid, parent: parent(&path)?, command: words(&path.join("cmdline")) })
    })
}

fn words(path: &Path) -> Vec<String> {
    let bytes = fs::read(path).unwrap_or_default();
    bytes
        .split(|byte| *byte == 0)
        .filter(|word| !word.is_empty())
        .map(|word| String::from_utf8_lossy(word).into_owned())
        .collect()
}

/// `None` for what is gone or a zombie.
fn parent(process: &Path) -> Option<u32> {
    let stat = fs::read_to_string(process.join("stat")).ok()?;
    let mut fields = stat[stat.rfind(')')? + 1..].split_whitespace();
    let state = fields.next()?;
    if state == "Z" || state == "X" {
        return None;
    }
    fields.next()?.parse().ok()
}

/// Every file below `folder`, relative to it.
#[must_use]
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).into_iter().flatten().flatten() {
            let path = entry.path();
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                folders.push(path);
            } else {
                found.push(path.strip_prefix(folder).unwrap().to_owned());
            }
        }
    }
    found.sort();
    found
}
