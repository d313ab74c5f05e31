//! A bucket of S3, GCS or Azure: how it is opened, signed URLs into it, and what crashes leave in it.

use std::{fmt, sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use common::digest::Digest;
use hyper::Method;
use object_store::{
    BackoffConfig, ClientOptions, MultipartId, ObjectStore, PutMultipartOptions, RetryConfig,
    multipart::{MultipartStore, PartId},
    path::Path,
    signer::{HeaderName, HeaderValue, SignedUrlOptions, Signer},
};
use url::Url;

use super::{
    address::{Address, Scheme},
    credentials::Environment,
    object::decode_part,
};

/// How often a request is tried again that failed with 5xx, 429 or a broken connection, and for how long all together.
const RETRIES: usize = 6;
const RETRY_FOR: Duration = Duration::from_secs(60);
const CONNECT: Duration = Duration::from_secs(10);
/// Without an answer, and between two pieces of one.
const SILENCE: Duration = Duration::from_secs(60);
/// For requests that are answered in one piece.
const ANSWER: Duration = Duration::from_secs(30);
/// Bytes of a part of an upload; S3 wants 5 MiB at least.
const PART: u64 = 16 << 20;
/// S3 takes 10,000 parts, Azure 50,000.
const MAX_PARTS: u64 = 9_000;

/// A bucket.
pub(super) struct Cloud {
    scheme: Scheme,
    pub(super) store: Arc<dyn ObjectStore>,
    signer: Arc<dyn Signer>,
    multipart: Arc<dyn MultipartStore>,
    http: reqwest::Client,
}

impl fmt::Debug for Cloud {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.store)
    }
}

/// A request that whoever holds this may make until it expires, with exactly these headers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Presigned {
    pub url: Url,
    pub headers: Vec<(String, String)>,
}

/// What can be put into a signed URL, as `object_store` says errors.
type Signed<T> = object_store::Result<T>;

impl Cloud {
    /// Opens the bucket of `address`. Nothing is asked of it yet.
    ///
    /// # Errors
    /// The variables for it are missing or wrong.
    pub(super) fn open(address: &Address, environment: &Environment) -> Signed<Self> {
        let options = ClientOptions::new()
            .with_allow_http(environment.plain_http(address.scheme))
            .with_timeout_disabled()
            .with_connect_timeout(CONNECT)
            .with_read_timeout(SILENCE);
        let retry = RetryConfig {
            max_retries: RETRIES,
            retry_timeout: RETRY_FOR,
            backoff: BackoffConfig { max_backoff: Duration::from_secs(5), ..BackoffConfig::default() },
        };
        match address.scheme {
            Scheme::S3 => {
                let builder = environment.s3().with_bucket_name(&address.bucket);
                Self::new(address, builder.with_client_options(options).with_retry(retry).build()?)
            }
            Scheme::Gcs => {
                let builder = environment.gcs().with_bucket_name(&address.bucket);
                Self::new(address, builder.with_client_options(options).with_retry(retry).build()?)
            }
            Scheme::Azure => {
                let builder = environment.azure().with_container_name(&address.bucket);
                Self::new(address, builder.with_client_options(options).with_retry(retry).build()?)
            }
            Scheme::File => Err(object_store::Error::NotSupported { source: "a folder is no bucket".into() }),
        }
    }

    fn new<S: ObjectStore + Signer + MultipartStore>(address: &Address, store: S) -> Signed<Self> {
        let store = Arc::new(store);
        let http = reqwest::Client::builder().connect_timeout(CONNECT).timeout(ANSWER).build();
        let http = http.map_err(|error| object_store::Error::NotSupported { source: Box::new(error) })?;
        Ok(Self {
            scheme: address.scheme,
            store: Arc::clone(&store) as _,
            signer: Arc::clone(&store) as _,
            multipart: store,
            http,
        })
    }

    /// A GET of an object, with any range.
    pub(super) async fn get_url(&self, at: &Path, expires: Duration) -> Signed<Url> {
        self.sign(Method::GET, at, expires, &SignedUrlOptions::default()).await
    }

