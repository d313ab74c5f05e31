//! An object or a file as an HTTP response: ranges, validators, type and name.

use std::{fs::File, io, ops::Range};

use axum::{body::Body, response::Response};
use hyper::{HeaderMap, Method, StatusCode, header, header::HeaderValue};
use jiff::{Timestamp, fmt::rfc2822::DateTimePrinter};

use super::{
    object::{ByteStream, Object, read_file},
    range::{self, Wanted},
    sign::encode_path,
};

/// What is sent.
pub enum Source {
    Object(Box<Object>),
    File { file: File, size: u64, modified: Option<Timestamp> },
}

impl Source {
    /// An open regular file.
    ///
    /// # Errors
    /// The file's size cannot be found out.
    pub fn file(file: File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        let modified = metadata.modified().ok().and_then(|time| Timestamp::try_from(time).ok());
        Ok(Self::File { file, size: metadata.len(), modified })
    }

    fn size(&self) -> u64 {
        match self {
            Self::Object(object) => object.size(),
            Self::File { size, .. } => *size,
        }
    }

    fn etag(&self) -> String {
        match self {
            Self::Object(object) => object.etag(),
            Self::File { size, modified, .. } => {
                format!("\"{:x}-{size:x}\"", modified.map_or(0, Timestamp::as_microsecond))
            }
        }
    }

    fn modified(&self) -> Option<Timestamp> {
        match self {
            Self::Object(object) => object.modified(),
            Self::File { modified, .. } => *modified,
        }
    }

    async fn read(self, range: Range<u64>) -> io::Result<ByteStream> {
        match self {
            Self::Object(object) => object.read(range).await,
            Self::File { file, .. } => read_file(file, range).await,
        }
    }
}

/// How the receiver should take it.
#[derive(Debug, Clone, Copy)]
pub struct Presentation<'a> {
    /// The file's name, for whoever saves it.
    pub name: &'a str,
    /// As its producer called it; by the name's extension when that is no media type.
    pub content_type: &'a str,
    /// To be saved rather than shown.
    pub attachment: bool,
}

/// Answers a GET or HEAD.
///
/// # Errors
/// The source cannot be read. Once the headers are out, an error only breaks off the body.
pub async fn respond(
    method: &Method,
    request: &HeaderMap,
    source: Source,
    presentation: Presentation<'_>,
) -> io::Result<Response> {
    let (size, etag) = (source.size(), source.etag());
    let modified =
        source.modified().and_then(|time| DateTimePrinter::new().timestamp_to_rfc9110_string(&time).ok());
    let text = |name| request.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let unchanged = text(header::IF_NONE_MATCH).is_some_and(|header| range::none_match_hits(header, &etag));
    let same = text(header::IF_RANGE)
        .is_none_or(|validator| validator == etag || Some(validator) == modified.as_deref());
    let wanted = if same { range::wanted(text(header::RANGE), size) } else { Wanted::Whole };

    let mut response = Response::new(Body::empty());
    let headers = response.headers_mut();
    let set = |headers: &mut HeaderMap, name, value: String| {
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(name, value);
        }
    };
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    // What workers and inputs call HTML must not become a page of this server.
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; media-src 'self'; sandbox"),
    );
    set(headers, header::ETAG, etag);
    if let Some(modified) = modified {
        set(headers, header::LAST_MODIFIED, modified);
    }
    if unchanged {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        return Ok(response);
    }
    let mut partial = false;
    let range = match wanted {
        Wanted::Unsatisfiable => {
            set(headers, header::CONTENT_RANGE, format!("bytes */{size}"));
            *response.status_mut() = StatusCode::RANGE_NOT_SATISFIABLE;
            return Ok(response);
        }
        Wanted::Whole => 0..size,
        Wanted::Part(range) => {
            set(headers, header::CONTENT_RANGE, format!("bytes {}-{}/{size}", range.start, range.end - 1));
            partial = true;
            range
        }
    };
    set(headers, header::CONTENT_TYPE, content_type(presentation).to_owned());
    set(headers, header::CONTENT_DISPOSITION, disposition(presentation));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(range.end - range.start));
    if partial {
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    }
    if method != Method::HEAD {
        *response.body_mut() = Body::from_stream(source.read(range).await?);
    }
    Ok(response)
}

