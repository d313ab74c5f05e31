CREATE TABLE api_keys (
    id         TEXT PRIMARY KEY NOT NULL, -- UUIDv7: sorts by time of creation
    digest     TEXT NOT NULL UNIQUE,      -- SHA-256 of the key, in hex
    hint       TEXT NOT NULL,             -- the key's beginning, for people
    owner      TEXT,
    scopes     TEXT NOT NULL,             -- JSON list
    name       TEXT,
    created_at INTEGER NOT NULL,          -- milliseconds since the Unix epoch, as all times here
    expires_at INTEGER,
    revoked_at INTEGER
) WITHOUT ROWID;

-- Uploads of keys without an owner have no row.
CREATE TABLE upload_owners (
    upload TEXT PRIMARY KEY NOT NULL,
    owner  TEXT NOT NULL
) WITHOUT ROWID;

-- Owners whose quotas differ from the configured ones.
CREATE TABLE owner_quotas (
    owner  TEXT PRIMARY KEY NOT NULL,
    quotas TEXT NOT NULL                  -- JSON
) WITHOUT ROWID;

CREATE TABLE idempotency_keys (
    owner        TEXT NOT NULL,           -- empty: none
    key          TEXT NOT NULL,
    digest       TEXT NOT NULL,           -- SHA-256 of what was asked for, in hex
    job          TEXT NOT NULL,
    submitted_at INTEGER NOT NULL,
    PRIMARY KEY (owner, key)
) WITHOUT ROWID;

CREATE INDEX idempotency_keys_by_age ON idempotency_keys (submitted_at);

-- NULL: as it was submitted.
ALTER TABLE jobs ADD COLUMN priority INTEGER;