    async fn sign(
        &self,
        method: Method,
        at: &Path,
        expires: Duration,
        options: &SignedUrlOptions,
    ) -> Signed<Url> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
        if self.scheme == Scheme::Azure && !at.as_ref().bytes().all(plain) {
            // object_store signs the encoded name, Azure checks the decoded one.
            return Err(object_store::Error::NotSupported {
                source: "names that are encoded in a URL cannot be signed for Azure".into(),
            });
        }
        self.signer.signed_url_opts(method, at, expires, options).await
    }

    /// A PUT of a whole object. S3 is told its digest and refuses other bytes.
    pub(super) async fn put_url(
        &self,
        at: &Path,
        content_type: &str,
        sha256: Option<Digest>,
        expires: Duration,
    ) -> Signed<Presigned> {
        let mut signed = vec![("content-type", content_type.to_owned())];
        if let (Scheme::S3, Some(sha256)) = (self.scheme, sha256) {
            signed.push(("x-amz-checksum-sha256", BASE64.encode(sha256.bytes())));
        }
        let mut options = SignedUrlOptions::default();
        if self.scheme == Scheme::Azure {
            // Azure signs no headers, and wants to be told what kind of blob it is to make.
            signed = vec![
                ("x-ms-blob-type", "BlockBlob".to_owned()),
                ("x-ms-blob-content-type", content_type.to_owned()),
            ];
        } else {
            for (name, value) in &signed {
                let value = HeaderValue::from_str(value);
                let value =
                    value.map_err(|error| object_store::Error::NotSupported { source: Box::new(error) })?;
                options = options.with_signed_header(HeaderName::from_static(name), value);
            }
        }
        let url = self.sign(Method::PUT, at, expires, &options).await?;
        let headers = signed.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        Ok(Presigned { url, headers })
    }

    /// Begins an object in parts; nothing of it is seen before it is completed.
    pub(super) async fn begin(&self, at: &Path, content_type: &str) -> Signed<MultipartId> {
        match self.scheme {
            Scheme::S3 | Scheme::Gcs => {
                let attributes = attributes(content_type);
                let options = PutMultipartOptions { attributes, ..PutMultipartOptions::default() };
                self.multipart.create_multipart_opts(at, options).await
            }
            Scheme::Azure | Scheme::File => self.multipart.create_multipart(at).await,
        }
    }

    /// The PUT of part `number`, from 0.
    pub(super) async fn part_url(
        &self,
        at: &Path,
        upload: &MultipartId,
        number: u32,
        expires: Duration,
    ) -> Signed<Presigned> {
        let url = match self.scheme {
            Scheme::Azure => {
                let mut url = self.sign(Method::PUT, at, expires, &SignedUrlOptions::default()).await?;
                // What is done is not part of Azure's signatures.
                url.query_pairs_mut()
                    .append_pair("comp", "block")
                    .append_pair("blockid", &BASE64.encode(block(number)));
                url
            }
            Scheme::S3 | Scheme::Gcs | Scheme::File => {
                let query = [("partNumber", (number + 1).to_string()), ("uploadId", upload.clone())];
                let options = SignedUrlOptions::default().with_query(query);
                self.sign(Method::PUT, at, expires, &options).await?
            }
        };
        Ok(Presigned { url, headers: Vec::new() })
    }

    /// Makes the object of its parts. `tags`: what the store answered to each as `ETag`, in order.
    pub(super) async fn complete(&self, at: &Path, upload: &MultipartId, tags: Vec<String>) -> Signed<()> {
        let parts = tags.into_iter().enumerate().map(|(number, tag)| {
            let content_id = match self.scheme {
                Scheme::Azure => block(u32::try_from(number).unwrap_or(u32::MAX)),
                Scheme::S3 | Scheme::Gcs | Scheme::File => tag,
            };
            PartId { content_id }
        });
        self.multipart.complete_multipart(at, upload, parts.collect()).await.map(drop)
    }

    /// Drops what was brought of an object. Azure does so by itself, after a week.
    pub(super) async fn abort(&self, at: &Path, upload: &MultipartId) -> Signed<()> {
        match self.multipart.abort_multipart(at, upload).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Aborts every upload in parts below `prefix` that was begun and neither completed nor aborted; returns how many. Only
    /// for a time when nothing can be under way.
    ///
    /// # Errors
    /// In words. A store that cannot list them says 501 or an XML that is no list.
    pub(super) async fn abort_all(&self, prefix: &Path) -> Result<usize, String> {
        if self.scheme == Scheme::Azure {
            return Ok(0);
        }
        let mut aborted = 0;
        loop {
            let query = [("uploads", String::new()), ("prefix", format!("{prefix}/"))];
            let options = SignedUrlOptions::default().with_query(query);
            let url = self.signer.signed_url_opts(Method::GET, &Path::default(), ANSWER, &options).await;
            let url = url.map_err(|error| error.to_string())?;
            let answer = self.http.get(url).send().await.map_err(|error| error.without_url().to_string())?;
            let status = answer.status();
            let text = answer.text().await.map_err(|error| error.without_url().to_string())?;
            if !status.is_success() {
                return Err(format!("the store answered {status}"));
            }
            let page: Uploads = quick_xml::de::from_str(&text).map_err(|error| error.to_string())?;
            if page.uploads.is_empty() {
                return Ok(aborted);
            }
            for upload in page.uploads {
                let at = Path::parse(&upload.key).map_err(|error| error.to_string())?;
                self.abort(&at, &upload.id).await.map_err(|error| error.to_string())?;
                aborted += 1;
            }
            // A page holds up to a thousand; what was aborted is not on the next.
            if !page.truncated {
                return Ok(aborted);
            }
        }
    }
}

