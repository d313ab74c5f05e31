//! What is really in a file, packet by packet: how many there are and when the first and the last is shown.
//!
//! Containers claim a duration in their headers, and a header is not cut off with the rest. ffprobe reads all packets
//! without decoding them, which costs about what copying the file costs.

use std::{collections::BTreeMap, ffi::OsString};

use super::probe::{Allowed, input_args, output_args};

/// Above, ffmpeg takes a step between two timestamps for a discontinuity (`-dts_delta_threshold`) and closes it. Seconds.
const DISCONTINUITY: f64 = 10.0;

const PACKETS: [&str; 6] = [
    "-hide_banner",
    "-loglevel",
    "error",
    "-show_entries",
    "packet=stream_index,pts_time,dts_time,duration_time,flags",
    "-of",
];
const CSV: &str = "csv=p=0";

/// ffprobe's arguments for the packets of an input.
#[must_use]
pub fn survey_args(url: &str, allowed: Allowed) -> Vec<OsString> {
    PACKETS.iter().chain([&CSV]).map(OsString::from).chain(input_args(url, allowed)).collect()
}

/// ffprobe's arguments for the packets of something that we made.
#[must_use]
pub fn survey_output_args(path: &std::path::Path) -> Vec<OsString> {
    PACKETS.iter().chain([&CSV]).map(OsString::from).chain(output_args(path)).collect()
}

/// The packets of a file.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Survey {
    streams: BTreeMap<u32, Packets>,
}

/// The packets of one stream; what an edit list throws away is not counted. Seconds on the file's own timeline.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Packets {
    pub count: u64,
    /// When the first is shown; `None` when none carries a timestamp.
    pub first: Option<f64>,
    /// When the last is shown.
    pub last: Option<f64>,
    /// When the last has been shown: as `last` where packets carry no duration.
    pub end: Option<f64>,
    /// The longest packet.
    pub longest: f64,
    /// Timestamps jump: a recording that was joined, or a clock that wrapped. First and last tell nothing then.
    pub jumps: bool,
    /// When the first packet is shown that can be decoded by itself.
    key: Option<f64>,
    /// Packets that are shown before it: what came before them is missing, and decoders throw them away.
    leading: u64,
    latest: f64,
}

impl Survey {
    #[must_use]
    pub fn stream(&self, index: u32) -> Option<&Packets> {
        self.streams.get(&index)
    }

    /// When the last packet of any stream has been shown.
    #[must_use]
    pub fn end(&self) -> Option<f64> {
        self.streams.values().filter_map(|packets| packets.end).max_by(f64::total_cmp)
    }

    /// When the first packet of any stream is shown.
    #[must_use]
    pub fn start(&self) -> Option<f64> {
        self.streams.values().filter_map(|packets| packets.first).min_by(f64::total_cmp)
    }

    /// Packets of all streams.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.streams.values().map(|packets| packets.count).sum()
    }

    /// The longest packet.
    #[must_use]
    pub fn longest(&self) -> f64 {
        self.streams.values().map(|packets| packets.longest).fold(0.0, f64::max)
    }

    #[must_use]
    pub fn jumps(&self) -> bool {
        self.streams.values().any(|packets| packets.jumps)
    }

    /// Takes one line of ffprobe: `0,0.083333,0.041667,0.041667,K_`, with `N/A` for what is not known. Others are passed over.
    pub fn line(&mut self, line: &str) {
        let mut fields = line.trim().split(',');
        let Some(Ok(index)) = fields.next().map(str::parse::<u32>) else { return };
        let mut number = || fields.next()?.parse::<f64>().ok().filter(|value| value.is_finite());
        // AVI knows no more than the order of decoding; it is off by the B-frames' delay at most.
        let (pts, dts, duration) = (number(), number(), number().unwrap_or(0.0).max(0.0));
        let pts = pts.or(dts);
        let flags = fields.next().unwrap_or_default();
        let packets = self.streams.entry(index).or_default();
        if !flags.contains('D') {
            packets.packet(pts, duration, flags.contains('K'));
        } else if flags.contains('K') && packets.key.is_none() {
            // It is decoded all the same: whatever comes after it is complete.
            packets.key = Some(f64::NEG_INFINITY);
        }
    }
}

