//! `ffmpegctl streams` and `ffmpegctl profiles` as a person and a program use them, and streams of the configuration file.

use std::{fs, os::unix::fs::PermissionsExt};

use common::{
    profile::Profile,
    stream::{SourceSpec, StreamOptions, StreamSpec, StreamView},
};
use e2e::{
    Farm, WorkerSpec,
    ctl::{Desk, Outcome},
    live::{Broadcast, Decoded, Recording, Viewer, farm::stream},
    wait::{self, seconds},
};

use crate::{
    channel::{PROFILE, saw_all},
    packaging::small_profiles,
};

/// A command that works: what it says.
async fn said(desk: &Desk, args: &[&str]) -> String {
    let Outcome { code, stdout, stderr } = desk.run(args).await;
    assert_eq!(code, 0, "{args:?}: {stderr}");
    assert!(!stdout.contains('\u{1b}') && !stderr.contains('\u{1b}'), "no terminal, no control characters");
    stdout
}

/// A command that does not: its exit code, and that it says these words, and nothing to stdout.
async fn fails(desk: &Desk, args: &[&str], code: i32, words: &[&str]) {
    let outcome = desk.run(args).await;
    assert_eq!(outcome.code, code, "{args:?}: {outcome:?}");
    assert_eq!(outcome.stdout, "", "{args:?}");
    for word in words {
        assert!(outcome.stderr.contains(word), "{word:?} is missing in {args:?}: {}", outcome.stderr);
    }
}

fn row<'a>(table: &'a str, name: &str) -> Vec<&'a str> {
    let line = table.lines().find(|line| line.split_whitespace().next() == Some(name));
    line.unwrap_or_else(|| panic!("no {name} in\n{table}")).split_whitespace().collect()
}

#[tokio::test]
async fn streams_are_added_watched_shown_and_removed() {
    let recording = Recording::default();
    let broadcast = Broadcast::of(&recording);
    let farm = Farm::small().await;
    let desk = Desk::at(&farm.api.base);
    let empty = desk.run(&["streams", "ls"]).await;
    assert_eq!((empty.code, empty.stdout.as_str()), (0, ""));
    assert!(empty.stderr.contains("streams add"), "{}", empty.stderr);
    assert_eq!(said(&desk, &["streams", "ls", "--json"]).await.trim(), "[]");

    let source = format!("{}?password=secret", broadcast.url().replace("://", "://ursula:secret@"));
    let added =
        desk.run(&["streams", "add", "news", &source, "-p", "h264-480p,audio-aac", "--linger", "2s"]).await;
    assert_eq!((added.code, added.stdout.as_str()), (0, "news  added\n"), "{}", added.stderr);
    assert!(added.stderr.contains("ffmpegctl streams watch news"), "{}", added.stderr);
    let pushed = desk.run(&["streams", "add", "cam", "push", "--json"]).await;
    assert_eq!(serde_json::from_str::<StreamView>(&pushed.stdout).unwrap().spec.source, SourceSpec::Push);
    let pushed = desk.run(&["streams", "add", "cam-2", "push"]).await;
    let input = format!("{}/v1/streams/cam-2/input", farm.api.base);
    assert!(pushed.stderr.contains(&input), "where it is sent: {}", pushed.stderr);

    let list = said(&desk, &["streams", "ls"]).await;
    assert_eq!(list.lines().count(), 4, "{list}");
    assert_eq!(row(&list, "news")[1..4], ["idle", "0", "0"]);
    assert!(!list.contains("secret") && !list.contains("ursula"), "{list}");
    let all: Vec<StreamView> =
        serde_json::from_str(&said(&desk, &["streams", "ls", "--json"]).await).unwrap();
    assert_eq!(all.iter().map(|view| view.spec.name.as_str()).collect::<Vec<_>>(), ["news", "cam", "cam-2"]);

    // Its URLs are those that players get.
    let printed = said(&desk, &["streams", "watch", "news", "--print"]).await;
    let urls: Vec<_> = printed.lines().filter_map(|line| line.split_whitespace().nth(1)).collect();
    let file = |name: &str| farm.live(&format!("news/h264-480p/{name}"));
    assert_eq!(urls, [file("stream.ts"), file("index.m3u8"), file("manifest.mpd")]);
    let json: serde_json::Value =
        serde_json::from_str(&said(&desk, &["streams", "watch", "news", "audio-aac", "--json"]).await)
            .unwrap();
    assert_eq!(json["ts"], farm.live("news/audio-aac/stream.ts"));

    let viewer = Viewer::watch(urls[0]);
    let copying = desk.start(&["streams", "watch", "news", "h264-480p", "-o", "copy.ts"]);
    viewer.watches(3.0).await;
    let copy = desk.work().join("copy.ts");
    wait::until(seconds(30), "the copy to grow", || async {
        fs::metadata(&copy).is_ok_and(|copy| copy.len() > 100_000).then_some(())
    })
    .await;
    let list = said(&desk, &["streams", "ls"]).await;
    assert_eq!(row(&list, "news")[1..4], ["live", "1", "2"], "{list}");
    let shown = said(&desk, &["streams", "show", "news"]).await;
    for part in
        ["h264 640x360", "aac 48000 Hz", "live", "alone", "libx264", "active", "h264-480p, audio-aac", "2.0s"]
    {
        assert!(shown.contains(part), "{part} is missing in\n{shown}");
    }
    assert!(!shown.contains("secret"), "{shown}");
    let view: StreamView =
        serde_json::from_str(&said(&desk, &["streams", "show", "news", "--json"]).await).unwrap();
    assert_eq!((view.spec.options.linger_ms, view.variants[0].viewers), (2_000, 2));
    assert_eq!(
        said(&desk, &["streams", "show", &view.id.to_string()]).await.lines().next(),
        shown.lines().next()
    );
    let worker = said(&desk, &["workers", "show", &view.variants[0].attempts[0].worker.name]).await;
    assert!(worker.contains("live news h264-480p"), "{worker}");
    copying.interrupt();
    let copied = copying.ended(seconds(10)).await;
    assert_eq!(copied.code, 130, "{}", copied.stderr);
    let decoded = Decoded::of(&copy);
    assert_eq!(decoded.lost_and_doubled(&recording), (0, 0));
    assert!(decoded.pictures.len() > 10, "{} pictures", decoded.pictures.len());

    assert_eq!(said(&desk, &["streams", "rm", "news", "cam", "cam-2"]).await.matches("removed").count(), 3);
    assert_eq!(viewer.ended(seconds(10)).await, Ok(()));
    assert_eq!(said(&desk, &["streams", "ls", "--json"]).await.trim(), "[]");
    saw_all(&farm.folder("viewer"), &viewer.stop(), &recording);
    farm.stop().await;
}

