//! Where audio frames begin and end.

use bytes::{Bytes, BytesMut};

use super::{ac3, adts, mpa};
use crate::{Codec, Kind, Ticks, Unit};

/// What the header of an audio frame says.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frame {
    /// Bytes with the header.
    pub(super) length: usize,
    pub(super) samples: u32,
    pub(super) sample_rate: u32,
    /// It belongs to the frame before it.
    pub(super) continues: bool,
}

/// Bytes that are enough to see what a frame is: the longest header is that of E-AC-3 with two programs and a channel map.
const HEADER: usize = 12;

impl Frame {
    fn read(codec: Codec, data: &[u8]) -> Option<Self> {
        match codec {
            Codec::Aac => adts::frame(data),
            Codec::Mp3 => mpa::frame(data),
            Codec::Ac3 | Codec::Eac3 => ac3::frame(data),
            Codec::H264 | Codec::Hevc | Codec::Av1 | Codec::Mpeg2Video | Codec::Other(_) => None,
        }
        .filter(|frame| frame.length > 0 && frame.sample_rate > 0)
    }

    /// Whether frames follow each other from here: to the end of the data, or at least two of them.
    fn follows(codec: Codec, data: &[u8]) -> bool {
        let Some(first) = Self::read(codec, data) else { return false };
        match data.get(first.length..) {
            None => false,
            Some([]) => true,
            Some(rest) => rest.len() < HEADER || Self::read(codec, rest).is_some(),
        }
    }
}

/// The audio frames of a unit, each with its own timestamp: that of the unit belongs to the first frame that begins in it,
/// the others follow by the number of samples. Bytes before the first frame and a frame that is cut off at the end are
/// dropped. Video, and audio that cannot be taken apart, comes back as it is.
#[must_use]
pub fn frames(codec: Codec, unit: Unit) -> Vec<Unit> {
    if codec.kind() != Kind::Audio {
        return vec![unit];
    }
    let data = &unit.data;
    let Some(mut at) = (0..data.len()).find(|&at| Frame::follows(codec, &data[at..])) else {
        return vec![unit];
    };
    let mut frames: Vec<Unit> = Vec::new();
    let mut begins = at;
    let mut samples = 0;
    while let Some(frame) = Frame::read(codec, &data[at..]) {
        let end = at + frame.length;
        if end > data.len() {
            break;
        }
        match frames.last_mut().filter(|_| frame.continues) {
            Some(last) => last.data = data.slice(begins..end),
            None => {
                begins = at;
                let later = Ticks::from_samples(samples, frame.sample_rate);
                let data = data.slice(at..end);
                frames.push(Unit { pts: unit.pts + later, dts: unit.dts + later, data, ..unit });
                samples += i64::from(frame.samples);
            }
        }
        at = end;
    }
    frames
}

/// Joins audio frames that PES packets cut in two, as broadcasters do: units then hold whole frames.
#[derive(Debug, Default)]
pub(crate) struct Joiner {
    /// The beginning of a frame, and when it is to be heard (PTS, DTS).
    tail: BytesMut,
    time: (Ticks, Ticks),
}

impl Joiner {
    /// What was lost is not to be joined.
    pub(crate) fn reset(&mut self) {
        self.tail.clear();
    }

    /// Gives the unit's frames on, perhaps behind the one that began in the last unit. What is no row of frames is given on as
    /// it is.
    pub(crate) fn push(&mut self, codec: Codec, mut unit: Unit, mut out: impl FnMut(Unit)) {
        let mut behind = false;
        if !self.tail.is_empty() {
            match self.joined(codec, &unit.data) {
                Joined::Frame(data, rest) => {
                    let (pts, dts) = self.time;
                    out(Unit { pts, dts, data, ..unit });
                    unit.data = unit.data.split_off(rest);
                    behind = true;
                }
                Joined::Short => {
                    self.tail.extend_from_slice(&unit.data);
                    return;
                }
                Joined::Nothing => {}
            }
            self.tail.clear();
        }
        let (whole, later) = whole(codec, &unit.data, behind);
        if whole < unit.data.len() {
            let tail = unit.data.split_off(whole);
            self.tail.extend_from_slice(&tail);
            self.time = (unit.pts + later, unit.dts + later);
        }
        if !unit.data.is_empty() {
            out(unit);
        }
    }

    /// The frame that began in the tail, and where it ends in what follows.
    fn joined(&self, codec: Codec, data: &[u8]) -> Joined {
        let mut head = [0; HEADER];
        let known = self.tail.iter().chain(data).zip(&mut head).map(|(from, to)| *to = *from).count();
        let Some(frame) = Frame::read(codec, &head[..known]) else {
            return if known < HEADER { Joined::Short } else { Joined::Nothing };
        };
        let Some(rest) = frame.length.checked_sub(self.tail.len()) else { return Joined::Nothing };
        let Some((end, next)) = data.split_at_checked(rest) else { return Joined::Short };
        if next.len() >= HEADER && Frame::read(codec, next).is_none() {
            return Joined::Nothing;
        }
        let mut whole = BytesMut::with_capacity(frame.length);
        whole.extend_from_slice(&self.tail);
        whole.extend_from_slice(end);
        Joined::Frame(whole.freeze(), rest)
    }
}

