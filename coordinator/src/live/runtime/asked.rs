//! What is asked of the streams.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use common::{
    id::{StreamId, TaskId},
    profile::Output as ProfileOutput,
    stream::{SourceSpec, StreamSpec, StreamView},
};
use mux::Ticks;
use tokio::sync::watch;
use tracing::Instrument as _;

use super::{CURIOSITY, Command, Joined, Running, Runtime, Status, Stream, Wanted};
use crate::live::{
    control::variant::{Terms, Variant},
    copy,
    output::{self, Output},
    pipeline::{Delivery, Pipeline},
    presence::{Presence, Viewer},
    service::Error,
    source::{Generation, Source},
    view, work,
};

impl Runtime {
    pub(super) async fn command(&mut self, command: Command) {
        // Nobody may wait for the answer any more.
        match command {
            Command::Add(spec, answer) => {
                let _ = answer.send(self.add(spec).await);
            }
            Command::List(answer) => {
                let views = self.streams.values().map(|stream| view::stream(stream, self.started));
                let _ = answer.send(Ok(views.collect()));
            }
            Command::Show(name, answer) => {
                let view = self.find(&name).and_then(|id| self.view(id));
                let _ = answer.send(view);
            }
            Command::Remove(name, answer) => {
                let _ = answer.send(self.remove(&name).await);
            }
            Command::Watch(wanted, answer) => {
                let _ = answer.send(self.watch(&wanted));
            }
            Command::Rejoin(wanted, answer) => {
                let _ = answer.send(self.rejoin(&wanted));
            }
            Command::Renditions { stream, profile, answer } => {
                let _ = answer.send(self.find(&stream).and_then(|id| self.renditions(id, &profile)));
            }
            Command::Source(name, answer) => {
                let _ = answer.send(self.source(&name));
            }
            Command::Push(name, answer) => {
                let _ = answer.send(self.push(&name));
            }
        }
    }

    async fn add(&mut self, spec: StreamSpec) -> Result<StreamView, Error> {
        let record = self.records.add(spec, &self.profiles).await?;
        let id = record.id;
        self.take_in(record);
        self.view(id)
    }

    fn view(&self, id: StreamId) -> Result<StreamView, Error> {
        let stream = self.streams.get(&id).ok_or_else(|| Error::NoSuchStream(id.to_string()))?;
        Ok(view::stream(stream, self.started))
    }

    async fn remove(&mut self, name: &str) -> Result<(), Error> {
        let id = self.find(name)?;
        self.records.remove(id).await?;
        self.take_down(id, "the stream was removed");
        Ok(())
    }

    fn source(&mut self, name: &str) -> Result<watch::Receiver<Option<Generation>>, Error> {
        let (id, now) = (self.find(name)?, self.now());
        let stream = self.streams.get_mut(&id).ok_or_else(|| Error::NoSuchStream(name.to_owned()))?;
        stream.curious_until = now + CURIOSITY;
        let generations = stream.source.generations();
        let effects = stream.supply.want(true, now);
        self.supply(id, effects);
        Ok(generations)
    }

    fn push(&mut self, name: &str) -> Result<Source, Error> {
        let id = self.find(name)?;
        let stream = self.streams.get(&id).ok_or_else(|| Error::NoSuchStream(name.to_owned()))?;
        match stream.record.spec.source {
            SourceSpec::Push => Ok(stream.source.clone()),
            SourceSpec::Pull(_) | SourceSpec::Ingest(_) | SourceSpec::File(_) => {
                Err(Error::Invalid(format!(
                    "stream {name:?} fetches its source itself; add one with the source \"push\" to send it here"
                )))
            }
        }
    }

    fn offered(&self, stream: &Stream) -> Vec<String> {
        match stream.record.spec.profiles.as_slice() {
            [] => self.profiles.names().map(str::to_owned).collect(),
            some => some.to_vec(),
        }
    }

    /// The profiles behind a name. Those of a ladder that are taller than the source are left out, but never all.
    fn renditions(&self, id: StreamId, profile: &str) -> Result<Vec<String>, Error> {
        let stream = self.streams.get(&id).ok_or_else(|| Error::NoSuchStream(id.to_string()))?;
        let offered = self.offered(stream);
        let unknown = || Error::NoSuchProfile {
            stream: stream.record.spec.name.clone(),
            profile: profile.to_owned(),
            offered: offered.clone(),
        };
        let by_ladder = |name: &String| match self.profiles.get(name).map(|profile| &profile.output) {
            Some(ProfileOutput::Ladder { renditions }) => renditions.iter().any(|rung| rung == profile),
            _ => false,
        };
        if !offered.iter().any(|name| name == profile) && !offered.iter().any(by_ladder) {
            return Err(unknown());
        }
        let known = self.profiles.get(profile).ok_or_else(unknown)?;
        let ProfileOutput::Ladder { renditions } = &known.output else { return Ok(vec![profile.to_owned()]) };
        let height = stream.source.generation().and_then(|generation| work::height(&generation));
        let fits = |name: &&String| {
            let rung = self.profiles.get(name).and_then(|profile| match &profile.output {
                ProfileOutput::Rendition(rendition) => rendition.video.as_ref().map(|video| video.height),
                ProfileOutput::Ladder { .. } | ProfileOutput::Copy(_) => None,
            });
            height.zip(rung).is_none_or(|(source, rung)| rung <= source)
        };
        let fitting: Vec<String> = renditions.iter().filter(fits).cloned().collect();
        let lowest = || renditions.last().cloned().into_iter().collect();
        Ok(if fitting.is_empty() { lowest() } else { fitting })
    }

