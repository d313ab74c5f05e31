//! Durations as people write them.

use std::time::Duration;

use jiff::SignedDuration;

/// `90s`, `2m`, `1h30m`, `500ms`; a bare number means seconds.
pub(super) fn parse(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Ok(Duration::from_secs(seconds));
    }
    text.parse::<SignedDuration>()
        .ok()
        .and_then(|duration| Duration::try_from(duration).ok())
        .ok_or_else(|| "write a duration such as 90s, 2m or 1h30m".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_write_durations_in_several_ways() {
        for (text, seconds) in [("90s", 90), ("2m", 120), ("1h30m", 5400), ("45", 45), (" 5 min ", 300)] {
            assert_eq!(parse(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        assert_eq!(parse("500ms"), Ok(Duration::from_millis(500)));
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in ["", "soon", "-5s", "5 parsecs"] {
            assert!(parse(text).unwrap_err().contains("90s"), "{text}");
        }
    }
}
