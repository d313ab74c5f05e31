//! What live tests need: a broadcast that can be disturbed, viewers that write down what they got and when, and judges that
//! decode it.
//!
//! Broadcasts and viewers run on a runtime of their own, so that a test that computes disturbs neither.

pub mod broadcast;
pub mod browser;
pub mod decode;
pub mod farm;
pub mod hls;
pub mod player;
pub mod playlist;
pub mod pusher;
pub mod recording;
pub mod sender;
pub mod ts;
pub mod viewer;

use std::sync::LazyLock;

pub use self::{
    broadcast::Broadcast,
    decode::Decoded,
    hls::{HlsPlayer, Played},
    player::{Player, Watched},
    recording::Recording,
    viewer::{Received, Viewer},
};

static RUNTIME: LazyLock<tokio::runtime::Runtime> = LazyLock::new(|| {
    common::tls::install_provider();
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("live")
        .enable_all()
        .build()
        .unwrap()
});

static CLIENT: LazyLock<reqwest::Client> = LazyLock::new(|| {
    common::tls::install_provider();
    reqwest::Client::builder().no_proxy().build().unwrap()
});

/// One for all: to make one takes long.
pub(crate) fn client() -> &'static reqwest::Client {
    &CLIENT
}

/// Where broadcasts and viewers run.
#[must_use]
pub fn runtime() -> &'static tokio::runtime::Handle {
    RUNTIME.handle()
}
