//! A real Prometheus, Debian's, that scrapes a farm.

use std::{
    collections::BTreeMap,
    fs,
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use reqwest::{Client, Url};
use serde_json::Value;

use crate::{
    binaries,
    daemon::{Daemon, Launch},
};

/// From its start until it listens, on a busy machine.
const START: Duration = Duration::from_secs(30);

/// Ends when it is dropped.
#[derive(Debug)]
pub struct Prometheus {
    base: Url,
    client: Client,
    _daemon: Daemon,
}

impl Prometheus {
    /// Keeps everything below `folder`, which must be there.
    ///
    /// # Panics
    /// It does not start with this configuration.
    pub async fn start(folder: &Path, configuration: &str) -> Self {
        let file = folder.join("prometheus.yml");
        fs::write(&file, configuration).unwrap();
        let mut launch = Launch { program: binaries::system("prometheus"), ..Launch::default() };
        launch.args = vec![
            format!("--config.file={}", file.display()).into(),
            format!("--storage.tsdb.path={}", folder.join("data").display()).into(),
            "--web.listen-address=127.0.0.1:0".into(),
        ];
        folder.clone_into(&mut launch.cwd);
        let daemon = Daemon::start("prometheus", &launch, &folder.join("prometheus.log"));
        let line = daemon.logged(START, "msg=\"Listening on\"").await;
        let address = line.rsplit("address=").next().unwrap_or_default().trim().to_owned();
        let base = Url::parse(&format!("http://{address}/api/v1/")).unwrap();
        Self { base, client: Client::builder().no_proxy().build().unwrap(), _daemon: daemon }
    }

    /// What is below `data` of an answer of its API.
    ///
    /// # Errors
    /// It refused, in its own words.
    pub async fn ask(&self, path: &str, query: &[(&str, &str)]) -> Result<Value, String> {
        let url = Url::parse_with_params(self.base.join(path).unwrap().as_str(), query).unwrap();
        let answer = self.client.get(url).send().await.map_err(|error| error.to_string())?;
        let mut body: Value = answer.json().await.map_err(|error| error.to_string())?;
        if body["status"] == "success" { Ok(body["data"].take()) } else { Err(body["error"].to_string()) }
    }

    /// What an expression gives now, one item for each series.
    ///
    /// # Errors
    /// It is none that Prometheus understands.
    pub async fn query(&self, expression: &str) -> Result<Vec<Value>, String> {
        let data = self.ask("query", &[("query", expression)]).await?;
        Ok(match data["resultType"].as_str() {
            Some("vector") => data["result"].as_array().cloned().unwrap_or_default(),
            _ => vec![data["result"].clone()],
        })
    }
}

/// What `promtool` says, and whether it is content.
///
/// # Panics
/// It cannot be started.
#[must_use]
pub fn promtool(args: &[&str], input: &str) -> (bool, String) {
    let mut child = Command::new(binaries::system("promtool"))
        .args(args)
        .current_dir(binaries::root())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

/// Asserts that Prometheus' own linter finds nothing wrong with what a daemon tells.
///
/// # Panics
/// It does.
pub fn no_fault_in(text: &str) {
    assert!(text.ends_with("# EOF\n"), "it ends early: {text}");
    let (is_clean, said) = promtool(&["check", "metrics"], &as_linted(text));
    assert!(is_clean, "{said}\n{text}");
}

/// OpenMetrics as promtool reads it: a family is called like its samples, and there are no units and no `info`.
fn as_linted(text: &str) -> String {
    let suffix = |kind: &str| match kind {
        "counter" => "_total",
        "info" => "_info",
        _ => "",
    };
    let kinds: BTreeMap<&str, &str> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).collect();
    let line = |line: &str| match line.splitn(4, ' ').collect::<Vec<_>>().as_slice() {
        ["#", "UNIT" | "EOF", ..] => String::new(),
        ["#", what, name, rest] => {
            let rest = if *what == "TYPE" { rest.replace("info", "gauge") } else { (*rest).to_owned() };
            format!("# {what} {name}{} {rest}\n", suffix(kinds[name]))
        }
        _ => format!("{line}\n"),
    };
    text.lines().map(line).collect()
}
