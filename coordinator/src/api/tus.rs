//! tus 1.0 on `/v1/uploads`: core, creation (with upload, with a length that is said later), expiration, checksum,
//! termination and concatenation. <https://tus.io/protocols/resumable-upload>

mod headers;

use axum::{
    body::Body,
    extract::{Request, State},
    response::{IntoResponse as _, Response},
};
use common::id::UploadId;
use hyper::{HeaderMap, Method, StatusCode, header, header::HeaderValue};
use jiff::{Timestamp, fmt::rfc2822::DateTimePrinter};

use self::headers::{Joining, append, checksum, creation, offset};
use super::{Api, extract::Rest, problem, problem::Error, uploads};
use crate::{
    access::Caller,
    incoming::{self, ALGORITHMS, Append, Piece, Refusal},
    store::{Concat, UploadRecord},
};

const VERSION: &str = "1.0.0";
const EXTENSIONS: &str =
    "creation,creation-with-upload,creation-defer-length,expiration,checksum,termination,concatenation";

/// Whether a request speaks tus, of whatever version.
pub(super) fn speaks(headers: &HeaderMap) -> bool {
    headers.contains_key("tus-resumable")
}

/// What tells of tus in every answer.
fn tus(answer: Result<Response, Error>) -> Response {
    let mut response = answer.unwrap_or_else(|error| error.into_response());
    let status = response.status();
    let headers = response.headers_mut();
    headers.insert("tus-resumable", HeaderValue::from_static(VERSION));
    if status == StatusCode::PRECONDITION_FAILED {
        headers.insert("tus-version", HeaderValue::from_static(VERSION));
    }
    response
}

fn check_version(headers: &HeaderMap) -> Result<(), Error> {
    match headers::text(headers, "tus-resumable")? {
        Some(VERSION) => Ok(()),
        said => Err(Error::Version {
            problem: format!("Tus-Resumable is {:?}", said.unwrap_or_default()),
            remedy: format!("send Tus-Resumable: {VERSION}"),
        }),
    }
}

/// `OPTIONS`: what is spoken here.
pub(super) async fn options(State(api): State<Api>) -> Response {
    let mut response = tus(Ok(problem::no_content()));
    let headers = response.headers_mut();
    headers.insert("tus-version", HeaderValue::from_static(VERSION));
    headers.insert("tus-extension", HeaderValue::from_static(EXTENSIONS));
    headers.insert("tus-max-size", HeaderValue::from(api.max_upload));
    headers.insert("tus-checksum-algorithm", HeaderValue::from_static(ALGORITHMS));
    response
}

/// `POST /v1/uploads`.
pub(super) async fn create(api: &Api, caller: &Caller, filename: &str, request: Request) -> Response {
    tus(begin(api, caller, filename, request).await)
}

async fn begin(api: &Api, caller: &Caller, filename: &str, request: Request) -> Result<Response, Error> {
    check_version(request.headers())?;
    let (new, joining) = creation(request.headers(), filename)?;
    if let Joining::Parts(parts) = joining {
        for part in &parts {
            uploads::seen(api, caller, part).await?;
        }
        let length = api.incoming.joined_length(&parts)?;
        let _coming = api.holdings.expect(caller.owner(), length).await?;
        let made = api.incoming.concatenate(new, &parts).await?;
        uploads::own(api, caller, made.id, length).await?;
        return Ok(created(&made));
    }
    // Looked at first: a creation that fails leaves nothing.
    let first = match headers::text(request.headers(), "content-type")? {
        Some(headers::OFFSET_STREAM) => {
            let bytes = headers::number(request.headers(), "content-length")?;
            Some((Append { offset: 0, length: None, bytes }, checksum(request.headers())?))
        }
        _ => None,
    };
    let length = new.length;
    // There must be room for something.
    let coming = api.holdings.expect(caller.owner(), length.unwrap_or(1)).await?;
    let made = api.incoming.create(new).await?;
    uploads::own(api, caller, made.id, length.unwrap_or_default()).await?;
    drop(coming);
    let Some((append, checksum)) = first else { return Ok(created(&made)) };
    let body = Body::into_data_stream(request.into_body());
    let piece = Piece { append, checksum, body, coming: api.holdings.coming(caller.owner()) };
    match api.incoming.append(made.id, piece).await {
        Ok(grown) => Ok(created(&grown)),
        // What came is kept, and the client must hear where.
        Err(incoming::Error::BrokenOff { .. } | incoming::Error::ShuttingDown) => {
            Ok(created(&api.incoming.look(made.id).await.unwrap_or(made)))
        }
        Err(error) => {
            api.incoming.terminate(made.id, "its first piece was refused").await?;
            Err(error.into())
        }
    }
}

