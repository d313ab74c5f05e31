//! Tiny inputs, each odd in one way, made by ffmpeg when they are first asked for and shared by all tests.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Input {
    OddSizeMono8k,
    Rotated,
    Anamorphic,
    Variable,
    Hdr10,
    Hlg,
    NoAudio,
    AudioOnly,
    Everything,
    Surround,
    ManyChannels,
    Interlaced,
    LateStart,
    Rgb,
    LateSound,
    /// 4 s of 29.97 fps; not in the matrix.
    Long,
    // Odd in their times; in a matrix of their own.
    /// The picture starts half a second after the sound.
    LatePicture,
    /// The sound goes on after the picture.
    LongSound,
    /// VP9 and Opus at 23.976 fps.
    FilmRate,
    /// Pictures that stand for seconds.
    Slides,
    /// An edit list that begins within a GOP.
    Edited,
    /// Every codec's own padding, no container to tell it.
    Mp3,
    Adts,
    /// Starts late and within a GOP, as a recording of a broadcast.
    Recording,
    /// Two recordings in one file: the clock starts again.
    Joined,
    Flv,
    Avi,
    /// An index in each fragment.
    Fragmented,
    /// 4 s of 60 fps.
    Fast,
}

impl Input {
    pub(crate) const ALL: [Self; 15] = [
        Self::OddSizeMono8k,
        Self::Rotated,
        Self::Anamorphic,
        Self::Variable,
        Self::Hdr10,
        Self::Hlg,
        Self::NoAudio,
        Self::AudioOnly,
        Self::Everything,
        Self::Surround,
        Self::ManyChannels,
        Self::Interlaced,
        Self::LateStart,
        Self::Rgb,
        Self::LateSound,
    ];

    pub(crate) const TIMES: [Self; 14] = [
        Self::Long,
        Self::LatePicture,
        Self::LongSound,
        Self::FilmRate,
        Self::Slides,
        Self::Edited,
        Self::Mp3,
        Self::Adts,
        Self::Recording,
        Self::Joined,
        Self::Flv,
        Self::Avi,
        Self::Fragmented,
        Self::Fast,
    ];

    pub(crate) fn has_video(self) -> bool {
        !matches!(self, Self::AudioOnly | Self::Mp3 | Self::Adts)
    }

    pub(crate) fn has_audio(self) -> bool {
        !matches!(self, Self::NoAudio | Self::Rotated | Self::Rgb)
    }

