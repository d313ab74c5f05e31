-- For lists of jobs by worker, and for how many of an owner's jobs are in which state.
CREATE INDEX jobs_by_worker ON jobs (json_extract(worker, '$.name')) WHERE worker IS NOT NULL;
CREATE INDEX jobs_by_owner_state ON jobs (owner, state) WHERE owner IS NOT NULL;
