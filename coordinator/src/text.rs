//! Cutting text.

/// The longest beginning of `text` that has at most `max` bytes and ends between characters.
pub(crate) fn prefix(text: &str, max: usize) -> &str {
    let mut end = max.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_character_is_cut() {
        assert_eq!(prefix("aäb", 2), "a");
        assert_eq!(prefix("aäb", 3), "aä");
        assert_eq!(prefix("aäb", 9), "aäb");
        assert_eq!(prefix("ä", 0), "");
    }
}
