//! `presets`.

use std::path::Path;

use common::{api::PresetView, preset::Preset};

use crate::{cli::PresetsCommand, client::Farm, console, error::Error, exit::Exit, names, text, transcode};

pub(crate) async fn run(command: PresetsCommand, farm: &Farm) -> Result<Exit, Error> {
    let folder = match &command {
        PresetsCommand::Ls(args) => &args.presets_dir,
        PresetsCommand::Show(args) => &args.presets_dir,
    };
    let presets = presets(farm, folder.as_deref()).await?;
    match command {
        PresetsCommand::Ls(args) => {
            if args.json {
                console::print_json(&presets)?;
            } else {
                let mut table = super::table(&["PRESET", "MAKES"]);
                for preset in &presets {
                    table.add_row([text::printable(&preset.name), text::printable(&preset.description)]);
                }
                console::print(&table.trim_fmt())?;
            }
        }
        PresetsCommand::Show(args) => {
            let Some(preset) = presets.iter().find(|preset| preset.name == args.preset) else {
                let known = presets.iter().map(|preset| preset.name.as_str());
                return Err(names::unknown_preset(&args.preset, known));
            };
            if args.json {
                console::print_json(preset)?;
            } else {
                console::print(&toml(preset)?)?;
            }
        }
    }
    Ok(Exit::Ok)
}

/// The farm's, when one was named; the built-in ones otherwise.
async fn presets(farm: &Farm, folder: Option<&Path>) -> Result<Vec<PresetView>, Error> {
    if let Some(client) = farm.named()? {
        return Ok(client.presets().await?);
    }
    let view = |preset: &Preset| PresetView {
        name: preset.name.clone(),
        description: preset.description.clone(),
        spec: preset.spec.clone(),
    };
    Ok(transcode::local_presets(folder)?.iter().map(view).collect())
}

/// As a file in a folder of presets has it.
fn toml(preset: &PresetView) -> Result<String, Error> {
    toml::to_string_pretty(preset)
        .map(|text| text.trim_end().to_owned())
        .map_err(|error| Error::failed(format!("cannot write preset {} as TOML: {error}", preset.name)))
}
