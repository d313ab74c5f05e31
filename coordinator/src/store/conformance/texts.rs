//! Texts and numbers as people, workers and other programs write them.

use std::{collections::BTreeMap, sync::Arc};

use common::{
    api::{JobState, WorkerRef},
    failure::{Failure, FailureKind},
    id::{Epoch, JobId, UploadId, WorkerId},
    worker::OutputFile,
};

use super::{Place, commit_jobs, job, listed, with_task};
use crate::{
    queue::{InputLocation, JobFilter, JobInput},
    store::{
        Changes, Concat, Held, HoldingStore as _, JobStore as _, LogRecord, StreamStore as _, UploadDetails,
        UploadOwners as _, UploadRecord, UploadStore as _, WatchStore as _, WatchedRecord,
    },
};

/// None of them means anything to a database.
const ODD: [&str; 8] = [
    "",
    "it's \"odd\"",
    "a\\u0000b",
    "$1 ?1 %s '; DROP TABLE jobs; --",
    "\u{7}\u{1b}[31m\r\n\t",
    "\u{1f3ac} \u{feff}\u{202e}\u{fffd}",
    "{\"a\": [1, null]}",
    "caf\u{e9} cafe\u{301}",
];

pub(in crate::store) async fn any_text_comes_back_and_is_found<P: Place>(place: P) {
    let store = place.open().await;
    let with = |text: &str| {
        let mut job = job(Some(text));
        job.state = JobState::Dead;
        job.failure = Some(Failure::new(FailureKind::Crashed, text));
        job.worker = Some(WorkerRef { id: WorkerId::new(), name: text.to_owned() });
        let request = Arc::make_mut(&mut job.request);
        request.input = JobInput::new(InputLocation::Url("http://x/".to_owned()), text.to_owned());
        request.preset = text.to_owned();
        job
    };
    let jobs: Vec<_> = ODD.into_iter().map(with).collect();
    commit_jobs(&store, &jobs).await;
    for (index, text) in ODD.into_iter().enumerate() {
        assert_eq!(store.job(jobs[index].id).await.unwrap().unwrap().job, jobs[index]);
        let some = || Some(text.to_owned());
        for filter in [
            JobFilter { owner: some(), ..JobFilter::default() },
            JobFilter { preset: some(), ..JobFilter::default() },
            JobFilter { worker: some(), ..JobFilter::default() },
        ] {
            assert_eq!(listed(&store, &jobs, filter).await, [index], "{text:?}");
        }
        let found = listed(&store, &jobs, JobFilter { text: some(), ..JobFilter::default() }).await;
        assert!(found.contains(&index), "{text:?}");
    }
}

/// No column can hold it in PostgreSQL. ffmpeg may write it, and a worker may say it: a commit that always failed would stop the
/// farm.
pub(in crate::store) async fn no_text_keeps_a_commit_from_happening<P: Place>(place: P) {
    let store = place.open().await;
    let nul = "a\0b";
    let mut one = job(Some(nul));
    one.state = JobState::Dead;
    one.failure = Some(Failure::new(FailureKind::Crashed, nul));
    one.worker = Some(WorkerRef { id: WorkerId::new(), name: nul.to_owned() });
    Arc::make_mut(&mut one.request).input =
        JobInput::new(InputLocation::Object(nul.to_owned()), nul.to_owned());
    let (task, mut attempt) = with_task(&one);
    attempt.worker.name = nul.to_owned();
    attempt.details.command = vec![nul.to_owned()];
    let log = LogRecord { id: attempt.id, lines: vec![nul.to_owned()] };
    let changes = Changes {
        jobs: vec![one.clone()],
        tasks: vec![task.clone()],
        attempts: vec![attempt.clone()],
        logs: vec![log.clone()],
        ..Changes::default()
    };
    store.commit(&changes).await.unwrap();
    let stored = store.job(one.id).await.unwrap().unwrap();
    assert_eq!((&stored.job, &stored.tasks[0].1[0]), (&one, &attempt));
    assert_eq!(store.logs(one.id).await.unwrap(), [log]);
    for filter in [
        JobFilter { owner: Some(nul.to_owned()), ..JobFilter::default() },
        JobFilter { worker: Some(nul.to_owned()), ..JobFilter::default() },
        JobFilter { text: Some(nul.to_owned()), ..JobFilter::default() },
    ] {
        assert_eq!(listed(&store, std::slice::from_ref(&one), filter).await, [0]);
    }
    assert!(store.watched(nul).await.unwrap().is_empty());
    assert_eq!(store.held(nul).await.unwrap(), Held::default());
}

