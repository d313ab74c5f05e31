//! Audio tracks: which are taken, and how each becomes something that its encoder takes.

use super::{Context, ExpectedAudio, args::Args};
use crate::{
    failure::{Failure, FailureKind},
    media::{AudioCodec, AudioInfo, StreamInfo},
    spec::{AudioSpec, AudioTracks},
};

/// A track that goes out.
#[derive(Debug, Clone)]
pub(super) struct Track<'a> {
    pub(super) stream: &'a StreamInfo,
    pub(super) encoder: String,
    pub(super) codec: AudioCodec,
    pub(super) channels: u32,
    /// Hz.
    pub(super) sample_rate: u32,
    pub(super) bitrate: Option<u64>,
    filter: String,
}

/// The tracks of the input that the spec asks for, the default one first.
pub(super) fn tracks<'a>(
    context: &Context<'a>,
    spec: &AudioSpec,
    warnings: &mut Vec<String>,
) -> Result<Vec<Track<'a>>, Failure> {
    let mut streams: Vec<_> = Vec::new();
    for (stream, audio) in context.input.audio() {
        if stream.codec.is_empty() || audio.channels == 0 {
            warnings.push(format!("audio stream {} is of an unknown kind and was left out", stream.index));
        } else {
            streams.push((stream, audio));
        }
    }
    streams.sort_by_key(|(stream, _)| (!stream.default, stream.index));
    if spec.tracks == AudioTracks::First {
        streams.truncate(1);
    }
    if streams.is_empty() {
        return Ok(Vec::new());
    }
    let encoder = encoder(context, spec.codec)?;
    Ok(streams
        .into_iter()
        .map(|(stream, audio)| {
            let channels = channels(audio.channels, spec);
            let sample_rate = sample_rate(audio.sample_rate, spec);
            if channels < audio.channels {
                warnings.push(format!(
                    "audio stream {} was mixed down from {} to {channels} channels",
                    stream.index, audio.channels
                ));
            }
            Track {
                stream,
                encoder: encoder.clone(),
                codec: spec.codec,
                channels,
                sample_rate,
                bitrate: spec.bitrate.map(|bitrate| scaled_bitrate(bitrate, channels)),
                filter: filter(audio, channels, sample_rate),
            }
        })
        .collect())
}

fn encoder(context: &Context<'_>, codec: AudioCodec) -> Result<String, Failure> {
    let known = &context.capabilities.encoders;
    codec
        .encoders()
        .iter()
        .find(|name| known.is_empty() || known.iter().any(|encoder| encoder.name == **name))
        .map(|name| (*name).to_owned())
        .ok_or_else(|| {
            Failure::new(
                FailureKind::MissingCapability,
                format!(
                    "audio needs the encoder {}, which ffmpeg {} on this worker lacks; it goes to another worker",
                    codec.encoders().join(" or "),
                    context.capabilities.ffmpeg_version
                ),
            )
        })
}

/// Channels that come out. Lossy codecs get the layouts that every player knows; PCM keeps what there is.
fn channels(source: u32, spec: &AudioSpec) -> u32 {
    let wanted = source.min(spec.max_channels.unwrap_or(u32::MAX)).max(1);
    match spec.codec {
        AudioCodec::Pcm16 | AudioCodec::Pcm24 => wanted,
        AudioCodec::Mp3 => wanted.min(2),
        AudioCodec::Flac => wanted.min(8),
        AudioCodec::Aac | AudioCodec::Opus => match wanted {
            1 => 1,
            2..=5 => 2,
            6 | 7 => 6,
            _ => 8,
        },
    }
}

fn sample_rate(source: u32, spec: &AudioSpec) -> u32 {
    let wanted = spec.sample_rate.unwrap_or(source);
    match spec.codec {
        AudioCodec::Opus => 48_000,
        AudioCodec::Aac | AudioCodec::Mp3 => match wanted {
            32_000 | 44_100 | 48_000 => wanted,
            _ => 48_000,
        },
        AudioCodec::Flac | AudioCodec::Pcm16 | AudioCodec::Pcm24 => match wanted {
            1..=192_000 => wanted,
            0 => 48_000,
            _ => 192_000,
        },
    }
}

/// A spec's bitrate is for stereo: half for mono, as much more as there are more channels.
fn scaled_bitrate(stereo: u64, channels: u32) -> u64 {
    match channels {
        1 => stereo / 2,
        2 => stereo,
        _ => (stereo * u64::from(channels) / 2).min(1_024_000),
    }
}

