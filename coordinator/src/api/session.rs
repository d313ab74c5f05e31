//! `/v1/session`: signing in with a key, for browsers. A cookie stands for the key from there on, as neither `EventSource` nor
//! `<video>` can send a header.
//!
//! A browser sends the cookie with whatever request a page makes. So what changes something needs a header besides that no page
//! of another origin can send, as no answer here ever allows it to (CORS).

use axum::{
    Extension,
    extract::{FromRequestParts, State},
    response::{IntoResponse as _, Response},
};
use common::api::{SessionView, SignIn};
use hyper::{
    HeaderMap, Method, Uri, header,
    header::{HeaderName, HeaderValue},
    http::request::Parts,
};
use jiff::Timestamp;
use url::Url;

use super::{
    Api,
    access::{Refused, unauthenticated},
    extract::Json,
    guard, problem,
    problem::Error,
};
use crate::{
    access::{Caller, LASTS, NoSession, Refusal, Session, Sessions},
    serve::Peer,
};

/// What a page sends with a request that changes something.
const PAGE: HeaderName = HeaderName::from_static("x-tvarr-page");
const PLAIN: &str = "tvarr_session";
/// Browsers take it over https only, and from no other host of the same domain.
const SECURE: &str = "__Host-tvarr_session";

/// Makes and reads the cookies.
#[derive(Clone)]
pub(crate) struct Cookies {
    pub(crate) sessions: Sessions,
    /// Where the API is reached from outside, if that was said.
    pub(crate) public: Option<Url>,
}

/// Until when the cookie is good that a request came with; an extension of that request.
#[derive(Debug, Clone, Copy)]
pub(super) struct SignedIn(i64);

impl Cookies {
    /// Who has the cookie that came with a request, if one came that is good for anything.
    ///
    /// A cookie comes unasked: one that is good for nothing is no error, its sender is nobody.
    pub(super) fn find(&self, uri: &Uri, headers: &HeaderMap) -> Option<Result<Session, NoSession>> {
        let text = only(headers, self.name(uri, headers))?;
        Some(self.sessions.check(text, Timestamp::now()))
    }

    /// Whether the request was sent over https, as far as the configuration tells: it names the address that the public has.
    fn is_https(&self, uri: &Uri, headers: &HeaderMap) -> bool {
        let public = self.public.as_ref().filter(|public| public.scheme() == "https");
        public.is_some_and(|public| guard::host(uri, headers).is_some_and(|host| is_of(public, host)))
    }

    fn name(&self, uri: &Uri, headers: &HeaderMap) -> &'static str {
        if self.is_https(uri, headers) { SECURE } else { PLAIN }
    }

    /// `value`: empty removes it.
    fn set(&self, uri: &Uri, headers: &HeaderMap, value: &str, seconds: u64) -> HeaderValue {
        let (name, secure) = match self.name(uri, headers) {
            SECURE => (SECURE, "; Secure"),
            name => (name, ""),
        };
        let text = format!("{name}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}");
        HeaderValue::try_from(text).expect("ids, numbers and base64 are ASCII")
    }

    fn issue(&self, uri: &Uri, headers: &HeaderMap, caller: &Caller) -> Option<(HeaderValue, i64)> {
        let (value, expires) = self.sessions.issue(caller, Timestamp::now())?;
        Some((self.set(uri, headers, &value, LASTS.as_secs()), expires))
    }

    /// Another cookie for who comes with one that is some time old.
    pub(super) fn renewed(&self, uri: &Uri, headers: &HeaderMap, session: &Session) -> Option<HeaderValue> {
        let is_old = Sessions::is_old(session.expires, Timestamp::now());
        let (cookie, expires) = is_old.then(|| self.issue(uri, headers, &session.caller))??;
        (expires > session.expires).then_some(cookie)
    }
}

impl SignedIn {
    pub(super) fn of(session: &Session) -> Self {
        Self(session.expires)
    }
}

/// Whether an authority is that of a URL; one without a port has the scheme's.
fn is_of(url: &Url, authority: &str) -> bool {
    let Ok(other) = Url::parse(&format!("{}://{authority}", url.scheme())) else { return false };
    (url.host(), url.port_or_known_default()) == (other.host(), other.port_or_known_default())
}

/// The value of the only cookie of that name: of two nobody knows who set which.
fn only<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let lines = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let mut values = pairs.filter(|(found, _)| *found == name).map(|(_, value)| value);
    values.next().filter(|_| values.next().is_none())
}

