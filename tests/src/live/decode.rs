//! Judges what viewers got by decoding it: which pictures were shown when, and whether the sound has a seam.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use super::recording::{BEEP_SECONDS, Recording};
use crate::binaries;

/// Frames of the end of a broken group that can be shown though one before them is missing: as many as x264 reorders.
pub const RAGGED: usize = 3;

/// The picture is looked at in so many columns and rows.
const GRID: usize = 8;
const SAMPLES_PER_SECOND: f64 = 48_000.0;
/// The tone is looked at in pieces of 10 ms.
const PIECE: usize = 480;
/// A lost or doubled frame of AAC turns the tone by 2.1 radians.
const PHASE: f64 = 0.7;
/// What a decoder that begins in the middle gets wrong, in samples: two frames of AAC.
const WARM_UP: usize = 2048;

/// A picture that a viewer saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Picture {
    /// Ticks of 90 kHz.
    pub pts: i64,
    /// The number in it; `None`: it cannot be read.
    pub number: Option<u32>,
}

/// A frame of sound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sound {
    pub pts: i64,
    pub samples: i64,
}

/// What a decoder made of it.
#[derive(Debug, Clone, Default)]
pub struct Decoded {
    pub pictures: Vec<Picture>,
    pub sounds: Vec<Sound>,
    /// Mono, at 48 kHz.
    pub samples: Vec<f64>,
    /// What the decoder complained about.
    pub complaints: String,
}

/// Pictures that follow each other in time and in number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    pub first: Picture,
    pub last: Picture,
    pub pictures: usize,
}

impl Decoded {
    /// Decodes a file, or what is at a URL for so many seconds.
    #[must_use]
    pub fn of(path: &Path) -> Self {
        Self::by(&binaries::system("ffmpeg"), &path.to_string_lossy(), &[])
    }

    /// The same with another ffmpeg and with options in front of the input.
    ///
    /// # Panics
    /// ffmpeg cannot be run.
    #[must_use]
    pub fn by(ffmpeg: &Path, input: &str, options: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name).into_os_string();
        let streams = streams(input, options);
        let mut command = Command::new(ffmpeg);
        command.args(["-nostdin", "-v", "error", "-y", "-copyts"]).args(options).args(["-i", input]);
        let mut filters = Vec::new();
        if streams.contains("video") {
            filters.push(format!("[0:v:0]scale={GRID}:{GRID}:flags=area,format=gray,split[v][vt]"));
        }
        if streams.contains("audio") {
            filters.push(
                "[0:a:0]aformat=sample_rates=48000:channel_layouts=mono:sample_fmts=s16,asplit[a][at]"
                    .to_owned(),
            );
        }
        command.args(["-filter_complex", &filters.join(";")]);
        if streams.contains("video") {
            // In ticks and not in frames, which two pictures of a ragged end could share.
            let as_they_are = ["-vsync", "passthrough", "-enc_time_base", "1:90000"];
            for (link, format, name) in [("[v]", "rawvideo", "v"), ("[vt]", "framecrc", "vt")] {
                command.args(["-map", link]).args(as_they_are).args(["-f", format]).arg(file(name));
            }
        }
        if streams.contains("audio") {
            command.args(["-map", "[a]", "-f", "s16le"]).arg(file("a"));
            command.args(["-map", "[at]", "-enc_time_base", "1:90000", "-f", "framecrc"]).arg(file("at"));
        }
        let output = command.stdout(Stdio::null()).output().unwrap();
        let read = |name: &str| fs::read(file(name)).unwrap_or_default();
        let times = |name: &str| -> Vec<(i64, i64)> {
            let text = String::from_utf8_lossy(&read(name)).into_owned();
            let lines = text.lines().filter(|line| !line.starts_with('#'));
            let fields =
                lines.map(|line| line.split(',').map(str::trim).map(str::to_owned).collect::<Vec<_>>());
            fields.map(|fields| (fields[2].parse().unwrap(), fields[4].parse().unwrap())).collect()
        };
        let grids = read("v");
        let pictures = grids.chunks_exact(GRID * GRID).zip(times("vt"));
        let samples = read("a");
        let samples =
            samples.chunks_exact(2).map(|pair| f64::from(i16::from_le_bytes([pair[0], pair[1]])) / 32768.0);
        Self {
            pictures: pictures.map(|(grid, (pts, _))| Picture { pts, number: number(grid) }).collect(),
            sounds: times("at").into_iter().map(|(pts, bytes)| Sound { pts, samples: bytes / 2 }).collect(),
            samples: samples.collect(),
            complaints: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Seconds of pictures.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        match (self.pictures.first(), self.pictures.last()) {
            (Some(first), Some(last)) => (last.pts - first.pts) as f64 / 90_000.0,
            _ => self.sounds.iter().map(|sound| sound.samples).sum::<i64>() as f64 / SAMPLES_PER_SECOND,
        }
    }

