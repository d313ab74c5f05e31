//! Signatures of Standard Webhooks 1.0: HMAC-SHA256 over id, time and body, so that a receiver knows who sent it, and that it
//! is no old one sent again.
//!
//! Each owner has a secret of its own, which comes of the deployment's: who can verify what is sent to it cannot sign what is
//! sent to others.

use std::{fmt, str::FromStr};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// What Standard Webhooks says a secret begins with.
const PREFIX: &str = "whsec_";
/// Bytes of a secret that was given, as Standard Webhooks has them.
const LENGTHS: std::ops::RangeInclusive<usize> = 24..=64;
/// Bytes of a secret that is made here.
const MADE: usize = 32;

/// A key that signs.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

/// A text that is no secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a secret is whsec_ and then 24 to 64 bytes in base64, as `echo whsec_$(openssl rand -base64 32)` makes it"
)]
pub struct NoSecret;

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl FromStr for Secret {
    type Err = NoSecret;

    fn from_str(text: &str) -> Result<Self, NoSecret> {
        let encoded = text.trim().strip_prefix(PREFIX).ok_or(NoSecret)?;
        let key = STANDARD.decode(encoded).map_err(|_| NoSecret)?;
        if LENGTHS.contains(&key.len()) { Ok(Self(key)) } else { Err(NoSecret) }
    }
}

impl Secret {
    pub(crate) fn random() -> Self {
        let mut key = vec![0; MADE];
        rand::fill(key.as_mut_slice());
        Self(key)
    }

    /// As receivers take it.
    pub(crate) fn text(&self) -> String {
        format!("{PREFIX}{}", STANDARD.encode(&self.0))
    }

    fn mac(&self, parts: &[&[u8]]) -> Vec<u8> {
        let mut mac: Hmac<Sha256> = Hmac::new_from_slice(&self.0).expect("HMAC takes keys of any length");
        for part in parts {
            mac.update(part);
        }
        mac.finalize().into_bytes().to_vec()
    }
}

/// Those of the deployment, newest first; never empty. All of them sign, so that one can be changed for another while
/// receivers still know the older one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Secrets(Vec<Secret>);

/// With commas or spaces between them.
impl FromStr for Secrets {
    type Err = NoSecret;

    fn from_str(text: &str) -> Result<Self, NoSecret> {
        let parts = text.split([',', ' ', '\n']).map(str::trim).filter(|part| !part.is_empty());
        let secrets = parts.map(str::parse).collect::<Result<Vec<_>, _>>()?;
        if secrets.is_empty() { Err(NoSecret) } else { Ok(Self(secrets)) }
    }
}

impl Secrets {
    /// Those of an owner's jobs; `None`: of jobs without an owner, which are signed with the deployment's own.
    #[must_use]
    pub(crate) fn of(&self, owner: Option<&str>) -> Self {
        let Some(owner) = owner else { return self.clone() };
        let derive = |secret: &Secret| Secret(secret.mac(&[b"tvarr webhooks of owner ", owner.as_bytes()]));
        Self(self.0.iter().map(derive).collect())
    }

    /// As receivers take them.
    pub(crate) fn texts(&self) -> Vec<String> {
        self.0.iter().map(Secret::text).collect()
    }

    /// `webhook-signature`. `at`: seconds since the Unix epoch, as `webhook-timestamp` says.
    #[must_use]
    pub(crate) fn signature(&self, id: &str, at: i64, body: &str) -> String {
        let (at, dot) = (at.to_string(), b".".as_slice());
        let parts = [id.as_bytes(), dot, at.as_bytes(), dot, body.as_bytes()];
        let sign = |secret: &Secret| format!("v1,{}", STANDARD.encode(secret.mac(&parts)));
        self.0.iter().map(sign).collect::<Vec<_>>().join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of the reference implementations of Standard Webhooks.
    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    const BODY: &str = r#"{"test": 2432232314}"#;

    #[test]
    fn signs_as_the_reference_does() {
        let secrets: Secrets = SECRET.parse().unwrap();
        assert_eq!(
            secrets.signature(ID, 1_614_265_330, BODY),
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
        );
        assert_eq!(secrets.texts(), [SECRET]);
    }

    #[test]
    fn every_secret_signs() {
        let other = Secret::random().text();
        let both: Secrets = format!("{other},{SECRET}").parse().unwrap();
        let alone: Secrets = SECRET.parse().unwrap();
        let signature = both.signature(ID, 1, BODY);
        let signatures: Vec<_> = signature.split(' ').collect();
        assert_eq!((signatures.len(), signatures[1]), (2, alone.signature(ID, 1, BODY).as_str()));
    }

    #[test]
    fn each_owner_has_a_secret_of_its_own() {
        let secrets: Secrets = SECRET.parse().unwrap();
        let texts = [None, Some("ann"), Some("bob")].map(|owner| secrets.of(owner).texts().remove(0));
        assert_eq!(texts[0], SECRET);
        assert!(texts[0] != texts[1] && texts[1] != texts[2]);
        assert_eq!(secrets.of(Some("ann")).texts()[0], texts[1], "the same each time");
        assert!(texts[1].parse::<Secret>().is_ok());
    }

    #[test]
    fn what_is_no_secret_is_refused() {
        for text in ["", "whsec_", "whsec_c2hvcnQ=", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_?", ","] {
            assert_eq!(text.parse::<Secrets>(), Err(NoSecret), "{text}");
        }
    }
}
