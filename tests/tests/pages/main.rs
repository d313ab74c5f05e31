//! What a person sees on the coordinator's pages, in a real browser.

// What a test's own steps stumble over fails the test.
#![allow(clippy::unwrap_used)]

mod actions;
mod browser;
mod connection;
#[path = "../../fakes/mod.rs"]
mod fakes;
mod farm;
mod keys;
mod letters;
mod list;
mod machine;
mod streams;