/// Answers with a part of a file that is still growing. `total`: its length at the end, if that is known.
///
/// # Errors
/// The file cannot be read.
pub async fn part(file: File, range: Range<u64>, total: Option<u64>) -> io::Result<Response> {
    let total = total.map_or_else(|| "*".to_owned(), |total| total.to_string());
    let said = format!("bytes {}-{}/{total}", range.start, range.end.saturating_sub(1));
    let length = range.end.saturating_sub(range.start);
    let mut response = Response::new(Body::from_stream(read_file(file, range).await?));
    *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    headers.insert(header::CONTENT_RANGE, HeaderValue::try_from(said).map_err(io::Error::other)?);
    Ok(response)
}

fn disposition(presentation: Presentation<'_>) -> String {
    let kind = if presentation.attachment { "attachment" } else { "inline" };
    let plain: String = presentation
        .name
        .chars()
        .map(|c| if c.is_ascii_graphic() && !matches!(c, '"' | '\\' | '%') || c == ' ' { c } else { '_' })
        .collect();
    let encoded = encode_path(presentation.name).replace('/', "%2F");
    format!("{kind}; filename=\"{plain}\"; filename*=UTF-8''{encoded}")
}

fn content_type(presentation: Presentation<'_>) -> &str {
    let given = presentation.content_type;
    let token = |text: &str| {
        !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".+-_".contains(&byte))
    };
    let essence = given.split(';').next().unwrap_or_default().trim();
    match essence.split_once('/') {
        Some((kind, subtype)) if given.len() <= 128 && token(kind) && token(subtype) => given,
        _ => content_type_of(presentation.name),
    }
}

/// The media type of a file by its name's extension.
#[must_use]
pub fn content_type_of(name: &str) -> &'static str {
    let extension = name.rsplit_once('.').map(|(_, extension)| extension.to_ascii_lowercase());
    match extension.as_deref().unwrap_or_default() {
        "mp4" | "m4v" => "video/mp4",
        "m4s" | "cmfv" => "video/iso.segment",
        "m4a" => "audio/mp4",
        "mov" => "video/quicktime",
        "mkv" => "video/x-matroska",
        "webm" => "video/webm",
        "ts" => "video/mp2t",
        "mxf" => "application/mxf",
        "m3u8" => "application/vnd.apple.mpegurl",
        "mpd" => "application/dash+xml",
        "mp3" => "audio/mpeg",
        "ogg" | "oga" | "opus" => "audio/ogg",
        "flac" => "audio/flac",
        "wav" => "audio/wav",
        "vtt" => "text/vtt; charset=utf-8",
        "jpg" | "jpeg" => "image/jpeg",
        "png" => "image/png",
        "webp" => "image/webp",
        "json" => "application/json",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn presentation<'a>(name: &'a str, content_type: &'a str) -> Presentation<'a> {
        Presentation { name, content_type, attachment: false }
    }

    #[test]
    fn a_name_cannot_break_out_of_its_header() {
        assert_eq!(
            disposition(presentation("a\"; x=ä\r\n.mp4", "")),
            "inline; filename=\"a_; x=___.mp4\"; filename*=UTF-8''a%22%3B%20x%3D%C3%A4%0D%0A.mp4"
        );
    }

    #[test]
    fn the_producers_type_is_used_when_it_is_one() {
        assert_eq!(content_type(presentation("a.mp4", "video/x-own; codecs=a")), "video/x-own; codecs=a");
        for nonsense in ["", "video", "/", "a b/c", "text/html\r\nx: y/z"] {
            assert_eq!(content_type(presentation("a.mp4", nonsense)), "video/mp4", "{nonsense:?}");
        }
    }
}
