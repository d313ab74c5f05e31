//! Whether an upload can be read from its beginning while more of it comes: told from its first boxes, where it is an ISO base
//! media file (MP4, QuickTime). Other containers can.

/// Bytes of a box's header that are looked at.
pub(super) const HEADER: usize = 16;

/// What the outermost boxes of such a file are.
const OUTER: [&[u8; 4]; 14] = [
    b"ftyp", b"styp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot", b"sidx", b"moof", b"meta",
    b"uuid", b"pdin", b"emsg",
];

/// What is known of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Readable {
    /// Too little has come to tell, or its index is on its way.
    NotYet,
    /// From its beginning.
    Forward,
    /// Once all of it is there: its index comes behind the media.
    AtEnd,
}

/// Goes from box to box as they come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Index {
    /// Where the next box that was not looked at begins.
    at: u64,
    readable: Readable,
}

impl Default for Index {
    fn default() -> Self {
        Self { at: 0, readable: Readable::NotYet }
    }
}

impl Index {
    pub(super) fn readable(&self) -> Readable {
        self.readable
    }

    /// Looks at what there is. `read`: the bytes from a place on, as far as they are there and at most [`HEADER`]. `whole`: no
    /// more comes.
    ///
    /// # Errors
    /// Of `read`.
    pub(super) fn look<E>(
        &mut self,
        received: u64,
        whole: bool,
        mut read: impl FnMut(u64) -> Result<Vec<u8>, E>,
    ) -> Result<Readable, E> {
        while self.readable == Readable::NotYet {
            if whole {
                self.readable = Readable::Forward;
                break;
            }
            if received < self.at.saturating_add(HEADER as u64) || !self.step(&read(self.at)?, received) {
                break;
            }
        }
        Ok(self.readable)
    }

    /// Whether there is more to look at.
    fn step(&mut self, header: &[u8], received: u64) -> bool {
        let Some((kind, size)) = box_header(header) else { return false };
        if self.at == 0 && !OUTER.contains(&&kind) {
            self.readable = Readable::Forward;
            return false;
        }
        match (&kind, size) {
            (b"moov", Some(size)) if self.at.saturating_add(size) <= received => {
                self.readable = Readable::Forward;
            }
            (b"moov", Some(_)) => return false,
            // Fragments without an index in front: ffmpeg says what is wrong with that.
            (b"moof", _) => self.readable = Readable::Forward,
            // To the end of the file.
            (b"mdat", _) | (_, None) => self.readable = Readable::AtEnd,
            // No box is smaller than its header.
            (_, Some(0..8)) => self.readable = Readable::Forward,
            (_, Some(size)) => self.at = self.at.saturating_add(size),
        }
        true
    }
}

/// Type and size of a box; no size: to the end of the file.
fn box_header(header: &[u8]) -> Option<([u8; 4], Option<u64>)> {
    let size = u32::from_be_bytes(header.get(..4)?.try_into().ok()?);
    let kind = header.get(4..8)?.try_into().ok()?;
    let size = match size {
        0 => None,
        1 => Some(u64::from_be_bytes(header.get(8..16)?.try_into().ok()?)),
        size => Some(size.into()),
    };
    Some((kind, size))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn boxed(kind: &[u8; 4], content: usize) -> Vec<u8> {
        let mut data = u32::try_from(content + 8).unwrap().to_be_bytes().to_vec();
        data.extend_from_slice(kind);
        data.resize(content + 8, 7);
        data
    }

    fn look(index: &mut Index, file: &[u8], received: usize) -> Readable {
        let read = |at: u64| {
            let at = usize::try_from(at).unwrap();
            Ok::<_, ()>(file[at..received.min(at + HEADER)].to_vec())
        };
        index.look(received as u64, received == file.len(), read).unwrap()
    }

    /// The first number of bytes at which it can be read.
    fn first(file: &[u8]) -> usize {
        let mut index = Index::default();
        (0..=file.len())
            .find(|received| look(&mut index, file, *received) == Readable::Forward)
            .unwrap_or(file.len())
    }

    #[test]
    fn an_index_in_front_must_be_there_whole() {
        let front =
            [boxed(b"ftyp", 24), boxed(b"free", 4), boxed(b"moov", 500), boxed(b"mdat", 5000)].concat();
        assert_eq!(first(&front), 32 + 12 + 508);
        let fragmented =
            [boxed(b"ftyp", 24), boxed(b"moov", 50), boxed(b"moof", 9), boxed(b"mdat", 90)].concat();
        assert_eq!(first(&fragmented), 32 + 58);
    }

    #[test]
    fn media_in_front_means_waiting_for_the_end() {
        for front in [boxed(b"mdat", 5000), boxed(b"wide", 0)] {
            let file = [boxed(b"ftyp", 24), front, boxed(b"mdat", 100), boxed(b"moov", 500)].concat();
            let mut index = Index::default();
            assert_eq!(look(&mut index, &file, file.len() - 1), Readable::AtEnd);
            assert_eq!(look(&mut index, &file, file.len()), Readable::AtEnd);
        }
        let mut large = boxed(b"ftyp", 24);
        large.extend([0, 0, 0, 1]);
        large.extend(b"mdat");
        large.extend(u64::MAX.to_be_bytes());
        large.push(0);
        assert_eq!(look(&mut Index::default(), &large, large.len() - 1), Readable::AtEnd);
    }

    #[test]
    fn other_containers_are_read_from_their_beginning() {
        let mkv = [0x1a, 0x45, 0xdf, 0xa3, 1, 0, 0, 0, 0, 0, 0, 0x23, 0x42, 0x86, 0x81, 1, 1];
        assert_eq!(look(&mut Index::default(), &mkv, 15), Readable::NotYet);
        assert_eq!(look(&mut Index::default(), &mkv, 16), Readable::Forward);
        assert_eq!(look(&mut Index::default(), b"tiny", 4), Readable::Forward, "it is whole");
    }

    proptest! {
        /// Whatever comes and in whatever pieces: a decision never changes, and at the end there is one.
        #[test]
        fn a_decision_stands(file in prop::collection::vec(any::<u8>(), 1..300), boxes in prop::collection::vec((0..14_usize, 0..40_usize), 0..6), steps in prop::collection::vec(0..100_usize, 0..20)) {
            let mut data: Vec<u8> = boxes.iter().flat_map(|(kind, size)| boxed(OUTER[*kind], *size)).collect();
            data.extend(file);
            let mut index = Index::default();
            let mut received = 0;
            for step in steps {
                received = (received + step).min(data.len());
                let before = index.readable();
                let after = look(&mut index, &data, received);
                prop_assert!(before == Readable::NotYet || before == after);
            }
            prop_assert_ne!(look(&mut index, &data, data.len()), Readable::NotYet);
        }
    }
}
