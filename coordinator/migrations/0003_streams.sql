CREATE TABLE streams (
    id         TEXT PRIMARY KEY NOT NULL, -- UUIDv7: sorts by time of creation
    name       TEXT NOT NULL UNIQUE,
    spec       TEXT NOT NULL,             -- JSON, never changes
    created_at INTEGER NOT NULL           -- milliseconds since the Unix epoch
) WITHOUT ROWID;

-- Outlives its stream, as viewers know a stream by its name; streams of the configuration file have a row here only.
CREATE TABLE stream_sequences (
    name  TEXT PRIMARY KEY NOT NULL,
    floor INTEGER NOT NULL                -- no media sequence from here on was ever given away
) WITHOUT ROWID;
