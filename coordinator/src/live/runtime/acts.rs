//! What the state machines want done.

use std::{sync::Arc, time::Instant};

use common::{
    id::{AttemptId, StreamId, WorkerId},
    stream::SourceSpec,
};
use mux::Ticks;
use tokio::{sync::watch, time::sleep};
use tracing::Instrument as _;

use super::{LAST_WORDS, Owner, Past, Running, Runtime, Status, Told};
use crate::{
    live::{
        attempts::Sink,
        control::{
            supply::{self, Errand},
            variant::{self, Refusal},
        },
        output::Numbers,
        pull,
        service::Error,
        source::From,
        splice::{Cut, FeedEnd, Role},
        view, work,
    },
    queue,
};

impl Runtime {
    pub(super) fn act(&mut self, id: StreamId, profile: &str, effects: Vec<variant::Effect>) {
        for effect in effects {
            match effect {
                variant::Effect::Place(order) => self.place(id, profile, &order),
                variant::Effect::End(attempt, reason) => {
                    if let Some(running) = self.variant(id, profile) {
                        running.pipeline.close(attempt, FeedEnd::Lost);
                    }
                    self.end(attempt, &reason);
                }
                variant::Effect::GiveUp(attempt, reason) => self.over(attempt, Some(&reason)),
                variant::Effect::Refuse(refusal) => {
                    let error = match refusal {
                        Refusal::NoCapacity(reason) => Error::NoCapacity(reason),
                        Refusal::NoSource(reason) => {
                            let problem = self.streams.get(&id).and_then(view::source_problem);
                            Error::NoSource(problem.map_or(reason.clone(), |why| format!("{reason}: {why}")))
                        }
                        Refusal::Failed(reason) => Error::Failed(reason),
                    };
                    self.close(id, profile, &error.to_string(), Some(error));
                }
                variant::Effect::Close(reason) => self.close(id, profile, &reason, None),
            }
        }
    }

    fn close(&mut self, id: StreamId, profile: &str, reason: &str, refused: Option<Error>) {
        let now = self.now();
        let Some(stream) = self.streams.get_mut(&id) else { return };
        let Some(mut running) = stream.variants.remove(profile) else { return };
        self.metrics.happened(running.control.take_tally());
        tracing::info!(stream = %id, name = stream.record.spec.name, profile, reason, "variant ends");
        if let Some(error) = refused {
            running.status.send_replace(Status::Refused(error));
        }
        running.output.end(reason);
        running.stop.cancel();
        let figures = running.output.figures();
        let before = stream.past.get(profile).map(|past| past.reached).unwrap_or_default();
        let reached = Numbers {
            sequence: figures.next_sequence.unwrap_or_default().max(before.sequence),
            discontinuity: figures.next_discontinuity.max(before.discontinuity),
        };
        // One that never showed anything leaves what there was before.
        let before = stream.past.remove(profile).and_then(|past| past.output);
        let output = figures.next_sequence.map(|_| (running.output, now)).or(before);
        stream.past.insert(profile.to_owned(), Past { reached, output });
    }

    fn variant(&self, id: StreamId, profile: &str) -> Option<&Running> {
        self.streams.get(&id)?.variants.get(profile)
    }

    fn place(&mut self, id: StreamId, profile: &str, order: &variant::Order) {
        if let Err(reason) = self.try_place(id, profile, order) {
            let error = queue::Error::NoRoom(reason);
            self.owners.insert(order.attempt, Owner { stream: id, profile: Some(profile.to_owned()) });
            // Not at once: the answer is an event like every other.
            let _ = self.tell.send(Told::Placed(order.attempt, Err(error)));
        }
    }

