//! Boxes, written and read.

use bytes::BytesMut;

/// Writes boxes one into the other; sizes are filled in when a box is closed.
#[derive(Debug, Default)]
pub(super) struct Writer {
    pub(super) bytes: BytesMut,
}

impl Writer {
    pub(super) fn with_capacity(capacity: usize) -> Self {
        Self { bytes: BytesMut::with_capacity(capacity) }
    }

    /// A box with what `body` writes.
    pub(super) fn boxed(&mut self, kind: &[u8; 4], body: impl FnOnce(&mut Self)) {
        let start = self.bytes.len();
        self.u32(0);
        self.put(kind);
        body(self);
        let size = u32::try_from(self.bytes.len() - start).unwrap_or(u32::MAX);
        self.set_u32(start, size);
    }

    /// A box with version and flags.
    pub(super) fn full(&mut self, kind: &[u8; 4], version: u8, flags: u32, body: impl FnOnce(&mut Self)) {
        self.boxed(kind, |w| {
            w.u32(u32::from(version) << 24 | flags);
            body(w);
        });
    }

    pub(super) fn put(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    pub(super) fn zeros(&mut self, count: usize) {
        self.bytes.resize(self.bytes.len() + count, 0);
    }

    pub(super) fn u16(&mut self, value: u16) {
        self.put(&value.to_be_bytes());
    }

    pub(super) fn u32(&mut self, value: u32) {
        self.put(&value.to_be_bytes());
    }

    pub(super) fn u64(&mut self, value: u64) {
        self.put(&value.to_be_bytes());
    }

    pub(super) fn set_u32(&mut self, at: usize, value: u32) {
        self.bytes[at..at + 4].copy_from_slice(&value.to_be_bytes());
    }
}

/// Reads what a box holds. Everything is `None` where it ends too early.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        self.take(2).map(|bytes| u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.take(4).map(|bytes| u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        Some(u64::from(self.u32()?) << 32 | u64::from(self.u32()?))
    }

    /// Version and flags.
    pub(super) fn version(&mut self) -> Option<(u8, u32)> {
        let word = self.u32()?;
        Some(((word >> 24) as u8, word & 0xff_ffff))
    }

    /// The boxes in it, with what each holds. Ends at one that is broken.
    pub(super) fn boxes(mut self) -> impl Iterator<Item = ([u8; 4], Reader<'a>)> {
        std::iter::from_fn(move || {
            let size = self.u32()? as usize;
            let kind: [u8; 4] = self.take(4)?.try_into().ok()?;
            let body = match size {
                0 => std::mem::take(&mut self.0),
                _ => self.take(size.checked_sub(8)?)?,
            };
            Some((kind, Reader(body)))
        })
    }

    /// The first box of a kind.
    pub(super) fn child(self, kind: &[u8; 4]) -> Option<Reader<'a>> {
        self.boxes().find(|(found, _)| found == kind).map(|(_, body)| body)
    }
}
