//! The rules by themselves: what `promtool` says of them, and that each alert leads to what to do.

use std::fs;

use e2e::{binaries, prometheus::promtool};

use crate::documented;

/// Files below `deploy/prometheus/`, by their path from the repository's root.
pub(crate) fn files(folder: &str) -> Vec<String> {
    let folder = format!("deploy/prometheus/{folder}");
    let mut files: Vec<String> = fs::read_dir(binaries::root().join(&folder))
        .unwrap()
        .map(|entry| format!("{folder}/{}", entry.unwrap().file_name().to_string_lossy()))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "nothing in {folder}");
    files
}

/// The names of all alerts.
pub(crate) fn alerts() -> Vec<String> {
    let text =
        files("rules").into_iter().map(|file| fs::read_to_string(binaries::root().join(file)).unwrap());
    let text: String = text.collect();
    text.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).map(str::to_owned).collect()
}

#[test]
fn the_rules_are_valid_and_do_what_their_tests_say() {
    for (command, folder) in [(["check", "rules"], "rules"), (["test", "rules"], "tests")] {
        let files = files(folder);
        let args: Vec<&str> = command.into_iter().chain(files.iter().map(String::as_str)).collect();
        let (ok, said) = promtool(&args, "");
        assert!(ok, "promtool {}:\n{said}", args.join(" "));
    }
    let (ok, said) = promtool(&["check", "config", "--syntax-only", "deploy/prometheus/prometheus.yml"], "");
    assert!(ok, "{said}");
}

#[test]
fn each_alert_is_tested_and_documented_and_nothing_else_is() {
    let alerts = alerts();
    let tests: String = files("tests")
        .into_iter()
        .map(|file| fs::read_to_string(binaries::root().join(file)).unwrap())
        .collect();
    let page = documented::page();
    let headings: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix("### Tvarr")).collect();
    for alert in &alerts {
        assert!(tests.contains(&format!("alertname=\"{alert}\"")), "no test in which {alert} fires");
        assert!(
            headings.contains(&alert.trim_start_matches("Tvarr")),
            "docs/monitoring.md has no heading {alert}"
        );
    }
    assert_eq!(headings.len(), alerts.len(), "{headings:?} are documented, {alerts:?} are there");
}
