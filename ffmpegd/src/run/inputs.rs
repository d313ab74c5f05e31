//! What ffmpeg opens: mounts of the range proxy, and files below a shared root.

use std::{path::PathBuf, sync::Arc};

use common::failure::{Failure, FailureKind};

use super::{Input, Location, Tools};
use crate::fetch::{self, Mount, Observed, Origin, Source};

/// The inputs of an attempt, in the order of the command: all but users' commands have one.
pub(super) struct Inputs(Vec<Opened>);

/// One of them.
pub(super) struct Opened {
    at: Place,
    /// The name that the user knows it by.
    name: String,
}

enum Place {
    Mount(Mount),
    Path { path: PathBuf, head: Vec<u8> },
}

/// What was seen of one, for who looks for the cause of a failure.
pub(super) struct Seen {
    /// The name that the user knows it by.
    pub(super) name: String,
    /// Its first bytes.
    pub(super) head: Vec<u8>,
    /// `None` for a file.
    pub(super) fetched: Option<(Observed, Origin, String)>,
}

impl Inputs {
    /// Opens all of them.
    ///
    /// # Errors
    /// The first that cannot be read, and why.
    pub(super) async fn open(tools: &Tools, inputs: &[Input]) -> Result<Self, Failure> {
        let mut opened = Vec::with_capacity(inputs.len());
        for input in inputs {
            opened.push(Opened::open(tools, input).await?);
        }
        Ok(Self(opened))
    }

    /// What ffmpeg is told: paths and loopback URLs.
    pub(super) fn urls(&self) -> Vec<String> {
        self.0.iter().map(Opened::url).collect()
    }

    /// Each with the name that the user knows it by.
    pub(super) fn named(&self) -> impl Iterator<Item = (String, &str)> {
        self.0.iter().map(|opened| (opened.url(), opened.name.as_str()))
    }

    /// Bytes of the first, as far as its source says it.
    pub(super) fn size(&self) -> Option<u64> {
        self.0.first().and_then(Opened::source).and_then(|source| source.observed().size)
    }

    pub(super) fn sources(&self) -> Vec<Arc<Source>> {
        self.0.iter().filter_map(Opened::source).cloned().collect()
    }

    /// Whether one of them is still on its way to the coordinator.
    pub(super) fn grow(&self) -> bool {
        self.0.iter().filter_map(Opened::source).any(|source| source.grows())
    }

    /// Returns once all of all of them has come.
    ///
    /// # Errors
    /// One will not.
    pub(super) async fn until_whole(&self) -> Result<(), Failure> {
        for opened in &self.0 {
            if let Place::Mount(mount) = &opened.at
                && mount.source.grows()
            {
                let whole = mount.until_whole().await;
                whole.map_err(|failure| failure.failure(&opened.name, mount.source.origin))?;
            }
        }
        Ok(())
    }

    /// Whether the coordinator answered that the attempt is not current any more.
    pub(super) fn taken_away(&self) -> bool {
        self.0.iter().filter_map(Opened::source).any(|source| source.taken_away())
    }

    /// Why one of them could not be read.
    pub(super) fn failure(&self) -> Option<Failure> {
        self.0.iter().filter_map(Opened::source).find_map(|source| {
            let failure = source.observed().failure?;
            Some(failure.failure(&source.shown, source.origin))
        })
    }

    /// What was seen of the one that failed, or else of the first.
    pub(super) fn seen(&self) -> Option<Seen> {
        let failed =
            |opened: &&Opened| opened.source().is_some_and(|source| source.observed().failure.is_some());
        self.0.iter().find(failed).or(self.0.first()).map(Opened::seen)
    }
}

impl Opened {
    async fn open(tools: &Tools, input: &Input) -> Result<Self, Failure> {
        let Input { location, name, grows } = input;
        let invalid =
            |reason: String| Failure::new(FailureKind::InvalidInput, format!("cannot read {name}: {reason}"));
        let at = match location {
            Location::Path(path) => {
                let file = fetch::open_below(&tools.shared_roots, path.as_ref()).await?;
                Place::Path { path: file.path, head: file.head }
            }
            Location::Url(url) => {
                let origin = if url.contains("://") { Origin::User } else { Origin::Coordinator };
                let resolved = tools.coordinator.resolve(url).map_err(invalid)?;
                if !matches!(resolved.scheme(), "http" | "https") {
                    return Err(invalid(format!(
                        "{} is not supported; give an http or https URL",
                        resolved.scheme()
                    )));
                }
                Place::Mount(match (grows, origin) {
                    (true, Origin::Coordinator) => tools.proxy.mount_growing(resolved, name),
                    (true, Origin::User) | (false, _) => tools.proxy.mount(resolved, origin, name),
                })
            }
        };
        Ok(Self { at, name: name.clone() })
    }

    fn url(&self) -> String {
        match &self.at {
            Place::Mount(mount) => mount.url.clone(),
            Place::Path { path, .. } => path.to_string_lossy().into_owned(),
        }
    }

    fn source(&self) -> Option<&Arc<Source>> {
        match &self.at {
            Place::Mount(mount) => Some(&mount.source),
            Place::Path { .. } => None,
        }
    }

    fn seen(&self) -> Seen {
        let name = self.name.clone();
        match &self.at {
            Place::Mount(mount) => {
                let observed = mount.source.observed();
                let shown = match mount.source.origin {
                    Origin::User => mount.source.shown.clone(),
                    Origin::Coordinator => name.clone(),
                };
                let head = observed.head.clone();
                Seen { name, head, fetched: Some((observed, mount.source.origin, shown)) }
            }
            Place::Path { head, .. } => Seen { name, head: head.clone(), fetched: None },
        }
    }
}
