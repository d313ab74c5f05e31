//! What a preset makes, known before anything is started.

use std::path::Path;

use common::{preset::Presets, spec::Spec};

use crate::{client::Client, error::Error, names};

/// The spec of a preset of the farm, or of one that is built in or in the user's folder.
///
/// # Errors
/// There is none of that name; the farm cannot be reached.
pub(super) async fn find(name: &str, farm: Option<&Client>, folder: Option<&Path>) -> Result<Spec, Error> {
    if let Some(client) = farm {
        let presets = client.presets().await?;
        return match presets.iter().find(|preset| preset.name == name) {
            Some(preset) => Ok(preset.spec.clone()),
            None => Err(names::unknown_preset(name, presets.iter().map(|preset| preset.name.as_str()))),
        };
    }
    let presets = local(folder)?;
    match presets.get(name) {
        Some(preset) => Ok(preset.spec.clone()),
        None => Err(names::unknown_preset(name, presets.iter().map(|preset| preset.name.as_str()))),
    }
}

/// The presets that are built in, and those of a folder.
pub(crate) fn local(folder: Option<&Path>) -> Result<Presets, Error> {
    match folder {
        Some(folder) => Presets::load(folder).map_err(|error| Error::invalid(error.to_string())),
        None => Ok(Presets::builtin()),
    }
}