pub(in crate::store) async fn texts_are_compared_byte_by_byte<P: Place>(place: P) {
    let store = place.open().await;
    // In the order of their bytes, which no language sorts like this.
    let names = ["B", "Z", "a", "a.mp4", "a_b", "b", "\u{e4}", "\u{fb01}", "\u{1f3ac}"];
    for name in names.iter().rev() {
        let record = WatchedRecord {
            place: "p".to_owned(),
            object: (*name).to_owned(),
            version: "1".to_owned(),
            job: JobId::new(),
            submitted: false,
            seen_at: 0,
        };
        store.put_watched(&record).await.unwrap();
    }
    let found = store.watched("p").await.unwrap();
    assert_eq!(found.iter().map(|record| record.object.as_str()).collect::<Vec<_>>(), names);
    // Only what ASCII has is the same in small letters: databases do not agree about the rest.
    let mut jobs = vec![job(Some("ann")), job(Some("ANN"))];
    for (job, name) in jobs.iter_mut().zip(["HOLIDAY \u{c4}.MOV", "holiday \u{e4}.mov"]) {
        Arc::make_mut(&mut job.request).input =
            JobInput::new(InputLocation::Url("http://x/".to_owned()), name.to_owned());
    }
    commit_jobs(&store, &jobs).await;
    let ids = async |filter: JobFilter| listed(&store, &jobs, filter).await;
    let text = |text: &str| JobFilter { text: Some(text.to_owned()), ..JobFilter::default() };
    assert_eq!(ids(text("HoLiDaY")).await, [1, 0]);
    assert_eq!(ids(text("\u{c4}.mov")).await, [0]);
    assert_eq!(ids(text("holiday_")).await, [0_usize; 0]);
    assert_eq!(ids(JobFilter { owner: Some("ANN".to_owned()), ..JobFilter::default() }).await, [1]);
}

pub(in crate::store) async fn numbers_come_back_at_their_limits<P: Place>(place: P) {
    let store = place.open().await;
    let most = i64::MAX.unsigned_abs();
    let mut one = job(Some("ann"));
    (one.submitted_at, one.started_at, one.finished_at) = (i64::MIN, Some(i64::MAX), Some(-1));
    one.priority = i32::MIN;
    one.result.outputs = vec![OutputFile {
        path: "a".to_owned(),
        size: u64::MAX,
        content_type: String::new(),
        sha256: String::new(),
    }];
    let (mut task, mut attempt) = with_task(&one);
    task.epoch = Epoch(most);
    task.published = Some(Epoch(most));
    attempt.id.epoch = Epoch(most);
    let changes = Changes {
        jobs: vec![one.clone()],
        tasks: vec![task.clone()],
        attempts: vec![attempt.clone()],
        ..Changes::default()
    };
    store.commit(&changes).await.unwrap();
    let stored = store.job(one.id).await.unwrap().unwrap();
    assert_eq!((stored.job, &stored.tasks[0]), (one, &(task, vec![attempt])));
    // More than a database counts is as much as it counts.
    assert_eq!(store.held("ann").await.unwrap(), Held { uploads: 0, outputs: most });
    store.raise_sequence_floors(&[("s".to_owned(), u64::MAX)]).await.unwrap();
    assert_eq!(store.sequence_floors().await.unwrap(), BTreeMap::from([("s".to_owned(), most)]));
    let upload = UploadRecord {
        id: UploadId::new(),
        details: UploadDetails { filename: "a".to_owned(), metadata: String::new(), concat: Concat::Alone },
        length: Some(u64::MAX),
        received: u64::MAX,
        placed: false,
        created_at: 0,
        expires_at: i64::MAX,
    };
    store.put_upload(&upload).await.unwrap();
    store.own_upload(upload.id, "bob", u64::MAX).await.unwrap();
    let expected = UploadRecord { length: Some(most), received: most, ..upload };
    assert_eq!(store.uploads().await.unwrap(), [expected]);
    assert_eq!(store.held("bob").await.unwrap(), Held { uploads: most, outputs: 0 });
}
