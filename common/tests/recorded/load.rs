//! The messages in this folder: `vN/NUMBER-BY-KIND.bin`, made by `cargo run -p e2e --example record`.

#![allow(clippy::unwrap_used, dead_code, unreachable_pub)]

use std::{fs, path::Path};

use common::proto::{
    CoordinatorMessage, WorkerMessage, coordinator_message::Message as Told, worker_message::Message as Said,
};
use prost::Message;

/// One message as it was sent.
pub struct Recorded {
    pub by: String,
    pub kind: String,
    pub bytes: Vec<u8>,
}

/// Everything that was kept of a version, in order. `folder` is this one.
pub fn all(folder: &Path, version: u32) -> Vec<Recorded> {
    let folder = folder.join(format!("v{version}"));
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "bin"));
    paths.sort();
    let recorded = |path: &std::path::PathBuf| {
        let name = path.file_stem().unwrap().to_str().unwrap();
        let mut parts = name.splitn(3, '-').skip(1).map(str::to_owned);
        Recorded { by: parts.next().unwrap(), kind: parts.next().unwrap(), bytes: fs::read(path).unwrap() }
    };
    paths.iter().map(recorded).collect()
}

/// What a worker said of this kind.
pub fn said(messages: &[Recorded], kind: &str) -> Vec<Said> {
    of_kind(messages, "worker", kind, |bytes| WorkerMessage::decode(bytes).unwrap().message.unwrap())
}

/// What a coordinator said of this kind.
pub fn told(messages: &[Recorded], kind: &str) -> Vec<Told> {
    of_kind(messages, "coordinator", kind, |bytes| {
        CoordinatorMessage::decode(bytes).unwrap().message.unwrap()
    })
}

/// A message outside of the session.
pub fn call<T: Message + Default>(messages: &[Recorded], kind: &str) -> T {
    let found = messages.iter().find(|message| message.kind == kind);
    T::decode(found.unwrap().bytes.as_slice()).unwrap()
}

fn of_kind<T>(messages: &[Recorded], by: &str, kind: &str, decode: impl Fn(&[u8]) -> T) -> Vec<T> {
    let wanted = messages.iter().filter(|message| message.by == by && message.kind == kind);
    let found: Vec<_> = wanted.map(|message| decode(&message.bytes)).collect();
    assert!(!found.is_empty(), "no {kind} of a {by} was recorded");
    found
}
