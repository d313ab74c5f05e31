//! `docs/configuration.md` is made from the code: the options' own doc comments. `UPDATE_DOCS=1` writes it anew.

use std::fmt::Write as _;

use clap::{Command, CommandFactory};
use common::config::markdown_table;
use e2e::binaries;

const HEAD: &str = "\
# Configuration

Made from the code by `UPDATE_DOCS=1 cargo nextest run -p e2e -E 'binary(documentation)'`; a test fails when it is not up
to date.

The command line wins over the environment, the environment over the file that `--config` (`TVARR_CONFIG`) names, and the
file over the default. The file is TOML: every option by its long name (`grpc-port = 9090` or `grpc_port = 9090`). A key
that is none is refused. Every secret may also come from a file, by its variable with `_FILE` behind it.
";

/// Every program, with its subcommands that have options of their own.
fn page() -> String {
    let mut page = HEAD.to_owned();
    for command in [
        coordinator::options::Options::command(),
        ffmpegd::cli::Cli::command(),
        ffmpegctl::cli::Cli::command(),
    ] {
        let mut command = command;
        command.build();
        section(&mut page, &command, command.get_name(), 2);
    }
    page.push_str(RULES);
    page
}

fn section(page: &mut String, command: &Command, name: &str, level: usize) {
    let own = command.get_arguments().any(|arg| {
        arg.get_long().is_some_and(|long| !matches!(long, "help" | "version")) && !arg.is_hide_set()
    });
    if own {
        let about = command.get_long_about().or_else(|| command.get_about()).map(ToString::to_string);
        let _ = write!(page, "\n{} {name}\n\n", "#".repeat(level));
        if let Some(about) = about {
            let _ = write!(page, "{}\n\n", about.trim());
        }
        page.push_str(&markdown_table(command));
    }
    for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
        // What holds for every subcommand is in the program's own table.
        let global: Vec<_> = command
            .get_arguments()
            .filter(|arg| arg.is_global_set())
            .map(|arg| arg.get_id().clone())
            .collect();
        let mut sub = sub.clone();
        for id in global {
            sub = sub.mut_args(|arg| if *arg.get_id() == id { arg.hide(true) } else { arg });
        }
        section(page, &sub, &format!("{name} {}", sub.get_name()), level + 1);
    }
}

const RULES: &str = r#"
## Encoder rules

In the coordinator's file, for drivers and GPUs whose encoders are faulty. Where its conditions hold, a rule takes one
encoder away (`forbid`) or leaves no other for the codec (`force`):

```toml
[[encoder_rules]]
codec = "hevc"           # optional: h264, hevc, av1, vp9, prores, dnxhd
family = "vaapi"         # optional: nvenc, qsv, vaapi, amf, v4l2m2m, videotoolbox, jetson, software
gpu = "*Radeon*"         # optional: pattern of the GPU's name, any case
cpu = "*N100*"           # optional: pattern of the processor's name, any case
forbid = "hevc_vaapi"    # or "*" for every encoder that the conditions describe
# force = "libx265"      # instead of forbid
reason = "green frames with driver 23.1"
```

## Streams

Live streams may be in the coordinator's file instead of being added with `ffmpegctl streams add`; each as in
`POST /v1/streams` ([live.md](live.md)). They are there as long as the file names them, and only the file removes them.

```toml
[[streams]]
name = "news"                                # in viewers' URLs
source = "http://encoder.example/news.ts"    # push, a URL or an absolute path
profiles = ["ladder", "audio-aac"]           # optional: all profiles
options = { redundancy = 2, linger_ms = 60000, labels = { site = "berlin" } }
```
"#;

#[test]
fn the_configuration_page_is_what_the_code_says() {
    let path = binaries::root().join("docs/configuration.md");
    let page = page();
    if std::env::var_os("UPDATE_DOCS").is_some_and(|value| !value.is_empty()) {
        std::fs::write(&path, page).unwrap();
        return;
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    for (number, (written, made)) in written.lines().zip(page.lines()).enumerate() {
        assert_eq!(written, made, "line {} of {}; run UPDATE_DOCS=1", number + 1, path.display());
    }
    assert_eq!(written, page, "{} is out of date: run UPDATE_DOCS=1", path.display());
}