    const fn name(self) -> &'static str {
        match self {
            Self::OddSizeMono8k => "odd-size.mkv",
            Self::Rotated => "rotated.mp4",
            Self::Anamorphic => "anamorphic.mp4",
            Self::Variable => "variable.mp4",
            Self::Hdr10 => "hdr10.mp4",
            Self::Hlg => "hlg.mkv",
            Self::NoAudio => "no-audio.mp4",
            Self::AudioOnly => "audio-only.m4a",
            Self::Everything => "everything.mp4",
            Self::Surround => "surround.mkv",
            Self::ManyChannels => "many-channels.mkv",
            Self::Interlaced => "interlaced.ts",
            Self::LateStart => "late-start.ts",
            Self::Rgb => "rgb.mov",
            Self::LateSound => "late-sound.mkv",
            Self::Long => "long.mp4",
            Self::LatePicture => "late-picture.mp4",
            Self::LongSound => "long-sound.mkv",
            Self::FilmRate => "film-rate.webm",
            Self::Slides => "slides.mp4",
            Self::Edited => "edited.mp4",
            Self::Mp3 => "sound.mp3",
            Self::Adts => "sound.aac",
            Self::Recording => "recording.ts",
            Self::Joined => "joined.ts",
            Self::Flv => "film.flv",
            Self::Avi => "film.avi",
            Self::Fragmented => "fragmented.mp4",
            Self::Fast => "fast.mp4",
        }
    }

    /// Makes it if it is not there. Several tests may do so at once: the last rename wins, with the same content.
    pub(crate) fn path(self) -> PathBuf {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("odd-inputs-3");
        let path = folder.join(self.name());
        if path.exists() {
            return path;
        }
        std::fs::create_dir_all(&folder).unwrap();
        let scratch = tempfile::tempdir_in(&folder).unwrap();
        let made = scratch.path().join(self.name());
        self.make(scratch.path(), &made);
        std::fs::rename(&made, &path).unwrap();
        path
    }

    fn make(self, scratch: &Path, to: &Path) {
        let x264 = "-c:v libx264 -preset ultrafast";
        let sine = "-f lavfi -i sine=frequency=440:sample_rate=48000:duration=1";
        let arguments = match self {
            Self::OddSizeMono8k => format!(
                "{} -f lavfi -i sine=sample_rate=8000:duration=1 -c:v ffv1 -pix_fmt yuv444p -c:a pcm_s16le",
                bars("65x47", 25)
            ),
            // Rotated again below: ffmpeg turns what it re-encodes, so the flag is added to a copy.
            Self::Rotated | Self::NoAudio => format!("{} {x264} -pix_fmt yuv420p", bars("96x64", 25)),
            Self::Anamorphic => {
                format!("{} {sine} -vf setsar=4/3 {x264} -pix_fmt yuv420p -c:a aac", bars("72x72", 25))
            }
            Self::Variable => format!(
                "{} {sine} -vf select='not(eq(mod(n,5),2))*not(eq(mod(n,7),3))' -fps_mode vfr \
                 -enc_time_base 1:90000 {x264} -pix_fmt yuv420p -c:a aac",
                bars("96x64", 30)
            ),
            Self::Hdr10 => format!(
                "{} {sine} -c:v libx265 -preset ultrafast -pix_fmt yuv420p10le -x265-params \
                 log-level=error:colorprim=bt2020:transfer=smpte2084:colormatrix=bt2020nc -c:a aac",
                bars("96x64", 24)
            ),
            Self::Hlg => format!(
                "{} {sine} -c:v libx265 -preset ultrafast -pix_fmt yuv420p10le -x265-params \
                 log-level=error:colorprim=bt2020:transfer=arib-std-b67:colormatrix=bt2020nc -c:a flac",
                bars("96x64", 50)
            ),
            Self::AudioOnly => format!("{sine} -c:a aac"),
            Self::Everything => {
                let subtitles = scratch.join("s.srt");
                std::fs::write(&subtitles, "1\n00:00:00,100 --> 00:00:00,900\nHello\n").unwrap();
                let cover = scratch.join("cover.png");
                ffmpeg(&format!(
                    "-f lavfi -i color=red:size=32x32:duration=0.04 -frames:v 1 {}",
                    cover.display()
                ));
                format!(
                    "{} {sine} -f lavfi -i sine=frequency=880:sample_rate=44100:duration=1 -i {} -i {} -map 0 -map 1 \
                     -map 2 -map 3 -map 4 {x264} -pix_fmt:v:0 yuv420p -c:v:1 png -disposition:v:1 attached_pic \
                     -c:a aac -c:s mov_text -metadata:s:a:0 language=deu -metadata:s:a:1 language=eng",
                    bars("96x64", 25),
                    subtitles.display(),
                    cover.display()
                )
            }
            Self::Surround => format!(
                "{} -f lavfi -i anoisesrc=duration=1:sample_rate=44100 -af pan=5.1(side)|c0=c0|c1=c0|c2=c0|c3=c0|c4=c0|c5=c0 \
                 {x264} -pix_fmt yuv422p10le -c:a flac",
                bars("96x64", 25)
            ),
            Self::ManyChannels => {
                let expressions = vec!["0.1*sin(440*t)"; 24].join("|");
                format!(
                    "{} -f lavfi -i aevalsrc={expressions}:sample_rate=48000:duration=1 {x264} -pix_fmt yuv420p \
                     -c:a pcm_s16le",
                    bars("96x64", 25)
                )
            }
            Self::Interlaced => format!(
                "{} {sine} -vf tinterlace=interleave_top,setfield=tff -c:v mpeg2video -flags +ilme+ildct -q:v 3 -c:a mp2",
                bars("96x64", 50)
            ),
            Self::LateStart => format!(
                "{} {sine} {x264} -pix_fmt yuv420p -c:a aac -output_ts_offset 3600",
                bars("96x64", 25)
            ),
            Self::Rgb => format!("{} -c:v qtrle -pix_fmt rgb24", bars("97x64", 25)),
            Self::LateSound => format!(
                "{} -itsoffset 0.4 -f lavfi -i sine=sample_rate=22050:duration=0.6 {x264} -pix_fmt yuvj420p -c:a libmp3lame",
                bars("96x64", 25)
            ),
            Self::Long => format!(
                "-f lavfi -i testsrc2=size=284x160:rate=30000/1001:duration=4 \
                 -f lavfi -i sine=sample_rate=48000:duration=4 {x264} -pix_fmt yuv420p -c:a aac"
            ),
            Self::LatePicture => format!(
                "-itsoffset 0.5 {} -f lavfi -i sine=sample_rate=48000:duration=2 {x264} -pix_fmt yuv420p -c:a aac",
                bars("96x64", 25)
            ),
            Self::LongSound => format!(
                "{} -f lavfi -i sine=sample_rate=44100:duration=2.3 {x264} -pix_fmt yuv420p -c:a libopus",
                bars("96x64", 25)
            ),
            Self::FilmRate => "-f lavfi -i testsrc2=size=96x64:rate=24000/1001:duration=3 \
                 -f lavfi -i sine=sample_rate=48000:duration=3 -c:v libvpx-vp9 -deadline realtime -cpu-used 8 \
                 -pix_fmt yuv420p -c:a libopus"
                .to_owned(),
            Self::Slides => format!(
                "-f lavfi -i testsrc2=size=96x64:rate=25:duration=9 {sine} -vf select='eq(n,0)+eq(n,70)+eq(n,150)' \
                 -fps_mode vfr -enc_time_base 1:90000 {x264} -pix_fmt yuv420p -c:a aac"
            ),
            Self::Edited => {
                format!("-ss 1.3 -i {} -c copy", Self::Long.path().display())
            }
            Self::Mp3 => format!("{sine} -c:a libmp3lame"),
            Self::Adts => format!("{sine} -c:a aac -f adts"),
            Self::Recording => {
                let whole = scratch.join("whole.ts");
                ffmpeg(&format!(
                    "-f lavfi -i testsrc2=size=96x64:rate=25:duration=4 -f lavfi -i sine=duration=4 {x264} -bf 2 -g 25 \
                     -pix_fmt yuv420p -c:a mp2 -output_ts_offset 5000 {}",
                    whole.display()
                ));
                let bytes = std::fs::read(&whole).unwrap();
                // From the middle, on the packet grid of a transport stream, with its tables in front.
                let middle = bytes.len() / 3 / 188 * 188;
                std::fs::write(to, [&bytes[..188 * 3], &bytes[middle..]].concat()).unwrap();
                return;
            }
            Self::Joined => {
                let part = scratch.join("part.ts");
                ffmpeg(&format!("{} {sine} {x264} -pix_fmt yuv420p -c:a mp2 {}", bars("96x64", 25), part.display()));
                let later = scratch.join("later.ts");
                ffmpeg(&format!("-i {} -c copy -output_ts_offset 700 {}", part.display(), later.display()));
                let both = [std::fs::read(&later).unwrap(), std::fs::read(&part).unwrap()].concat();
                std::fs::write(to, both).unwrap();
                return;
            }
            Self::Flv => format!(
                "{} -f lavfi -i sine=sample_rate=44100:duration=1 {x264} -pix_fmt yuv420p -c:a aac",
                bars("96x64", 25)
            ),
            Self::Avi => format!("{} {sine} -c:v mpeg4 -bf 2 -c:a libmp3lame", bars("96x64", 25)),
            Self::Fragmented => format!(
                "{} {sine} {x264} -g 10 -pix_fmt yuv420p -c:a aac -movflags frag_keyframe+empty_moov",
                bars("96x64", 25)
            ),
            Self::Fast => format!(
                "-f lavfi -i testsrc2=size=96x64:rate=60:duration=4 -f lavfi -i sine=duration=4 {x264} \
                 -pix_fmt yuv420p -c:a libmp3lame"
            ),
        };
        if self == Self::Rotated {
            let upright = scratch.join("upright.mp4");
            ffmpeg(&format!("{arguments} {}", upright.display()));
            ffmpeg(&format!("-i {} -c copy -metadata:s:v rotate=90 {}", upright.display(), to.display()));
        } else {
            ffmpeg(&format!("{arguments} {}", to.display()));
        }
    }
}

fn bars(size: &str, rate: u32) -> String {
    format!("-f lavfi -i testsrc2=size={size}:rate={rate}:duration=1")
}

/// No argument of these has a blank in it.
fn ffmpeg(arguments: &str) {
    let output = Command::new("ffmpeg")
        .args(["-hide_banner", "-nostdin", "-y", "-loglevel", "error"])
        .args(arguments.split_whitespace())
        .output()
        .expect("ffmpeg is installed");
    assert!(output.status.success(), "{arguments}: {}", String::from_utf8_lossy(&output.stderr));
}
