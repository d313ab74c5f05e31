//! Where results go: decided here, from the specs and what is on the disk, before anything is started.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use command::{Command, Kind, Produced};
use common::spec::{Container, Spec};

use crate::error::Error;

/// Where the results of one input go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    /// The one result, under this name.
    File(PathBuf),
    /// All results, under their own names in this folder.
    Folder(PathBuf),
}

impl Target {
    /// The folder that must be writable.
    pub(crate) fn folder(&self) -> &Path {
        match self {
            Self::Folder(folder) => folder,
            Self::File(file) => match file.parent() {
                Some(parent) if !parent.as_os_str().is_empty() => parent,
                _ => Path::new("."),
            },
        }
    }
}

/// Where the results of one job go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// To this machine.
    Here(Target),
    /// The farm delivers them below this address.
    Delivered(String),
}

/// What comes out of one job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Makes {
    /// Who says so: `preset h264`, `the command`.
    pub by: String,
    /// `None`: several files.
    pub file: Option<OneFile>,
}

/// The one file that comes out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OneFile {
    /// Those that fit, the usual one first.
    pub extensions: Vec<String>,
    /// It has a name of its own; otherwise it is called after the input.
    pub named: bool,
}

impl Makes {
    pub(crate) fn of_preset(name: &str, spec: &Spec) -> Self {
        let file = match spec {
            Spec::File(file) => Some(OneFile {
                extensions: extensions(file.container)
                    .iter()
                    .map(|&extension| extension.to_owned())
                    .collect(),
                named: false,
            }),
            Spec::Hls(_) | Spec::Thumbnails(_) | Spec::Command(_) | Spec::Probe => None,
        };
        Self { by: format!("preset {name}"), file }
    }

    /// `named`: its outputs have names.
    pub(crate) fn of_command(command: &Command, named: bool) -> Self {
        let file = match command.outputs().as_slice() {
            [Produced { name, kind: Kind::File, .. }] => {
                let extension = Path::new(name.as_str()).extension().unwrap_or_default();
                Some(OneFile { extensions: vec![extension.to_string_lossy().to_lowercase()], named })
            }
            _ => None,
        };
        Self { by: "the command".to_owned(), file }
    }
}

/// The address that `out` is, if the farm is to deliver the results.
///
/// # Errors
/// It is a URL to which nothing is delivered.
pub(crate) fn delivery(out: &Path) -> Result<Option<&str>, Error> {
    match out.to_str().and_then(|text| Some((text, text.split_once("://")?.0))) {
        None => Ok(None),
        Some((url, "s3" | "gs" | "az" | "file")) => Ok(Some(url)),
        Some((url, scheme)) => Err(Error::invalid(format!(
            "{url}: results go to a file or folder, or are delivered to s3://, gs://, az:// or file://, not {scheme}://"
        ))),
    }
}

/// Where each job's results are delivered to: several jobs get folders of their own below `url`.
pub(crate) fn deliveries(url: &str, stems: &[String]) -> Vec<Place> {
    match stems {
        [_] => vec![Place::Delivered(url.to_owned())],
        _ => unique(stems).map(|stem| Place::Delivered(format!("{}/", below(url, &stem)))).collect(),
    }
}

/// The address of what is called `name` below `url`.
pub(crate) fn below(url: &str, name: &str) -> String {
    format!("{}/{name}", url.strip_suffix('/').unwrap_or(url))
}

/// What is at the path that the user named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    Nothing,
    File,
    Folder,
}

