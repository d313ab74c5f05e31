//! What may be done to an upload that comes in pieces: the rules of tus 1.0 as plain functions.

use common::id::UploadId;

use crate::{
    storage::path::safe_name,
    store::{Concat, UploadDetails, UploadRecord},
};

/// What uploads are held to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Bytes of one upload.
    pub(crate) max_bytes: u64,
    /// Milliseconds without a byte after which an upload that is not whole is removed.
    pub(crate) expiry_ms: i64,
}

/// What an upload is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NewUpload {
    /// `None`: it is said later.
    pub(crate) length: Option<u64>,
    pub(crate) filename: String,
    pub(crate) metadata: String,
    pub(crate) concat: Concat,
}

/// More bytes for an upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Append {
    /// Where they belong.
    pub(crate) offset: u64,
    /// The whole upload's length, if it is said with them.
    pub(crate) length: Option<u64>,
    /// How many they are, if that is known.
    pub(crate) bytes: Option<u64>,
}

/// Why something may not be done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("there is no upload {0}")]
    NoSuchUpload(String),
    #[error("the file is empty")]
    Empty,
    #[error("{length} bytes are more than the {limit} that are taken")]
    TooLarge { length: u64, limit: u64 },
    #[error("the bytes are said to begin at {given}, and the upload has {received}")]
    Offset { given: u64, received: u64 },
    #[error("the upload's length was said to be {before} and is now said to be {given}")]
    Length { before: u64, given: u64 },
    #[error("the upload has {received} bytes already, and its length is said to be {length}")]
    Short { length: u64, received: u64 },
    #[error("{bytes} bytes from {offset} on are more than the upload's length of {length}")]
    Overrun { offset: u64, bytes: u64, length: u64 },
    #[error("the upload was put together from others: nothing can be added to it")]
    Final,
    #[error("upload {0} is no partial upload")]
    NotPartial(UploadId),
    #[error("the partial upload {0} has not ended")]
    Unfinished(UploadId),
    #[error("upload {0} is a part of others, and no file by itself")]
    Part(UploadId),
    #[error("another request sends this upload")]
    TakenOver,
    #[error("too many uploads have not ended")]
    TooMany,
}

/// A new upload, of which nothing has come.
///
/// # Errors
/// It would be empty or too large.
pub(crate) fn create(
    id: UploadId,
    new: NewUpload,
    limits: Limits,
    now: i64,
) -> Result<UploadRecord, Refusal> {
    match new.length {
        Some(0) => return Err(Refusal::Empty),
        Some(length) if length > limits.max_bytes => {
            return Err(Refusal::TooLarge { length, limit: limits.max_bytes });
        }
        Some(_) | None => {}
    }
    Ok(UploadRecord {
        id,
        details: UploadDetails {
            filename: safe_name(&new.filename),
            metadata: new.metadata,
            concat: new.concat,
        },
        length: new.length,
        received: 0,
        placed: false,
        created_at: now,
        expires_at: now.saturating_add(limits.expiry_ms),
    })
}

/// The length of what `parts` make together, in this order.
///
/// # Errors
/// One of them is not there, is no part or has not ended; they are too large together, or nothing.
pub(crate) fn concatenate<'a>(
    parts: impl IntoIterator<Item = Result<&'a UploadRecord, String>>,
    limits: Limits,
) -> Result<u64, Refusal> {
    let mut length = 0_u64;
    for part in parts {
        let part = part.map_err(Refusal::NoSuchUpload)?;
        if part.details.concat != Concat::Partial {
            return Err(Refusal::NotPartial(part.id));
        }
        if !is_whole(part) {
            return Err(Refusal::Unfinished(part.id));
        }
        length = length.saturating_add(part.received);
    }
    match length {
        0 => Err(Refusal::Empty),
        length if length > limits.max_bytes => Err(Refusal::TooLarge { length, limit: limits.max_bytes }),
        length => Ok(length),
    }
}

/// Whether everything came.
pub(crate) fn is_whole(upload: &UploadRecord) -> bool {
    upload.length == Some(upload.received)
}

/// Whether it becomes a file by itself once it is whole.
pub(crate) fn is_input(upload: &UploadRecord) -> bool {
    upload.details.concat != Concat::Partial
}

impl Append {
    /// Looks at what is to be added before any of it is read. Returns the upload's length, if that is known by then, and how
    /// many bytes may come.
    ///
    /// # Errors
    /// It does not fit what is there.
    pub(crate) fn admit(&self, upload: &UploadRecord, limits: Limits) -> Result<(Option<u64>, u64), Refusal> {
        let received = upload.received;
        if matches!(upload.details.concat, Concat::Final(_)) {
            return Err(Refusal::Final);
        }
        if self.offset != received {
            return Err(Refusal::Offset { given: self.offset, received });
        }
        let length = match (upload.length, self.length) {
            (Some(before), Some(given)) if before != given => return Err(Refusal::Length { before, given }),
            (None, Some(0)) => return Err(Refusal::Empty),
            (None, Some(given)) if given > limits.max_bytes => {
                return Err(Refusal::TooLarge { length: given, limit: limits.max_bytes });
            }
            (None, Some(given)) if given < received => {
                return Err(Refusal::Short { length: given, received });
            }
            (before, given) => before.or(given),
        };
        let most = length.unwrap_or(limits.max_bytes);
        let room = most.saturating_sub(received);
        match (self.bytes, length) {
            (Some(bytes), _) if bytes <= room => Ok((length, room)),
            (None, _) => Ok((length, room)),
            (Some(bytes), Some(length)) => Err(Refusal::Overrun { offset: received, bytes, length }),
            (Some(bytes), None) => {
                Err(Refusal::TooLarge { length: received.saturating_add(bytes), limit: limits.max_bytes })
            }
        }
    }
}

/// More of it is on disk.
pub(crate) fn advance(upload: &mut UploadRecord, bytes: u64, limits: Limits, now: i64) {
    upload.received = upload.received.saturating_add(bytes);
    debug_assert!(upload.length.is_none_or(|length| upload.received <= length), "more than its length");
    upload.expires_at = now.saturating_add(limits.expiry_ms);
}

/// Whether it has waited too long for the rest of it, or, a part, for being put together.
pub(crate) fn is_expired(upload: &UploadRecord, now: i64) -> bool {
    !upload.placed && upload.expires_at <= now
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
