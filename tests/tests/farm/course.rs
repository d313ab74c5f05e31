//! What the fault tests ask of a job's course.

use std::path::Path;

use common::{
    api::{AttemptState, JobView},
    failure::FailureKind,
};
use e2e::{
    Farm, WorkerSpec,
    api::attempts,
    media::{self, Media},
};

use crate::fakes;

/// Every attempt's worker, state and kind of failure.
pub(crate) fn tried(view: &JobView) -> Vec<(&str, AttemptState, Option<FailureKind>)> {
    attempts(view)
        .map(|attempt| {
            let kind = attempt.failure.as_ref().map(|failure| failure.kind);
            (attempt.worker.name.as_str(), attempt.state, kind)
        })
        .collect()
}

/// Asserts that the job's one file is there, with so many frames, and decodes.
pub(crate) async fn assert_whole(farm: &Farm, view: &JobView, frames: u64) {
    let folder = tempfile::tempdir().unwrap();
    farm.api.download(view, folder.path()).await;
    let [output] = view.outputs.as_slice() else { panic!("not one output: {view:#?}") };
    let file = folder.path().join(&output.path);
    assert_eq!(Media::read(&file).video().packets(), frames);
    assert_eq!(media::decode_errors(&file), "");
}

/// A worker that encodes in real time, so that there is time to break something, at little cost. `folder` is for its
/// ffmpeg.
pub(crate) fn slow_worker(name: &str, folder: &Path) -> WorkerSpec {
    let ffmpeg = fakes::ffmpeg_with_fault(&folder.join(name), "takes-long", &[]);
    WorkerSpec::new(name).ffmpeg(&ffmpeg.program)
}