/// Of S3's and GCS's answer to `GET /?uploads`.
#[derive(Debug, serde::Deserialize)]
struct Uploads {
    #[serde(rename = "IsTruncated", default)]
    truncated: bool,
    #[serde(rename = "Upload", default)]
    uploads: Vec<Begun>,
}

#[derive(Debug, serde::Deserialize)]
struct Begun {
    #[serde(rename = "Key")]
    key: String,
    #[serde(rename = "UploadId")]
    id: String,
}

/// Azure's name of a part: all of a blob have the same length.
fn block(number: u32) -> String {
    format!("{number:010}")
}

/// What a store is told of an object.
pub(super) fn attributes(content_type: &str) -> object_store::Attributes {
    let content_type = content_type.to_owned();
    [(object_store::Attribute::ContentType, content_type)].into_iter().collect()
}

/// Bytes of each part but the last of an object of `size` bytes.
pub(super) fn part_size(size: u64) -> u64 {
    let least = size.div_ceil(MAX_PARTS);
    PART.max(least.next_multiple_of(1 << 20))
}

/// An object's name in the store as it was given.
pub(super) fn plain(location: &Path) -> String {
    location.parts().map(|part| decode_part(part.as_ref())).collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_of_any_size_fits_into_its_parts() {
        for size in [0, 1, PART, 1 << 30, 100 << 30, 5 << 40] {
            let part = part_size(size);
            assert!(size.div_ceil(part) <= MAX_PARTS && part >= 5 << 20, "{size}");
        }
        assert_eq!(part_size(1 << 30), PART);
    }

    #[test]
    fn what_a_crash_left_is_read_from_the_stores_list() {
        let text = "<?xml version=\"1.0\"?><ListMultipartUploadsResult xmlns=\"http://s3\"><Bucket>b</Bucket>\
                    <IsTruncated>true</IsTruncated><Upload><Key>jobs/a &amp; b</Key><UploadId>1</UploadId></Upload>\
                    <Upload><Key>jobs/c</Key><UploadId>2</UploadId><StorageClass>X</StorageClass></Upload>\
                    </ListMultipartUploadsResult>";
        let page: Uploads = quick_xml::de::from_str(text).unwrap();
        assert!(page.truncated);
        assert_eq!((page.uploads[0].key.as_str(), page.uploads[1].id.as_str()), ("jobs/a & b", "2"));
        let none: Uploads = quick_xml::de::from_str("<ListMultipartUploadsResult/>").unwrap();
        assert!(!none.truncated && none.uploads.is_empty());
    }
}
