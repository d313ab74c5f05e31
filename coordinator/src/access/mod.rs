//! Who may use the HTTP API: keys, what each opens, and in whose name.
//!
//! There is no user and no password: a key of 256 random bits is shown once, to whoever makes it. Kept is its SHA-256: a hash
//! that is slow on purpose protects secrets that can be guessed, and this one cannot. Checking one costs a hash and a look
//! into a map, so wrong keys are not counted against whoever presents them: guessing is hopeless at any rate.
//!
//! Durable: every key that was ever made, revoked ones too. Once there was one, the API is never open again.

mod caller;
mod key;
mod keys;
mod session;

#[cfg(test)]
pub(crate) use self::caller::testing;
pub(crate) use self::{
    caller::{Caller, Foreign},
    key::{MIN_OPERATOR_KEY, Token},
    keys::{Access, Error, Refusal},
    session::{LASTS, NoSession, Session, Sessions},
};

/// Bytes of an owner's name.
pub(crate) const MAX_OWNER: usize = 128;
