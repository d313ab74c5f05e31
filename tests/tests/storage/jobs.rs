//! Jobs that name buckets: where their input is, and where their results are delivered to.

use std::time::Duration;

use common::{
    api::{InputRef, JobRequest, JobState},
    failure::FailureKind,
};
use e2e::{
    Farm, WorkerSpec,
    api::request,
    books, clip,
    ctl::Desk,
    media::Media,
    stores::{BUCKET, Fault, OTHER_BUCKET, S3},
    wait::{self, seconds},
};
use reqwest::Method;

use crate::farm::{builder, on};

/// What the worker asks the store for, signed by the coordinator.
const PRESIGNED: &str = "X-Amz-Signature";

fn job(input: &str, preset: &str, output: &str) -> JobRequest {
    let mut request = request(InputRef::Url(input.to_owned()), preset);
    request.output = Some(output.to_owned());
    request
}

/// A store whose other bucket has `in/bikes two.mp4`.
async fn store() -> S3 {
    let s3 = S3::start().await;
    let file = s3.file(OTHER_BUCKET, "in/bikes two.mp4");
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::copy(clip("bikes-2s.mp4"), file).unwrap();
    s3
}

#[tokio::test]
async fn a_job_reads_from_a_bucket_and_delivers_to_one() {
    let s3 = store().await;
    let folder = tempfile::tempdir().unwrap();
    let delivered = format!("file://{}", folder.path().display());
    let allowed = format!("s3://{OTHER_BUCKET},{delivered}");
    let farm = builder(s3.environment())
        .env("TVARR_STORAGE_BUCKETS", allowed)
        .worker(WorkerSpec::new("alone"))
        .start()
        .await;
    let input = format!("s3://{OTHER_BUCKET}/in/bikes two.mp4");
    let ladder = job(&input, "hls-ladder", &format!("s3://{OTHER_BUCKET}/out/ladder/"));
    let ladder = farm.succeeded(farm.api.submit(&ladder).await.summary.id).await;
    assert!(s3.seen(&Method::GET, PRESIGNED) > 0, "the worker reads from the store itself");
    for output in &ladder.outputs {
        let file = s3.file(OTHER_BUCKET, &format!("out/ladder/{}", output.path));
        assert_eq!(books::sha256(&file), output.sha256, "{}", output.path);
    }
    let file = job(&input, "proxy", &format!("{delivered}/a/"));
    let file = farm.succeeded(farm.api.submit(&file).await.summary.id).await;
    let [output] = file.outputs.as_slice() else { panic!("{file:#?}") };
    assert_eq!(output.path, "bikes two.mp4");
    assert_eq!(Media::read(&folder.path().join("a").join(&output.path)).video().codec_name, "h264");

    for (input, output, field) in [
        ("s3://other/in/a.mp4", None, "input.url"),
        ("s3://elsewhere/in/nothing.mp4", None, "input.url"),
        ("s3://elsewhere/in/", None, "input.url"),
        ("file:///etc/passwd", None, "input.url"),
        (input.as_str(), Some("s3://other/"), "output"),
        (input.as_str(), Some("file:///etc/"), "output"),
        (input.as_str(), Some("s3://elsewhere/../x"), "output"),
    ] {
        let mut wanted = request(InputRef::Url(input.to_owned()), "proxy");
        wanted.output = output.map(str::to_owned);
        let refused = farm.api.try_submit(&wanted).await.unwrap_err();
        assert_eq!(
            (refused.status.as_u16(), refused.problem.field.as_deref()),
            (422, Some(field)),
            "{input}"
        );
    }
    farm.stop().await;
}

