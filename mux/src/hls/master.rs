//! Master (multivariant) playlists.

use std::fmt::Write as _;

use super::media::{Line, Quoted};

/// The renditions of a stream, the one to begin with first.
#[derive(Debug, Clone, PartialEq)]
pub struct Master {
    pub variants: Vec<Variant>,
    /// Every segment of every rendition begins with a key frame, and needs nothing that was before.
    pub independent: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Variant {
    pub uri: String,
    /// The most bits per second of any segment.
    pub bandwidth: u64,
    pub average_bandwidth: Option<u64>,
    /// RFC 6381, one for each track.
    pub codecs: Vec<String>,
    pub resolution: Option<(u32, u32)>,
    /// Frames per second.
    pub frame_rate: Option<f64>,
}

impl Master {
    /// The playlist's text.
    #[must_use]
    pub fn text(&self) -> String {
        let mut out = String::from("#EXTM3U\n#EXT-X-VERSION:7\n");
        if self.independent {
            out.push_str("#EXT-X-INDEPENDENT-SEGMENTS\n");
        }
        for variant in &self.variants {
            _ = write!(out, "#EXT-X-STREAM-INF:BANDWIDTH={}", variant.bandwidth);
            if let Some(average) = variant.average_bandwidth {
                _ = write!(out, ",AVERAGE-BANDWIDTH={average}");
            }
            if !variant.codecs.is_empty() {
                _ = write!(out, ",CODECS=\"{}\"", Quoted(&variant.codecs.join(",")));
            }
            if let Some((width, height)) = variant.resolution {
                _ = write!(out, ",RESOLUTION={width}x{height}");
            }
            if let Some(rate) = variant.frame_rate.filter(|rate| rate.is_finite() && *rate > 0.0) {
                _ = write!(out, ",FRAME-RATE={rate:.3}");
            }
            _ = writeln!(out, "\n{}", Line(&variant.uri));
        }
        out
    }
}
