//! `/metrics` of the coordinator. docs/monitoring.md lists every name, and a test holds it against what is really told.
//!
//! No label without a bound: each is of a fixed list, of what an operator configures, of the known workers (an unknown one is
//! forgotten after an hour) or cut to the [`MOST`] largest.

mod fleet;
mod http;
mod live;
mod operations;
mod queue;
mod scrape;
mod store;

pub(crate) use self::{
    http::{HttpMetrics, observe},
    live::LiveMetrics,
    operations::Operations,
    queue::{Outcome, QueueMetrics},
    scrape::{Asked, Counted, Metrics},
    store::TimedStore,
};

/// Rows of a family whose labels users choose; what is beyond them is counted together, as [`OTHER`].
const MOST: usize = 200;
const OTHER: &str = "other";
/// The kind of what did not fail.
const NONE: &str = "none";

/// Upper bounds, in seconds, of what takes from a blink to a day.
const LONG: [f64; 17] = [
    0.01, 0.05, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0, 1800.0, 3600.0, 14_400.0,
    86_400.0,
];
/// Upper bounds, in seconds, of what takes a round trip or a disk.
const SHORT: [f64; 14] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
