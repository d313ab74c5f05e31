//! The two headers of ranges, as far as this proxy speaks them.

/// What of a file is asked for: from `start` to before `end`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) start: u64,
    pub(super) end: Option<u64>,
    /// There was a range at all: it is answered with 206.
    pub(super) ranged: bool,
}

/// `Range: bytes=a-` or `bytes=a-b`. Anything else counts as no range, which HTTP allows.
pub(super) fn parse_range(header: Option<&str>) -> Wanted {
    header.and_then(one_range).unwrap_or_default()
}

fn one_range(header: &str) -> Option<Wanted> {
    let (start, last) = header.trim().strip_prefix("bytes=")?.split_once('-')?;
    let start: u64 = start.trim().parse().ok()?;
    let end = match last.trim() {
        "" => None,
        last => Some(last.parse::<u64>().ok()?.checked_add(1)?),
    };
    end.is_none_or(|end| end > start).then_some(Wanted { start, end, ranged: true })
}

/// `Content-Range` of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ContentRange {
    /// `bytes a-b/total`, as a, b + 1, total.
    Part { start: u64, end: u64, total: Option<u64> },
    /// `bytes */total`
    Unsatisfied { total: u64 },
}

pub(super) fn parse_content_range(header: &str) -> Option<ContentRange> {
    let (range, total) = header.trim().strip_prefix("bytes ")?.split_once('/')?;
    if range.trim() == "*" {
        return Some(ContentRange::Unsatisfied { total: total.trim().parse().ok()? });
    }
    let (start, last) = range.split_once('-')?;
    let start: u64 = start.trim().parse().ok()?;
    let end = last.trim().parse::<u64>().ok()?.checked_add(1)?;
    let total = match total.trim() {
        "*" => None,
        total => Some(total.parse().ok()?),
    };
    (end > start).then_some(ContentRange::Part { start, end, total })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_range_is_understood_and_everything_else_is_none() {
        assert_eq!(parse_range(Some("bytes=10-")), Wanted { start: 10, end: None, ranged: true });
        assert_eq!(parse_range(Some("bytes=0-99")), Wanted { start: 0, end: Some(100), ranged: true });
        for none in
            [None, Some(""), Some("bytes=-5"), Some("bytes=9-3"), Some("bytes=0-1,5-6"), Some("lines=1-")]
        {
            assert_eq!(parse_range(none), Wanted::default(), "{none:?}");
        }
        assert_eq!(parse_range(Some("bytes=0-18446744073709551615")), Wanted::default());
    }

    #[test]
    fn content_ranges_are_half_open_here() {
        assert_eq!(
            parse_content_range("bytes 0-9/100"),
            Some(ContentRange::Part { start: 0, end: 10, total: Some(100) })
        );
        assert_eq!(
            parse_content_range("bytes 5-9/*"),
            Some(ContentRange::Part { start: 5, end: 10, total: None })
        );
        assert_eq!(parse_content_range("bytes */0"), Some(ContentRange::Unsatisfied { total: 0 }));
        assert_eq!(parse_content_range("bytes 9-5/100"), None);
        assert_eq!(parse_content_range("pages 1-2/3"), None);
    }
}
