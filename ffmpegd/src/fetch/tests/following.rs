//! Inputs that are still on their way, from a coordinator that grows them as it is asked.

use common::proto::FOLLOW;

use super::*;

/// How much there is, and how much was sent.
#[derive(Default)]
struct Growth {
    there: AtomicUsize,
    sent: AtomicUsize,
}

/// Has a third more each time that it has to say that nothing came; ends with the whole film.
async fn coordinator(growth: &Arc<Growth>) -> Server {
    let growth = Arc::clone(growth);
    server(move |_, request| {
        let (film, start) = (film(), range_start(request));
        assert!(request.contains(FOLLOW), "{request}");
        let there = growth.there.load(Ordering::SeqCst);
        let whole = there == film.len();
        if start >= there {
            if whole {
                let head = format!(
                    "416 Range Not Satisfiable\r\nContent-Range: bytes */{there}\r\nContent-Length: 0"
                );
                return says(&head, b"");
            }
            growth.there.store(there + film.len() / 3, Ordering::SeqCst);
            return says(&format!("204 No Content\r\n{FOLLOW}: 1"), b"");
        }
        let (total, follow) = match whole {
            true => (film.len().to_string(), String::new()),
            false => ("*".to_owned(), format!("\r\n{FOLLOW}: 1")),
        };
        let head = format!(
            "206 Partial Content\r\nContent-Range: bytes {start}-{}/{total}\r\nContent-Length: {}{follow}",
            there - 1,
            there - start
        );
        growth.sent.fetch_add(there - start, Ordering::SeqCst);
        says(&head, &film[start..there])
    })
    .await
}

#[tokio::test]
async fn an_input_that_grows_is_read_to_its_end_and_is_like_any_other_then() {
    let growth = Arc::default();
    let server = coordinator(&growth).await;
    let rig = rig().await;
    let mount = rig.proxy.mount_growing(server.url.clone(), "clip.mkv");
    assert!(mount.source.grows());
    let response = Client::builder().no_proxy().build().unwrap().get(&mount.url).send().await.unwrap();
    let headers = response.headers();
    assert!(headers["accept-ranges"] == "none" && !headers.contains_key("content-length"), "{headers:?}");
    assert_eq!(response.bytes().await.unwrap(), film());
    let seen = mount.source.observed();
    assert_eq!((seen.size, seen.failure, mount.source.grows()), (Some(300_000), None, false));
    assert!(!mount.source.waited().1, "nobody waits any more");
}

#[tokio::test]
async fn who_cannot_be_sought_in_says_so() {
    let growth = Arc::default();
    let server = coordinator(&growth).await;
    let rig = rig().await;
    let mount = rig.proxy.mount_growing(server.url.clone(), "clip.mkv");
    let (status, _) = read(&mount, Some("bytes=1000-")).await;
    assert_eq!(status, StatusCode::RANGE_NOT_SATISFIABLE);
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_mended() {
    let growth = Arc::new(Growth { there: AtomicUsize::new(300_000), ..Growth::default() });
    // Two breaks: halves of halves would take for ever.
    let breaks = AtomicUsize::new(2);
    let whole = Arc::clone(&growth);
    let server = server(move |_, request| {
        let (film, start) = (film(), range_start(request));
        let there = whole.there.load(Ordering::SeqCst);
        let left = breaks.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        let end = if left.is_ok() { start + 70_000 } else { there };
        let head = format!(
            "206 Partial Content\r\nContent-Range: bytes {start}-{}/{there}\r\nContent-Length: {}",
            there - 1,
            there - start
        );
        says(&head, &film[start..end])
    })
    .await;
    let rig = rig().await;
    let mount = rig.proxy.mount_growing(server.url.clone(), "clip.mkv");
    assert_eq!(read(&mount, None).await.1.unwrap(), film());
    assert_eq!(server.connections.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn everybody_who_follows_an_upload_has_it_fetched_once() {
    let growth = Arc::default();
    let server = coordinator(&growth).await;
    let rig = rig().await;
    // Each attempt has its own signature.
    let url = |signature: &str| {
        let mut url = server.url.clone();
        url.set_query(Some(signature));
        url
    };
    let mounts = [rig.proxy.mount_growing(url("a"), "a.mkv"), rig.proxy.mount_growing(url("b"), "b.mkv")];
    let (one, two) = tokio::join!(read(&mounts[0], None), read(&mounts[1], None));
    assert!(one.1.unwrap() == film() && two.1.unwrap() == film());
    assert_eq!(growth.sent.load(Ordering::SeqCst), 300_000);
    assert!(!mounts[0].source.grows() && !mounts[1].source.grows());
}

#[tokio::test]
async fn an_upload_that_is_gone_is_not_waited_for() {
    for status in [404, 410] {
        let server = server(move |_, _| says(&format!("{status} Gone\r\nContent-Length: 0"), b"")).await;
        let rig = rig().await;
        let mount = rig.proxy.mount_growing(server.url.clone(), "clip.mkv");
        assert!(read(&mount, None).await.1.is_err());
        assert_eq!(mount.source.observed().failure, Some(SourceFailure::Status(status)));
        assert_eq!(mount.source.taken_away(), status == 410);
        assert_eq!(mount.until_whole().await, Err(SourceFailure::Status(status)));
    }
}

#[tokio::test]
async fn the_end_of_an_upload_can_be_waited_for_without_reading_it() {
    let growth = Arc::new(Growth::default());
    let server = coordinator(&growth).await;
    let rig = rig().await;
    let mount = rig.proxy.mount_growing(server.url.clone(), "clip.mkv");
    mount.until_whole().await.unwrap();
    assert_eq!((mount.source.grows(), growth.sent.load(Ordering::SeqCst)), (false, 0));
}
