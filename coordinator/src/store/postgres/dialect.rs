//! What PostgreSQL wants put its own way.

use common::api::WorkerRef;
use serde_json::{Value, json};

use super::text::storable;
use crate::{
    queue::{InputLocation, JobInput},
    store::{JobRecord, batch::batches, engine::Dialect, rows},
};

batches!("jsonb_array_elements($1::jsonb) AS rows (value)");

pub(super) const DIALECT: Dialect = Dialect {
    job,
    upsert_jobs: "
INSERT INTO jobs (id, state, owner, submitted_at, started_at, finished_at, request, worker, failure, result, priority,
    output_bytes, preset, named, objects, worker_name, failure_kind)
SELECT value->>0, value->>1, value->>2, (value->>3)::bigint, (value->>4)::bigint, (value->>5)::bigint, value->>6,
    value->>7, value->>8, value->>9, (value->>10)::bigint, (value->>11)::bigint, value->>12, value->>13, value->14,
    value->>15, value->>16
FROM jsonb_array_elements($1::jsonb) AS rows (value)
ON CONFLICT (id) DO UPDATE SET
    state = excluded.state, started_at = excluded.started_at, finished_at = excluded.finished_at,
    worker = excluded.worker, failure = excluded.failure, result = excluded.result, priority = excluded.priority,
    output_bytes = excluded.output_bytes, worker_name = excluded.worker_name, failure_kind = excluded.failure_kind",
    upsert_tasks: UPSERT_TASKS,
    upsert_attempts: UPSERT_ATTEMPTS,
    upsert_logs: UPSERT_LOGS,
    upsert_idempotency: UPSERT_IDEMPOTENCY,
    add_webhooks: ADD_WEBHOOKS,
    raise_floors: RAISE_FLOORS,
    tasks_of: "
SELECT * FROM tasks WHERE job IN (SELECT jsonb_array_elements_text($1::jsonb)) ORDER BY job, id",
    attempts_of: "
SELECT * FROM attempts WHERE job IN (SELECT jsonb_array_elements_text($1::jsonb)) ORDER BY job, task, epoch",
    objects_in_use: "
SELECT DISTINCT jsonb_array_elements_text(objects) AS object FROM jobs WHERE state IN ('queued', 'running')",
    due_webhooks: "
SELECT w.*, j.owner FROM webhook_events w JOIN jobs j ON j.id = w.job
WHERE w.due_at IS NOT NULL AND w.receiver = $1 AND w.due_at <= $2
    AND w.id NOT IN (SELECT jsonb_array_elements_text($3::jsonb))
ORDER BY w.due_at LIMIT $4",
    failure_kind: "failure_kind",
    preset: "preset",
    worker_name: "worker_name",
    named: "id || ' ' || named",
    position: "strpos",
};

/// The row of every database, and what SQLite finds in its JSON by itself.
fn job(job: &JobRecord) -> Value {
    let object = |input: &JobInput| match input.location() {
        InputLocation::Object(key) => Some(storable(key.as_str().into()).into_owned()),
        InputLocation::Url(_) | InputLocation::Path(_) | InputLocation::Bucket(_) => None,
    };
    let mut row = rows::job(job);
    row.extend([
        json!(job.request.preset),
        json!(job.request.input.name().to_ascii_lowercase()),
        json!(job.request.inputs().filter_map(object).collect::<Vec<_>>()),
        json!(job.worker.as_ref().map(|WorkerRef { name, .. }| name)),
        json!(job.failure.as_ref().map(|failure| failure.kind.as_str())),
    ]);
    Value::from(row)
}
