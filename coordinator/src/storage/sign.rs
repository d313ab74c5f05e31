//! Signed URLs: leave to do one thing to one object for one attempt, given to whoever holds the URL.
//!
//! A worker has no other way to any object. The signature covers what is done, to what, for which attempt, and the size and
//! digest of what is brought; checking it takes the same time whatever was wrong with it. There is no clock in it: a URL
//! opens for exactly as long as its attempt is current, which is for the queue to say.

use std::{fmt, str::FromStr};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use common::{
    digest::Digest,
    id::{AttemptId, Epoch, TaskId},
};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::Deserialize;
use sha2::Sha256;

/// Bytes of the key.
pub const KEY_LENGTH: usize = 32;

/// What the holder of a signed URL may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// GET and HEAD of an object, with ranges.
    Read,
    /// GET and HEAD of a file below a shared root.
    ReadShared,
    /// GET and HEAD of an object in a bucket that a job names: `s3/bucket/key`.
    ReadBucket,
    /// One PUT of an object.
    Write,
    /// One GET of what comes in for a live attempt, for as long as it runs.
    ReadLive,
    /// One PUT of what a live attempt makes, for as long as it runs.
    WriteLive,
}

impl Action {
    const fn word(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::ReadShared => "read-shared",
            Self::ReadBucket => "read-bucket",
            Self::Write => "write",
            Self::ReadLive => "read-live",
            Self::WriteLive => "write-live",
        }
    }

    const fn route(self) -> &'static str {
        match self {
            Self::Read | Self::Write => "/objects/",
            Self::ReadShared => "/shared/",
            Self::ReadBucket => "/bucket/",
            Self::ReadLive => "/live/input",
            Self::WriteLive => "/live/output",
        }
    }
}

/// What a signature covers.
#[derive(Debug, Clone, Copy)]
pub struct Claim<'a> {
    pub action: Action,
    /// Key of the object, or the shared file's absolute path. Empty for live: the attempt says it all.
    pub target: &'a str,
    /// The URL opens while this is current.
    pub attempt: AttemptId,
    /// Exact size of the body of a PUT, 0 for reading.
    pub size: u64,
    /// Digest of the body of a PUT; `None` for reading, and for a worker that does not say.
    pub sha256: Option<Digest>,
}

/// The query of a signed URL.
#[derive(Debug, Clone, Deserialize)]
pub struct Params {
    task: TaskId,
    epoch: Epoch,
    #[serde(default)]
    size: u64,
    /// As text: an absent digest and none are the same.
    #[serde(default)]
    sha256: String,
    signature: String,
}

/// What a signature was found to cover.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leave {
    pub attempt: AttemptId,
    pub size: u64,
    pub sha256: Option<Digest>,
}

/// Why a URL is not honoured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the URL's signature does not fit: it was changed, or signed with another key")]
pub struct Refused;

/// Signs and checks.
#[derive(Clone)]
pub struct Signer {
    mac: Hmac<Sha256>,
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signer(..)")
    }
}

impl Signer {
    #[must_use]
    pub fn new(key: &[u8; KEY_LENGTH]) -> Self {
        Self { mac: Hmac::new_from_slice(key).expect("HMAC takes keys of any length") }
    }

    /// For signing something else, with a key of its own: what is signed for one purpose is worth nothing for another.
    #[must_use]
    pub fn derived(&self, purpose: &str) -> Hmac<Sha256> {
        let mut mac = self.mac.clone();
        // No claim begins with that word.
        mac.update(b"derive\n");
        mac.update(purpose.as_bytes());
        Hmac::new_from_slice(&mac.finalize().into_bytes()).expect("HMAC takes keys of any length")
    }

    /// Path and query, to be resolved against the address of the worker port.
    #[must_use]
    pub fn url(&self, claim: Claim<'_>) -> String {
        let signature = URL_SAFE_NO_PAD.encode(self.mac_of(claim).finalize().into_bytes());
        let path = encode_path(claim.target.trim_start_matches('/'));
        let Claim { action, attempt, size, sha256, .. } = claim;
        let mut query = format!("task={}&epoch={}", attempt.task, attempt.epoch);
        if size > 0 {
            query.push_str(&format!("&size={size}"));
        }
        if let Some(sha256) = sha256 {
            query.push_str(&format!("&sha256={sha256}"));
        }
        format!("{}{path}?{query}&signature={signature}", action.route())
    }

    /// Checks what came in against `params`. Whether the attempt is current is not looked at.
    ///
    /// # Errors
    /// The signature is not over exactly this.
    pub fn verify(&self, action: Action, target: &str, params: &Params) -> Result<Leave, Refused> {
        let attempt = AttemptId { task: params.task, epoch: params.epoch };
        let sha256 = match params.sha256.as_str() {
            "" => None,
            text => Some(text.parse().map_err(|_| Refused)?),
        };
        let claim = Claim { action, target, attempt, size: params.size, sha256 };
        let signature = URL_SAFE_NO_PAD.decode(&params.signature).map_err(|_| Refused)?;
        self.mac_of(claim).verify_slice(&signature).map_err(|_| Refused)?;
        Ok(Leave { attempt, size: params.size, sha256 })
    }