#[tokio::test]
async fn a_player_that_is_there_plays_the_stream() {
    let farm = Farm::builder().env("TVARR_LIVE_TOKENS", "true").start().await;
    farm.api.add_stream(&stream("news", SourceSpec::Push)).await.unwrap();
    let mut desk = Desk::at(&farm.api.base);
    let players = desk.path().join("players");
    fs::create_dir(&players).unwrap();
    let player = players.join("ffplay");
    let script = |code: i32| {
        fs::write(&player, format!("#!/bin/sh\necho \"$@\" > played\nexit {code}\n")).unwrap();
        fs::set_permissions(&player, fs::Permissions::from_mode(0o755)).unwrap();
    };
    desk.env.push(("PATH".into(), players.clone().into()));
    desk.env.push(("TVARR_LIVE_TOKEN".into(), "a.b.c".into()));
    script(0);
    said(&desk, &["streams", "watch", "news", "h264-480p"]).await;
    let played = fs::read_to_string(desk.work().join("played")).unwrap();
    let url = farm.live("news/h264-480p/stream.ts?token=a.b.c");
    assert_eq!(played.split_whitespace().last(), Some(url.as_str()), "{played}");
    // A ladder's best rendition is for the player to choose.
    said(&desk, &["streams", "watch", "news", "ladder"]).await;
    let played = fs::read_to_string(desk.work().join("played")).unwrap();
    assert!(played.trim().ends_with("/live/news/ladder/master.m3u8?token=a.b.c"), "{played}");
    script(3);
    let outcome = desk.run(&["streams", "watch", "news", "h264-480p"]).await;
    assert_eq!(outcome.code, 1, "{}", outcome.stderr);
    assert!(outcome.stderr.contains("ffplay") && outcome.stderr.contains(&url), "{}", outcome.stderr);
    // What the coordinator thinks of the token.
    fails(&desk, &["streams", "watch", "news", "h264-480p", "-o", "x.ts"], 2, &["token"]).await;
    fs::remove_file(&player).unwrap();
    let outcome = desk.run(&["streams", "watch", "news", "h264-480p"]).await;
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    assert!(outcome.stdout.contains(&url) && outcome.stderr.contains("no player"), "{outcome:?}");
    farm.api.remove_stream("news").await.unwrap();
    farm.stop().await;
}

