//! tus 1.0, as its specification says it, header by header.

use std::{fs, path::Path, time::Duration};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use coordinator::Config;
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use tokio::{io::AsyncWriteExt as _, net::TcpStream};

use crate::farm::{Farm, eventually, problem};

fn files(folder: &Path) -> usize {
    fs::read_dir(folder).map_or(0, Iterator::count)
}

impl Farm {
    fn tus(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, self.url(path)).header("tus-resumable", "1.0.0")
    }

    async fn begin(&self, headers: &[(&str, &str)]) -> Response {
        let post = self.tus(Method::POST, "/v1/uploads");
        headers.iter().fold(post, |post, (name, value)| post.header(*name, *value)).send().await.unwrap()
    }

    /// The path of an upload that was created.
    async fn created(&self, headers: &[(&str, &str)]) -> String {
        let response = self.begin(headers).await;
        assert_eq!(response.status(), StatusCode::CREATED);
        assert_eq!(text(&response, "tus-resumable"), "1.0.0");
        text(&response, "location").to_owned()
    }

    fn piece(&self, path: &str, offset: u64) -> RequestBuilder {
        self.tus(Method::PATCH, path)
            .header("content-type", "application/offset+octet-stream")
            .header("upload-offset", offset)
    }

    async fn patch(&self, path: &str, offset: u64, body: &'static str) -> Response {
        self.piece(path, offset).body(body).send().await.unwrap()
    }

    async fn look(&self, path: &str) -> Response {
        self.tus(Method::HEAD, path).send().await.unwrap()
    }

    async fn offset(&self, path: &str) -> u64 {
        text(&self.look(path).await, "upload-offset").parse().unwrap()
    }

    /// A job's input is whole: what the object holds.
    fn object(&self, path: &str) -> Vec<u8> {
        let id = path.rsplit('/').next().unwrap();
        let folder = self.objects().join("uploads").join(id);
        let file = fs::read_dir(folder).unwrap().next().unwrap().unwrap();
        fs::read(file.path()).unwrap()
    }

    fn staged(&self) -> usize {
        files(&self.data_dir().join("uploads"))
    }
}

fn text<'r>(response: &'r Response, name: &str) -> &'r str {
    response.headers().get(name).unwrap_or_else(|| panic!("no {name} in {response:?}")).to_str().unwrap()
}

#[tokio::test]
async fn options_tell_what_is_spoken() {
    let farm = Farm::start_with(|config| config.max_upload_bytes = 1234).await;
    for path in ["/v1/uploads", "/v1/uploads/x"] {
        let response = farm.http.request(Method::OPTIONS, farm.url(path)).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::NO_CONTENT);
        assert_eq!(text(&response, "tus-version"), "1.0.0");
        assert_eq!(text(&response, "tus-max-size"), "1234");
        assert_eq!(text(&response, "tus-checksum-algorithm"), "sha1,sha256,md5");
        for extension in [
            "creation",
            "creation-with-upload",
            "creation-defer-length",
            "expiration",
            "checksum",
            "termination",
            "concatenation",
        ] {
            assert!(
                text(&response, "tus-extension").split(',').any(|known| known == extension),
                "{extension}"
            );
        }
    }
    farm.stop().await;
}

#[tokio::test]
async fn a_file_comes_in_pieces_and_becomes_an_input() {
    let farm = Farm::start().await;
    let upload =
        farm.created(&[("upload-length", "11"), ("upload-metadata", "filename Li4vYS5tcDQ=,x")]).await;
    let head = farm.look(&upload).await;
    assert_eq!(head.status(), StatusCode::OK);
    assert_eq!((text(&head, "upload-offset"), text(&head, "upload-length")), ("0", "11"));
    assert_eq!(text(&head, "upload-metadata"), "filename Li4vYS5tcDQ=,x");
    assert_eq!(text(&head, "cache-control"), "no-store");
    assert!(text(&head, "upload-expires").ends_with(" GMT"));

    let first = farm.patch(&upload, 0, "hello").await;
    assert_eq!((first.status(), text(&first, "upload-offset")), (StatusCode::NO_CONTENT, "5"));
    assert!(text(&first, "upload-expires").ends_with(" GMT"));
    let last = farm.patch(&upload, 5, " world").await;
    assert_eq!((last.status(), text(&last, "upload-offset")), (StatusCode::NO_CONTENT, "11"));
    assert!(last.headers().get("upload-expires").is_none(), "it is whole");
    assert_eq!(farm.object(&upload), b"hello world");
    assert_eq!(farm.staged(), 0);

    let farm = farm.restart().await;
    assert_eq!(farm.offset(&upload).await, 11);
    let again = farm.patch(&upload, 11, "").await;
    assert_eq!(again.status(), StatusCode::NO_CONTENT, "who did not hear the answer may ask again");
    let gone = farm.tus(Method::DELETE, &upload).send().await.unwrap();
    assert_eq!((gone.status(), text(&gone, "tus-resumable")), (StatusCode::NO_CONTENT, "1.0.0"));
    assert_eq!(farm.look(&upload).await.status(), StatusCode::NOT_FOUND);
    farm.stop().await;
}

