//! What a real Prometheus makes of a real farm.

use std::collections::BTreeSet;

use e2e::{
    prometheus::no_fault_in,
    wait::{self, seconds},
};
use reqwest::Client;
use serde_json::Value;

use crate::{
    dashboards::{self, Panel},
    documented::{self, is_ours},
    farm::{Monitored, TOKEN},
    rules,
};

/// Everything is scraped and evaluated each second; on a busy machine it takes longer.
const SOON: std::time::Duration = seconds(90);

/// Documented and not told here: by the beginning of the name, and why.
const ABSENT: [(&str, &str); 9] = [
    ("tvarr_fleet_gpu_", "there is no GPU; the test of a worker's GPUs has them"),
    ("tvarr_worker_gpu_", "there is no GPU; the test of a worker's own port has them"),
    ("tvarr_fleet_quarantined", "no device failed"),
    ("tvarr_store_operation_errors_total", "the job store failed at nothing"),
    ("tvarr_storage_operation_errors_total", "the storage failed at nothing"),
    ("tvarr_fleet_encode_", "the job is over, and the live encode may be between two heartbeats"),
    ("tvarr_worker_encode_", "the same"),
    ("tvarr_worker_scratch_limit_bytes", "no limit is set"),
    ("tvarr_worker_sessions_lost_total", "no session was lost"),
];

/// Panels that show nothing at this farm: a part of the expression, and why.
const EMPTY: [(&str, &str); 9] = [
    ("DCGM_", "there is no GPU"),
    ("status=\"5xx\"", "nothing went wrong"),
    ("errors_total", "nothing went wrong"),
    ("state=\"dead\"", "no job was given up"),
    ("class=\"live\",outcome=\"failed\"", "no live encode failed"),
    ("ALERTS", "no alert fires"),
    ("tvarr_live_stall_seconds", "a quantile of no failover is no number"),
    ("_gpu_", "there is no GPU"),
    ("tvarr_fleet_quarantined", "no device failed"),
];

fn is_absent(name: &str) -> bool {
    ABSENT.iter().any(|(beginning, _)| name.starts_with(beginning))
}

#[tokio::test]
async fn prometheus_scrapes_a_farm_and_finds_what_the_documentation_promises() {
    let monitored = Monitored::start().await;
    let prometheus = &monitored.prometheus;

    wait::until(SOON, "all targets to be up", || async {
        let targets = prometheus.ask("targets", &[("state", "active")]).await.unwrap();
        let targets = targets["activeTargets"].as_array().unwrap();
        let up = targets.iter().filter(|target| target["health"] == "up" && target["lastError"] == "");
        (up.count() == 1 + monitored.workers.len()).then_some(())
    })
    .await;

    let promised = documented::names();
    let complete = wait::try_until(SOON, || async {
        let told = told(&monitored).await;
        promised.iter().all(|name| told.contains(name) || is_absent(name)).then_some(())
    })
    .await;
    let told = told(&monitored).await;
    let missing: Vec<_> = promised.iter().filter(|name| !told.contains(*name) && !is_absent(name)).collect();
    assert!(complete.is_some(), "docs/monitoring.md has {missing:?}, which nobody tells");
    let unknown: Vec<_> = told.difference(&promised).collect();
    assert_eq!(unknown, Vec::<&String>::new(), "told, and not in docs/monitoring.md");

    let recorded = evaluated(&monitored).await;
    let panels = dashboards::panels();
    for panel in &panels {
        for name in documented::asked(&panel.expression) {
            assert!(promised.contains(&name) || recorded.contains(&name), "{} asks for {name}", panel.title);
        }
    }
    wait::try_until(SOON, || async { blank(&monitored, &panels).await.is_empty().then_some(()) }).await;
    assert_eq!(blank(&monitored, &panels).await, Vec::<String>::new(), "these show nothing");
    let firing = prometheus.query("ALERTS{alertstate=\"firing\"}").await.unwrap();
    assert!(firing.is_empty(), "{firing:?}");
    monitored.stop().await;
}

/// Names that the daemons told since Prometheus began.
async fn told(monitored: &Monitored) -> BTreeSet<String> {
    let query = [("match[]", "{job=~\"tvarr-.*\"}")];
    let names = monitored.prometheus.ask("label/__name__/values", &query).await.unwrap();
    let names = names.as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned());
    names.filter(|name| is_ours(name)).collect()
}

/// Expressions that give nothing, and should.
async fn blank(monitored: &Monitored, panels: &[Panel]) -> Vec<String> {
    let mut blank = Vec::new();
    for Panel { title, expression } in panels {
        let series = monitored.prometheus.query(expression).await;
        let series = series.unwrap_or_else(|error| panic!("{title}: {expression}: {error}"));
        if series.is_empty() && !EMPTY.iter().any(|(part, _)| expression.contains(part)) {
            blank.push(format!("{title}: {expression}"));
        }
    }
    blank
}

/// Waits until each rule was evaluated, and gives the names that are recorded.
async fn evaluated(monitored: &Monitored) -> BTreeSet<String> {
    let rules = wait::until(SOON, "all rules to be evaluated", || async {
        let answer = monitored.prometheus.ask("rules", &[]).await.unwrap();
        let groups = answer["groups"].as_array().unwrap();
        let rules: Vec<Value> =
            groups.iter().flat_map(|group| group["rules"].as_array().unwrap()).cloned().collect();
        rules.iter().all(|rule| rule["health"] != "unknown").then_some(rules)
    })
    .await;
    let promised = documented::names();
    let of = |kind: &str| rules.iter().filter(|rule| rule["type"] == kind).collect::<Vec<_>>();
    let recorded: BTreeSet<String> =
        of("recording").iter().map(|rule| rule["name"].as_str().unwrap().to_owned()).collect();
    for rule in &rules {
        assert!(rule["health"] == "ok" && rule["lastError"].is_null(), "{rule:#}");
        for name in documented::asked(rule["query"].as_str().unwrap()) {
            assert!(promised.contains(&name) || recorded.contains(&name), "{} asks for {name}", rule["name"]);
        }
    }
    let alerts = of("alerting");
    assert_eq!(alerts.len(), rules::alerts().len());
    for alert in alerts {
        let name = alert["name"].as_str().unwrap();
        let annotation = |what: &str| alert["annotations"][what].as_str().unwrap_or_default();
        assert!(!annotation("summary").is_empty() && !annotation("description").is_empty(), "{alert:#}");
        assert_eq!(annotation("runbook"), format!("docs/monitoring.md#{}", name.to_lowercase()));
    }
    recorded
}

#[tokio::test]
async fn who_brings_no_token_is_told_nothing_and_promtool_finds_no_fault_with_what_is_told() {
    let monitored = Monitored::start().await;
    let coordinator = format!("{}/metrics", monitored.farm.api.base);
    let client = Client::builder().no_proxy().build().unwrap();
    assert_eq!(client.get(&coordinator).send().await.unwrap().status(), 401);
    let mut texts =
        vec![client.get(&coordinator).bearer_auth(TOKEN).send().await.unwrap().text().await.unwrap()];
    for worker in &monitored.workers {
        texts
            .push(client.get(format!("http://{worker}/metrics")).send().await.unwrap().text().await.unwrap());
    }
    for text in texts {
        no_fault_in(&text);
    }
    monitored.stop().await;
}
