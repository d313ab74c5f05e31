//! The variant as fragmented MP4, made while somebody asks for it.

use bytes::Bytes;
use mux::{
    Codec, Kind, Ticks, TrackId, Unit,
    codec::{self, Parameters},
    fmp4::{self, Fragment},
};

/// An init segment. The same tracks again are the same init segment, in whatever generation.
#[derive(Debug, Clone)]
pub(super) struct Init {
    pub(super) number: u32,
    pub(super) tracks: Vec<(TrackId, Parameters)>,
    /// The track by which segments and parts are cut; `None`: it cannot be in MP4, so the variant is not.
    pub(super) lead: Option<TrackId>,
}

impl Init {
    pub(super) fn bytes(&self) -> Bytes {
        fmp4::init(&self.tracks)
    }
}

/// One `moof` and `mdat`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Part {
    pub(super) bytes: Bytes,
    pub(super) duration: Ticks,
    /// It begins with a key frame.
    pub(super) independent: bool,
}

/// Whether a track can be in an MP4 of ours.
pub(super) fn carries(parameters: &Parameters) -> bool {
    match parameters {
        Parameters::Video(video) => !video.record.is_empty(),
        Parameters::Audio(audio) => audio.codec == Codec::Mp3 || !audio.record.is_empty(),
    }
}

/// How long parts are said to be: as many whole frames as fit into what was asked for, in whole milliseconds. A part may be
/// neither longer than that nor much shorter (RFC 8216bis, 4.4.3.8).
pub(super) fn part_target(asked: Ticks, lead: Option<&Parameters>) -> Ticks {
    let frame = match lead {
        Some(Parameters::Video(video)) => video.frame,
        Some(Parameters::Audio(audio)) => frame_of(audio),
        None => None,
    };
    let Some(frame) = frame.filter(|frame| frame.0 > 0) else { return asked };
    let frames = (asked.0 / frame.0).max(1);
    // A tick more than a whole number of frames: timestamps are rounded.
    let length = frames * frame.0 + 1;
    Ticks::from_millis((length + 89) / 90)
}

fn frame_of(audio: &codec::Audio) -> Option<Ticks> {
    (audio.sample_rate > 0 && audio.frame_samples > 0)
        .then(|| Ticks::from_samples(i64::from(audio.frame_samples), audio.sample_rate))
}

#[derive(Debug)]
pub(super) struct Fragments {
    part: Option<Ticks>,
    lead: Option<TrackId>,
    sequence: u32,
    tracks: Vec<Track>,
    parameters: Vec<(TrackId, Parameters)>,
    /// Length of the open segment's parts so far; `None`: it has none.
    length: Option<Ticks>,
}

#[derive(Debug)]
struct Track {
    id: TrackId,
    codec: Codec,
    /// Of a frame, where it is known for sure.
    frame: Option<Ticks>,
    /// Decoding time of the last frame, and how far it was from the one before.
    last: Option<Ticks>,
    step: Option<Ticks>,
    /// The last two steps were the same.
    steady: bool,
    units: Vec<Unit>,
}

/// Timestamps of a constant frame rate are rounded to ticks.
const ROUNDING: i64 = 2;

impl Track {
    fn push(&mut self, unit: Unit) {
        if let Some(last) = self.last {
            let step = unit.dts - last;
            self.steady = self.step.is_some_and(|before| (before.0 - step.0).abs() <= ROUNDING);
            self.step = Some(step);
        }
        self.last = Some(unit.dts);
        self.units.push(unit);
    }

    /// Where the next frame is decoded, as far as one can know.
    fn next(&self) -> Ticks {
        let last = self.last.unwrap_or_default();
        last + self.frame.or(self.step).filter(|step| step.0 > 0).unwrap_or(Ticks(1))
    }
}

impl Fragments {
    pub(super) fn new(sequence: u32) -> Self {
        Self { part: None, lead: None, sequence, tracks: Vec::new(), parameters: Vec::new(), length: None }
    }

    /// `moof` boxes are numbered on from here.
    pub(super) fn sequence(&self) -> u32 {
        self.sequence
    }

    pub(super) fn is_set(&self) -> bool {
        !self.tracks.is_empty()
    }