#[tokio::test]
async fn what_is_wrong_is_said_with_what_would_be_right() {
    let farm = Farm::builder()
        .config("[[streams]]\nname = \"fixed\"\nsource = \"push\"\nprofiles = [\"h264-480p\", \"ladder\"]\n")
        .start()
        .await;
    let desk = Desk::at(&farm.api.base);
    said(&desk, &["streams", "add", "news", "push"]).await;
    let long = "x".repeat(65);
    for (args, code, words) in [
        (&["add", "News", "push"][..], 2, &["name", "lower-case"][..]),
        (&["add", &long, "push"], 2, &["name", "1 to 64"]),
        (&["add", "../x", "push"], 2, &["name"]),
        (&["add", "cam", "clip.ts"], 2, &["push, a URL"]),
        (&["add", "cam", "ftp://host/a"], 2, &["source", "ftp", "rtsp"]),
        (&["add", "cam", "http://"], 2, &["source", "no URL"]),
        (&["add", "cam", "pull:rtsp://host/1"], 2, &["source", "ingest"]),
        (&["add", "cam", "/mnt/../etc/passwd"], 2, &["source", ".."]),
        (&["add", "cam", "push", "-p", "h264-480"], 2, &["profiles[0]", "h264-480p"]),
        (&["add", "cam", "push", "--redundancy", "3"], 2, &["--redundancy", "1..=2"]),
        (&["add", "cam", "push", "--linger", "soon"], 2, &["--linger", "30s"]),
        (&["add", "cam", "push", "--slate", ""], 2, &["slate"]),
        (&["add", "cam"], 2, &["SOURCE"]),
        (&["add", "news", "push"], 1, &["news", "there already"]),
        (&["add", "fixed", "push"], 1, &["fixed", "there already"]),
        (&["show", "nothing"], 2, &["no stream", "nothing"]),
        (&["watch", "nothing", "--print"], 2, &["no stream", "nothing"]),
        (&["watch", "fixed", "h264-48p", "--print"], 2, &["did you mean \"h264-480p\"", "ladder"]),
        (&["watch", "fixed", "audio-aac", "--print"], 2, &["no profile"]),
        (&["watch", "fixed", "ladder", "-o", "x.ts"], 2, &["MPEG-TS"]),
        (&["rm", "nothing"], 2, &["no stream", "nothing"]),
        (&["rm", "fixed"], 1, &["configuration file"]),
        (&["rm"], 2, &["STREAM"]),
    ] {
        let args: Vec<_> = ["streams"].iter().chain(args).copied().collect();
        fails(&desk, &args, code, words).await;
    }
    // One that cannot be removed keeps no other from it.
    let outcome = desk.run(&["streams", "rm", "nothing", "news"]).await;
    assert_eq!((outcome.code, outcome.stdout.as_str()), (2, "news  removed\n"), "{}", outcome.stderr);
    let names: Vec<StreamView> =
        serde_json::from_str(&said(&desk, &["streams", "ls", "--json"]).await).unwrap();
    assert_eq!(names.len(), 1);

    let desk = Desk::at("http://127.0.0.1:1");
    fails(&desk, &["streams", "ls"], 3, &["127.0.0.1:1"]).await;
    fails(&desk, &["streams", "add", "cam", "push"], 3, &["127.0.0.1:1"]).await;
    farm.stop().await;
}

