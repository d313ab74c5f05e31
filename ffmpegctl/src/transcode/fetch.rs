//! From the coordinator's outputs to the user's folder: complete or not at all.

use std::{
    fs,
    path::{Path, PathBuf},
};

use common::{id::JobId, worker::OutputFile};
use futures::{TryStreamExt, stream};

use super::{
    folder,
    outputs::{self, Target},
};
use crate::{
    client::{self, Client, Counter},
    error::Error,
    text,
};

/// Files fetched at the same time: enough to hide the round trips of many small segments.
const AT_ONCE: usize = 4;

pub(super) struct Fetch<'a> {
    pub client: &'a Client,
    pub job: JobId,
    pub outputs: &'a [OutputFile],
    pub target: &'a Target,
    pub force: bool,
    pub received: &'a Counter,
    pub retrying: &'a (dyn Fn(&client::Error) + Send + Sync),
}

/// Where the results are, absolute.
#[derive(Debug)]
pub(super) struct Fetched {
    pub all: Vec<PathBuf>,
    /// Those that a person opens: the master playlist, not its segments.
    pub entries: Vec<PathBuf>,
}

/// Fetches every output under a temporary name and gives them their names when all are there.
///
/// # Errors
/// The connection broke for good, a file is not what was published, or the folder cannot be written. Nothing of the results is left then.
pub(super) async fn fetch(fetch: Fetch<'_>) -> Result<Fetched, Error> {
    let planned = plan(fetch.outputs, fetch.target, fetch.job)?;
    let staging = folder::staging(fetch.target)?;
    check_space(fetch.target.folder(), fetch.outputs.iter().map(|output| output.size).sum())?;
    stream::iter(planned.iter().enumerate().map(Ok))
        .try_for_each_concurrent(AT_ONCE, |(number, (output, _))| {
            let path = staging.path().join(number.to_string());
            let fetch = &fetch;
            async move {
                fs::File::create_new(&path).map_err(|error| Error::writing("write", &path, &error))?;
                fetch.client.download(fetch.job, output, &path, fetch.received, fetch.retrying).await
            }
        })
        .await?;
    let mut fetched = Fetched { all: Vec::new(), entries: Vec::new() };
    for (number, (_, to)) in planned.iter().enumerate() {
        folder::publish(&staging.path().join(number.to_string()), to, fetch.force)?;
        fetched.all.push(absolute(to));
    }
    let names: Vec<_> = planned.iter().map(|(output, _)| output.path.as_str()).collect();
    fetched.entries = entries(&names).into_iter().map(|index| fetched.all[index].clone()).collect();
    Ok(fetched)
}

/// Each output with its place, in the order in which they may appear.
fn plan<'a>(
    outputs: &'a [OutputFile],
    target: &Target,
    job: JobId,
) -> Result<Vec<(&'a OutputFile, PathBuf)>, Error> {
    if outputs.is_empty() {
        return Err(Error::failed(format!("job {job} succeeded and has no outputs")));
    }
    match target {
        Target::File(file) => match outputs {
            [output] => Ok(vec![(output, file.clone())]),
            _ => Err(Error::failed(format!(
                "job {job} made {} files and one was expected; fetch them into a folder, with -o {}/",
                outputs.len(),
                file.with_extension("").display()
            ))),
        },
        Target::Folder(folder) => {
            let mut planned = outputs
                .iter()
                .map(|output| Ok((output, folder.join(outputs::relative(&output.path)?))))
                .collect::<Result<Vec<_>, Error>>()?;
            planned.sort_by_key(|(output, _)| outputs::publication_order(&output.path));
            Ok(planned)
        }
    }
}

/// The outputs that a person opens: the outermost playlists, or else the outermost files.
pub(super) fn entries(names: &[&str]) -> Vec<usize> {
    let playlists = |name: &str| name.ends_with(".m3u8") || name.ends_with(".mpd");
    let any = names.iter().any(|name| playlists(name));
    let depth = |name: &str| name.matches('/').count();
    let candidates = || names.iter().enumerate().filter(|(_, name)| !any || playlists(name));
    let Some(outermost) = candidates().map(|(_, name)| depth(name)).min() else { return Vec::new() };
    candidates().filter(|(_, name)| depth(name) == outermost).map(|(index, _)| index).collect()
}

fn check_space(folder: &Path, needed: u64) -> Result<(), Error> {
    // A file system that does not tell is tried out by writing.
    let Ok(stat) = rustix::fs::statvfs(folder) else { return Ok(()) };
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    // Some network file systems say 0 of 0.
    if stat.f_blocks > 0 && free < needed {
        return Err(Error::unwritable(format!(
            "no space left for the results in {}: they have {} and {} are free; free some space or choose a folder on \
             another disk",
            folder.display(),
            text::bytes(needed),
            text::bytes(free)
        )));
    }
    Ok(())
}

fn absolute(path: &Path) -> PathBuf {
    path.canonicalize().or_else(|_| std::path::absolute(path)).unwrap_or_else(|_| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(path: &str) -> OutputFile {
        OutputFile { path: path.to_owned(), size: 1, content_type: String::new(), sha256: String::new() }
    }

    #[test]
    fn a_person_opens_the_master_playlist() {
        assert_eq!(entries(&["720p/0.m4s", "720p/playlist.m3u8", "master.m3u8"]), [2]);
        assert_eq!(entries(&["sprite-1.jpg", "poster.jpg", "thumbnails.vtt"]), [0, 1, 2]);
        assert_eq!(entries(&["a.mp4"]), [0]);
    }

    #[test]
    fn one_file_takes_the_name_that_the_user_gave() {
        let outputs = [output("whatever.mp4")];
        let planned = plan(&outputs, &Target::File("my.mp4".into()), JobId::new()).unwrap();
        assert_eq!(planned[0].1, Path::new("my.mp4"));
        let several = [output("a"), output("b")];
        assert!(plan(&several, &Target::File("my.mp4".into()), JobId::new()).is_err());
    }

    #[test]
    fn nothing_is_written_for_an_output_that_climbs_out() {
        let outputs = [output("ok.m4s"), output("../evil")];
        assert!(plan(&outputs, &Target::Folder("out".into()), JobId::new()).is_err());
    }

    #[test]
    fn a_disk_that_is_too_small_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let error = check_space(folder.path(), u64::MAX).unwrap_err();
        assert!(error.message.contains(&folder.path().display().to_string()), "{error}");
        check_space(folder.path(), 1).unwrap();
    }
}