/// Where each input's results go. `stems` are the names that results are called after, one for each input.
///
/// # Errors
/// The name does not fit what is made.
pub(crate) fn plan(out: &Path, found: Found, makes: &Makes, stems: &[String]) -> Result<Vec<Target>, Error> {
    let by = &makes.by;
    let folder = |stems: &[String]| in_folder(out, makes, stems);
    let slash = std::os::unix::ffi::OsStrExt::as_bytes(out.as_os_str()).ends_with(b"/");
    match found {
        Found::Folder => return Ok(folder(stems)),
        Found::File if slash => {
            return Err(Error::invalid(format!("{} is a file, not a folder", out.display())));
        }
        Found::File | Found::Nothing => {}
    }
    if slash {
        return Ok(folder(stems));
    }
    let extension = out.extension().map(|extension| extension.to_string_lossy().to_lowercase());
    if stems.len() > 1 {
        if found == Found::File || extension.as_deref().is_some_and(is_media) {
            return Err(Error::invalid(format!(
                "{} inputs cannot go into the one file {}; name a folder, for example -o {}/",
                stems.len(),
                out.display(),
                out.with_extension("").display(),
            )));
        }
        return Ok(folder(stems));
    }
    let Some(OneFile { extensions, .. }) = &makes.file else {
        if found == Found::File || extension.as_deref().is_some_and(is_media) {
            return Err(Error::invalid(format!(
                "{by} makes several files, which cannot all be {}; name a folder, for example -o {}/",
                out.display(),
                out.with_extension("").display(),
            )));
        }
        return Ok(folder(stems));
    };
    match extension.as_deref() {
        Some(extension) if extensions.iter().any(|fitting| fitting == extension) => {
            Ok(vec![Target::File(out.to_owned())])
        }
        None if found == Found::Nothing => Ok(folder(stems)),
        _ => Err(Error::invalid(format!(
            "{by} makes .{} files, and {} does not end so; use -o {}, or -o {}/ for a folder",
            extensions[0],
            out.display(),
            out.with_extension(&extensions[0]).display(),
            out.display(),
        ))),
    }
}

/// Files without names of their own are called after their inputs; everything else gets a folder of its own when there
/// are several inputs.
fn in_folder(out: &Path, makes: &Makes, stems: &[String]) -> Vec<Target> {
    match &makes.file {
        Some(OneFile { extensions, named: false }) => {
            unique(stems).map(|stem| Target::File(out.join(format!("{stem}.{}", extensions[0])))).collect()
        }
        Some(_) | None if stems.len() == 1 => vec![Target::Folder(out.to_owned())],
        Some(_) | None => unique(stems).map(|stem| Target::Folder(out.join(stem))).collect(),
    }
}

/// The same names, those that were there before with a number.
fn unique(stems: &[String]) -> impl Iterator<Item = String> {
    let mut taken = BTreeSet::new();
    stems.iter().map(move |stem| {
        let mut name = stem.clone();
        let mut number = 2;
        // Not every file system tells A from a.
        while !taken.insert(name.to_lowercase()) {
            name = format!("{stem}-{number}");
            number += 1;
        }
        name
    })
}

/// File name extensions that fit a container, the usual one first.
const fn extensions(container: Container) -> &'static [&'static str] {
    match container {
        Container::Mp4 => &["mp4", "m4v"],
        Container::Mov => &["mov", "qt"],
        Container::Mkv => &["mkv", "mka", "mk3d"],
        Container::Webm => &["webm", "weba"],
        Container::M4a => &["m4a", "m4b", "mp4"],
        Container::Mp3 => &["mp3"],
        Container::Ogg => &["ogg", "oga", "ogv", "opus"],
        Container::Flac => &["flac"],
        Container::Wav => &["wav"],
    }
}

/// Extensions that nobody gives a folder.
fn is_media(extension: &str) -> bool {
    const OTHERS: &[&str] = &[
        "m3u8", "mpd", "ts", "avi", "mxf", "aac", "jpg", "jpeg", "png", "webp", "vtt", "m4s", "mpg", "mpeg",
        "gif", "mp4", "m4v", "mov", "qt", "mkv", "mka", "webm", "m4a", "m4b", "mp3", "ogg", "oga", "ogv",
        "opus", "flac", "wav",
    ];
    OTHERS.contains(&extension)
}

