//! The pages for people, below `/ui/`: built from `web/` and put into the program by `build.rs`.
//!
//! They are no secret and need no key: all that they show comes through the API, which asks for one. A path that is no file
//! is a page's own address, so it gets the document, which finds out what to show.

use axum::{
    extract::Path,
    response::{IntoResponse as _, Redirect, Response},
};
use hyper::{
    HeaderMap, StatusCode,
    header::{self, HeaderName, HeaderValue},
};

use super::health;

/// A file of the pages.
struct File {
    /// Below `/ui/`.
    path: &'static str,
    /// Of its content.
    tag: &'static str,
    bytes: &'static [u8],
    /// The same compressed, if that makes it smaller.
    gzip: Option<&'static [u8]>,
}

/// Empty in a program that was built without them.
const FILES: &[File] = include!(concat!(env!("OUT_DIR"), "/pages.rs"));

const DOCUMENT: &str = "index.html";
/// Files below it have their content's hash in their names.
const HASHED: &str = "assets/";

/// Nothing but what comes from here; `blob:` is how hls.js feeds a video element.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; \
                      media-src 'self' blob:; connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'self'; \
                      frame-ancestors 'none'";

const NOT_BUILT: &str = "This coordinator was built without its pages.\n\n\
                         With Node.js 18 or newer, in the source: make web, and then cargo build again.\n\
                         Everything they show is also in the API: see /docs, or ffmpegctl --help.\n";

/// `/`: the pages for a browser, a few words for everything else.
pub(super) async fn root(headers: HeaderMap) -> Response {
    let mut response = match accepts(&headers, header::ACCEPT, "text/html") {
        true => Redirect::temporary("/ui/").into_response(),
        false => health::root().await.into_response(),
    };
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("accept"));
    response
}

/// `/ui`.
pub(super) async fn home() -> Redirect {
    Redirect::permanent("/ui/")
}

/// `/ui/`.
pub(super) async fn index(headers: HeaderMap) -> Response {
    answer(FILES, DOCUMENT, &headers)
}

/// Everything below.
pub(super) async fn file(Path(path): Path<String>, headers: HeaderMap) -> Response {
    answer(FILES, &path, &headers)
}

fn answer(files: &[File], path: &str, headers: &HeaderMap) -> Response {
    let find = |path: &str| files.iter().find(|file| file.path == path);
    let mut response = match find(path).or_else(|| find(DOCUMENT).filter(|_| !path.starts_with(HASHED))) {
        Some(file) => give(file, headers),
        None if files.is_empty() => (StatusCode::NOT_FOUND, NOT_BUILT).into_response(),
        None => (StatusCode::NOT_FOUND, "There is no such file: the pages have changed, load them again.\n")
            .into_response(),
    };
    let secure = [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "same-origin"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    ];
    response.headers_mut().extend(secure.map(|(name, value)| (name, HeaderValue::from_static(value))));
    response
}

fn give(file: &File, headers: &HeaderMap) -> Response {
    let packed = file.gzip.filter(|_| accepts(headers, header::ACCEPT_ENCODING, "gzip"));
    let tag = format!("\"{}{}\"", file.tag, if packed.is_some() { "-gzip" } else { "" });
    let caching = match file.path.starts_with(HASHED) {
        true => "public, max-age=31536000, immutable",
        false => "no-cache",
    };
    let known = headers.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok());
    let known = known.is_some_and(|known| known.split(',').any(|known| known.trim() == tag));
    let mut response = match (known, packed) {
        (true, _) => StatusCode::NOT_MODIFIED.into_response(),
        (false, Some(packed)) => ([(header::CONTENT_ENCODING, "gzip")], packed).into_response(),
        (false, None) => file.bytes.into_response(),
    };
    let head = response.headers_mut();
    head.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type(file.path)));
    head.insert(header::CACHE_CONTROL, HeaderValue::from_static(caching));
    head.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    if let Ok(tag) = HeaderValue::try_from(tag) {
        head.insert(header::ETAG, tag);
    }
    response
}

/// Whether a header names the word, and not with a weight of zero.
fn accepts(headers: &HeaderMap, name: HeaderName, word: &str) -> bool {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    let mut entries = values.flat_map(|value| value.split(','));
    entries.any(|entry| {
        let mut parts = entry.split(';').map(str::trim);
        let named = parts.next().is_some_and(|named| named.eq_ignore_ascii_case(word));
        let refused = |part: &str| {
            part.strip_prefix("q=")
                .and_then(|weight| weight.parse::<f32>().ok())
                .is_some_and(|weight| weight <= 0.0)
        };
        named && !parts.any(refused)
    })
}

fn media_type(path: &str) -> &'static str {
    match path.rsplit_once('.').map(|(_, extension)| extension) {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("json" | "webmanifest") => "application/json",
        Some("txt") => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGES: &[File] = &[
        File { path: "assets/app-1.js", tag: "a", bytes: b"let a = 1", gzip: Some(b"packed") },
        File { path: "index.html", tag: "b", bytes: b"<!doctype html>", gzip: None },
    ];

    fn head(headers: &[(HeaderName, &'static str)]) -> HeaderMap {
        headers.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect()
    }

    fn told(response: &Response, name: HeaderName) -> &str {
        response.headers().get(name).map_or("", |value| value.to_str().unwrap())
    }

    #[test]
    fn a_hashed_file_is_kept_for_ever_and_the_document_is_asked_for_again() {
        let script = answer(PAGES, "assets/app-1.js", &head(&[(header::ACCEPT_ENCODING, "gzip, br")]));
        assert_eq!(told(&script, header::CONTENT_ENCODING), "gzip");
        assert!(told(&script, header::CACHE_CONTROL).ends_with("immutable"));
        assert_eq!(told(&script, header::CONTENT_TYPE), "text/javascript; charset=utf-8");
        let plain = answer(PAGES, "assets/app-1.js", &head(&[(header::ACCEPT_ENCODING, "gzip;q=0")]));
        assert_eq!(told(&plain, header::CONTENT_ENCODING), "");
        assert_ne!(told(&plain, header::ETAG), told(&script, header::ETAG));
        assert_eq!(told(&answer(PAGES, "index.html", &head(&[])), header::CACHE_CONTROL), "no-cache");
        let again = answer(PAGES, "index.html", &head(&[(header::IF_NONE_MATCH, "\"b\"")]));
        assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
    }

    #[test]
    fn the_address_of_a_page_gives_the_document_and_a_lost_asset_none() {
        let page = answer(PAGES, "jobs/0193", &head(&[]));
        assert_eq!((page.status(), told(&page, header::ETAG)), (StatusCode::OK, "\"b\""));
        let policy = told(&page, header::CONTENT_SECURITY_POLICY);
        assert!(policy.contains("frame-ancestors 'none'") && !policy.contains("unsafe"), "{policy}");
        assert_eq!(told(&page, header::X_CONTENT_TYPE_OPTIONS), "nosniff");
        assert_eq!(answer(PAGES, "assets/app-0.js", &head(&[])).status(), StatusCode::NOT_FOUND);
        assert_eq!(answer(&[], "index.html", &head(&[])).status(), StatusCode::NOT_FOUND);
    }

    #[tokio::test]
    async fn only_a_browser_is_led_to_the_pages() {
        let browser = root(head(&[(header::ACCEPT, "text/html,application/xhtml+xml,*/*;q=0.8")])).await;
        assert_eq!(told(&browser, header::LOCATION), "/ui/");
        assert_eq!(root(head(&[(header::ACCEPT, "*/*")])).await.status(), StatusCode::OK);
    }
}
