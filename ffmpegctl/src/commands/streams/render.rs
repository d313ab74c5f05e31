//! Streams as text.

use std::time::Duration;

use common::stream::{SourceState, SourceView, StreamView, VariantState, VariantView};
use jiff::Timestamp;

use super::super::{facts, table};
use crate::text;

/// Columns that a source takes in a list at most.
const SOURCE: usize = 48;

pub(super) fn streams(streams: &[StreamView]) -> String {
    let mut table = table(&["NAME", "STATE", "VARIANTS", "VIEWERS", "SOURCE"]);
    for stream in streams {
        let viewers: u32 = stream.variants.iter().map(|variant| variant.viewers).sum();
        table.add_row([
            text::printable(&stream.spec.name),
            source_state(stream.source_state.state).to_owned(),
            stream.variants.len().to_string(),
            viewers.to_string(),
            text::shorten(&text::printable(&stream.spec.source.to_string()), SOURCE),
        ]);
    }
    table.trim_fmt()
}

const fn source_state(state: SourceState) -> &'static str {
    match state {
        SourceState::Idle => "idle",
        SourceState::Connecting => "connecting",
        SourceState::Live => "live",
        SourceState::Lost => "lost",
    }
}

const fn variant_state(state: VariantState) -> &'static str {
    match state {
        VariantState::Starting => "starting",
        VariantState::Live => "live",
        VariantState::Held => "held",
        VariantState::Lingering => "lingering",
    }
}

fn milliseconds(count: u64) -> String {
    text::span(Duration::from_millis(count))
}

fn time(milliseconds: i64) -> String {
    Timestamp::from_millisecond(milliseconds).map(text::time).unwrap_or_default()
}

pub(super) fn stream(stream: &StreamView) -> String {
    let (spec, source, options) = (&stream.spec, &stream.source_state, &stream.spec.options);
    let labels: Vec<_> = options.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let mut sections = vec![
        facts(&[
            ("name", text::printable(&spec.name)),
            ("id", stream.id.to_string()),
            (
                "from",
                if stream.configured {
                    "the coordinator's configuration file".to_owned()
                } else {
                    String::new()
                },
            ),
            ("since", time(stream.created_at)),
            ("profiles", if spec.profiles.is_empty() { "all".to_owned() } else { spec.profiles.join(", ") }),
            ("linger", milliseconds(options.linger_ms)),
            ("hold", milliseconds(options.hold_ms)),
            (
                "redundancy",
                if options.redundancy > 1 { options.redundancy.to_string() } else { String::new() },
            ),
            ("slate", options.slate.as_deref().map(text::printable).unwrap_or_default()),
            ("labels", text::printable(&labels.join(", "))),
        ]),
        source_facts(source, &text::printable(&spec.source.to_string())),
    ];
    if !stream.variants.is_empty() {
        sections.push(variants(&stream.variants));
    }
    sections.extend(stream.variants.iter().filter_map(|variant| {
        let problem = variant.problem.as_ref()?;
        Some(format!("{} waits\n  {}", text::printable(&variant.profile), indented(problem)))
    }));
    sections.extend(stream.variants.iter().filter(|variant| variant.missing_frames > 0).map(|variant| {
        format!(
            "{} lacks {} frames where workers followed each other",
            text::printable(&variant.profile),
            variant.missing_frames
        )
    }));
    if stream.variants.iter().any(|variant| !variant.failovers.is_empty()) {
        sections.push(failovers(&stream.variants));
    }
    sections.join("\n\n")
}

fn source_facts(source: &SourceView, address: &str) -> String {
    let live = source.state != SourceState::Idle;
    let when = |shown: bool, text: String| if shown { text } else { String::new() };
    facts(&[
        ("source", address.to_owned()),
        ("state", source_state(source.state).to_owned()),
        ("problem", source.problem.as_deref().map(text::printable).unwrap_or_default()),
        ("through", source.worker.as_ref().map(|worker| text::printable(&worker.name)).unwrap_or_default()),
        ("tracks", text::printable(&source.tracks.join(", "))),
        ("bitrate", when(live, text::bitrate(source.bitrate))),
        (
            "buffered",
            when(live, format!("{} ({})", milliseconds(source.buffered_ms), text::bytes(source.bytes_held))),
        ),
        ("runs", when(source.generations > 0, source.generations.to_string())),
        ("lost", when(source.gaps > 0, format!("packets in {} places", source.gaps))),
    ])
}

