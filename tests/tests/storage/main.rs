//! Object storage against real servers.

// What a test's own steps stumble over fails the test.
#![allow(clippy::unwrap_used)]

mod conformance;
mod farm;
mod faults;
mod jobs;
mod watch;