    fn try_place(&mut self, id: StreamId, profile: &str, order: &variant::Order) -> Result<(), String> {
        let gone = || "the stream is gone".to_owned();
        let stream = self.streams.get(&id).ok_or_else(gone)?;
        let running = stream.variants.get(profile).ok_or_else(gone)?;
        let rendition = running.rendition.as_ref().ok_or_else(gone)?;
        let generation = stream.source.generation().filter(|known| known.number == order.generation);
        let generation = generation.ok_or("the source has gone on meanwhile")?;
        let cut = running.pipeline.cut();
        let from = work::reads_from(order.role, &generation, running.control.delivered, cut);
        let reader = stream
            .source
            .read(order.generation, from)
            .or_else(|_| stream.source.read(order.generation, From::Newest))
            .map_err(|error| error.to_string())?;
        let grid = Ticks::from_millis(running.packaging.segment_ms.into());
        let base = work::base(reader.start(), grid);
        let rendition = work::fitting(rendition, &generation)?;
        // The cut lies a little before the frame; the frame itself is the source's.
        let shown = cut.video.and_then(|at| stream.source.first_shown(order.generation, at));
        let begin = Cut { video: shown.or(cut.expected), ..cut };
        let encode = work::encode(rendition, &generation, order.role, begin, reader.start(), base);
        let container = encode.container;
        running.pipeline.source_frame(encode.source.frame.map(Ticks));
        let terms = work::Terms {
            stream: id,
            name: &stream.record.spec.name,
            options: &stream.record.spec.options,
            profile,
            avoid: order.avoid.clone(),
            only_elsewhere: matches!(order.role, Role::Successor | Role::Standby),
            preempts: order.preempts,
        };
        let live_order = work::encode_order(order.attempt, encode, &terms);
        running.pipeline.open(order.attempt, order.role, container, base, Instant::now());
        self.attempts.add(order.attempt, Some((reader, base)), Sink::Variant(running.pipeline.clone()));
        self.send_order(live_order, Owner { stream: id, profile: Some(profile.to_owned()) });
        Ok(())
    }

    pub(super) fn supply(&mut self, id: StreamId, effects: Vec<supply::Effect>) {
        for effect in effects {
            match effect {
                supply::Effect::StartPull => self.start_pull(id),
                supply::Effect::StopPull => {
                    if let Some((stop, _)) = self.streams.get_mut(&id).and_then(|stream| stream.pull.take()) {
                        stop.cancel();
                    }
                }
                supply::Effect::Place { attempt, errand, avoid } => {
                    self.place_supply(id, attempt, errand, avoid);
                }
                supply::Effect::End(attempt, reason) => self.end(attempt, &reason),
            }
        }
    }

    fn start_pull(&mut self, id: StreamId) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        let SourceSpec::Pull(url) = &stream.record.spec.source else { return };
        let stop = stream.stop.child_token();
        let (state, seen) = watch::channel(pull::State::default());
        let pulling = pull::run(url.clone(), stream.source.clone(), state, stop.clone());
        self.tracker.spawn(pulling.instrument(tracing::error_span!("pull", stream = %id)));
        stream.pull = Some((stop, seen));
    }

    fn place_supply(&mut self, id: StreamId, attempt: AttemptId, errand: Errand, avoid: Vec<WorkerId>) {
        let Some(stream) = self.streams.get(&id) else { return };
        let spec = &stream.record.spec;
        let profile = match errand {
            Errand::Ingest => "ingest",
            Errand::Slate => "slate",
        };
        let only_elsewhere = false;
        let terms = work::Terms {
            stream: id,
            name: &spec.name,
            options: &spec.options,
            profile,
            avoid,
            only_elsewhere,
            preempts: true,
        };
        let (order, slate) = match errand {
            Errand::Ingest => (work::ingest_order(attempt, &spec.source, &terms), None),
            Errand::Slate => {
                let text = spec.options.slate.as_deref().unwrap_or_default();
                let generation = stream.source.generation();
                let order = work::slate_order(attempt, text, generation.as_ref(), &terms);
                (Some(order), Some(Arc::clone(&stream.slate)))
            }
        };
        let Some(order) = order else { return };
        self.attempts.add(attempt, None, Sink::Source { source: stream.source.clone(), slate });
        self.send_order(order, Owner { stream: id, profile: None });
    }

    fn send_order(&mut self, order: queue::LiveOrder, owner: Owner) {
        let attempt = order.attempt;
        self.owners.insert(attempt, owner);
        let (queue, tell) = (self.queue.clone(), self.tell.clone());
        self.tracker.spawn(async move {
            let placed = queue.place_live(order).await;
            // An error means that the coordinator is shutting down.
            let _ = tell.send(Told::Placed(attempt, placed));
        });
    }

    pub(super) fn end(&mut self, attempt: AttemptId, reason: &str) {
        self.owners.remove(&attempt);
        self.attempts.remove(attempt);
        let is_dying = self.dying.contains_key(&attempt);
        let (queue, tell, reason) = (self.queue.clone(), self.tell.clone(), reason.to_owned());
        self.tracker.spawn(async move {
            if is_dying {
                sleep(LAST_WORDS).await;
                // An error means that the coordinator is shutting down.
                let _ = tell.send(Told::Silent(attempt));
            }
            queue.end_live(attempt, &reason).await;
        });
    }
}
