//! Which files a user's command must have written. What they hold is the user's affair; that they are there, are not empty
//! and are named by playlists is looked at here, and that ffprobe can read them by who asks for the list.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use ::command::{Kind, Name, Produced};

use super::verify::{not_empty, wrong};
use crate::failure::Failure;

/// Checks what each output of a command left in the folder. Returns the files that ffprobe must be able to read: of numbered
/// files the first and the last.
pub(super) fn files(produced: &[Produced], folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let there = names(folder)?;
    let mut look = Vec::new();
    for output in produced {
        let described = |files: Vec<PathBuf>| if output.is_described() { files } else { Vec::new() };
        match &output.kind {
            Kind::File => {
                let path = folder.join(output.name.as_str());
                not_empty(&path)?;
                look.extend(described(vec![path]));
            }
            Kind::Images | Kind::Segments => {
                let files = all_of(&output.name, &there, folder)?;
                look.extend(described(ends(&files)));
            }
            Kind::Hls { master, variants, .. } => {
                look.extend(hls(&output.name, variants.len().max(1), &there, folder)?);
                if let Some(master) = master {
                    not_empty(&folder.join(master.as_str()))?;
                }
            }
            Kind::Dash => {
                let path = folder.join(output.name.as_str());
                let text = fs::read_to_string(&path)
                    .map_err(|error| wrong(&path, format_args!("the manifest cannot be read ({error})")))?;
                if !text.trim_end().ends_with("</MPD>") {
                    return Err(wrong(&path, "the manifest is not whole"));
                }
                look.push(path);
            }
        }
    }
    Ok(look)
}

fn names(folder: &Path) -> Result<BTreeSet<String>, Failure> {
    let unreadable = |error: std::io::Error| wrong(folder, format_args!("it cannot be listed ({error})"));
    let entries = fs::read_dir(folder).map_err(unreadable)?;
    entries.map(|entry| Ok(entry.map_err(unreadable)?.file_name().to_string_lossy().into_owned())).collect()
}

/// The files of a pattern; there must be one, and none may be empty.
fn all_of(name: &Name, there: &BTreeSet<String>, folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let files: Vec<_> = there.iter().filter(|file| name.is_of(file)).map(|file| folder.join(file)).collect();
    if files.is_empty() {
        return Err(wrong(&folder.join(name.as_str()), "ffmpeg did not write it"));
    }
    files.iter().try_for_each(|file| not_empty(file).map(drop))?;
    Ok(files)
}

fn ends(files: &[PathBuf]) -> Vec<PathBuf> {
    let ends: BTreeSet<_> = files.first().into_iter().chain(files.last()).cloned().collect();
    ends.into_iter().collect()
}

/// Every variant's playlist is there, and all that it lists. Returns the playlists.
fn hls(
    playlist: &Name,
    wanted: usize,
    there: &BTreeSet<String>,
    folder: &Path,
) -> Result<Vec<PathBuf>, Failure> {
    let playlists = all_of(playlist, there, folder)?;
    if playlists.len() < wanted {
        let problem = format!("there are {} playlists of {wanted}", playlists.len());
        return Err(wrong(&folder.join(playlist.as_str()), problem));
    }
    for path in &playlists {
        let text = fs::read_to_string(path)
            .map_err(|error| wrong(path, format_args!("the playlist cannot be read ({error})")))?;
        let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        if lines.next() != Some("#EXTM3U") {
            return Err(wrong(path, "it is no playlist: #EXTM3U is missing"));
        }
        let named = text.lines().filter_map(|line| {
            let map = line.strip_prefix("#EXT-X-MAP:URI=\"").and_then(|rest| rest.split('"').next());
            map.or_else(|| Some(line.trim()).filter(|line| !line.is_empty() && !line.starts_with('#')))
        });
        let mut any = false;
        for file in named {
            if !there.contains(file) {
                return Err(wrong(path, format_args!("it lists {file}, which is not there")));
            }
            any = true;
        }
        if !any {
            return Err(wrong(path, "it lists no segments"));
        }
    }
    Ok(playlists)
}
