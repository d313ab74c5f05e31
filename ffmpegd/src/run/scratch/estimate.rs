//! What the files of an attempt will take, before the first is written.

use common::{
    media::{AudioCodec, AudioInfo, MediaInfo, StreamKind, VideoInfo},
    spec::{
        AudioSpec, AudioTracks, FileSpec, HlsSpec, RateControl, Size, SizeMode, Spec, ThumbnailsSpec,
        VideoSpec,
    },
};

use super::ledger::MINIMUM;

/// Over the streams' own bits: the container, rate control that misses its aim.
const OVERHEAD: f64 = 1.1;
/// Where the rate is not known, a result is taken to be at most this many times the input.
const OF_THE_INPUT: u64 = 2;
/// Bits per pixel of x264's CRF 23 that hardly any material exceeds (film has 0.05 to 0.1, noise 0.5). Six steps double or
/// halve the rate (x264's own documentation of CRF).
const CRF_23: f64 = 0.6;
/// Bits per pixel of the heaviest 4:2:2 profiles: ProRes 422 HQ has 220 Mbit/s at 1920x1080 with 29.97 frames (Apple ProRes
/// White Paper), which is 3.5; DNxHR HQX has as much (Avid DNxHR bandwidth tables).
const MEZZANINE: f64 = 4.0;
/// Of 4:4:4 profiles: ProRes 4444 XQ has 500 Mbit/s there, which is 8.
const MEZZANINE_444: f64 = 8.0;
/// Frames per second where the input does not say.
const FPS: f64 = 60.0;
/// Bits per second of stereo where the spec leaves it to the encoder; the highest default of those in use.
const AUDIO: f64 = 256_000.0;
/// Bits per pixel of a JPEG of good quality, at the most.
const JPEG: f64 = 8.0;

/// Bytes that the results of an attempt take: from bit rates and durations where those are known, from the input's size
/// where they are not; at least [`MINIMUM`].
pub(crate) fn estimate(spec: &Spec, input: &MediaInfo) -> u64 {
    let seconds = seconds(input);
    let bits = match spec {
        Spec::File(file) => seconds.and_then(|seconds| file_bits(file, input, seconds)),
        Spec::Hls(hls) => seconds.and_then(|seconds| hls_bits(hls, input, seconds)),
        Spec::Thumbnails(thumbnails) => Some(thumbnails_bits(thumbnails, input, seconds)),
        // What it makes is not known: bounded by the input, as an unknown rate is. A folder that grows beyond raises its claim.
        Spec::Command(_) => None,
        Spec::Probe => Some(0.0),
    };
    let known = bits.map(|bits| (bits * OVERHEAD / 8.0) as u64);
    known.or_else(|| Some(from_input(input)? * OF_THE_INPUT)).unwrap_or(0).max(MINIMUM)
}

fn from_input(input: &MediaInfo) -> Option<u64> {
    let from_rate = || Some((input.bit_rate? as f64 * seconds(input)? / 8.0) as u64);
    // Beyond this a size is nonsense, and twice as much would overflow.
    input.size.or_else(from_rate).map(|size| size.min(u64::MAX / 4))
}

fn seconds(input: &MediaInfo) -> Option<f64> {
    let streams = input.streams.iter().filter_map(|stream| stream.duration);
    let longest = streams.chain(input.duration).fold(0.0, f64::max);
    (longest > 0.0 && longest.is_finite()).then_some(longest)
}

fn file_bits(file: &FileSpec, input: &MediaInfo, seconds: f64) -> Option<f64> {
    let video = match (&file.video, input.video().next()) {
        (Some(video), Some((_, source))) => video_bits(video, source, input, seconds)?,
        _ => 0.0,
    };
    let audio = file.audio.as_ref().map_or(0.0, |audio| audio_bits(audio, input, seconds));
    Some(video + audio)
}

fn video_bits(video: &VideoSpec, source: &VideoInfo, input: &MediaInfo, seconds: f64) -> Option<f64> {
    let pixels = pixels(video.size.as_ref(), source) * fps(source, video.max_fps) * seconds;
    match &video.rate {
        RateControl::Profile => {
            let four_four_four = video.profile.as_deref().is_some_and(|profile| profile.contains("444"));
            Some(pixels * if four_four_four { MEZZANINE_444 } else { MEZZANINE })
        }
        rate => rate_bits(rate, pixels, input, seconds),
    }
}

