//! What each route needs of whoever asks, in one table, and the look at every request.
//!
//! A route that the table does not name is an administrator's: forgetting one closes it.
//!
//! Without any key whoever asks from this machine may do everything, and nobody else anything, unless `--insecure-open` says
//! otherwise. "From this machine" is three things: the connection, the `Host` header (a page could let its own name lead to
//! 127.0.0.1), and that no proxy says it passes somebody else on.

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use axum::{
    extract::{FromRequestParts, MatchedPath, Request, State},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use common::api::Scope;
use hyper::{
    HeaderMap, Method, Uri,
    header::{self, HeaderName},
    http::request::Parts,
};
use jiff::Timestamp;

use super::{
    guard,
    problem::Error,
    session::{self, Cookies, SignedIn},
};
use crate::{
    access::{Access, Caller, Refusal, Session, Token},
    serve::Peer,
};

/// What a route needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    /// Nothing: what it tells is no secret, or its URL carries a signature of its own.
    Nothing,
    /// The handler decides: a viewer's token opens it too.
    Watching,
    /// Nothing; the handler says who asks.
    Anybody,
    /// Any key.
    Key,
    Scope(Scope),
}

const SUBMIT: Need = Need::Scope(Scope::Submit);
const READ: Need = Need::Scope(Scope::Read);
const VIEW: Need = Need::Scope(Scope::View);
const METRICS: Need = Need::Scope(Scope::Metrics);
const ADMIN: Need = Need::Scope(Scope::Admin);

/// Every route. HEAD is what GET is, where it is not named itself.
pub(super) const ROUTES: &[(&str, &str, Need)] = &[
    ("GET", "/", Need::Nothing),
    // The pages: what they show comes through the other routes.
    ("GET", "/ui", Need::Nothing),
    ("GET", "/ui/", Need::Nothing),
    ("GET", "/ui/{*path}", Need::Nothing),
    ("GET", "/openapi.json", Need::Nothing),
    ("GET", "/docs", Need::Nothing),
    ("GET", "/healthz", Need::Nothing),
    ("GET", "/readyz", Need::Nothing),
    ("GET", "/metrics", METRICS),
    // A key is presented in the body.
    ("POST", "/v1/session", Need::Nothing),
    ("GET", "/v1/session", Need::Anybody),
    ("DELETE", "/v1/session", Need::Anybody),
    ("GET", "/v1/jobs", READ),
    ("POST", "/v1/jobs", SUBMIT),
    ("POST", "/v1/jobs/redrive", SUBMIT),
    ("GET", "/v1/jobs/{id}", READ),
    ("PATCH", "/v1/jobs/{id}", SUBMIT),
    ("DELETE", "/v1/jobs/{id}", SUBMIT),
    ("POST", "/v1/jobs/{id}/cancel", SUBMIT),
    ("POST", "/v1/jobs/{id}/retry", SUBMIT),
    ("GET", "/v1/jobs/{id}/logs", READ),
    ("GET", "/v1/jobs/{id}/webhooks", READ),
    ("POST", "/v1/jobs/{id}/webhooks/{event}/redeliver", SUBMIT),
    ("GET", "/v1/webhooks/secret", SUBMIT),
    ("GET", "/v1/jobs/{id}/outputs", READ),
    ("GET", "/v1/jobs/{id}/outputs/{*path}", READ),
    ("POST", "/v1/run", SUBMIT),
    ("POST", "/v1/probe", SUBMIT),
    // Their URLs are signed.
    ("GET", "/signed/{id}/{leave}", Need::Nothing),
    ("GET", "/signed/{id}/{leave}/{*path}", Need::Nothing),
    ("POST", "/v1/uploads", SUBMIT),
    ("OPTIONS", "/v1/uploads", Need::Nothing),
    ("HEAD", "/v1/uploads/{path}", SUBMIT),
    ("PUT", "/v1/uploads/{path}", SUBMIT),
    ("PATCH", "/v1/uploads/{path}", SUBMIT),
    ("POST", "/v1/uploads/{path}", SUBMIT),
    ("OPTIONS", "/v1/uploads/{path}", Need::Nothing),
    ("DELETE", "/v1/uploads/{path}", SUBMIT),
    // Each topic has a scope of its own.
    ("GET", "/v1/events", Need::Key),
    ("GET", "/v1/summary", Need::Key),
    ("GET", "/v1/workers", ADMIN),
    ("GET", "/v1/workers/{id}", ADMIN),
    ("DELETE", "/v1/workers/{id}", ADMIN),
    ("GET", "/v1/workers/{id}/history", ADMIN),
    ("POST", "/v1/workers/{id}/probe", ADMIN),
    ("POST", "/v1/workers/{id}/drain", ADMIN),
    ("POST", "/v1/workers/{id}/resume", ADMIN),
    ("GET", "/v1/presets", Need::Key),
    ("GET", "/v1/presets/{path}", Need::Key),
    ("GET", "/v1/profiles", Need::Key),
    ("GET", "/v1/profiles/{path}", Need::Key),
    ("GET", "/v1/keys", ADMIN),
    ("POST", "/v1/keys", ADMIN),
    ("DELETE", "/v1/keys/{id}", ADMIN),
    ("GET", "/v1/owners", ADMIN),
    ("PUT", "/v1/owners/{path}/quotas", ADMIN),
    ("DELETE", "/v1/owners/{path}/quotas", ADMIN),
    ("GET", "/v1/streams", VIEW),
    // What a stream's source names is opened by the farm itself.
    ("POST", "/v1/streams", ADMIN),
    ("GET", "/v1/streams/{stream}", VIEW),
    ("DELETE", "/v1/streams/{stream}", ADMIN),
    ("PUT", "/v1/streams/{stream}/input", SUBMIT),
    ("POST", "/v1/streams/{stream}/input", SUBMIT),
    ("POST", "/v1/streams/{stream}/tokens", VIEW),
    ("GET", "/live/{stream}/{file}", Need::Watching),
    ("OPTIONS", "/live/{stream}/{file}", Need::Nothing),
    ("GET", "/live/{stream}/{profile}/{file}", Need::Watching),
    ("OPTIONS", "/live/{stream}/{profile}/{file}", Need::Nothing),
];

