//! Numbers events, remembers those that are worth it, and hands all of them to any number of listeners.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use common::api::{Event, Topic};
use tokio::{
    sync::{
        Notify,
        broadcast::{self, error::RecvError},
    },
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::{
    frame::{Frame, Many, One, Topics, audience, written},
    listener::{Listener, Start},
    window::Window,
};

/// Events remembered for those who come back.
const REMEMBERED: usize = 1024;
/// Frames that a connected listener may be behind.
const BEHIND: usize = 1024;

type Numbered = (u64, Arc<One>);

/// Cheap to clone.
#[derive(Clone)]
pub(crate) struct EventHub {
    inner: Arc<Inner>,
}

struct Inner {
    /// Tells this process's numbers from those of an earlier one.
    run: String,
    recent: Mutex<Recent>,
    listeners: broadcast::Sender<Frame>,
    /// Listeners of each topic.
    wanted: [AtomicUsize; Topic::ALL.len()],
    /// Rung when a topic has its first listener.
    woken: Notify,
}

#[derive(Default)]
struct Recent {
    last: u64,
    events: VecDeque<Numbered>,
}

impl Recent {
    fn push(&mut self, event: Event, run: &str) -> Arc<One> {
        self.last += 1;
        let one = One::new(event, Some(format!("{run}-{}", self.last)));
        if self.events.len() == REMEMBERED {
            self.events.pop_front();
        }
        self.events.push_back((self.last, Arc::clone(&one)));
        one
    }

    /// What came after `seen`. The count is of events that are forgotten already.
    fn since(&self, seen: u64) -> (u64, Vec<Numbered>) {
        let oldest = self.events.front().map_or(self.last + 1, |(number, _)| *number);
        let missed = oldest.saturating_sub(seen.saturating_add(1));
        (missed, self.events.iter().filter(|(number, _)| *number > seen).cloned().collect())
    }
}

impl EventHub {
    pub(crate) fn new() -> Self {
        let inner = Inner {
            run: format!("{:x}", rand::random::<u32>()),
            recent: Mutex::default(),
            listeners: broadcast::Sender::new(BEHIND),
            wanted: Default::default(),
            woken: Notify::new(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Takes events from `source` until it ends or `stop`.
    pub(crate) async fn run(self, mut source: broadcast::Receiver<Event>, stop: CancellationToken) {
        let mut window = Window::default();
        loop {
            let due = window.due(Instant::now());
            let timer = async {
                match due {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            let received = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = timer => {
                    let told = window.take(Instant::now());
                    self.publish_many(Topic::Progress, told.map(|event| (audience(&event), event)));
                    continue;
                }
                received = source.recv() => received,
            };
            match received {
                Ok(Event::Progress { job, owner, progress }) => {
                    if self.wants(Topic::Progress) {
                        window.put(job, owner, progress);
                    }
                }
                Ok(event) => {
                    if let Event::Job { job } = &event {
                        // Its newest progress is in it, and none comes after its end.
                        window.forget(job.id);
                    }
                    self.publish(event);
                }
                Err(RecvError::Lagged(missed)) => self.publish(Event::Lagged { missed }),
                Err(RecvError::Closed) => return,
            }
        }
    }

    /// Tells of something that is remembered.
    pub(super) fn publish(&self, event: Event) {
        let mut recent = self.inner.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let one = recent.push(event, &self.inner.run);
        // Under the lock, so that a new listener gets each event once: remembered or live. Nobody listening is no error.
        let _ = self.inner.listeners.send(Frame::One(one));
    }

    /// Tells of something that is not remembered.
    pub(super) fn publish_passing(&self, event: Event) {
        let _ = self.inner.listeners.send(Frame::One(One::new(event, None)));
    }

    pub(super) fn publish_many(
        &self,
        topic: Topic,
        events: impl IntoIterator<Item = (super::frame::Audience, Event)>,
    ) {
        if let Some(many) = Many::new(topic, events) {
            let _ = self.inner.listeners.send(Frame::Many(many));
        }
    }

    fn listeners_of(&self, topic: Topic) -> &AtomicUsize {
        &self.inner.wanted[topic as usize]
    }

    pub(super) fn wants(&self, topic: Topic) -> bool {
        self.listeners_of(topic).load(Ordering::Acquire) > 0
    }

    /// Waits until somebody listens to one of the topics. For one task.
    pub(super) async fn listened_to(&self, topics: &[Topic]) {
        while !topics.iter().any(|topic| self.wants(*topic)) {
            self.inner.woken.notified().await;
        }
    }

    /// Everything after `last_id`, or from now on.
    pub(super) fn listen(&self, last_id: Option<&str>, start: Start) -> Listener {
        // Before the first event could be missed.
        let interest = Interest::new(self.clone(), start.needs());
        let recent = self.inner.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let live = self.inner.listeners.subscribe();
        let seen = last_id.map(|id| match id.split_once('-') {
            Some((run, number)) if run == self.inner.run => number.parse().ok(),
            _ => None,
        });
        let (missed, replay) = match seen {
            None => Default::default(),
            Some(seen) => recent.since(seen.unwrap_or(0)),
        };
        let last = recent.last;
        drop(recent);
        let mut first = vec![bytes::Bytes::from_static(b": connected\n\n")];
        if missed > 0 || seen == Some(None) {
            let before = replay.first().map_or(last, |(number, _)| number - 1);
            let id = format!("{}-{before}", self.inner.run);
            first.push(written(&Event::Lagged { missed }, Some(&id)));
        }
        for (_, one) in replay {
            Frame::One(one).for_listener(&start.wanted, &start.caller, &mut first);
        }
        Listener::new(first, live, start, interest)
    }
}

/// Held by a listener: what it needs is made.
pub(super) struct Interest {
    hub: EventHub,
    topics: Topics,
}

impl Interest {
    fn new(hub: EventHub, topics: Topics) -> Self {
        for topic in topics.iter() {
            if hub.listeners_of(topic).fetch_add(1, Ordering::AcqRel) == 0 {
                hub.inner.woken.notify_one();
            }
        }
        Self { hub, topics }
    }
}

impl Drop for Interest {
    fn drop(&mut self) {
        for topic in self.topics.iter() {
            self.hub.listeners_of(topic).fetch_sub(1, Ordering::AcqRel);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt as _;

    use super::*;

    fn event(missed: u64) -> Event {
        Event::Lagged { missed }
    }

    fn recent(events: u64) -> Recent {
        let mut recent = Recent::default();
        for n in 0..events {
            recent.push(event(n), "run");
        }
        recent
    }

    #[test]
    fn who_comes_back_gets_what_came_meanwhile() {
        let recent = recent(5);
        let (missed, events) = recent.since(3);
        assert_eq!((missed, events.iter().map(|(number, _)| *number).collect::<Vec<_>>()), (0, vec![4, 5]));
        assert_eq!(recent.since(5).1.len(), 0);
    }

    #[test]
    fn what_was_forgotten_is_counted() {
        let (missed, events) = recent(REMEMBERED as u64 + 10).since(4);
        assert_eq!((missed, events.len()), (6, REMEMBERED));
    }

    async fn heard(listener: Listener, events: usize) -> String {
        let mut text = String::new();
        let mut chunks = std::pin::pin!(listener.chunks());
        while text.matches("data: ").count() < events {
            text.push_str(std::str::from_utf8(&chunks.next().await.unwrap().unwrap()).unwrap());
        }
        text
    }

    #[tokio::test]
    async fn each_event_comes_once_replayed_or_live() {
        let hub = EventHub::new();
        let start = Start::testing(&Topic::ALL);
        hub.publish(event(1));
        hub.publish(event(2));
        let id = format!("{}-1", hub.inner.run);
        let listener = hub.listen(Some(&id), start.clone());
        hub.publish(event(3));
        hub.publish_passing(event(4));
        let text = heard(listener, 3).await;
        let numbers: Vec<_> = (1..=4).filter(|n| text.contains(&format!("\"missed\":{n}}}"))).collect();
        assert_eq!(numbers, [2, 3, 4], "{text}");
        assert_eq!(text.matches("\nid: ").count(), 2, "what passes is not remembered: {text}");
        // From an earlier process: everything that is remembered, after a word that more may be missing.
        let text = heard(hub.listen(Some("other-1"), start), 4).await;
        assert!(text.contains("\"missed\":0}") && text.contains("\"missed\":3}"), "{text}");
    }

    #[tokio::test]
    async fn what_nobody_listens_to_is_not_wanted() {
        let hub = EventHub::new();
        assert!(!hub.wants(Topic::Load));
        let listener = hub.listen(None, Start::testing(&[Topic::Load, Topic::Summary]));
        hub.listened_to(&[Topic::Streams, Topic::Load]).await;
        assert!(hub.wants(Topic::Load) && !hub.wants(Topic::Streams));
        drop(listener);
        assert!(!hub.wants(Topic::Load) && !hub.wants(Topic::Summary));
    }
}
