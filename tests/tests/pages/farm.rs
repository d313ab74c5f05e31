use e2e::{Farm, WorkerSpec, footage};
use jiff::Timestamp;

use crate::browser::lead;

/// Five workers are shown; a file that is dropped runs; its worker drains; another one dies, and the page says so within two
/// seconds; a file is uploaded, encoded and played; all by keyboard and on a phone, without an error of the browser's and
/// nothing that its policy forbids.
#[tokio::test]
async fn a_person_sees_a_farm_of_five_at_work() {
    let mut builder = Farm::builder();
    for number in 1..=5 {
        builder = builder.worker(WorkerSpec::new(&format!("worker-{number}")).jobs(1));
    }
    let mut farm = builder.start().await;
    let base = farm.api.base.clone();
    let (short, long) = (footage::clip("ocean-2s.mp4"), footage::clip("bikes-5min.mp4"));
    lead("farm.mjs", &[&base, short.to_str().unwrap(), long.to_str().unwrap()], async |asked| {
        let victim = asked.strip_prefix("kill ").unwrap_or_else(|| panic!("{asked:?} is nothing to be done"));
        farm.kill_worker(victim);
        Timestamp::now().as_millisecond().to_string()
    })
    .await;
    farm.stop().await;
}
