//! Prometheus, as `deploy/prometheus/` sets it up, and what `docs/monitoring.md` promises it.

// What a test's own steps stumble over fails the test.
#![allow(clippy::unwrap_used)]

mod dashboards;
mod documented;
mod farm;
mod rules;
mod scrape;
