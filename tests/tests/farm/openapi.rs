//! The API against its own description, by schemathesis; and the examples of docs/api.md, run as they stand there.

use std::{path::PathBuf, process::Stdio, time::Duration};

use common::{api::InputRef, stream::StreamSpec};
use e2e::{
    Farm,
    api::request,
    binaries, clip,
    web::{Behaviour, Web},
};
use tokio::process::Command;

/// What is not tried: connections that last, live media, and tus, which has clients of its own in `uploads/clients.rs`.
const LEFT_OUT: &str = "^/v1/events|^/live|/input$|^/v1/uploads/|^/v1/probe";

fn python(program: &[&str]) -> Command {
    let mut python = Command::new("python3");
    let packages = binaries::root().join(".tools/clients/python");
    python.args(program).env("PYTHONPATH", packages).stdin(Stdio::null()).kill_on_drop(true);
    python
}

async fn succeeds(mut command: Command, what: &str) -> String {
    let output = command.output().await.unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{what}:\n{out}\n{err}\n`scripts/clients.sh` installs what this needs");
    out.into_owned()
}

#[tokio::test]
async fn the_api_does_what_it_says() {
    let farm = Farm::small().await;
    let upload = farm.api.upload(&clip("bigbuckbunny-2s.mp4")).await.id;
    let job = farm.api.submit(&request(InputRef::Upload(upload), "thumbnails")).await.summary.id;
    farm.succeeded(job).await;
    let stream: StreamSpec = serde_json::from_str(r#"{"name": "news", "source": "push"}"#).unwrap();
    farm.api.post_json("/v1/streams", serde_json::to_string(&stream).unwrap()).await;

    let mut schemathesis = python(&["-m", "schemathesis.cli"]);
    schemathesis.current_dir(farm.path()).args([
        "run",
        &format!("{}/openapi.json", farm.api.base),
        "--phases=coverage,fuzzing",
        "--max-examples=10",
        "--seed=1",
        "--request-timeout=30",
        "--exclude-path-regex",
        LEFT_OUT,
        // A description cannot say which presets there are, what a URL is, how long a token may live.
        "--exclude-checks=positive_data_acceptance",
        "--no-color",
    ]);
    succeeds(schemathesis, "schemathesis").await;
    farm.stop().await;
}

/// The fenced blocks of a language in docs/api.md.
fn examples(language: &str) -> Vec<String> {
    let page = std::fs::read_to_string(binaries::root().join("docs/api.md")).unwrap();
    let blocks = page.split("```").skip(1).step_by(2);
    let of = blocks.filter_map(|block| block.strip_prefix(&format!("{language}\n")));
    of.map(str::to_owned).collect()
}

#[tokio::test]
async fn the_examples_of_the_documentation_work() {
    let farm = Farm::small().await;
    let film = std::fs::read(clip("bigbuckbunny-2s.mp4")).unwrap();
    let web = Web::serve([("/holiday.mov", Behaviour::Ranges(film.clone()))]).await;
    let folder = farm.path().join("examples");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("holiday.mov"), &film).unwrap();
    for (language, interpreter) in [
        ("sh", &["bash", "-euo", "pipefail", "-c"][..]),
        ("python", &["python3", "-c"]),
        ("js", &["node", "--input-type=module", "-e"]),
    ] {
        let examples = examples(language);
        assert!(!examples.is_empty(), "no example in {language}");
        for example in examples {
            let example = example
                .replace("http://127.0.0.1:8080", &farm.api.base)
                .replace("https://media.example.com/holiday.mov", &web.url("/holiday.mov"));
            let mut command = Command::new(interpreter[0]);
            command.args(&interpreter[1..]).arg(&example).current_dir(&folder).kill_on_drop(true);
            command.env("PYTHONPATH", binaries::root().join(".tools/clients/python")).stdin(Stdio::null());
            let result: PathBuf = folder.join("small.mp4");
            let ran = tokio::time::timeout(Duration::from_secs(120), succeeds(command, &example)).await;
            assert!(ran.is_ok(), "it did not end: {example}");
            let made =
                std::fs::read(&result).unwrap_or_else(|error| panic!("{error}: no small.mp4 by {example}"));
            assert_eq!(&made[4..8], b"ftyp", "{example}");
            std::fs::remove_file(result).unwrap();
        }
    }
    farm.stop().await;
}