/// `pixels`: of all frames.
fn rate_bits(rate: &RateControl, pixels: f64, input: &MediaInfo, seconds: f64) -> Option<f64> {
    match rate {
        RateControl::Bitrate { average, max, .. } => {
            Some((*average as f64 * 1.25).min((*max).max(*average) as f64) * seconds)
        }
        RateControl::CappedQuality { quality, max, .. } => {
            Some((*max as f64 * seconds).min(quality_bits(*quality, pixels)))
        }
        RateControl::Quality(quality) => {
            let of_input = from_input(input).map_or(f64::INFINITY, |size| (size * OF_THE_INPUT) as f64 * 8.0);
            Some(quality_bits(*quality, pixels).min(of_input)).filter(|bits| *bits > 0.0)
        }
        RateControl::Profile => Some(pixels * MEZZANINE),
    }
}

fn quality_bits(quality: f64, pixels: f64) -> f64 {
    pixels * CRF_23 * ((23.0 - quality) / 6.0).exp2()
}

fn hls_bits(hls: &HlsSpec, input: &MediaInfo, seconds: f64) -> Option<f64> {
    let mut bits = audio_bits(&hls.audio, input, seconds);
    if let Some((_, source)) = input.video().next() {
        for rendition in &hls.renditions {
            let height = f64::from(rendition.height);
            let pixels = height * height * 16.0 / 9.0 * fps(source, None) * seconds;
            bits += rate_bits(&rendition.rate, pixels, input, seconds)?;
        }
    }
    Some(bits)
}

fn audio_bits(audio: &AudioSpec, input: &MediaInfo, seconds: f64) -> f64 {
    let tracks = input.streams.iter().filter_map(|stream| match &stream.kind {
        StreamKind::Audio(audio) => Some(audio),
        _ => None,
    });
    let bits = |source: &AudioInfo| track_bits(audio, source);
    seconds
        * match audio.tracks {
            // Which one is the default is of no matter here.
            AudioTracks::First => tracks.map(bits).fold(0.0, f64::max),
            AudioTracks::All => tracks.map(bits).sum(),
        }
}

/// Per second.
fn track_bits(audio: &AudioSpec, source: &AudioInfo) -> f64 {
    let channels =
        f64::from(audio.max_channels.map_or(source.channels, |most| source.channels.min(most)).max(1));
    let rate = f64::from(audio.sample_rate.unwrap_or(source.sample_rate).max(1));
    match audio.codec {
        AudioCodec::Pcm16 => rate * channels * 16.0,
        AudioCodec::Pcm24 | AudioCodec::Flac => rate * channels * 24.0,
        AudioCodec::Aac | AudioCodec::Opus | AudioCodec::Mp3 => {
            audio.bitrate.map_or(AUDIO, |bits| bits as f64) * (channels / 2.0).max(1.0)
        }
    }
}

fn thumbnails_bits(spec: &ThumbnailsSpec, input: &MediaInfo, seconds: Option<f64>) -> f64 {
    let (width, height) = input.video().next().map_or((16, 9), |(_, source)| source.display_size());
    let area = |wide: u32| f64::from(wide) * f64::from(wide) * f64::from(height) / f64::from(width);
    let most = f64::from(spec.max_tiles);
    let tiles = seconds.map_or(most, |seconds| (seconds / spec.interval.max(0.001) + 1.0).min(most));
    (area(spec.poster_width) + tiles * area(spec.tile_width)) * JPEG
}

/// Of one frame.
fn pixels(size: Option<&Size>, source: &VideoInfo) -> f64 {
    let (width, height) = source.display_size();
    let own = f64::from(width) * f64::from(height);
    size.map_or(own, |size| {
        let wanted = f64::from(size.width) * f64::from(size.height);
        match size.mode {
            SizeMode::Within => own.min(wanted),
            SizeMode::Crop | SizeMode::BlurPad => wanted,
        }
    })
}

fn fps(source: &VideoInfo, most: Option<f64>) -> f64 {
    let own = source.fps().unwrap_or(FPS);
    most.map_or(own, |most| own.min(most))
}

