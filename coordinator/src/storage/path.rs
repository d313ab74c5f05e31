//! Names of objects: typed, so that nothing that a client or a worker says becomes a path without having been checked.

use std::fmt;

use common::id::{AttemptId, Epoch, JobId, UploadId};
use object_store::path::{Path, PathPart};

use crate::text::prefix;

/// Bytes of a whole relative path.
const MAX_PATH: usize = 1024;
/// Bytes of one part as the store writes it: file systems end at 255, and a staged upload appends `#N`.
const MAX_PART: usize = 240;
/// Folders in folders.
const MAX_DEPTH: usize = 16;
/// Bytes kept of an uploaded file's name; special characters take three each in the store.
const MAX_NAME: usize = 72;

/// A text that names no file below a prefix.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no relative path: {reason}")]
pub struct BadPath {
    pub text: String,
    pub reason: &'static str,
}

/// A relative path with `/` between its parts: never empty, never leaving what it is relative to.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RelPath(String);

impl RelPath {
    /// Checks `text`.
    ///
    /// # Errors
    /// It is empty, absolute or too long, or holds `.`, `..`, an empty part, a backslash or a control character.
    pub fn parse(text: &str) -> Result<Self, BadPath> {
        match defect(text) {
            None => Ok(Self(text.to_owned())),
            Some(reason) => Err(BadPath { text: text.chars().take(200).collect(), reason }),
        }
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn defect(text: &str) -> Option<&'static str> {
    if text.is_empty() {
        return Some("it is empty");
    }
    if text.len() > MAX_PATH {
        return Some("it is longer than 1024 bytes");
    }
    if text.starts_with('/') {
        return Some("it is absolute");
    }
    if text.split('/').count() > MAX_DEPTH {
        return Some("it has more than 16 parts");
    }
    text.split('/').find_map(|part| match part {
        "" => Some("a part is empty"),
        "." | ".." => Some("a part is . or .."),
        _ if part.contains('\\') => Some("it holds a backslash"),
        // It would be taken for a drive on its way to the file system.
        _ if part.ends_with(':') => Some("a part ends with a colon"),
        _ if part.chars().any(char::is_control) => Some("it holds a control character"),
        _ if PathPart::from(part).as_ref().len() > MAX_PART => Some("a part is too long"),
        _ => None,
    })
}

/// The full name of an object.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(RelPath);

impl Key {
    /// A key that came from outside: a signed URL, a stored job.
    ///
    /// # Errors
    /// As [`RelPath::parse`].
    pub fn parse(text: &str) -> Result<Self, BadPath> {
        RelPath::parse(text).map(Self)
    }

    /// An uploaded input.
    #[must_use]
    pub fn upload(id: UploadId, filename: &str) -> Self {
        Self(RelPath(format!("uploads/{id}/{}", safe_name(filename))))
    }

