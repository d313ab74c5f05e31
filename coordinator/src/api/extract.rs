//! Extractors whose rejections are problem documents.

use std::{fmt::Display, str::FromStr};

use axum::{
    body::Bytes,
    extract::{FromRequest, FromRequestParts, RawPathParams, Request, rejection::BytesRejection},
};
use common::digest::Hasher;
use hyper::{HeaderMap, StatusCode, header, http::request::Parts};
use serde::de::DeserializeOwned;

use super::problem::Error;
use crate::{access::Caller, queue::IdempotencyKey};

/// Bytes of a JSON body.
pub(super) const MAX_JSON: usize = 1024 * 1024;

/// A JSON body. Other content types are refused, so that no web page of somebody else can make a browser send one
/// without being asked (CORS preflight).
pub(super) struct Json<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = Error;

    async fn from_request(request: Request, state: &S) -> Result<Self, Error> {
        require_json(request.headers())?;
        let body = Bytes::from_request(request, state).await.map_err(|rejection| unread(&rejection))?;
        no_list(&body)?;
        parse(&body).map(Self)
    }
}

/// A JSON body, and the `Idempotency-Key` that it came under, if it did.
pub(super) struct Once<T> {
    pub(super) body: T,
    pub(super) key: Option<IdempotencyKey>,
}

const KEY: &str = "idempotency-key";
/// Bytes of an idempotency key.
const MAX_KEY: usize = 255;

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Once<T> {
    type Rejection = Error;

    async fn from_request(request: Request, state: &S) -> Result<Self, Error> {
        require_json(request.headers())?;
        let caller = request.extensions().get::<Caller>();
        let owner = caller.and_then(|caller| caller.owner()).map(str::to_owned);
        let key = idempotency_key(request.headers())?;
        let about = format!("{} {}\n", request.method(), request.uri().path());
        let bytes = Bytes::from_request(request, state).await.map_err(|rejection| unread(&rejection))?;
        let body = parse(&bytes)?;
        let mut hasher = Hasher::default();
        hasher.update(about.as_bytes());
        hasher.update(&bytes);
        let digest = hasher.finish();
        Ok(Self { body, key: key.map(|key| IdempotencyKey { owner, key, digest }) })
    }
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Error> {
    let Some(value) = headers.get(KEY) else { return Ok(None) };
    let wrong = || Error::Malformed {
        problem: "Idempotency-Key cannot be used".to_owned(),
        remedy: format!("send one, of 1 to {MAX_KEY} printable ASCII characters, such as a UUID"),
    };
    let text = value.to_str().map_err(|_| wrong())?.trim();
    let fits = (1..=MAX_KEY).contains(&text.len()) && headers.get_all(KEY).iter().count() == 1;
    if fits { Ok(Some(text.to_owned())) } else { Err(wrong()) }
}

/// A JSON body, or none; `null` is none too.
pub(super) struct OptionalJson<T>(pub(super) T);

impl<T: DeserializeOwned + Default, S: Send + Sync> FromRequest<S> for OptionalJson<T> {
    type Rejection = Error;

    async fn from_request(request: Request, state: &S) -> Result<Self, Error> {
        let is_json = require_json(request.headers());
        let body = Bytes::from_request(request, state).await.map_err(|rejection| unread(&rejection))?;
        if body.is_empty() {
            return Ok(Self(T::default()));
        }
        is_json?;
        no_list(&body)?;
        parse::<Option<T>>(&body).map(|value| Self(value.unwrap_or_default()))
    }
}

/// Every body here is an object. serde would take the fields of one in a list, too, by their order.
fn no_list(body: &[u8]) -> Result<(), Error> {
    if body.trim_ascii_start().starts_with(b"[") {
        return Err(Error::invalid("", "the body is a list", "send an object: {\"name\": value, ...}"));
    }
    Ok(())
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Error> {
    let mut reader = serde_json::Deserializer::from_slice(body);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| located(&error))?;
    reader.end().map_err(|error| syntax(&error))?;
    Ok(value)
}

fn unread(rejection: &BytesRejection) -> Error {
    if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
        Error::TooLarge { limit: MAX_JSON as u64 }
    } else {
        Error::Malformed { problem: rejection.body_text(), remedy: "send the whole body".to_owned() }
    }
}

fn require_json(headers: &HeaderMap) -> Result<(), Error> {
    let given = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = given.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    let given = if given.is_empty() { "none".to_owned() } else { format!("{given:?}") };
    Err(Error::MediaType {
        problem: format!("this takes application/json; the content type is {given}"),
        remedy: "send JSON with the header Content-Type: application/json".to_owned(),
    })
}

fn syntax(error: &serde_json::Error) -> Error {
    Error::Malformed {
        problem: format!("the body is not JSON: {error}"),
        remedy: "send valid JSON".to_owned(),
    }
}

fn located(error: &serde_path_to_error::Error<serde_json::Error>) -> Error {
    let inner = error.inner();
    if !inner.is_data() {
        return syntax(inner);
    }
    let text = inner.to_string();
    // serde_json appends the place in the text, which the field already tells.
    let problem = text.rsplit_once(" at line ").map_or(text.as_str(), |(problem, _)| problem);
    let mut field = error.path().to_string();
    if field == "." {
        field = quoted(problem).unwrap_or_default();
    }
    Error::invalid(field, problem, "see the API's documentation for what this field takes")
}

/// The name in backticks of serde's "missing field `x`" and "unknown field `x`".
fn quoted(text: &str) -> Option<String> {
    text.split('`').nth(1).map(str::to_owned)
}

/// The query. Unknown parameters are refused when `T` says so.
pub(super) struct Query<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        axum::extract::Query::from_request_parts(parts, state).await.map(|query| Self(query.0)).map_err(
            |rejection| {
                let text = rejection.body_text();
                let problem = text.rsplit_once("query string: ").map_or(text.as_str(), |(_, text)| text);
                Error::Malformed {
                    problem: format!("the query cannot be used: {problem}"),
                    remedy: "see the API's documentation for the parameters of this resource".to_owned(),
                }
            },
        )
    }
}

/// The path's `{id}`.
pub(super) struct Id<T>(pub(super) T);

impl<T, S> FromRequestParts<S> for Id<T>
where
    T: FromStr<Err: Display> + Send,
    S: Send + Sync,
{
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        let text = segment(parts, state, "id").await?;
        text.parse().map(Self).map_err(|error: T::Err| Error::NotFound { what: error.to_string() })
    }
}

/// The decoded value of a part of the path.
pub(super) async fn segment<S: Send + Sync>(
    parts: &mut Parts,
    state: &S,
    name: &str,
) -> Result<String, Error> {
    let bad = |problem: String| Error::Malformed { problem, remedy: "write the path as UTF-8".to_owned() };
    let params =
        RawPathParams::from_request_parts(parts, state).await.map_err(|error| bad(error.to_string()))?;
    let found = params.iter().find(|(key, _)| *key == name).map(|(_, value)| value.to_owned());
    found.ok_or_else(|| bad(format!("the path has no {name}")))
}

/// The path's `{*path}` or `{name}`.
pub(super) struct Rest(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for Rest {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        segment(parts, state, "path").await.map(Self)
    }
}
