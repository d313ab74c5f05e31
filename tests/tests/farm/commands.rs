//! Users' own ffmpeg commands: what they give is what ffmpeg gives, and what is not allowed is named.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use common::{
    api::{CommandLine, InputRef, JobRequest, JobState, JobView},
    failure::FailureKind,
    spec::{PROBE_ANSWER, Spec},
};
use e2e::{Farm, WorkerSpec, api::attempts, binaries, clip, media::Media};
use reqwest::StatusCode;

fn film() -> PathBuf {
    clip("bigbuckbunny-2s.mp4")
}

async fn request(farm: &Farm, inputs: &[&Path], command: &str, format: Option<&str>) -> JobRequest {
    let mut uploads = Vec::new();
    for input in inputs {
        uploads.push(InputRef::Upload(farm.api.upload(input).await.id));
    }
    let first = uploads.remove(0);
    JobRequest {
        command: Some(CommandLine::Text(command.to_owned())),
        output_format: format.map(str::to_owned),
        more_inputs: uploads,
        ..JobRequest::new(first)
    }
}

/// Runs a command over a farm and downloads what came out.
async fn made(farm: &Farm, request: &JobRequest, folder: &Path) -> JobView {
    let job = farm.api.submit(request).await.summary.id;
    let view = farm.succeeded(job).await;
    assert_eq!(attempts(&view).count(), 1);
    farm.api.download(&view, folder).await;
    view
}

fn names(view: &JobView) -> Vec<&str> {
    let mut names: Vec<_> = view.outputs.iter().map(|output| output.path.as_str()).collect();
    names.sort_unstable();
    names
}

