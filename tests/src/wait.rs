//! Waiting for a condition, with a deadline.

use std::{
    future::Future,
    time::{Duration, Instant},
};

/// How often a condition is looked at.
const INTERVAL: Duration = Duration::from_millis(20);

/// Looks again and again until `condition` gives something.
///
/// # Panics
/// It gave nothing within `deadline`; `what` is in the message.
pub async fn until<T, F, Fut>(deadline: Duration, what: &str, condition: F) -> T
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Option<T>>,
{
    match try_until(deadline, condition).await {
        Some(value) => value,
        None => panic!("waited {deadline:?} in vain for {what}"),
    }
}

/// The same, `None` at the deadline.
pub async fn try_until<T, F, Fut>(deadline: Duration, mut condition: F) -> Option<T>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Option<T>>,
{
    let end = Instant::now() + deadline;
    loop {
        if let Some(value) = condition().await {
            return Some(value);
        }
        if Instant::now() >= end {
            return None;
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

#[must_use]
pub const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Lets a fault last. For nothing else: what a test waits for has a condition.
pub async fn pause(duration: Duration) {
    tokio::time::sleep(duration).await;
}
