//! Whether an attempt is current, for those who ask often.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use common::id::AttemptId;
use tokio::time::Instant;

use crate::queue::{self, Handle};

/// How long a yes holds for reading: ffmpeg asks for ranges again and again, and each question waits for the queue's
/// turn. Who reads an input for that much longer does no harm; writing asks the queue itself.
const HOLDS: Duration = Duration::from_secs(1);
/// Answers that are kept before old ones are dropped.
const KEPT: usize = 1024;

#[derive(Clone)]
pub(super) struct Current {
    queue: Handle,
    seen: Arc<Mutex<HashMap<AttemptId, Instant>>>,
}

impl Current {
    pub(super) fn new(queue: Handle) -> Self {
        Self { queue, seen: Arc::default() }
    }

    /// For reading: may be [`HOLDS`] old.
    pub(super) async fn lately(&self, attempt: AttemptId) -> Result<bool, queue::Error> {
        let asked = Instant::now();
        let fresh = |seen: &Instant| asked.saturating_duration_since(*seen) < HOLDS;
        if self.seen.lock().unwrap_or_else(PoisonError::into_inner).get(&attempt).is_some_and(fresh) {
            return Ok(true);
        }
        let current = self.now(attempt).await?;
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if current {
            if seen.len() >= KEPT {
                seen.retain(|_, seen| fresh(seen));
            }
            seen.insert(attempt, asked);
        } else {
            seen.remove(&attempt);
        }
        Ok(current)
    }

    /// For writing.
    pub(super) async fn now(&self, attempt: AttemptId) -> Result<bool, queue::Error> {
        self.queue.is_current(attempt).await
    }
}
