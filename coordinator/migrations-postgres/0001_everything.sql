-- What the SQLite file of migration 9 holds (coordinator/migrations), in a schema of its own. JSON is kept as the text that was
-- written; what is searched by is in columns. Texts are compared byte by byte. Times are milliseconds since the Unix epoch.

-- Who keeps its jobs here now: a coordinator that lost its connection finds out whether another one came in between.
CREATE TABLE holder (
    one      BOOLEAN PRIMARY KEY DEFAULT true CHECK (one),
    instance TEXT NOT NULL
);

CREATE TABLE jobs (
    id           TEXT COLLATE "C" PRIMARY KEY, -- UUIDv7: sorts by time of submission
    state        TEXT COLLATE "C" NOT NULL,
    owner        TEXT COLLATE "C",
    priority     BIGINT NOT NULL,
    submitted_at BIGINT NOT NULL,
    started_at   BIGINT,
    finished_at  BIGINT,
    request      TEXT COLLATE "C" NOT NULL,    -- JSON, never changes
    worker       TEXT COLLATE "C",             -- JSON
    failure      TEXT COLLATE "C",             -- JSON
    result       TEXT COLLATE "C" NOT NULL,    -- JSON
    output_bytes BIGINT NOT NULL,              -- of what it published
    preset       TEXT COLLATE "C" NOT NULL,    -- of the request
    named        TEXT COLLATE "C" NOT NULL,    -- of the request: what the user knows the input by, in small letters
    objects      JSONB NOT NULL,               -- of the request: keys of the objects that are inputs
    worker_name  TEXT COLLATE "C",
    failure_kind TEXT COLLATE "C"
);

CREATE INDEX jobs_by_state ON jobs (state, id);
CREATE INDEX jobs_by_owner ON jobs (owner, id) WHERE owner IS NOT NULL;
CREATE INDEX jobs_by_owner_state ON jobs (owner, state) WHERE owner IS NOT NULL;
CREATE INDEX jobs_by_worker ON jobs (worker_name, id) WHERE worker IS NOT NULL;

CREATE TABLE tasks (
    id          TEXT COLLATE "C" PRIMARY KEY,
    job         TEXT COLLATE "C" NOT NULL,
    kind        TEXT COLLATE "C" NOT NULL,
    state       TEXT COLLATE "C" NOT NULL,
    epoch       BIGINT NOT NULL,
    published   BIGINT,                        -- epoch of the attempt whose files are the result
    queued_at   BIGINT NOT NULL,
    finished_at BIGINT,
    history     TEXT COLLATE "C" NOT NULL      -- JSON
);

CREATE INDEX tasks_by_job ON tasks (job);

CREATE TABLE attempts (
    task        TEXT COLLATE "C" NOT NULL,
    epoch       BIGINT NOT NULL,
    job         TEXT COLLATE "C" NOT NULL,
    state       TEXT COLLATE "C" NOT NULL,
    worker      TEXT COLLATE "C" NOT NULL,     -- JSON
    assigned_at BIGINT NOT NULL,
    started_at  BIGINT,
    finished_at BIGINT,
    details     TEXT COLLATE "C" NOT NULL,     -- JSON
    PRIMARY KEY (task, epoch)
);

CREATE INDEX attempts_by_job ON attempts (job);

CREATE TABLE attempt_logs (
    task  TEXT COLLATE "C" NOT NULL,
    epoch BIGINT NOT NULL,
    lines TEXT COLLATE "C" NOT NULL,           -- JSON list of strings
    PRIMARY KEY (task, epoch)
);

CREATE TABLE idempotency_keys (
    owner        TEXT COLLATE "C" NOT NULL,    -- empty: none
    key          TEXT COLLATE "C" NOT NULL,
    digest       TEXT COLLATE "C" NOT NULL,    -- SHA-256 of what was asked for, in hex
    job          TEXT COLLATE "C" NOT NULL,
    submitted_at BIGINT NOT NULL,
    PRIMARY KEY (owner, key)
);

