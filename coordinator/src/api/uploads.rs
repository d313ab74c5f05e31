//! `/v1/uploads`: inputs that come from the user's machine in one request. Streamed to the storage, never held in memory.
//! What says `Tus-Resumable` comes in pieces: that is [`super::tus`].

use axum::{
    Json,
    body::{Body, BodyDataStream},
    extract::{Request, State},
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use common::{api::Upload, failpoint, id::UploadId};
use futures::{
    StreamExt as _,
    stream::{self, BoxStream},
};
use hyper::{HeaderMap, StatusCode, header};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    Api,
    extract::{Query, Rest},
    problem::{self, Error},
    tus,
};
use crate::{
    access::Caller,
    holdings::{self, Coming},
    storage::{Expect, Key, Prefix, path::safe_name},
};

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct UploadQuery {
    #[serde(default)]
    filename: String,
}

/// `POST /v1/uploads?filename=NAME`; the creation of tus.
pub(super) async fn post(
    State(api): State<Api>,
    caller: Caller,
    Query(query): Query<UploadQuery>,
    request: Request,
) -> Result<Response, Error> {
    if tus::speaks(request.headers()) {
        return Ok(tus::create(&api, &caller, &query.filename, request).await);
    }
    receive(&api, &caller, &query.filename, request).await
}

/// `PUT /v1/uploads/NAME`: what `curl -T NAME http://host/v1/uploads/` sends.
pub(super) async fn put(
    State(api): State<Api>,
    caller: Caller,
    Rest(filename): Rest,
    request: Request,
) -> Result<Response, Error> {
    receive(&api, &caller, &filename, request).await
}

async fn receive(api: &Api, caller: &Caller, filename: &str, request: Request) -> Result<Response, Error> {
    let announced = check_headers(request.headers(), api.max_upload)?;
    let id = UploadId::new();
    let filename = safe_name(filename);
    let key = Key::upload(id, &filename);
    let expect = announced.map_or(Expect::AtMost(api.max_upload), Expect::Exactly);
    // There must be room for something.
    let mut coming = api.holdings.expect(caller.owner(), announced.unwrap_or(1)).await?;
    let mut refused = None;
    let mut body = metered(Body::into_data_stream(request.into_body()), &mut coming, &mut refused);
    let put = api.storage.put(&key, expect, &mut body).await;
    drop(body);
    if let Some(refused) = refused {
        return Err(refused.into());
    }
    let size = put?.size;
    if size == 0 {
        api.storage.delete_prefix(&Prefix::upload(id)).await?;
        return Err(empty());
    }
    if let Err(error) = own(api, caller, id, size).await {
        api.storage.delete_prefix(&Prefix::upload(id)).await?;
        return Err(error);
    }
    tracing::info!(upload = %id, owner = caller.owner(), size, "a file was uploaded");
    Ok((StatusCode::CREATED, Json(Upload { id, filename, size })).into_response())
}

/// The bytes of a body, each of them charged before it goes on. Ends with the first that is refused, and says why in `refused`.
fn metered<'a>(
    body: BodyDataStream,
    coming: &'a mut Coming,
    refused: &'a mut Option<holdings::Error>,
) -> BoxStream<'a, Result<Bytes, String>> {
    let chunks = stream::try_unfold((body, coming, refused), |(mut body, coming, refused)| async move {
        let Some(chunk) = body.next().await else { return Ok(None) };
        let chunk = chunk.map_err(|error| error.to_string())?;
        match coming.take(chunk.len() as u64).await {
            Ok(()) => Ok(Some((chunk, (body, coming, refused)))),
            Err(error) => {
                let text = error.to_string();
                *refused = Some(error);
                Err(text)
            }
        }
    });
    chunks.boxed()
}

/// Whether the upload is there for this caller, if it is there at all.
pub(super) async fn is_seen(api: &Api, caller: &Caller, id: UploadId) -> Result<bool, Error> {
    Ok(caller.is_admin() || caller.sees(api.upload_owners.upload_owner(id).await?.as_deref()))
}

