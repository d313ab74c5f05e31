//! `GET /v1/events`: server-sent events.
//!
//! Jobs and states of workers are told at once, numbered, and remembered for a while: who comes back with `Last-Event-ID` gets
//! what it missed if that is still known, and a `lagged` event if not. Everything else is told at most once a second, as it is
//! then, and only while somebody listens to it. Nothing of that is remembered: who listens first and then reads the lists
//! misses nothing. Each event is serialised once for all its listeners.

mod batches;
mod frame;
mod hub;
mod listener;
mod window;

use axum::{
    body::Body,
    extract::State,
    response::{IntoResponse as _, Response},
};
use common::{
    api::{Scope, Topic},
    id::{JobId, WorkerId},
};
use futures::StreamExt as _;
use hyper::{
    HeaderMap,
    header::{self, HeaderValue},
};
use schemars::JsonSchema;
use serde::Deserialize;

pub(crate) use self::{batches::Batches, hub::EventHub};
use self::{frame::Wanted, listener::Start};
use super::{
    Api,
    access::{Need, meets},
    extract::Query,
    jobs,
    lists::words,
    problem::Error,
};
use crate::access::Caller;

/// What is told to whoever names no topic and may hear of it.
const USUAL: [Topic; 3] = [Topic::Jobs, Topic::Progress, Topic::Workers];

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct EventsQuery {
    /// One or more of jobs, progress, workers, load, streams and summary, separated by commas; jobs, progress and workers if
    /// absent.
    topics: Option<String>,
    /// Of jobs and progress those of this job alone.
    job: Option<JobId>,
    /// Besides the topics: everything about this worker as it changes, as `detail` events.
    worker: Option<WorkerId>,
}

pub(super) async fn events(
    State(api): State<Api>,
    caller: Caller,
    Query(query): Query<EventsQuery>,
    headers: HeaderMap,
) -> Result<Response, Error> {
    let wanted = wanted(&query, &caller)?;
    if let Some(job) = wanted.job {
        jobs::seen(&api, &caller, job).await?;
    }
    let looked_at = match query.worker {
        None => None,
        Some(worker) => {
            meets(&caller, ADMIN)?;
            // One that is not there has no events.
            api.queue.worker(worker).await?;
            Some((worker, api.queue.clone()))
        }
    };
    let last_id = headers.get("last-event-id").and_then(|value| value.to_str().ok());
    let start = Start { caller: caller.clone(), wanted, looked_at };
    let frames = api.events.listen(last_id, start).chunks();
    let frames = frames.take_until(api.stop.cancelled_owned()).take_until(caller.over());
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
    ];
    Ok((headers, Body::from_stream(frames)).into_response())
}

fn wanted(query: &EventsQuery, caller: &Caller) -> Result<Wanted, Error> {
    let named = words(query.topics.as_deref()).map(|word| {
        word.parse::<Topic>().map_err(|error| {
            let known = Topic::ALL.map(Topic::as_str).join(", ");
            Error::invalid("topics", error.to_string(), format!("use {known}, several with commas"))
        })
    });
    let named = named.collect::<Result<Vec<_>, _>>()?;
    for topic in &named {
        meets(caller, need(*topic))?;
    }
    let topics = if named.is_empty() {
        meets(caller, READ)?;
        USUAL.into_iter().filter(|topic| meets(caller, need(*topic)).is_ok()).collect()
    } else {
        named.into_iter().collect()
    };
    Ok(Wanted { topics, job: query.job })
}

const READ: Need = Need::Scope(Scope::Read);
const ADMIN: Need = Need::Scope(Scope::Admin);

fn need(topic: Topic) -> Need {
    match topic {
        Topic::Jobs | Topic::Progress => READ,
        Topic::Workers | Topic::Load => ADMIN,
        Topic::Streams => Need::Scope(Scope::View),
        Topic::Summary => Need::Key,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(topics: &str) -> Result<Wanted, Error> {
        wanted(&EventsQuery { topics: Some(topics.to_owned()), ..EventsQuery::default() }, &Caller::Open)
    }

    #[test]
    fn topics_are_named_and_an_unknown_one_is_answered_with_those_that_there_are() {
        let load = asked("load, summary").unwrap().topics;
        assert!(load.has(Topic::Load) && load.has(Topic::Summary) && !load.has(Topic::Jobs));
        let usual = asked("").unwrap().topics;
        assert!(USUAL.into_iter().all(|topic| usual.has(topic)) && !usual.has(Topic::Load));
        let problem = asked("jobs,fleet").unwrap_err().into_problem();
        assert_eq!(problem.field.as_deref(), Some("topics"));
        assert!(Topic::ALL.iter().all(|topic| problem.remedy.as_deref().unwrap().contains(topic.as_str())));
    }
}
