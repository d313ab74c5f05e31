//! `GET /v1/events`: server-sent events. Every event has an id; who comes back with `Last-Event-ID` gets what it missed if
//! that is still remembered, and a `lagged` event if not.

use std::{
    collections::VecDeque,
    convert::Infallible,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    extract::State,
    response::{
        IntoResponse as _, Response,
        sse::{self, KeepAlive, Sse},
    },
};
use common::api::Event;
use futures::{Stream, StreamExt as _, stream};
use hyper::HeaderMap;
use tokio::sync::broadcast::{self, error::RecvError};
use tokio_util::sync::CancellationToken;

use super::Api;
use crate::access::Caller;

/// Events remembered for those who come back.
const REMEMBERED: usize = 1024;
/// Events that a connected listener may be behind.
const BEHIND: usize = 1024;
/// Silence after which a comment is sent, so that proxies keep the connection.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

type Numbered = (u64, Arc<Event>);

/// Numbers the queue's events and hands them to any number of listeners.
#[derive(Clone)]
pub(crate) struct EventHub {
    inner: Arc<Inner>,
}

struct Inner {
    /// Tells this process's numbers from those of an earlier one.
    run: String,
    recent: Mutex<Recent>,
    listeners: broadcast::Sender<Numbered>,
}

#[derive(Default)]
struct Recent {
    last: u64,
    events: VecDeque<Numbered>,
}

impl Recent {
    fn push(&mut self, event: Event) -> Numbered {
        self.last += 1;
        let numbered = (self.last, Arc::new(event));
        if self.events.len() == REMEMBERED {
            self.events.pop_front();
        }
        self.events.push_back(numbered.clone());
        numbered
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
        let run = format!("{:x}", rand::random::<u32>());
        let inner = Inner { run, recent: Mutex::default(), listeners: broadcast::Sender::new(BEHIND) };
        Self { inner: Arc::new(inner) }
    }

    /// Takes events from `source` until it ends or `stop`.
    pub(crate) async fn run(self, mut source: broadcast::Receiver<Event>, stop: CancellationToken) {
        loop {
            let received = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                received = source.recv() => received,
            };
            match received {
                Ok(event) => self.publish(event),
                Err(RecvError::Lagged(missed)) => self.publish(Event::Lagged { missed }),
                Err(RecvError::Closed) => return,
            }
        }
    }

    fn publish(&self, event: Event) {
        let mut recent = self.inner.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let numbered = recent.push(event);
        // Under the lock, so that a new listener gets each event once: remembered or live. Nobody listening is no error.
        let _ = self.inner.listeners.send(numbered);
    }

    /// Everything after `last_id`, or from now on.
    fn listen(&self, last_id: Option<&str>, caller: Caller) -> impl Stream<Item = sse::Event> + use<> {
        let recent = self.inner.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let live = self.inner.listeners.subscribe();
        let seen = last_id.map(|id| match id.split_once('-') {
            Some((run, number)) if run == self.inner.run => number.parse().unwrap_or(0),
            _ => 0,
        });
        let (missed, replay) = seen.map_or_else(Default::default, |seen| recent.since(seen));
        let from_another_run = last_id.is_some_and(|id| !id.starts_with(&format!("{}-", self.inner.run)));
        let first = recent.last;
        drop(recent);
        let gap = (missed > 0 || from_another_run).then(|| {
            self.frame(replay.first().map_or(first, |(number, _)| number - 1), &Event::Lagged { missed })
        });
        let replay: Vec<_> = replay
            .iter()
            .filter(|(_, event)| is_for(&caller, event))
            .map(|(number, event)| self.frame(*number, event))
            .collect();
        stream::iter(gap).chain(stream::iter(replay)).chain(self.clone().live(live, caller))
    }

    fn live(self, live: broadcast::Receiver<Numbered>, caller: Caller) -> impl Stream<Item = sse::Event> {
        stream::unfold((self, live, caller), |(hub, mut live, caller)| async move {
            loop {
                let frame = match live.recv().await {
                    Ok((_, event)) if !is_for(&caller, &event) => continue,
                    Ok((number, event)) => hub.frame(number, &event),
                    // Without an id: what follows has its own.
                    Err(RecvError::Lagged(missed)) => plain(&Event::Lagged { missed }),
                    Err(RecvError::Closed) => return None,
                };
                return Some((frame, (hub, live, caller)));
            }
        })
    }

    fn frame(&self, number: u64, event: &Event) -> sse::Event {
        plain(event).id(format!("{}-{number}", self.inner.run))
    }
}

/// Whether the event is about something that this caller sees.
fn is_for(caller: &Caller, event: &Event) -> bool {
    match event {
        Event::Job { job } => caller.sees(job.owner.as_deref()),
        Event::Progress { owner, .. } => caller.sees(owner.as_deref()),
        Event::Worker { .. } => caller.is_admin(),
        Event::Lagged { .. } => true,
    }
}

fn plain(event: &Event) -> sse::Event {
    let json = serde_json::to_string(event).expect("events have string keys only");
    sse::Event::default().event(event.name()).data(json)
}

pub(super) async fn events(State(api): State<Api>, caller: Caller, headers: HeaderMap) -> Response {
    let last_id = headers.get("last-event-id").and_then(|value| value.to_str().ok());
    let frames = api.events.listen(last_id, caller.clone()).map(Ok::<_, Infallible>);
    let frames = frames.take_until(api.stop.cancelled_owned()).take_until(caller.over());
    // The first comment tells the listener at once that it is connected.
    let hello = stream::iter([Ok(sse::Event::default().comment("connected"))]);
    Sse::new(hello.chain(frames)).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(missed: u64) -> Event {
        Event::Lagged { missed }
    }

    #[test]
    fn who_comes_back_gets_what_came_meanwhile() {
        let mut recent = Recent::default();
        for n in 0..5 {
            recent.push(event(n));
        }
        let (missed, events) = recent.since(3);
        assert_eq!((missed, events.iter().map(|(number, _)| *number).collect::<Vec<_>>()), (0, vec![4, 5]));
        assert_eq!(recent.since(5).1.len(), 0);
    }

    #[test]
    fn what_was_forgotten_is_counted() {
        let mut recent = Recent::default();
        for n in 0..REMEMBERED as u64 + 10 {
            recent.push(event(n));
        }
        let (missed, events) = recent.since(4);
        assert_eq!((missed, events.len()), (6, REMEMBERED));
    }

    #[tokio::test]
    async fn each_event_comes_once_replayed_or_live() {
        let hub = EventHub::new();
        hub.publish(event(1));
        hub.publish(event(2));
        let id = format!("{}-1", hub.inner.run);
        let listener = hub.listen(Some(&id), Caller::Open);
        hub.publish(event(3));
        assert_eq!(listener.take(2).collect::<Vec<_>>().await.len(), 2);
        // From an earlier process: everything that is remembered, after a word that more may be missing.
        assert_eq!(hub.listen(Some("other-1"), Caller::Open).take(4).collect::<Vec<_>>().await.len(), 4);
    }
}
