//! What a command comes to: arguments, inputs, outputs, needs.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    path::Path,
};

use command::{Argv, Command, Kind, Setup};

fn args(command: &str) -> String {
    Command::parse(command).unwrap_or_else(|error| panic!("{error}")).to_string()
}

#[test]
fn one_input_and_one_output_go_without_saying() {
    let command =
        Command::parse_for("-vf scale=1280:720 -c:v libx264 -crf 23 -c:a aac -b:a 128k", Some("mp4"))
            .unwrap();
    assert_eq!(
        command.to_string(),
        "-i {{in}} -c:v libx264 -c:a aac -filter:v scale=w=1280:h=720 -crf 23 -b:a 128000 -f mp4 {{out:output.mp4}}"
    );
    assert_eq!(Command::parse_for("", Some("hls")).unwrap().outputs()[0].name.as_str(), "output.m3u8");
    assert_eq!(Command::parse("-f matroska").unwrap().outputs()[0].name.as_str(), "output.mkv");
    assert!(Command::parse_for("", Some("exe")).is_err());
    assert!(Command::parse_for("", Some("../x")).is_err());
    assert_eq!(Command::parse_for("{{out:a.mkv}}", Some("mp4")).unwrap().outputs()[0].name.as_str(), "a.mkv");
}

#[test]
fn every_option_has_one_name() {
    for (one, other) in [
        ("-vcodec libx264 {{out:o.mp4}}", "-c:v libx264 {{out:o.mp4}}"),
        ("-vf hflip {{out:o.mp4}}", "-filter:v hflip {{out:o.mp4}}"),
        ("-b 1M {{out:o.mp4}}", "-b:v 1000k {{out:o.mp4}}"),
        ("-lavfi [0:v]null[v] -map [v] {{out:o.mp4}}", "-map [v] -filter_complex [0:v]null[v] {{out:o.mp4}}"),
        ("-vsync 2 -vframes 3 {{out:o.mp4}}", "-fps_mode vfr -frames:v 3 {{out:o.mp4}}"),
        ("-vf crop=100:50 {{out:o.mp4}}", "-vf crop=w=100:out_h=50 {{out:o.mp4}}"),
        ("ffmpeg -y -hide_banner -loglevel error -i {{in}} {{out:o.mp4}}", "{{out:o.mp4}}"),
        ("-ss 1:30 {{out:o.mp4}}", "-ss 90000ms {{out:o.mp4}}"),
        ("-s hd720 {{out:o.mp4}}", "-s 1280x720 {{out:o.mp4}}"),
        ("-map v:0 {{out:o.mp4}}", "-map 0:v:0 {{out:o.mp4}}"),
    ] {
        assert_eq!(args(one), args(other));
    }
}

#[test]
fn graphs_are_read_as_ffmpeg_reads_them() {
    let graph = |text: &str| {
        let command = Command::parse_args(&["-vf", text, "{{out:o.png}}"])
            .unwrap_or_else(|error| panic!("{text}: {error}"));
        command.args()[5].clone()
    };
    assert_eq!(graph("scale='min(100,iw)':-2"), r"scale=w=min(100\,iw):h=-2");
    assert_eq!(graph(r"scale=min(100\,iw):-2"), r"scale=w=min(100\,iw):h=-2");
    assert_eq!(graph("scale=min(100,iw):-2"), r"scale=w=min(100\,iw):h=-2");
    assert_eq!(graph(r"drawtext=text='a\:b'"), r"drawtext=text=a\\:b:expansion=none");
    assert_eq!(graph(r"drawtext=text=a\\:b"), r"drawtext=text=a\\:b:expansion=none");
    assert_eq!(graph("drawtext=text='a,b;[c]'"), r"drawtext=text=a\,b\;\[c\]:expansion=none");
    assert_eq!(graph(" [in] hflip , vflip [out] "), "[in]hflip,vflip[out]");
    assert_eq!(graph("fade=in:0:30"), "fade=type=in:start_frame=0:nb_frames=30");
    assert_eq!(graph("fade=t=out:st=1.5:d=500ms"), "fade=type=out:start_time=1.5:duration=0.5");
    assert_eq!(graph("drawbox=c=Red@.5:t=fill"), "drawbox=color=red@0.5:thickness=fill");
}

