//! Events as they are on the wire, and who gets which.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use common::{
    api::{Event, Topic},
    id::{JobId, WorkerId},
};

use crate::access::Caller;

/// Topics, in no order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Topics(u8);

impl Topics {
    const fn bit(topic: Topic) -> u8 {
        1 << topic as u8
    }

    pub(super) const fn has(self, topic: Topic) -> bool {
        self.0 & Self::bit(topic) != 0
    }

    pub(super) fn iter(self) -> impl Iterator<Item = Topic> {
        Topic::ALL.into_iter().filter(move |topic| self.has(*topic))
    }
}

impl FromIterator<Topic> for Topics {
    fn from_iter<I: IntoIterator<Item = Topic>>(topics: I) -> Self {
        Self(topics.into_iter().fold(0, |bits, topic| bits | Self::bit(topic)))
    }
}

/// What a listener asked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    pub(super) topics: Topics,
    /// Of jobs and progress those of this one alone.
    pub(super) job: Option<JobId>,
}

/// Who may be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Audience {
    Everybody,
    Administrators,
    /// Of something that is this owner's.
    Owner(Option<String>),
    /// Of a stream of this owner.
    Watchers(Option<String>),
}

impl Audience {
    pub(super) fn has(&self, caller: &Caller) -> bool {
        match self {
            Self::Everybody => true,
            Self::Administrators => caller.is_admin(),
            Self::Owner(owner) => caller.sees(owner.as_deref()),
            Self::Watchers(owner) => caller.watches(owner.as_deref()),
        }
    }
}

/// What goes to every listener of a topic.
#[derive(Debug, Clone)]
pub(super) enum Frame {
    One(Arc<One>),
    Many(Arc<Many>),
}

/// An event for all who may hear it, serialised when the first one is told.
#[derive(Debug)]
pub(super) struct One {
    pub(super) event: Event,
    /// Of those that are remembered.
    id: Option<String>,
    bytes: OnceLock<Bytes>,
}

impl One {
    pub(super) fn new(event: Event, id: Option<String>) -> Arc<Self> {
        Arc::new(Self { event, id, bytes: OnceLock::new() })
    }

    fn bytes(&self) -> Bytes {
        self.bytes.get_or_init(|| written(&self.event, self.id.as_deref())).clone()
    }
}

/// Events of one moment, each for its own audience.
#[derive(Debug)]
pub(super) struct Many {
    topic: Topic,
    parts: Vec<Part>,
    /// All of them, one behind the other.
    whole: Bytes,
}

#[derive(Debug)]
struct Part {
    audience: Audience,
    job: Option<JobId>,
    bytes: Bytes,
}

impl Many {
    /// `None`: there is nothing to tell.
    pub(super) fn new(
        topic: Topic,
        events: impl IntoIterator<Item = (Audience, Event)>,
    ) -> Option<Arc<Self>> {
        let mut text = Vec::new();
        let ends: Vec<_> = events
            .into_iter()
            .map(|(audience, event)| {
                let begin = text.len();
                write(&mut text, &event, None);
                (audience, job(&event), begin..text.len())
            })
            .collect();
        let whole = Bytes::from(text);
        let part = |(audience, job, place)| Part { audience, job, bytes: whole.slice(place) };
        let parts: Vec<Part> = ends.into_iter().map(part).collect();
        (!parts.is_empty()).then(|| Arc::new(Self { topic, parts, whole }))
    }
}

impl Frame {
    /// What of it is for a listener.
    pub(super) fn for_listener(&self, wanted: &Wanted, caller: &Caller, into: &mut Vec<Bytes>) {
        let of_job = |job: Option<JobId>| wanted.job.is_none() || job.is_none() || job == wanted.job;
        match self {
            Self::One(one) => {
                if topic(&one.event).is_none_or(|topic| wanted.topics.has(topic))
                    && of_job(job(&one.event))
                    && audience(&one.event).has(caller)
                {
                    into.push(one.bytes());
                }
            }
            Self::Many(many) if wanted.topics.has(many.topic) => {
                let is_for = |part: &Part| of_job(part.job) && part.audience.has(caller);
                if many.parts.iter().all(is_for) {
                    into.push(many.whole.clone());
                } else {
                    into.extend(many.parts.iter().filter(|part| is_for(part)).map(|part| part.bytes.clone()));
                }
            }
            Self::Many(_) => {}
        }
    }

    /// Whether it says that a worker changed.
    pub(super) fn touches(&self, worker: WorkerId) -> bool {
        let Self::One(one) = self else { return false };
        let Event::Load { workers, .. } = &one.event else { return false };
        workers.iter().any(|row| row.id == worker)
    }
}

