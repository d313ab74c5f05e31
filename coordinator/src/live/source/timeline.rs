//! Runs of a source, one after the other on the stream's timeline.

use mux::{Kind, Program, Ticks, Unit, codec::Parameters};

use super::{Generation, intake::Begin};

/// Where a stream begins: late enough that nothing before its first frame is before 0.
const ORIGIN: Ticks = Ticks::from_millis(10_000);
/// How far the audio of a generation may go beyond its pictures without the next one having to wait for it.
const AUDIO_BEYOND: Ticks = Ticks::from_millis(1000);
/// A frame's duration where nothing says it.
const FRAME: Ticks = Ticks::from_millis(40);
/// Longer ones are holes.
const LONGEST_FRAME: Ticks = Ticks::from_millis(1000);

/// Puts each run where the one before ended.
#[derive(Debug, Default)]
pub(super) struct Timeline {
    generations: u32,
    current: Option<Placed>,
    /// When the last picture of all is over, and the last sample.
    video_end: Option<Ticks>,
    audio_end: Option<Ticks>,
    /// When the last picture is shown.
    last_frame: Option<Ticks>,
}

#[derive(Debug)]
struct Placed {
    program: Program,
    /// Durations of frames, by track.
    frames: Vec<Ticks>,
    last: Vec<Option<Ticks>>,
    offset: Ticks,
    /// Nothing of the audio is before this.
    audio_from: Ticks,
}

impl Timeline {
    /// The generation that a run is, and the last frame before it.
    pub(super) fn begin(&mut self, begin: Begin) -> (Generation, Option<Ticks>) {
        let Begin { program, parameters, start } = begin;
        let at = self.place(program.first(Kind::Video).is_some());
        let after = self.last_frame;
        self.generations += 1;
        self.current = Some(Placed {
            frames: parameters.iter().map(|known| declared(known.as_ref())).collect(),
            last: vec![None; program.tracks.len()],
            program: program.clone(),
            offset: at - start,
            audio_from: self.audio_end.map_or(at, |end| end.max(at)),
        });
        (Generation { number: self.generations, program, parameters, start: at }, after)
    }

    /// Where the next run begins.
    fn place(&self, video: bool) -> Ticks {
        // Sound goes on a little longer than the pictures, or ends a little before them.
        let pictures_last = self.current.as_ref().is_some_and(|run| run.program.first(Kind::Video).is_some());
        match (self.video_end, self.audio_end) {
            (None, None) => ORIGIN,
            (Some(pictures), Some(samples))
                if pictures_last && video && samples - pictures <= AUDIO_BEYOND =>
            {
                pictures
            }
            (Some(pictures), samples) => samples.map_or(pictures, |samples| samples.max(pictures)),
            (None, Some(samples)) => samples,
        }
    }

    /// A frame of the run that began last, put on the timeline. `None`: its place is taken.
    pub(super) fn unit(&mut self, mut unit: Unit) -> Option<Unit> {
        let placed = self.current.as_mut()?;
        let codec = placed.program.codec(unit.track)?;
        unit.pts += placed.offset;
        unit.dts += placed.offset;
        let track = usize::from(unit.track.0);
        match codec.kind() {
            Kind::Video => {
                placed.measure(track, unit.dts);
                let end = unit.pts + placed.frames[track];
                self.video_end = self.video_end.max(Some(end));
                self.last_frame = self.last_frame.max(Some(unit.pts));
            }
            Kind::Audio => {
                if unit.pts < placed.audio_from {
                    return None;
                }
                let end = unit.pts + placed.frames[track];
                self.audio_end = self.audio_end.max(Some(end));
            }
            Kind::Other => {}
        }
        Some(unit)
    }
}

impl Placed {
    /// What frames really take is believed rather than what the headers say.
    fn measure(&mut self, track: usize, dts: Ticks) {
        if let Some(last) = self.last[track].replace(dts)
            && dts > last
            && dts - last <= LONGEST_FRAME
        {
            self.frames[track] = dts - last;
        }
    }
}

fn declared(parameters: Option<&Parameters>) -> Ticks {
    let declared = match parameters {
        Some(Parameters::Video(video)) => video.frame,
        Some(Parameters::Audio(audio)) if audio.sample_rate > 0 => {
            Some(Ticks::from_samples(i64::from(audio.frame_samples), audio.sample_rate))
        }
        _ => None,
    };
    declared.filter(|frame| *frame > Ticks::ZERO && *frame <= LONGEST_FRAME).unwrap_or(FRAME)
}
