//! Telling MPEG-TS from what people give instead of it.

use mux::ts::PACKET;
use reqwest::header::{CONTENT_TYPE, HeaderMap};

/// First byte of each packet (ISO/IEC 13818-1, 2.4.3.3).
const SYNC: u8 = 0x47;
/// Packets in a row that make it certain.
const CERTAIN: usize = 3;
/// Where there was nothing of MPEG-TS within this, there is none.
const HEAD: usize = 64 * 1024;

/// What a body is, as far as it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    TransportStream,
    Unknown,
    /// What it is instead.
    Other(&'static str),
}

/// Looks at a body as it comes.
#[derive(Debug)]
pub struct Sniffer {
    head: Vec<u8>,
    /// No packets begin before this.
    looked: usize,
    announced: Option<&'static str>,
    certain: bool,
}

impl Sniffer {
    #[must_use]
    pub fn new(headers: &HeaderMap) -> Self {
        let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let announced = announced(&kind.to_ascii_lowercase());
        Self { head: Vec::new(), looked: 0, announced, certain: false }
    }

    /// Takes the next piece of it.
    pub fn look(&mut self, chunk: &[u8]) -> Verdict {
        if self.certain {
            return Verdict::TransportStream;
        }
        self.head.extend_from_slice(&chunk[..chunk.len().min(HEAD - self.head.len())]);
        if let Some(other) = begins(&self.head) {
            return Verdict::Other(other);
        }
        if self.has_packets() {
            self.certain = true;
            self.head = Vec::new();
            return Verdict::TransportStream;
        }
        if self.head.len() < HEAD {
            Verdict::Unknown
        } else {
            Verdict::Other(self.announced.unwrap_or("something else"))
        }
    }

    fn has_packets(&mut self) -> bool {
        let syncs =
            |from: usize| (0..CERTAIN).all(|packet| self.head.get(from + packet * PACKET) == Some(&SYNC));
        let end = self.head.len().saturating_sub((CERTAIN - 1) * PACKET);
        let found = (self.looked..end).any(syncs);
        self.looked = self.looked.max(end);
        found
    }

    /// What a body that is over was instead.
    #[must_use]
    pub fn end(&self) -> Option<&'static str> {
        if self.certain {
            return None;
        }
        Some(if self.head.is_empty() { "nothing" } else { self.announced.unwrap_or("something else") })
    }
}

fn announced(kind: &str) -> Option<&'static str> {
    Some(match kind.split(';').next().unwrap_or_default().trim() {
        "application/vnd.apple.mpegurl" | "application/x-mpegurl" | "audio/mpegurl" | "audio/x-mpegurl" => {
            "an HLS playlist"
        }
        "application/dash+xml" => "a DASH manifest",
        "text/html" => "a web page",
        "video/mp4" => "an MP4 file",
        _ => return None,
    })
}

/// What it is, by how it begins.
fn begins(head: &[u8]) -> Option<&'static str> {
    let text = head.trim_ascii_start();
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let starts = |word: &[u8]| text.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word));
    if starts(b"#EXTM3U") {
        return Some("an HLS playlist");
    }
    if starts(b"<!doctype html") || starts(b"<html") {
        return Some("a web page");
    }
    if starts(b"<?xml") || starts(b"<MPD") {
        return Some("a DASH manifest or other XML");
    }
    if matches!(head.get(4..8), Some(b"ftyp" | b"styp" | b"moov")) {
        return Some("an MP4 file");
    }
    if head.starts_with(b"\x1a\x45\xdf\xa3") {
        return Some("a Matroska or WebM file");
    }
    head.starts_with(b"FLV\x01").then_some("an FLV stream")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(bytes: &[u8], piece: usize) -> Verdict {
        let mut sniffer = Sniffer::new(&HeaderMap::new());
        let mut last = Verdict::Unknown;
        for chunk in bytes.chunks(piece) {
            last = sniffer.look(chunk);
            if last != Verdict::Unknown {
                break;
            }
        }
        last
    }

    fn packets(before: usize) -> Vec<u8> {
        let mut bytes = vec![0; before];
        for _ in 0..4 {
            bytes.push(SYNC);
            bytes.extend([0xff; PACKET - 1]);
        }
        bytes
    }

    #[test]
    fn a_transport_stream_is_known_wherever_it_begins_and_however_it_comes() {
        for (before, piece) in [(0, 1), (0, 4096), (100, 7), (5000, 1316)] {
            assert_eq!(look(&packets(before), piece), Verdict::TransportStream, "{before} {piece}");
        }
    }

    #[test]
    fn what_people_give_instead_is_named() {
        for (bytes, what) in [
            (&b"\n#EXTM3U\n#EXT-X-VERSION:3"[..], "an HLS playlist"),
            (b"<!DOCTYPE HTML><html>", "a web page"),
            (b"\0\0\0\x20ftypisom", "an MP4 file"),
            (b"\x1a\x45\xdf\xa3\x01", "a Matroska or WebM file"),
        ] {
            for piece in [1, 1000] {
                assert_eq!(look(bytes, piece), Verdict::Other(what));
            }
        }
        assert_eq!(look(&vec![0; 100_000], 4096), Verdict::Other("something else"));
        assert_eq!(Sniffer::new(&HeaderMap::new()).end(), Some("nothing"));
    }

    #[test]
    fn the_content_type_helps_where_the_bytes_say_nothing() {
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, "text/html; charset=utf-8".parse().unwrap())]);
        let mut sniffer = Sniffer::new(&headers);
        assert_eq!(sniffer.look(b"not found"), Verdict::Unknown);
        assert_eq!(sniffer.end(), Some("a web page"));
    }
}