/// `None`: it goes to every listener, or to none but the one that it was made for.
fn topic(event: &Event) -> Option<Topic> {
    match event {
        Event::Job { .. } => Some(Topic::Jobs),
        Event::Progress { .. } => Some(Topic::Progress),
        Event::Worker { .. } => Some(Topic::Workers),
        Event::Load { .. } => Some(Topic::Load),
        Event::Stream { .. } | Event::StreamGone { .. } => Some(Topic::Streams),
        Event::Summary { .. } => Some(Topic::Summary),
        Event::Detail { .. } | Event::Lagged { .. } => None,
    }
}

fn job(event: &Event) -> Option<JobId> {
    match event {
        Event::Job { job } => Some(job.id),
        Event::Progress { job, .. } => Some(*job),
        Event::Worker { .. }
        | Event::Load { .. }
        | Event::Detail { .. }
        | Event::Stream { .. }
        | Event::StreamGone { .. }
        | Event::Summary { .. }
        | Event::Lagged { .. } => None,
    }
}

/// Who may be told of an event that says itself whose it is.
pub(super) fn audience(event: &Event) -> Audience {
    match event {
        Event::Job { job } => Audience::Owner(job.owner.clone()),
        Event::Progress { owner, .. } => Audience::Owner(owner.clone()),
        Event::Stream { stream } => Audience::Watchers(stream.spec.options.owner.clone()),
        // Whose it was is not in it.
        Event::StreamGone { .. } => Audience::Administrators,
        Event::Worker { .. } | Event::Load { .. } | Event::Detail { .. } => Audience::Administrators,
        Event::Summary { .. } | Event::Lagged { .. } => Audience::Everybody,
    }
}

/// An event as a listener reads it.
pub(super) fn written(event: &Event, id: Option<&str>) -> Bytes {
    let mut text = Vec::new();
    write(&mut text, event, id);
    text.into()
}

/// JSON has no line breaks of its own, so one `data:` line is enough.
fn write(text: &mut Vec<u8>, event: &Event, id: Option<&str>) {
    text.extend_from_slice(b"event: ");
    text.extend_from_slice(event.name().as_bytes());
    if let Some(id) = id {
        text.extend_from_slice(b"\nid: ");
        text.extend_from_slice(id.as_bytes());
    }
    text.extend_from_slice(b"\ndata: ");
    serde_json::to_writer(&mut *text, event).expect("events have string keys only");
    text.extend_from_slice(b"\n\n");
}

#[cfg(test)]
mod tests {
    use common::api::{ProgressView, Scope};

    use super::*;
    use crate::access::testing::holder;

    fn progress(job: JobId, owner: &str) -> (Audience, Event) {
        let progress = ProgressView { percent: None, eta_seconds: None, progress: Default::default() };
        let event = Event::Progress { job, owner: Some(owner.to_owned()), progress };
        (audience(&event), event)
    }

    fn heard(frame: &Frame, wanted: &Wanted, caller: &Caller) -> (usize, String) {
        let mut parts = Vec::new();
        frame.for_listener(wanted, caller, &mut parts);
        (parts.len(), String::from_utf8(parts.concat()).unwrap())
    }

    #[test]
    fn each_listener_gets_what_it_asked_for_and_may_hear() {
        let (anns, bobs) = (JobId::new(), JobId::new());
        let many = Many::new(Topic::Progress, [progress(anns, "ann"), progress(bobs, "bob")]).unwrap();
        let many = Frame::Many(many);
        let wanted = |topics: &[Topic], job| Wanted { topics: topics.iter().copied().collect(), job };
        let all = wanted(&[Topic::Progress], None);
        let (pieces, text) = heard(&many, &all, &Caller::Open);
        assert_eq!((pieces, text.matches("event: progress\n").count()), (1, 2), "{text}");
        let ann = holder(Some("ann"), &[Scope::Read]);
        let (_, text) = heard(&many, &all, &ann);
        assert!(text.contains(&anns.to_string()) && !text.contains(&bobs.to_string()), "{text}");
        let (_, text) = heard(&many, &wanted(&[Topic::Progress], Some(bobs)), &Caller::Open);
        assert!(!text.contains(&anns.to_string()) && text.contains(&bobs.to_string()), "{text}");
        assert_eq!(heard(&many, &wanted(&[Topic::Jobs, Topic::Load], None), &Caller::Open).0, 0);
        let load = Frame::One(One::new(Event::Load { workers: Vec::new(), gone: Vec::new() }, None));
        assert_eq!(heard(&load, &wanted(&[Topic::Load], None), &ann).0, 0, "workers are for administrators");
    }

    #[test]
    fn an_event_is_serialised_once_for_all() {
        let one = One::new(Event::Lagged { missed: 3 }, Some("a-1".to_owned()));
        assert_eq!(
            &one.bytes()[..],
            b"event: lagged\nid: a-1\ndata: {\"event\":\"lagged\",\"missed\":3}\n\n"
        );
        assert_eq!(one.bytes().as_ptr(), one.bytes().as_ptr());
    }
}