#[tokio::test]
async fn a_restart_goes_on_at_the_right_place() {
    let farm = Farm::start().await;
    let upload = farm.created(&[("upload-length", "8")]).await;
    assert_eq!(farm.patch(&upload, 0, "1234").await.status(), StatusCode::NO_CONTENT);
    let id = upload.rsplit('/').next().unwrap().to_owned();
    // What was not answered for does not count, whatever is in the file; nor does a file of nobody.
    let file = farm.data_dir().join("uploads").join(&id);
    fs::write(&file, "1234garbage").unwrap();
    fs::write(file.with_file_name(common::id::UploadId::new().to_string()), "x").unwrap();
    let farm = farm.restart().await;
    assert_eq!((farm.offset(&upload).await, farm.staged()), (4, 1));
    assert_eq!(farm.patch(&upload, 4, "5678").await.status(), StatusCode::NO_CONTENT);
    assert_eq!(farm.object(&upload), b"12345678");
    farm.stop().await;
}

#[tokio::test]
async fn the_first_piece_may_come_with_the_creation_and_the_length_with_the_last() {
    let farm = Farm::start().await;
    let post = farm
        .tus(Method::POST, "/v1/uploads")
        .header("upload-defer-length", "1")
        .header("content-type", "application/offset+octet-stream")
        .body("abc");
    let response = post.send().await.unwrap();
    assert_eq!((response.status(), text(&response, "upload-offset")), (StatusCode::CREATED, "3"));
    let upload = text(&response, "location").to_owned();
    let head = farm.look(&upload).await;
    assert_eq!(text(&head, "upload-defer-length"), "1");
    assert!(head.headers().get("upload-length").is_none());
    let last = farm.piece(&upload, 3).header("upload-length", 5).body("de").send().await.unwrap();
    assert_eq!(last.status(), StatusCode::NO_CONTENT);
    assert_eq!(farm.object(&upload), b"abcde");
    farm.stop().await;
}

#[tokio::test]
async fn what_does_not_fit_is_refused_and_changes_nothing() {
    let farm = Farm::start_with(|config| config.max_upload_bytes = 100).await;
    let upload = farm.created(&[("upload-length", "10")]).await;
    assert_eq!(farm.patch(&upload, 0, "12345").await.status(), StatusCode::NO_CONTENT);
    let refused = async |request: RequestBuilder| problem(request.send().await.unwrap()).await.status;
    for offset in ["0", "4", "6", "99999"] {
        let request = farm.piece(&upload, offset.parse().unwrap()).body("x");
        assert_eq!(refused(request).await, 409, "{offset}");
    }
    assert_eq!(refused(farm.tus(Method::PATCH, &upload).header("upload-offset", 5).body("x")).await, 415);
    let no_offset =
        farm.tus(Method::PATCH, &upload).header("content-type", "application/offset+octet-stream");
    assert_eq!(refused(no_offset.body("x")).await, 400);
    assert_eq!(refused(farm.piece(&upload, 5).body("123456")).await, 400);
    assert_eq!(refused(farm.piece(&upload, 5).header("upload-length", 12).body("1")).await, 400);
    assert_eq!(
        refused(farm.piece("/v1/uploads/0193a5b0-7c1d-7000-8000-3f2a9c4d5e6f", 0).body("1")).await,
        404
    );
    assert_eq!(refused(farm.piece("/v1/uploads/..%2F..%2Fetc", 0).body("1")).await, 404);
    let old = farm.http.patch(farm.url(&upload)).header("tus-resumable", "0.2.2");
    let old = old.send().await.unwrap();
    assert_eq!((old.status().as_u16(), text(&old, "tus-version")), (412, "1.0.0"));
    assert_eq!(farm.offset(&upload).await, 5);
    assert_eq!(farm.patch(&upload, 5, "67890").await.status(), StatusCode::NO_CONTENT);
    assert_eq!(farm.object(&upload), b"1234567890");

    let status = async |headers: &[(&str, &str)]| problem(farm.begin(headers).await).await.status;
    assert_eq!(status(&[("upload-length", "101")]).await, 413);
    assert_eq!(status(&[("upload-length", "0")]).await, 422);
    assert_eq!(status(&[]).await, 400);
    let huge = format!("filename {}", "YWFh".repeat(4000));
    assert_eq!(status(&[("upload-length", "1"), ("upload-metadata", &huge)]).await, 400);
    assert_eq!(farm.staged(), 0);
    farm.stop().await;
}

