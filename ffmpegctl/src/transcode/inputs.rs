//! What is to be transcoded, checked before anything is started.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use common::id::UploadId;

use crate::{error::Error, text::printable};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Input {
    File(LocalFile),
    /// http or https, or an object's, which only a farm reads.
    Url(String),
    /// On the farm already.
    Upload(UploadId),
}

/// What one job reads: `{{in}}`, then `{{in_2}}` and the following.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sources {
    first: Input,
    more: Vec<Input>,
}

impl Sources {
    /// Every argument is one of them.
    ///
    /// # Errors
    /// One of them cannot be used.
    pub(crate) fn check(first: &Path, more: &[PathBuf], on_farm: bool) -> Result<Self, Error> {
        let more = more.iter().map(|argument| check(argument, on_farm));
        Ok(Self { first: check(first, on_farm)?, more: more.collect::<Result<_, _>>()? })
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Input> {
        std::iter::once(&self.first).chain(&self.more)
    }

    /// As the user wrote them.
    pub(crate) fn name(&self) -> String {
        joined(self.iter().map(Input::name))
    }

    /// The name that results are called after.
    pub(crate) fn stem(&self) -> String {
        self.first.stem()
    }
}

impl From<Input> for Sources {
    fn from(first: Input) -> Self {
        Self { first, more: Vec::new() }
    }
}

/// Inputs of one job, by their names.
pub(crate) fn joined(names: impl Iterator<Item = String>) -> String {
    names.collect::<Vec<_>>().join(" + ")
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LocalFile {
    /// As the user wrote it.
    pub given: PathBuf,
    /// Absolute, without links.
    pub canonical: PathBuf,
    pub size: u64,
}

impl Input {
    /// As the user wrote it.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::File(file) => file.given.display().to_string(),
            Self::Url(url) => url.clone(),
            Self::Upload(upload) => upload.to_string(),
        }
    }

    /// The name that results are called after: no folder, no extension, never empty.
    pub(crate) fn stem(&self) -> String {
        let name = match self {
            Self::File(file) => file.file_name(),
            Self::Url(url) => url_file_name(url),
            Self::Upload(upload) => upload.to_string(),
        };
        let stem = Path::new(&name).file_stem().map(|stem| stem.to_string_lossy().into_owned());
        stem.filter(|stem| !stem.trim_matches('.').is_empty()).unwrap_or_else(|| "output".to_owned())
    }
}

impl LocalFile {
    pub(crate) fn file_name(&self) -> String {
        self.given
            .file_name()
            .or_else(|| self.canonical.file_name())
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default()
    }
}

/// The last part of the URL's path, decoded as far as it makes a file name.
fn url_file_name(url: &str) -> String {
    let Ok(url) = reqwest::Url::parse(url) else { return String::new() };
    let last = url.path_segments().and_then(|mut parts| parts.rfind(|part| !part.is_empty())).unwrap_or("");
    let name = percent_decode(last);
    name.chars().map(|c| if c == '/' || c.is_control() { '_' } else { c }).collect()
}

fn percent_decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let hex = |byte: u8| char::from(byte).to_digit(16);
        match (first, tail) {
            (b'%', [high, low, after @ ..]) => {
                if let (Some(high), Some(low)) = (hex(*high), hex(*low)) {
                    bytes.push((high * 16 + low) as u8);
                    rest = after;
                    continue;
                }
                bytes.push(b'%');
            }
            (other, _) => bytes.push(*other),
        }
        rest = tail;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The argument as the user wrote it.
pub(crate) fn name(argument: &Path) -> String {
    argument.display().to_string()
}

/// For progress: without the folders.
pub(crate) fn short_name(argument: &Path) -> String {
    let name = match argument.to_str() {
        Some(url) if url.contains("://") => url_file_name(url),
        _ => argument.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
    };
    printable(&if name.is_empty() { argument.display().to_string() } else { name })
}

/// Checks one argument.
///
/// # Errors
/// It is no URL that can be read from there, and no readable file with something in it.
pub(crate) fn check(argument: &Path, on_farm: bool) -> Result<Input, Error> {
    if let Some((scheme, _)) = argument.to_str().and_then(|text| text.split_once("://")) {
        // A file may be called like this; then it is meant.
        if !argument.exists() {
            return check_url(&argument.to_string_lossy(), scheme, on_farm);
        }
    }
    check_file(argument).map(Input::File)
}

