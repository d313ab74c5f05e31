//! Live streams: what is counted over all of them, and what each is like now.

use std::fmt;

use common::{
    metrics::gauges,
    stream::{SourceState, StreamView, VariantState},
};
use prometheus_client::{
    encoding::DescriptorEncoder,
    metrics::{counter::Counter, histogram::Histogram},
    registry::{Registry, Unit},
};

use super::MOST;
use crate::live::Tally;

/// Of a byte, which is Prometheus' base unit.
const BITS: f64 = 8.0;
/// Upper bounds, in seconds, of what a viewer may not notice and of what nobody overlooks.
const STALLS: [f64; 12] = [0.05, 0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0];

/// Clones count together.
#[derive(Debug, Clone)]
pub(crate) struct LiveMetrics {
    sent: Counter,
    dropped: Counter,
    failovers: Counter,
    stalls: Histogram,
}

impl Default for LiveMetrics {
    fn default() -> Self {
        Self {
            sent: Counter::default(),
            dropped: Counter::default(),
            failovers: Counter::default(),
            stalls: Histogram::new(STALLS),
        }
    }
}

impl LiveMetrics {
    pub(crate) fn register(&self, registry: &mut Registry) {
        registry.register_with_unit("live_sent", "Media sent to viewers", Unit::Bytes, self.sent.clone());
        registry.register(
            "live_viewers_dropped",
            "Viewers that were dropped because they did not keep up",
            self.dropped.clone(),
        );
        registry.register(
            "live_failovers",
            "Attempts that delivered to viewers and were lost",
            self.failovers.clone(),
        );
        registry.register_with_unit(
            "live_stall",
            "From the last frame before a failover to the first one after it",
            Unit::Seconds,
            self.stalls.clone(),
        );
    }

    pub(crate) fn sent(&self, bytes: u64) {
        self.sent.inc_by(bytes);
    }

    pub(crate) fn dropped_viewer(&self) {
        self.dropped.inc();
    }

    pub(crate) fn happened(&self, tally: Tally) {
        self.failovers.inc_by(tally.failovers);
        for stall in tally.stalls {
            self.stalls.observe(stall.as_secs_f64());
        }
    }
}

const SOURCES: [(SourceState, &str); 4] = [
    (SourceState::Idle, "idle"),
    (SourceState::Connecting, "connecting"),
    (SourceState::Live, "live"),
    (SourceState::Lost, "lost"),
];
const VARIANTS: [(VariantState, &str); 4] = [
    (VariantState::Starting, "starting"),
    (VariantState::Live, "live"),
    (VariantState::Held, "held"),
    (VariantState::Lingering, "lingering"),
];

/// What streams are like now.
pub(super) fn encode(streams: &[StreamView], encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let sources = SOURCES.map(|(state, word)| {
        let there = streams.iter().filter(|stream| stream.source_state.state == state);
        ([("state", word)], there.count() as u64)
    });
    gauges(encoder, ("live_sources", "Streams by the state of their source", None), sources)?;
    let variants = || streams.iter().flat_map(|stream| &stream.variants);
    let states = VARIANTS.map(|(state, word)| {
        ([("state", word)], variants().filter(|variant| variant.state == state).count() as u64)
    });
    gauges(encoder, ("live_variants", "Variants by state", None), states)?;
    let viewers: u64 = variants().map(|variant| u64::from(variant.viewers)).sum();
    let none: [(&str, &str); 0] = [];
    gauges(encoder, ("live_viewers", "Viewers of all variants", None), [(none, viewers)])?;

    // Streams are an operator's, and yet there may be thousands.
    let some = || streams.iter().take(MOST);
    let up = some().filter(|stream| stream.source_state.state != SourceState::Idle).map(|stream| {
        let up = u64::from(stream.source_state.state == SourceState::Live);
        ([("stream", stream.spec.name.as_str())], up)
    });
    let help = "Whether the source of a stream that somebody wants gives something";
    gauges(encoder, ("live_source_up", help, None), up)?;
    let rate = some()
        .map(|stream| ([("stream", stream.spec.name.as_str())], stream.source_state.bitrate as f64 / BITS));
    gauges(encoder, ("live_source_bytes_per_second", "What a source gives", None), rate)?;
    let each = || {
        some().flat_map(|stream| {
            let name = stream.spec.name.as_str();
            stream
                .variants
                .iter()
                .map(move |variant| ([("stream", name), ("profile", variant.profile.as_str())], variant))
        })
    };
    let rows = each().map(|(labels, variant)| (labels, variant.viewers));
    gauges(encoder, ("live_variant_viewers", "Viewers of a variant", None), rows)?;
    let rows = each().map(|(labels, variant)| (labels, variant.bitrate as f64 / BITS));
    gauges(encoder, ("live_variant_bytes_per_second", "What a variant gives", None), rows)?;
    let rows = each().map(|(labels, variant)| (labels, variant.missing_frames));
    gauges(
        encoder,
        ("live_variant_missing_frames", "Frames that no worker brought, since the variant began", None),
        rows,
    )
}