/// The upload that a path names. What is somebody else's is not there, in the same words.
pub(super) async fn seen(api: &Api, caller: &Caller, text: &str) -> Result<UploadId, Error> {
    let id = text.parse().map_err(|_| Error::no("upload", text))?;
    if is_seen(api, caller, id).await? { Ok(id) } else { Err(Error::no("upload", id)) }
}

/// The same, with whose it is.
pub(super) async fn owned(
    api: &Api,
    caller: &Caller,
    text: &str,
) -> Result<(UploadId, Option<String>), Error> {
    let id = text.parse().map_err(|_| Error::no("upload", text))?;
    let owner = api.upload_owners.upload_owner(id).await?;
    if caller.sees(owner.as_deref()) { Ok((id, owner)) } else { Err(Error::no("upload", id)) }
}

/// Makes an upload the caller's, who is charged for it, so that it is not nobody's, which only an administrator sees.
pub(super) async fn own(api: &Api, caller: &Caller, id: UploadId, bytes: u64) -> Result<(), Error> {
    match caller.owner() {
        Some(owner) => Ok(api.upload_owners.own_upload(id, owner, bytes).await?),
        None => Ok(()),
    }
}

fn empty() -> Error {
    Error::invalid("body", "the file is empty", "send the file as the body: curl -T FILE .../v1/uploads/")
}

/// Refuses what can be refused before a byte was read. Returns the announced size.
fn check_headers(headers: &HeaderMap, limit: u64) -> Result<Option<u64>, Error> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    if text(header::CONTENT_TYPE).is_some_and(|kind| kind.to_ascii_lowercase().starts_with("multipart/")) {
        return Err(Error::invalid(
            "body",
            "the body is a multipart form",
            "send the file itself as the body: curl -T FILE, or curl --data-binary @FILE",
        ));
    }
    let announced = text(header::CONTENT_LENGTH).and_then(|value| value.parse::<u64>().ok());
    match announced {
        Some(0) => Err(empty()),
        Some(size) if size > limit => Err(Error::TooLarge { limit }),
        announced => Ok(announced),
    }
}

/// `DELETE /v1/uploads/ID`; the termination of tus.
pub(super) async fn delete(
    State(api): State<Api>,
    caller: Caller,
    Rest(id): Rest,
    headers: HeaderMap,
) -> Result<Response, Error> {
    if tus::speaks(&headers) {
        return Ok(tus::terminate(&api, &caller, &id, &headers).await);
    }
    remove(&api, &caller, &id).await
}

/// Removes an upload, whole or not.
pub(super) async fn remove(api: &Api, caller: &Caller, id: &str) -> Result<Response, Error> {
    let id = seen(api, caller, id).await?;
    if api.incoming.terminate(id, "it was removed before it had ended").await? {
        api.upload_owners.forget_upload(id).await?;
        return Ok(problem::no_content());
    }
    let _uploads = api.uploads.write().await;
    let Some(upload) = api.storage.upload(id).await? else { return Err(Error::no("upload", id)) };
    if api.queue.objects_in_use().await?.contains(upload.key.as_str()) {
        return Err(Error::Conflict {
            problem: format!("upload {id} is the input of a job that has not ended; cancel the job first"),
        });
    }
    failpoint::hit("upload.delete.before");
    api.storage.delete_prefix(&Prefix::upload(id)).await?;
    failpoint::hit("upload.delete.after");
    api.incoming.forget(id).await?;
    api.upload_owners.forget_upload(id).await?;
    Ok(problem::no_content())
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    fn headers(name: header::HeaderName, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_static(value))])
    }

    #[test]
    fn what_cannot_be_kept_is_refused_before_it_is_sent() {
        let status = |headers: &HeaderMap| check_headers(headers, 10).unwrap_err().into_problem().status;
        assert_eq!(status(&headers(header::CONTENT_LENGTH, "11")), 413);
        assert_eq!(status(&headers(header::CONTENT_LENGTH, "0")), 422);
        assert_eq!(status(&headers(header::CONTENT_TYPE, "multipart/form-data; boundary=x")), 422);
        assert_eq!(check_headers(&headers(header::CONTENT_LENGTH, "10"), 10), Ok(Some(10)));
        assert_eq!(check_headers(&HeaderMap::new(), 10), Ok(None));
    }
}
