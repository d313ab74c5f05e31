//! The headers of tus, checked.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use hyper::HeaderMap;

use crate::{
    api::problem::Error,
    incoming::{Append, Checksum, NewUpload},
    store::Concat,
};

/// What the body of a piece is.
pub(super) const OFFSET_STREAM: &str = "application/offset+octet-stream";
/// Bytes of `Upload-Metadata`: a name and some tags.
const MAX_METADATA: usize = 4096;
/// Bytes of `Upload-Concat`.
const MAX_CONCAT: usize = 16 * 1024;
/// Parts of one upload.
const MAX_PARTS: usize = 100;
/// The names under which clients send a file's name.
const NAMES: [&str; 2] = ["filename", "name"];

/// What an upload is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Joining {
    No,
    /// What stands for an id in each part's URL.
    Parts(Vec<String>),
}

fn malformed(problem: String, remedy: &str) -> Error {
    Error::Malformed { problem, remedy: remedy.to_owned() }
}

/// A header that is there at most once.
pub(super) fn text<'h>(headers: &'h HeaderMap, name: &str) -> Result<Option<&'h str>, Error> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    match (value.to_str(), values.next()) {
        (Ok(text), None) => Ok(Some(text.trim())),
        _ => Err(malformed(format!("the header {name} cannot be read"), "send it once, in ASCII")),
    }
}

/// A number of bytes.
pub(super) fn number(headers: &HeaderMap, name: &str) -> Result<Option<u64>, Error> {
    let Some(text) = text(headers, name)? else { return Ok(None) };
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    // What SQLite cannot count is no length either.
    match text.parse::<i64>().ok().filter(|_| digits).and_then(|number| u64::try_from(number).ok()) {
        Some(number) => Ok(Some(number)),
        None => Err(malformed(format!("{name} is {text:?}"), "send a number of bytes, 0 or more")),
    }
}

/// What a `POST` asks for.
pub(super) fn creation(headers: &HeaderMap, filename: &str) -> Result<(NewUpload, Joining), Error> {
    let metadata = text(headers, "upload-metadata")?.unwrap_or_default();
    let named = name(metadata)?;
    let (concat, joining) = match text(headers, "upload-concat")? {
        None => (Concat::Alone, Joining::No),
        Some("partial") => (Concat::Partial, Joining::No),
        Some(all) => (Concat::Final(all.to_owned()), Joining::Parts(parts(all)?)),
    };
    let length = number(headers, "upload-length")?;
    let deferred = match text(headers, "upload-defer-length")? {
        None => false,
        Some("1") => true,
        Some(other) => {
            return Err(malformed(format!("Upload-Defer-Length is {other:?}"), "send 1, or Upload-Length"));
        }
    };
    let said = match (&joining, length, deferred) {
        (Joining::Parts(_), None, false) | (Joining::No, Some(_), false) | (Joining::No, None, true) => true,
        (Joining::Parts(_), ..) | (Joining::No, ..) => false,
    };
    if !said {
        return Err(malformed(
            "the upload's length is not said, or is said twice".to_owned(),
            "send Upload-Length: BYTES or Upload-Defer-Length: 1, and neither with Upload-Concat: final",
        ));
    }
    let filename = named.unwrap_or_else(|| filename.to_owned());
    Ok((NewUpload { length, filename, metadata: metadata.to_owned(), concat }, joining))
}

/// The file's name in the metadata, of which every pair is looked at.
fn name(metadata: &str) -> Result<Option<String>, Error> {
    let wrong = |problem: String| {
        malformed(problem, "send Upload-Metadata: KEY BASE64,KEY BASE64; for example filename Y2xpcC5tcDQ=")
    };
    if metadata.len() > MAX_METADATA {
        return Err(wrong(format!("Upload-Metadata has more than {MAX_METADATA} bytes")));
    }
    let mut keys = Vec::new();
    let mut named = None;
    for pair in metadata.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once(' ').unwrap_or((pair, ""));
        if keys.contains(&key) {
            return Err(wrong(format!("Upload-Metadata has {key:?} twice")));
        }
        keys.push(key);
        let value = BASE64_STANDARD
            .decode(value.trim())
            .map_err(|_| wrong(format!("the value of {key:?} in Upload-Metadata is no Base64")))?;
        if NAMES.contains(&key) && named.is_none() {
            named = Some(String::from_utf8_lossy(&value).into_owned());
        }
    }
    Ok(named)
}

