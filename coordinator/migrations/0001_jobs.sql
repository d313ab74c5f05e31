CREATE TABLE jobs (
    id           TEXT PRIMARY KEY NOT NULL, -- UUIDv7: sorts by time of submission
    state        TEXT NOT NULL,
    owner        TEXT,
    submitted_at INTEGER NOT NULL,          -- milliseconds since the Unix epoch, as all times here
    started_at   INTEGER,
    finished_at  INTEGER,
    request      TEXT NOT NULL,             -- JSON, never changes
    worker       TEXT,                      -- JSON
    failure      TEXT,                      -- JSON
    result       TEXT NOT NULL              -- JSON
) WITHOUT ROWID;

CREATE INDEX jobs_by_state ON jobs (state, id);
CREATE INDEX jobs_by_owner ON jobs (owner, id) WHERE owner IS NOT NULL;

CREATE TABLE tasks (
    id          TEXT PRIMARY KEY NOT NULL,
    job         TEXT NOT NULL,
    kind        TEXT NOT NULL,
    state       TEXT NOT NULL,
    epoch       INTEGER NOT NULL,
    published   INTEGER,                    -- epoch of the attempt whose files are the result
    queued_at   INTEGER NOT NULL,
    finished_at INTEGER,
    history     TEXT NOT NULL               -- JSON
) WITHOUT ROWID;

CREATE INDEX tasks_by_job ON tasks (job);

CREATE TABLE attempts (
    task        TEXT NOT NULL,
    epoch       INTEGER NOT NULL,
    job         TEXT NOT NULL,
    state       TEXT NOT NULL,
    worker      TEXT NOT NULL,              -- JSON
    assigned_at INTEGER NOT NULL,
    started_at  INTEGER,
    finished_at INTEGER,
    details     TEXT NOT NULL,              -- JSON
    PRIMARY KEY (task, epoch)
) WITHOUT ROWID;

CREATE INDEX attempts_by_job ON attempts (job);

CREATE TABLE attempt_logs (
    task  TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    lines TEXT NOT NULL,                    -- JSON list of strings
    PRIMARY KEY (task, epoch)
) WITHOUT ROWID;
