//! Numbers, times and command lines as people read them.

use std::time::Duration;

use jiff::Timestamp;

/// `0:07`, `4:07`, `1:04:07`.
pub(crate) fn clock(seconds: f64) -> String {
    let seconds = if seconds.is_finite() { seconds.max(0.0).round() as u64 } else { 0 };
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 { format!("{hours}:{minutes:02}:{seconds:02}") } else { format!("{minutes}:{seconds:02}") }
}

/// `0.4s`, `12s`, `4m07s`, `1h04m`, `3d02h`.
pub(crate) fn span(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..10 => format!("{:.1}s", duration.as_secs_f64()),
        10..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h{:02}m", seconds / 3600, seconds / 60 % 60),
        _ => format!("{}d{:02}h", seconds / 86_400, seconds / 3600 % 24),
    }
}

/// From `start` to `end`; nothing when the clocks of two machines disagree.
pub(crate) fn between(start: Timestamp, end: Timestamp) -> Duration {
    Duration::try_from(end.duration_since(start)).unwrap_or_default()
}

/// `2026-01-31 12:00:05Z`.
pub(crate) fn time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%SZ").to_string()
}

/// `812 B`, `1.5 MiB`.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    let mut value = count as f64 / 1024.0;
    let mut unit = 0;
    while value >= 999.95 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// `812 b/s`, `4.5 Mb/s`.
pub(crate) fn bitrate(bits: u64) -> String {
    match bits {
        0..1000 => format!("{bits} b/s"),
        1000..1_000_000 => format!("{:.0} kb/s", bits as f64 / 1e3),
        _ => format!("{:.1} Mb/s", bits as f64 / 1e6),
    }
}

/// The command line as a shell takes it back.
pub(crate) fn shell(argv: &[String]) -> String {
    argv.iter().map(|arg| shell_word(arg)).collect::<Vec<_>>().join(" ")
}

fn shell_word(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// Text from somewhere else with what would steer a terminal made harmless.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' && c != '\t' { '\u{fffd}' } else { c }).collect()
}

/// At most `width` characters; what is too long loses its middle, so that the extension stays.
pub(crate) fn shorten(text: &str, width: usize) -> String {
    let count = text.chars().count();
    if count <= width || width < 5 {
        return text.to_owned();
    }
    let tail = width / 2;
    let head = width - tail - 1;
    let chars: Vec<char> = text.chars().collect();
    chars[..head].iter().chain(&['…']).chain(&chars[count - tail..]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_short() {
        assert_eq!(clock(41.4), "0:41");
        assert_eq!(clock(3847.0), "1:04:07");
        assert_eq!(clock(f64::NAN), "0:00");
        assert_eq!(span(Duration::from_millis(430)), "0.4s");
        assert_eq!(span(Duration::from_secs(247)), "4m07s");
        assert_eq!(span(Duration::from_secs(100_000)), "1d03h");
    }

    #[test]
    fn sizes_have_units() {
        assert_eq!(bytes(812), "812 B");
        assert_eq!(bytes(1024 * 1024), "1.0 MiB");
        assert_eq!(bytes(1_572_864), "1.5 MiB");
        assert_eq!(bitrate(4_500_000), "4.5 Mb/s");
    }

    #[test]
    fn a_command_line_can_be_pasted_into_a_shell() {
        let argv = ["ffmpeg", "-i", "it's here.mp4", "-vf", "scale=-2:720", "", "a;b"].map(str::to_owned);
        assert_eq!(shell(&argv), r"ffmpeg -i 'it'\''s here.mp4' -vf scale=-2:720 '' 'a;b'");
    }

    #[test]
    fn long_names_keep_their_extension() {
        assert_eq!(shorten("short.mp4", 20), "short.mp4");
        assert_eq!(shorten("a-rather-long-name.mp4", 12), "a-rat…me.mp4");
    }

    #[test]
    fn text_from_elsewhere_cannot_steer_the_terminal() {
        assert_eq!(printable("a\u{1b}[2Jb"), "a\u{fffd}[2Jb");
    }
}
