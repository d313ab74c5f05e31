//! Why tasks wait, in words, found out once per requirement and state of the fleet: every submission says it twice, and
//! with a thousand workers each answer is a look at all of them.

use std::{cell::RefCell, collections::BTreeMap, sync::Arc, time::Duration};

use crate::fleet::{Fleet, Requirement, explain};

/// Time alone changes the answer too: workers fall silent.
const KEPT_FOR: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
pub(super) struct Waiting {
    known: RefCell<Known>,
}

#[derive(Debug, Default)]
struct Known {
    fleet: u64,
    since: Duration,
    words: BTreeMap<Arc<Requirement>, Option<String>>,
}

impl Waiting {
    /// [`explain`], or what it said a moment ago about the same fleet.
    pub(super) fn explain(
        &self,
        requirement: &Arc<Requirement>,
        fleet: &Fleet,
        now: Duration,
    ) -> Option<String> {
        let mut known = self.known.borrow_mut();
        if known.fleet != fleet.version() || now.saturating_sub(known.since) > KEPT_FOR {
            *known = Known { fleet: fleet.version(), since: now, words: BTreeMap::new() };
        }
        let words =
            known.words.entry(requirement.clone()).or_insert_with(|| explain(requirement, fleet, now));
        words.clone()
    }
}