/// Gaps are filled and the first sample is moved to time 0, so that sound stays where it was heard in containers and
/// players that ignore a late start. Layouts without a name are taken channel by channel.
fn filter(audio: &AudioInfo, channels: u32, sample_rate: u32) -> String {
    let named = audio
        .channel_layout
        .as_deref()
        .is_some_and(|layout| layout != "unknown" && !layout.contains("channels"));
    let layout = match channels {
        1 => Some("mono"),
        2 => Some("stereo"),
        6 => Some("5.1"),
        8 => Some("7.1"),
        _ => None,
    };
    let mut filters = Vec::new();
    match layout {
        Some(layout) if channels != audio.channels && (!named || audio.channels > 8) => {
            let picks: Vec<_> =
                (0..channels).map(|i| format!("c{i}=c{}", i.min(audio.channels - 1))).collect();
            filters.push(format!("pan={layout}|{}", picks.join("|")));
        }
        _ => {}
    }
    filters.push(format!("aresample={sample_rate}:async=1:first_pts=0"));
    if let Some(layout) = layout
        && (channels != audio.channels || audio.channel_layout.as_deref() != Some(layout))
        && (named || channels <= 2 || channels != audio.channels)
    {
        filters.push(format!("aformat=channel_layouts={layout}"));
    }
    filters.join(",")
}

/// What must come out of a track.
pub(super) fn expected(track: &Track<'_>) -> ExpectedAudio {
    ExpectedAudio {
        codec: track.codec.as_str().to_owned(),
        channels: track.channels,
        sample_rate: track.sample_rate,
        source: track.stream.index,
    }
}

/// Options of one audio output stream. `index` counts the audio streams of this output.
pub(super) fn track_args(args: &mut Args, track: &Track<'_>, index: usize) {
    args.pair(&format!("-c:a:{index}"), track.encoder.as_str());
    if let Some(bitrate) = track.bitrate
        && !matches!(track.codec, AudioCodec::Flac | AudioCodec::Pcm16 | AudioCodec::Pcm24)
    {
        args.pair(&format!("-b:a:{index}"), bitrate.to_string());
    }
    args.pair(&format!("-filter:a:{index}"), track.filter.as_str());
    labels(args, track.stream, 'a', index);
}

/// Language and title, by name: a filter in between makes ffmpeg forget them.
pub(super) fn labels(args: &mut Args, stream: &StreamInfo, kind: char, index: usize) {
    // What a stranger wrote into a file goes into an argument: no control characters, no endless text.
    let label = |value: &Option<String>| {
        let text: String = value.as_deref()?.trim().chars().filter(|c| !c.is_control()).take(200).collect();
        Some(text).filter(|text| !text.is_empty())
    };
    if let Some(language) = label(&stream.language) {
        args.pair(&format!("-metadata:s:{kind}:{index}"), format!("language={language}"));
    }
    if let Some(title) = label(&stream.title) {
        args.pair(&format!("-metadata:s:{kind}:{index}"), format!("title={title}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(codec: AudioCodec, max_channels: Option<u32>) -> AudioSpec {
        AudioSpec { codec, bitrate: None, max_channels, sample_rate: None, tracks: AudioTracks::First }
    }

    #[test]
    fn layouts_end_where_players_know_them() {
        assert_eq!(channels(24, &spec(AudioCodec::Aac, Some(6))), 6);
        assert_eq!(channels(3, &spec(AudioCodec::Aac, None)), 2);
        assert_eq!(channels(24, &spec(AudioCodec::Pcm24, None)), 24);
        assert_eq!(channels(1, &spec(AudioCodec::Mp3, Some(2))), 1);
    }

    #[test]
    fn odd_sample_rates_become_common_ones() {
        assert_eq!(sample_rate(8_000, &spec(AudioCodec::Aac, None)), 48_000);
        assert_eq!(sample_rate(44_100, &spec(AudioCodec::Aac, None)), 44_100);
        assert_eq!(sample_rate(44_100, &spec(AudioCodec::Opus, None)), 48_000);
        assert_eq!(sample_rate(96_000, &spec(AudioCodec::Flac, None)), 96_000);
    }

    #[test]
    fn many_channels_without_a_layout_are_picked_not_mixed() {
        let audio = AudioInfo { channels: 24, channel_layout: None, sample_rate: 48_000 };
        assert_eq!(
            filter(&audio, 2, 48_000),
            "pan=stereo|c0=c0|c1=c1,aresample=48000:async=1:first_pts=0,aformat=channel_layouts=stereo"
        );
    }

    #[test]
    fn a_bitrate_is_meant_for_stereo() {
        assert_eq!(scaled_bitrate(128_000, 1), 64_000);
        assert_eq!(scaled_bitrate(128_000, 6), 384_000);
    }
}
