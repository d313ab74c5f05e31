//! What is read of jobs, as SQL.

use super::engine::{Bound, Dialect, Query};
use crate::queue::JobFilter;

/// Unfinished jobs after id $1, oldest first, $2 at most. Each half reads its part of `jobs_by_state` in order, and ends.
pub(super) const UNFINISHED: &str = "
SELECT jobs.* FROM (
    SELECT id FROM (SELECT id FROM jobs WHERE state = 'queued' AND id > $1 ORDER BY id LIMIT $2) AS queued
    UNION ALL
    SELECT id FROM (SELECT id FROM jobs WHERE state = 'running' AND id > $1 ORDER BY id LIMIT $2) AS running
    ORDER BY id LIMIT $2
) AS unfinished JOIN jobs ON jobs.id = unfinished.id
ORDER BY jobs.id";

/// How many jobs are in each state, by an index alone.
pub(super) const COUNTS: &str = "SELECT state, count(*) AS count FROM jobs GROUP BY state";
/// The same of the owner $1.
pub(super) const COUNTS_OF: &str =
    "SELECT state, count(*) AS count FROM jobs WHERE owner = $1 GROUP BY state";

/// A statement that grows.
#[derive(Default)]
struct Builder {
    statement: String,
    bound: Vec<Bound<'static>>,
}

impl Builder {
    fn push(&mut self, words: &str) -> &mut Self {
        self.statement.push_str(words);
        self
    }

    fn bind(&mut self, value: impl Into<Bound<'static>>) -> &mut Self {
        self.bound.push(value.into());
        let place = format!("${}", self.bound.len());
        self.push(&place)
    }
}

/// Jobs of a list, newest first. One part for each state, each with the limit, so that every part comes out of an index in
/// order and its reading ends, however many jobs are in another state.
pub(super) fn jobs(filter: &JobFilter, dialect: &Dialect) -> Query<'static> {
    let mut query = Builder::default();
    let mut states: Vec<Option<&str>> = filter.states.iter().map(|state| Some(state.as_str())).collect();
    states.sort_unstable();
    states.dedup();
    if states.is_empty() {
        states.push(None);
    }
    let parts = states.len();
    for (index, state) in states.into_iter().enumerate() {
        if index > 0 {
            query.push(" UNION ALL ");
        }
        if parts > 1 {
            query.push("SELECT * FROM (");
        }
        query.push("SELECT * FROM jobs WHERE true");
        let mut equals = |expression: &str, value: Option<&str>| {
            if let Some(value) = value {
                query.push(" AND ").push(expression).push(" = ").bind(value.to_owned());
            }
        };
        equals("state", state);
        equals("owner", filter.owner.as_deref());
        equals(dialect.failure_kind, filter.kind.map(|kind| kind.as_str()));
        equals(dialect.preset, filter.preset.as_deref());
        if let Some(worker) = &filter.worker {
            query.push(" AND worker IS NOT NULL AND ").push(dialect.worker_name).push(" = ");
            query.bind(worker.clone());
        }
        if let Some(text) = &filter.text {
            // No index knows it: rows are read, newest first, until there are enough.
            query.push(" AND ").push(dialect.position).push("(").push(dialect.named).push(", ");
            query.bind(text.to_ascii_lowercase()).push(") > 0");
        }
        if let Some(before) = filter.before {
            query.push(" AND id < ").bind(before.to_string());
        }
        query.push(" ORDER BY id DESC LIMIT ").bind(filter.limit);
        if parts > 1 {
            query.push(&format!(") AS part_{index}"));
        }
    }
    if parts > 1 {
        query.push(" ORDER BY id DESC LIMIT ").bind(filter.limit);
    }
    Query { bound: query.bound, ..Query::composed(query.statement) }
}
