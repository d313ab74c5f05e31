//! The coordinator as others see it: real HTTP and gRPC against a running one, with workers that speak the protocol and
//! run nothing.

#![allow(clippy::unwrap_used)]

mod currency;
mod database;
mod disk_full;
mod events;
mod farm;
mod full_disk;
mod holdings;
mod integrity;
mod keys;
mod letters;
mod lifecycle;
mod metrics;
mod objects;
mod once;
mod problems;
#[path = "../../../common/tests/recorded/load.rs"]
mod recorded;
mod sessions;
mod sign_in;
mod streams;
mod tus;
mod uploads;
mod versions;
mod webhooks;
mod workers;
