//! Whole farms: one module for each theme.

// What a test's own steps stumble over fails the test.
#![allow(clippy::unwrap_used)]

mod bad_input;
mod broken_ffmpeg;
mod clocks;
mod command_line;
mod commands;
mod commands_typed;
mod course;
mod damaged;
mod drain;
mod failpoints;
#[path = "../../fakes/mod.rs"]
mod fakes;
mod faults;
mod flapping;
mod full_disk;
mod gpus;
mod jobs;
mod keys;
mod lies;
mod network;
mod openapi;
mod placement;
mod postgres;
mod presets;
mod probing;
mod run;
mod slots;
mod stopped;
mod telemetry;
mod trust;
mod uploads;
mod versions;
mod webhooks;
mod worker_port;
