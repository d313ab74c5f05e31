//! An attempt's bytes, taken apart into frames on the stream's timeline.

use common::live::Container;
use mux::{
    Codec, Event, Kind, Program, Ticks, TrackId, Unit,
    codec::{self, Parameters},
    fmp4, ts,
};

/// A unit's data is never larger: an uncompressed frame of 4K is 12 MiB, and no encoder gives that much.
const MAX_UNIT: usize = 16 << 20;

/// What came out of the bytes.
#[derive(Debug)]
pub(super) enum Given {
    Program(Program),
    /// Before the first unit of an audio track.
    AudioFrame {
        track: TrackId,
        samples: u32,
        rate: u32,
    },
    Unit(Unit),
}

#[derive(Debug)]
pub(super) struct Intake {
    demuxer: Demuxer,
    base: Ticks,
    /// Kept between pushes for its memory.
    events: Vec<Event>,
    tracks: Vec<Taken>,
}

#[derive(Debug)]
enum Demuxer {
    Ts(ts::Demuxer),
    Fmp4(fmp4::Demuxer),
}

/// A track of the container.
#[derive(Debug, Clone, Copy)]
struct Taken {
    codec: Codec,
    /// `None`: not taken.
    track: Option<TrackId>,
    /// Its frames' length is known, or will not be.
    measured: bool,
}

impl Intake {
    pub(super) fn new(container: Container, base: Ticks) -> Self {
        let demuxer = match container {
            Container::MpegTs => Demuxer::Ts(ts::Demuxer::new(true)),
            Container::FragmentedMp4 => Demuxer::Fmp4(fmp4::Demuxer::default()),
        };
        Self { demuxer, base, events: Vec::new(), tracks: Vec::new() }
    }

    pub(super) fn push(&mut self, bytes: &[u8], given: &mut Vec<Given>) -> Result<(), String> {
        let mut events = std::mem::take(&mut self.events);
        let read = match &mut self.demuxer {
            Demuxer::Ts(demuxer) => {
                demuxer.push(bytes, &mut events);
                Ok(())
            }
            Demuxer::Fmp4(demuxer) => demuxer.push(bytes, &mut events).map_err(|error| error.to_string()),
        };
        self.encoded(&mut events, given);
        self.events = events;
        read
    }

    /// The stream has ended properly.
    pub(super) fn finish(&mut self, given: &mut Vec<Given>) {
        let mut events = std::mem::take(&mut self.events);
        if let Demuxer::Ts(demuxer) = &mut self.demuxer {
            demuxer.finish(&mut events);
        }
        self.encoded(&mut events, given);
    }

    /// Of an encoder, one track of a kind is wanted, whatever else there is.
    fn encoded(&mut self, events: &mut Vec<Event>, given: &mut Vec<Given>) {
        for event in events.drain(..) {
            match event {
                Event::Program(mut program) => {
                    let wanted = [Kind::Video, Kind::Audio].map(|kind| program.first(kind));
                    let mut tracks = Vec::new();
                    let mut kept = Vec::new();
                    for (index, track) in program.tracks.drain(..).enumerate() {
                        let is_wanted = wanted.iter().flatten().any(|wanted| usize::from(wanted.0) == index);
                        let target = is_wanted.then(|| TrackId(u8::try_from(kept.len()).unwrap_or(u8::MAX)));
                        tracks.push(Taken { codec: track.codec, track: target, measured: false });
                        if is_wanted {
                            kept.push(track);
                        }
                    }
                    self.tracks = tracks;
                    given.push(Given::Program(Program { tracks: kept }));
                }
                Event::Unit(unit) => self.unit(unit, given),
            }
        }
    }

    /// What a source gives is taken as it is.
    pub(super) fn event(&mut self, event: Event, given: &mut Vec<Given>) {
        match event {
            Event::Program(program) => {
                let tracks = program.tracks.iter().zip(0..=u8::MAX);
                let taken = |(track, index): (&mux::Track, u8)| Taken {
                    codec: track.codec,
                    track: Some(TrackId(index)),
                    measured: false,
                };
                self.tracks = tracks.map(taken).collect();
                given.push(Given::Program(program));
            }
            Event::Unit(unit) => self.unit(unit, given),
        }
    }

    fn unit(&mut self, mut unit: Unit, given: &mut Vec<Given>) {
        let Some(taken) = self.tracks.get_mut(usize::from(unit.track.0)) else { return };
        let Some(track) = taken.track else { return };
        if unit.data.len() > MAX_UNIT {
            return;
        }
        unit.track = track;
        unit.pts += self.base;
        unit.dts += self.base;
        if taken.codec.kind() != Kind::Audio {
            given.push(Given::Unit(unit));
            return;
        }
        for frame in codec::frames(taken.codec, unit) {
            if !taken.measured {
                taken.measured = true;
                if let Some(Parameters::Audio(audio)) = codec::parameters(taken.codec, &frame) {
                    let (samples, rate) = (audio.frame_samples, audio.sample_rate);
                    given.push(Given::AudioFrame { track, samples, rate });
                }
            }
            given.push(Given::Unit(frame));
        }
    }
}
