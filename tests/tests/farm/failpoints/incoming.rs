//! Killed before and after each durable write for an upload that comes in pieces: what was answered for is there, the upload
//! goes on at the offset that is told, and what comes out is the file that was sent, once.

use std::fs;

use e2e::{Farm, system, tus::TusUpload};

use super::{REACHED, VARIABLE, was_killed};

/// What is passed for a file in two pieces.
const SENDING: [&str; 12] = [
    "incoming.create.before",
    "incoming.create.after",
    "incoming.write.before",
    "incoming.write.after",
    "incoming.count.after",
    "incoming.write.before:2",
    "incoming.write.after:2",
    "incoming.count.after:2",
    "incoming.place.before",
    "incoming.placed",
    "incoming.place.after",
    // Where it waits for its second piece.
    "incoming.create.before:2",
];
const JOINING: [&str; 2] = ["incoming.join.before", "incoming.join.after"];
const REMOVING: [&str; 2] = ["incoming.remove.before", "incoming.remove.after"];

pub(super) fn points() -> impl Iterator<Item = &'static str> {
    SENDING.into_iter().chain(JOINING).chain(REMOVING)
}

const FILE: &[u8] = b"the first half and the second half";
const HALF: usize = 15;

#[tokio::test]
async fn a_coordinator_killed_while_it_takes_uploads() {
    let mut farm = Farm::builder().start().await;
    for point in SENDING {
        let sent = dies_at(&mut farm, point, async |base| {
            let upload = TusUpload::create(base, "a.bin", Some(FILE.len() as u64)).await?;
            let answered = upload.send(0, &FILE[..HALF]).await.is_some();
            if answered {
                upload.send(HALF as u64, &FILE[HALF..]).await;
                // For what is reached by a second upload.
                TusUpload::create(base, "b.bin", Some(1)).await;
            }
            Some((upload, if answered { HALF as u64 } else { 0 }))
        })
        .await;
        let base = farm.api.base.clone();
        // Without an answer there may be one or not: the client begins anew.
        let (upload, least) = match sent {
            Some(sent) => sent,
            None => (TusUpload::create(&base, "a.bin", Some(FILE.len() as u64)).await.unwrap(), 0),
        };
        let offset = upload.offset().await.expect("it was answered for");
        assert!(
            (least..=FILE.len() as u64).contains(&offset),
            "{point}: {offset}, {least} were answered for"
        );
        let rest = usize::try_from(offset).unwrap();
        upload.send_part(FILE, rest, FILE.len()).await;
        let objects = farm.data().join("objects/uploads").join(upload.id.to_string());
        let files = system::files(&objects);
        assert_eq!(files.len(), 1, "{point}: {files:?}");
        assert_eq!(fs::read(objects.join(&files[0])).unwrap(), FILE, "{point}");
        assert!(!farm.data().join("uploads").join(upload.id.to_string()).exists(), "{point}");
    }
    for point in JOINING {
        dies_at(&mut farm, point, async |base| {
            let partial = [("upload-concat", "partial")];
            let part = TusUpload::create_with(base, "a", Some(1), &partial).await?;
            part.send(0, "x").await?;
            let both = format!("final;/v1/uploads/{0} /v1/uploads/{0}", part.id);
            TusUpload::create_with(base, "a", None, &[("upload-concat", &both)]).await
        })
        .await;
    }
    for point in REMOVING {
        let sent = dies_at(&mut farm, point, async |base| {
            let upload = TusUpload::create(base, "a.bin", Some(FILE.len() as u64)).await?;
            upload.send(0, &FILE[..HALF]).await?;
            assert_eq!(upload.terminate().await, None);
            Some(upload)
        })
        .await;
        let there = sent.unwrap().offset().await;
        assert_eq!(there, (point == "incoming.remove.before").then_some(HALF as u64), "{point}");
    }
    farm.stop().await;
}

/// Starts the coordinator so that it dies at `point`, provokes it, and starts it again.
async fn dies_at<T>(farm: &mut Farm, point: &str, provoke: impl AsyncFnOnce(&str) -> T) -> T {
    farm.stop_coordinator(false).await;
    farm.try_start_coordinator(&[(VARIABLE, point)]).await.unwrap();
    let base = farm.api.base.clone();
    let provoked = provoke(&base).await;
    was_killed(point, farm.coordinator_ended(REACHED).await);
    farm.start_coordinator().await;
    provoked
}
