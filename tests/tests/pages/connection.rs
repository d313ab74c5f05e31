use e2e::{Farm, WorkerSpec};

use crate::browser::lead;

/// While the coordinator is away the page says so and keeps what it knew; once it is back the page shows how things are now,
/// without being loaded again.
#[tokio::test]
async fn a_page_outlives_its_coordinator() {
    let mut farm = Farm::builder().worker(WorkerSpec::new("first")).start().await;
    let base = farm.api.base.clone();
    lead("connection.mjs", &[&base], async |asked| {
        match asked {
            "kill the coordinator" => farm.stop_coordinator(false).await,
            "start it without the first worker and with a second" => {
                farm.kill_worker("first");
                farm.start_coordinator().await;
                farm.start_worker(WorkerSpec::new("second")).await;
            }
            other => panic!("{other:?} is nothing to be done"),
        }
        String::new()
    })
    .await;
    farm.stop().await;
}