    /// The stretches without a break.
    #[must_use]
    pub fn runs(&self, recording: &Recording) -> Vec<Run> {
        let mut runs: Vec<Run> = Vec::new();
        for picture in &self.pictures {
            let follows = |run: &&mut Run| {
                let number = run.last.number.map(|number| recording.next(number));
                number.is_some()
                    && number == picture.number
                    && (picture.pts - run.last.pts - recording.frame()).abs() <= 1
            };
            match runs.last_mut().filter(follows) {
                Some(run) => (run.last, run.pictures) = (*picture, run.pictures + 1),
                None => runs.push(Run { first: *picture, last: *picture, pictures: 1 }),
            }
        }
        runs
    }

    /// The runs without what B-frames leave of the last group where a source breaks off: the frames that are shown after one
    /// that did not come.
    #[must_use]
    pub fn whole_runs(&self, recording: &Recording) -> Vec<Run> {
        let runs = self.runs(recording);
        let last = runs.len().saturating_sub(1);
        let is_whole = |(index, run): &(usize, Run)| *index == last || run.pictures > RAGGED;
        runs.into_iter().enumerate().filter(is_whole).map(|(_, run)| run).collect()
    }

    /// Frames that are missing between the first and the last, and frames that came again.
    #[must_use]
    pub fn lost_and_doubled(&self, recording: &Recording) -> (usize, usize) {
        let (mut lost, mut doubled) = (0, 0);
        let numbers: Vec<u32> = self.pictures.iter().filter_map(|picture| picture.number).collect();
        for pair in numbers.windows(2) {
            let frames = i64::from(recording.frames());
            let ahead = (i64::from(pair[1]) - i64::from(pair[0])).rem_euclid(frames);
            // Back by less than half of the circle: they were there before.
            if ahead > 0 && ahead <= frames / 2 { lost += ahead as usize - 1 } else { doubled += 1 }
        }
        (lost, doubled)
    }

    /// Everything that is wrong for somebody who watched a broadcast of the recording without a break.
    #[must_use]
    pub fn faults(&self, recording: &Recording) -> Vec<String> {
        let mut faults = Vec::new();
        if !self.complaints.is_empty() {
            faults.push(format!("the decoder complains: {}", self.complaints));
        }
        let unreadable = self.pictures.iter().filter(|picture| picture.number.is_none()).count();
        if unreadable > 0 {
            faults.push(format!("{unreadable} of {} pictures cannot be read", self.pictures.len()));
        }
        let runs = self.runs(recording);
        for pair in runs.windows(2) {
            let (before, after) = (pair[0].last, pair[1].first);
            faults.push(format!(
                "after picture {:?} at {} comes {:?} at {}, {} frames later",
                before.number,
                before.pts,
                after.number,
                after.pts,
                (after.pts - before.pts) as f64 / recording.frame() as f64
            ));
        }
        faults.extend(self.sound_faults(recording));
        faults
    }

    /// What is wrong with the sound alone: frames that do not follow each other, a tone that jumps, beeps that do not go
    /// with the picture.
    #[must_use]
    pub fn sound_faults(&self, recording: &Recording) -> Vec<String> {
        let mut faults = Vec::new();
        for pair in self.sounds.windows(2) {
            let end = pair[0].pts as f64 + pair[0].samples as f64 * 90_000.0 / SAMPLES_PER_SECOND;
            if (pair[1].pts as f64 - end).abs() > 2.0 {
                faults.push(format!("sound that ends at {end} is followed by sound at {}", pair[1].pts));
            }
        }
        let phases = self.phases(recording.tone());
        for pair in phases.windows(2) {
            let turn = wrapped(pair[1].1 - pair[0].1);
            if turn.abs() > PHASE {
                faults.push(format!(
                    "the tone jumps by {turn:.2} radians {:.2} s after its beginning",
                    pair[1].0
                ));
            }
        }
        faults.extend(self.out_of_step(recording));
        faults
    }

    /// Seconds from the beginning, and the phase of the tone there against one that began with the first sample.
    fn phases(&self, tone: f64) -> Vec<(f64, f64)> {
        let step = std::f64::consts::TAU * tone / SAMPLES_PER_SECOND;
        let pieces = self.samples.chunks_exact(PIECE).enumerate().skip(WARM_UP.div_ceil(PIECE));
        let phase = |(index, piece): (usize, &[f64])| {
            let (mut real, mut imaginary) = (0.0, 0.0);
            for (offset, sample) in piece.iter().enumerate() {
                let angle = step * (index * PIECE + offset) as f64;
                real += sample * angle.cos();
                imaginary += sample * angle.sin();
            }
            ((index * PIECE) as f64 / SAMPLES_PER_SECOND, f64::atan2(imaginary, real))
        };
        pieces.map(phase).collect()
    }

