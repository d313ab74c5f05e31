//! What is read, as SQL.

use sqlx::{QueryBuilder, Sqlite};

use crate::queue::JobFilter;

/// Unfinished jobs after id ?1, oldest first, ?2 at most. Each half reads its part of `jobs_by_state` in order.
pub(super) const UNFINISHED: &str = "
SELECT jobs.* FROM (
    SELECT id FROM jobs WHERE state = 'queued' AND id > ?1
    UNION ALL
    SELECT id FROM jobs WHERE state = 'running' AND id > ?1
    ORDER BY id LIMIT ?2
) AS unfinished JOIN jobs ON jobs.id = unfinished.id
ORDER BY jobs.id";

/// Tasks of the jobs in the JSON list ?1.
pub(super) const TASKS_OF: &str = "
SELECT tasks.* FROM json_each(?1) AS wanted CROSS JOIN tasks ON tasks.job = wanted.value
ORDER BY tasks.job, tasks.id";

/// Attempts of the jobs in the JSON list ?1.
pub(super) const ATTEMPTS_OF: &str = "
SELECT attempts.* FROM json_each(?1) AS wanted CROSS JOIN attempts ON attempts.job = wanted.value
ORDER BY attempts.job, attempts.task, attempts.epoch";

/// Keys of the objects that unfinished jobs read.
pub(super) const OBJECTS_IN_USE: &str = "
SELECT json_extract(request, '$.input.location.object') AS object
FROM jobs WHERE state IN ('queued', 'running') AND object IS NOT NULL
UNION SELECT json_extract(more.value, '$.location.object') AS object
FROM jobs, json_each(request, '$.more_inputs') AS more WHERE state IN ('queued', 'running') AND object IS NOT NULL";

/// The beginning of a condition: the id or the name that the user knows the input by has what is bound next, in small letters. No
/// index knows it: rows are read, newest first, until there are enough.
const NAMED: &str = " AND instr(lower(id || ' ' || coalesce(json_extract(request, '$.input.name'), \
                     json_extract(request, '$.input.location.url'), json_extract(request, '$.input.location.path'), \
                     json_extract(request, '$.input.location.bucket'), json_extract(request, '$.input.location.object'), \
                     '')), ";

/// How many jobs are in each state, by an index alone.
pub(super) const COUNTS: &str = "SELECT state, count(*) FROM jobs GROUP BY state";
/// The same of the owner ?1.
pub(super) const COUNTS_OF: &str = "SELECT state, count(*) FROM jobs WHERE owner = ?1 GROUP BY state";

/// Jobs of a list, newest first. One part for each state, so that every part comes out of an index in order and the
/// limit ends the reading, however many jobs are in another state.
pub(super) fn jobs(filter: &JobFilter) -> QueryBuilder<Sqlite> {
    let mut query = QueryBuilder::new("");
    let mut states: Vec<Option<&str>> = filter.states.iter().map(|state| Some(state.as_str())).collect();
    states.sort_unstable();
    states.dedup();
    if states.is_empty() {
        states.push(None);
    }
    for (index, state) in states.into_iter().enumerate() {
        if index > 0 {
            query.push(" UNION ALL ");
        }
        query.push("SELECT * FROM jobs WHERE true");
        if let Some(state) = state {
            query.push(" AND state = ").push_bind(state.to_owned());
        }
        if let Some(owner) = &filter.owner {
            query.push(" AND owner = ").push_bind(owner.clone());
        }
        if let Some(kind) = filter.kind {
            query.push(" AND json_extract(failure, '$.kind') = ").push_bind(kind.as_str());
        }
        if let Some(preset) = &filter.preset {
            query.push(" AND json_extract(request, '$.preset') = ").push_bind(preset.clone());
        }
        if let Some(worker) = &filter.worker {
            query
                .push(" AND worker IS NOT NULL AND json_extract(worker, '$.name') = ")
                .push_bind(worker.clone());
        }
        if let Some(text) = &filter.text {
            query.push(NAMED).push_bind(text.to_ascii_lowercase()).push(") > 0");
        }
        if let Some(before) = filter.before {
            query.push(" AND id < ").push_bind(before.to_string());
        }
    }
    query.push(" ORDER BY id DESC LIMIT ").push_bind(filter.limit);
    query
}