#[tokio::test]
async fn ffmpegctl_says_where_the_farm_has_delivered_to() {
    let s3 = store().await;
    let farm = builder(s3.environment())
        .env("TVARR_STORAGE_BUCKETS", format!("s3://{OTHER_BUCKET}"))
        .worker(WorkerSpec::new("alone"))
        .start()
        .await;
    let desk = Desk::at(&farm.api.base);
    let input = format!("s3://{OTHER_BUCKET}/in/bikes two.mp4");
    let out = format!("s3://{OTHER_BUCKET}/out/ladder");
    let outcome = desk.run(&["transcode", &input, "-o", &out, "--preset", "hls-ladder"]).await;
    assert_eq!((outcome.code, outcome.stdout), (0, format!("{out}/master.m3u8\n")), "{}", outcome.stderr);
    assert!(s3.file(OTHER_BUCKET, "out/ladder/master.m3u8").exists());

    let command = "-c:v libx264 -preset ultrafast -t 1 {{out:a.mp4}} -vn -c:a libmp3lame -t 1 {{out:a.mp3}}";
    let ocean = clip("ocean-2s.mp4").to_string_lossy().into_owned();
    let bunny = clip("bigbuckbunny-2s.mp4").to_string_lossy().into_owned();
    let outcome = desk.run(&["transcode", &ocean, &bunny, "-o", &out, "--json", "--command", command]).await;
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    for name in ["ocean-2s/a.mp3", "ocean-2s/a.mp4", "bigbuckbunny-2s/a.mp3", "bigbuckbunny-2s/a.mp4"] {
        assert!(outcome.stdout.contains(&format!("\"{out}/{name}\"")), "{name}: {outcome:?}");
        assert!(s3.file(OTHER_BUCKET, &format!("out/ladder/{name}")).exists(), "{name}");
    }
    let refused = desk.run(&["transcode", &input, "-o", "s3://other/", "--preset", "proxy"]).await;
    assert!(refused.code == 2 && refused.stderr.contains("TVARR_STORAGE_BUCKETS"), "{refused:?}");
    desk.left_nothing_but(&[]).await;
    farm.stop().await;
}

#[tokio::test]
async fn a_delivery_that_is_given_up_is_redriven_without_encoding_again() {
    let s3 = store().await;
    let farm = on(&s3)
        .env("TVARR_STORAGE_BUCKETS", format!("s3://{OTHER_BUCKET},s3://{BUCKET}/out"))
        .worker(WorkerSpec::new("alone"))
        .start()
        .await;
    s3.fault(2, Method::PUT, "/out/", Fault::Status(500));
    s3.fault(1, Method::PUT, "/out/", Fault::Status(403));
    let input = format!("s3://{OTHER_BUCKET}/in/bikes two.mp4");
    // In the bucket where results are: copied there.
    let wanted = job(&input, "proxy", &format!("s3://{BUCKET}/out/"));
    let id = farm.api.submit(&wanted).await.summary.id;
    let dead = farm.finished(id).await;
    assert_eq!(dead.summary.state, JobState::Dead, "{dead:#?}");
    let failure = dead.summary.failure.unwrap();
    assert_eq!(failure.kind, FailureKind::UploadFailed);
    assert!(failure.message.contains(&format!("s3://{BUCKET}/out/bikes two.mp4")), "{failure}");
    farm.api.retry(id).await.unwrap();
    let view = farm.succeeded(id).await;
    assert_eq!(view.tasks[0].attempts.len(), 1, "nothing is encoded again");
    let copy = s3.file(BUCKET, "out/bikes two.mp4");
    assert_eq!(books::sha256(&copy), view.outputs[0].sha256);
    farm.stop().await;
}

#[tokio::test]
async fn a_delivery_goes_on_after_a_restart() {
    let s3 = store().await;
    let mut farm: Farm = builder(s3.environment())
        .env("TVARR_STORAGE_BUCKETS", format!("s3://{OTHER_BUCKET}"))
        .worker(WorkerSpec::new("alone"))
        .start()
        .await;
    s3.fault(1, Method::PUT, "/out/", Fault::Slow(Duration::from_secs(600)));
    let input = format!("s3://{OTHER_BUCKET}/in/bikes two.mp4");
    let wanted = job(&input, "proxy", &format!("s3://{OTHER_BUCKET}/out/"));
    let id = farm.api.submit(&wanted).await.summary.id;
    wait::until(seconds(120), "the delivery to begin", || async {
        (s3.seen(&Method::PUT, "/out/") > 0).then_some(())
    })
    .await;
    let published = farm.api.job(id).await;
    assert_eq!(published.summary.state, JobState::Running, "{published:#?}");
    assert_eq!(published.outputs.len(), 1);
    farm.stop_coordinator(false).await;
    farm.start_coordinator().await;
    let view = farm.succeeded(id).await;
    assert_eq!(view.tasks[0].attempts.len(), 1, "nothing is encoded again");
    assert_eq!(books::sha256(&s3.file(OTHER_BUCKET, "out/bikes two.mp4")), view.outputs[0].sha256);
    farm.registered("alone").await;
    farm.stop().await;
}
