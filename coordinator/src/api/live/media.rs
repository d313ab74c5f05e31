//! Media as HTTP responses.

use std::{io, ops::Range};

use axum::{
    body::Body,
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    response::Response,
};
use bytes::Bytes;
use futures::{StreamExt as _, stream};
use tokio_util::sync::CancellationToken;

use crate::{
    live::{
        output::{ReadEnd, TsReader},
        service::Watch,
    },
    storage::range::{Wanted, wanted},
};

/// An answer of that type, without a body.
pub(super) fn head(content_type: &'static str, cache: &'static str) -> Response {
    let mut response = Response::new(Body::empty());
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(cache));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// A playlist or manifest.
pub(super) fn text(text: String, content_type: &'static str, cache: &'static str) -> Response {
    let mut response = head(content_type, cache);
    *response.body_mut() = Body::from(text);
    response
}

/// Bytes of known length, or the range of them that is asked for.
pub(super) fn bytes(
    method: &Method,
    request: &HeaderMap,
    pieces: Vec<Bytes>,
    content_type: &'static str,
    cache: &'static str,
) -> Response {
    let size = pieces.iter().map(|piece| piece.len() as u64).sum();
    let mut response = head(content_type, cache);
    let headers = response.headers_mut();
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    // Without a validator no range can be conditional on one.
    let range = request.get(header::RANGE).filter(|_| !request.contains_key(header::IF_RANGE));
    let (range, content_range) = match wanted(range.and_then(|range| range.to_str().ok()), size) {
        Wanted::Whole => (0..size, None),
        Wanted::Part(range) => {
            let text = format!("bytes {}-{}/{size}", range.start, range.end - 1);
            (range, Some((StatusCode::PARTIAL_CONTENT, text)))
        }
        Wanted::Unsatisfiable => (0..0, Some((StatusCode::RANGE_NOT_SATISFIABLE, format!("bytes */{size}")))),
    };
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(range.end - range.start));
    if let Some((status, text)) = content_range {
        if let Ok(value) = HeaderValue::try_from(text) {
            headers.insert(header::CONTENT_RANGE, value);
        }
        *response.status_mut() = status;
    }
    if method != Method::HEAD && range.start < range.end {
        let pieces = cut(pieces, range).into_iter().map(Ok::<_, std::convert::Infallible>);
        *response.body_mut() = Body::from_stream(stream::iter(pieces));
    }
    response
}

/// The pieces of a range.
fn cut(pieces: Vec<Bytes>, range: Range<u64>) -> Vec<Bytes> {
    let mut start = 0_u64;
    let within = |piece: Bytes| {
        let length = piece.len() as u64;
        // All of them are offsets into a piece, which is in memory.
        let from = range.start.saturating_sub(start).min(length) as usize;
        let to = range.end.saturating_sub(start).min(length) as usize;
        start += length;
        (from < to).then(|| piece.slice(from..to))
    };
    pieces.into_iter().filter_map(within).collect()
}

/// The endless stream, from the newest key frame on. It ends properly when the variant does; a viewer that is too slow, or
/// is cut off, sees that its body is not complete.
pub(super) fn follow(
    reader: TsReader,
    watch: Watch,
    stop: CancellationToken,
    over: impl Future<Output = ()> + Send + 'static,
) -> Body {
    let pieces = stream::unfold(Some((reader, watch)), |state| async move {
        let (mut reader, watch) = state?;
        match reader.next().await {
            Ok(pieces) => Some((pieces.into_iter().map(Ok).collect(), Some((reader, watch)))),
            Err(ReadEnd::Ended(_)) => None,
            Err(ReadEnd::TooSlow) => {
                let error = io::Error::new(io::ErrorKind::TimedOut, "the viewer does not keep up");
                Some((vec![Err(error)], None))
            }
        }
    });
    let ready = |pieces: Vec<io::Result<Bytes>>| stream::iter(pieces);
    Body::from_stream(pieces.take_until(stop.cancelled_owned()).take_until(over).flat_map(ready))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_range_runs_over_pieces() {
        let pieces = || vec![Bytes::from_static(b"abc"), Bytes::new(), Bytes::from_static(b"defg")];
        for (range, status, content_range, body) in [
            (None, 200, None, "abcdefg"),
            (Some("bytes=2-4"), 206, Some("bytes 2-4/7"), "cde"),
            (Some("bytes=3-"), 206, Some("bytes 3-6/7"), "defg"),
            (Some("bytes=-1"), 206, Some("bytes 6-6/7"), "g"),
            (Some("bytes=7-"), 416, Some("bytes */7"), ""),
            (Some("bytes=x"), 200, None, "abcdefg"),
        ] {
            for method in [Method::GET, Method::HEAD] {
                let mut request = HeaderMap::new();
                if let Some(range) = range {
                    request.insert(header::RANGE, HeaderValue::from_static(range));
                }
                let response = bytes(&method, &request, pieces(), "video/mp2t", "no-store");
                assert_eq!(response.status(), status);
                let header =
                    |name| response.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
                assert_eq!(header(header::CONTENT_RANGE).as_deref(), content_range);
                assert_eq!(header(header::CONTENT_LENGTH), Some(body.len().to_string()));
                let sent = axum::body::to_bytes(response.into_body(), 100).await.unwrap();
                assert_eq!(sent, if method == Method::HEAD { "" } else { body });
            }
        }
    }
}