    /// A file of an attempt.
    #[must_use]
    pub fn output(job: JobId, attempt: AttemptId, path: &RelPath) -> Self {
        Self(RelPath(format!("{}/{path}", Prefix::attempt(job, attempt).0)))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// Whether it is below [`Prefix::uploads`].
    pub(super) fn is_upload(&self) -> bool {
        self.as_str().starts_with("uploads/")
    }

    /// The upload that it is the file of, if it is one.
    #[must_use]
    pub fn upload_id(&self) -> Option<UploadId> {
        self.as_str().strip_prefix("uploads/")?.split('/').next()?.parse().ok()
    }

    /// The part after the last `/`.
    #[must_use]
    pub fn name(&self) -> &str {
        self.as_str().rsplit('/').next().unwrap_or_default()
    }

    pub(super) fn location(&self) -> Path {
        Path::from_iter(self.as_str().split('/'))
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A folder of objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prefix(String);

impl Prefix {
    /// Everything that one attempt wrote. The epoch is part of it, so attempts never write over each other.
    #[must_use]
    pub fn attempt(job: JobId, attempt: AttemptId) -> Self {
        Self(format!("jobs/{job}/{}/{}", attempt.task, attempt.epoch))
    }

    /// Everything of a job.
    #[must_use]
    pub fn job(job: JobId) -> Self {
        Self(format!("jobs/{job}"))
    }

    /// Everything of every job.
    #[must_use]
    pub fn jobs() -> Self {
        Self("jobs".to_owned())
    }

    #[must_use]
    pub fn upload(id: UploadId) -> Self {
        Self(format!("uploads/{id}"))
    }

    /// Whether it is [`Prefix::uploads`], or below it.
    pub(super) fn is_upload(&self) -> bool {
        self.0 == "uploads" || self.0.starts_with("uploads/")
    }

    #[must_use]
    pub fn uploads() -> Self {
        Self("uploads".to_owned())
    }

    pub(super) fn location(&self) -> Path {
        Path::from_iter(self.0.split('/'))
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whose file a key names: `jobs/{job}/{task}/{epoch}/...`. What has another name is nothing that was made here.
pub(super) fn attempt_of(key: &str) -> Option<(JobId, AttemptId)> {
    let mut parts = key.split('/');
    if parts.next() != Some("jobs") {
        return None;
    }
    let job = parts.next()?.parse().ok()?;
    let attempt = AttemptId { task: parts.next()?.parse().ok()?, epoch: Epoch(parts.next()?.parse().ok()?) };
    parts.next().map(|_| (job, attempt))
}

/// What the store may call a file that a user calls `filename`: the last part of a path, without what has a meaning to
/// a file system, of a length that every store takes, the extension kept.
#[must_use]
pub fn safe_name(filename: &str) -> String {
    let last = filename.rsplit(['/', '\\']).next().unwrap_or_default();
    let clean: String = last.chars().map(|c| if c.is_control() { '_' } else { c }).collect();
    // A name that ends with one is taken for a drive somewhere on its way.
    let clean = clean.trim().trim_end_matches([':', ' ']);
    if clean.is_empty() || clean == "." || clean == ".." {
        return "input".to_owned();
    }
    if clean.len() <= MAX_NAME {
        return clean.to_owned();
    }
    let extension = match clean.rsplit_once('.') {
        Some((_, extension)) if extension.len() <= 10 => format!(".{extension}"),
        _ => String::new(),
    };
    let stem = prefix(clean, MAX_NAME - extension.len());
    format!("{stem}{extension}")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_leaves_the_prefix_or_confuses_a_file_system_is_refused() {
        for text in [
            "",
            "/",
            "/etc/passwd",
            "..",
            "../a",
            "a/../b",
            "a/..",
            ".",
            "a//b",
            "a/",
            "a\\b",
            "a\0b",
            "a\nb",
            "a/./b",
            "C:",
            "a:/b",
            "\u{7f}",
        ] {
            assert!(RelPath::parse(text).is_err(), "{text:?}");
        }
        assert!(RelPath::parse(&"a/".repeat(40)).is_err());
        assert!(RelPath::parse(&"a".repeat(300)).is_err());
        assert!(RelPath::parse(&"%".repeat(100)).is_err());
    }

    #[test]
    fn ordinary_output_names_are_taken() {
        for text in ["master.m3u8", "720p/seg_00001.m4s", "a b/ä#1.mp4", "..a", "a..", "%2e%2e/x"] {
            assert_eq!(RelPath::parse(text).unwrap().as_str(), text);
        }
    }

    #[test]
    fn an_upload_keeps_its_name_and_extension_where_it_can() {
        assert_eq!(safe_name("clip.mp4"), "clip.mp4");
        assert_eq!(safe_name("../../etc/passwd"), "passwd");
        assert_eq!(safe_name("C:\\videos\\a.mov"), "a.mov");
        assert_eq!(safe_name(".."), "input");
        assert_eq!(safe_name(""), "input");
        assert_eq!(safe_name("a\r\nb"), "a__b");
        assert_eq!(
            (safe_name("C:"), safe_name("::"), safe_name("a:b")),
            ("C".into(), "input".into(), "a:b".into())
        );
        let long = safe_name(&format!("{}.mkv", "ä".repeat(300)));
        assert!(long.len() <= MAX_NAME && long.ends_with("ä.mkv"), "{long}");
    }

    proptest! {
        #[test]
        fn every_upload_name_makes_a_valid_key(name in "\\PC*") {
            let key = Key::upload(UploadId::new(), &name);
            prop_assert!(Key::parse(key.as_str()).is_ok(), "{key}");
        }

        #[test]
        fn a_location_has_the_parts_of_the_path(text in "[^/]{1,20}(/[^/]{1,20}){0,4}") {
            if let Ok(key) = Key::parse(&text) {
                prop_assert_eq!(key.location().parts_count(), text.split('/').count());
            }
        }
    }
}
