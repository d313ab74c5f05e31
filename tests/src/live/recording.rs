//! Recordings whose pictures count their frames and whose sound tells its time: made by ffmpeg once, kept in
//! `.footage/live/`.
//!
//! The upper half of the picture is eight by four boxes: sixteen bits of the frame's number, and below them the same
//! inverted, so that what a decoder made up is not taken for a number. The lower half moves. The sound is a tone without a
//! seam, louder for a tenth of a second at each beat.

use std::{
    fs,
    path::PathBuf,
    process::Command,
    sync::{Arc, Mutex, PoisonError},
};

use super::ts::{self, Pes};
use crate::binaries;

/// Loud, from each beat on.
pub const BEEP_SECONDS: f64 = 0.1;
/// Two ffmpegs that make the same file would write into each other's.
static MAKING: Mutex<()> = Mutex::new(());

/// What a recording is like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recording {
    pub video: Option<&'static str>,
    pub audio: Option<&'static str>,
    pub width: u32,
    pub height: u32,
    /// As a fraction; 25/1 and 30000/1001 are known.
    pub rate: (u32, u32),
    /// Frames.
    pub gop: u32,
    pub b_frames: u32,
    /// Bits per second.
    pub bitrate: u32,
}

/// 640x360 at 25 frames per second, H.264 with B-frames and a GOP of one second, AAC.
impl Default for Recording {
    fn default() -> Self {
        Self {
            video: Some("libx264"),
            audio: Some("aac"),
            width: 640,
            height: 360,
            rate: (25, 1),
            gop: 25,
            b_frames: 2,
            bitrate: 800_000,
        }
    }
}

impl Recording {
    #[must_use]
    pub fn size(self, width: u32, height: u32) -> Self {
        Self { width, height, bitrate: self.bitrate.max(width * height * 3), ..self }
    }

    /// 30000/1001 frames per second.
    #[must_use]
    pub fn ntsc(self) -> Self {
        Self { rate: (30_000, 1001), gop: 32, ..self }
    }

    #[must_use]
    pub fn video_only(self) -> Self {
        Self { audio: None, ..self }
    }

    #[must_use]
    pub fn audio_only(self) -> Self {
        Self { video: None, ..self }
    }

    /// Frames after which it starts again: picture, sound and the frames of both come out even.
    #[must_use]
    pub const fn frames(&self) -> u32 {
        // 32 s are 1,500 frames of AAC at 48 kHz, 640 frames at 30000/1001 are 1,001 of them.
        if self.rate.1 == 1 { 800 } else { 640 }
    }

    /// Ticks of 90 kHz of one frame.
    #[must_use]
    pub const fn frame(&self) -> i64 {
        90_000 * self.rate.1 as i64 / self.rate.0 as i64
    }

    /// Frames from one beat to the next.
    #[must_use]
    pub const fn beat(&self) -> u32 {
        if self.rate.1 == 1 { 25 } else { 32 }
    }

    /// The first number that is shown; it stands at the beginning of a GOP and on a beat.
    #[must_use]
    pub const fn first(&self) -> u32 {
        self.gop
    }

    /// What follows a frame's number.
    #[must_use]
    pub const fn next(&self, number: u32) -> u32 {
        if number + 1 == self.first() + self.frames() { self.first() } else { number + 1 }
    }

    /// Of the tone, in Hz: a whole number of waves in the recording, a third of one more than that in a frame of AAC.
    #[must_use]
    pub fn tone(&self) -> f64 {
        let frames = f64::from(self.frames()) * self.frame() as f64 / 1920.0;
        48_000.0 / 1024.0 * (21.0 * frames + (frames / 3.0).round()) / frames
    }

    fn file_name(&self) -> String {
        let name = |codec: Option<&str>| codec.unwrap_or("none").to_owned();
        format!(
            "{}-{}-{}x{}-{}-{}-g{}-b{}-{}k.ts",
            name(self.video),
            name(self.audio),
            self.width,
            self.height,
            self.rate.0,
            self.rate.1,
            self.gop,
            self.b_frames,
            self.bitrate / 1000
        )
    }

