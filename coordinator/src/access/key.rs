//! The text of a key.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use common::{config::Secret, digest::Digest};
use subtle::ConstantTimeEq as _;

/// Tells a key from every other secret, for people and for programs that look for leaked ones.
const PREFIX: &str = "tvarr_";
/// 256 bits.
const BYTES: usize = 32;
/// Characters of a key that are kept in the clear: the prefix, and 24 of the 256 bits.
const HINT: usize = PREFIX.len() + 4;
/// Characters of the key that an operator chooses.
pub(crate) const MIN_OPERATOR_KEY: usize = 20;

/// `tvarr_` and 43 characters that need no quoting anywhere.
pub(super) fn generate() -> String {
    let mut bytes = [0; BYTES];
    rand::fill(&mut bytes);
    format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes))
}

pub(super) fn digest(key: &str) -> Digest {
    Digest::of(key.as_bytes())
}

/// A secret of the configuration that opens one thing and is nobody's key.
#[derive(Debug, Clone)]
pub(crate) struct Token(Digest);

impl Token {
    pub(crate) fn new(secret: &Secret) -> Self {
        Self(digest(secret.expose()))
    }

    /// In constant time.
    pub(crate) fn is(&self, presented: &str) -> bool {
        digest(presented).bytes().ct_eq(self.0.bytes()).into()
    }
}

/// The beginning of a key that was [generated](generate).
pub(super) fn hint(key: &str) -> String {
    key.chars().take(HINT).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_keys_are_the_same_and_the_hint_is_no_key() {
        let (one, two) = (generate(), generate());
        assert_ne!(one, two);
        assert_eq!(one.len(), PREFIX.len() + 43);
        assert!(one.starts_with(&hint(&one)) && hint(&one).len() == 10);
        assert!(one.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'));
    }
}
