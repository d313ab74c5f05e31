//! What ffprobe says about a result.

use std::{path::Path, process::Command};

use serde::Deserialize;

use crate::binaries;

#[derive(Debug, Clone, Deserialize)]
pub struct Media {
    #[serde(default)]
    pub streams: Vec<Stream>,
    pub format: Format,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Format {
    pub format_name: String,
    #[serde(default)]
    pub duration: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Stream {
    pub codec_type: String,
    pub codec_name: String,
    pub codec_tag_string: String,
    pub profile: Option<String>,
    pub width: u32,
    pub height: u32,
    pub pix_fmt: Option<String>,
    pub channels: u32,
    pub color_transfer: Option<String>,
    pub nb_read_packets: Option<String>,
    pub disposition: std::collections::BTreeMap<String, u8>,
}

impl Stream {
    #[must_use]
    pub fn packets(&self) -> u64 {
        self.nb_read_packets.as_deref().and_then(|count| count.parse().ok()).unwrap_or_default()
    }
}

impl Media {
    /// Reads a file or URL with ffprobe and counts every packet.
    ///
    /// # Panics
    /// ffprobe cannot read it.
    #[must_use]
    pub fn read(path: &Path) -> Self {
        let output = Command::new(binaries::system("ffprobe"))
            .args(["-v", "error", "-count_packets", "-show_streams", "-show_format", "-of", "json"])
            .args(["-allowed_extensions", "ALL"].iter().filter(|_| path.extension() == Some("m3u8".as_ref())))
            .arg(path)
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "ffprobe cannot read {}: {}",
            path.display(),
            String::from_utf8_lossy(&output.stderr)
        );
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Seconds; 0 when unknown.
    #[must_use]
    pub fn duration(&self) -> f64 {
        self.format.duration.as_deref().and_then(|text| text.parse().ok()).unwrap_or_default()
    }

    pub fn of_kind(&self, kind: &'static str) -> impl Iterator<Item = &Stream> {
        self.streams.iter().filter(move |stream| stream.codec_type == kind)
    }

    /// The first video stream that is no cover art.
    ///
    /// # Panics
    /// There is none.
    #[must_use]
    pub fn video(&self) -> &Stream {
        self.of_kind("video")
            .find(|stream| stream.disposition.get("attached_pic") != Some(&1))
            .unwrap_or_else(|| panic!("no video in {self:?}"))
    }

    /// # Panics
    /// There is none.
    #[must_use]
    pub fn audio(&self) -> &Stream {
        self.of_kind("audio").next().unwrap_or_else(|| panic!("no audio in {self:?}"))
    }
}

/// Decodes the whole file and gives what ffmpeg complained about.
#[must_use]
pub fn decode_errors(path: &Path) -> String {
    let output = Command::new(binaries::system("ffmpeg"))
        .args(["-nostdin", "-v", "error", "-xerror"])
        .args(["-allowed_extensions", "ALL"].iter().filter(|_| path.extension() == Some("m3u8".as_ref())))
        .arg("-i")
        .arg(path)
        .args(["-map", "0:v?", "-map", "0:a?", "-f", "null", "-"])
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() { errors } else { format!("{}: {errors}", output.status) }
}

/// Presentation times of the key frames of the first video stream, in seconds.
#[must_use]
pub fn key_frames(path: &Path) -> Vec<f64> {
    let output = Command::new(binaries::system("ffprobe"))
        .args([
            "-v",
            "error",
            "-select_streams",
            "v:0",
            "-show_entries",
            "packet=pts_time,flags",
            "-of",
            "csv=p=0",
        ])
        .args(["-allowed_extensions", "ALL"].iter().filter(|_| path.extension() == Some("m3u8".as_ref())))
        .arg(path)
        .output()
        .unwrap();
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| line.split_once(','))
        .filter(|(_, flags)| flags.starts_with('K'))
        .filter_map(|(time, _)| time.parse().ok())
        .collect()
}
