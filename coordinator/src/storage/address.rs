//! Addresses of objects, and of what is below a prefix, in words: `s3://bucket/key`, `gs://`, `az://`, `file:///path`.

use std::{fmt, path::PathBuf, str::FromStr};

use object_store::path::Path;

/// Bytes of a key: what S3 and GCS take.
const MAX_KEY: usize = 1024;

/// Who keeps the objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scheme {
    /// A folder of this machine.
    File,
    /// S3, or what speaks like it.
    S3,
    /// Google Cloud Storage.
    Gcs,
    /// Azure Blob Storage.
    Azure,
}

impl Scheme {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::S3 => "s3",
            Self::Gcs => "gs",
            Self::Azure => "az",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::File, Self::S3, Self::Gcs, Self::Azure].into_iter().find(|scheme| scheme.as_str() == text)
    }
}

/// A text that is no address of an object.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no address of objects: {reason}")]
pub struct BadAddress {
    text: String,
    pub reason: String,
}

/// An object, or everything below a prefix. Keys are taken as they are: nothing in them is decoded.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address {
    pub scheme: Scheme,
    /// Bucket or container; empty for files.
    pub bucket: String,
    /// Without `/` at its ends. Empty: the whole bucket.
    pub path: String,
    /// It ended with `/`: a prefix.
    pub folder: bool,
}

impl Address {
    /// Whether the text names a scheme that is one of these, so that it can be told from other URLs.
    #[must_use]
    pub fn claims(text: &str) -> bool {
        text.split_once("://").is_some_and(|(scheme, _)| Scheme::parse(scheme).is_some())
    }

    /// Whether `other` is this, or below it.
    #[must_use]
    pub fn holds(&self, other: &Self) -> bool {
        let below = |rest: &str| rest.is_empty() || rest.starts_with('/');
        (self.scheme, &self.bucket) == (other.scheme, &other.bucket)
            && (self.path.is_empty() || other.path.strip_prefix(&self.path).is_some_and(below))
    }

    /// As it is in a path of the worker port: `s3/bucket/key`.
    #[must_use]
    pub fn as_path(&self) -> String {
        format!("{}/{}/{}", self.scheme.as_str(), self.bucket, self.path)
    }

    /// What [`Address::as_path`] was made of.
    ///
    /// # Errors
    /// It was made of nothing.
    pub fn from_path(path: &str) -> Result<Self, BadAddress> {
        let (scheme, rest) = path.split_once('/').unwrap_or((path, ""));
        format!("{scheme}://{rest}").parse()
    }

    /// The whole bucket.
    #[must_use]
    pub fn root(&self) -> Self {
        Self { path: String::new(), folder: true, ..self.clone() }
    }

    /// What is called `name` below this.
    #[must_use]
    pub fn join(&self, name: &str) -> Self {
        let path = if self.path.is_empty() { name.to_owned() } else { format!("{}/{name}", self.path) };
        Self { path, folder: false, ..self.clone() }
    }

    /// The part after the last `/`.
    #[must_use]
    pub fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or_default()
    }

    /// The folder, for a file.
    #[must_use]
    pub fn file(&self) -> Option<PathBuf> {
        (self.scheme == Scheme::File).then(|| PathBuf::from(format!("/{}", self.path)))
    }

    /// As a store takes it.
    ///
    /// # Panics
    /// Never: parsed addresses are valid paths.
    #[must_use]
    pub fn location(&self) -> Path {
        Path::parse(&self.path).expect("checked when it was parsed")
    }
}

impl FromStr for Address {
    type Err = BadAddress;

    fn from_str(text: &str) -> Result<Self, BadAddress> {
        let bad =
            |reason: &str| BadAddress { text: text.chars().take(200).collect(), reason: reason.to_owned() };
        let (scheme, rest) =
            text.split_once("://").ok_or_else(|| bad("write for example s3://bucket/folder/"))?;
        let scheme = Scheme::parse(scheme).ok_or_else(|| bad("the schemes are file, s3, gs and az"))?;
        let (bucket, path) = rest.split_once('/').unwrap_or((rest, ""));
        match scheme {
            Scheme::File if !bucket.is_empty() => {
                return Err(bad("write file:///folder, with three slashes"));
            }
            Scheme::File => {}
            Scheme::S3 | Scheme::Gcs | Scheme::Azure => {
                let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
                if bucket.is_empty() || bucket.len() > 222 || !bucket.bytes().all(allowed) {
                    return Err(bad("the bucket has no valid name"));
                }
            }
        }
        let folder = path.is_empty() || path.ends_with('/');
        let path = path.strip_suffix('/').unwrap_or(path);
        if path.len() > MAX_KEY {
            return Err(bad("the key is longer than 1024 bytes"));
        }
        if path.chars().any(char::is_control) {
            return Err(bad("it holds a control character"));
        }
        if !path.is_empty() && path.split('/').any(|part| matches!(part, "" | "." | "..")) {
            return Err(bad("a part of the key is empty, . or .."));
        }
        Path::parse(path).map_err(|error| bad(&error.to_string()))?;
        Ok(Self { scheme, bucket: bucket.to_owned(), path: path.to_owned(), folder })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = if self.folder && !self.path.is_empty() { "/" } else { "" };
        write!(f, "{}://{}/{}{end}", self.scheme.as_str(), self.bucket, self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Address {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_is_what_it_was_written_as() {
        for text in ["s3://b/", "s3://my-bucket/a b/ä#1%20.mp4", "gs://b.c/x/", "az://c/a", "file:///srv/x/"]
        {
            assert_eq!(address(text).to_string(), text);
        }
        let object = address("s3://b/x/ä b.mp4");
        assert_eq!(Address::from_path(&object.as_path()).unwrap(), object);
        assert_eq!(address("s3://b").to_string(), "s3://b/");
        assert_eq!(address("file:///srv/x").file(), Some(PathBuf::from("/srv/x")));
        assert_eq!(address("s3://b/x/").join("a/b.mp4").to_string(), "s3://b/x/a/b.mp4");
    }

    #[test]
    fn what_could_leave_its_place_is_refused() {
        for text in [
            "b/x",
            "http://b/x",
            "s3://",
            "s3:///x",
            "s3://b/../x",
            "s3://b/a/./x",
            "s3://b/a//x",
            "s3://b/a\nb",
            "file://etc/passwd",
            "s3://user:pw@b/x",
            "S3://b/x",
            "s3://b:80/x",
            "file:///a/../b",
        ] {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_prefix_holds_what_is_below_it_and_nothing_beside_it() {
        let held = |outer: &str, inner: &str| address(outer).holds(&address(inner));
        assert!(held("s3://b", "s3://b/x/y"));
        assert!(held("s3://b/x", "s3://b/x/y"));
        assert!(held("s3://b/x/", "s3://b/x"));
        assert!(!held("s3://b/x", "s3://b/xy"));
        assert!(!held("s3://b/x", "s3://c/x/y"));
        assert!(!held("s3://b/x", "gs://b/x/y"));
        assert!(!held("s3://b/x", "s3://b/"));
    }
}
