//! Ctrl-C: the first one asks for a clean end, the second one for an end now.

use std::future::Future;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::{error::Error, exit::Exit};

/// SIGINT, SIGTERM and SIGHUP of this process.
#[derive(Debug, Clone)]
pub(crate) struct Interrupt {
    /// The first signal: cancel what runs, wait for the cleanup.
    pub asked: CancellationToken,
    /// The second signal: leave.
    pub insisted: CancellationToken,
}

impl Interrupt {
    pub(crate) fn listen() -> Result<Self, Error> {
        let this = Self { asked: CancellationToken::new(), insisted: CancellationToken::new() };
        let failed = |error| Error::failed(format!("cannot listen for signals: {error}"));
        let mut int = signal(SignalKind::interrupt()).map_err(failed)?;
        let mut term = signal(SignalKind::terminate()).map_err(failed)?;
        let mut hup = signal(SignalKind::hangup()).map_err(failed)?;
        let tokens = this.clone();
        // Lives as long as the runtime: nothing waits for it, and it holds nothing that wants cleaning up.
        tokio_util::task::TaskTracker::new().spawn(async move {
            loop {
                tokio::select! {
                    _ = int.recv() => {}
                    _ = term.recv() => {}
                    _ = hup.recv() => {}
                }
                if tokens.asked.is_cancelled() {
                    tokens.insisted.cancel();
                } else {
                    tokens.asked.cancel();
                }
            }
        });
        Ok(this)
    }

    /// Runs what needs no cleanup and leaves it where it is on the first signal.
    pub(crate) async fn or_leave(
        &self,
        work: impl Future<Output = Result<Exit, Error>>,
    ) -> Result<Exit, Error> {
        tokio::select! {
            biased;
            () = self.asked.cancelled() => Err(Error::interrupted()),
            result = work => result,
        }
    }
}
