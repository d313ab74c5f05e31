//! Wall clocks that jump by an hour: only the coordinator's clock counts, and only as a monotonic one.

use common::{api::AttemptState, id::JobId};
use e2e::{Farm, clip, clock::Clock};
use jiff::Timestamp;

use crate::course::{assert_whole, slow_worker, tried};

const HOUR: i64 = 3600;

#[tokio::test]
async fn wall_clocks_that_jump_by_an_hour_on_either_side_have_no_effect() {
    let folder = tempfile::tempdir().unwrap();
    let (here, there) = (folder.path().join("coordinator"), folder.path().join("worker"));
    for folder in [&here, &there] {
        std::fs::create_dir(folder).unwrap();
    }
    let (here, there) = (Clock::new(&here), Clock::new(&there));
    let farm = Farm::builder()
        .clock(&here)
        .env("TVARR_LEASE", "8s")
        .worker(slow_worker("abroad", folder.path()).jobs(1).clock(&there))
        .start()
        .await;
    // While each of them encodes or waits, and before it uploads.
    for (ours, theirs) in [(HOUR, -HOUR), (-HOUR, HOUR)] {
        let running = farm.submit(&clip("bikes-2s.mp4"), "proxy").await;
        let first = farm.submit(&clip("bikes-2s.mp4"), "proxy").await;
        farm.encoding(running).await;
        here.jump(ours);
        there.jump(theirs);
        let second = farm.submit(&clip("bikes-2s.mp4"), "proxy").await;
        let ahead =
            farm.api.job(second).await.summary.submitted_at.as_second() - Timestamp::now().as_second();
        assert!(
            (ahead - ours).abs() < HOUR / 2,
            "the clock did not jump: {ahead} s where {ours} s were asked for"
        );
        for job in [running, first, second] {
            let view = farm.succeeded(job).await;
            assert_eq!(tried(&view), [("abroad", AttemptState::Succeeded, None)], "after a jump of {ours} s");
            assert_whole(&farm, &view, 52).await;
        }
        // In the order in which they came, whatever the clock said.
        let order = begun(&farm);
        let place = |job: JobId| order.iter().position(|known| *known == job.to_string()).unwrap();
        assert!(place(running) < place(first) && place(first) < place(second), "after {ours} s: {order:?}");
        here.jump(0);
        there.jump(0);
    }
    farm.stop().await;
}

/// Jobs in the order in which the worker began them, as its log has them.
fn begun(farm: &Farm) -> Vec<String> {
    let log = std::fs::read_to_string(farm.path().join("logs/abroad.log")).unwrap();
    let lines = log.lines().filter(|line| line.contains("attempt begins"));
    lines.filter_map(|line| line.split("job=").nth(1)?.split([' ', '}']).next()).map(str::to_owned).collect()
}