CREATE INDEX idempotency_keys_by_age ON idempotency_keys (submitted_at);

-- What receivers of webhooks are to hear of jobs that ended: written in the commit that ends the job.
CREATE TABLE webhook_events (
    id         TEXT COLLATE "C" PRIMARY KEY,   -- the webhook-id, made of the job and its end
    job        TEXT COLLATE "C" NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    event      TEXT COLLATE "C" NOT NULL,
    url        TEXT COLLATE "C" NOT NULL,
    receiver   TEXT COLLATE "C" NOT NULL,      -- its host and port
    body       TEXT COLLATE "C" NOT NULL,      -- JSON, the same in every attempt
    created_at BIGINT NOT NULL,
    state      TEXT COLLATE "C" NOT NULL,
    due_at     BIGINT,                         -- of the next attempt; NULL: there is none
    tries      BIGINT NOT NULL,                -- since the event, or since somebody wanted it sent again
    attempts   TEXT COLLATE "C" NOT NULL       -- JSON list, the newest of them
);

CREATE INDEX webhook_events_by_job ON webhook_events (job);
CREATE INDEX webhook_events_due ON webhook_events (receiver, due_at) WHERE due_at IS NOT NULL;
CREATE INDEX webhook_events_over ON webhook_events (created_at) WHERE due_at IS NULL;

CREATE TABLE streams (
    id         TEXT COLLATE "C" PRIMARY KEY,
    name       TEXT COLLATE "C" NOT NULL UNIQUE,
    spec       TEXT COLLATE "C" NOT NULL,      -- JSON, never changes
    created_at BIGINT NOT NULL
);

-- Outlives its stream, as viewers know a stream by its name; streams of the configuration file have a row here only.
CREATE TABLE stream_sequences (
    name  TEXT COLLATE "C" PRIMARY KEY,
    floor BIGINT NOT NULL                      -- no media sequence from here on was ever given away
);

-- Uploads that come in pieces (tus): from their creation until they are removed.
CREATE TABLE uploads (
    id         TEXT COLLATE "C" PRIMARY KEY,
    details    TEXT COLLATE "C" NOT NULL,      -- JSON, never changes
    length     BIGINT,                         -- bytes of the whole; NULL while nobody has said
    received   BIGINT NOT NULL,                -- bytes that are on disk, without a hole
    placed     BOOLEAN NOT NULL,               -- it is whole, and an object
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL                 -- of no meaning once it is placed
);

-- Uploads of keys without an owner have no row.
CREATE TABLE upload_owners (
    upload TEXT COLLATE "C" PRIMARY KEY,
    owner  TEXT COLLATE "C" NOT NULL,
    bytes  BIGINT NOT NULL                     -- that the owner is charged for
);

CREATE TABLE watched (
    place     TEXT COLLATE "C" NOT NULL,       -- the watch's address and preset
    object    TEXT COLLATE "C" NOT NULL,       -- relative to it
    version   TEXT COLLATE "C" NOT NULL,       -- the store's name of it, or size and time
    job       TEXT COLLATE "C" NOT NULL,       -- chosen before it was submitted
    submitted BOOLEAN NOT NULL,                -- false: the job may not be there yet
    seen_at   BIGINT NOT NULL,
    PRIMARY KEY (place, object, version)
);

CREATE TABLE api_keys (
    id         TEXT COLLATE "C" PRIMARY KEY,
    digest     TEXT COLLATE "C" NOT NULL UNIQUE, -- SHA-256 of the key, in hex
    hint       TEXT COLLATE "C" NOT NULL,      -- the key's beginning, for people
    owner      TEXT COLLATE "C",
    scopes     TEXT COLLATE "C" NOT NULL,      -- JSON list
    name       TEXT COLLATE "C",
    created_at BIGINT NOT NULL,
    expires_at BIGINT,
    revoked_at BIGINT
);

