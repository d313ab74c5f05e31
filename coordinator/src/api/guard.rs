//! Which requests a browser may send here on behalf of other sites: none.
//!
//! The API asks nobody who they are, so it must not be reachable through somebody's browser: a foreign page could resolve
//! its own name to 127.0.0.1 (DNS rebinding, answered by checking Host on loopback), or post a form (answered by checking
//! Origin and Sec-Fetch-Site on whatever changes something).

use std::net::IpAddr;

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use hyper::{HeaderMap, Method, Uri, header};

use super::problem::Error;

/// What the guard has to know of the listener.
#[derive(Debug, Clone, Copy)]
pub(super) struct Guard {
    /// Only names of this machine are taken as Host.
    pub(super) loopback: bool,
}

pub(super) async fn guard(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    match check(guard, request.method(), request.uri(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(error) => error.into_response(),
    }
}

fn check(guard: Guard, method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<(), Error> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    // HTTP/2 carries the host in the URI.
    let host = text(header::HOST).or_else(|| uri.authority().map(|authority| authority.as_str()));
    if guard.loopback && !host.is_some_and(is_local) {
        return Err(Error::Forbidden {
            problem: format!(
                "the Host header is {:?}, and this API is for this machine only",
                host.unwrap_or("")
            ),
            remedy: "use http://127.0.0.1 or http://localhost, or set TVARR_HTTP_BIND".to_owned(),
        });
    }
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
fn is_local(authority: &str) -> bool {
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

    fn allowed(loopback: bool, method: &Method, headers: &[(&'static str, &str)]) -> bool {
        let headers = headers
            .iter()
            .map(|(name, value)| (header::HeaderName::from_static(name), value.parse().unwrap()))
            .collect();
        check(Guard { loopback }, method, &Uri::from_static("/v1/jobs"), &headers).is_ok()
    }

    #[test]
    fn on_loopback_only_names_of_this_machine_are_hosts() {
        for host in ["127.0.0.1:8080", "localhost", "LOCALHOST:1", "[::1]:8080", "a.localhost", "127.8.8.8"] {
            assert!(allowed(true, &Method::GET, &[("host", host)]), "{host}");
        }
        for host in
            ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "10.0.0.1", "", "[::2]"]
        {
            assert!(!allowed(true, &Method::GET, &[("host", host)]), "{host}");
        }
        assert!(!allowed(true, &Method::GET, &[]));
        assert!(allowed(false, &Method::GET, &[("host", "farm.example")]));
    }

    #[test]
    fn a_foreign_page_changes_nothing() {
        let host = ("host", "127.0.0.1:8080");
        assert!(allowed(true, &Method::POST, &[host]));
        assert!(allowed(true, &Method::POST, &[host, ("origin", "http://127.0.0.1:8080")]));
        assert!(!allowed(true, &Method::POST, &[host, ("origin", "http://evil.example")]));
        assert!(!allowed(true, &Method::POST, &[host, ("origin", "null")]));
        assert!(!allowed(true, &Method::DELETE, &[host, ("sec-fetch-site", "cross-site")]));
        assert!(allowed(true, &Method::GET, &[host, ("origin", "http://evil.example")]));
    }
}