fn created(upload: &UploadRecord) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::CREATED;
    let headers = response.headers_mut();
    if let Ok(location) = HeaderValue::try_from(format!("/v1/uploads/{}", upload.id)) {
        headers.insert(header::LOCATION, location);
    }
    headers.insert("upload-offset", HeaderValue::from(upload.received));
    expires(headers, upload);
    response
}

/// When what is not whole is removed.
fn expires(headers: &mut HeaderMap, upload: &UploadRecord) {
    if upload.placed {
        return;
    }
    let date = Timestamp::from_millisecond(upload.expires_at)
        .ok()
        .and_then(|time| DateTimePrinter::new().timestamp_to_rfc9110_string(&time).ok())
        .and_then(|text| HeaderValue::try_from(text).ok());
    if let Some(date) = date {
        headers.insert("upload-expires", date);
    }
}

/// `HEAD /v1/uploads/ID`: how much of it is here.
pub(super) async fn head(
    State(api): State<Api>,
    caller: Caller,
    Rest(id): Rest,
    headers: HeaderMap,
) -> Response {
    tus(look(&api, &caller, &id, &headers).await)
}

async fn look(api: &Api, caller: &Caller, id: &str, headers: &HeaderMap) -> Result<Response, Error> {
    check_version(headers)?;
    let upload = find(api, uploads::seen(api, caller, id).await?).await?;
    let mut response = Response::new(Body::empty());
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert("upload-offset", HeaderValue::from(upload.received));
    match upload.length {
        Some(length) => headers.insert("upload-length", HeaderValue::from(length)),
        None => headers.insert("upload-defer-length", HeaderValue::from_static("1")),
    };
    let concat = match &upload.details.concat {
        Concat::Alone => None,
        Concat::Partial => Some("partial".to_owned()),
        Concat::Final(parts) => Some(parts.clone()),
    };
    let said = [("upload-metadata", Some(upload.details.metadata.clone())), ("upload-concat", concat)];
    for (name, value) in said {
        if let Some(value) = value.filter(|value| !value.is_empty())
            && let Ok(value) = HeaderValue::try_from(value)
        {
            headers.insert(name, value);
        }
    }
    expires(headers, &upload);
    Ok(response)
}

/// An upload, by tus or in one request.
async fn find(api: &Api, id: UploadId) -> Result<UploadRecord, Error> {
    if let Some(upload) = api.incoming.look(id).await {
        return Ok(upload);
    }
    let stored = api.storage.upload(id).await?.ok_or_else(|| Error::no("upload", id))?;
    Ok(UploadRecord {
        id,
        details: crate::store::UploadDetails {
            filename: stored.key.name().to_owned(),
            metadata: String::new(),
            concat: Concat::Alone,
        },
        length: Some(stored.size),
        received: stored.size,
        placed: true,
        created_at: stored.modified.as_millisecond(),
        expires_at: 0,
    })
}

/// `PATCH /v1/uploads/ID`: the next piece.
pub(super) async fn patch(
    State(api): State<Api>,
    caller: Caller,
    Rest(id): Rest,
    request: Request,
) -> Response {
    tus(add(&api, &caller, &id, request).await)
}