#[tokio::test]
async fn a_variant_without_a_free_worker_is_refused_with_the_reason_of_each() {
    let recording = Recording::default();
    let broadcast = Broadcast::of(&recording);
    let builder = ["left", "right"].into_iter().fold(Farm::builder(), |builder, name| {
        builder.worker(WorkerSpec::new(name).jobs(1).labels("site=here"))
    });
    let farm = builder.start().await;
    let desk = Desk::at(&farm.api.base);
    for (name, label) in [("first", "site=here"), ("second", "site=here"), ("third", "site=there")] {
        said(&desk, &["streams", "add", name, &broadcast.url(), "--label", label, "--linger", "0"]).await;
    }
    let viewer = farm.watch("first", PROFILE);
    let listener = farm.watch("first", "audio-aac");
    viewer.watches(2.0).await;
    listener.watches(1.0).await;
    for (name, reasons) in [
        ("second", &["left (1 of 1 jobs)", "right (1 of 1 jobs)"][..]),
        ("third", &["labels site=there", "2 workers"]),
    ] {
        let response = farm.api.get(&format!("/live/{name}/{PROFILE}/stream.ts")).await.unwrap();
        assert_eq!(response.status(), 503, "{name}");
        let again: u64 = response.headers()["retry-after"].to_str().unwrap().parse().unwrap();
        assert!((1..=60).contains(&again), "{again} s");
        let told = response.json::<common::api::Problem>().await.unwrap().detail;
        assert!(reasons.iter().all(|reason| told.contains(reason)), "{told}");
        fails(&desk, &["streams", "watch", name, PROFILE, "-o", "x.ts"], 1, reasons).await;
        assert!(!desk.work().join("x.ts").exists(), "nothing came");
    }
    // Who watches already is not disturbed, and then the place is free.
    viewer.watches(1.0).await;
    assert!(!listener.has_ended());
    saw_all(&farm.folder("viewer"), &viewer.stop(), &recording);
    farm.variant_ends("first", PROFILE, seconds(10)).await;
    let viewer = farm.watch("second", PROFILE);
    viewer.watches(1.0).await;
    drop((viewer, listener));
    said(&desk, &["streams", "rm", "first", "second", "third"]).await;
    farm.stop().await;
}

#[tokio::test]
async fn profiles_are_listed_and_shown_here_and_of_the_farm() {
    let here = Desk::new();
    let list = said(&here, &["profiles", "ls"]).await;
    let builtin =
        ["h264-1080p", "h264-720p", "h264-480p", "h264-720p-ll", "hevc-1080p", "av1-720p", "audio-aac"];
    for name in builtin.into_iter().chain(["ladder", "copy"]) {
        assert!(row(&list, name).len() > 2, "{list}");
    }
    let json: Vec<Profile> = serde_json::from_str(&said(&here, &["profiles", "ls", "--json"]).await).unwrap();
    assert_eq!(json.len() + 1, list.lines().count());

    let folder = small_profiles();
    let farm = Farm::builder().env("TVARR_PROFILES_DIR", folder.path().as_os_str()).start().await;
    let desk = Desk::at(&farm.api.base);
    let of_farm: Vec<Profile> =
        serde_json::from_str(&said(&desk, &["profiles", "ls", "--json"]).await).unwrap();
    assert_eq!(of_farm.len(), json.len() + 4);
    row(&said(&desk, &["profiles", "ls"]).await, "small-ll");
    let page: serde_json::Value = farm.api.get("/v1/profiles").await.unwrap().json().await.unwrap();
    assert_eq!(serde_json::from_value::<Vec<Profile>>(page["items"].clone()).unwrap(), of_farm);
    let one = farm.api.get("/v1/profiles/small-ll").await.unwrap();
    assert_eq!(one.status(), 200);
    let one: Profile = one.json().await.unwrap();
    assert_eq!(Some(&one), of_farm.iter().find(|profile| profile.name == "small-ll"));
    let none = farm.api.get("/v1/profiles/nothing").await.unwrap();
    assert_eq!(
        (none.status().as_u16(), &none.headers()["content-type"]),
        (404, &"application/problem+json".parse().unwrap())
    );

    // What is shown is a profile of one's own.
    let toml = said(&desk, &["profiles", "show", "small-ll"]).await;
    let own = tempfile::tempdir().unwrap();
    fs::write(own.path().join("mine.toml"), toml).unwrap();
    let own = own.path().to_string_lossy();
    assert_eq!(
        said(&here, &["profiles", "show", "small-ll", "--profiles-dir", &own, "--json"])
            .await
            .parse::<serde_json::Value>()
            .unwrap(),
        serde_json::to_value(&one).unwrap()
    );
    fails(&desk, &["profiles", "show", "small-l"], 2, &["did you mean \"small-ll\""]).await;
    fails(&here, &["profiles", "show", "small-ll"], 2, &["small-ll", "h264-480p"]).await;
    fails(&here, &["profiles", "ls", "--profiles-dir", "nowhere"], 2, &["nowhere"]).await;
    fs::write(here.work().join("wrong.toml"), "kind = \"rendition\"\nsegment_ms = 0\n").unwrap();
    fails(&here, &["profiles", "ls", "--profiles-dir", "."], 2, &["wrong.toml"]).await;
    farm.stop().await;
}

