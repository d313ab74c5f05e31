//! Amounts of bytes as people write and read them.

/// `1000`, `500MB`, `64GiB`.
///
/// # Errors
/// It is no amount, or more than there can be: in words, for the command line.
pub fn parse(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is no size; write for example 1000000, 500MB or 64GiB");
    let trimmed = text.trim();
    let end = trimmed.find(|c: char| !c.is_ascii_digit()).unwrap_or(trimmed.len());
    let (number, unit) = trimmed.split_at(end);
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let factor = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "tb" => 1_000_000_000_000,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        "tib" => 1_u64 << 40,
        _ => return Err(wrong()),
    };
    number.checked_mul(factor).ok_or_else(wrong)
}

/// `512 B`, `1.5 GiB`.
#[must_use]
pub fn show(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = count as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{count} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_write_sizes_with_and_without_units() {
        assert_eq!(parse("64GiB"), Ok(64 << 30));
        assert_eq!(parse("5 mb"), Ok(5_000_000));
        assert_eq!(parse("7"), Ok(7));
        for wrong in ["", "GiB", "-1", "5 apples", "1.5GiB", "99999999999TiB"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn sizes_are_short_to_read() {
        assert_eq!([show(0), show(1023), show(1536), show(3 << 40)], ["0 B", "1023 B", "1.5 KiB", "3.0 TiB"]);
    }
}
