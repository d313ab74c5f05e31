//! `profiles`.

use std::path::Path;

use common::profile::{Profile, Profiles};

use crate::{cli::ProfilesCommand, client::Farm, console, error::Error, exit::Exit, names, text};

pub(crate) async fn run(command: ProfilesCommand, farm: &Farm) -> Result<Exit, Error> {
    let folder = match &command {
        ProfilesCommand::Ls(args) => &args.profiles_dir,
        ProfilesCommand::Show(args) => &args.profiles_dir,
    };
    let profiles = profiles(farm, folder.as_deref()).await?;
    match command {
        ProfilesCommand::Ls(args) => {
            if args.json {
                console::print_json(&profiles)?;
            } else {
                let mut table = super::table(&["PROFILE", "GIVES"]);
                for profile in &profiles {
                    table.add_row([text::printable(&profile.name), text::printable(&profile.description)]);
                }
                console::print(&table.trim_fmt())?;
            }
        }
        ProfilesCommand::Show(args) => {
            let Some(profile) = profiles.iter().find(|profile| profile.name == args.profile) else {
                let known = profiles.iter().map(|profile| profile.name.as_str());
                return Err(names::unknown_profile(&args.profile, known));
            };
            if args.json {
                console::print_json(profile)?;
            } else {
                console::print(&toml(profile)?)?;
            }
        }
    }
    Ok(Exit::Ok)
}

/// The farm's, when one was named; the built-in ones otherwise.
async fn profiles(farm: &Farm, folder: Option<&Path>) -> Result<Vec<Profile>, Error> {
    if let Some(client) = farm.named()? {
        return Ok(client.profiles().await?);
    }
    let profiles = match folder {
        Some(folder) => Profiles::load(folder).map_err(|error| Error::invalid(error.to_string()))?,
        None => Profiles::builtin(),
    };
    Ok(profiles.iter().cloned().collect())
}

/// As a file in a folder of profiles has it.
fn toml(profile: &Profile) -> Result<String, Error> {
    toml::to_string_pretty(profile)
        .map(|text| text.trim_end().to_owned())
        .map_err(|error| Error::failed(format!("cannot write profile {} as TOML: {error}", profile.name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_is_a_file_of_ones_own() {
        for profile in Profiles::builtin().iter() {
            let folder = tempfile::tempdir().unwrap();
            std::fs::write(folder.path().join("mine.toml"), toml(profile).unwrap()).unwrap();
            assert_eq!(Profiles::load(folder.path()).unwrap().get(&profile.name), Some(profile));
        }
    }
}
