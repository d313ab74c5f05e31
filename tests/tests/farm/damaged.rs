//! Inputs that are damaged or end early, through the whole farm: told to whoever asked, or refused, as the job says.

use std::{fs, path::PathBuf};

use common::{api::JobState, failure::FailureKind};
use e2e::{Farm, WorkerSpec, api::attempts, clip, ctl::Desk, media::Media};

const INVALID: i32 = 2;

/// A clip with every so many bytes changed, past its headers.
fn flipped(desk: &Desk, clip_name: &str, every: usize) -> PathBuf {
    let mut bytes = fs::read(clip(clip_name)).unwrap();
    let start = bytes.len() / 3;
    bytes[start..].iter_mut().step_by(every).for_each(|byte| *byte ^= 0x55);
    desk.file("flipped.mp4", &bytes)
}

#[tokio::test]
async fn damage_is_told_by_default_and_refused_on_wish() {
    let farm = Farm::builder().worker(WorkerSpec::new("alone")).start().await;
    let desk = Desk::at(&farm.api.base);
    let half = clip("half.mp4").to_string_lossy().into_owned();
    let flipped = flipped(&desk, "faststart.mp4", 4999).to_string_lossy().into_owned();

    for (input, output, words) in
        [(&half, "half.mp4", "the input ends early: "), (&flipped, "flips.mp4", "while decoding the input")]
    {
        let told = desk.run(&["transcode", input, "-o", output, "--preset", "proxy"]).await;
        assert_eq!(told.code, 0, "{}", told.stderr);
        assert!(told.stderr.contains(words), "{}", told.stderr);
        assert!(Media::read(&desk.work().join(output)).video().packets() > 0);
    }
    let jobs = farm.api.jobs("limit=10").await.items;
    for job in &jobs {
        let view = farm.api.job(job.id).await;
        let damage = view.damage.unwrap_or_else(|| panic!("no damage: {view:#?}"));
        assert!(damage.errors > 0, "{damage:?}");
        assert_eq!(damage.ends_at_seconds.is_some(), job.input.contains("half"), "{damage:?}");
        let shown = desk.run(&["jobs", "show", &job.id.to_string()]).await;
        assert!(shown.stdout.contains("while decoding"), "{}", shown.stdout);
    }

    for input in [&half, &flipped] {
        let arguments =
            ["transcode", input, "-o", "none.mp4", "--preset", "proxy", "--on-damaged-input", "fail"];
        let refused = desk.run(&arguments).await;
        assert_eq!(refused.code, INVALID, "{}", refused.stderr);
        assert!(refused.stderr.contains("is damaged: "), "{}", refused.stderr);
        assert!(!desk.work().join("none.mp4").exists());
    }
    for job in farm.api.jobs("state=failed&limit=10").await.items {
        let view = farm.api.job(job.id).await;
        assert_eq!(view.summary.state, JobState::Failed);
        assert_eq!(view.summary.failure.as_ref().map(|it| it.kind), Some(FailureKind::InvalidInput));
        assert_eq!(attempts(&view).count(), 1, "nobody else can do better: {view:#?}");
    }
    farm.no_ffmpeg().await;
    farm.stop().await;
}
