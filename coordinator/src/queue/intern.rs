//! What many jobs have in common is kept once: a hundred thousand queued jobs of one preset differ by their inputs only.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use common::spec::Spec;

use crate::fleet::Requirement;

/// Entries before the unused ones are dropped for the first time.
const FIRST_SWEEP: usize = 64;

#[derive(Debug)]
pub(super) struct Pool {
    requirements: BTreeSet<Arc<Requirement>>,
    /// The newest spec of each preset.
    specs: HashMap<String, Arc<Spec>>,
    /// Entries at which the unused ones are dropped.
    sweep_at: usize,
}

impl Default for Pool {
    fn default() -> Self {
        Self { requirements: BTreeSet::new(), specs: HashMap::new(), sweep_at: FIRST_SWEEP }
    }
}

impl Pool {
    pub(super) fn requirement(&mut self, requirement: Requirement) -> Arc<Requirement> {
        if let Some(known) = self.requirements.get(&requirement) {
            return known.clone();
        }
        self.sweep();
        let shared = Arc::new(requirement);
        self.requirements.insert(shared.clone());
        shared
    }

    /// Replaces `spec` by the preset's own if it is the same.
    pub(super) fn share_spec(&mut self, preset: &str, spec: &mut Arc<Spec>) {
        match self.specs.get(preset) {
            Some(known) if known == spec => *spec = known.clone(),
            _ => {
                self.sweep();
                self.specs.insert(preset.to_owned(), spec.clone());
            }
        }
    }

    fn sweep(&mut self) {
        if self.requirements.len() + self.specs.len() < self.sweep_at {
            return;
        }
        self.requirements.retain(|known| Arc::strong_count(known) > 1);
        self.specs.retain(|_, known| Arc::strong_count(known) > 1);
        self.sweep_at = (2 * (self.requirements.len() + self.specs.len())).max(FIRST_SWEEP);
    }
}

#[cfg(test)]
mod tests {
    use common::media::HardwarePolicy;

    use super::*;
    use crate::fleet::testing;

    #[test]
    fn equal_requirements_are_kept_once_and_not_for_ever() {
        let mut pool = Pool::default();
        let one = pool.requirement(testing::h264(HardwarePolicy::Prefer));
        let two = pool.requirement(testing::h264(HardwarePolicy::Prefer));
        assert!(Arc::ptr_eq(&one, &two));
        for number in 0..1000 {
            let mut other = testing::h264(HardwarePolicy::Prefer);
            other.labels.insert("n".to_owned(), number.to_string());
            pool.requirement(other);
        }
        assert!(pool.requirements.len() <= FIRST_SWEEP, "{}", pool.requirements.len());
        assert!(pool.requirements.contains(&one));
    }
}
