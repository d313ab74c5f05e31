//! Killed while a job is removed: it is there and can be removed again, or it is gone, and then so are its files.

use common::api::{InputRef, JobState};
use e2e::{Farm, WorkerSpec, api::request, clip};
use reqwest::{Client, StatusCode};

use super::{PRESET, REACHED, VARIABLE, results, was_killed};

/// Whether the job is there afterwards.
const REMOVING: [(&str, bool); 3] =
    [("job.remove.files", true), ("job.remove.before", true), ("job.remove.after", false)];

pub(super) fn points() -> impl Iterator<Item = &'static str> {
    REMOVING.into_iter().map(|(point, _)| point)
}

#[tokio::test]
async fn a_coordinator_killed_while_it_removes_a_job() {
    let mut farm = Farm::builder().worker(WorkerSpec::new("a")).start().await;
    let client = Client::new();
    let objects = farm.path().join("data/objects");
    for (point, there) in REMOVING {
        let upload = farm.api.upload(&clip("bikes-2s.mp4")).await;
        let job = farm.api.submit(&request(InputRef::Upload(upload.id), PRESET)).await.summary.id;
        assert_eq!(farm.finished(job).await.summary.state, JobState::Succeeded);
        assert!(!results(&objects).is_empty());
        farm.stop_coordinator(false).await;
        farm.try_start_coordinator(&[(VARIABLE, point)]).await.unwrap();
        let url = format!("{}/v1/jobs/{job}", farm.api.base);
        assert!(client.delete(url).send().await.is_err(), "{point}");
        was_killed(point, farm.coordinator_ended(REACHED).await);
        farm.start_coordinator().await;
        let url = format!("{}/v1/jobs/{job}", farm.api.base);
        let again = client.delete(&url).send().await.unwrap().status();
        assert_eq!(again, if there { StatusCode::NO_CONTENT } else { StatusCode::NOT_FOUND }, "{point}");
        assert_eq!(client.get(&url).send().await.unwrap().status(), StatusCode::NOT_FOUND, "{point}");
        assert!(results(&objects).is_empty(), "{point}");
    }
    farm.stop().await;
}
