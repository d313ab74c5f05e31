//! What SQLite wants put its own way.

use serde_json::Value;

use crate::store::{batch::batches, engine::Dialect, rows};

batches!("json_each($1)");

pub(super) const DIALECT: Dialect = Dialect {
    job: |job| Value::from(rows::job(job)),
    upsert_jobs: "
INSERT INTO jobs (id, state, owner, submitted_at, started_at, finished_at, request, worker, failure, result, priority,
    output_bytes)
SELECT value->>0, value->>1, value->>2, value->>3, value->>4, value->>5, value->>6, value->>7, value->>8, value->>9,
    value->>10, value->>11
FROM json_each($1) WHERE true
ON CONFLICT (id) DO UPDATE SET
    state = excluded.state, started_at = excluded.started_at, finished_at = excluded.finished_at,
    worker = excluded.worker, failure = excluded.failure, result = excluded.result, priority = excluded.priority,
    output_bytes = excluded.output_bytes",
    upsert_tasks: UPSERT_TASKS,
    upsert_attempts: UPSERT_ATTEMPTS,
    upsert_logs: UPSERT_LOGS,
    upsert_idempotency: UPSERT_IDEMPOTENCY,
    add_webhooks: ADD_WEBHOOKS,
    raise_floors: RAISE_FLOORS,
    tasks_of: "
SELECT tasks.* FROM json_each($1) AS wanted CROSS JOIN tasks ON tasks.job = wanted.value
ORDER BY tasks.job, tasks.id",
    attempts_of: "
SELECT attempts.* FROM json_each($1) AS wanted CROSS JOIN attempts ON attempts.job = wanted.value
ORDER BY attempts.job, attempts.task, attempts.epoch",
    objects_in_use: "
SELECT json_extract(request, '$.input.location.object') AS object
FROM jobs WHERE state IN ('queued', 'running') AND object IS NOT NULL
UNION SELECT json_extract(more.value, '$.location.object') AS object
FROM jobs, json_each(request, '$.more_inputs') AS more WHERE state IN ('queued', 'running') AND object IS NOT NULL",
    due_webhooks: "
SELECT w.*, j.owner FROM webhook_events w JOIN jobs j ON j.id = w.job
WHERE w.due_at IS NOT NULL AND w.receiver = $1 AND w.due_at <= $2
    AND w.id NOT IN (SELECT value FROM json_each($3))
ORDER BY w.due_at LIMIT $4",
    failure_kind: "json_extract(failure, '$.kind')",
    preset: "json_extract(request, '$.preset')",
    worker_name: "json_extract(worker, '$.name')",
    named: "lower(id || ' ' || coalesce(json_extract(request, '$.input.name'), \
            json_extract(request, '$.input.location.url'), json_extract(request, '$.input.location.path'), \
            json_extract(request, '$.input.location.bucket'), json_extract(request, '$.input.location.object'), ''))",
    position: "instr",
};