async fn add(api: &Api, caller: &Caller, id: &str, request: Request) -> Result<Response, Error> {
    check_version(request.headers())?;
    let (upload, owner) = uploads::owned(api, caller, id).await?;
    let headers = request.headers();
    let kind = headers::text(headers, "content-type")?;
    if kind != Some(headers::OFFSET_STREAM) {
        return Err(Error::MediaType {
            problem: format!(
                "a piece is {}; the content type is {:?}",
                headers::OFFSET_STREAM,
                kind.unwrap_or("none")
            ),
            remedy: format!("send Content-Type: {}", headers::OFFSET_STREAM),
        });
    }
    let piece = Piece {
        append: append(headers, offset(headers)?)?,
        checksum: checksum(headers)?,
        body: Body::into_data_stream(request.into_body()),
        coming: api.holdings.coming(owner.as_deref()),
    };
    let grown = api.incoming.append(upload, piece).await?;
    let mut response = problem::no_content();
    response.headers_mut().insert("upload-offset", HeaderValue::from(grown.received));
    expires(response.headers_mut(), &grown);
    Ok(response)
}

/// `DELETE /v1/uploads/ID`.
pub(super) async fn terminate(api: &Api, caller: &Caller, id: &str, headers: &HeaderMap) -> Response {
    tus(match check_version(headers) {
        Ok(()) => uploads::remove(api, caller, id).await,
        Err(error) => Err(error),
    })
}

/// `POST /v1/uploads/ID` with `X-HTTP-Method-Override`, for clients that cannot send the method itself.
pub(super) async fn override_method(
    State(api): State<Api>,
    caller: Caller,
    Rest(id): Rest,
    request: Request,
) -> Response {
    let meant = request.headers().get("x-http-method-override").and_then(|value| value.to_str().ok());
    match meant.and_then(|method| method.parse().ok()) {
        Some(Method::PATCH) => tus(add(&api, &caller, &id, request).await),
        Some(Method::DELETE) => terminate(&api, &caller, &id, request.headers()).await,
        Some(Method::HEAD) => tus(look(&api, &caller, &id, request.headers()).await),
        _ => {
            let mut response = tus(Err(Error::MethodNotAllowed));
            let allowed = HeaderValue::from_static("PUT,DELETE,HEAD,PATCH,OPTIONS");
            response.headers_mut().insert(header::ALLOW, allowed);
            response
        }
    }
}

impl From<incoming::Error> for Error {
    fn from(error: incoming::Error) -> Self {
        let text = error.to_string();
        let malformed = |remedy: &str| Self::Malformed { problem: text.clone(), remedy: remedy.to_owned() };
        match error {
            incoming::Error::Refused(refusal) => match refusal {
                Refusal::NoSuchUpload(_) => Self::NotFound { what: text },
                Refusal::Empty => Self::invalid("body", text, "send a file with something in it"),
                Refusal::TooLarge { limit, .. } => Self::TooLarge { limit },
                Refusal::Offset { .. } | Refusal::TakenOver => Self::Conflict { problem: text },
                Refusal::Length { .. } | Refusal::Short { .. } | Refusal::Overrun { .. } => {
                    malformed("ask with HEAD what there is, and send the rest of the same file")
                }
                Refusal::Final => Self::Forbidden {
                    problem: text,
                    remedy: "create another upload from all its parts".to_owned(),
                },
                Refusal::NotPartial(_) | Refusal::Unfinished(_) => {
                    malformed("put whole uploads together that were created with Upload-Concat: partial")
                }
                Refusal::Part(_) => Self::invalid(
                    "input.upload",
                    text,
                    "put its parts together first, with Upload-Concat: final",
                ),
                Refusal::TooMany => Self::Unavailable { problem: text },
            },
            incoming::Error::Checksum => Self::Checksum { problem: text },
            incoming::Error::BrokenOff { .. } => malformed("ask with HEAD what there is, and send the rest"),
            incoming::Error::Quota(error) => error.into(),
            incoming::Error::Storage(error) => error.into(),
            incoming::Error::Queue(error) => error.into(),
            incoming::Error::Store(_) | incoming::Error::ShuttingDown => Self::Unavailable { problem: text },
        }
    }
}
