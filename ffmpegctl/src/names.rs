//! Ids and names as people type them.

use crate::error::Error;

/// Characters of an id that tables show: the last block of the UUID, which is random even in a UUIDv7.
const SHORT: usize = 12;
/// Fewer characters than this are a slip of the finger rather than a piece of an id.
const SHORTEST: usize = 4;
/// How different a word may be from a known one to be taken for it, by Jaro-Winkler similarity (1 is equal).
const SIMILAR: f64 = 0.75;

/// The part of an id that tables show and every command accepts.
pub(crate) fn short(id: &impl ToString) -> String {
    let id = id.to_string();
    id[id.len().saturating_sub(SHORT)..].to_owned()
}

/// Whether `piece` may be the beginning or the end of an id.
pub(crate) fn may_be_piece(piece: &str) -> bool {
    piece.len() >= SHORTEST && piece.chars().all(|c| c.is_ascii_hexdigit() || c == '-')
}

/// Whether `id` begins or ends with `piece`, whatever the case.
pub(crate) fn is_piece_of(piece: &str, id: &str) -> bool {
    let piece = piece.to_ascii_lowercase();
    id.starts_with(&piece) || id.ends_with(&piece)
}

/// The only one of `found`, or why there is none. `what` is "job" or "worker".
pub(crate) fn only<T>(what: &str, piece: &str, mut found: Vec<(String, T)>) -> Result<T, Error> {
    match found.len() {
        0 => Err(Error::invalid(format!(
            "there is no {what} {piece:?}; `ffmpegctl {what}s ls` lists what there is"
        ))),
        1 => Ok(found.remove(0).1),
        count => {
            let some: Vec<_> = found.iter().take(5).map(|(id, _)| id.as_str()).collect();
            Err(Error::invalid(format!(
                "{piece:?} fits {count} {what}s: {}{}; give more of the id",
                some.join(", "),
                if count > some.len() { ", ..." } else { "" },
            )))
        }
    }
}

/// The known word that was probably meant.
pub(crate) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase();
    known
        .into_iter()
        .map(|name| (strsim::jaro_winkler(&word, name), name))
        .filter(|(similarity, _)| *similarity >= SIMILAR)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}

/// The error for a preset that does not exist.
pub(crate) fn unknown_preset<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Error {
    unknown("preset", word, known)
}

/// The error for a profile that does not exist.
pub(crate) fn unknown_profile<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Error {
    unknown("profile", word, known)
}

fn unknown<'a>(what: &str, word: &str, known: impl IntoIterator<Item = &'a str>) -> Error {
    let known: Vec<_> = known.into_iter().collect();
    let meant = match nearest(word, known.iter().copied()) {
        Some(name) => format!("did you mean {name:?}?"),
        None => format!("known {what}s: {}", known.join(", ")),
    };
    Error::invalid(format!("there is no {what} {word:?}; {meant} (`ffmpegctl {what}s ls` lists them all)"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0193a5b0-7c1d-7000-8000-3f2a9c4d5e6f";

    #[test]
    fn what_the_table_shows_is_accepted() {
        assert_eq!(short(&ID), "3f2a9c4d5e6f");
        assert!(may_be_piece(&short(&ID)) && is_piece_of(&short(&ID), ID));
        assert!(is_piece_of("0193A5B0", ID));
        assert!(!is_piece_of("7c1d", ID));
        assert!(!may_be_piece("3f2") && !may_be_piece("clip"));
    }

    #[test]
    fn an_ambiguous_piece_names_the_candidates() {
        let error = only("job", "0193", vec![("a".to_owned(), 1), ("b".to_owned(), 2)]).unwrap_err();
        assert_eq!(error.message, "\"0193\" fits 2 jobs: a, b; give more of the id");
        assert_eq!(only("job", "a", vec![("a".to_owned(), 1)]), Ok(1));
    }

    #[test]
    fn a_typo_finds_the_preset() {
        let known = ["h264", "hevc", "hls-ladder", "archive-prores"];
        assert_eq!(nearest("hls-lader", known), Some("hls-ladder"));
        assert_eq!(nearest("H264", known), Some("h264"));
        assert_eq!(nearest("qqq", known), None);
        assert!(unknown_preset("prores-archive", known).message.contains("presets"));
    }
}