/// What a route needs that was found for a request; `None`: there is nothing at that path.
fn need(method: &Method, path: Option<&MatchedPath>) -> Option<Need> {
    let path = path?.as_str();
    let find = |method: &str| ROUTES.iter().find(|(known, at, _)| *known == method && *at == path);
    let named = find(method.as_str()).or_else(|| find("GET").filter(|_| *method == Method::HEAD));
    Some(named.map_or(ADMIN, |(_, _, need)| *need))
}

/// What has to be known to judge a request.
#[derive(Clone)]
pub(super) struct Gate {
    pub(super) access: Access,
    /// Whoever reaches the API may do everything while there is no key.
    pub(super) insecure_open: bool,
    /// The API is bound to an address of this machine alone.
    pub(super) loopback: bool,
    /// Opens what needs the scope metrics.
    pub(super) scraper: Option<Token>,
    pub(super) refused: Refused,
    pub(super) cookies: Cookies,
}

/// Who a request is by, and the cookie that says so, if it is one.
#[derive(Debug)]
struct Judged {
    caller: Caller,
    session: Option<Session>,
}

impl From<Caller> for Judged {
    fn from(caller: Caller) -> Self {
        Self { caller, session: None }
    }
}

/// Where a request that is not from this machine comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Elsewhere {
    Host(String),
    Peer,
    Proxied,
}

/// What proxies say of those they ask for. Anybody can write it.
pub(super) const FORWARDED: [HeaderName; 3] =
    [header::FORWARDED, HeaderName::from_static("x-forwarded-for"), HeaderName::from_static("x-real-ip")];

