//! Statements that take many rows at once, so that the price of a commit is the disk and not the number of rows.

/// Those that differ only in how the database takes a list of rows, bound as JSON to `$1`, apart.
macro_rules! batches {
    ($rows:literal) => {
        const UPSERT_TASKS: &str = concat!(
            "INSERT INTO tasks (id, job, kind, state, epoch, published, queued_at, finished_at, history)
SELECT value->>0, value->>1, value->>2, value->>3, CAST(value->>4 AS BIGINT), CAST(value->>5 AS BIGINT),
    CAST(value->>6 AS BIGINT), CAST(value->>7 AS BIGINT), value->>8
FROM ",
            $rows,
            " WHERE true
ON CONFLICT (id) DO UPDATE SET
    state = excluded.state, epoch = excluded.epoch, published = excluded.published,
    queued_at = excluded.queued_at, finished_at = excluded.finished_at, history = excluded.history"
        );
        const UPSERT_ATTEMPTS: &str = concat!(
            "INSERT INTO attempts (task, epoch, job, state, worker, assigned_at, started_at, finished_at, details)
SELECT value->>0, CAST(value->>1 AS BIGINT), value->>2, value->>3, value->>4, CAST(value->>5 AS BIGINT),
    CAST(value->>6 AS BIGINT), CAST(value->>7 AS BIGINT), value->>8
FROM ",
            $rows,
            " WHERE true
ON CONFLICT (task, epoch) DO UPDATE SET
    state = excluded.state, started_at = excluded.started_at, finished_at = excluded.finished_at,
    details = excluded.details"
        );
        const UPSERT_LOGS: &str = concat!(
            "INSERT INTO attempt_logs (task, epoch, lines)
SELECT value->>0, CAST(value->>1 AS BIGINT), value->>2 FROM ",
            $rows,
            " WHERE true
ON CONFLICT (task, epoch) DO UPDATE SET lines = excluded.lines"
        );
        const UPSERT_IDEMPOTENCY: &str = concat!(
            "INSERT INTO idempotency_keys (owner, key, digest, job, submitted_at)
SELECT value->>0, value->>1, value->>2, value->>3, CAST(value->>4 AS BIGINT) FROM ",
            $rows,
            " WHERE true
ON CONFLICT (owner, key) DO UPDATE SET
    digest = excluded.digest, job = excluded.job, submitted_at = excluded.submitted_at"
        );
        const ADD_WEBHOOKS: &str = concat!(
            "INSERT INTO webhook_events (id, job, event, url, receiver, body, created_at, state, due_at, tries, attempts)
SELECT value->>0, value->>1, value->>2, value->>3, value->>4, value->>5, CAST(value->>6 AS BIGINT), value->>7, 0, 0, '[]'
FROM ",
            $rows,
            " WHERE true
ON CONFLICT (id) DO NOTHING"
        );
        const RAISE_FLOORS: &str = concat!(
            "INSERT INTO stream_sequences (name, floor)
SELECT value->>0, CAST(value->>1 AS BIGINT) FROM ",
            $rows,
            " WHERE true
ON CONFLICT (name) DO UPDATE SET floor = excluded.floor WHERE excluded.floor > stream_sequences.floor"
        );
    };
}
pub(super) use batches;
