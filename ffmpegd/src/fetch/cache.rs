//! What was read of a source and is likely to be read again: the beginnings of reads. ffprobe, ffmpeg and each of a command's
//! inputs open a file anew, look at its head, seek to its index and from there to the pictures; on a server that is far away
//! each of those steps costs round trips. Sequential reading beyond a read's beginning is not kept.
//!
//! Only of files whose size is known and whose server honours ranges; bounded, and dropped with its source.

use std::collections::BTreeMap;

use bytes::Bytes;

/// Bytes of a read that are kept, from where it was opened: the index of an hour of film has 1 to 3 MiB.
const OF_A_READ: u64 = 4 << 20;
/// Bytes of one source. What comes when it is full is not kept: heads and indices come first.
const OF_A_SOURCE: usize = 16 << 20;

/// Pieces of a file by where they begin; none overlap.
#[derive(Debug, Default)]
pub(super) struct Cache {
    pieces: BTreeMap<u64, Bytes>,
    held: usize,
    /// Of the version that the pieces are of; `None`: the server does not say.
    tag: Option<String>,
}

impl Cache {
    /// What is held from there on, up to the end of its piece.
    pub(super) fn get(&self, at: u64) -> Option<Bytes> {
        let (start, piece) = self.pieces.range(..=at).next_back()?;
        let offset = usize::try_from(at - start).ok().filter(|offset| *offset < piece.len())?;
        Some(piece.slice(offset..))
    }

    /// The version that is held.
    pub(super) fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// Keeps `bytes`, which begin at `at`, as far as they are near where their read was opened and nothing of them is held.
    /// What is held of another version is forgotten.
    pub(super) fn keep(&mut self, opened: u64, at: u64, bytes: &Bytes, tag: Option<&str>) {
        if self.tag.as_deref() != tag {
            *self = Self { tag: tag.map(str::to_owned), ..Self::default() };
        }
        let near = opened.saturating_add(OF_A_READ).saturating_sub(at);
        let next = self.pieces.range(at..).next().map_or(u64::MAX, |(start, _)| start - at);
        let room = (OF_A_SOURCE - self.held) as u64;
        let length = (bytes.len() as u64).min(near).min(next).min(room);
        if length == 0 || self.get(at).is_some() {
            return;
        }
        let length = usize::try_from(length).expect("it is at most that of the bytes");
        // A copy: a slice would hold on to the whole buffer that it came in.
        self.pieces.insert(at, Bytes::copy_from_slice(&bytes[..length]));
        self.held += length;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_kept_is_given_from_any_place_in_it() {
        let mut cache = Cache::default();
        cache.keep(100, 100, &Bytes::from_static(b"abcdef"), None);
        assert_eq!(cache.get(100).as_deref(), Some(&b"abcdef"[..]));
        assert_eq!(cache.get(104).as_deref(), Some(&b"ef"[..]));
        assert_eq!((cache.get(99), cache.get(106)), (None, None));
        // Nothing twice: what comes before is cut where the held piece begins, what lies in it is not kept again.
        cache.keep(97, 97, &Bytes::from_static(b"xyzABC"), None);
        cache.keep(102, 102, &Bytes::from_static(b"C"), None);
        assert_eq!(cache.get(97).as_deref(), Some(&b"xyz"[..]));
        assert_eq!(cache.get(102).as_deref(), Some(&b"cdef"[..]));
        assert_eq!(cache.held, 9);
    }

    #[test]
    fn it_is_bounded_by_read_and_by_source() {
        let mut cache = Cache::default();
        let megabyte = Bytes::from(vec![1; 1 << 20]);
        for number in 0..6 {
            cache.keep(0, number << 20, &megabyte, None);
        }
        assert_eq!(cache.held, 4 << 20);
        for number in 6..40 {
            cache.keep(number << 20, number << 20, &megabyte, None);
        }
        assert_eq!(cache.held, OF_A_SOURCE);
    }

    #[test]
    fn another_version_takes_the_place_of_what_was_held() {
        let mut cache = Cache::default();
        cache.keep(0, 0, &Bytes::from_static(b"old"), Some("\"1\""));
        cache.keep(10, 10, &Bytes::from_static(b"new"), Some("\"2\""));
        assert_eq!((cache.get(0), cache.tag()), (None, Some("\"2\"")));
        assert_eq!(cache.get(10).as_deref(), Some(&b"new"[..]));
    }
}
