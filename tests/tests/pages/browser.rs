//! A browser that is led through the pages by a script below `web/e2e/`, which asks for what only a test can do.

use std::process::Stdio;

use e2e::binaries;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    process::Command,
};

/// Runs the script, and answers each line `ask WHAT` of it with what `answer` gives for WHAT.
///
/// # Panics
/// The script says that something is not as it has to be, or what it needs was not built.
pub(crate) async fn lead(script: &str, arguments: &[&str], mut answer: impl AsyncFnMut(&str) -> String) {
    let web = binaries::root().join("web");
    assert!(web.join("node_modules/playwright-core").is_dir(), "run scripts/web.sh (make test does it)");
    let mut child = Command::new(binaries::system("node"))
        .arg(web.join("e2e").join(script))
        .args(arguments)
        .env("CHROMIUM", binaries::system("chromium"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut answers = child.stdin.take().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    while let Some(line) = lines.next_line().await.unwrap() {
        eprintln!("{script}: {line}");
        if let Some(what) = line.strip_prefix("ask ") {
            answers.write_all(format!("{}\n", answer(what).await).as_bytes()).await.unwrap();
        }
    }
    let status = child.wait().await.unwrap();
    assert!(status.success(), "{script} ended with {status}");
}
