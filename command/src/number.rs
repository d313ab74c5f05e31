//! Numbers as ffmpeg's users write them. Each function takes a whole text and gives nothing for anything else; what it
//! accepts, ffmpeg reads as the same.

/// Digits that a number may have: enough for microseconds, few enough that an `f64` keeps them.
const DIGITS: usize = 15;

/// `12`, `-3`.
pub(crate) fn integer(text: &str) -> Option<i64> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    (plain_digits(digits) && digits.len() <= DIGITS + 1).then(|| text.parse().ok()).flatten()
}

/// `12`, `-0.5`, `.5`.
pub(crate) fn decimal(text: &str) -> Option<f64> {
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, "0"));
    let fine =
        (whole.is_empty() || plain_digits(whole)) && plain_digits(fraction) && unsigned.len() <= DIGITS + 1;
    fine.then(|| text.parse::<f64>().ok()).flatten().filter(|value| value.is_finite())
}

fn plain_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// `128k`, `2.5M`, `1Gi`, `800000`: as a whole number of bits or bytes.
pub(crate) fn amount(text: &str) -> Option<i64> {
    let (text, factors) = match text.strip_suffix('i') {
        Some(text) => (text, [1024.0, 1_048_576.0, 1_073_741_824.0]),
        None => (text, [1e3, 1e6, 1e9]),
    };
    let binary = factors[0] > 1000.0;
    let (number, factor) = match text.char_indices().last()? {
        (at, 'k' | 'K') => (&text[..at], factors[0]),
        (at, 'M') => (&text[..at], factors[1]),
        (at, 'G') => (&text[..at], factors[2]),
        _ if binary => return None,
        _ => (text, 1.0),
    };
    let value = decimal(number)? * factor;
    #[expect(clippy::cast_possible_truncation, reason = "checked to be far below 2^53")]
    (value.abs() < 1e15).then_some(value.round() as i64)
}

/// `16/9`, `16:9`: numerator and denominator. Both fit 32 bits, the denominator is not 0.
pub(crate) fn ratio(text: &str) -> Option<(i64, i64)> {
    let (numerator, denominator) = text.split_once(['/', ':'])?;
    let (numerator, denominator) = (integer(numerator)?, integer(denominator)?);
    let fine = |value: i64| value.abs() <= i64::from(i32::MAX);
    (denominator > 0 && fine(numerator) && fine(denominator)).then_some((numerator, denominator))
}

/// A frame rate by its name.
pub(crate) fn named_rate(name: &str) -> Option<(i64, i64)> {
    Some(match name {
        "ntsc" | "qntsc" | "sntsc" => (30000, 1001),
        "pal" | "qpal" | "spal" => (25, 1),
        "film" => (24, 1),
        "ntsc-film" => (24000, 1001),
        _ => return None,
    })
}

/// `90`, `-3.5`, `1:30`, `01:02:03.5`, `500ms`, `20s`, `100us`: in microseconds.
pub(crate) fn duration(text: &str) -> Option<i64> {
    let (sign, text) = text.strip_prefix('-').map_or((1, text), |text| (-1, text));
    if text.starts_with('-') {
        return None;
    }
    let micros = if text.contains(':') { clock(text)? } else { seconds(text)? };
    Some(sign * micros)
}

fn seconds(text: &str) -> Option<i64> {
    let (number, unit) = [("ms", 1_000), ("us", 1), ("s", 1_000_000)]
        .into_iter()
        .find_map(|(suffix, unit)| Some((text.strip_suffix(suffix)?, unit)))
        .unwrap_or((text, 1_000_000));
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    if !plain_digits(whole) || whole.len() > 12 || !plain_digits(fraction) || fraction.len() > 9 {
        return None;
    }
    let whole: i64 = whole.parse().ok()?;
    Some(whole.checked_mul(unit)? + fraction_of(fraction, unit)?)
}