    /// What follows is described by this init segment, and cut into parts of at most this length.
    pub(super) fn init(&mut self, init: &Init, part: Option<Ticks>) {
        self.part = part;
        self.lead = init.lead;
        self.parameters.clone_from(&init.tracks);
        self.length = None;
        self.tracks = init
            .tracks
            .iter()
            .map(|(id, parameters)| Track {
                id: *id,
                codec: match parameters {
                    Parameters::Video(video) => video.codec,
                    Parameters::Audio(audio) => audio.codec,
                },
                frame: match parameters {
                    Parameters::Video(_) => None,
                    Parameters::Audio(audio) => frame_of(audio),
                },
                last: None,
                step: None,
                steady: false,
                units: Vec::new(),
            })
            .collect();
    }

    pub(super) fn unit(&mut self, unit: &Unit, parts: &mut Vec<Part>) {
        let Some(index) = self.tracks.iter().position(|track| track.id == unit.track) else { return };
        if self.lead != Some(unit.track) {
            let track = &mut self.tracks[index];
            if track.codec.kind() == Kind::Audio {
                codec::frames(track.codec, unit.clone()).into_iter().for_each(|unit| track.push(unit));
            } else {
                track.push(unit.clone());
            }
            return;
        }
        let frames = match self.tracks[index].codec.kind() {
            Kind::Audio => codec::frames(self.tracks[index].codec, unit.clone()),
            Kind::Video | Kind::Other => vec![unit.clone()],
        };
        for frame in frames {
            self.lead_frame(index, frame, parts);
        }
    }

    /// A part is closed before the frame with which it would become too long; by the one before already, where the frames
    /// follow each other evenly, so that no part waits for the next frame.
    fn lead_frame(&mut self, index: usize, frame: Unit, parts: &mut Vec<Part>) {
        let track = &self.tracks[index];
        if let (Some(part), Some(first), Some(last)) = (self.part, track.units.first(), track.last) {
            let step = frame.dts - last;
            if frame.dts - first.dts + step > part {
                self.part(frame.dts, parts);
            }
        }
        let track = &mut self.tracks[index];
        track.push(frame);
        if let (Some(part), Some(step), true) = (self.part, track.step, track.steady) {
            let next = track.next();
            let length = next - track.units.first().map_or(next, |unit| unit.dts);
            if length + step > part {
                self.part(next, parts);
            }
        }
    }

    /// The segment is over, with this length. `next`: decoding time of what continues it; `None`: nothing does.
    pub(super) fn close(&mut self, duration: Ticks, next: Option<Ticks>, parts: &mut Vec<Part>) {
        let lead = self.tracks.iter().find(|track| Some(track.id) == self.lead);
        let lead_is_empty = lead.is_none_or(|track| track.units.is_empty());
        // Audio that came after the last frame of the segment is sent with the next one, rather than as a part of no length.
        let carried = lead_is_empty && next.is_some() && self.length.is_some();
        if !carried {
            let end = match (next, lead) {
                (Some(next), _) => next,
                (None, Some(lead)) => lead.next(),
                (None, None) => Ticks::ZERO,
            };
            let before = parts.len();
            let rest = duration - self.length.unwrap_or_default();
            self.part(end, parts);
            // By the frames' decoding times it comes out the same, give or take what the order of presentation moves.
            if let Some(last) = parts.get_mut(before) {
                last.duration = rest.clamp(Ticks(1), self.part.unwrap_or(rest).max(Ticks(1)));
            }
        }
        self.length = None;
    }

    /// `next`: decoding time of the lead's next frame.
    fn part(&mut self, next: Ticks, parts: &mut Vec<Part>) {
        let mut duration = None;
        let mut independent = false;
        let mut fragments = Vec::with_capacity(self.tracks.len());
        for track in &self.tracks {
            let Some(first) = track.units.first() else { continue };
            let leads = self.lead == Some(track.id);
            let next = if leads { next.max(track.last.unwrap_or(next) + Ticks(1)) } else { track.next() };
            if leads {
                independent = first.key;
            }
            if leads || duration.is_none() {
                duration = Some(next - first.dts);
            }
            fragments.push(Fragment { track: track.id, units: &track.units, next });
        }
        let Some(duration) = duration else { return };
        let bytes = fmp4::fragment(self.sequence, &fragments, &self.parameters);
        drop(fragments);
        self.sequence = self.sequence.wrapping_add(1);
        let duration = duration.max(Ticks(1));
        self.length = Some(self.length.unwrap_or_default() + duration);
        self.tracks.iter_mut().for_each(|track| track.units.clear());
        parts.push(Part { bytes, duration, independent });
    }
}

#[cfg(test)]
#[path = "fragments_tests.rs"]
mod tests;
