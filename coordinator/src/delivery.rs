//! Delivers what jobs have published to where they want it.
//!
//! The queue says what and when, and decides what follows from a failure. Each object is there whole or not at all, and
//! playlists come after what they name.

use std::collections::HashMap;

use common::{
    id::{AttemptId, JobId},
    worker::OutputFile,
};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use tokio::{
    sync::{Semaphore, mpsc},
    task::{AbortHandle, JoinSet},
};
use tokio_util::sync::CancellationToken;

use crate::{
    queue::{Delivered, Delivery, DeliveryOrder, Handle},
    storage::{
        Error, Key, RelPath, Storage,
        address::Address,
        buckets::{Buckets, delivery_rank},
    },
};

/// Jobs that are delivered at the same time.
const JOBS: usize = 4;
/// Files of a job on their way at the same time.
const FILES: usize = 4;

/// Carries out what the queue orders.
pub(crate) struct Deliverer {
    pub(crate) storage: Storage,
    pub(crate) buckets: Buckets,
    pub(crate) queue: Handle,
}

impl Deliverer {
    /// Until `stop`. What is under way then begins anew with the next start.
    pub(crate) async fn run(
        self,
        mut orders: mpsc::UnboundedReceiver<DeliveryOrder>,
        stop: CancellationToken,
    ) {
        let room = Semaphore::new(JOBS);
        let (this, room) = (std::sync::Arc::new(self), std::sync::Arc::new(room));
        let mut under_way: HashMap<JobId, AbortHandle> = HashMap::new();
        // Aborted when it is dropped.
        let mut tries = JoinSet::new();
        loop {
            let order = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                Some(_) = tries.join_next() => {
                    under_way.retain(|_, handle| !handle.is_finished());
                    continue;
                }
                order = orders.recv() => match order {
                    Some(order) => order,
                    None => return,
                },
            };
            match order {
                DeliveryOrder::Begin(delivery) => {
                    let (this, room, job) = (this.clone(), room.clone(), delivery.job);
                    let handle = tries.spawn(async move {
                        let _room = room.acquire().await;
                        let outcome = this.deliver(&delivery).await;
                        this.queue.delivered(job, delivery.number, outcome).await;
                    });
                    if let Some(before) = under_way.insert(job, handle) {
                        before.abort();
                    }
                }
                DeliveryOrder::Stop(job) => {
                    if let Some(handle) = under_way.remove(&job) {
                        handle.abort();
                    }
                }
            }
        }
    }

    async fn deliver(&self, delivery: &Delivery) -> Delivered {
        let to: Address = match delivery.to.parse() {
            Ok(to) => to,
            Err(error) => return Delivered::Refused(format!("{error}")),
        };
        if let Err(refused) = self.buckets.check(&to) {
            return Delivered::Refused(format!("{to} {refused}"));
        }
        let mut files: Vec<_> = delivery.files.iter().collect();
        files.sort_by_key(|(_, file)| delivery_rank(&file.path));
        // Playlists one after the other, when everything else is there.
        let playlists = files.partition_point(|(_, file)| !delivery_rank(&file.path).0);
        for (batch, at_once) in [(&files[..playlists], FILES), (&files[playlists..], 1)] {
            let mut copies = Vec::with_capacity(batch.len());
            for (attempt, file) in batch {
                copies.push(self.copy(delivery.job, *attempt, file, &to));
            }
            let copied: Result<(), _> = stream::iter(copies).buffered(at_once).try_collect().await;
            if let Err((object, error)) = copied {
                let problem = format!("{object}: {error}");
                return match error {
                    // Neither changes by itself.
                    Error::Denied { .. } | Error::NotFound(_) => Delivered::Refused(problem),
                    _ => Delivered::Failed(problem),
                };
            }
        }
        tracing::info!(job = %delivery.job, %to, files = files.len(), "delivered");
        Delivered::Done
    }

    async fn copy(
        &self,
        job: JobId,
        attempt: AttemptId,
        file: &OutputFile,
        to: &Address,
    ) -> Result<(), (Address, Error)> {
        let to = to.join(&file.path);
        let Ok(path) = RelPath::parse(&file.path) else {
            return Err((to, Error::NotFound(file.path.clone())));
        };
        let key = Key::output(job, attempt, &path);
        self.buckets.deliver(&self.storage, &key, file, &to).await.map_err(|error| (to, error))
    }
}