#[test]
fn inputs_and_outputs_come_out_as_data() {
    let command = Command::parse(
        "-i {{in_2}} -ss 3 -i {{in}} -map 0:v -map 1:a -hls_segment_type fmp4 -master_pl_name m.m3u8 {{out:a.m3u8}} \
         -frames:v 1 {{out:b.jpg}} {{out:c-%03d.png}} -f segment {{out:d%d.ts}} {{out:e.mpd}}",
    )
    .unwrap();
    assert_eq!(command.inputs(), 2);
    let outputs = command.outputs();
    let names: Vec<&str> = outputs.iter().map(|output| output.name.as_str()).collect();
    assert_eq!(names, ["a.m3u8", "b.jpg", "c-%03d.png", "d%d.ts", "e.mpd"]);
    let muxers: Vec<&str> = outputs.iter().map(|output| output.muxer).collect();
    assert_eq!(muxers, ["hls", "image2", "image2", "segment", "dash"]);
    match &outputs[0].kind {
        Kind::Hls { segments, init: Some(init), master: Some(master), variants } => {
            assert!(variants.is_empty());
            assert_eq!(
                [segments.as_str(), init.as_str(), master.as_str()],
                ["a_%05d.m4s", "a_init.mp4", "m.m3u8"]
            );
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(outputs[1].kind, Kind::File);
    assert_eq!(outputs[2].kind, Kind::Images);
    assert_eq!(outputs[3].kind, Kind::Segments);
    assert_eq!(outputs[4].kind, Kind::Dash);
}

#[test]
fn what_a_worker_must_have_is_told() {
    let command = Command::parse(
        "-c:v libvpx-vp9 -i {{in}} -i {{in_2}} -filter_complex [0:v][1:v]overlay,format=yuv420p[v] -map [v] -map 0:a \
         -c:v libx265 -c:a copy {{out:o.mp4}} -vn {{out:o.mp3}} -c copy -bsf:v h264_mp4toannexb -f segment {{out:s%d.ts}}",
    )
    .unwrap();
    let needs = command.needs();
    assert_eq!(needs.encoders, BTreeMap::from([("libx265", 1), ("libmp3lame", 1)]));
    assert_eq!(needs.decoders, BTreeSet::from(["libvpx-vp9"]));
    assert_eq!(needs.filters, BTreeSet::from(["overlay", "format"]));
    assert_eq!(needs.muxers, BTreeSet::from(["mp4", "mp3", "segment", "mpegts"]));
    assert_eq!(needs.bitstream_filters, BTreeSet::from(["h264_mp4toannexb"]));
}

#[test]
fn encode_sessions_are_counted() {
    let encoders = |command: &str| Command::parse(command).unwrap().needs().encoders;
    let ladder = "-filter_complex [0:v]split=2[a][b] -map [a] -map [b] -map 0:a -c:v h264_nvenc -c:a aac {{out:o.mp4}}";
    assert_eq!(encoders(ladder), BTreeMap::from([("h264_nvenc", 2), ("aac", 1)]));
    let twice = "-c:v h264_nvenc {{out:a.mp4}} -c:v h264_nvenc -an {{out:b.mp4}}";
    assert_eq!(encoders(twice)["h264_nvenc"], 2);
    assert_eq!(encoders("-map 0:v -map 0:v -c:v libx264 -c:v:1 h264_nvenc {{out:a.mp4}}")["h264_nvenc"], 1);
}

#[test]
fn encoders_of_nvenc_are_told_their_gpu() {
    let command =
        Command::parse("-c:v h264_nvenc -c:a aac {{out:a.mp4}} -c:v libx264 {{out:b.mp4}}").unwrap();
    let with = Argv { inputs: &["a".into()], guard: &[], output_dir: Path::new("/o"), gpu: Some("1") };
    let argv = command.argv(with).unwrap();
    let told: Vec<_> = argv.windows(2).filter(|pair| pair[0].to_string_lossy().starts_with("-gpu")).collect();
    assert_eq!(told, [["-gpu:v", "1"]]);
    assert!(!command.to_string().contains("gpu"));
}

#[test]
fn the_length_of_what_comes_out_is_known_where_time_is_not_changed() {
    for (command, input, seconds) in [
        ("{{out:a.mp4}}", Some(60.0), Some(60.0)),
        ("{{out:a.mp4}}", None, None),
        ("-t 10 {{out:a.mp4}}", None, Some(10.0)),
        ("-t 90 {{out:a.mp4}}", Some(60.0), Some(60.0)),
        ("-ss 10 -i {{in}} -to 30 {{out:a.mp4}}", Some(60.0), Some(30.0)),
        ("-ss 10 -to 30 -i {{in}} {{out:a.mp4}}", Some(60.0), Some(20.0)),
        ("-ss 10 -i {{in}} {{out:a.mp4}}", Some(60.0), Some(50.0)),
        ("-t 5 {{out:a.mp4}} -t 7 {{out:b.mp4}}", Some(60.0), Some(7.0)),
        ("-vf setpts=PTS/2 {{out:a.mp4}}", Some(60.0), None),
        ("-stream_loop 2 -i {{in}} {{out:a.mp4}}", Some(60.0), None),
    ] {
        assert_eq!(Command::parse(command).unwrap().seconds(input), seconds, "{command}");
    }
}

#[test]
fn files_are_in_the_folder_of_the_worker() {
    let command = Command::parse("-i {{in_2}} -i {{in}} {{out:a.m3u8}}").unwrap();
    let inputs = ["-y".into(), "http://127.0.0.1:1/b".into()];
    let with = Argv {
        inputs: &inputs,
        guard: &["-protocol_whitelist", "file"],
        output_dir: Path::new("/scratch/1"),
        gpu: None,
    };
    let argv: Vec<OsString> = command.argv(with).unwrap();
    let expected = [
        "-protocol_whitelist",
        "file",
        "-i",
        "http://127.0.0.1:1/b",
        "-protocol_whitelist",
        "file",
        "-i",
        "-y",
        "-c:v",
        "libx264",
        "-c:a",
        "aac",
        "-hls_segment_filename",
        "/scratch/1/a_%05d.ts",
        "-f",
        "hls",
        "/scratch/1/a.m3u8",
    ];
    assert_eq!(argv, expected);
    assert_eq!(
        command.argv(Argv { inputs: &inputs[..1], ..with }),
        Err(Setup::Inputs { wanted: 2, given: 1 })
    );
    for folder in ["scratch", "/scratch/%d", ""] {
        assert_eq!(command.argv(Argv { output_dir: Path::new(folder), ..with }), Err(Setup::Folder));
    }
}

#[test]
fn quotes_keep_words_together_and_go_no_further() {
    for text in [
        r#"-metadata title="a b c" {{out:o.mp4}}"#,
        "-metadata 'title=a b c' {{out:o.mp4}}",
        r"-metadata title=a\ b\ c {{out:o.mp4}}",
    ] {
        let args = Command::parse(text).unwrap().args();
        assert!(args.contains(&"title=a b c".to_owned()), "{args:?}");
        assert!(args.iter().all(|arg| !arg.contains(['\'', '"'])));
    }
}

#[test]
fn what_is_for_one_stream_may_follow_what_is_for_all() {
    args("-c copy -c:v libx264 -b:v 1M -b:v:1 500k {{out:o.mkv}}");
    args("-c:v libx264 -c:v:1 libx265 -preset slow -x265-params crf=20 -crf:v:0 20 {{out:o.mkv}}");
}
