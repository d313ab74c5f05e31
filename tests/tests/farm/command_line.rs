//! `ffmpegctl` and the daemons' own command lines, as a person uses them.

use common::api::JobState;
use e2e::{
    Farm, binaries, clip,
    ctl::Desk,
    media::Media,
    wait::{self, seconds},
};

fn text(name: &str) -> String {
    clip(name).to_string_lossy().into_owned()
}

#[tokio::test]
async fn one_command_transcodes_one_file_and_leaves_nothing_behind() {
    let desk = Desk::new();
    let outcome =
        desk.run(&["transcode", &text("bigbuckbunny-2s.mp4"), "-o", "out.mp4", "--preset", "h264"]).await;
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    let media = Media::read(&desk.work().join("out.mp4"));
    assert_eq!((media.video().codec_name.as_str(), media.video().packets()), ("h264", 50));
    assert!(
        !outcome.stderr.contains('\r') && !outcome.stderr.contains('\u{1b}'),
        "no terminal, no control characters"
    );
    assert!(outcome.stdout.contains("out.mp4") || outcome.stderr.contains("out.mp4"), "{outcome:?}");
    desk.left_nothing_but(&["out.mp4"]).await;
}

#[tokio::test]
async fn several_inputs_run_side_by_side_into_a_folder() {
    let farm = Farm::small().await;
    for desk in [Desk::new(), Desk::at(&farm.api.base)] {
        let inputs = [text("bikes-2s.mp4"), text("ocean-2s.mp4"), text("phone.mp4")];
        let mut args = vec!["transcode"];
        args.extend(inputs.iter().map(String::as_str));
        args.extend(["-o", "results", "--preset", "proxy"]);
        let outcome = desk.run(&args).await;
        assert_eq!(outcome.code, 0, "{}", outcome.stderr);
        desk.left_nothing_but(&["results/bikes-2s.mp4", "results/ocean-2s.mp4", "results/phone.mp4"]).await;
    }
    farm.stop().await;
}

#[tokio::test]
async fn one_bad_input_among_good_ones_costs_only_itself() {
    let desk = Desk::new();
    desk.file("zero.mp4", b"");
    let outcome = desk
        .run(&["transcode", &text("bikes-2s.mp4"), "zero.mp4", "-o", "results", "--preset", "proxy"])
        .await;
    assert_eq!(outcome.code, 2, "{}", outcome.stderr);
    desk.left_nothing_but(&["results/bikes-2s.mp4", "zero.mp4"]).await;
}

#[tokio::test]
async fn a_folder_of_results_comes_back_from_the_farm() {
    let farm = Farm::small().await;
    let desk = Desk::at(&farm.api.base);
    let outcome =
        desk.run(&["transcode", &text("ocean-2s.mp4"), "-o", "hls", "--preset", "hls-ladder"]).await;
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    let master = e2e::system::files(&desk.work())
        .into_iter()
        .find(|file| file.ends_with("master.m3u8"))
        .expect("a master playlist");
    assert!((Media::read(&desk.work().join(master)).duration() - 2.0).abs() < 0.3);
    farm.stop().await;
}

#[tokio::test]
async fn ctrl_c_cancels_and_cleans_up() {
    let farm = Farm::small().await;
    for desk in [Desk::new(), Desk::at(&farm.api.base)] {
        let running =
            desk.start(&["transcode", &text("bikes-5min.mp4"), "-o", "out.mp4", "--preset", "h264"]);
        wait::until(seconds(60), "ffmpeg to run", || async {
            let here =
                desk.processes().iter().any(|process| process.is_ffmpeg() && process.command.len() > 8);
            let there = !farm.ffmpegs().is_empty();
            (here || there).then_some(())
        })
        .await;
        running.interrupt();
        let outcome = running.ended(seconds(20)).await;
        assert_eq!(outcome.code, 130, "{}", outcome.stderr);
        farm.no_ffmpeg().await;
        desk.left_nothing_but(&[]).await;
    }
    let states: Vec<_> = farm.api.jobs("limit=10").await.items.into_iter().map(|job| job.state).collect();
    assert_eq!(states, [JobState::Cancelled]);
    farm.stop().await;
}

#[tokio::test]
async fn results_that_are_there_are_not_overwritten_unasked() {
    let desk = Desk::new();
    desk.file("out.mp4", b"precious");
    let input = text("bikes-2s.mp4");
    let outcome = desk.run(&["transcode", &input, "-o", "out.mp4", "--preset", "proxy"]).await;
    assert!(outcome.code != 0 && outcome.stderr.contains("out.mp4"), "{outcome:?}");
    assert_eq!(std::fs::read(desk.work().join("out.mp4")).unwrap(), b"precious");
    let outcome = desk.run(&["transcode", &input, "-o", "out.mp4", "--preset", "proxy", "--force"]).await;
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    assert_eq!(Media::read(&desk.work().join("out.mp4")).video().packets(), 52);
}

#[tokio::test]
async fn json_is_json_line_by_line() {
    let farm = Farm::small().await;
    for desk in [Desk::new(), Desk::at(&farm.api.base)] {
        let args = ["transcode", &text("bikes-2s.mp4"), "-o", "out.mp4", "--preset", "proxy", "--json"];
        let outcome = desk.run(&args).await;
        assert_eq!(outcome.code, 0, "{}", outcome.stderr);
        let lines: Vec<serde_json::Value> =
            outcome.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert!(lines.last().is_some_and(|line| line.to_string().contains("out.mp4")), "{}", outcome.stdout);
    }
    farm.stop().await;
}

