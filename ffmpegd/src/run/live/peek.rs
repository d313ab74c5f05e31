//! Where the tracks of an input begin, from its first bytes.

use common::ffmpeg::live::First;
use mux::{Event, Kind, TrackId, ts::Demuxer};

/// Takes the input as it comes, until everything that is wanted was found.
pub(super) struct Peek {
    demuxer: Demuxer,
    video: Wanted,
    audio: Wanted,
}

struct Wanted {
    kind: Kind,
    track: Option<TrackId>,
    wanted: bool,
    found: Option<i64>,
}

impl Peek {
    pub(super) fn new((video, audio): (bool, bool)) -> Self {
        let wanted = |kind, wanted| Wanted { kind, track: None, wanted, found: None };
        Self {
            // The coordinator writes each PES packet in one piece.
            demuxer: Demuxer::new(true),
            video: wanted(Kind::Video, video),
            audio: wanted(Kind::Audio, audio),
        }
    }

    /// Whether that is all.
    pub(super) fn is_done(&self) -> bool {
        [&self.video, &self.audio].into_iter().all(|track| !track.wanted || track.found.is_some())
    }

    /// Something came, and nothing but the audio is missing: it may never come.
    pub(super) fn lacks_only_audio(&self) -> bool {
        self.video.track.is_some() && (!self.video.wanted || self.video.found.is_some())
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        let mut events = Vec::new();
        self.demuxer.push(bytes, &mut events);
        for event in events {
            for track in [&mut self.video, &mut self.audio] {
                match &event {
                    Event::Program(program) => track.track = program.first(track.kind),
                    Event::Unit(unit) if track.wanted && track.track == Some(unit.track) => {
                        track.found.get_or_insert(unit.pts.0);
                    }
                    Event::Unit(_) => {}
                }
            }
        }
    }

    pub(super) fn found(&self) -> First {
        First { video: self.video.found, audio: self.audio.found }
    }
}

#[cfg(test)]
mod tests {
    use bytes::{Bytes, BytesMut};
    use mux::{Codec, Program, Ticks, Track, Unit, ts::Muxer};

    use super::*;

    fn stream() -> BytesMut {
        let track = |codec| Track { codec, descriptors: Bytes::new() };
        let program = Program { tracks: vec![track(Codec::H264), track(Codec::Mp3), track(Codec::Mp3)] };
        let mut muxer = Muxer::new(&program);
        let mut out = BytesMut::new();
        muxer.tables(&mut out);
        for (track, pts) in [(0, 900_000), (2, 890_000), (0, 903_600), (1, 895_000), (1, 897_000)] {
            let (pts, track) = (Ticks(pts), TrackId(track));
            let data = Bytes::from_static(&[0, 0, 1, 9, 0xf0, 0, 0, 1, 0x65, 0x88]);
            muxer.unit(&Unit { track, pts, dts: pts, key: true, data }, false, &mut out);
        }
        out
    }

    #[test]
    fn the_first_frame_of_the_first_track_of_each_kind_is_found() {
        for (wanted, found) in [
            ((true, true), First { video: Some(900_000), audio: Some(895_000) }),
            ((true, false), First { video: Some(900_000), audio: None }),
            ((false, true), First { video: None, audio: Some(895_000) }),
        ] {
            let mut peek = Peek::new(wanted);
            for packet in stream().chunks(188) {
                if peek.is_done() {
                    break;
                }
                peek.push(packet);
            }
            assert!(peek.is_done());
            assert_eq!(peek.found(), found);
        }
        assert!(Peek::new((false, false)).is_done());
    }
}