impl Packets {
    fn packet(&mut self, pts: Option<f64>, duration: f64, key: bool) {
        self.count += 1;
        self.longest = self.longest.max(duration);
        let Some(pts) = pts else { return };
        if self.first.is_some() && (pts - self.latest).abs() > DISCONTINUITY.max(duration) {
            self.jumps = true;
        }
        self.latest = pts;
        match self.key {
            None if key => self.key = Some(pts),
            None => self.leading += 1,
            Some(first) if pts < first => self.leading += 1,
            Some(_) => {}
        }
        self.first = Some(self.first.map_or(pts, |first| first.min(pts)));
        self.last = Some(self.last.map_or(pts, |last| last.max(pts)));
        self.end = Some(self.end.map_or(pts + duration, |end| end.max(pts + duration)));
    }

    /// Those that can be decoded: all from the first key frame on.
    #[must_use]
    pub const fn decodable(&self) -> u64 {
        self.count.saturating_sub(self.leading)
    }

    /// When the first that can be decoded is shown.
    #[must_use]
    pub fn first_decodable(&self) -> Option<f64> {
        let first = self.first?;
        Some(self.key.map_or(first, |key| key.max(first)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn survey(text: &str) -> Survey {
        let mut survey = Survey::default();
        text.lines().for_each(|line| survey.line(line));
        survey
    }

    #[test]
    fn packets_come_in_decoding_order_and_what_an_edit_list_drops_does_not_count() {
        let all = survey(
            "1,-0.023220,N/A,0.023220,KD,\n\n0,0.000000,N/A,0.040000,K_\n0,0.120000,N/A,0.040000,__\n0,0.040000,N/A,0.040000,__\n\
             0,0.080000,N/A,0.040000,__\n1,0.000000,N/A,0.023220,K_\nside data\n",
        );
        let video = all.stream(0).unwrap();
        assert_eq!((video.count, video.first, video.last, video.end), (4, Some(0.0), Some(0.12), Some(0.16)));
        assert_eq!((all.stream(1).unwrap().count, all.end(), all.jumps()), (1, Some(0.16), false));
        assert_eq!(all.stream(2), None);
    }

    #[test]
    fn pictures_before_the_first_key_frame_cannot_be_decoded() {
        let all = survey(
            "0,5.0,N/A,0.04,__\n0,5.12,N/A,0.04,K_\n0,5.04,N/A,0.04,__\n0,5.08,N/A,0.04,__\n0,5.16,N/A,0.04,__\n",
        );
        let video = all.stream(0).unwrap();
        assert_eq!((video.count, video.decodable(), video.first_decodable()), (5, 2, Some(5.12)));
        let edited =
            survey("0,-0.08,N/A,0.04,KD\n0,-0.04,N/A,0.04,_D\n0,0.0,N/A,0.04,__\n0,0.04,N/A,0.04,__\n");
        let video = edited.stream(0).unwrap();
        assert_eq!((video.decodable(), video.first_decodable()), (2, Some(0.0)), "an edit within a GOP");
    }

    #[test]
    fn a_jump_and_missing_timestamps_are_told() {
        assert!(survey("0,1.0,N/A,0.04,K_\n0,90000.0,N/A,0.04,K_\n").jumps());
        assert!(!survey("0,1.0,N/A,30.0,K_\n0,31.0,N/A,30.0,K_\n").jumps(), "slides may stand for long");
        let bare = survey("0,N/A,N/A,N/A,K_\n0,N/A,N/A,N/A,K_\n");
        assert_eq!((bare.stream(0).unwrap().count, bare.end()), (2, None));
        let decoding_order = survey("0,0.00,0.00,0.04,K_\n0,N/A,0.04,0.04,__\n");
        assert_eq!(decoding_order.end(), Some(0.08));
    }
}
