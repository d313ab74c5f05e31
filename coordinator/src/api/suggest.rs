//! What somebody meant who wrote a name that does not exist.

/// Edits at most between a name and what was meant.
const MAX_DISTANCE: usize = 3;

/// The known name nearest to `name`, if one is near.
pub(super) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let name = name.to_lowercase().replace('_', "-");
    known
        .map(|candidate| (distance(&name, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= MAX_DISTANCE && *distance < candidate.chars().count())
        .min()
        .map(|(_, candidate)| candidate)
}

/// Levenshtein's distance over the first 64 characters.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().take(64).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().take(64).enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let substitution = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = substitution.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typo_finds_its_name_and_nonsense_finds_none() {
        let known = || ["h264", "hevc", "hls-ladder", "compress-video"].into_iter();
        assert_eq!(nearest("hls_lader", known()), Some("hls-ladder"));
        assert_eq!(nearest("H264", known()), Some("h264"));
        assert_eq!(nearest("compres-vidoe", known()), Some("compress-video"));
        assert_eq!(nearest("something else", known()), None);
    }
}
