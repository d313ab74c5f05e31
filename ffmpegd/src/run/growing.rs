//! What is different about an input that is still on its way when an attempt begins.
//!
//! It is read once, from its beginning, as it comes: nothing can be looked up at its end, so some containers do not say how
//! long they are. What was told then is not believed at the end: the input is probed again when all of it is there. Should
//! ffmpeg fail on what it could not look up, it is tried again then, within the same attempt.

use common::{
    failure::FailureKind,
    media::{MediaInfo, StreamKind},
};

/// Forgets what could only be guessed before the end: of a fragmented MP4 the fragments that have come are no measure.
pub(super) fn forget_guesses(info: &mut MediaInfo) {
    let indexed = |kind: &StreamKind| matches!(kind, StreamKind::Video(video) if video.frames.is_some());
    if info.format.starts_with("mov,") && !info.streams.iter().any(|stream| indexed(&stream.kind)) {
        info.duration = None;
        for stream in &mut info.streams {
            stream.duration = None;
        }
    }
}

/// Whether what failed may be for the order in which the input had to be read.
pub(super) const fn may_be_for_its_order(kind: FailureKind) -> bool {
    matches!(kind, FailureKind::InvalidInput | FailureKind::OutputWrong | FailureKind::Crashed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::media::{StreamInfo, VideoInfo};

    fn film(format: &str, frames: Option<u64>) -> MediaInfo {
        let video = VideoInfo { frames, ..VideoInfo::default() };
        let stream = StreamInfo {
            index: 0,
            codec: "h264".to_owned(),
            language: None,
            title: None,
            default: true,
            duration: Some(6.0),
            start_time: None,
            kind: StreamKind::Video(video),
        };
        let format = format.to_owned();
        MediaInfo { format, duration: Some(6.0), streams: vec![stream], ..MediaInfo::default() }
    }

    #[test]
    fn only_fragments_are_no_measure() {
        let known = |format, frames| {
            let mut info = film(format, frames);
            forget_guesses(&mut info);
            (info.duration.is_some(), info.streams[0].duration.is_some())
        };
        assert_eq!(known("mov,mp4,m4a,3gp,3g2,mj2", None), (false, false));
        assert_eq!(known("mov,mp4,m4a,3gp,3g2,mj2", Some(240)), (true, true));
        assert_eq!(known("matroska,webm", None), (true, true));
    }
}
