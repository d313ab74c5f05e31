//! Commands from end to end: read, refused, written, and run with the real ffmpeg.

mod accepted;
mod checker;
mod corpus;
mod docs;
mod ffmpeg;
mod fuzz;
mod refused;
mod serialized;
