//! What `docs/monitoring.md` says that there is.

use std::{collections::BTreeSet, fs};

use e2e::binaries;

pub(crate) fn page() -> String {
    fs::read_to_string(binaries::root().join("docs/monitoring.md")).unwrap()
}

/// Every name as it is scraped, those of a histogram's parts too.
pub(crate) fn names() -> BTreeSet<String> {
    let page = page();
    let (head, _) = page.split_once("\n## ").unwrap();
    let mut names: BTreeSet<String> =
        quoted(head).map(|name| without_labels(name).to_owned()).filter(|name| is_ours(name)).collect();
    for row in page.lines().filter(|line| line.starts_with("| `tvarr_")) {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        for name in quoted(cells[1]) {
            match cells[2] {
                "histogram" => names.extend(["bucket", "sum", "count"].map(|part| format!("{name}_{part}"))),
                "gauge" | "counter" => {
                    assert_eq!(name.ends_with("_total"), cells[2] == "counter", "the suffix of {name}");
                    names.insert(name.to_owned());
                }
                other => panic!("{name} is a {other}"),
            }
        }
    }
    names
}

/// A name of the daemons' own, not of Prometheus' or an exporter's.
pub(crate) fn is_ours(name: &str) -> bool {
    name.starts_with("tvarr_") || name.starts_with("process_")
}

/// The metrics that an expression asks for, of ours and of those that rules record.
pub(crate) fn asked(expression: &str) -> BTreeSet<String> {
    expression
        .split(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '_' || letter == ':'))
        .filter(|word| is_ours(word) || word.starts_with("tvarr:"))
        .map(str::to_owned)
        .collect()
}

fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

fn without_labels(name: &str) -> &str {
    name.split('{').next().unwrap_or(name)
}
