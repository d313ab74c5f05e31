//! Workers with different ffmpegs in one farm.

use common::api::InputRef;
use e2e::{Farm, WorkerSpec, api::request, binaries, clip, media::Media};

const PRESETS: [&str; 6] =
    ["compress-video", "h264", "hls-ladder", "archive-prores", "audio-only", "thumbnails"];

#[tokio::test]
async fn old_and_new_ffmpeg_make_the_same_of_the_same_presets() {
    let Some(newer) = binaries::ffmpeg_n9() else {
        eprintln!("passed over: there is no second ffmpeg for this machine");
        return;
    };
    let farm = Farm::builder()
        .worker(WorkerSpec::new("old").labels("ffmpeg=5"))
        .worker(WorkerSpec::new("new").labels("ffmpeg=9").ffmpeg(&newer))
        .start()
        .await;
    let (old, new) = (farm.api.worker("old").await, farm.api.worker("new").await);
    assert_ne!(old.capabilities.ffmpeg_version, new.capabilities.ffmpeg_version);
    assert!(new.capabilities.filters.contains("libvmaf"), "n9 carries libvmaf");
    assert!(new.capabilities.encoder("h264_nvenc").is_none(), "there is no GPU here");
    assert_eq!(old.capabilities.ffprobe_version, new.capabilities.ffprobe_version);

    let upload = farm.api.upload(&clip("bigbuckbunny-2s.mp4")).await;
    let mut jobs = Vec::new();
    for preset in PRESETS {
        for version in ["5", "9"] {
            let mut request = request(InputRef::Upload(upload.id), preset);
            request.labels.insert("ffmpeg".into(), version.into());
            jobs.push((preset, farm.api.submit(&request).await.summary.id));
        }
    }
    for pair in jobs.chunks(2) {
        let preset = pair[0].0;
        let mut made = Vec::new();
        for (_, job) in pair {
            let view = farm.succeeded(*job).await;
            let folder = tempfile::tempdir().unwrap();
            farm.api.download(&view, folder.path()).await;
            let mut files: Vec<_> = view.outputs.iter().map(|output| output.path.clone()).collect();
            files.sort();
            let streams: Vec<_> = files
                .iter()
                .filter(|file| [".mp4", ".mov", ".m4a", "master.m3u8"].iter().any(|end| file.ends_with(end)))
                .filter(|file| !file.contains("init"))
                .flat_map(|file| Media::read(&folder.path().join(file)).streams)
                .map(|stream| {
                    (stream.codec_name, stream.width, stream.height, stream.channels, stream.pix_fmt)
                })
                .collect();
            made.push((files, streams));
        }
        assert_eq!(made[0], made[1], "{preset}");
    }
    farm.stop().await;
}
