//! Cuts a byte stream into lines of bounded length.

/// Longer lines are cut: what ffmpeg prints of metadata can be of any length.
const MAX_LINE: usize = 1024;

/// Splits at line feeds and carriage returns, drops empty lines and replaces what is no UTF-8.
#[derive(Debug, Default)]
pub(super) struct Lines {
    partial: Vec<u8>,
}

impl Lines {
    /// Calls `line` for each line that `bytes` complete.
    pub(super) fn push(&mut self, bytes: &[u8], mut line: impl FnMut(&str)) {
        for piece in bytes.split_inclusive(|byte| matches!(byte, b'\n' | b'\r')) {
            let (text, complete) = match piece.split_last() {
                Some((b'\n' | b'\r', text)) => (text, true),
                _ => (piece, false),
            };
            let room = MAX_LINE.saturating_sub(self.partial.len());
            self.partial.extend_from_slice(&text[..text.len().min(room)]);
            if complete {
                self.finish(&mut line);
            }
        }
    }

    /// The last line, if it has no end.
    pub(super) fn finish(&mut self, mut line: impl FnMut(&str)) {
        if !self.partial.is_empty() {
            line(String::from_utf8_lossy(&self.partial).trim_end());
            self.partial.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(pieces: &[&[u8]]) -> Vec<String> {
        let (mut lines, mut all) = (Lines::default(), Vec::new());
        for piece in pieces {
            lines.push(piece, |line| all.push(line.to_owned()));
        }
        lines.finish(|line| all.push(line.to_owned()));
        all
    }

    #[test]
    fn lines_may_come_in_pieces() {
        assert_eq!(split(&[b"fra", b"me=1\nfps", b"=2\r\n\nend"]), ["frame=1", "fps=2", "end"]);
    }

    #[test]
    fn a_line_without_end_takes_no_more_memory_than_one() {
        let long = vec![b'x'; 5000];
        assert_eq!(
            split(&[&long, &long, b"\nnext\n"]).iter().map(String::len).collect::<Vec<_>>(),
            [MAX_LINE, 4]
        );
    }
}
