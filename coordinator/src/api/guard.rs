//! Which requests a browser may send here on behalf of other sites: none.
//!
//! While there are no keys the API must not be reachable through somebody's browser: a foreign page could resolve its own name
//! to 127.0.0.1 (DNS rebinding, answered by `super::access`, which looks at Host), or post a form (answered by checking
//! Origin and Sec-Fetch-Site on whatever changes something).

use std::net::IpAddr;

use axum::{
    extract::Request,
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use hyper::{HeaderMap, Method, Uri, header};

use super::problem::Error;

pub(super) async fn guard(request: Request, next: Next) -> Response {
    match check(request.method(), request.uri(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(error) => error.into_response(),
    }
}

/// Whom the request is addressed to: `host[:port]`.
pub(super) fn host<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> Option<&'a str> {
    let host = headers.get(header::HOST).and_then(|value| value.to_str().ok());
    // HTTP/2 carries the host in the URI.
    host.or_else(|| uri.authority().map(|authority| authority.as_str()))
}

fn check(method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<(), Error> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let host = host(uri, headers);
    if matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS) {
        return Ok(());
    }
    let foreign_fetch =
        text(header::HeaderName::from_static("sec-fetch-site")).is_some_and(|site| site == "cross-site");
    let foreign_origin = text(header::ORIGIN)
        .is_some_and(|origin| origin.split_once("://").map(|(_, authority)| authority) != host);
    if foreign_fetch || foreign_origin {
        return Err(Error::Forbidden {
            problem: "the request was made by a page of another site".to_owned(),
            remedy: "send it from a program, or from a page of this address".to_owned(),
        });
    }
    Ok(())
}

/// Whether an authority (`host[:port]`) names this machine.
pub(super) fn is_local(authority: &str) -> bool {
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    let name = host.trim_end_matches('.').to_ascii_lowercase();
    name == "localhost"
        || name.ends_with(".localhost")
        || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(method: &Method, headers: &[(&'static str, &str)]) -> bool {
        let headers = headers
            .iter()
            .map(|(name, value)| (header::HeaderName::from_static(name), value.parse().unwrap()))
            .collect();
        check(method, &Uri::from_static("/v1/jobs"), &headers).is_ok()
    }

    #[test]
    fn names_of_this_machine_are_known() {
        for host in ["127.0.0.1:8080", "localhost", "LOCALHOST:1", "[::1]:8080", "a.localhost", "127.8.8.8"] {
            assert!(is_local(host), "{host}");
        }
    }

    #[test]
    fn a_foreign_page_changes_nothing() {
        let host = ("host", "127.0.0.1:8080");
        assert!(allowed(&Method::POST, &[host]));
        assert!(allowed(&Method::POST, &[host, ("origin", "http://127.0.0.1:8080")]));
        assert!(!allowed(&Method::POST, &[host, ("origin", "http://evil.example")]));
        assert!(!allowed(&Method::POST, &[host, ("origin", "null")]));
        assert!(!allowed(&Method::DELETE, &[host, ("sec-fetch-site", "cross-site")]));
        assert!(allowed(&Method::GET, &[host, ("origin", "http://evil.example")]));
    }
}
