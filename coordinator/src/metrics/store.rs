//! A job store that counts and times what is asked of it.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use common::{
    api::{JobState, Quotas},
    id::JobId,
};
use futures::{FutureExt as _, future::BoxFuture, stream::BoxStream};

use super::Operations;
use crate::{
    queue::JobFilter,
    store::{Changes, Error, IdempotencyRecord, JobRecord, JobStore, LogRecord, StoredJob},
};

/// Another store, timed.
pub(crate) struct TimedStore {
    inner: Arc<dyn JobStore>,
    operations: Operations,
}

impl TimedStore {
    pub(crate) fn new(inner: Arc<dyn JobStore>, operations: Operations) -> Self {
        Self { inner, operations }
    }
}

impl JobStore for TimedStore {
    fn commit<'a>(&'a self, changes: &'a Changes) -> BoxFuture<'a, Result<(), Error>> {
        self.operations.time("commit", self.inner.commit(changes)).boxed()
    }

    /// As long as who reads it takes: not timed.
    fn unfinished(&self) -> BoxStream<'_, Result<StoredJob, Error>> {
        self.inner.unfinished()
    }

    fn objects_in_use(&self) -> BoxFuture<'_, Result<HashSet<String>, Error>> {
        self.operations.time("objects_in_use", self.inner.objects_in_use()).boxed()
    }

    fn job(&self, id: JobId) -> BoxFuture<'_, Result<Option<StoredJob>, Error>> {
        self.operations.time("job", self.inner.job(id)).boxed()
    }

    fn jobs<'a>(&'a self, filter: &'a JobFilter) -> BoxFuture<'a, Result<Vec<JobRecord>, Error>> {
        self.operations.time("jobs", self.inner.jobs(filter)).boxed()
    }

    fn job_counts<'a>(
        &'a self,
        owner: Option<&'a str>,
    ) -> BoxFuture<'a, Result<BTreeMap<JobState, u64>, Error>> {
        self.operations.time("job_counts", self.inner.job_counts(owner)).boxed()
    }

    fn logs(&self, job: JobId) -> BoxFuture<'_, Result<Vec<LogRecord>, Error>> {
        self.operations.time("logs", self.inner.logs(job)).boxed()
    }

    fn idempotency_keys(&self, since: i64) -> BoxFuture<'_, Result<Vec<IdempotencyRecord>, Error>> {
        self.operations.time("idempotency_keys", self.inner.idempotency_keys(since)).boxed()
    }

    fn quotas(&self) -> BoxFuture<'_, Result<BTreeMap<String, Quotas>, Error>> {
        self.operations.time("quotas", self.inner.quotas()).boxed()
    }

    fn set_quotas<'a>(&'a self, owner: &'a str, quotas: Option<Quotas>) -> BoxFuture<'a, Result<(), Error>> {
        self.operations.time("set_quotas", self.inner.set_quotas(owner, quotas)).boxed()
    }

    fn remove_job(&self, id: JobId) -> BoxFuture<'_, Result<(), Error>> {
        self.operations.time("remove_job", self.inner.remove_job(id)).boxed()
    }

    fn ready(&self) -> BoxFuture<'_, Result<(), Error>> {
        self.operations.time("ready", self.inner.ready()).boxed()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.inner.close()
    }
}
