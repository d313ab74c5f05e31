//! Uploads that come in pieces: from the clients that applications use, and while they are encoded.

mod clients;
mod command_line;
mod containers;
mod following;

use std::{path::PathBuf, process::Command};

use common::{
    api::{InputRef, JobView},
    id::JobId,
};
use e2e::{
    Farm,
    api::{attempts, request},
    binaries, clip, system,
    tus::TusUpload,
    wait::{self, seconds},
};

/// A file in another container, made of a clip.
fn made(folder: &tempfile::TempDir, name: &str, from: &str, args: &[&str]) -> (PathBuf, Vec<u8>) {
    let path = folder.path().join(name);
    let output = Command::new(binaries::system("ffmpeg"))
        .args(["-nostdin", "-v", "error", "-i"])
        .arg(clip(from))
        .args(args)
        .arg(&path)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let bytes = std::fs::read(&path).unwrap();
    (path, bytes)
}

/// A job on an upload of which nothing has come.
async fn begun(farm: &Farm, name: &str, length: Option<usize>, preset: &str) -> (TusUpload, JobId) {
    let length = length.map(|length| length as u64);
    let upload = TusUpload::create(&farm.api.base, name, length).await.expect("nobody answers");
    let job = farm.api.submit(&request(InputRef::Upload(upload.id), preset)).await;
    (upload, job.summary.id)
}

/// Waits until the job has written something, sound or picture. ffmpeg does not tell of it while it waits for its input, so its
/// files are looked at.
async fn writes(farm: &Farm, job: JobId) -> JobView {
    let scratch = farm.path().join("scratch");
    let written = || {
        let files = system::files(&scratch);
        let size = |file: &PathBuf| std::fs::metadata(scratch.join(file)).map_or(0, |about| about.len());
        files.iter().any(|file| file.components().any(|part| part.as_os_str() == "out") && size(file) > 0)
    };
    wait::until(seconds(60), &format!("job {job} to write something"), || async {
        let view = farm.api.job(job).await;
        assert!(!view.summary.state.is_final(), "ended before its upload: {view:#?}");
        let reported = view.summary.progress.as_ref().map_or(0, |progress| progress.progress.out_time_us);
        let encodes = attempts(&view).any(|attempt| !attempt.command.is_empty());
        (encodes && (reported > 0 || written())).then_some(view)
    })
    .await
}

fn assert_one_attempt(view: &JobView) {
    assert_eq!(attempts(view).count(), 1, "{view:#?}");
}