fn check_url(url: &str, scheme: &str, on_farm: bool) -> Result<Input, Error> {
    let wrong = |problem: &str| Err(Error::invalid(format!("{url}: {problem}")));
    match (scheme.to_ascii_lowercase().as_str(), on_farm) {
        ("http" | "https", _) => {}
        // Keys and addresses of buckets are the farm's.
        ("s3" | "gs" | "az", true) => return Ok(Input::Url(url.to_owned())),
        ("s3" | "gs" | "az", false) => {
            return wrong(
                "only a farm reads from buckets; name it with --coordinator URL, or download it first",
            );
        }
        (_, true) => {
            return wrong(&format!(
                "inputs are files or http(s), s3, gs and az URLs, not {scheme}; download it first"
            ));
        }
        (_, false) => {
            return wrong(&format!("inputs are files or http(s) URLs, not {scheme}; download it first"));
        }
    }
    match reqwest::Url::parse(url) {
        Ok(parsed) if parsed.has_host() => Ok(Input::Url(url.to_owned())),
        Ok(_) => Err(Error::invalid(format!("{url} is no usable URL: it names no host"))),
        Err(error) => Err(Error::invalid(format!("{url} is no usable URL: {error}"))),
    }
}

fn check_file(path: &Path) -> Result<LocalFile, Error> {
    let shown = path.display();
    if path.as_os_str().is_empty() {
        return Err(Error::invalid("an input is empty; give the name of a file"));
    }
    let metadata = fs::metadata(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound if path == Path::new("-") => Error::invalid(
            "reading from standard input is not possible: ffmpeg has to seek; save it to a file first",
        ),
        io::ErrorKind::NotFound if path.is_symlink() => {
            Error::invalid(format!("{shown} is a link to a file that does not exist"))
        }
        io::ErrorKind::NotFound => {
            Error::invalid(format!("{shown} does not exist; check the name and the folder"))
        }
        _ => unreadable(path, &error),
    })?;
    if metadata.is_dir() {
        return Err(Error::invalid(format!(
            "{shown} is a folder; name the files in it, for example {}",
            path.join("*.mp4").display()
        )));
    }
    if !metadata.is_file() {
        return Err(Error::invalid(format!(
            "{shown} is no regular file (it is a device, pipe or socket); save what it gives to a file first"
        )));
    }
    if metadata.len() == 0 {
        return Err(Error::invalid(format!(
            "{shown} is empty (0 bytes); was it copied or downloaded completely?"
        )));
    }
    File::open(path).map_err(|error| unreadable(path, &error))?;
    let canonical = path.canonicalize().map_err(|error| unreadable(path, &error))?;
    Ok(LocalFile { given: path.to_owned(), canonical, size: metadata.len() })
}

fn unreadable(path: &Path, error: &io::Error) -> Error {
    let shown = path.display();
    Error::invalid(match error.kind() {
        io::ErrorKind::PermissionDenied => format!("{shown} may not be read by you; check its permissions"),
        io::ErrorKind::NotADirectory => format!("{shown} does not exist: a part of its path is a file"),
        _ => format!("cannot read {shown}: {error}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(path: &Path) -> String {
        let error = check(path, false).unwrap_err();
        assert_eq!(error.exit, crate::Exit::Invalid);
        error.message
    }

    #[test]
    fn what_is_no_file_with_something_in_it_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let empty = folder.path().join("empty.mp4");
        fs::write(&empty, b"").unwrap();
        assert!(refusal(&empty).contains("empty.mp4 is empty (0 bytes)"));
        assert!(refusal(folder.path()).contains("is a folder"));
        assert!(refusal(&folder.path().join("none.mp4")).contains("none.mp4 does not exist"));
        assert!(refusal(Path::new("/dev/null")).contains("no regular file"));
        assert!(refusal(Path::new("rtmp://farm/live")).contains("not rtmp"));
        assert!(refusal(Path::new("http://")).contains("URL"));
    }

    #[test]
    fn buckets_are_read_by_a_farm_alone() {
        let object = Path::new("s3://camera/take 7.mov");
        assert!(refusal(object).contains("--coordinator"));
        let input = check(object, true).unwrap();
        assert_eq!((input.name(), input.stem()), (object.display().to_string(), "take 7".to_owned()));
    }

    #[test]
    fn results_are_called_after_the_input() {
        let url = |text: &str| Input::Url(text.to_owned()).stem();
        assert_eq!(url("https://cdn/a/my%20clip.v2.mp4?token=x"), "my clip.v2");
        assert_eq!(url("https://cdn/a%2Fb.mp4"), "a_b");
        assert_eq!(url("https://cdn/"), "output");
        assert_eq!(url("https://cdn/100%25.mp4"), "100%");
        let file = LocalFile { given: "x/..mp4".into(), canonical: "/x/..mp4".into(), size: 1 };
        assert_eq!(Input::File(file).stem(), "output");
    }
}