    /// Where it is; made if it is not.
    ///
    /// # Panics
    /// ffmpeg cannot make it.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        let _one = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
        let folder = binaries::root().join(".footage/live");
        let path = folder.join(self.file_name());
        if !path.is_file() {
            fs::create_dir_all(&folder).unwrap();
            // Of this process alone: tests run in processes of their own.
            let part = folder.join(format!("{}.{}.part", self.file_name(), std::process::id()));
            let output = self.command().arg(&part).output().unwrap();
            assert!(
                output.status.success(),
                "ffmpeg cannot make {}: {}",
                path.display(),
                String::from_utf8_lossy(&output.stderr)
            );
            fs::rename(part, &path).unwrap();
        }
        path
    }

    fn command(&self) -> Command {
        let frames = self.first() + self.frames() + 2 * self.gop;
        let seconds = f64::from(frames) * self.frame() as f64 / 90_000.0;
        let mut command = Command::new(binaries::system("ffmpeg"));
        command.args(["-nostdin", "-v", "error", "-y"]);
        if self.video.is_some() {
            command.args(["-f", "lavfi", "-i", &self.picture()]);
        }
        if self.audio.is_some() {
            command.args(["-f", "lavfi", "-i", &self.sound()]);
        }
        if let Some(codec) = self.video {
            let (gop, rate) = (self.gop.to_string(), self.bitrate.to_string());
            command.args([
                "-c:v",
                codec,
                "-pix_fmt",
                "yuv420p",
                "-b:v",
                &rate,
                "-g",
                &gop,
                "-keyint_min",
                &gop,
            ]);
            command.args(["-sc_threshold", "0", "-bf", &self.b_frames.to_string()]);
            if codec == "libx265" {
                command.args(["-preset", "ultrafast"]);
                command.args(["-x265-params", "log-level=error:open-gop=0:scenecut=0"]);
            } else if codec == "libx264" {
                command.args(["-preset", "veryfast"]);
            }
        }
        if let Some(codec) = self.audio {
            command.args(["-c:a", codec, "-b:a", "96k", "-ac", "2"]);
        }
        command.args(["-t", &format!("{seconds:.6}"), "-pes_payload_size", "0", "-f", "mpegts"]);
        command
    }

    fn sound(&self) -> String {
        let beat = f64::from(self.beat()) * self.frame() as f64 / 90_000.0;
        let loudness = format!("0.2+0.4*lt(mod(t,{beat:.9}),{BEEP_SECONDS})");
        format!("aevalsrc='({loudness})*sin(2*PI*{:.9}*t)':s=48000:c=mono", self.tone())
    }

    fn picture(&self) -> String {
        let Self { width, height, rate, .. } = self;
        let mut filter = format!(
            "testsrc2=s={width}x{height}:r={}/{},drawbox=w=iw:h=ih/2:color=black:t=fill",
            rate.0, rate.1
        );
        for bit in 0..16 {
            let (column, row) = (bit % 8, bit / 8);
            for (row, set) in [(row, 1), (row + 2, 0)] {
                filter.push_str(&format!(
                    ",drawbox=x=iw*{column}/8:y=ih*{row}/8:w=iw/8:h=ih/8:color=white:t=fill:\
                     enable='eq(mod(floor(n/{}),2),{set})'",
                    1 << bit
                ));
            }
        }
        filter
    }

    /// Reads it, to be played in a circle.
    #[must_use]
    pub fn load(&self) -> Arc<Reel> {
        Arc::new(Reel::new(self.clone(), &fs::read(self.path()).unwrap()))
    }
}

/// A piece of a reel that is sent at once: a frame of video and what was written up to the next.
#[derive(Debug, Clone, Copy)]
pub struct Piece {
    pub from: usize,
    pub to: usize,
    /// As it stands in the packets.
    pub dts: u64,
    /// Ticks until the next piece.
    pub lasts: i64,
    pub key: bool,
}

/// A recording in memory, cut so that its end fits its beginning.
#[derive(Debug)]
pub struct Reel {
    pub recording: Recording,
    pub bytes: Vec<u8>,
    pub pieces: Vec<Piece>,
}

impl Reel {
    fn new(recording: Recording, file: &[u8]) -> Self {
        let video = recording.video.is_some();
        let clock: Vec<Pes> = ts::all_pes(file).into_iter().filter(|pes| pes.video == video).collect();
        let (first, count) = if video {
            (recording.first() as usize, recording.frames() as usize)
        } else {
            (50, (i64::from(recording.frames()) * recording.frame() / 1920) as usize)
        };
        // Tables stand before each key frame.
        let before = |pes: &Pes| ts::with_tables(file, pes.at);
        let chosen = &clock[first..=first + count];
        let begin = before(&chosen[0]);
        let pieces = chosen.windows(2).map(|pair| Piece {
            from: before(&pair[0]) - begin,
            to: before(&pair[1]) - begin,
            dts: pair[0].dts,
            lasts: ts::distance(pair[0].dts, pair[1].dts),
            key: pair[0].random_access,
        });
        let pieces: Vec<Piece> = pieces.collect();
        let bytes = file[begin..before(&chosen[count])].to_vec();
        Self { recording, bytes, pieces }
    }

    /// Ticks.
    #[must_use]
    pub fn length(&self) -> i64 {
        self.pieces.iter().map(|piece| piece.lasts).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reel_ends_where_it_begins() {
        for recording in
            [Recording::default(), Recording::default().ntsc(), Recording::default().audio_only()]
        {
            let reel = recording.load();
            assert_eq!(reel.length(), i64::from(recording.frames()) * recording.frame(), "{recording:?}");
            let all = ts::all_pes(&reel.bytes);
            let audio = all.iter().filter(|pes| !pes.video).count() as i64;
            assert_eq!(audio * 1920, reel.length(), "{recording:?}");
            if recording.video.is_some() {
                assert!(all[0].video && all[0].random_access);
            }
            let waves = recording.tone() * reel.length() as f64 / 90_000.0;
            assert!((waves - waves.round()).abs() < 1e-6, "{waves} waves");
        }
    }
}