-- Owners whose quotas differ from the configured ones.
CREATE TABLE owner_quotas (
    owner  TEXT COLLATE "C" PRIMARY KEY,
    quotas TEXT COLLATE "C" NOT NULL           -- JSON
);

-- What owners hold in the farm's storage, in bytes. The triggers keep the sums in the transaction of the rows that they are
-- sums of.
CREATE TABLE owner_bytes (
    owner   TEXT COLLATE "C" PRIMARY KEY,
    uploads BIGINT NOT NULL,
    outputs BIGINT NOT NULL
);

CREATE FUNCTION hold(who TEXT, more_uploads BIGINT, more_outputs BIGINT) RETURNS void LANGUAGE sql AS $$
    INSERT INTO owner_bytes AS held (owner, uploads, outputs) VALUES (who, more_uploads, more_outputs)
    ON CONFLICT (owner) DO UPDATE SET
        uploads = held.uploads + excluded.uploads, outputs = held.outputs + excluded.outputs;
$$;

CREATE FUNCTION let_go(who TEXT, fewer_uploads BIGINT, fewer_outputs BIGINT) RETURNS void LANGUAGE sql AS $$
    UPDATE owner_bytes SET uploads = uploads - fewer_uploads, outputs = outputs - fewer_outputs WHERE owner = who;
    DELETE FROM owner_bytes WHERE owner = who AND uploads = 0 AND outputs = 0;
$$;

CREATE FUNCTION job_inserted() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM hold(new.owner, 0, new.output_bytes);
    RETURN NULL;
END $$;

CREATE FUNCTION job_published() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM hold(new.owner, 0, new.output_bytes - old.output_bytes);
    RETURN NULL;
END $$;

CREATE FUNCTION job_removed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM let_go(old.owner, 0, old.output_bytes);
    RETURN NULL;
END $$;

CREATE FUNCTION upload_charged() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM hold(new.owner, new.bytes, 0);
    RETURN NULL;
END $$;

CREATE FUNCTION upload_recharged() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM hold(new.owner, new.bytes - old.bytes, 0);
    RETURN NULL;
END $$;

CREATE FUNCTION upload_released() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM let_go(old.owner, old.bytes, 0);
    RETURN NULL;
END $$;

CREATE FUNCTION upload_grown() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE upload_owners SET bytes = coalesce(new.length, new.received) WHERE upload = new.id;
    RETURN NULL;
END $$;

CREATE TRIGGER jobs_inserted AFTER INSERT ON jobs FOR EACH ROW
WHEN (new.owner IS NOT NULL AND new.output_bytes > 0) EXECUTE FUNCTION job_inserted();

CREATE TRIGGER jobs_published AFTER UPDATE OF output_bytes ON jobs FOR EACH ROW
WHEN (new.owner IS NOT NULL AND new.output_bytes <> old.output_bytes) EXECUTE FUNCTION job_published();

CREATE TRIGGER jobs_removed AFTER DELETE ON jobs FOR EACH ROW
WHEN (old.owner IS NOT NULL AND old.output_bytes > 0) EXECUTE FUNCTION job_removed();

CREATE TRIGGER uploads_charged AFTER INSERT ON upload_owners FOR EACH ROW EXECUTE FUNCTION upload_charged();

CREATE TRIGGER uploads_recharged AFTER UPDATE OF bytes ON upload_owners FOR EACH ROW
WHEN (new.bytes <> old.bytes) EXECUTE FUNCTION upload_recharged();

CREATE TRIGGER uploads_released AFTER DELETE ON upload_owners FOR EACH ROW EXECUTE FUNCTION upload_released();

CREATE TRIGGER uploads_grown AFTER UPDATE OF length, received ON uploads FOR EACH ROW
WHEN (coalesce(new.length, new.received) <> coalesce(old.length, old.received)) EXECUTE FUNCTION upload_grown();