    fn mac_of(&self, claim: Claim<'_>) -> Hmac<Sha256> {
        // Targets hold no line feed (they are checked paths), so the fields cannot run into each other.
        let Claim { action, target, attempt: AttemptId { task, epoch }, size, sha256 } = claim;
        let sha256 = sha256.map(|sha256| sha256.to_string()).unwrap_or_default();
        let text = format!("{}\n{task}\n{epoch}\n{size}\n{sha256}\n{target}", action.word());
        let mut mac = self.mac.clone();
        mac.update(text.as_bytes());
        mac
    }
}

/// A signing key as text in its file: base64url.
pub struct KeyText(pub [u8; KEY_LENGTH]);

impl fmt::Display for KeyText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl FromStr for KeyText {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let bytes = URL_SAFE_NO_PAD.decode(text.trim()).map_err(drop)?;
        bytes.try_into().map(Self).map_err(drop)
    }
}

/// Percent-encodes everything but RFC 3986's unreserved characters and `/`.
#[must_use]
pub fn encode_path(path: &str) -> String {
    let mut encoded = String::with_capacity(path.len() + 16);
    for byte in path.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                encoded.push(char::from(byte));
            }
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signer() -> Signer {
        Signer::new(&[7; KEY_LENGTH])
    }

    fn attempt() -> AttemptId {
        let task = "01890a5d-ac96-774b-bcce-b302099a8057".parse().unwrap();
        AttemptId { task, epoch: Epoch(3) }
    }

    fn claim(target: &str) -> Claim<'_> {
        let sha256 = Some(Digest::of(b"12345"));
        Claim { action: Action::Write, target, attempt: attempt(), size: 5, sha256 }
    }

    fn params(url: &str) -> Params {
        let AttemptId { task, epoch } = attempt();
        let mut params = Params { task, epoch, size: 0, sha256: String::new(), signature: String::new() };
        for (name, value) in
            url.split_once('?').unwrap().1.split('&').map(|pair| pair.split_once('=').unwrap())
        {
            match name {
                "task" => params.task = value.parse().unwrap(),
                "epoch" => params.epoch = Epoch(value.parse().unwrap()),
                "size" => params.size = value.parse().unwrap(),
                "sha256" => value.clone_into(&mut params.sha256),
                "signature" => value.clone_into(&mut params.signature),
                _ => panic!("{name}"),
            }
        }
        params
    }

    #[test]
    fn a_url_opens_what_it_was_signed_for() {
        let url = signer().url(claim("jobs/a/b c"));
        let task = attempt().task;
        assert!(
            url.starts_with(&format!("/objects/jobs/a/b%20c?task={task}&epoch=3&size=5&sha256=")),
            "{url}"
        );
        let leave = signer().verify(Action::Write, "jobs/a/b c", &params(&url)).unwrap();
        assert_eq!(leave, Leave { attempt: attempt(), size: 5, sha256: Some(Digest::of(b"12345")) });
        let reading = Claim { action: Action::Read, size: 0, sha256: None, ..claim("a") };
        let leave = signer().verify(Action::Read, "a", &params(&signer().url(reading))).unwrap();
        assert_eq!(leave, Leave { attempt: attempt(), size: 0, sha256: None });
    }

    #[test]
    fn any_change_breaks_the_signature() {
        let good = params(&signer().url(claim("jobs/a")));
        assert_eq!(signer().verify(Action::Write, "jobs/b", &good), Err(Refused));
        assert_eq!(signer().verify(Action::Read, "jobs/a", &good), Err(Refused));
        assert_eq!(signer().verify(Action::ReadShared, "jobs/a", &good), Err(Refused));
        for changed in [
            Params { epoch: Epoch(4), ..good.clone() },
            Params { task: TaskId::new(), ..good.clone() },
            Params { size: 6, ..good.clone() },
            Params { sha256: Digest::of(b"x").to_string(), ..good.clone() },
            Params { sha256: String::new(), ..good.clone() },
            Params { sha256: "x".to_owned(), ..good.clone() },
            Params { signature: String::new(), ..good.clone() },
            Params { signature: "!".to_owned(), ..good.clone() },
            Params { signature: good.signature[1..].to_owned(), ..good.clone() },
        ] {
            assert_eq!(signer().verify(Action::Write, "jobs/a", &changed), Err(Refused), "{changed:?}");
        }
        assert_eq!(Signer::new(&[8; KEY_LENGTH]).verify(Action::Write, "jobs/a", &good), Err(Refused));
    }

    #[test]
    fn a_key_survives_its_file() {
        let text = format!("{}\n", KeyText([9; KEY_LENGTH]));
        assert_eq!(text.parse::<KeyText>().unwrap().0, [9; KEY_LENGTH]);
        assert!("short".parse::<KeyText>().is_err());
    }
}
