//! How workers and the coordinator agree that bytes go between worker and object store, past the coordinator.
//!
//! Reading: a worker that sends [`HEADER`] with a GET of its signed URL may be answered 307 with a URL of the store, good for
//! as many seconds as `Cache-Control: max-age` says. Writing: it POSTs an [`Ask`] to the signed URL that it may PUT to, and
//! is told an [`Offer`].

use serde::{Deserialize, Serialize};

/// Of a worker that follows redirects to a store; any value.
pub const HEADER: &str = "x-tvarr-direct";

/// What a worker asks of a file that it is to bring.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ask {
    /// Where to. What was begun of the file before is given up.
    Begin,
    /// Where to PUT these parts, counted from 0; again, if the URLs have expired.
    Parts { upload: String, numbers: Vec<u32> },
    /// Everything was brought. `upload` and `tags` (what the store answered to each part as `ETag`) for parts.
    Complete { upload: Option<String>, tags: Vec<String> },
}

/// What it is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Offer {
    /// Through the coordinator: PUT to the same URL.
    Coordinator,
    /// It is there.
    There,
    /// With one PUT, then [`Ask::Complete`].
    Whole(Put),
    /// In parts of `part_size` bytes, the last one with the rest.
    InParts { upload: String, part_size: u64 },
    /// In the order of [`Ask::Parts`].
    Parts(Vec<Put>),
}

/// A PUT to a store, with exactly these headers besides `Content-Length`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Put {
    pub url: String,
    #[serde(default)]
    pub headers: Vec<(String, String)>,
}
