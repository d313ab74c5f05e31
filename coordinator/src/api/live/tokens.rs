//! `/v1/streams/{stream}/tokens`.

use std::time::Duration;

use axum::{Json, extract::State};
use common::stream::{TokenRequest, TokenView};
use jiff::Timestamp;

use super::{
    super::{Api, extract, problem::Error, streams},
    name::File,
    token::Leave,
};
use crate::{access::Caller, options::parse_duration};

/// A token lives this long at most: whoever has it has it, there is no taking back.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);
/// So long lives one that was made by who may watch the stream and has no more to say about it.
const VIEWERS: Duration = Duration::from_secs(24 * 3600);

/// The path's `{stream}`.
pub(super) struct Stream(String);

impl<S: Send + Sync> axum::extract::FromRequestParts<S> for Stream {
    type Rejection = Error;
    async fn from_request_parts(parts: &mut axum::http::request::Parts, state: &S) -> Result<Self, Error> {
        extract::segment(parts, state, "stream").await.map(Self)
    }
}

pub(super) async fn post(
    State(api): State<Api>,
    caller: Caller,
    Stream(stream): Stream,
    extract::Json(request): extract::Json<TokenRequest>,
) -> Result<Json<TokenView>, Error> {
    streams::seen(&api, &caller, &stream)?;
    let field = "expires_in";
    let length = parse_duration(&request.expires_in)
        .map_err(|problem| Error::invalid(field, problem, "write for example 30m, 12h or 7d"))?;
    let (longest, most) = match caller.sees(api.live.owner(&stream)?.as_deref()) {
        true => (LONGEST, "366d"),
        false => (VIEWERS, "1d"),
    };
    if length < Duration::from_secs(1) || length > longest {
        return Err(Error::invalid(
            field,
            format!("it must be between 1s and {most}"),
            "write for example 30m or 12h",
        ));
    }
    // Viewers' URLs have the name.
    let name = api.live.stream(&stream).await?.spec.name;
    let profile = request.profile.as_deref();
    if let Some(profile) = profile {
        api.live.renditions(&name, profile).await?;
    }
    let expires = Timestamp::now().as_second() + i64::try_from(length.as_secs()).unwrap_or(0);
    // Nobody hands out more than there is.
    let expires = expires.min(caller.expires_at().unwrap_or(i64::MAX));
    let token = api.viewers.token(Leave { stream: &name, profile, expires });
    let folder = profile.map(|profile| format!("/{profile}")).unwrap_or_default();
    let file = if profile.is_some() { File::Playlist } else { File::Master };
    let url = format!("/live/{name}{folder}/{file}?token={token}");
    Ok(Json(TokenView { token, expires_at: expires * 1000, url }))
}