enum Joined {
    Frame(Bytes, usize),
    /// It goes on beyond this.
    Short,
    /// They do not belong together.
    Nothing,
}

/// How many bytes are whole frames, or not to be cut because they are no frames, and how long the frames are. `behind`: a
/// frame ends where this begins.
fn whole(codec: Codec, data: &[u8], behind: bool) -> (usize, Ticks) {
    let (mut at, mut samples, mut later) = (0, 0, Ticks::ZERO);
    while at < data.len() {
        match Frame::read(codec, &data[at..]) {
            Some(frame) if at + frame.length <= data.len() => {
                at += frame.length;
                if !frame.continues {
                    samples += i64::from(frame.samples);
                }
                later = Ticks::from_samples(samples, frame.sample_rate);
            }
            Some(_) => return (at, later),
            None if (behind || at > 0) && data.len() - at < HEADER => return (at, later),
            None => return (data.len(), later),
        }
    }
    (at, later)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::TrackId;

    fn unit(pts: i64, data: impl Into<Bytes>) -> Unit {
        Unit { track: TrackId(0), pts: Ticks(pts), dts: Ticks(pts), key: true, data: data.into() }
    }

    /// 44.1 kHz, so that a frame is no whole number of ticks.
    fn adts(payload: usize, filler: u8) -> Vec<u8> {
        let mut frame = adts::make(&[0x12, 0x10], payload).unwrap().to_vec();
        frame.resize(frame.len() + payload, filler);
        frame
    }

    #[test]
    fn each_frame_of_a_unit_has_its_own_time() {
        let data = [adts(10, 0), adts(20, 0), adts(30, 0)].concat();
        let frames = frames(Codec::Aac, unit(1000, data));
        let seen: Vec<_> = frames.iter().map(|frame| (frame.pts.0, frame.data.len())).collect();
        assert_eq!(seen, [(1000, 17), (3090, 27), (5180, 37)]);
    }

    #[test]
    fn what_is_around_whole_frames_is_dropped_and_what_is_none_stays() {
        let data = [&[1, 2, 3][..], &adts(10, 0), &adts(20, 0)[..20]].concat();
        let frames_of = |data| frames(Codec::Aac, unit(0, data));
        assert_eq!(frames_of(data)[0].data, adts(10, 0));
        assert_eq!(frames_of(vec![7; 100])[0].data, vec![7; 100]);
        let video = unit(0, adts(10, 0));
        assert_eq!(frames(Codec::H264, video.clone()), [video]);
    }

    proptest! {
        #[test]
        fn frames_are_whole_wherever_they_were_cut(
            sizes in prop::collection::vec(1usize..300, 1..20),
            cuts in prop::collection::vec(HEADER..500, 1..10),
        ) {
            let stream: Vec<u8> = sizes.iter().flat_map(|&size| adts(size, size as u8)).collect();
            let mut starts = sizes.iter().scan(0, |at, size| Some(std::mem::replace(at, *at + size + adts::HEADER)));
            let starts: Vec<usize> = starts.by_ref().collect();
            let (mut joiner, mut found, mut rest, mut at) = (Joiner::default(), Vec::new(), &stream[..], 0);
            for cut in cuts.iter().cycle() {
                let (piece, next) = rest.split_at((*cut).min(rest.len()));
                // The time of a PES packet is that of the first frame that begins in it.
                let first = starts.iter().filter(|&&start| start < at).count();
                let pts = Ticks::from_samples(first as i64 * 1024, 44_100).0;
                joiner.push(Codec::Aac, unit(pts, piece.to_vec()), |unit| found.extend(frames(Codec::Aac, unit)));
                (rest, at) = (next, at + piece.len());
                if rest.is_empty() {
                    break;
                }
            }
            prop_assert_eq!(found.len(), sizes.len());
            for (index, (frame, size)) in found.iter().zip(&sizes).enumerate() {
                prop_assert_eq!(&frame.data, &adts(*size, *size as u8));
                let exact = Ticks::from_samples(index as i64 * 1024, 44_100);
                prop_assert!((frame.pts - exact).0.abs() <= 1, "{} {exact}", frame.pts);
            }
        }

        #[test]
        fn nothing_makes_it_panic(
            pieces in prop::collection::vec(prop::collection::vec(prop_oneof![Just(0xffu8), Just(0x0b), Just(0x77), any::<u8>()], 0..100), 0..10),
            codec in prop::sample::select(vec![Codec::Aac, Codec::Mp3, Codec::Ac3, Codec::Eac3]),
        ) {
            let mut joiner = Joiner::default();
            for piece in pieces {
                joiner.push(codec, unit(0, piece), |unit| {
                    let _ = super::super::parameters(codec, &unit);
                    let _ = frames(codec, unit);
                });
            }
        }
    }
}
