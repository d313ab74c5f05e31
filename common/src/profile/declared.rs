//! What a master playlist can say of a rendition before a single frame of it was encoded.

use super::{Rendition, Video};
use crate::{live::Container, media::VideoCodec};

/// Frames per second where the source does not say.
const USUAL_FPS: f64 = 30.0;

/// RFC 8216, 4.3.4.2: the attributes of a variant stream.
#[derive(Debug, Clone, PartialEq)]
pub struct Declared {
    /// RFC 6381, video first: `avc1.640028`, `mp4a.40.2`.
    pub codecs: Vec<String>,
    pub resolution: Option<(u32, u32)>,
    /// Bits per second of the largest segment, the container included.
    pub bandwidth: u64,
    /// Bits per second over a long time, the container included.
    pub average_bandwidth: u64,
}

impl Rendition {
    /// `frame`: duration of a frame of the source in ticks of 90 kHz, where it is known.
    #[must_use]
    pub fn declared(&self, frame: Option<i64>) -> Declared {
        let fps = frame_rate(frame).map_or(USUAL_FPS, |(num, den)| f64::from(num) / f64::from(den));
        let mut codecs = Vec::new();
        let (mut peak, mut average) = (0, 0);
        if let Some(video) = &self.video {
            codecs.push(video.rfc6381(fps));
            average += video.bitrate;
            // Each span holds its length at the peak rate and one full buffer, which is a second of it.
            peak += video.bitrate + video.bitrate * 1000 / u64::from(self.packaging.segment_ms.max(1));
        }
        if let Some(audio) = &self.audio {
            codecs.push("mp4a.40.2".to_owned());
            peak += audio.bitrate;
            average += audio.bitrate;
        }
        // Headers and stuffing of MPEG-TS packets, more so of small audio frames; boxes of fMP4.
        let overhead = match self.container() {
            Container::MpegTs => 8,
            Container::FragmentedMp4 => 2,
        };
        let with = |bits: u64| bits + bits * overhead / 100;
        Declared {
            codecs,
            resolution: self.video.as_ref().map(|video| (video.width, video.height)),
            bandwidth: with(peak),
            average_bandwidth: with(average),
        }
    }
}

/// Frames per second of a source whose frames last so many ticks: the usual rate that rounds to it, if there is one.
#[must_use]
pub(crate) fn frame_rate(frame: Option<i64>) -> Option<(u32, u32)> {
    const USUAL: [(u32, u32); 12] = [
        (24_000, 1001),
        (24, 1),
        (25, 1),
        (30_000, 1001),
        (30, 1),
        (48, 1),
        (50, 1),
        (60_000, 1001),
        (60, 1),
        (100, 1),
        (120_000, 1001),
        (120, 1),
    ];
    // A frame a second to 240 of them; anything else is a mistake.
    let frame = u32::try_from(frame?).ok().filter(|frame| (375..=90_000).contains(frame))?;
    let usual = USUAL.into_iter().find(|(num, den)| {
        let exact = 90_000.0 * f64::from(*den) / f64::from(*num);
        (exact - f64::from(frame)).abs() < 1.0
    });
    Some(usual.unwrap_or((90_000, frame)))
}

impl Video {
    /// The level that the encoder is told, as its codec counts them: 40 for H.264's 4.0, 120 for HEVC's 4.0, 8 for AV1's 4.0.
    #[must_use]
    pub(crate) fn level(&self, fps: f64) -> u32 {
        let pixels = f64::from(self.width) * f64::from(self.height);
        let bits = self.bitrate as f64 / 1000.0;
        match self.codec {
            VideoCodec::Hevc => least(&HEVC, pixels, pixels * fps, bits),
            VideoCodec::Av1 => least(&AV1, pixels, pixels * fps, bits),
            VideoCodec::H264 | VideoCodec::Vp9 | VideoCodec::ProRes | VideoCodec::DnxHr => {
                let blocks = f64::from(self.width.div_ceil(16)) * f64::from(self.height.div_ceil(16));
                // High profile has a quarter more bits.
                least(&H264, blocks, blocks * fps, bits / 1.25)
            }
        }
    }

    fn rfc6381(&self, fps: f64) -> String {
        let level = self.level(fps);
        match self.codec {
            // Main profile, progressive frames only.
            VideoCodec::Hevc => format!("hvc1.1.6.L{level}.90"),
            VideoCodec::Av1 => format!("av01.0.{level:02}M.08"),
            // High profile.
            VideoCodec::H264 | VideoCodec::Vp9 | VideoCodec::ProRes | VideoCodec::DnxHr => {
                format!("avc1.6400{level:02x}")
            }
        }
    }
}

/// A level, the most that a picture may be, the most in a second, the most kilobits a second.
type Level = (u32, f64, f64, f64);

