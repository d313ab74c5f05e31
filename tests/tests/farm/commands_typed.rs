//! ffmpeg commands as a person types them: `ffmpegctl transcode --command`.

use std::path::Path;

use common::api::JobState;
use e2e::{
    Farm, clip,
    ctl::Desk,
    media::Media,
    system,
    wait::{self, seconds},
};

fn text(name: &str) -> String {
    clip(name).to_string_lossy().into_owned()
}

/// Nothing of what was sent is left on the farm.
fn no_uploads(farm: &Farm) {
    let left = ["uploads", "objects/uploads"].map(|folder| system::files(&farm.data().join(folder)));
    assert!(left.iter().all(Vec::is_empty), "uploads are left: {left:?}");
}

#[tokio::test]
async fn the_outputs_of_a_command_come_under_their_names_and_its_inputs_make_one_job() {
    let farm = Farm::small().await;
    let logo = text("phone.mp4");
    let command = "-i {{in}} -i {{in_2}} -filter_complex [1:v]scale=64:-2[logo];[0:v][logo]overlay=8:8:shortest=1 \
        -map 0:a? -c:v libx264 -preset ultrafast -t 1 {{out:film.mkv}} -map 0:a -t 1 -c:a libmp3lame {{out:sound.mp3}}";
    for desk in [Desk::new(), Desk::at(&farm.api.base)] {
        let args = ["transcode", &text("bigbuckbunny-2s.mp4"), &logo, "-o", "out", "--command", command];
        let outcome = desk.run(&args).await;
        assert_eq!(outcome.code, 0, "{}", outcome.stderr);
        let printed: Vec<_> =
            outcome.stdout.lines().map(|line| Path::new(line).file_name().unwrap()).collect();
        assert_eq!(printed, ["film.mkv", "sound.mp3"]);
        desk.left_nothing_but(&["out/film.mkv", "out/sound.mp3"]).await;
        let film = Media::read(&desk.work().join("out/film.mkv"));
        assert_eq!((film.video().codec_name.as_str(), film.of_kind("audio").count()), ("h264", 1));
        assert_eq!(Media::read(&desk.work().join("out/sound.mp3")).of_kind("video").count(), 0);
    }
    assert_eq!(farm.api.jobs("limit=10").await.items.len(), 1);
    no_uploads(&farm);
    farm.stop().await;
}

#[tokio::test]
async fn the_name_of_the_result_says_its_format_unless_that_is_said() {
    let farm = Farm::small().await;
    let desk = Desk::at(&farm.api.base);
    let command = "-c:v libx264 -preset ultrafast -an -t 1";
    let film = text("bikes-2s.mp4");
    let outcome = desk.run(&["transcode", &film, "-o", "a.mkv", "--command", command]).await;
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    let several = [&film, &text("ocean-2s.mp4"), "-o", "many", "--command", command, "--format", "mov"];
    let outcome = desk.run(&[&["transcode"], several.as_slice()].concat()).await;
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    let preset = ["transcode", &film, "-o", "b.mkv", "--preset", "proxy", "--format", "mkv"];
    let outcome = desk.run(&preset).await;
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    desk.left_nothing_but(&["a.mkv", "b.mkv", "many/bikes-2s.mov", "many/ocean-2s.mov"]).await;
    for (file, format) in [("a.mkv", "matroska"), ("b.mkv", "matroska"), ("many/ocean-2s.mov", "mov")] {
        let bytes = std::fs::read(desk.work().join(file)).unwrap();
        let magic: &[u8] = if format == "mov" { b"ftypqt" } else { b"\x1a\x45\xdf\xa3" };
        assert!(bytes[..16].windows(magic.len()).any(|part| part == magic), "{file}: {:?}", &bytes[..16]);
    }
    farm.stop().await;
}

#[tokio::test]
async fn a_command_that_is_not_allowed_is_shown_with_the_place_before_anything_is_sent() {
    // Nobody is there: it is known without asking.
    let desk = Desk::at("http://127.0.0.1:1");
    let film = text("bikes-2s.mp4");
    let refused = async |command: &str, out: &str| {
        let outcome = desk.run(&["transcode", &film, "-o", out, "--command", command]).await;
        assert_eq!(outcome.code, 2, "{outcome:?}");
        assert_eq!(outcome.stdout, "");
        outcome.stderr
    };
    assert_eq!(
        refused("-c:v libx264 -prest fast", "a.mp4").await,
        "error: -prest: this option is not allowed\n --> argument 2, byte 13 of --command\n  |\n\
         \x20 | -c:v libx264 -prest fast\n  |              ^^^^^^\n  = did you mean preset?\n"
    );
    let shown = refused("-vf scale=320:-2,subtitles=/etc/passwd", "a.mp4").await;
    let lines: Vec<_> = shown.lines().collect();
    assert_eq!(lines[3].find("subtitles="), lines[4].find("^^^^^^^^^"), "{shown}");
    // Nothing says what comes out.
    assert!(refused("-c:v libx264", "folder").await.contains("output format"));
    desk.left_nothing_but(&[]).await;
}

#[tokio::test]
async fn what_does_not_go_together_is_refused_by_its_names() {
    let desk = Desk::new();
    let film = text("bikes-2s.mp4");
    let pair = "-i {{in}} -i {{in_2}} -c:v libx264";
    let cases: [(&[&str], &[&str]); 6] = [
        (
            &["-o", "a.mp4", "--command", "-an", "--preset", "h264"],
            &["--command", "--preset", "cannot be used"],
        ),
        (&["-o", "a.mp4"], &["--preset", "--command"]),
        (&["-o", "a.mp4", "--command", pair], &["takes 2 inputs", "1 came"]),
        (&["-o", "a.mkv", "--command", "-an {{out:x.mp4}}"], &["the command makes .mp4 files"]),
        (&["-o", "s3://bucket/x/", "--preset", "h264"], &["only a farm delivers", "--coordinator"]),
        (&["-o", "a.webm", "--preset", "h264", "--format", "webm"], &["--format", "webm"]),
    ];
    for (args, words) in cases {
        let outcome = desk.run(&[&["transcode", &film], args].concat()).await;
        assert_eq!(outcome.code, 2, "{args:?}: {outcome:?}");
        for word in words {
            assert!(outcome.stderr.contains(word), "{args:?}: {word} is not in:\n{}", outcome.stderr);
        }
    }
    desk.left_nothing_but(&[]).await;
}

#[tokio::test]
async fn ctrl_c_cancels_a_command_and_removes_every_input_of_it() {
    let farm = Farm::small().await;
    let desk = Desk::at(&farm.api.base);
    let command = "-i {{in}} -i {{in_2}} -filter_complex overlay=8:8 -c:v libx264 {{out:a.mp4}}";
    let inputs = [text("bikes-5min.mp4"), text("phone.mp4")];
    let running = desk.start(&["transcode", &inputs[0], &inputs[1], "-o", "out", "--command", command]);
    wait::until(seconds(60), "ffmpeg to run", || async { (!farm.ffmpegs().is_empty()).then_some(()) }).await;
    running.interrupt();
    let outcome = running.ended(seconds(20)).await;
    assert_eq!(outcome.code, 130, "{}", outcome.stderr);
    farm.no_ffmpeg().await;
    desk.left_nothing_but(&[]).await;
    no_uploads(&farm);
    let states: Vec<_> = farm.api.jobs("limit=10").await.items.into_iter().map(|job| job.state).collect();
    assert_eq!(states, [JobState::Cancelled]);
    farm.stop().await;
}
