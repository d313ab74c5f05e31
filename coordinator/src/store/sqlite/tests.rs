//! The store against a real file: what every store promises, and what is SQLite's own.

use common::id::{AttemptId, Epoch};
use futures::future::LocalBoxFuture;

use super::*;
use crate::{
    queue::JobFilter,
    store::{
        Changes, JobStore as _, LogRecord,
        conformance::{self, Place, cases, job, with_task},
        select,
    },
};

struct File(tempfile::TempDir);

impl File {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }
}

impl Place for File {
    type Store = SqliteStore;

    fn open(&self) -> LocalBoxFuture<'_, SqliteStore> {
        async { SqliteStore::open(&self.0.path().join("jobs.sqlite")).await.unwrap() }.boxed_local()
    }
}

macro_rules! each_on_a_file_of_its_own {
    ($($group:ident::$case:ident),+ $(,)?) => {
        $(
            #[tokio::test]
            async fn $case() {
                conformance::$group::$case(File::new()).await;
            }
        )+
    };
}
cases!(each_on_a_file_of_its_own);

async fn open(folder: &tempfile::TempDir) -> SqliteStore {
    SqliteStore::open(&folder.path().join("jobs.db")).await.unwrap()
}

/// However many jobs there are.
#[tokio::test]
async fn lists_by_worker_and_counts_come_out_of_an_index() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder).await;
    let filter = JobFilter { worker: Some("w".to_owned()), limit: 10, ..JobFilter::default() };
    let list = select::jobs(&filter, &SqliteStore::DIALECT).statement;
    for (query, index) in [
        (list.as_str(), "USING INDEX jobs_by_worker"),
        (select::COUNTS, "USING COVERING INDEX jobs_by_state"),
        (select::COUNTS_OF, "USING COVERING INDEX jobs_by_owner_state"),
    ] {
        let plan: Vec<(i64, i64, i64, String)> =
            sqlx::query_as(sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {query}")))
                .fetch_all(&store.readers)
                .await
                .unwrap();
        let plan: Vec<_> = plan.into_iter().map(|(.., step)| step).collect();
        assert!(plan.iter().any(|step| step.contains(index)), "{query}: {plan:?}");
        assert!(!plan.iter().any(|step| step.contains("TEMP B-TREE")), "{query}: {plan:?}");
    }
}

#[tokio::test]
async fn every_commit_is_synced() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder).await;
    let mut writer = store.writer.lock().await;
    let level: i64 =
        sqlx::query_scalar("PRAGMA synchronous").fetch_one(&mut writer.connection).await.unwrap();
    let journal: String =
        sqlx::query_scalar("PRAGMA journal_mode").fetch_one(&mut writer.connection).await.unwrap();
    assert_eq!((level, journal.as_str()), (2, "wal"), "2 is FULL");
}

#[tokio::test]
async fn a_commit_on_a_full_disk_leaves_nothing_and_the_next_one_goes_through() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder).await;
    let limit = async |pages: u32| {
        let pragma = format!("PRAGMA max_page_count = {pages}");
        let mut writer = store.writer.lock().await;
        sqlx::raw_sql(sqlx::AssertSqlSafe(pragma)).execute(&mut writer.connection).await.unwrap();
    };
    let kept = job(None);
    store.commit(&Changes { jobs: vec![kept.clone()], ..Changes::default() }).await.unwrap();
    let (task, _) = with_task(&kept);
    let lines = (0..5_000).map(|line| format!("line {line} of a log that needs room")).collect();
    let mut many = Changes { jobs: vec![job(None)], tasks: vec![task], ..Changes::default() };
    many.logs.push(LogRecord { id: AttemptId { task: many.tasks[0].id, epoch: Epoch(1) }, lines });

    // What SQLite says then is what it says when the disk is full.
    limit(1).await;
    for _ in 0..2 {
        let error = store.commit(&many).await.unwrap_err().to_string();
        assert!(error.contains("cannot write to the job store") && error.contains("full"), "{error}");
        let listed = store.jobs(&JobFilter { limit: 10, ..JobFilter::default() }).await.unwrap();
        assert_eq!(listed, std::slice::from_ref(&kept), "reading goes on, and nothing of the batch is there");
    }
    limit(u32::MAX >> 1).await;
    store.commit(&many).await.unwrap();
    assert_eq!(store.job(many.jobs[0].id).await.unwrap().unwrap().job, many.jobs[0]);
}
