//! Subtitles: carried over where the container takes them, named in a warning where it does not.

use super::{Context, args::Args, audio};
use crate::{media::StreamInfo, media::StreamKind, spec::Container};

/// Text codecs that every ffmpeg decodes.
const TEXT: [&str; 8] = ["subrip", "srt", "ass", "ssa", "webvtt", "mov_text", "text", "microdvd"];
/// Picture codecs that Matroska takes as they are.
const PICTURES: [&str; 3] = ["hdmv_pgs_subtitle", "dvd_subtitle", "dvb_subtitle"];

/// A track that goes out.
#[derive(Debug, Clone, Copy)]
pub(super) struct Track<'a> {
    stream: &'a StreamInfo,
    codec: &'static str,
}

/// How a container takes a subtitle codec; `None` when it does not.
fn target(container: Container, codec: &str) -> Option<&'static str> {
    let text = TEXT.contains(&codec);
    match container {
        Container::Mp4 | Container::Mov => text.then_some("mov_text"),
        Container::Webm => text.then_some(if codec == "webvtt" { "copy" } else { "webvtt" }),
        Container::Mkv => match codec {
            // Matroska has no 3GPP timed text and no MicroDVD.
            "mov_text" | "text" | "microdvd" => Some("srt"),
            _ => (text || PICTURES.contains(&codec)).then_some("copy"),
        },
        Container::M4a | Container::Mp3 | Container::Ogg | Container::Flac | Container::Wav => None,
    }
}

pub(super) fn tracks<'a>(
    context: &Context<'a>,
    container: Container,
    warnings: &mut Vec<String>,
) -> Vec<Track<'a>> {
    let mut tracks = Vec::new();
    for stream in &context.input.streams {
        let StreamKind::Subtitle { .. } = stream.kind else { continue };
        match target(container, &stream.codec) {
            Some(codec) => tracks.push(Track { stream, codec }),
            None => warnings.push(format!(
                "subtitle stream {} ({}) was left out: {} takes no such subtitles",
                stream.index,
                if stream.codec.is_empty() { "unknown" } else { &stream.codec },
                container.extension(),
            )),
        }
    }
    tracks
}

pub(super) fn map(args: &mut Args, tracks: &[Track<'_>]) {
    for track in tracks {
        args.pair("-map", format!("0:{}", track.stream.index));
    }
}

pub(super) fn track_args(args: &mut Args, tracks: &[Track<'_>]) {
    for (index, track) in tracks.iter().enumerate() {
        args.pair(&format!("-c:s:{index}"), track.codec);
        audio::labels(args, track.stream, 's', index);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_goes_everywhere_and_pictures_only_into_matroska() {
        assert_eq!(target(Container::Mp4, "subrip"), Some("mov_text"));
        assert_eq!(target(Container::Webm, "ass"), Some("webvtt"));
        assert_eq!(target(Container::Mkv, "mov_text"), Some("srt"));
        assert_eq!(target(Container::Mkv, "hdmv_pgs_subtitle"), Some("copy"));
        assert_eq!(target(Container::Mp4, "hdmv_pgs_subtitle"), None);
        assert_eq!(target(Container::Mkv, "dvb_teletext"), None);
    }
}