fn least(levels: &[Level], size: f64, rate: f64, bits: f64) -> u32 {
    let fits = |level: &&Level| size <= level.1 && rate <= level.2 && bits <= level.3;
    levels.iter().find(fits).or(levels.last()).map_or(0, |level| level.0)
}

/// ITU-T H.264, table A-1: macroblocks.
const H264: [Level; 12] = [
    (30, 1620.0, 40_500.0, 10_000.0),
    (31, 3600.0, 108_000.0, 14_000.0),
    (32, 5120.0, 216_000.0, 20_000.0),
    (40, 8192.0, 245_760.0, 20_000.0),
    (41, 8192.0, 245_760.0, 50_000.0),
    (42, 8704.0, 522_240.0, 50_000.0),
    (50, 22_080.0, 589_824.0, 135_000.0),
    (51, 36_864.0, 983_040.0, 240_000.0),
    (52, 36_864.0, 2_073_600.0, 240_000.0),
    (60, 139_264.0, 4_177_920.0, 240_000.0),
    (61, 139_264.0, 8_355_840.0, 480_000.0),
    (62, 139_264.0, 16_711_680.0, 800_000.0),
];

/// ITU-T H.265, tables A.8 and A.9, main tier: luma samples. The numbers are 30 times the level.
const HEVC: [Level; 11] = [
    (90, 552_960.0, 16_588_800.0, 6000.0),
    (93, 983_040.0, 33_177_600.0, 10_000.0),
    (120, 2_228_224.0, 66_846_720.0, 12_000.0),
    (123, 2_228_224.0, 133_693_440.0, 20_000.0),
    (150, 8_912_896.0, 267_386_880.0, 25_000.0),
    (153, 8_912_896.0, 534_773_760.0, 40_000.0),
    (156, 8_912_896.0, 1_069_547_520.0, 60_000.0),
    (180, 35_651_584.0, 1_069_547_520.0, 60_000.0),
    (183, 35_651_584.0, 2_139_095_040.0, 120_000.0),
    (186, 35_651_584.0, 4_278_190_080.0, 240_000.0),
    (187, f64::INFINITY, f64::INFINITY, f64::INFINITY),
];

/// AV1 bitstream specification, A.3: `seq_level_idx`, pictures and samples displayed, main tier.
const AV1: [Level; 12] = [
    (0, 147_456.0, 4_423_680.0, 1500.0),
    (1, 278_784.0, 8_363_520.0, 3000.0),
    (4, 665_856.0, 19_975_680.0, 6000.0),
    (5, 1_065_024.0, 31_950_720.0, 10_000.0),
    (8, 2_359_296.0, 70_778_880.0, 12_000.0),
    (9, 2_359_296.0, 141_557_760.0, 20_000.0),
    (12, 8_912_896.0, 267_386_880.0, 30_000.0),
    (13, 8_912_896.0, 534_773_760.0, 40_000.0),
    (14, 8_912_896.0, 1_069_547_520.0, 60_000.0),
    (16, 35_651_584.0, 1_069_547_520.0, 60_000.0),
    (17, 35_651_584.0, 2_139_095_040.0, 100_000.0),
    (18, 35_651_584.0, 4_278_190_080.0, 160_000.0),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::Profiles;

    fn declared(name: &str, frame: Option<i64>) -> Declared {
        Profiles::builtin().renditions(name)[0].1.declared(frame)
    }

    #[test]
    fn a_master_playlist_is_known_before_the_encode() {
        let full = declared("h264-1080p", None);
        assert_eq!(full.codecs, ["avc1.640028", "mp4a.40.2"]);
        assert_eq!(full.resolution, Some((1920, 1080)));
        assert!(full.bandwidth > full.average_bandwidth && full.average_bandwidth > 5_000_000, "{full:?}");
        assert_eq!(declared("h264-1080p", Some(1501)).codecs[0], "avc1.64002a");
        assert_eq!(declared("hevc-1080p", None).codecs[0], "hvc1.1.6.L120.90");
        assert_eq!(declared("av1-720p", None).codecs[0], "av01.0.05M.08");
        let radio = declared("audio-aac", None);
        assert_eq!((radio.codecs.as_slice(), radio.resolution), (["mp4a.40.2".to_owned()].as_slice(), None));
    }

    #[test]
    fn rounded_frame_durations_are_the_usual_rates() {
        for (frame, rate) in [
            (3600, (25, 1)),
            (3003, (30_000, 1001)),
            (3000, (30, 1)),
            (3753, (24_000, 1001)),
            (3754, (24_000, 1001)),
            (1501, (60_000, 1001)),
            (1502, (60_000, 1001)),
            (1500, (60, 1)),
            (4500, (90_000, 4500)),
        ] {
            assert_eq!(frame_rate(Some(frame)), Some(rate), "{frame}");
        }
        for odd in [None, Some(0), Some(-1), Some(1), Some(i64::MAX)] {
            assert_eq!(frame_rate(odd), None);
        }
    }
}