#[tokio::test]
async fn an_unknown_length_never_passes_the_limit() {
    let farm = Farm::start_with(|config| config.max_upload_bytes = 10).await;
    let upload = farm.created(&[("upload-defer-length", "1")]).await;
    let body = futures::stream::iter([Ok::<_, std::io::Error>("123456"), Ok("789012")]);
    let response = farm.piece(&upload, 0).body(reqwest::Body::wrap_stream(body)).send().await.unwrap();
    assert_eq!(problem(response).await.status, 413);
    assert_eq!(farm.offset(&upload).await, 6, "what fitted was kept");
    farm.stop().await;
}

#[tokio::test]
async fn a_piece_that_was_changed_on_its_way_is_not_kept() {
    let farm = Farm::start().await;
    let upload = farm.created(&[("upload-length", "22")]).await;
    let send = |offset: u64, checksum: &str, body: &'static str| {
        farm.piece(&upload, offset).header("upload-checksum", checksum).body(body).send()
    };
    let sums = ["sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0=", "md5 XrY7u+Ae7tCTyyK7j1rNww=="];
    for (offset, sum) in [(0, sums[0]), (11, sums[1])] {
        let wrong = problem(send(offset, sum, "hello w0rld").await.unwrap()).await;
        assert_eq!(wrong.status, 460);
        assert_eq!(farm.offset(&upload).await, offset);
        let right = send(offset, sum, "hello world").await.unwrap();
        assert_eq!(right.status(), StatusCode::NO_CONTENT);
    }
    assert_eq!(farm.object(&upload), b"hello worldhello world");
    let other = farm.created(&[("upload-length", "3")]).await;
    for sum in ["crc32 AAAA", "sha1 AAAA", "sha1"] {
        let response = farm.piece(&other, 0).header("upload-checksum", sum).body("abc").send().await.unwrap();
        assert_eq!(problem(response).await.status, 400, "{sum}");
    }
    farm.stop().await;
}

#[tokio::test]
async fn parts_are_put_together_in_the_order_that_is_asked_for() {
    let farm = Farm::start().await;
    let part = async |body: &'static str| {
        let length = body.len().to_string();
        let part = farm.created(&[("upload-length", &length), ("upload-concat", "partial")]).await;
        assert_eq!(farm.patch(&part, 0, body).await.status(), StatusCode::NO_CONTENT);
        part
    };
    let (one, two) = (part("one").await, part("two").await);
    assert_eq!(text(&farm.look(&one).await, "upload-concat"), "partial");
    let concat = format!("final;{two} {}", farm.url(&one));
    let name = format!("filename {}", BASE64_STANDARD.encode("a.mkv"));
    let made = farm.created(&[("upload-concat", &concat), ("upload-metadata", &name)]).await;
    assert_eq!(farm.object(&made), b"twoone");
    let head = farm.look(&made).await;
    assert_eq!((text(&head, "upload-concat"), text(&head, "upload-length")), (concat.as_str(), "6"));
    assert_eq!(problem(farm.patch(&made, 6, "").await).await.status, 403);

    let unfinished = farm.created(&[("upload-length", "9"), ("upload-concat", "partial")]).await;
    let alone = farm.created(&[("upload-length", "1")]).await;
    let unknown = "/v1/uploads/0193a5b0-7c1d-7000-8000-3f2a9c4d5e6f".to_owned();
    for (parts, status) in [
        (format!("final;{one} {unfinished}"), 400),
        (format!("final;{alone}"), 400),
        (format!("final;{one} {unknown}"), 404),
        ("final;../../etc/passwd".to_owned(), 404),
        ("final;".to_owned(), 400),
    ] {
        let refused = farm.begin(&[("upload-concat", &parts)]).await;
        assert_eq!(problem(refused).await.status, status, "{parts}");
    }
    farm.stop().await;
}