/// Whether a request is from this machine.
fn is_from_here(peer: Option<IpAddr>, uri: &Uri, headers: &HeaderMap) -> Result<(), Elsewhere> {
    if !peer.is_some_and(|peer| peer.to_canonical().is_loopback()) {
        return Err(Elsewhere::Peer);
    }
    let host = guard::host(uri, headers);
    if !host.is_some_and(guard::is_local) {
        return Err(Elsewhere::Host(host.unwrap_or_default().to_owned()));
    }
    if FORWARDED.iter().any(|name| headers.contains_key(name)) {
        return Err(Elsewhere::Proxied);
    }
    Ok(())
}

impl Gate {
    fn judge(&self, request: &Request) -> Result<Judged, Error> {
        let headers = request.headers();
        let peer = request.extensions().get::<Peer>().map(|peer| peer.0.ip());
        if let Some(key) = presented(headers)? {
            return self.access.check(key, Timestamp::now()).map(Judged::from).map_err(|refusal| {
                self.refused.note(peer, refusal);
                unauthenticated(&refusal.to_string(), "ask whoever runs the farm for a new one")
            });
        }
        if self.access.is_closed() {
            return self.by_cookie(request, peer);
        }
        match is_from_here(peer, request.uri(), headers) {
            Ok(()) => Ok(Caller::Open.into()),
            // Bound to this machine, only its own names lead here, or it is somebody's browser that is led.
            Err(Elsewhere::Peer | Elsewhere::Proxied) if self.insecure_open => Ok(Caller::Open.into()),
            Err(Elsewhere::Host(_)) if self.insecure_open && !self.loopback => Ok(Caller::Open.into()),
            Err(elsewhere) => Err(not_from_here(&elsewhere)),
        }
    }

    /// Whether a request carries the token for metrics.
    fn scrapes(&self, request: &Request) -> bool {
        let presented = presented(request.headers()).ok().flatten();
        presented.zip(self.scraper.as_ref()).is_some_and(|(presented, scraper)| scraper.is(presented))
    }

    /// Who sends no key, where one is needed.
    fn by_cookie(&self, request: &Request, peer: Option<IpAddr>) -> Result<Judged, Error> {
        let (uri, headers) = (request.uri(), request.headers());
        match self.cookies.find(uri, headers) {
            Some(Ok(session)) => {
                session::is_of_a_page(request.method(), uri, headers)?;
                Ok(Judged { caller: session.caller.clone(), session: Some(session) })
            }
            Some(Err(why)) => {
                let (caller, refusal) = session::refused(why);
                if let Some(refusal) = refusal {
                    self.refused.note(peer, refusal);
                }
                Ok(caller.into())
            }
            None => Ok(Caller::Nobody(
                "this needs an API key",
                "send Authorization: Bearer KEY; ffmpegctl takes it from TVARR_API_KEY or --api-key",
            )
            .into()),
        }
    }
}

fn not_from_here(elsewhere: &Elsewhere) -> Error {
    let remedy = "make a key on the coordinator's machine (ffmpegctl keys create --scope admin), or set TVARR_ADMIN_KEY or \
                  TVARR_INSECURE_OPEN";
    let problem = match elsewhere {
        Elsewhere::Host(host) => {
            let remedy = format!("use http://127.0.0.1 or http://localhost; for other machines {remedy}");
            let problem = format!(
                "the Host header is {host:?}, and this API is for this machine only while there is no API key"
            );
            return Error::Forbidden { problem, remedy };
        }
        Elsewhere::Peer => "this API is for its own machine only while there is no API key",
        Elsewhere::Proxied => {
            "this API is for its own machine only while there is no API key, and a proxy passed this request on"
        }
    };
    Error::Forbidden { problem: problem.to_owned(), remedy: remedy.to_owned() }
}

pub(super) fn unauthenticated(problem: &str, remedy: &str) -> Error {
    Error::Unauthenticated { problem: problem.to_owned(), remedy: remedy.to_owned() }
}

