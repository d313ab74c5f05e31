use e2e::{Farm, WorkerSpec, footage};

use crate::{browser::lead, fakes};

/// Two jobs crash on both workers; those that the page's filter leaves are queued again, and no other, and then one by itself.
#[tokio::test]
async fn a_person_redrives_dead_letters() {
    let folder = tempfile::tempdir().unwrap();
    let mut builder = Farm::builder();
    for name in ["one", "two"] {
        let broken = fakes::ffmpeg_with_fault(&folder.path().join(name), "crashes", &[]);
        builder = builder.worker(WorkerSpec::new(name).ffmpeg(&broken.program));
    }
    let mut farm = builder.start().await;
    let base = farm.api.base.clone();
    let (ocean, bikes) = (footage::clip("ocean-2s.mp4"), footage::clip("bikes-2s.mp4"));
    lead("letters.mjs", &[&base, ocean.to_str().unwrap(), bikes.to_str().unwrap()], async |asked| {
        match asked {
            "mend" => {
                for broken in ["one", "two"] {
                    farm.kill_worker(broken);
                }
                farm.start_worker(WorkerSpec::new("sound")).await;
            }
            other => panic!("{other:?} is nothing to be done"),
        }
        String::new()
    })
    .await;
    farm.stop().await;
}
