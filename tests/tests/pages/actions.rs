use e2e::{Farm, WorkerSpec, footage};

use crate::browser::lead;

/// A file that is dropped is uploaded through a connection that breaks; jobs are preferred, cancelled and tried again; workers are
/// probed, emptied and forgotten.
#[tokio::test]
async fn a_person_does_what_the_pages_offer() {
    let mut farm = Farm::builder().worker(WorkerSpec::new("works").jobs(1)).start().await;
    let base = farm.api.base.clone();
    let (short, long) = (footage::clip("ocean-2s.mp4"), footage::clip("bikes-5min.mp4"));
    lead("actions.mjs", &[&base, short.to_str().unwrap(), long.to_str().unwrap()], async |asked| {
        match asked {
            "start other" => farm.start_worker(WorkerSpec::new("other").jobs(1)).await,
            "kill other" => farm.kill_worker("other"),
            unknown => panic!("{unknown:?} is nothing to be done"),
        }
        String::new()
    })
    .await;
    farm.stop().await;
}
