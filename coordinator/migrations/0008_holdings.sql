-- What owners hold in the farm's storage, in bytes. The triggers keep the sums in the transaction of the rows that they are
-- sums of: one look says what an owner holds, and a crash leaves no difference.
CREATE TABLE owner_bytes (
    owner   TEXT PRIMARY KEY NOT NULL,
    uploads INTEGER NOT NULL,
    outputs INTEGER NOT NULL
) WITHOUT ROWID;

-- Of what a job published.
ALTER TABLE jobs ADD COLUMN output_bytes INTEGER NOT NULL DEFAULT 0;
-- Of an upload in one request its size; of one in pieces its length, or as many as came while nobody has said it.
ALTER TABLE upload_owners ADD COLUMN bytes INTEGER NOT NULL DEFAULT 0;

CREATE TRIGGER jobs_inserted AFTER INSERT ON jobs WHEN new.owner IS NOT NULL AND new.output_bytes > 0
BEGIN
    INSERT INTO owner_bytes (owner, uploads, outputs) VALUES (new.owner, 0, new.output_bytes)
    ON CONFLICT (owner) DO UPDATE SET outputs = outputs + excluded.outputs;
END;

CREATE TRIGGER jobs_published AFTER UPDATE OF output_bytes ON jobs
WHEN new.owner IS NOT NULL AND new.output_bytes <> old.output_bytes
BEGIN
    INSERT INTO owner_bytes (owner, uploads, outputs) VALUES (new.owner, 0, new.output_bytes - old.output_bytes)
    ON CONFLICT (owner) DO UPDATE SET outputs = outputs + excluded.outputs;
END;

CREATE TRIGGER jobs_removed AFTER DELETE ON jobs WHEN old.owner IS NOT NULL AND old.output_bytes > 0
BEGIN
    UPDATE owner_bytes SET outputs = outputs - old.output_bytes WHERE owner = old.owner;
    DELETE FROM owner_bytes WHERE owner = old.owner AND uploads = 0 AND outputs = 0;
END;

CREATE TRIGGER uploads_charged AFTER INSERT ON upload_owners
BEGIN
    INSERT INTO owner_bytes (owner, uploads, outputs) VALUES (new.owner, new.bytes, 0)
    ON CONFLICT (owner) DO UPDATE SET uploads = uploads + excluded.uploads;
END;

CREATE TRIGGER uploads_recharged AFTER UPDATE OF bytes ON upload_owners WHEN new.bytes <> old.bytes
BEGIN
    UPDATE owner_bytes SET uploads = uploads + new.bytes - old.bytes WHERE owner = new.owner;
END;

CREATE TRIGGER uploads_released AFTER DELETE ON upload_owners
BEGIN
    UPDATE owner_bytes SET uploads = uploads - old.bytes WHERE owner = old.owner;
    DELETE FROM owner_bytes WHERE owner = old.owner AND uploads = 0 AND outputs = 0;
END;

CREATE TRIGGER uploads_grown AFTER UPDATE OF length, received ON uploads
WHEN coalesce(new.length, new.received) <> coalesce(old.length, old.received)
BEGIN
    UPDATE upload_owners SET bytes = coalesce(new.length, new.received) WHERE upload = new.id;
END;

UPDATE jobs SET output_bytes =
    (SELECT coalesce(sum(file.value->>'size'), 0) FROM json_each(jobs.result, '$.outputs') AS file)
WHERE owner IS NOT NULL;
-- Those in one request are charged by the first sweep, which knows their sizes.
INSERT INTO owner_bytes (owner, uploads, outputs) SELECT DISTINCT owner, 0, 0 FROM upload_owners WHERE true
ON CONFLICT (owner) DO NOTHING;
UPDATE upload_owners SET bytes = coalesce(
    (SELECT coalesce(uploads.length, uploads.received) FROM uploads WHERE uploads.id = upload_owners.upload), 0);
