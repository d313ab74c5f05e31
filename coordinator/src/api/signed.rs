//! `/signed/...`: a job's outputs for whoever has the URL. The signature is a part of the path, so that what a playlist names
//! relative to itself opens too, in any player.

use std::time::Duration;

use axum::{
    extract::{FromRequestParts, State},
    response::{IntoResponse as _, Response},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use common::{api::JobView, id::JobId, spec::Spec, worker::OutputFile};
use hmac::{Hmac, Mac as _};
use hyper::{HeaderMap, Method, StatusCode, header, header::HeaderValue, http::request::Parts};
use jiff::Timestamp;
use sha2::Sha256;
use url::Url;

use super::{
    Api,
    extract::{self, Id, Rest},
    outputs,
    problem::Error,
};
use crate::storage::sign::{Signer, encode_path};

/// Makes and reads them.
#[derive(Clone)]
pub(crate) struct Links {
    mac: Hmac<Sha256>,
    /// How long they work.
    ttl: Duration,
    /// Where the API is reached from outside, if that was said.
    public: Option<Url>,
}

impl Links {
    pub(crate) fn new(signer: &Signer, ttl: Duration, public: Option<Url>) -> Self {
        Self { mac: signer.derived("links to outputs"), ttl, public }
    }

    /// Leads to the most important output of a job. Absolute, by what the client called this host unless it was configured.
    pub(super) fn url(&self, job: JobId, headers: &HeaderMap, now: Timestamp) -> String {
        let expires = now.as_second().saturating_add(i64::try_from(self.ttl.as_secs()).unwrap_or(i64::MAX));
        let path = format!("/signed/{job}/{}", self.leave(job, expires));
        let host = headers.get(header::HOST).and_then(|value| value.to_str().ok());
        match (&self.public, host) {
            (Some(public), _) => format!("{}{path}", public.as_str().trim_end_matches('/')),
            (None, Some(host)) => format!("http://{host}{path}"),
            (None, None) => path,
        }
    }

    /// `EXPIRES.SIGNATURE`.
    fn leave(&self, job: JobId, expires: i64) -> String {
        let signature = URL_SAFE_NO_PAD.encode(self.mac_of(job, expires).finalize().into_bytes());
        format!("{expires}.{signature}")
    }

    fn mac_of(&self, job: JobId, expires: i64) -> Hmac<Sha256> {
        let mut mac = self.mac.clone();
        mac.update(format!("{expires}\n{job}").as_bytes());
        mac
    }

    /// # Errors
    /// It was changed, was made for another job, or has expired.
    fn check(&self, job: JobId, leave: &str, now: Timestamp) -> Result<(), Error> {
        let refused = |problem: &str| Error::Forbidden {
            problem: problem.to_owned(),
            remedy: format!("GET /v1/jobs/{job} gives a new URL to whoever may read the job"),
        };
        let parts = leave.split_once('.').and_then(|(expires, signature)| {
            Some((expires.parse().ok()?, URL_SAFE_NO_PAD.decode(signature).ok()?))
        });
        let Some((expires, signature)) = parts else {
            return Err(refused("the URL's signature does not fit"));
        };
        if self.mac_of(job, expires).verify_slice(&signature).is_err() {
            return Err(refused("the URL's signature does not fit: it was changed, or is of another job"));
        }
        if expires <= now.as_second() {
            return Err(refused("the URL has expired"));
        }
        Ok(())
    }
}

/// The signature in the path.
pub(super) struct Leave(String);

impl<S: Send + Sync> FromRequestParts<S> for Leave {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        extract::segment(parts, state, "leave").await.map(Self)
    }
}

/// `GET /signed/{job}/{leave}`: on to the most important output.
pub(super) async fn main(
    State(api): State<Api>,
    Id(job): Id<JobId>,
    Leave(leave): Leave,
) -> Result<Response, Error> {
    api.links.check(job, &leave, Timestamp::now())?;
    let view = api.queue.job(job).await?;
    let Some(output) = main_output(&view) else { return Err(outputs::nothing_yet(&view)) };
    let to = format!("/signed/{job}/{leave}/{}", encode_path(&output.path));
    let mut response = StatusCode::FOUND.into_response();
    let headers = response.headers_mut();
    if let Ok(to) = HeaderValue::try_from(to) {
        headers.insert(header::LOCATION, to);
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// `GET /signed/{job}/{leave}/{path}`.
pub(super) async fn file(
    State(api): State<Api>,
    Id(job): Id<JobId>,
    Leave(leave): Leave,
    Rest(path): Rest,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Error> {
    api.links.check(job, &leave, Timestamp::now())?;
    outputs::send(&api, job, &path, false, &method, &headers).await
}

/// The file that stands for the others: what a command names first, a master playlist, a poster's track, or the only one.
fn main_output(view: &JobView) -> Option<&OutputFile> {
    let outputs = &view.outputs;
    let named = |name: &str| outputs.iter().find(|file| file.path == name);
    let first = match &view.spec {
        Spec::Command(spec) => spec.command.outputs().into_iter().next().and_then(|produced| {
            let master = match &produced.kind {
                command::Kind::Hls { master, .. } => master.as_ref().and_then(|name| named(name.as_str())),
                _ => None,
            };
            master.or_else(|| outputs.iter().find(|file| produced.name.is_of(&file.path)))
        }),
        Spec::Hls(_) => named("master.m3u8"),
        Spec::File(_) | Spec::Thumbnails(_) | Spec::Probe => None,
    };
    first.or_else(|| outputs.first())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn links() -> Links {
        Links::new(&Signer::new(&[7; 32]), Duration::from_secs(60), None)
    }

    #[test]
    fn a_link_opens_its_job_until_it_expires() {
        let (links, job) = (links(), JobId::new());
        let now = Timestamp::from_second(1_000_000).unwrap();
        let later = Timestamp::from_second(1_000_060).unwrap();
        let host = HeaderMap::from_iter([(header::HOST, HeaderValue::from_static("farm:8080"))]);
        let url = links.url(job, &host, now);
        let leave = url.strip_prefix(&format!("http://farm:8080/signed/{job}/")).unwrap();
        assert!(links.check(job, leave, now).is_ok());
        assert!(links.check(job, leave, later).is_err());
        assert!(links.check(JobId::new(), leave, now).is_err());
        let (expires, signature) = leave.split_once('.').unwrap();
        let longer = format!("{}.{signature}", expires.parse::<i64>().unwrap() + 1);
        for wrong in [longer.as_str(), expires, signature, "", ".", "1.x"] {
            assert!(links.check(job, wrong, now).is_err(), "{wrong}");
        }
        let other = Links::new(&Signer::new(&[8; 32]), Duration::from_secs(60), None);
        assert!(other.check(job, leave, now).is_err());
    }

    #[test]
    fn the_configured_address_comes_before_what_a_client_says() {
        let public = Url::parse("https://farm.example/media/").unwrap();
        let links = Links { public: Some(public), ..links() };
        let host = HeaderMap::from_iter([(header::HOST, HeaderValue::from_static("evil.example"))]);
        let url = links.url(JobId::new(), &host, Timestamp::UNIX_EPOCH);
        assert!(url.starts_with("https://farm.example/media/signed/"), "{url}");
    }
}
