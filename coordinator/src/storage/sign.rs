//! Signed URLs: leave to do one thing to one object until a time, given to whoever holds the URL.
//!
//! A worker has no other way to any object. The signature covers what is done, to what, until when and how many bytes at
//! most; checking it takes the same time whatever was wrong with it.

use std::{fmt, str::FromStr};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
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
    /// One PUT of an object.
    Write,
}

impl Action {
    const fn word(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::ReadShared => "read-shared",
            Self::Write => "write",
        }
    }

    const fn route(self) -> &'static str {
        match self {
            Self::Read | Self::Write => "/objects/",
            Self::ReadShared => "/shared/",
        }
    }
}

/// What a signature covers.
#[derive(Debug, Clone, Copy)]
pub struct Claim<'a> {
    pub action: Action,
    /// Key of the object, or the shared file's absolute path.
    pub target: &'a str,
    /// Seconds since 1970 at which the URL stops working, by the coordinator's clock.
    pub expires: u64,
    /// Exact size of the body of a PUT, 0 for reading.
    pub size: u64,
}

/// The query of a signed URL.
#[derive(Debug, Clone, Deserialize)]
pub struct Params {
    expires: u64,
    #[serde(default)]
    size: u64,
    signature: String,
}

impl Params {
    /// Bytes that a PUT has to bring.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }
}

/// Why a URL is not honoured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("the URL's signature does not fit: it was changed, or signed with another key")]
    Signature,
    #[error("the URL has expired; ask the coordinator for a new one")]
    Expired,
}

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

    /// Path and query, to be resolved against the address of the worker port.
    #[must_use]
    pub fn url(&self, claim: Claim<'_>) -> String {
        let signature = URL_SAFE_NO_PAD.encode(self.mac_of(claim).finalize().into_bytes());
        let path = encode_path(claim.target.trim_start_matches('/'));
        let Claim { action, expires, size, .. } = claim;
        let size = if size > 0 { format!("&size={size}") } else { String::new() };
        format!("{}{path}?expires={expires}{size}&signature={signature}", action.route())
    }

    /// Checks what came in against `params`. `now` in seconds since 1970.
    ///
    /// # Errors
    /// The signature is not over exactly this, or the time is over.
    pub fn verify(&self, action: Action, target: &str, params: &Params, now: u64) -> Result<(), Refused> {
        let claim = Claim { action, target, expires: params.expires, size: params.size };
        let signature = URL_SAFE_NO_PAD.decode(&params.signature).map_err(|_| Refused::Signature)?;
        self.mac_of(claim).verify_slice(&signature).map_err(|_| Refused::Signature)?;
        if now >= params.expires { Err(Refused::Expired) } else { Ok(()) }
    }

    fn mac_of(&self, claim: Claim<'_>) -> Hmac<Sha256> {
        // Targets hold no line feed (they are checked paths), so the fields cannot run into each other.
        let Claim { action, target, expires, size } = claim;
        let text = format!("{}\n{expires}\n{size}\n{target}", action.word());
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

    const NOW: u64 = 1_000;

    fn signer() -> Signer {
        Signer::new(&[7; KEY_LENGTH])
    }

    fn claim(target: &str) -> Claim<'_> {
        Claim { action: Action::Write, target, expires: NOW + 10, size: 5 }
    }

    fn params(url: &str) -> Params {
        let mut params = Params { expires: 0, size: 0, signature: String::new() };
        for (name, value) in
            url.split_once('?').unwrap().1.split('&').map(|pair| pair.split_once('=').unwrap())
        {
            match name {
                "expires" => params.expires = value.parse().unwrap(),
                "size" => params.size = value.parse().unwrap(),
                "signature" => value.clone_into(&mut params.signature),
                _ => panic!("{name}"),
            }
        }
        params
    }

    #[test]
    fn a_url_opens_what_it_was_signed_for_until_it_expires() {
        let url = signer().url(claim("jobs/a/b c"));
        assert!(url.starts_with("/objects/jobs/a/b%20c?expires=1010&size=5&signature="), "{url}");
        let params = params(&url);
        assert_eq!(signer().verify(Action::Write, "jobs/a/b c", &params, NOW), Ok(()));
        assert_eq!(signer().verify(Action::Write, "jobs/a/b c", &params, NOW + 9), Ok(()));
        assert_eq!(signer().verify(Action::Write, "jobs/a/b c", &params, NOW + 10), Err(Refused::Expired));
    }

    #[test]
    fn any_change_breaks_the_signature() {
        let good = params(&signer().url(claim("jobs/a")));
        let refused = Err(Refused::Signature);
        assert_eq!(signer().verify(Action::Write, "jobs/b", &good, NOW), refused);
        assert_eq!(signer().verify(Action::Read, "jobs/a", &good, NOW), refused);
        assert_eq!(signer().verify(Action::ReadShared, "jobs/a", &good, NOW), refused);
        let later = Params { expires: good.expires + 1, ..good.clone() };
        assert_eq!(signer().verify(Action::Write, "jobs/a", &later, NOW), refused);
        let larger = Params { size: 6, ..good.clone() };
        assert_eq!(signer().verify(Action::Write, "jobs/a", &larger, NOW), refused);
        for signature in [String::new(), "!".to_owned(), good.signature[1..].to_owned()] {
            let cut = Params { signature, ..good.clone() };
            assert_eq!(signer().verify(Action::Write, "jobs/a", &cut, NOW), refused);
        }
        assert_eq!(Signer::new(&[8; KEY_LENGTH]).verify(Action::Write, "jobs/a", &good, NOW), refused);
    }

    #[test]
    fn a_key_survives_its_file() {
        let text = format!("{}\n", KeyText([9; KEY_LENGTH]));
        assert_eq!(text.parse::<KeyText>().unwrap().0, [9; KEY_LENGTH]);
        assert!("short".parse::<KeyText>().is_err());
    }
}
