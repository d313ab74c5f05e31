//! What a worker learns about its own machine while it works: whether its scratch folder has room, whether its devices
//! still do what they did.

use std::{pin::Pin, sync::Arc, time::Instant};

use common::{
    failure::FailureKind,
    proto::{self, worker_message::Message as ToCoordinator},
    worker::Capabilities,
};

use super::floor::{Floor, Running};
use crate::{
    probe,
    run::Ending,
    session::{Link, message},
};

/// A probe that runs.
pub(super) type Probe = Pin<Box<dyn Future<Output = Arc<Capabilities>> + Send>>;

impl Floor<'_> {
    /// Whether there is room for new work. The coordinator hears of a change at once.
    pub(super) fn look_at_scratch(&mut self, link: &mut Link) {
        let reason = self.tools.space.not_taking();
        if let Some(reason) = reason.clone().filter(|_| self.state.not_taking().is_empty()) {
            tracing::info!(reason, "no new work is taken");
        }
        let takes_again = reason.is_none();
        if self.state.set_not_taking(reason) {
            if takes_again {
                tracing::info!("there is room in the scratch folder, new work is taken");
            }
            let heartbeat = self.heartbeat(Instant::now());
            link.send(message(ToCoordinator::Heartbeat(heartbeat)));
        }
    }

    /// What an ending says about this machine.
    pub(super) fn learn(&mut self, attempt: Option<&Running>, ending: &Ending) {
        let Ending::Failed(verdict) = ending else { return };
        match verdict.failure.kind {
            // Within its reservation: the file system itself had no room.
            FailureKind::DiskFull if verdict.missing_scratch_bytes == 0 => self.tools.space.ran_full(),
            FailureKind::Crashed | FailureKind::OutputWrong | FailureKind::Stalled
                if attempt.is_some_and(|attempt| attempt.gpu) =>
            {
                self.doubt.suspect();
            }
            _ => {}
        }
    }

    pub(super) fn probe_again(&self) -> Probe {
        let settings = self.worker.config.probe_settings();
        let before = Arc::clone(&self.probed.borrow());
        Box::pin(async move {
            tracing::info!("probing this machine again");
            match probe::probe_again(&settings, &before).await {
                Ok(capabilities) => Arc::new(capabilities),
                Err(error) => Arc::new(nothing_works(&before, &error)),
            }
        })
    }

    pub(super) fn probed(&mut self, capabilities: &Arc<Capabilities>, link: &mut Link) {
        self.probe = None;
        let is_new = offers(capabilities) != offers(&self.probed.borrow());
        if is_new {
            let encoders = capabilities.encoders.len();
            tracing::warn!(encoders, problems = ?capabilities.problems, "this machine is not what it was");
        }
        if capabilities.encoders.is_empty() {
            // Somebody may mend it.
            self.doubt.suspect();
        }
        self.tools.figures.probed();
        self.probed.send_replace(Arc::clone(capabilities));
        if self.doubt.probed(is_new) {
            let changed =
                proto::CapabilitiesChanged { capabilities: Some(Capabilities::clone(capabilities).into()) };
            link.send(message(ToCoordinator::CapabilitiesChanged(changed)));
        }
    }
}

/// What a machine offers without an ffmpeg that works.
fn nothing_works(before: &Capabilities, error: &probe::Error) -> Capabilities {
    let mut capabilities = Capabilities { encoders: Vec::new(), ..before.clone() };
    capabilities.problems = vec![error.to_string()];
    capabilities
}

/// Without what differs each time.
fn offers(capabilities: &Capabilities) -> Capabilities {
    let mut offers = capabilities.clone();
    offers.machine.scratch_free_bytes = 0;
    offers
}

/// Waits for the probe that runs; for ever if there is none.
pub(super) async fn ended(probe: &mut Option<Probe>) -> Arc<Capabilities> {
    match probe {
        Some(probe) => probe.await,
        None => std::future::pending().await,
    }
}
