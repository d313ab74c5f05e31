-- Uploads that come in pieces (tus): from their creation until they are removed.
CREATE TABLE uploads (
    id         TEXT PRIMARY KEY NOT NULL, -- UUIDv7: sorts by time of creation
    details    TEXT NOT NULL,             -- JSON, never changes
    length     INTEGER,                   -- bytes of the whole; NULL while nobody has said
    received   INTEGER NOT NULL,          -- bytes that are on disk, without a hole
    placed     INTEGER NOT NULL,          -- 1: it is whole, and an object
    created_at INTEGER NOT NULL,          -- milliseconds since the Unix epoch
    expires_at INTEGER NOT NULL           -- the same; of no meaning once it is placed
) WITHOUT ROWID;
