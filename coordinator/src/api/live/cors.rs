//! Media may be played by pages of other sites: the token in the URL is what guards it. The
//! cookie of a sign-in is one page's own: no other site's request has it, and `*` shows nothing that came with one.

use axum::{
    extract::Request,
    http::{HeaderName, HeaderValue, header},
    middleware::Next,
    response::Response,
};

use super::super::problem;

const ALWAYS: [(HeaderName, &str); 3] = [
    (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
    (header::ACCESS_CONTROL_EXPOSE_HEADERS, "Content-Length, Content-Range, Date, Retry-After"),
    // For players on pages that isolate themselves.
    (HeaderName::from_static("cross-origin-resource-policy"), "cross-origin"),
];

const PREFLIGHT: [(HeaderName, &str); 3] = [
    (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, HEAD, OPTIONS"),
    (header::ACCESS_CONTROL_ALLOW_HEADERS, "Range, Cache-Control"),
    (header::ACCESS_CONTROL_MAX_AGE, "86400"),
];

/// Around every answer below `/live/`, errors too: a page may read why it gets nothing.
pub(super) async fn cors(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    set(&mut response, &ALWAYS);
    response
}

/// The question before a request with a `Range`.
pub(super) async fn preflight() -> Response {
    let mut response = problem::no_content();
    set(&mut response, &PREFLIGHT);
    response
}

fn set(response: &mut Response, headers: &[(HeaderName, &'static str)]) {
    for (name, value) in headers {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
}
