//! Live streams: a source comes in once, each variant of it is encoded once by a worker, and every viewer reads the same
//! buffer.
//!
//! The way of the bytes: [`source`] takes a source in, puts it on the stream's own timeline and keeps the last seconds of it;
//! an attempt reads it from there as MPEG-TS ([`attempts`]). What comes back goes through the variant's [`pipeline`], where
//! [`splice`] decides which frames of which attempt are delivered, into its [`output`], which viewers read. [`control`] decides
//! which attempts there are; [`presence`] knows who watches; [`runtime`] is the shell around it, [`service`] what others see of it.
//!
//! Nothing of the media is durable. Durable are the streams' definitions and the numbers below which no media sequence may
//! start.

mod attempts;
mod control;
mod copy;
pub mod output;
pub mod pipeline;
pub mod presence;
pub mod pull;
pub mod runtime;
pub mod service;
pub mod source;
pub mod splice;
pub mod streams;
mod view;
mod work;

pub(crate) use control::variant::Tally;