/// Where one output of a job goes below the target, if its name can be trusted.
///
/// # Errors
/// The name is absolute or climbs out of the folder.
pub(crate) fn relative(output: &str) -> Result<PathBuf, Error> {
    let parts: Vec<&str> = output.split('/').collect();
    let safe = |part: &&str| !matches!(*part, "" | "." | "..") && !part.contains(['\0', '\\']);
    if parts.iter().all(safe) {
        Ok(parts.iter().collect())
    } else {
        Err(Error::failed(format!(
            "the coordinator names an output {output:?}, which is no name of a file below a folder; nothing was written"
        )))
    }
}

/// The order in which finished files appear: playlists after what they list, the outermost last, so that a player never
/// sees a playlist without its segments.
pub(crate) fn publication_order(output: &str) -> (bool, std::cmp::Reverse<usize>) {
    let is_index = output.ends_with(".m3u8") || output.ends_with(".mpd") || output.ends_with(".vtt");
    (is_index, std::cmp::Reverse(output.matches('/').count()))
}

#[cfg(test)]
mod tests {
    use common::{media::AudioCodec, spec::*};

    use super::*;

    fn audio() -> AudioSpec {
        AudioSpec {
            codec: AudioCodec::Aac,
            bitrate: None,
            max_channels: None,
            sample_rate: None,
            tracks: AudioTracks::First,
        }
    }

    fn file() -> Spec {
        Spec::File(FileSpec {
            container: Container::Mp4,
            video: None,
            audio: Some(audio()),
            subtitles: false,
            cover_art: false,
        })
    }

    fn thumbnails() -> Spec {
        Spec::Thumbnails(ThumbnailsSpec {
            poster_width: 1,
            tile_width: 1,
            columns: 1,
            rows: 1,
            interval: 1.0,
            max_tiles: 1,
        })
    }

    fn planned(out: &str, found: Found, spec: &Spec, stems: &[&str]) -> Result<Vec<Target>, String> {
        plan(Path::new(out), found, &Makes::of_preset("p", spec), &owned(stems))
            .map_err(|error| error.message)
    }

    fn owned(stems: &[&str]) -> Vec<String> {
        stems.iter().map(|stem| (*stem).to_owned()).collect()
    }

    fn one_file(path: &str) -> Result<Vec<Target>, String> {
        Ok(vec![Target::File(path.into())])
    }

    #[test]
    fn one_file_gets_the_name_that_was_given_or_goes_into_the_folder() {
        assert_eq!(planned("b.mp4", Found::Nothing, &file(), &["a"]), one_file("b.mp4"));
        assert_eq!(planned("b.M4V", Found::File, &file(), &["a"]), one_file("b.M4V"));
        assert_eq!(planned("out", Found::Nothing, &file(), &["a"]), one_file("out/a.mp4"));
        assert_eq!(planned("out.v2/", Found::Nothing, &file(), &["a"]), one_file("out.v2/a.mp4"));
        assert_eq!(planned("x.mp4", Found::Folder, &file(), &["a"]), one_file("x.mp4/a.mp4"));
    }

    #[test]
    fn a_name_that_does_not_fit_the_container_is_refused_with_one_that_does() {
        let error = planned("b.mkv", Found::Nothing, &file(), &["a"]).unwrap_err();
        assert_eq!(
            error,
            "preset p makes .mp4 files, and b.mkv does not end so; use -o b.mp4, or -o b.mkv/ for a folder"
        );
    }

    #[test]
    fn several_files_need_a_folder() {
        assert_eq!(
            planned("out", Found::Nothing, &thumbnails(), &["a"]),
            Ok(vec![Target::Folder("out".into())])
        );
        let error = planned("out.m3u8", Found::Nothing, &thumbnails(), &["a"]).unwrap_err();
        assert!(error.contains("-o out/"), "{error}");
        let error = planned("b.mp4", Found::Nothing, &file(), &["a", "b"]).unwrap_err();
        assert!(error.contains("2 inputs cannot go into the one file b.mp4"), "{error}");
        assert!(planned("out", Found::File, &thumbnails(), &["a"]).is_err());
    }