/// The key that a request carries.
fn presented(headers: &HeaderMap) -> Result<Option<&str>, Error> {
    let Some(value) = headers.get(header::AUTHORIZATION) else { return Ok(None) };
    let wrong =
        || unauthenticated("the Authorization header is no API key", "send Authorization: Bearer KEY");
    let (scheme, key) = value.to_str().map_err(|_| wrong())?.split_once(' ').ok_or_else(wrong)?;
    if !scheme.eq_ignore_ascii_case("bearer") || headers.get_all(header::AUTHORIZATION).iter().count() > 1 {
        return Err(wrong());
    }
    Ok(Some(key.trim()))
}

/// Looks at every request: lets it through with its [`Caller`], or answers it.
pub(super) async fn gate(State(gate): State<Gate>, mut request: Request, next: Next) -> Response {
    let Some(need) = need(request.method(), request.extensions().get::<MatchedPath>()) else {
        return next.run(request).await;
    };
    if need == Need::Nothing || (need == METRICS && gate.scrapes(&request)) {
        return next.run(request).await;
    }
    let judged = match (gate.judge(&request), need) {
        (Ok(judged), _) => judged,
        // A token may open it.
        (Err(Error::Forbidden { .. }), Need::Watching) => {
            Caller::Nobody("it needs a token, or an API key with the scope view", "ask whoever runs the farm")
                .into()
        }
        (Err(Error::Forbidden { .. }), Need::Anybody) if request.method() == Method::GET => Caller::Nobody(
            "this API is for its own machine only while there is no API key",
            "make a key on the coordinator's machine: ffmpegctl keys create --scope admin",
        )
        .into(),
        (Err(error), _) => return error.into_response(),
    };
    let Judged { caller, session } = judged;
    if let Err(error) = meets(&caller, need) {
        return error.into_response();
    }
    request.extensions_mut().insert(caller);
    let Some(session) = session else { return next.run(request).await };
    request.extensions_mut().insert(SignedIn::of(&session));
    // What may be kept by caches tells nobody a cookie.
    let renewed = (need != Need::Watching)
        .then(|| gate.cookies.renewed(request.uri(), request.headers(), &session))
        .flatten();
    let mut response = next.run(request).await;
    if let Some(cookie) = renewed {
        response.headers_mut().entry(header::SET_COOKIE).or_insert(cookie);
    }
    response
}