fn clock(text: &str) -> Option<i64> {
    let (time, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let parts: Vec<&str> = time.split(':').collect();
    let (hours, minutes, seconds) = match parts[..] {
        [minutes, seconds] => ("0", minutes, seconds),
        [hours, minutes, seconds] => (hours, minutes, seconds),
        _ => return None,
    };
    let part =
        |text: &str, most: i64| integer(text).filter(|value| text.len() <= 4 && (0..=most).contains(value));
    if !plain_digits(fraction) || fraction.len() > 9 {
        return None;
    }
    let whole = part(hours, 9999)? * 3600 + part(minutes, 59)? * 60 + part(seconds, 59)?;
    Some(whole * 1_000_000 + fraction_of(fraction, 1_000_000)?)
}

/// What comes after the point, in parts of `unit`; ffmpeg cuts what is finer.
fn fraction_of(digits: &str, unit: i64) -> Option<i64> {
    let scale = 10_i64.checked_pow(u32::try_from(digits.len()).ok()?)?;
    Some(digits.parse::<i64>().ok()? * unit / scale)
}

/// Largest edge of a picture in pixels.
pub(crate) const MAX_EDGE: u32 = 16_384;
/// Largest picture in pixels.
const MAX_AREA: u64 = 1 << 26;

/// `1280x720`, `hd720`.
pub(crate) fn size(text: &str) -> Option<(u32, u32)> {
    if let Some(size) = named_size(text) {
        return Some(size);
    }
    let (width, height) = text.split_once('x')?;
    let edge = |text: &str| u32::try_from(integer(text)?).ok().filter(|edge| (1..=MAX_EDGE).contains(edge));
    let (width, height) = (edge(width)?, edge(height)?);
    (u64::from(width) * u64::from(height) <= MAX_AREA).then_some((width, height))
}

fn named_size(name: &str) -> Option<(u32, u32)> {
    Some(match name {
        "ntsc" => (720, 480),
        "pal" => (720, 576),
        "qcif" => (176, 144),
        "cif" => (352, 288),
        "4cif" => (704, 576),
        "16cif" => (1408, 1152),
        "qqvga" => (160, 120),
        "qvga" => (320, 240),
        "vga" => (640, 480),
        "svga" => (800, 600),
        "xga" => (1024, 768),
        "sxga" => (1280, 1024),
        "uxga" => (1600, 1200),
        "qxga" => (2048, 1536),
        "wvga" => (852, 480),
        "wxga" => (1366, 768),
        "wsxga" => (1600, 1024),
        "wuxga" => (1920, 1200),
        "nhd" => (640, 360),
        "qhd" => (960, 540),
        "hd480" => (852, 480),
        "hd720" => (1280, 720),
        "hd1080" => (1920, 1080),
        "2k" => (2048, 1080),
        "2kdci" => (2048, 1080),
        "4k" | "4kdci" => (4096, 2160),
        "uhd2160" => (3840, 2160),
        "uhd4320" => (7680, 4320),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_no_other_form() {
        assert_eq!(integer("-23"), Some(-23));
        assert_eq!(decimal(".5"), Some(0.5));
        assert_eq!(decimal("23.976"), Some(23.976));
        for wrong in
            ["", "-", "+1", "1e3", "0x10", "1.", "1k", " 1", "1 ", "--1", "1.2.3", "inf", "nan", "２３", "−5"]
        {
            assert_eq!(integer(wrong), None, "{wrong}");
            assert_eq!(decimal(wrong), None, "{wrong}");
        }
        assert_eq!(integer("99999999999999999999"), None);
        assert_eq!(decimal("123456789012345678901234567890"), None);
    }

    #[test]
    fn amounts_have_the_suffixes_of_ffmpeg() {
        assert_eq!(amount("128k"), Some(128_000));
        assert_eq!(amount("2.5M"), Some(2_500_000));
        assert_eq!(amount("1Ki"), Some(1024));
        assert_eq!(amount("800000"), Some(800_000));
        for wrong in ["128kb", "k", "1i", "1m", "1e6", "128 k", "9999999G"] {
            assert_eq!(amount(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn times_are_microseconds() {
        assert_eq!(duration("90"), Some(90_000_000));
        assert_eq!(duration("-0.5"), Some(-500_000));
        assert_eq!(duration("01:02:03.25"), Some(3_723_250_000));
        assert_eq!(duration("1:30"), Some(90_000_000));
        assert_eq!(duration("500ms"), Some(500_000));
        for wrong in ["", "1:60", "1:2:3:4", "1:-1", "--1", "1.5.1", "now", "1m", "99999999999999999999", ":"]
        {
            assert_eq!(duration(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn sizes_are_bounded() {
        assert_eq!(size("1280x720"), Some((1280, 720)));
        assert_eq!(size("hd1080"), Some((1920, 1080)));
        for wrong in ["0x0", "-1x5", "100000x100000", "16384x16384", "1280", "1280x720x3", "1280X720"] {
            assert_eq!(size(wrong), None, "{wrong}");
        }
    }
}