#[cfg(test)]
mod tests {
    use common::media::StreamInfo;

    use super::*;

    const MIB: u64 = 1 << 20;

    fn stream(kind: StreamKind) -> StreamInfo {
        StreamInfo {
            index: 0,
            codec: String::new(),
            language: None,
            title: None,
            default: true,
            duration: None,
            start_time: None,
            kind,
        }
    }

    /// An hour of 1080p25 with stereo, of 4 GiB.
    fn film() -> MediaInfo {
        let video = VideoInfo {
            width: 1920,
            height: 1080,
            sample_aspect_ratio: (1, 1),
            frame_rate: (25, 1),
            ..VideoInfo::default()
        };
        let audio = AudioInfo { channels: 2, channel_layout: None, sample_rate: 48_000 };
        MediaInfo {
            start_time: None,
            format: "mov".to_owned(),
            duration: Some(3600.0),
            size: Some(4096 * MIB),
            bit_rate: None,
            streams: vec![stream(StreamKind::Video(video)), stream(StreamKind::Audio(audio))],
            chapters_end: None,
        }
    }

    fn mib(spec: &str, input: &MediaInfo) -> u64 {
        estimate(&serde_json::from_str(spec).unwrap(), input) / MIB
    }

    fn file(video: &str) -> String {
        format!(
            r#"{{"kind":"file","container":"mov","video":{video},"audio":{{"codec":"aac","bitrate":128000}}}}"#
        )
    }

    #[test]
    fn a_bit_rate_times_the_duration_is_the_size() {
        let spec =
            file(r#"{"codec":"h264","rate":{"bitrate":{"average":8000000,"max":9000000,"buffer":1}}}"#);
        // 9.128 Mbit/s for an hour are 3917 MiB.
        assert!((3917..4400).contains(&mib(&spec, &film())), "{}", mib(&spec, &film()));
        let hls = r#"{"kind":"hls","codec":"h264","segment_seconds":4,"audio":{"codec":"aac","bitrate":128000},"renditions":[
            {"name":"720p","height":720,"rate":{"bitrate":{"average":3000000,"max":3000000,"buffer":1}}},
            {"name":"360p","height":360,"rate":{"bitrate":{"average":1000000,"max":1000000,"buffer":1}}}]}"#;
        assert!((1771..2000).contains(&mib(hls, &film())), "{}", mib(hls, &film()));
    }

    #[test]
    fn a_mezzanine_is_far_larger_than_its_input() {
        let spec = file(r#"{"codec":"prores","rate":"profile","profile":"hq"}"#);
        assert!(mib(&spec, &film()) > 79_000, "{}", mib(&spec, &film()));
    }

    #[test]
    fn an_unknown_rate_is_bounded_by_the_input_and_by_the_picture() {
        let spec = file(r#"{"codec":"h264","rate":{"quality":17}}"#);
        assert!((8192..9300).contains(&mib(&spec, &film())), "{}", mib(&spec, &film()));
        // A small picture from a huge mezzanine.
        let proxy = file(r#"{"codec":"h264","rate":{"quality":29},"size":{"width":640,"height":360}}"#);
        let huge = MediaInfo { size: Some(100_000 * MIB), ..film() };
        assert!(mib(&proxy, &huge) < 1000, "{}", mib(&proxy, &huge));
    }

    #[test]
    fn without_a_duration_the_input_counts_twice() {
        let spec =
            file(r#"{"codec":"h264","rate":{"bitrate":{"average":8000000,"max":9000000,"buffer":1}}}"#);
        assert_eq!(mib(&spec, &MediaInfo { duration: None, ..film() }), 8192);
        let unknown = MediaInfo { duration: None, size: None, ..film() };
        assert_eq!(mib(&spec, &unknown), MINIMUM / MIB);
        let nonsense = MediaInfo { duration: None, size: Some(u64::MAX), ..film() };
        assert!(mib(&spec, &nonsense) > 1 << 40);
    }

    #[test]
    fn small_results_reserve_the_least() {
        let thumbnails = r#"{"kind":"thumbnails","poster_width":1280,"tile_width":160,"columns":10,"rows":10,"interval":5,"max_tiles":100}"#;
        assert_eq!(mib(thumbnails, &film()), MINIMUM / MIB);
    }
}
