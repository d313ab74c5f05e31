-- What receivers of webhooks are to hear of jobs that ended: written in the commit that ends the job.
CREATE TABLE webhook_events (
    id         TEXT PRIMARY KEY NOT NULL, -- the webhook-id, made of the job and its end
    job        TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    event      TEXT NOT NULL,
    url        TEXT NOT NULL,
    receiver   TEXT NOT NULL,             -- its host and port
    body       TEXT NOT NULL,             -- JSON, the same in every attempt
    created_at INTEGER NOT NULL,          -- milliseconds since the Unix epoch, as all times here
    state      TEXT NOT NULL,
    due_at     INTEGER,                   -- of the next attempt; NULL: there is none
    tries      INTEGER NOT NULL,          -- since the event, or since somebody wanted it sent again
    attempts   TEXT NOT NULL              -- JSON list, the newest of them
) WITHOUT ROWID;

CREATE INDEX webhook_events_by_job ON webhook_events (job);
CREATE INDEX webhook_events_due ON webhook_events (receiver, due_at) WHERE due_at IS NOT NULL;
CREATE INDEX webhook_events_over ON webhook_events (created_at) WHERE due_at IS NULL;
