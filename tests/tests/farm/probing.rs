//! `ffmpegctl probe`: what a worker's ffprobe says of a file, an upload, a URL.

use common::api::JobState;
use e2e::{
    Farm, clip,
    ctl::Desk,
    system,
    wait::{self, seconds},
};
use serde_json::Value;

/// The job of the only probe that a farm has had.
async fn only(farm: &Farm) -> JobState {
    let jobs = farm.api.jobs("limit=10").await.items;
    let [job] = jobs.as_slice() else { panic!("{jobs:#?}") };
    assert_eq!((job.preset.as_str(), job.priority), ("probe", 100));
    job.state
}

#[tokio::test]
async fn a_film_is_summed_up_for_people_and_whole_for_programs() {
    let farm = Farm::small().await;
    let desk = Desk::at(&farm.api.base);
    let film = clip("bigbuckbunny-2s.mp4");
    let path = film.to_string_lossy().into_owned();
    let people = desk.run(&["probe", &path]).await;
    assert_eq!((people.code, people.stderr.as_str()), (0, ""), "{people:?}");
    for words in
        ["QuickTime / MOV", "0:02", "h264 (Main)", "1280x720 yuv420p 25 fps", "aac (LC)", "48 kHz 5.1"]
    {
        assert!(people.stdout.contains(words), "{words} is not in:\n{}", people.stdout);
    }
    assert!(people.stdout.lines().skip(1).all(|line| line.len() <= 80), "{}", people.stdout);

    let upload = farm.api.upload(&film).await.id.to_string();
    for input in [path.as_str(), upload.as_str()] {
        let programs = desk.run(&["probe", input, "--json"]).await;
        assert_eq!(programs.code, 0, "{programs:?}");
        let answer: Value = serde_json::from_str(&programs.stdout).unwrap();
        assert_eq!(answer["format"]["filename"], "bigbuckbunny-2s.mp4");
        assert_eq!(answer["streams"].as_array().unwrap().len(), 2);
    }
    // What was there before is not removed.
    assert_eq!(desk.run(&["probe", &upload]).await.code, 0);
    desk.left_nothing_but(&[]).await;
    farm.stop().await;
}

#[tokio::test]
async fn what_is_no_film_is_refused_by_its_name() {
    let farm = Farm::small().await;
    let desk = Desk::at(&farm.api.base);
    desk.file("note.txt", b"this is no video");
    desk.file("empty.mp4", b"");
    for (input, words) in [
        ("note.txt", "note.txt is no media file"),
        ("empty.mp4", "is empty"),
        ("none.mp4", "does not exist"),
        ("01990000-0000-7000-8000-000000000000", "there is no upload"),
        ("http://127.0.0.1:1/a.mp4", "http://127.0.0.1:1/a.mp4"),
        ("ftp://host/a.mp4", "not ftp"),
    ] {
        let outcome = desk.run(&["probe", input, "--json"]).await;
        assert!(matches!(outcome.code, 1 | 2) && outcome.stderr.contains(words), "{input}: {outcome:?}");
        assert_eq!(outcome.stdout, "", "{input}");
    }
    desk.left_nothing_but(&["empty.mp4", "note.txt"]).await;
    farm.stop().await;
}

#[tokio::test]
async fn ctrl_c_leaves_no_probe_and_no_upload_behind() {
    let farm = Farm::small().await;
    let desk = Desk::at(&farm.api.base);
    assert_eq!(desk.run(&["workers", "drain", "alone"]).await.code, 0);
    let running = desk.start(&["probe", &clip("bikes-2s.mp4").to_string_lossy()]);
    wait::until(seconds(30), "the probe to be queued", || async {
        (!farm.api.jobs("limit=10").await.items.is_empty()).then_some(())
    })
    .await;
    running.interrupt();
    let outcome = running.ended(seconds(20)).await;
    assert_eq!(outcome.code, 130, "{outcome:?}");
    assert_eq!(only(&farm).await, JobState::Cancelled);
    let left = ["uploads", "objects/uploads"].map(|folder| system::files(&farm.data().join(folder)));
    assert!(left.iter().all(Vec::is_empty), "uploads are left: {left:?}");
    desk.left_nothing_but(&[]).await;
    farm.stop().await;
}