/// Whether a request by cookie is a page's of this address. What only reads needs no proof: no other page can read the answer.
///
/// # Errors
/// It changes something, and it may be another page's.
pub(super) fn is_of_a_page(method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<(), Error> {
    if matches!(*method, Method::GET | Method::HEAD) {
        return Ok(());
    }
    let text = |name: HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    let own_fetch = text(HeaderName::from_static("sec-fetch-site"))
        .is_none_or(|site| matches!(site, "same-origin" | "none"));
    let own_origin = text(header::ORIGIN).is_none_or(|origin| {
        origin.split_once("://").is_some_and(|(_, authority)| Some(authority) == guard::host(uri, headers))
    });
    if text(PAGE) == Some("1") && own_fetch && own_origin {
        return Ok(());
    }
    Err(Error::Forbidden {
        problem: "the request came with the cookie of a sign-in, and not from a page of this address"
            .to_owned(),
        remedy: "send X-Tvarr-Page: 1 from a page of this address; programs send Authorization: Bearer KEY"
            .to_owned(),
    })
}

/// Where a request came from.
pub(super) struct Sender {
    uri: Uri,
    headers: HeaderMap,
    peer: Option<std::net::IpAddr>,
}

impl<S: Send + Sync> FromRequestParts<S> for Sender {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Error> {
        let peer = parts.extensions.get::<Peer>().map(|peer| peer.0.ip());
        Ok(Self { uri: parts.uri.clone(), headers: parts.headers.clone(), peer })
    }
}

/// `POST`: the key, for a cookie that stands for it.
pub(super) async fn sign_in(
    State(api): State<Api>,
    Extension(refused): Extension<Refused>,
    Sender { uri, headers, peer }: Sender,
    Json(SignIn { key }): Json<SignIn>,
) -> Result<Response, Error> {
    if !api.access.is_closed() {
        return Err(Error::Conflict { problem: "there is no API key yet: nobody has to sign in".to_owned() });
    }
    let caller = api.access.check(key.trim(), Timestamp::now()).map_err(|refusal| {
        refused.note(peer, refusal);
        unauthenticated(
            &refusal.to_string(),
            "look at how it was copied, or ask whoever runs the farm for a new one",
        )
    })?;
    let (cookie, expires) = api
        .cookies
        .issue(&uri, &headers, &caller)
        .ok_or_else(|| Error::Internal { problem: "a key was good and has no holder".to_owned() })?;
    let mut response = view(&api, &caller, Some(expires)).into_response();
    let headers = response.headers_mut();
    headers.insert(header::SET_COOKIE, cookie);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// `GET`: who asks.
pub(super) async fn show(
    State(api): State<Api>,
    caller: Caller,
    signed_in: Option<Extension<SignedIn>>,
) -> Response {
    let mut response = view(&api, &caller, signed_in.map(|it| it.0.0)).into_response();
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// `DELETE`: takes the cookie away.
pub(super) async fn sign_out(State(api): State<Api>, Sender { uri, headers, .. }: Sender) -> Response {
    let mut response = problem::no_content();
    response.headers_mut().insert(header::SET_COOKIE, api.cookies.set(&uri, &headers, "", 0));
    response
}

fn view(api: &Api, caller: &Caller, expires: Option<i64>) -> axum::Json<SessionView> {
    let reason = match caller {
        Caller::Nobody(problem, _) => Some((*problem).to_owned()),
        Caller::Open | Caller::Operator | Caller::Key(_) => None,
    };
    axum::Json(SessionView {
        keys: api.access.is_closed(),
        who: caller.who(),
        reason,
        expires_at: expires.and_then(|expires| Timestamp::from_second(expires).ok()),
    })
}

/// What the sender of a cookie that is good for nothing is told, where a key is needed; and what the log is.
pub(super) fn refused(why: NoSession) -> (Caller, Option<Refusal>) {
    const AGAIN: &str = "sign in again";
    match why {
        NoSession::Over => (Caller::Nobody("the sign-in has ended", AGAIN), None),
        NoSession::Forged => (Caller::Nobody("the sign-in is not known here", AGAIN), Some(Refusal::Unknown)),
        NoSession::Key(refusal) => {
            (Caller::Nobody("the API key of the sign-in was revoked or has expired", AGAIN), Some(refusal))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(given: &[(&'static str, &str)]) -> HeaderMap {
        given.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    #[test]
    fn only_a_page_of_this_address_changes_something_by_cookie() {
        let check = |method: Method, given: &[(&'static str, &str)]| {
            is_of_a_page(&method, &Uri::from_static("/v1/jobs"), &headers(given)).is_ok()
        };
        let (host, page) = (("host", "farm:8080"), ("x-tvarr-page", "1"));
        assert!(check(Method::GET, &[host]));
        assert!(check(Method::HEAD, &[host]));
        for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
            assert!(!check(method.clone(), &[host]));
            assert!(!check(method.clone(), &[host, ("x-tvarr-page", "")]));
            assert!(check(method.clone(), &[host, page]));
            assert!(check(method.clone(), &[host, page, ("origin", "http://farm:8080")]));
            assert!(check(method.clone(), &[host, page, ("sec-fetch-site", "same-origin")]));
            for foreign in [
                ("origin", "http://farm:9090"),
                ("origin", "http://evil.example"),
                ("origin", "null"),
                ("sec-fetch-site", "same-site"),
                ("sec-fetch-site", "cross-site"),
            ] {
                assert!(!check(method.clone(), &[host, page, foreign]), "{foreign:?}");
            }
        }
    }

    #[test]
    fn of_two_cookies_of_a_name_none_counts() {
        let cookies = |text: &str| only(&headers(&[("cookie", text)]), PLAIN).map(str::to_owned);
        assert_eq!(cookies("tvarr_session=a.b.c"), Some("a.b.c".to_owned()));
        assert_eq!(cookies("x=1; tvarr_session=a; y=2"), Some("a".to_owned()));
        assert_eq!(cookies("tvarr_session=a; tvarr_session=b"), None);
        assert_eq!(cookies("xtvarr_session=a"), None);
        assert_eq!(cookies(""), None);
    }

    #[test]
    fn an_authority_is_compared_with_the_schemes_port() {
        let url = Url::parse("https://farm.example/media/").unwrap();
        for same in ["farm.example", "farm.example:443", "FARM.example"] {
            assert!(is_of(&url, same), "{same}");
        }
        for other in ["farm.example:8080", "evil.example", "", "127.0.0.1:8080"] {
            assert!(!is_of(&url, other), "{other}");
        }
    }
}
