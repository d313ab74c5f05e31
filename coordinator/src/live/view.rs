//! Streams as people are told of them.

use std::time::{Duration, Instant};

use common::stream::{
    FailoverView, SourceSpec, SourceState, SourceView, StreamView, VariantAttempt, VariantState, VariantView,
};
use mux::codec::Parameters;

use super::{
    control::FLOWING,
    runtime::{Running, Stream},
    source::Generation,
    splice::Role,
};

pub(super) fn stream(stream: &Stream, started: Instant) -> StreamView {
    let record = &stream.record;
    StreamView {
        id: record.id,
        spec: record.spec.redacted(),
        configured: record.configured,
        created_at: record.created_at,
        source_state: source(stream),
        variants: stream
            .variants
            .iter()
            .map(|(profile, running)| variant(profile, running, started))
            .collect(),
    }
}

/// What is wrong with a source, in words.
pub(super) fn source_problem(stream: &Stream) -> Option<String> {
    let pulled = stream.pull.as_ref().and_then(|(_, state)| state.borrow().problem.clone());
    let waits = || match stream.record.spec.source {
        SourceSpec::Push if !stream.source.figures().connected => {
            Some(format!("nobody sends it: PUT MPEG-TS to /v1/streams/{}/input", stream.record.spec.name))
        }
        _ => None,
    };
    pulled.or_else(|| stream.supply.problem.clone()).or_else(waits)
}

fn source(stream: &Stream) -> SourceView {
    let figures = stream.source.figures();
    let flows = figures.newest_at.is_some_and(|at| at.elapsed() < FLOWING);
    let wanted = stream.supply.is_wanted() || figures.connected;
    let state = match (wanted, flows, figures.generations) {
        (false, _, _) => SourceState::Idle,
        (true, true, _) => SourceState::Live,
        (true, false, 0) => SourceState::Connecting,
        (true, false, _) => SourceState::Lost,
    };
    SourceView {
        problem: (wanted && !flows).then(|| source_problem(stream)).flatten(),
        state,
        tracks: stream.source.generation().as_ref().map(tracks).unwrap_or_default(),
        bitrate: figures.bitrate,
        bytes_held: figures.bytes_held,
        buffered_ms: milliseconds(figures.length),
        generations: figures.generations,
        gaps: figures.statistics.gaps,
        worker: stream.supply.worker().cloned(),
    }
}

fn tracks(generation: &Generation) -> Vec<String> {
    let known = generation.program.tracks.iter().zip(&generation.parameters);
    known
        .map(|(track, parameters)| match parameters {
            Some(Parameters::Video(video)) => format!("{} {}x{}", track.codec, video.width, video.height),
            Some(Parameters::Audio(audio)) => {
                format!("{} {} Hz, {} channels", track.codec, audio.sample_rate, audio.channels)
            }
            None => track.codec.to_string(),
        })
        .collect()
}

fn variant(profile: &str, running: &Running, started: Instant) -> VariantView {
    let figures = running.output.figures();
    let control = &running.control;
    let state = if control.is_lingering() {
        VariantState::Lingering
    } else if control.is_held() {
        VariantState::Held
    } else if control.delivered {
        VariantState::Live
    } else {
        VariantState::Starting
    };
    let wall = |at: Duration| {
        let ago = started.elapsed().saturating_sub(at);
        jiff::Timestamp::now().as_millisecond().saturating_sub_unsigned(milliseconds(ago))
    };
    let attempts = control.feeds().iter().filter_map(|feed| {
        let role = match feed.role {
            Role::Generation(_) | Role::Replacement => "active",
            Role::Successor => "successor",
            Role::Standby => "standby",
        };
        Some(VariantAttempt {
            attempt: feed.attempt,
            worker: feed.worker.clone()?,
            encoder: feed.encoder.clone(),
            role: role.to_owned(),
            since: wall(feed.since),
        })
    });
    let failovers = control.failovers.iter().map(|failover| FailoverView {
        at: wall(failover.at),
        from: failover.from.clone(),
        to: failover.to.clone(),
        reason: failover.reason.clone(),
        stall_ms: failover.stall.map(milliseconds),
    });
    VariantView {
        profile: profile.to_owned(),
        state,
        problem: control.problem.clone(),
        viewers: running.viewers(),
        dropped_viewers: figures.dropped,
        bytes_sent: figures.bytes_sent,
        bytes_held: figures.bytes_held,
        bitrate: figures.bitrate,
        media_sequence: figures.next_sequence.unwrap_or(0),
        missing_frames: running.pipeline.figures().seams.missing_video,
        attempts: attempts.collect(),
        failovers: failovers.collect(),
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