/// `final;/v1/uploads/A http://host/v1/uploads/B`
fn parts(text: &str) -> Result<Vec<String>, Error> {
    let wrong = |problem: String| {
        malformed(problem, "send Upload-Concat: partial, or final;URL URL with the parts' URLs")
    };
    let list = text.strip_prefix("final;").ok_or_else(|| wrong("Upload-Concat is neither".to_owned()))?;
    if text.len() > MAX_CONCAT {
        return Err(wrong(format!("Upload-Concat has more than {MAX_CONCAT} bytes")));
    }
    let id = |url: &str| url.trim_end_matches('/').rsplit('/').next().unwrap_or_default().to_owned();
    let parts: Vec<_> = list.split_ascii_whitespace().map(id).collect();
    if parts.is_empty() || parts.len() > MAX_PARTS {
        return Err(wrong(format!("Upload-Concat names {} parts, and takes 1 to {MAX_PARTS}", parts.len())));
    }
    Ok(parts)
}

pub(super) fn offset(headers: &HeaderMap) -> Result<u64, Error> {
    number(headers, "upload-offset")?
        .ok_or_else(|| malformed("Upload-Offset is missing".to_owned(), "say where the piece begins"))
}

/// A piece that begins at `offset`.
pub(super) fn append(headers: &HeaderMap, offset: u64) -> Result<Append, Error> {
    let length = number(headers, "upload-length")?;
    Ok(Append { offset, length, bytes: number(headers, "content-length")? })
}

pub(super) fn checksum(headers: &HeaderMap) -> Result<Option<Checksum>, Error> {
    let Some(text) = text(headers, "upload-checksum")? else { return Ok(None) };
    Checksum::parse(text).map(Some).map_err(|problem| {
        malformed(format!("Upload-Checksum: {problem}"), "send for example sha1 and the digest in Base64")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    fn status(pairs: &[(&'static str, &str)]) -> Result<(NewUpload, Joining), u16> {
        creation(&headers(pairs), "query.mp4").map_err(|error| error.into_problem().status)
    }

    #[test]
    fn an_upload_has_a_length_or_will_say_it() {
        let (new, joining) = status(&[("upload-length", "10")]).unwrap();
        assert_eq!((new.length, new.filename.as_str(), joining), (Some(10), "query.mp4", Joining::No));
        assert_eq!(status(&[("upload-defer-length", "1")]).unwrap().0.length, None);
        for wrong in [
            &[][..],
            &[("upload-length", "10"), ("upload-defer-length", "1")],
            &[("upload-defer-length", "2")],
            &[("upload-length", "-1")],
            &[("upload-length", "+1")],
            &[("upload-length", "1e3")],
            &[("upload-length", "99999999999999999999")],
            &[("upload-length", "10"), ("upload-length", "10")],
            &[("upload-length", "10"), ("upload-concat", "final;/a/b")],
            &[("upload-concat", "final;")],
            &[("upload-concat", "nonsense")],
        ] {
            assert_eq!(status(wrong), Err(400), "{wrong:?}");
        }
    }

    #[test]
    fn metadata_gives_the_name() {
        let named = |metadata: &str| status(&[("upload-length", "1"), ("upload-metadata", metadata)]);
        let (new, _) = named("relativePath bnVsbA==,name Li4vYS5tcDQ=,secret").unwrap();
        assert_eq!(new.filename, "../a.mp4", "what a name may be is for the state to say");
        for wrong in ["filename !", "a YQ==,a YQ==", &format!("a {}", "YWFh".repeat(2000))] {
            assert_eq!(named(wrong), Err(400), "{wrong:.40}");
        }
    }

    #[test]
    fn parts_are_named_by_relative_and_whole_urls() {
        let (new, joining) =
            status(&[("upload-concat", "final;/v1/uploads/A http://h/v1/uploads/B")]).unwrap();
        assert_eq!(joining, Joining::Parts(vec!["A".to_owned(), "B".to_owned()]));
        assert!(matches!(new.concat, Concat::Final(_)));
        let many = format!("final;{}", "/a ".repeat(MAX_PARTS + 1));
        assert_eq!(status(&[("upload-concat", &many)]), Err(400));
    }
}
