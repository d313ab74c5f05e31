//! The dashboards' expressions.

use std::fs;

use e2e::binaries;
use serde_json::Value;

/// An expression as Grafana sends it when everything is chosen.
#[derive(Debug)]
pub(crate) struct Panel {
    /// `farm.json: Slots`
    pub(crate) title: String,
    pub(crate) expression: String,
}

pub(crate) fn panels() -> Vec<Panel> {
    let folder = binaries::root().join("deploy/grafana/dashboards");
    let mut found = Vec::new();
    for file in fs::read_dir(folder).unwrap() {
        let file = file.unwrap();
        let name = file.file_name().to_string_lossy().into_owned();
        let board: Value = serde_json::from_slice(&fs::read(file.path()).unwrap()).unwrap();
        for panel in board["panels"].as_array().unwrap() {
            let title = format!("{name}: {}", panel["title"].as_str().unwrap());
            for target in panel["targets"].as_array().into_iter().flatten() {
                found.push(Panel { title: title.clone(), expression: chosen(&target["expr"]) });
            }
        }
        for annotation in board["annotations"]["list"].as_array().unwrap() {
            found.push(Panel {
                title: format!("{name}: annotation"),
                expression: chosen(&annotation["expr"]),
            });
        }
    }
    assert!(found.len() > 80, "only {} expressions", found.len());
    found
}

fn chosen(expression: &Value) -> String {
    let mut text = expression.as_str().unwrap().to_owned();
    for (variable, value) in
        [("$__rate_interval", "15s"), ("$farm", ".*"), ("$worker", ".*"), ("$stream", ".*")]
    {
        text = text.replace(variable, value);
    }
    assert!(!text.contains('$'), "a variable that nobody replaces: {text}");
    text
}

#[test]
fn dashboards_are_told_apart_and_take_their_data_from_where_one_says() {
    let mut uids = Vec::new();
    for file in fs::read_dir(binaries::root().join("deploy/grafana/dashboards")).unwrap() {
        let text = fs::read_to_string(file.unwrap().path()).unwrap();
        let board: Value = serde_json::from_str(&text).unwrap();
        let uid = board["uid"].as_str().unwrap().to_owned();
        assert!(!uids.contains(&uid), "two have the uid {uid}");
        uids.push(uid);
        let mut ids: Vec<u64> =
            board["panels"].as_array().unwrap().iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
        ids.sort_unstable();
        let count = ids.len();
        ids.dedup();
        assert_eq!(ids.len(), count, "two panels of {uids:?} have the same id");
        // Each source of data is the variable.
        assert_eq!(
            text.matches("\"type\": \"prometheus\"").count(),
            text.matches("\"uid\": \"${datasource}\"").count()
        );
    }
    assert_eq!(uids.len(), 4);
}