    fn watch(&mut self, Wanted { stream: name, profile, player }: &Wanted) -> Result<Joined, Error> {
        let (id, now) = (self.find(name)?, self.now());
        let renditions = self.renditions(id, profile)?;
        if renditions != [profile.as_str()] {
            return Err(Error::Ladder { stream: name.to_owned(), profile: profile.to_owned(), renditions });
        }
        if !self.streams.get(&id).is_some_and(|stream| stream.variants.contains_key(profile)) {
            self.begin(id, profile, now)?;
        }
        let stream = self.streams.get_mut(&id).ok_or_else(|| Error::NoSuchStream(name.to_owned()))?;
        let generation = stream.source.generation().map(|generation| generation.number);
        let running = stream
            .variants
            .get_mut(profile)
            .ok_or_else(|| Error::NoSource(format!("{profile:?} of stream {name:?} is over")))?;
        let viewer = running.presence.come(*player, Instant::now());
        let joined =
            Joined { output: Arc::clone(&running.output), status: running.status.subscribe(), viewer };
        let mut effects = running.control.watched_by(running.viewers(), now);
        if let Some(number) = generation.filter(|_| !stream.source.is_over()) {
            effects.extend(running.control.generation(number, now));
        }
        let supply = stream.supply.want(true, now);
        self.act(id, profile, effects);
        self.supply(id, supply);
        Ok(joined)
    }

    fn rejoin(
        &mut self,
        Wanted { stream: name, profile, player }: &Wanted,
    ) -> Result<(Arc<Output>, Option<Viewer>), Error> {
        let stream =
            self.streams.get(&self.find(name)?).ok_or_else(|| Error::NoSuchStream(name.to_owned()))?;
        if let Some(running) = stream.variants.get(profile) {
            let viewer = running.presence.come(*player, Instant::now());
            return Ok((Arc::clone(&running.output), Some(viewer)));
        }
        let past = stream.past.get(profile).and_then(|past| past.output.as_ref());
        let output = past.map(|(output, _)| (Arc::clone(output), None));
        output.ok_or_else(|| Error::NoSource(format!("nobody watches {profile:?} of stream {name:?}")))
    }

    /// A variant that nobody watched until now.
    fn begin(&mut self, id: StreamId, profile: &str, now: Duration) -> Result<(), Error> {
        let no_profile = || Error::Invalid(format!("there is no profile {profile:?}"));
        let known = self.profiles.get(profile).ok_or_else(no_profile)?;
        let (rendition, packaging) = match &known.output {
            ProfileOutput::Rendition(rendition) => (Some(rendition.clone()), rendition.packaging),
            ProfileOutput::Copy(packaging) => (None, *packaging),
            ProfileOutput::Ladder { .. } => return Err(no_profile()),
        };
        let settings = self.settings;
        let stream = self.streams.get_mut(&id).ok_or_else(|| Error::NoSuchStream(id.to_string()))?;
        let options = &stream.record.spec.options;
        let grid = Ticks::from_millis(packaging.segment_ms.into());
        let settings = output::Settings {
            grid,
            part: packaging.low_latency.then(|| Ticks::from_millis(packaging.part_ms.into())),
            max_bytes: settings.max_bytes,
            max_length: settings.max_length,
            first_sequence: stream.first_sequence,
            first_discontinuity: stream.first_sequence,
            reached: stream.past.get(profile).map(|past| past.reached).unwrap_or_default(),
            clock: stream.source.clock(),
        };
        let output = Output::counted(settings, self.metrics.clone());
        let delivery = if options.redundancy > 1 { Delivery::Gops } else { Delivery::Frames };
        let pipeline = Pipeline::new(Arc::clone(&output), grid, delivery);
        let terms = Terms {
            linger: Duration::from_millis(options.linger_ms),
            hold: Duration::from_millis(options.hold_ms),
            redundancy: options.redundancy,
            copies: rendition.is_none(),
        };
        let stop = stream.stop.child_token();
        if rendition.is_none() {
            let copying = copy::run(stream.source.clone(), pipeline.clone(), stop.clone());
            let span = tracing::error_span!("copy", stream = %stream.record.id, profile);
            self.tracker.spawn(copying.instrument(span));
        }
        let running = Running {
            control: Variant::new(terms, TaskId::new(), now),
            pipeline,
            output,
            presence: Presence::new(&packaging),
            status: watch::Sender::new(Status::Going),
            rendition,
            packaging,
            stop,
        };
        tracing::info!(stream = %stream.record.id, name = stream.record.spec.name, profile, "variant begins");
        stream.variants.insert(profile.to_owned(), running);
        Ok(())
    }
}