#[tokio::test]
async fn streams_of_the_configuration_file_are_what_it_says_or_nothing_starts() {
    let config = "[[streams]]\nname = \"news\"\nsource = \"https://ann:secret@encoder.example/news.ts\"\nprofiles = \
                  [\"ladder\", \"copy\"]\n\n[[streams]]\nname = \"camera\"\nsource = \"rtsp://camera.example/1\"\n[streams.options]\n\
                  linger_ms = 5000\nslate = \"Back soon\"\n\n[[streams]]\nname = \"file\"\nsource = { file = \"/mnt/a.mkv\" }\n";
    let mut farm = Farm::builder().config(config).start().await;
    let desk = Desk::at(&farm.api.base);
    let all: Vec<StreamView> =
        serde_json::from_str(&said(&desk, &["streams", "ls", "--json"]).await).unwrap();
    assert!(all.iter().all(|view| view.configured), "{all:#?}");
    let spec = |name: &str| all.iter().map(|view| &view.spec).find(|spec| spec.name == name).unwrap();
    assert_eq!(spec("news").profiles, ["ladder", "copy"]);
    assert_eq!(spec("news").source, SourceSpec::Pull("https://encoder.example/news.ts".to_owned()));
    let options =
        StreamOptions { linger_ms: 5000, slate: Some("Back soon".to_owned()), ..StreamOptions::default() };
    assert_eq!(
        *spec("camera"),
        StreamSpec { options, ..stream("camera", SourceSpec::Ingest("rtsp://camera.example/1".to_owned())) }
    );
    assert_eq!(spec("file").source, SourceSpec::File("/mnt/a.mkv".to_owned()));
    let shown = said(&desk, &["streams", "show", "news"]).await;
    assert!(shown.contains("configuration file") && !shown.contains("secret"), "{shown}");
    said(&desk, &["streams", "add", "added", "push"]).await;

    farm.stop_coordinator(true).await;
    let file = farm.path().join("coordinator.toml");
    let log = farm.path().join("logs/coordinator.log");
    for (config, words) in [
        ("[[streams]]\nname = \"a\"\n", &["[[streams]] number 1", "source"][..]),
        ("[[streams]]\nname = \"a\"\nsource = \"clip.ts\"\n", &["number 1", "push, a URL"]),
        ("[[streams]]\nname = \"a\"\nsource = \"push\"\nprofile = \"copy\"\n", &["number 1", "profile"]),
        (
            "[[streams]]\nname = \"a\"\nsource = \"push\"\nprofiles = [\"none\"]\n",
            &["\"a\"", "profiles[0]", "h264-480p"],
        ),
        ("[[streams]]\nname = \"A b\"\nsource = \"push\"\n", &["\"A b\"", "lower-case"]),
        (
            "[[streams]]\nname = \"a\"\nsource = \"push\"\n[[streams]]\nname = \"a\"\nsource = \"push\"\n",
            &["two streams named \"a\""],
        ),
        ("[streams]\nname = \"a\"\nsource = \"push\"\n", &["list of tables"]),
        ("[[streams]]\nname = \"added\"\nsource = \"push\"\n", &["\"added\"", "rename one"]),
    ] {
        fs::write(&file, config).unwrap();
        let before = fs::read_to_string(&log).unwrap().len();
        assert!(farm.try_start_coordinator(&[]).await.is_err(), "it started with {config}");
        let said = fs::read_to_string(&log).unwrap().split_off(before);
        for word in words {
            assert!(said.contains(word), "{word} is missing for {config}: {said}");
        }
    }
    // Those that were added stay when the file has none.
    fs::write(&file, "").unwrap();
    farm.start_coordinator().await;
    let names = said(&Desk::at(&farm.api.base), &["streams", "ls"]).await;
    assert_eq!((names.lines().count(), row(&names, "added")[1]), (2, "idle"));
    farm.expect_error("streams");
    farm.stop().await;
}
