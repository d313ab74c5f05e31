//! Killed while a worker brings its results to a bucket itself: the attempt goes on with a coordinator that knows nothing of
//! what was begun, what comes out is there once, and nothing of an upload that was not completed is left in the store.

use e2e::{
    Farm, WorkerSpec, api, books, clip,
    stores::{BUCKET, Seaweed},
};

use super::{REACHED, VARIABLE, was_killed};

pub(super) const POINTS: [&str; 4] =
    ["direct.begin.before", "direct.begin.after", "direct.complete.before", "direct.complete.after"];

#[tokio::test]
async fn a_coordinator_killed_while_results_go_to_a_bucket() {
    // It can tell which uploads were not completed.
    let Some(store) = Seaweed::start().await else { return };
    let environment = store.environment().into_iter();
    let builder = environment.fold(Farm::builder(), |builder, (name, value)| builder.env(&name, value));
    let mut farm = builder
        .env("TVARR_STORAGE_URL", format!("s3://{BUCKET}/farm"))
        .worker(WorkerSpec::new("alone"))
        .start()
        .await;
    let mut published = 0;
    // In parts, and with one PUT.
    for (preset, count) in [("archive-prores", 1), ("thumbnails", 2)] {
        for point in POINTS {
            farm.stop_coordinator(false).await;
            farm.try_start_coordinator(&[(VARIABLE, point)]).await.unwrap();
            let job = farm.submit(&clip("bigbuckbunny-2s.mp4"), preset).await;
            was_killed(point, farm.coordinator_ended(REACHED).await);
            farm.start_coordinator().await;
            let view = farm.succeeded(job).await;
            assert_eq!(api::attempts(&view).count(), 1, "{point}: {view:#?}");
            assert!(view.outputs.len() >= count, "{point}: {view:#?}");
            let folder = tempfile::tempdir().unwrap();
            farm.api.download(&view, folder.path()).await;
            for output in &view.outputs {
                let file = folder.path().join(&output.path);
                assert_eq!(books::sha256(&file), output.sha256, "{point}: {}", output.path);
            }
            published += view.outputs.len();
            assert_eq!(store.unfinished(BUCKET).await, 0, "{point}");
            let keys = store.keys(BUCKET).await;
            assert_eq!(keys.len(), published, "{point}: {keys:?}");
        }
    }
    farm.stop().await;
}
