//! What a running attempt shows of itself while it runs.

use std::sync::{Mutex, PoisonError};

use common::worker::Progress;

use super::{Account, damage::Tally, log::Log};

/// Written by the attempt, read by the heartbeat.
#[derive(Debug, Default)]
pub(crate) struct Vitals {
    pub(super) log: Mutex<Log>,
    progress: Mutex<Progress>,
    account: Option<Account>,
}

impl Vitals {
    pub(crate) fn of(account: Account) -> Self {
        Self { account: Some(account), ..Self::default() }
    }

    pub(crate) fn account(&self) -> Option<&Account> {
        self.account.as_ref()
    }

    pub(crate) fn progress(&self) -> Progress {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Lines since the last call.
    pub(crate) fn take_log(&self) -> Vec<String> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).take_fresh()
    }

    pub(crate) fn log_tail(&self) -> Vec<String> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).tail()
    }

    pub(super) fn log(&self, line: &str) {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }

    pub(super) fn rename(&self, name: &str, shown: &str) {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).rename(name, shown);
    }

    /// What was said so far is no evidence any more.
    pub(super) fn begin_again(&self) {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).begin_again();
        *self.progress.lock().unwrap_or_else(PoisonError::into_inner) = Progress::default();
    }

    /// Counts what ffmpeg says from now on.
    pub(super) fn start_tally(&self) {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).start_tally();
    }

    pub(super) fn take_tally(&self) -> Tally {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).take_tally()
    }

    pub(super) fn phase(&self, phase: &'static str) {
        if let Some(account) = &self.account {
            account.enter(phase);
        }
        phase.clone_into(&mut self.progress.lock().unwrap_or_else(PoisonError::into_inner).phase);
    }

    /// Figures of ffmpeg; the phase stays.
    pub(super) fn report(&self, mut figures: Progress) {
        let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        figures.phase = std::mem::take(&mut progress.phase);
        if let Some(account) = &self.account {
            account.progressed(&progress, &figures);
        }
        *progress = figures;
    }
}
