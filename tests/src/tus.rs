//! A client of tus 1.0 that sends what it is told to, and no more.

use common::id::UploadId;
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode};

/// An upload that was created.
#[derive(Debug, Clone)]
pub struct TusUpload {
    pub id: UploadId,
    client: Client,
    base: String,
}

impl TusUpload {
    /// Creates an upload of `length` bytes, or of a length that is said later. `None`: nobody answered.
    pub async fn create(base: &str, name: &str, length: Option<u64>) -> Option<Self> {
        Self::create_with(base, name, length, &[]).await
    }

    /// With more headers.
    pub async fn create_with(
        base: &str,
        name: &str,
        length: Option<u64>,
        headers: &[(&str, &str)],
    ) -> Option<Self> {
        let client = Client::new();
        let post = client.post(format!("{base}/v1/uploads")).query(&[("filename", name)]);
        let post = match length {
            Some(length) => post.header("upload-length", length),
            None if headers.iter().any(|(_, value)| value.starts_with("final;")) => post,
            None => post.header("upload-defer-length", "1"),
        };
        let post = post.header("tus-resumable", "1.0.0");
        let post = headers.iter().fold(post, |post, (name, value)| post.header(*name, *value));
        let response = post.send().await.ok()?;
        assert_eq!(response.status(), StatusCode::CREATED);
        let location = response.headers()["location"].to_str().unwrap();
        let id = location.rsplit('/').next().unwrap().parse().unwrap();
        Some(Self { id, client, base: base.to_owned() })
    }

    fn request(&self, method: Method) -> RequestBuilder {
        let url = format!("{}/v1/uploads/{}", self.base, self.id);
        self.client.request(method, url).header("tus-resumable", "1.0.0")
    }

    /// Bytes that are there; `None`: the upload is not, or nobody answered.
    pub async fn offset(&self) -> Option<u64> {
        let response = self.request(Method::HEAD).send().await.ok()?;
        if response.status() == StatusCode::NOT_FOUND {
            return None;
        }
        assert_eq!(response.status(), StatusCode::OK);
        Some(response.headers()["upload-offset"].to_str().unwrap().parse().unwrap())
    }

    /// Sends a piece; `None`: nobody answered.
    pub async fn send(&self, offset: u64, body: impl Into<reqwest::Body>) -> Option<Response> {
        self.send_with(offset, body, &[]).await
    }

    /// With more headers.
    pub async fn send_with(
        &self,
        offset: u64,
        body: impl Into<reqwest::Body>,
        headers: &[(&str, &str)],
    ) -> Option<Response> {
        let patch = self
            .request(Method::PATCH)
            .header("content-type", "application/offset+octet-stream")
            .header("upload-offset", offset)
            .body(body);
        let patch = headers.iter().fold(patch, |patch, (name, value)| patch.header(*name, *value));
        patch.send().await.ok()
    }

    /// Sends `file[from..to]`, which must be taken.
    pub async fn send_part(&self, file: &[u8], from: usize, to: usize) {
        let response = self.send(from as u64, file[from..to].to_vec()).await.expect("nobody answers");
        assert_eq!(response.status(), StatusCode::NO_CONTENT);
        assert_eq!(response.headers()["upload-offset"].to_str().unwrap(), to.to_string());
    }

    /// Removes it; `None`: nobody answered.
    pub async fn terminate(&self) -> Option<StatusCode> {
        Some(self.request(Method::DELETE).send().await.ok()?.status())
    }
}
