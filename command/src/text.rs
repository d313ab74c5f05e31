//! Free text: what is drawn into a picture, and the values of tags.
//!
//! Letters, digits and signs of any script. Refused are control characters, quotes and backslashes, and characters that
//! show nothing or turn text around. Nothing expands it: tags are stored as they are, and `drawtext` is always told
//! `expansion=none`.

use crate::error::Problem;

/// Bytes of the longest text.
const MAX_LENGTH: usize = 1000;

pub(crate) fn read(text: &str) -> Result<String, Problem> {
    if text.len() > MAX_LENGTH {
        return Err(Problem::new(
            format!("the text has {} bytes", text.len()),
            format!("use at most {MAX_LENGTH}"),
        ));
    }
    if text.trim() != text {
        return Err(Problem::new("the text begins or ends with a space", "leave it out: ffmpeg would"));
    }
    match text.chars().find(|character| !allowed(*character)) {
        None => Ok(text.to_owned()),
        Some('\'' | '"' | '`') => {
            Err(Problem::new("the text has a quote", "use \u{2019} (U+2019), \u{201c} or \u{201d}"))
        }
        Some('\\') => Err(Problem::new("the text has a backslash", "leave it out")),
        Some(character) => Err(Problem::new(
            format!("the text has the character U+{:04X}, which shows nothing", u32::from(character)),
            "leave it out",
        )),
    }
}

/// Whether free text may have it.
pub(crate) fn allowed(character: char) -> bool {
    let hidden = matches!(u32::from(character),
        0x00AD | 0x034F | 0x061C | 0x115F..=0x1160 | 0x17B4..=0x17B5 | 0x180B..=0x180F
        | 0x200B..=0x200F | 0x2028..=0x202E | 0x2060..=0x206F | 0x3164 | 0xE000..=0xF8FF | 0xFE00..=0xFE0F
        | 0xFEFF | 0xFFA0 | 0xFFF0..=0xFFFF | 0x1_BCA0..=0x1_BCA3 | 0x1_D173..=0x1_D17A | 0xE_0000..=0x10_FFFF);
    !character.is_control() && !hidden && !matches!(character, '\'' | '"' | '`' | '\\')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_any_script_is_kept_and_what_is_hidden_refused() {
        for text in ["Hello, World: 100%", "Größe [1]; a=b", "日本語", "$HOME", "", "It\u{2019}s"] {
            assert_eq!(read(text).unwrap(), text);
        }
        for text in [
            "it's",
            "\"",
            "`id`",
            "a\\nb",
            "a\nb",
            "a\0b",
            "\u{202E}gpj",
            "a\u{200B}b",
            " a",
            "\u{FEFF}a",
            "\u{E0041}",
        ] {
            assert!(read(text).is_err(), "{text:?}");
        }
    }
}