    /// Beeps are with their pictures, within 20 ms.
    fn out_of_step(&self, recording: &Recording) -> Vec<String> {
        let (Some(sound), true) = (self.sounds.first(), self.pictures.len() > 1) else { return Vec::new() };
        let loudness =
            |piece: &[f64]| piece.iter().map(|sample| sample.abs()).sum::<f64>() / piece.len() as f64;
        let pieces: Vec<f64> = self.samples.chunks_exact(PIECE).map(loudness).collect();
        let loudest = pieces.iter().copied().fold(0.0, f64::max);
        // Halfway between loud and quiet.
        let at = |seconds: f64| {
            let index = (seconds * SAMPLES_PER_SECOND) as usize / PIECE;
            (seconds >= WARM_UP as f64 / SAMPLES_PER_SECOND)
                .then(|| pieces.get(index).map(|piece| *piece > loudest * 0.66))
                .flatten()
        };
        let mut faults = Vec::new();
        for picture in &self.pictures {
            if picture.number.is_none_or(|number| number % recording.beat() != 0) {
                continue;
            }
            let begins = (picture.pts - sound.pts) as f64 / 90_000.0;
            let around =
                [begins - 0.03, begins + 0.03, begins + BEEP_SECONDS - 0.03, begins + BEEP_SECONDS + 0.03]
                    .map(at);
            if around
                .iter()
                .zip([false, true, true, false])
                .any(|(loud, wanted)| loud.is_some_and(|loud| loud != wanted))
            {
                faults.push(format!(
                    "no beep with picture {:?} at {}: {around:?}",
                    picture.number, picture.pts
                ));
            }
        }
        faults
    }

    /// # Panics
    /// Something is missing, doubled, late, damaged or out of step.
    pub fn assert_whole(&self, recording: &Recording) {
        let mut faults = self.faults(recording);
        let (pictures, sounds) = (self.pictures.len(), self.sounds.len());
        if (pictures == 0) == recording.video.is_some() || (sounds == 0) == recording.audio.is_some() {
            faults.push(format!(
                "{pictures} pictures and {sounds} frames of sound in a stream of {recording:?}"
            ));
        }
        let more = faults.len().saturating_sub(12);
        faults.truncate(12);
        assert!(faults.is_empty(), "{}\nand {more} more", faults.join("\n"));
    }
}

fn wrapped(angle: f64) -> f64 {
    let turn = std::f64::consts::TAU;
    angle - turn * (angle / turn).round()
}

/// The number in a picture, of which the boxes are given line by line.
pub(super) fn number(grid: &[u8]) -> Option<u32> {
    let lit = |index: usize| grid[index] > 127;
    (0..16)
        .try_fold(0, |number, bit| (lit(bit) != lit(bit + 16)).then_some(number | u32::from(lit(bit)) << bit))
}

/// The kinds of streams in it.
fn streams(input: &str, options: &[&str]) -> String {
    let output = Command::new(binaries::system("ffprobe"))
        .args(["-v", "error"])
        .args(
            options
                .iter()
                .filter(|option| !matches!(**option, "-t" | "-re"))
                .filter(|option| option.parse::<f64>().is_err()),
        )
        .args(["-show_entries", "stream=codec_type", "-of", "csv=p=0", input])
        .output()
        .unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::live::ts::{self, PACKET};

    fn judged(recording: &Recording, bytes: &[u8]) -> Decoded {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("it.ts");
        fs::write(&path, bytes).unwrap();
        let decoded = Decoded::of(&path);
        assert_eq!(decoded.pictures.is_empty(), recording.video.is_none());
        decoded
    }

    #[test]
    fn what_is_whole_is_found_whole() {
        for recording in [Recording::default(), Recording::default().ntsc()] {
            let reel = recording.load();
            let decoded = judged(&recording, &reel.bytes);
            decoded.assert_whole(&recording);
            assert_eq!(decoded.pictures.len(), recording.frames() as usize);
            assert_eq!(decoded.pictures[0].number, Some(recording.first()));
        }
        let recording = Recording::default().audio_only();
        judged(&recording, &recording.load().bytes).assert_whole(&recording);
    }

    #[test]
    fn one_frame_that_is_missing_or_doubled_is_found() {
        let recording = Recording { b_frames: 0, ..Recording::default() };
        let reel = recording.load();
        // The last frame of a GOP: nothing refers to it.
        let piece = reel.pieces[2 * recording.gop as usize - 1];
        let missing = [&reel.bytes[..piece.from], &reel.bytes[piece.to..]].concat();
        let decoded = judged(&recording, &missing);
        assert_eq!(decoded.runs(&recording).len(), 2, "{:?}", decoded.runs(&recording));
        let sounds = ts::all_pes(&reel.bytes).into_iter().filter(|pes| !pes.video).collect::<Vec<_>>();
        let count = (sounds[100].at..).step_by(PACKET).skip(1).find(|at| {
            let head = ts::Head::of(&reel.bytes[*at..*at + PACKET]);
            head.pid != sounds[100].pid || head.start
        });
        let end = count.unwrap();
        let missing = [&reel.bytes[..sounds[100].at], &reel.bytes[end..]].concat();
        assert!(judged(&recording, &missing).sound_faults(&recording).len() >= 2);
        let doubled = [&reel.bytes[..end], &reel.bytes[sounds[100].at..]].concat();
        assert!(!judged(&recording, &doubled).sound_faults(&recording).is_empty());
    }
}
