-- A file in a watched place, by what it was when it was found: each becomes one job.
CREATE TABLE watched (
    place     TEXT NOT NULL,              -- the watch's address and preset
    object    TEXT NOT NULL,              -- relative to it
    version   TEXT NOT NULL,              -- the store's name of it, or size and time
    job       TEXT NOT NULL,              -- chosen before it was submitted
    submitted INTEGER NOT NULL,           -- 0: the job may not be there yet
    seen_at   INTEGER NOT NULL,           -- milliseconds since the Unix epoch
    PRIMARY KEY (place, object, version)
) WITHOUT ROWID;