#[tokio::test]
async fn jobs_workers_and_presets_are_shown_to_people_and_programs() {
    let farm = Farm::small().await;
    let desk = Desk::at(&farm.api.base);
    let job = farm.submit(&clip("bikes-2s.mp4"), "proxy").await;
    farm.succeeded(job).await;
    let id = job.to_string();

    let list = desk.run(&["jobs", "ls"]).await;
    assert_eq!(list.code, 0, "{}", list.stderr);
    for word in [&id[id.len() - 12..], "succeeded", "proxy", "alone"] {
        assert!(list.stdout.contains(word), "{word} is not in:\n{}", list.stdout);
    }
    let table: [&[&str]; 7] = [
        &["jobs", "ls"],
        &["jobs", "show", &id],
        &["jobs", "logs", &id],
        &["jobs", "watch", &id],
        &["workers", "ls"],
        &["workers", "show", "alone"],
        &["presets", "show", "hls-ladder"],
    ];
    for args in table {
        let people = desk.run(args).await;
        assert_eq!(people.code, 0, "{args:?}: {}", people.stderr);
        let programs = desk.run(&[args, &["--json"]].concat()).await;
        assert_eq!(programs.code, 0, "{args:?}: {}", programs.stderr);
        for line in json_documents(&programs.stdout) {
            assert!(line.is_object() || line.is_array(), "{args:?}: {line}");
        }
    }
    let shown = desk.run(&["jobs", "show", &id]).await;
    assert!(shown.stdout.contains("libx264") && shown.stdout.contains("ffmpeg"), "{}", shown.stdout);
    let unknown = desk.run(&["jobs", "show", "ffffffff-0000-7000-8000-000000000000"]).await;
    assert_eq!(unknown.code, 2, "{unknown:?}");

    assert_eq!(desk.run(&["workers", "drain", "alone"]).await.code, 0);
    let waiting = farm.submit(&clip("bikes-2s.mp4"), "proxy").await.to_string();
    assert_eq!(desk.run(&["jobs", "cancel", &waiting]).await.code, 0);
    assert_eq!(desk.run(&["jobs", "retry", &waiting]).await.code, 0);
    assert_eq!(desk.run(&["workers", "resume", "alone"]).await.code, 0);
    assert_eq!(desk.run(&["jobs", "watch", &waiting]).await.code, 0);
    farm.stop().await;
}

fn json_documents(text: &str) -> Vec<serde_json::Value> {
    serde_json::Deserializer::from_str(text).into_iter().map(|value| value.unwrap()).collect()
}

#[tokio::test]
async fn a_farm_that_is_not_there_is_told_apart() {
    let desk = Desk::at("http://127.0.0.1:1");
    let outcome = desk.run(&["transcode", &text("bikes-2s.mp4"), "-o", "out.mp4", "--preset", "h264"]).await;
    assert_eq!(outcome.code, 3, "{outcome:?}");
    assert!(outcome.stderr.contains("127.0.0.1:1"), "{outcome:?}");
    desk.left_nothing_but(&[]).await;
}

#[tokio::test]
async fn a_worker_tells_what_its_machine_can_do() {
    let run = |args: &[&str]| {
        let output = std::process::Command::new(binaries::workspace("ffmpegd")).args(args).output().unwrap();
        (
            output.status.code().unwrap(),
            String::from_utf8(output.stdout).unwrap(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    let (code, table, errors) = run(&["detect"]);
    assert_eq!(code, 0, "{errors}");
    assert!(table.contains("libx264") && table.contains("h264_nvenc"), "{table}");
    let (code, json, errors) = run(&["detect", "--json"]);
    assert_eq!(code, 0, "{errors}");
    let found: serde_json::Value = serde_json::from_str(&json).unwrap();
    let capabilities = found.get("capabilities").unwrap_or(&found);
    let listed = |key: &str, name: &str| {
        capabilities[key].as_array().unwrap().iter().any(|entry| entry["name"] == name)
    };
    assert!(listed("encoders", "libx264"));
    if capabilities["gpus"].as_array().is_none_or(Vec::is_empty) {
        assert!(!listed("encoders", "h264_nvenc") && listed("rejected", "h264_nvenc"), "{json}");
    }
    let (code, _, errors) = run(&["--ffmpeg", "/nowhere/ffmpeg", "detect"]);
    assert!(code != 0 && errors.contains("install"), "{code}: {errors}");
}

#[tokio::test]
async fn the_help_of_every_program_names_its_variables() {
    for (program, variable) in [
        ("coordinator", "TVARR_GRPC_PORT"),
        ("ffmpegd", "TVARR_COORDINATOR_URL"),
        ("ffmpegctl", "TVARR_API_URL"),
    ] {
        let output = std::process::Command::new(binaries::workspace(program)).arg("--help").output().unwrap();
        assert!(output.status.success(), "{program}");
        let help = String::from_utf8(output.stdout).unwrap();
        assert!(help.contains(variable), "{program}: {help}");
    }
}

#[tokio::test]
async fn a_bare_coordinator_binds_loopback_only_and_says_so() {
    let farm = Farm::builder().env("TVARR_GRPC_AUTH_TOKEN", "").start().await;
    farm.coordinator().logged(seconds(10), "loopback").await;
    farm.stop().await;
}
