//! What the coordinator's messages mean.

use std::time::Instant;

use common::{
    failpoint,
    proto::{self, coordinator_message::Message as FromCoordinator},
};

use crate::{
    run::{self, Assignment, Unusable},
    session::Event,
};

/// What a message means; nothing for one that makes no sense here.
pub(super) fn understand(message: proto::CoordinatorMessage, looked: Instant) -> Option<Event> {
    let id = |task: &str, epoch| {
        run::attempt_id(task, epoch)
            .inspect_err(|error| tracing::warn!(%error, "the coordinator sent a message that makes no sense"))
            .ok()
    };
    match message.message? {
        FromCoordinator::Assign(assign) => match Assignment::try_from(assign) {
            Ok(assignment) => Some(Event::Assigned(Box::new(assignment), looked)),
            Err(Unusable::Attempt(attempt, failure)) => Some(Event::Unusable(attempt, failure)),
            Err(Unusable::Nameless(error)) => {
                tracing::warn!(%error, "the coordinator sent an assignment that makes no sense");
                None
            }
        },
        FromCoordinator::StopAttempt(stop) => {
            Some(Event::StopAsked(id(&stop.task_id, stop.epoch)?, stop.reason))
        }
        FromCoordinator::AttemptAcknowledged(ack) => {
            failpoint::hit("report.acknowledged");
            Some(Event::Acknowledged(id(&ack.task_id, ack.epoch)?))
        }
        FromCoordinator::LeasesRenewed(renewed) => Some(Event::Renewed(
            renewed.attempts.iter().filter_map(|attempt| id(&attempt.task_id, attempt.epoch)).collect(),
        )),
        FromCoordinator::SetDraining(draining) => {
            // The coordinator sends no work meanwhile; what runs goes on.
            tracing::info!(draining = draining.draining, "an operator changed whether this worker drains");
            None
        }
        FromCoordinator::Idle(_) => Some(Event::Idle),
        FromCoordinator::ProbeAgain(_) => None,
        FromCoordinator::Welcome(_) => {
            tracing::warn!("the coordinator welcomed this worker twice");
            None
        }
    }
}
