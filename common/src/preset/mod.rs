//! Presets: named specs, built in or read from a folder of TOML files.

use serde::{Deserialize, Serialize};

use crate::spec::Spec;

/// A named spec.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Preset {
    pub name: String,
    /// One line for people.
    pub description: String,
    pub spec: Spec,
}

/// The presets that can be asked for, by name.
#[derive(Debug, Clone, Default)]
pub struct Presets(std::collections::BTreeMap<String, Preset>);

impl Presets {
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Preset> {
        self.0.get(name)
    }

    /// By name.
    pub fn iter(&self) -> impl Iterator<Item = &Preset> {
        self.0.values()
    }
}
