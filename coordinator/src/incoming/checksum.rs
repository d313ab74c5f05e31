//! The checksum that may come with a piece of an upload.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use md5::Md5;
use sha1::Sha1;
use sha2::{Digest as _, Sha256};

/// Names of the algorithms, as in `Tus-Checksum-Algorithm`.
pub(crate) const ALGORITHMS: &str = "sha1,sha256,md5";

/// What a piece must hash to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Checksum {
    algorithm: Algorithm,
    digest: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Algorithm {
    Md5,
    Sha1,
    Sha256,
}

impl Checksum {
    /// `sha1 2jmj7l5rSw0yVb/vlWAYkK/YBwk=`
    ///
    /// # Errors
    /// It is none, in words.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (name, digest) = text.split_once(' ').ok_or("it is no algorithm and digest")?;
        let (algorithm, length) = match name {
            "md5" => (Algorithm::Md5, 16),
            "sha1" => (Algorithm::Sha1, 20),
            "sha256" => (Algorithm::Sha256, 32),
            other => {
                let shown: String = other.chars().take(32).collect();
                return Err(format!("the algorithm {shown:?} is not one of {ALGORITHMS}"));
            }
        };
        let digest = BASE64_STANDARD.decode(digest.trim()).map_err(|_| "its digest is no Base64")?;
        if digest.len() != length {
            return Err(format!("its digest has {} bytes and {name} has {length}", digest.len()));
        }
        Ok(Self { algorithm, digest })
    }

    pub(super) fn hasher(&self) -> Hasher {
        match self.algorithm {
            Algorithm::Md5 => Hasher::Md5(Md5::default()),
            Algorithm::Sha1 => Hasher::Sha1(Sha1::default()),
            Algorithm::Sha256 => Hasher::Sha256(Sha256::default()),
        }
    }

    pub(super) fn fits(&self, hasher: Hasher) -> bool {
        match hasher {
            Hasher::Md5(hasher) => hasher.finalize().as_slice() == self.digest,
            Hasher::Sha1(hasher) => hasher.finalize().as_slice() == self.digest,
            Hasher::Sha256(hasher) => hasher.finalize().as_slice() == self.digest,
        }
    }
}

/// Hashes a piece while it is written.
#[derive(Debug, Clone)]
pub(super) enum Hasher {
    Md5(Md5),
    Sha1(Sha1),
    Sha256(Sha256),
}

impl Hasher {
    pub(super) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Md5(hasher) => hasher.update(bytes),
            Self::Sha1(hasher) => hasher.update(bytes),
            Self::Sha256(hasher) => hasher.update(bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_digests_fit_and_others_do_not() {
        for text in [
            "sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0=",
            "md5 XrY7u+Ae7tCTyyK7j1rNww==",
            "sha256 uU0nuZNNPgilLlLX2n2r+sSE7+N6U4DukIj3rOLvzek=",
        ] {
            let checksum = Checksum::parse(text).unwrap();
            let hash = |bytes: &[u8]| {
                let mut hasher = checksum.hasher();
                bytes.chunks(3).for_each(|piece| hasher.update(piece));
                checksum.fits(hasher)
            };
            assert!(hash(b"hello world"), "{text}");
            assert!(!hash(b"hello world!"), "{text}");
        }
    }

    #[test]
    fn what_is_no_checksum_is_told() {
        for text in ["", "sha1", "crc32 AAAA", "sha1 !!!!", "sha1 XrY7u+Ae7tCTyyK7j1rNww==", "SHA1  ="] {
            assert!(Checksum::parse(text).is_err(), "{text}");
        }
    }
}
