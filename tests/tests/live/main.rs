//! Live streams on whole farms: one module for each theme.

// What a test's own steps stumble over fails the test.
#![allow(clippy::unwrap_used)]

mod browser;
mod channel;
mod command;
mod failover;
mod hostile;
mod ingest;
mod moving;
mod packaging;
mod players;
mod sources;
mod tokens;
mod watching;