pub(super) fn meets(caller: &Caller, need: Need) -> Result<(), Error> {
    match (caller, need) {
        (_, Need::Nothing | Need::Watching | Need::Anybody) => Ok(()),
        (Caller::Nobody(problem, remedy), _) => Err(unauthenticated(problem, remedy)),
        (_, Need::Key) => Ok(()),
        (caller, Need::Scope(scope)) if caller.may(scope) => Ok(()),
        (_, Need::Scope(scope)) => Err(Error::Forbidden {
            problem: format!("this needs an API key with the scope {scope}, and yours has not"),
            remedy: "ask whoever runs the farm for another key".to_owned(),
        }),
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Error> {
        let caller = parts.extensions.get::<Self>().cloned();
        caller.ok_or_else(|| Error::Internal { problem: "it was not looked at who asks".to_owned() })
    }
}

/// Says in the log that keys were refused, a line in a while however many there are.
#[derive(Debug, Clone, Default)]
pub(super) struct Refused(Arc<Mutex<Counted>>);

#[derive(Debug, Default)]
struct Counted {
    said: Option<Instant>,
    since: u64,
}

impl Refused {
    const EVERY: Duration = Duration::from_secs(10);

    pub(super) fn note(&self, peer: Option<IpAddr>, refusal: Refusal) {
        let mut counted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counted.since += 1;
        if counted.said.is_none_or(|said| said.elapsed() >= Self::EVERY) {
            let requests = std::mem::take(&mut counted.since);
            counted.said = Some(Instant::now());
            let peer = peer.map(tracing::field::display);
            tracing::warn!(requests, peer, reason = %refusal, "an API key was refused");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn from_here(peer: &str, headers: &[(&'static str, &str)]) -> Result<(), Elsewhere> {
        let headers = headers
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()))
            .collect();
        is_from_here(Some(peer.parse().unwrap()), &Uri::from_static("/v1/jobs"), &headers)
    }

    #[test]
    fn this_machine_is_the_connection_and_the_host_and_no_proxy() {
        let host = ("host", "127.0.0.1:8080");
        for peer in ["127.0.0.1", "::1", "::ffff:127.0.0.1", "127.9.9.9"] {
            assert_eq!(from_here(peer, &[host]), Ok(()), "{peer}");
        }
        for peer in ["10.0.0.1", "::ffff:10.0.0.1", "172.17.0.1", "2001:db8::1"] {
            assert_eq!(from_here(peer, &[host]), Err(Elsewhere::Peer), "{peer}");
        }
        for host in
            ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "10.0.0.1", "", "[::2]"]
        {
            assert_eq!(from_here("::1", &[("host", host)]), Err(Elsewhere::Host(host.to_owned())));
        }
        assert!(from_here("::1", &[]).is_err());
        for name in ["forwarded", "x-forwarded-for", "x-real-ip"] {
            assert_eq!(from_here("::1", &[host, (name, "for=1.2.3.4")]), Err(Elsewhere::Proxied), "{name}");
        }
    }

    /// Method and path of every route that there is, as axum itself shows them.
    fn there_are() -> BTreeSet<(String, String)> {
        let text = format!("{:?}", super::super::routes());
        let routes: Vec<(&str, &str)> =
            text.split("RouteId(").skip(1).filter_map(|part| part.split_once("): ")).collect();
        let quoted = |text: &str| text.split('"').nth(1).unwrap_or_default().to_owned();
        let (mut found, mut unbounded) = (BTreeSet::new(), 0);
        for (id, rest) in routes.iter().filter(|(_, rest)| rest.starts_with("MethodRouter(")) {
            let Some(allowed) = rest.split_once("allow_header: ") else { continue };
            if allowed.1.starts_with("Skip") {
                // It takes every method.
                unbounded += 1;
                continue;
            }
            let paths = routes.iter().filter(|(known, _)| known == id).map(|(_, rest)| *rest);
            let path = paths.filter(|rest| rest.starts_with("\"/")).map(quoted).next().unwrap();
            let allowed = quoted(allowed.1);
            let answers_get = allowed.split(',').any(|method| method == "GET");
            for method in allowed.split(',').filter(|method| *method != "HEAD" || !answers_get) {
                found.insert((method.to_owned(), path.clone()));
            }
        }
        assert_eq!(unbounded, 2, "the fallback is two; name the methods of the others");
        found
    }

    #[test]
    fn every_route_is_in_the_table_and_every_line_of_it_is_a_route() {
        let table: BTreeSet<_> =
            ROUTES.iter().map(|(method, path, _)| (method.to_string(), path.to_string())).collect();
        assert_eq!(table.len(), ROUTES.len(), "a route is named twice");
        let there = there_are();
        assert!(there.contains(&("DELETE".to_owned(), "/v1/keys/{id}".to_owned())), "{there:?}");
        let forgotten: Vec<_> = there.difference(&table).collect();
        assert!(forgotten.is_empty(), "say in ROUTES what they need: {forgotten:?}");
        let gone: Vec<_> = table.difference(&there).collect();
        assert!(gone.is_empty(), "there are no such routes: {gone:?}");
    }

    #[test]
    fn a_key_is_what_follows_bearer() {
        let key = |values: &[&'static str]| {
            let headers =
                values.iter().map(|value| (header::AUTHORIZATION, value.parse().unwrap())).collect();
            presented(&headers).map(|key| key.map(str::to_owned)).map_err(|error| error.into_problem().status)
        };
        assert_eq!(key(&[]), Ok(None));
        assert_eq!(key(&["Bearer abc"]), Ok(Some("abc".to_owned())));
        assert_eq!(key(&["bearer  abc "]), Ok(Some("abc".to_owned())));
        assert_eq!(key(&["Basic abc"]), Err(401));
        assert_eq!(key(&["abc"]), Err(401));
        assert_eq!(key(&["Bearer abc", "Bearer def"]), Err(401));
    }
}
