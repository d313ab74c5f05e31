//! Live work: ffmpeg between two HTTP bodies.
//!
//! The coordinator's GET is piped to ffmpeg's stdin and its stdout into a chunked PUT, each over a connection of its own and
//! with nothing kept in between but what the pipes hold: TCP's back-pressure reaches ffmpeg and ffmpeg's reaches the source.
//! The body of the PUT ends properly only if ffmpeg ended well after its input was over; anything else breaks it off, so that
//! the coordinator never takes a torn result for a whole one.
//!
//! Live work is never resumed: whatever breaks, the attempt ends and the coordinator makes another.

mod attempt;
mod flow;
mod input;
mod output;
mod peek;
mod words;

use std::time::Duration;

use reqwest::Client;

pub(crate) use self::attempt::attempt;

/// The client for both bodies: no connection is shared, or kept for another.
pub(crate) fn client() -> Result<Client, reqwest::Error> {
    Client::builder()
        .connect_timeout(Duration::from_secs(5))
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .http1_only()
        .pool_max_idle_per_host(0)
        .tcp_nodelay(true)
        .user_agent(concat!("ffmpegd/", env!("CARGO_PKG_VERSION")))
        .build()
}
