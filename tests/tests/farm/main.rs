//! Whole farms: one module for each theme.

// What a test's own steps stumble over fails the test.
#![allow(clippy::unwrap_used)]

mod bad_input;
mod command_line;
mod drain;
mod failpoints;
#[path = "../../fakes/mod.rs"]
mod fakes;
mod faults;
mod gpus;
mod jobs;
mod placement;
mod presets;
mod slots;
mod versions;