/// A digest of each stream's packets.
fn packets(file: &Path) -> String {
    let output = Command::new(binaries::system("ffmpeg"))
        .args(["-v", "error", "-i"])
        .arg(file)
        .args(["-map", "0", "-c", "copy", "-f", "streamhash", "-"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn ffmpeg(args: &[&str]) {
    let output = Command::new(binaries::system("ffmpeg"))
        .args(["-v", "error", "-nostdin", "-y"])
        .args(args)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test]
async fn a_command_gives_what_ffmpeg_gives() {
    let farm = Farm::small().await;
    let folder = tempfile::tempdir().unwrap();
    let plain = folder.path().join("plain.mp4");
    let command =
        "-vf scale=640:360 -c:v libx264 -preset ultrafast -crf 23 -c:a aac -b:a 128k -bitexact -t 2";
    let film = film();
    let mut args = vec!["-i", film.to_str().unwrap()];
    args.extend(command.split(' '));
    args.push(plain.to_str().unwrap());
    ffmpeg(&args);

    let view = made(&farm, &request(&farm, &[&film], command, Some("mp4")).await, folder.path()).await;
    assert_eq!(names(&view), ["output.mp4"]);
    assert_eq!(view.summary.preset, "command");
    assert_eq!(packets(&folder.path().join("output.mp4")), packets(&plain));
    farm.stop().await;
}

#[tokio::test]
async fn one_command_has_several_inputs_and_outputs() {
    let farm = Farm::small().await;
    let folder = tempfile::tempdir().unwrap();
    let logo = folder.path().join("logo.png");
    ffmpeg(&["-f", "lavfi", "-i", "color=red:s=64x64", "-frames:v", "1", logo.to_str().unwrap()]);
    let command = "-i {{in}} -i {{in_2}} -filter_complex \
        \"[0:v]scale=320:-2[small];[small][1:v]overlay=8:8,split=2[film][still]\" \
        -map [film] -map 0:a? -c:v libx264 -preset ultrafast -t 2 {{out:film.mp4}} \
        -map [still] -r 1 -t 2 {{out:still_%02d.jpg}} \
        -map 0:a -t 2 -c:a libmp3lame {{out:sound.mp3}} \
        -map 0:v -t 2 -c:v libx264 -preset ultrafast -g 24 -hls_time 1 {{out:stream.m3u8}}";
    let request = request(&farm, &[&film(), &logo], command, None).await;
    let view = made(&farm, &request, folder.path()).await;
    let names = names(&view);
    for name in ["film.mp4", "still_01.jpg", "still_02.jpg", "sound.mp3", "stream.m3u8", "stream_00000.ts"] {
        assert!(names.contains(&name), "{name} is not in {names:?}");
    }
    let film = Media::read(&folder.path().join("film.mp4"));
    assert_eq!((film.video().width, film.of_kind("audio").count()), (320, 1));
    assert_eq!(Media::read(&folder.path().join("sound.mp3")).of_kind("video").count(), 0);
    let stream = std::fs::read_to_string(folder.path().join("stream.m3u8")).unwrap();
    assert!(stream.contains("#EXT-X-ENDLIST"), "{stream}");
    farm.stop().await;
}

#[tokio::test]
async fn what_is_not_allowed_is_refused_with_its_name_and_place() {
    let farm = Farm::small().await;
    let upload = InputRef::Upload(farm.api.upload(&film()).await.id);
    let refused = async |command: &str| {
        let command = Some(CommandLine::Text(command.to_owned()));
        let request = JobRequest { command, ..JobRequest::new(upload.clone()) };
        let refused = farm.api.try_submit(&request).await.unwrap_err();
        assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
        let place = refused.problem.command.clone().unwrap();
        (place.option, place.argument, place.offset, refused.problem.detail)
    };
    let (option, argument, offset, detail) = refused("-c:v libx264 -progress /tmp/x {{out:a.mp4}}").await;
    assert_eq!((option.as_str(), argument, offset), ("-progress", 2, 13), "{detail}");
    let (option, argument, ..) = refused("-vf subtitles=/etc/passwd {{out:a.mp4}}").await;
    assert_eq!((option.as_str(), argument), ("subtitles", 1));
    let (option, ..) = refused("-i /etc/passwd {{out:a.mp4}}").await;
    assert_eq!(option, "-i");
    farm.stop().await;
}

#[tokio::test]
async fn a_command_that_cannot_work_fails_once_and_says_what_ffmpeg_said() {
    let farm = Farm::small().await;
    let folder = tempfile::tempdir().unwrap();
    let silent = folder.path().join("silent.mp4");
    ffmpeg(&["-f", "lavfi", "-i", "testsrc=d=1", silent.to_str().unwrap()]);
    for (command, words) in [
        ("-map 0:a {{out:a.mp3}}", "matches no streams"),
        ("-vf scale=641:361 -c:v libx264 -pix_fmt yuv420p {{out:a.mp4}}", "not divisible by 2"),
        ("-ss 30 -c:v libx264 {{out:a.mp4}}", "a.mp4"),
    ] {
        let request = request(&farm, &[&silent], command, None).await;
        let job = farm.api.submit(&request).await.summary.id;
        let view = farm.finished(job).await;
        assert_eq!(
            (view.summary.state, attempts(&view).count()),
            (JobState::Failed, 1),
            "{command}: {view:#?}"
        );
        let failure = view.summary.failure.unwrap();
        assert!(failure.message.contains(words), "{command}: {failure:?}");
    }
    farm.stop().await;
}

#[tokio::test]
async fn an_encoder_that_nobody_has_is_waited_for_by_name() {
    let farm = Farm::small().await;
    let request = request(&farm, &[&film()], "-c:v h264_nvenc {{out:a.mp4}}", None).await;
    let job = farm.api.submit(&request).await.summary.id;
    let waiting = farm.api.job(job).await.summary.waiting_for.unwrap_or_default();
    assert!(waiting.contains("h264_nvenc"), "{waiting}");
    farm.api.cancel(job).await.unwrap();

    let both = async |command: &str, hardware: &str| {
        let mut body = serde_json::to_value(&request).unwrap();
        body["command"] = command.into();
        body["hardware"] = hardware.into();
        farm.api.post_json("/v1/jobs", body.to_string()).await.status()
    };
    assert_eq!(both("-c:v libx264 {{out:a.mp4}}", "require").await, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(both("-c:v h264_nvenc {{out:a.mp4}}", "never").await, StatusCode::UNPROCESSABLE_ENTITY);
    farm.stop().await;
}

#[tokio::test]
async fn too_few_and_too_many_inputs_are_refused() {
    let farm = Farm::small().await;
    let upload = InputRef::Upload(farm.api.upload(&film()).await.id);
    for (command, more) in [("-i {{in}} -i {{in_2}} {{out:a.mp4}}", 0), ("-i {{in}} {{out:a.mp4}}", 1)] {
        let request = JobRequest {
            command: Some(CommandLine::Text(command.to_owned())),
            more_inputs: vec![upload.clone(); more],
            ..JobRequest::new(upload.clone())
        };
        let refused = farm.api.try_submit(&request).await.unwrap_err();
        assert_eq!(refused.problem.field.as_deref(), Some("more_inputs"));
    }
    farm.stop().await;
}

#[tokio::test]
async fn a_probe_is_ffprobes_answer() {
    let farm = Farm::builder().worker(WorkerSpec::new("alone")).start().await;
    let folder = tempfile::tempdir().unwrap();
    let upload = InputRef::Upload(farm.api.upload(&film()).await.id);
    let request = JobRequest { spec: Some(Spec::Probe), ..JobRequest::new(upload) };
    let view = made(&farm, &request, folder.path()).await;
    assert_eq!((names(&view), view.summary.preset.as_str()), (vec![PROBE_ANSWER], "probe"));
    let answer: serde_json::Value =
        serde_json::from_slice(&std::fs::read(folder.path().join(PROBE_ANSWER)).unwrap()).unwrap();
    let name = film().file_name().unwrap().to_str().unwrap().to_owned();
    assert_eq!(answer["format"]["filename"], name);
    assert_eq!(answer["streams"][0]["codec_name"], "h264");

    let text: PathBuf = folder.path().join("no-video.mp4");
    std::fs::write(&text, "this is no video").unwrap();
    let upload = InputRef::Upload(farm.api.upload(&text).await.id);
    let request = JobRequest { spec: Some(Spec::Probe), ..JobRequest::new(upload) };
    let job = farm.api.submit(&request).await.summary.id;
    let failure = farm.finished(job).await.summary.failure.unwrap();
    assert_eq!(failure.kind, FailureKind::InvalidInput, "{failure:?}");
    farm.stop().await;
}
