//! Server-sent events: bytes in, `data:` of whole events out.

/// A line longer than this is no event of ours; the stream is given up.
const LONGEST: usize = 4 * 1024 * 1024;

/// The stream holds something that is no server-sent event.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the event stream holds a line of more than {LONGEST} bytes")]
pub(super) struct TooLong;

/// Splits a stream into events, however the bytes are cut.
#[derive(Debug, Default)]
pub(super) struct Parser {
    line: Vec<u8>,
    data: String,
    /// The last byte was a carriage return: a line feed now belongs to it.
    after_return: bool,
}

impl Parser {
    /// The data of the events that `bytes` completes.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Result<Vec<String>, TooLong> {
        let mut events = Vec::new();
        for &byte in bytes {
            match byte {
                b'\n' if self.after_return => self.after_return = false,
                b'\n' | b'\r' => {
                    self.after_return = byte == b'\r';
                    self.end_of_line(&mut events);
                }
                _ => {
                    self.after_return = false;
                    self.line.push(byte);
                    if self.line.len() + self.data.len() > LONGEST {
                        return Err(TooLong);
                    }
                }
            }
        }
        Ok(events)
    }

    fn end_of_line(&mut self, events: &mut Vec<String>) {
        let line = String::from_utf8_lossy(&self.line).into_owned();
        self.line.clear();
        if line.is_empty() {
            if !self.data.is_empty() {
                events.push(std::mem::take(&mut self.data));
            }
        } else if let Some(data) = line.strip_prefix("data:") {
            if !self.data.is_empty() {
                self.data.push('\n');
            }
            self.data.push_str(data.strip_prefix(' ').unwrap_or(data));
        }
        // Comments (keep-alives), event names and ids say nothing that the data does not say.
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &str = ": hello\n\nevent: job\ndata: {\"a\":1}\nid: 4\n\ndata:{\ndata: }\r\n\r\ndata: rest";

    #[test]
    fn events_come_out_whole_however_the_bytes_are_cut() {
        for size in 1..STREAM.len() {
            let mut parser = Parser::default();
            let events: Vec<_> =
                STREAM.as_bytes().chunks(size).flat_map(|chunk| parser.feed(chunk).unwrap()).collect();
            assert_eq!(events, ["{\"a\":1}", "{\n}"], "chunks of {size}");
        }
    }

    #[test]
    fn an_endless_line_is_given_up() {
        let mut parser = Parser::default();
        assert_eq!(parser.feed(&vec![b'x'; LONGEST + 1]), Err(TooLong));
    }
}