#[tokio::test]
async fn who_comes_later_takes_over_from_a_connection_that_hangs() {
    let farm = Farm::start().await;
    let upload = farm.created(&[("upload-length", "10")]).await;
    let mut hung = TcpStream::connect(farm.http_addr()).await.unwrap();
    let head = format!(
        "PATCH {upload} HTTP/1.1\r\nHost: localhost\r\nTus-Resumable: 1.0.0\r\nUpload-Offset: 0\r\n\
         Content-Type: application/offset+octet-stream\r\nContent-Length: 10\r\n\r\nabc"
    );
    hung.write_all(head.as_bytes()).await.unwrap();
    // Asking makes durable what came.
    eventually(async || (farm.offset(&upload).await == 3).then_some(())).await;
    let taken = farm.patch(&upload, 3, "defghij").await;
    assert_eq!((taken.status(), text(&taken, "upload-offset")), (StatusCode::NO_CONTENT, "10"));
    // Too late.
    let _ = hung.write_all(b"XXXXXXX").await;
    assert_eq!(farm.object(&upload), b"abcdefghij");
    farm.stop().await;
}

#[tokio::test]
async fn what_came_before_a_connection_broke_is_kept() {
    let farm = Farm::start().await;
    let upload = farm.created(&[("upload-length", "10")]).await;
    let mut broken = TcpStream::connect(farm.http_addr()).await.unwrap();
    let head = format!(
        "PATCH {upload} HTTP/1.1\r\nHost: localhost\r\nTus-Resumable: 1.0.0\r\nUpload-Offset: 0\r\n\
         Content-Type: application/offset+octet-stream\r\nContent-Length: 10\r\n\r\nabc"
    );
    broken.write_all(head.as_bytes()).await.unwrap();
    drop(broken);
    eventually(async || (farm.offset(&upload).await == 3).then_some(())).await;
    assert_eq!(farm.patch(&upload, 3, "defghij").await.status(), StatusCode::NO_CONTENT);
    farm.stop().await;
}

#[tokio::test]
async fn an_upload_that_nobody_goes_on_with_expires_and_one_that_grows_does_not() {
    let short = |config: &mut Config| config.upload_expiry = Duration::from_millis(400);
    let farm = Farm::start_with(short).await;
    let left = farm.created(&[("upload-length", "10")]).await;
    assert_eq!(farm.patch(&left, 0, "abc").await.status(), StatusCode::NO_CONTENT);
    let whole = farm.created(&[("upload-length", "1")]).await;
    assert_eq!(farm.patch(&whole, 0, "a").await.status(), StatusCode::NO_CONTENT);
    eventually(async || (farm.look(&left).await.status() == StatusCode::NOT_FOUND).then_some(())).await;
    assert_eq!(farm.staged(), 0);
    assert_eq!(problem(farm.patch(&left, 3, "d").await).await.status, 404);
    assert_eq!(farm.offset(&whole).await, 1);
    farm.stop().await;
}

#[tokio::test]
async fn a_client_that_can_only_post_is_understood() {
    let farm = Farm::start().await;
    let upload = farm.created(&[("upload-length", "3")]).await;
    let post = |method: &str| farm.tus(Method::POST, &upload).header("x-http-method-override", method);
    let piece =
        post("PATCH").header("content-type", "application/offset+octet-stream").header("upload-offset", 0);
    assert_eq!(piece.body("abc").send().await.unwrap().status(), StatusCode::NO_CONTENT);
    assert_eq!(post("DELETE").send().await.unwrap().status(), StatusCode::NO_CONTENT);
    assert_eq!(problem(post("PUT").send().await.unwrap()).await.status, 405);
    farm.stop().await;
}

#[tokio::test]
async fn an_upload_in_one_request_answers_to_tus_too() {
    let farm = Farm::start().await;
    let plain = farm.upload("a.mp4", "hello").await;
    let head = farm.look(&format!("/v1/uploads/{}", plain.id)).await;
    assert_eq!((text(&head, "upload-offset"), text(&head, "upload-length")), ("5", "5"));
    farm.stop().await;
}
