//! Sections out of the payloads of packets (2.4.4).

/// Longest section: 12 bits of length, and what is before it.
const LONGEST: usize = 4096 + 3;

/// Puts the sections of one PID together.
#[derive(Debug, Default)]
pub(super) struct Reader {
    buffer: Vec<u8>,
    /// There is a beginning in the buffer.
    begun: bool,
}

impl Reader {
    /// Packets were lost: what was begun is of no use.
    pub(super) fn reset(&mut self) {
        self.buffer.clear();
        self.begun = false;
    }

    /// A payload; `starts`: a section begins in it, where its first byte says. Answers whether all of it could be understood.
    pub(super) fn push(&mut self, payload: &[u8], starts: bool, mut found: impl FnMut(&[u8])) -> bool {
        if !starts {
            if self.begun {
                self.buffer.extend_from_slice(payload);
                self.take(&mut found);
            }
            return true;
        }
        let Some((&pointer, rest)) = payload.split_first() else { return false };
        let Some((before, rest)) = rest.split_at_checked(usize::from(pointer)) else {
            self.reset();
            return false;
        };
        if self.begun {
            self.buffer.extend_from_slice(before);
            self.take(&mut found);
        }
        self.buffer.clear();
        self.buffer.extend_from_slice(rest);
        self.begun = true;
        self.take(&mut found);
        true
    }

    /// The sections that are complete. They may follow each other directly; 0xFF begins what is only filling.
    fn take(&mut self, found: &mut impl FnMut(&[u8])) {
        const FILLING: u8 = 0xff;
        let mut rest = &self.buffer[..];
        while let [table, high, low, ..] = *rest
            && table != FILLING
        {
            let length = 3 + usize::from(u16::from_be_bytes([high & 0x0f, low]));
            let Some((section, next)) = rest.split_at_checked(length) else { break };
            found(section);
            rest = next;
        }
        self.begun = rest.first().is_some_and(|&table| table != FILLING);
        if self.begun {
            let done = self.buffer.len() - rest.len();
            self.buffer.drain(..done);
            debug_assert!(self.buffer.len() < LONGEST);
        } else {
            self.buffer.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_are_found_across_packets_and_side_by_side() {
        let mut reader = Reader::default();
        let mut found = Vec::new();
        let mut push =
            |payload: &[u8], starts| reader.push(payload, starts, |section| found.push(section.to_vec()));
        assert!(push(&[9, 9], false));
        assert!(push(&[0, 1, 0, 1, 7, 2, 0, 3, 8], true));
        assert!(push(&[2, 8, 8, 3, 0, 0, 0xff], true));
        assert!(push(&[9, 9], false));
        assert!(!push(&[5, 1], true));
        assert_eq!(found, [&[1, 0, 1, 7][..], &[2, 0, 3, 8, 8, 8], &[3, 0, 0]]);
    }
}