fn variants(variants: &[VariantView]) -> String {
    let mut table =
        table(&["PROFILE", "STATE", "VIEWERS", "DROPPED", "BITRATE", "SENT", "WORKER", "ENCODER", "ROLE"]);
    for variant in variants {
        let first = variant.attempts.first();
        table.add_row([
            text::printable(&variant.profile),
            variant_state(variant.state).to_owned(),
            variant.viewers.to_string(),
            variant.dropped_viewers.to_string(),
            text::bitrate(variant.bitrate),
            text::bytes(variant.bytes_sent),
            first.map_or_else(dash, |attempt| text::printable(&attempt.worker.name)),
            first.and_then(|attempt| attempt.encoder.as_deref()).map_or_else(dash, text::printable),
            first.map_or_else(dash, |attempt| text::printable(&attempt.role)),
        ]);
        for attempt in variant.attempts.iter().skip(1) {
            let mut row = vec![String::new(); 6];
            row.push(text::printable(&attempt.worker.name));
            row.push(attempt.encoder.as_deref().map_or_else(dash, text::printable));
            row.push(text::printable(&attempt.role));
            table.add_row(row);
        }
    }
    table.trim_fmt()
}

fn failovers(variants: &[VariantView]) -> String {
    let mut table = table(&["FAILOVER", "PROFILE", "FROM", "TO", "STALL", "REASON"]);
    for variant in variants {
        for failover in &variant.failovers {
            table.add_row([
                time(failover.at),
                text::printable(&variant.profile),
                text::printable(&failover.from.name),
                failover.to.as_ref().map_or_else(dash, |worker| text::printable(&worker.name)),
                failover.stall_ms.map_or_else(dash, |stall| format!("{stall} ms")),
                text::printable(&failover.reason),
            ]);
        }
    }
    table.trim_fmt()
}

fn dash() -> String {
    "-".to_owned()
}

fn indented(text: &str) -> String {
    text::printable(text).replace('\n', "\n  ")
}

#[cfg(test)]
mod tests {
    use common::{
        api::WorkerRef,
        id::{AttemptId, Epoch, StreamId, TaskId, WorkerId},
        stream::{FailoverView, StreamOptions, StreamSpec, VariantAttempt},
    };

    use super::*;

    fn worker(name: &str) -> WorkerRef {
        WorkerRef { id: WorkerId::new(), name: name.to_owned() }
    }

    fn view() -> StreamView {
        let attempt = |name: &str, role: &str| VariantAttempt {
            attempt: AttemptId { task: TaskId::new(), epoch: Epoch(1) },
            worker: worker(name),
            encoder: Some("libx264".to_owned()),
            role: role.to_owned(),
            since: 0,
        };
        let failover = FailoverView {
            at: 1_795_242_503_582,
            from: worker("host-2"),
            to: Some(worker("host-1")),
            reason: "no output for 2 s".to_owned(),
            stall_ms: Some(640),
        };
        let variant = VariantView {
            profile: "h264-720p".to_owned(),
            state: VariantState::Live,
            problem: None,
            viewers: 3,
            dropped_viewers: 1,
            bytes_sent: 1 << 20,
            missing_frames: 4,
            bytes_held: 0,
            bitrate: 2_500_000,
            media_sequence: 7,
            attempts: vec![attempt("host-1", "active"), attempt("host-3", "standby")],
            failovers: vec![failover],
        };
        StreamView {
            id: StreamId::new(),
            spec: StreamSpec {
                name: "news".to_owned(),
                source: "http://host/live.ts?...".parse().unwrap(),
                profiles: Vec::new(),
                options: StreamOptions { redundancy: 2, ..StreamOptions::default() },
            },
            configured: true,
            created_at: 1_795_242_503_582,
            source_state: SourceView {
                state: SourceState::Lost,
                problem: Some(
                    "http://host/live.ts?... answered 404 Not Found; check the source's URL".to_owned(),
                ),
                tracks: vec!["h264 1920x1080".to_owned(), "aac 48000 Hz".to_owned()],
                gaps: 2,
                ..SourceView::default()
            },
            variants: vec![variant],
        }
    }

    #[test]
    fn a_list_is_short() {
        let text = streams(&[view()]);
        assert_eq!(text.lines().count(), 2, "{text}");
        assert!(text.lines().nth(1).unwrap().starts_with("news  lost"), "{text}");
    }

    #[test]
    fn a_stream_tells_who_encodes_who_was_replaced_and_what_is_wrong() {
        let text = stream(&view());
        for part in [
            "configuration file",
            "404 Not Found; check",
            "h264 1920x1080, aac 48000 Hz",
            "packets in 2 places",
            "host-1  libx264  active",
            "host-3  libx264  standby",
            "640 ms  no output for 2 s",
            "h264-720p lacks 4 frames",
            "redundancy  2",
        ] {
            assert!(text.contains(part), "{part} is missing in\n{text}");
        }
    }
}
