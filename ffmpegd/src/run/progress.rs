//! What `ffmpeg -progress` says.

use common::worker::Progress;

/// Collects the lines of one report; ffmpeg ends each with `progress=continue` or `progress=end`.
#[derive(Debug, Default)]
pub(super) struct Parser {
    next: Progress,
    duration: Option<f64>,
    encoded: Encoded,
}

/// What ffmpeg says that it encoded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Encoded {
    /// Frames of the first video output; `None` without video.
    pub(super) frames: Option<u64>,
    /// Frames dropped to keep to the output's clock.
    pub(super) dropped: u64,
    /// Frames shown twice for the same reason.
    pub(super) doubled: u64,
    /// Microseconds.
    pub(super) out_time_us: u64,
}

impl Encoded {
    pub(super) fn is_nothing(&self) -> bool {
        self.frames.unwrap_or(0) == 0 && self.out_time_us == 0
    }

    /// Frames of the input that are not in the output.
    pub(super) fn unseen(&self) -> i64 {
        self.dropped.cast_signed().saturating_sub(self.doubled.cast_signed())
    }
}

impl Parser {
    /// `duration`: the media seconds that will be written, if that is known.
    pub(super) const fn new(duration: Option<f64>) -> Self {
        Self {
            next: Progress {
                fraction: None,
                frames: 0,
                fps: 0.0,
                speed: 0.0,
                bitrate: 0,
                out_time_us: 0,
                phase: String::new(),
            },
            duration,
            encoded: Encoded { frames: None, dropped: 0, doubled: 0, out_time_us: 0 },
        }
    }

    /// As of the last report.
    pub(super) const fn encoded(&self) -> Encoded {
        self.encoded
    }

    /// Takes one line; a whole report when the line ends one. What is no number (`N/A`) leaves the last value.
    pub(super) fn line(&mut self, line: &str) -> Option<Progress> {
        let (key, value) = line.split_once('=')?;
        let value = value.trim();
        match key.trim() {
            "frame" => {
                set(&mut self.next.frames, value.parse().ok());
                self.encoded.frames = Some(self.next.frames);
            }
            "drop_frames" => set(&mut self.encoded.dropped, value.parse().ok()),
            "dup_frames" => set(&mut self.encoded.doubled, value.parse().ok()),
            "fps" => set(&mut self.next.fps, finite(value)),
            "speed" => set(&mut self.next.speed, finite(value.trim_end_matches('x'))),
            "bitrate" => set(&mut self.next.bitrate, bits_per_second(value)),
            // `out_time_ms` is in microseconds too, by an old mistake that stays for compatibility.
            "out_time_us" | "out_time_ms" => set(
                &mut self.next.out_time_us,
                value.parse::<i64>().ok().map(|time| u64::try_from(time).unwrap_or(0)),
            ),
            "progress" => {
                self.encoded.out_time_us = self.next.out_time_us;
                self.next.fraction = fraction(self.next.out_time_us, self.duration);
                return Some(self.next.clone());
            }
            _ => {}
        }
        None
    }
}

fn set<T>(field: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *field = value;
    }
}

fn finite(text: &str) -> Option<f64> {
    text.trim().parse().ok().filter(|number: &f64| number.is_finite() && *number >= 0.0)
}

/// `1234.5kbits/s`
fn bits_per_second(text: &str) -> Option<u64> {
    Some((finite(text.strip_suffix("kbits/s")?)? * 1000.0) as u64)
}

fn fraction(out_time_us: u64, duration: Option<f64>) -> Option<f64> {
    let duration = duration.filter(|seconds| *seconds > 0.0)?;
    Some((out_time_us as f64 / 1e6 / duration).clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(text: &str, duration: Option<f64>) -> Vec<Progress> {
        let mut parser = Parser::new(duration);
        text.lines().filter_map(|line| parser.line(line)).collect()
    }

    #[test]
    fn a_report_of_ffmpeg_is_understood() {
        let text = "frame=48\nfps=23.98\nstream_0_0_q=28.0\nbitrate= 210.5kbits/s\ntotal_size=52000\n\
                    out_time_us=2000000\nout_time_ms=2000000\nout_time=00:00:02.000000\ndup_frames=0\n\
                    drop_frames=0\nspeed=1.31x\nprogress=continue\n";
        let all = report(text, Some(8.0));
        assert_eq!(
            all,
            [Progress {
                fraction: Some(0.25),
                frames: 48,
                fps: 23.98,
                speed: 1.31,
                bitrate: 210_500,
                out_time_us: 2_000_000,
                phase: String::new()
            }]
        );
    }

    #[test]
    fn what_was_encoded_is_known_at_the_end() {
        let mut parser = Parser::new(None);
        let text = "frame=48\nout_time_us=2000000\ndup_frames=1\ndrop_frames=3\nprogress=end";
        text.lines().for_each(|line| drop(parser.line(line)));
        let encoded = parser.encoded();
        assert_eq!((encoded.frames, encoded.unseen(), encoded.is_nothing()), (Some(48), 2, false));
        let mut silent = Parser::new(None);
        "out_time_us=N/A\ndup_frames=0\nprogress=end".lines().for_each(|line| drop(silent.line(line)));
        assert_eq!((silent.encoded().frames, silent.encoded().is_nothing()), (None, true));
    }

    #[test]
    fn nothing_yet_is_no_progress() {
        let text = "frame=0\nfps=0.00\nbitrate=N/A\nout_time_us=N/A\nspeed=N/A\nprogress=continue\n\
                    out_time_us=-21333\nprogress=end\n";
        let all = report(text, Some(8.0));
        assert_eq!(all.len(), 2);
        assert_eq!((all[1].out_time_us, all[1].fraction), (0, Some(0.0)));
    }

    #[test]
    fn without_a_duration_there_is_no_fraction_and_never_more_than_one() {
        assert_eq!(report("out_time_us=5000000\nprogress=end", None)[0].fraction, None);
        assert_eq!(report("out_time_us=5000000\nprogress=end", Some(0.0))[0].fraction, None);
        assert_eq!(report("out_time_us=5000000\nprogress=end", Some(4.9))[0].fraction, Some(1.0));
    }
}