    #[test]
    fn inputs_of_the_same_name_do_not_overwrite_each_other() {
        assert_eq!(
            planned("out", Found::Folder, &file(), &["a", "A", "b"]).unwrap(),
            ["out/a.mp4", "out/A-2.mp4", "out/b.mp4"].map(|path| Target::File(path.into()))
        );
        assert_eq!(
            planned("out", Found::Folder, &thumbnails(), &["a", "b"]).unwrap(),
            ["out/a", "out/b"].map(|path| Target::Folder(path.into()))
        );
    }

    #[test]
    fn the_names_in_a_command_are_kept_in_folders() {
        let planned = |text: &str, out: &str, stems: &[&str]| {
            let makes =
                Makes::of_command(&Command::parse_for(text, Some("mp4")).unwrap(), text.contains("{{out:"));
            plan(Path::new(out), Found::Nothing, &makes, &owned(stems)).map_err(|error| error.message)
        };
        let folders = |paths: &[&str]| Ok(paths.iter().map(|path| Target::Folder(path.into())).collect());
        assert_eq!(planned("-c:v libx264", "out/", &["a"]), one_file("out/a.mp4"));
        assert_eq!(planned("-c:v libx264", "b.mp4", &["a"]), one_file("b.mp4"));
        assert_eq!(planned("-c:v libx264 {{out:x.mkv}}", "b.mkv", &["a"]), one_file("b.mkv"));
        assert_eq!(planned("-c:v libx264 {{out:x.mkv}}", "out/", &["a"]), folders(&["out/"]));
        assert_eq!(planned("-c:v libx264 {{out:x.mkv}}", "out", &["a", "b"]), folders(&["out/a", "out/b"]));
        assert_eq!(planned("{{out:x.mkv}} {{out:x.mp3}}", "out", &["a"]), folders(&["out"]));
        let error = planned("{{out:x.mkv}} {{out:x.mp3}}", "b.mkv", &["a"]).unwrap_err();
        assert!(error.starts_with("the command makes several files"), "{error}");
        let error = planned("{{out:x.mkv}}", "b.mp4", &["a"]).unwrap_err();
        assert!(error.starts_with("the command makes .mkv files"), "{error}");
    }

    #[test]
    fn several_deliveries_do_not_take_each_others_places() {
        let places = |stems: &[&str]| deliveries("s3://b/p/", &owned(stems));
        let delivered = |urls: &[&str]| -> Vec<_> {
            urls.iter().map(|url| Place::Delivered((*url).to_owned())).collect()
        };
        assert_eq!(places(&["a"]), delivered(&["s3://b/p/"]));
        assert_eq!(places(&["a", "A"]), delivered(&["s3://b/p/a/", "s3://b/p/A-2/"]));
        assert_eq!(below("s3://b", "x/y.ts"), "s3://b/x/y.ts");
    }

    #[test]
    fn only_what_takes_deliveries_is_delivered_to() {
        assert_eq!(delivery(Path::new("az://c/p")).unwrap(), Some("az://c/p"));
        assert_eq!(delivery(Path::new("out/s3:/x")).unwrap(), None);
        assert!(delivery(Path::new("ftp://h/x")).unwrap_err().message.contains("not ftp://"));
    }

    #[test]
    fn an_output_cannot_climb_out_of_its_folder() {
        assert_eq!(relative("720p/seg1.m4s").unwrap(), Path::new("720p/seg1.m4s"));
        for evil in ["../x", "/etc/passwd", "a/../../x", "", "a//b", "a\\..\\b"] {
            assert!(relative(evil).is_err(), "{evil}");
        }
    }

    #[test]
    fn the_master_playlist_appears_last() {
        let mut names = ["master.m3u8", "720p/playlist.m3u8", "720p/0.m4s", "poster.jpg"];
        names.sort_by_key(|name| publication_order(name));
        assert_eq!(names, ["720p/0.m4s", "poster.jpg", "720p/playlist.m3u8", "master.m3u8"]);
    }
}
