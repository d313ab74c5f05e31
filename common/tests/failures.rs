//! `docs/failures.md` says what the code does.

#![allow(clippy::unwrap_used)]

use common::failure::{FailureKind, Remedy};

/// The word that a row's last column begins with.
const fn word(remedy: Remedy) -> &'static str {
    match remedy {
        Remedy::GiveUp => "fails",
        Remedy::Retry => "retry",
        Remedy::Requeue => "requeue",
        Remedy::End => "ends",
    }
}

#[test]
fn the_table_has_every_kind_with_what_follows_from_it() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/failures.md")).unwrap();
    let rows: Vec<(&str, &str)> = page
        .lines()
        .filter_map(|line| {
            let mut columns = line.strip_prefix("| `")?.split(" | ");
            let kind = columns.next()?.trim_end_matches('`');
            Some((kind, columns.last()?.trim_end_matches(" |")))
        })
        .collect();
    let kinds: Vec<&str> = rows.iter().map(|(kind, _)| *kind).collect();
    assert_eq!(kinds, FailureKind::ALL.map(FailureKind::as_str), "one row for each kind, in their order");
    for (kind, follows) in FailureKind::ALL.into_iter().zip(rows.iter().map(|(_, follows)| follows)) {
        let first = follows.split([',', ';', ' ']).next().unwrap();
        assert_eq!(first, word(kind.remedy()), "{kind}: {follows:?}");
    }
}
