//! The newest progress of each job, so that none is told of more often than once a second.

use std::{collections::HashMap, time::Duration};

use common::{
    api::{Event, ProgressView},
    id::JobId,
};
use tokio::time::Instant;

/// Between one telling and the next.
const EVERY: Duration = Duration::from_secs(1);

#[derive(Default)]
pub(super) struct Window {
    waiting: HashMap<JobId, (Option<String>, ProgressView)>,
    last: Option<Instant>,
}

impl Window {
    pub(super) fn put(&mut self, job: JobId, owner: Option<String>, progress: ProgressView) {
        self.waiting.insert(job, (owner, progress));
    }

    pub(super) fn forget(&mut self, job: JobId) {
        self.waiting.remove(&job);
    }

    /// When what waits is to be told: at once after a quiet second. `None`: nothing waits.
    pub(super) fn due(&self, now: Instant) -> Option<Instant> {
        let at = self.last.map_or(now, |last| last + EVERY);
        (!self.waiting.is_empty()).then_some(at)
    }

    pub(super) fn take(&mut self, now: Instant) -> impl Iterator<Item = Event> + use<> {
        self.last = Some(now);
        let waiting = std::mem::take(&mut self.waiting);
        waiting.into_iter().map(|(job, (owner, progress))| Event::Progress { job, owner, progress })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_of_each_job_is_told_at_once_and_then_once_a_second() {
        let (mut window, now, job) = (Window::default(), Instant::now(), JobId::new());
        let put = |window: &mut Window, percent| {
            let progress =
                ProgressView { percent: Some(percent), eta_seconds: None, progress: Default::default() };
            window.put(job, None, progress);
        };
        assert_eq!(window.due(now), None);
        put(&mut window, 1.0);
        assert_eq!(window.due(now), Some(now));
        assert_eq!(window.take(now).count(), 1);
        put(&mut window, 2.0);
        put(&mut window, 3.0);
        assert_eq!(window.due(now), Some(now + EVERY));
        let told: Vec<_> = window.take(now + EVERY).collect();
        assert!(
            matches!(&told[..], [Event::Progress { progress, .. }] if progress.percent == Some(3.0)),
            "{told:?}"
        );
        put(&mut window, 4.0);
        window.forget(job);
        assert_eq!(window.due(now), None);
    }
}
