//! The real ffmpeg, and small clips made of the footage that `scripts/footage.sh` fetches.

use std::{
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
    process::{Command as Process, Output},
    sync::OnceLock,
};

/// Every ffmpeg that is here: the distribution's, and a newer one where the variable of the Makefile names it.
pub(crate) fn programs() -> Vec<OsString> {
    let next = std::env::var_os("TVARR_TEST_FFMPEG_NEXT").filter(|path| !path.is_empty());
    std::iter::once(OsString::from("ffmpeg")).chain(next).collect()
}

/// Which protocols and demuxers inputs may use, as a worker says it.
pub(crate) const GUARD: [&str; 4] = [
    "-protocol_whitelist",
    "file",
    "-format_whitelist",
    "mov,matroska,webm,mpegts,mp3,wav,png_pipe,jpeg_pipe,srt,ass,webvtt",
];

pub(crate) fn run<S: AsRef<OsStr>>(
    program: &OsStr,
    args: impl IntoIterator<Item = S>,
    folder: &Path,
) -> Output {
    Process::new(program).args(args).current_dir(folder).output().expect("ffmpeg starts")
}

/// A fixture by its name.
pub(crate) fn input(name: &str) -> PathBuf {
    static FIXTURES: OnceLock<tempfile::TempDir> = OnceLock::new();
    FIXTURES.get_or_init(make).path().join(match name {
        "clip" => "clip.mp4",
        "silent" => "silent.mp4",
        "music" => "music.m4a",
        "logo" => "logo.png",
        "sub" => "sub.mkv",
        "hdr" => "hdr.mkv",
        _ => panic!("no fixture {name}"),
    })
}

fn footage(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.footage").join(name);
    assert!(path.is_file(), "{} is not there: run make footage", path.display());
    path
}

fn make() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder for fixtures");
    let small = ["-vf", "scale=320:-2", "-c:v", "libx264", "-preset", "ultrafast", "-g", "12"];
    let makes: [(&str, &str, &[&str]); 4] = [
        ("ocean-2s.mp4", "clip.mp4", &["-c:a", "copy"]),
        ("bikes-2s.mp4", "silent.mp4", &["-an"]),
        ("ocean-2s.mp4", "music.m4a", &["-vn", "-c:a", "copy"]),
        (
            "ocean-2s.mp4",
            "logo.png",
            &["-frames:v", "1", "-c:v", "png", "-pix_fmt", "rgba", "-vf", "scale=64:-2"],
        ),
    ];
    for (from, to, more) in makes {
        let input = footage(from);
        let mut args: Vec<&OsStr> = ["-v", "error", "-nostdin", "-i"].map(OsStr::new).to_vec();
        args.push(input.as_os_str());
        args.extend(small.iter().map(OsStr::new).filter(|_| to.ends_with("mp4")));
        args.extend(more.iter().map(OsStr::new));
        args.push(OsStr::new(to));
        let made = run(OsStr::new("ffmpeg"), args, folder.path());
        assert!(made.status.success(), "{to}: {}", String::from_utf8_lossy(&made.stderr));
    }
    for (from, to) in [("subtitles.mkv", "sub.mkv"), ("hdr.mkv", "hdr.mkv")] {
        std::fs::copy(footage(from), folder.path().join(to)).expect("footage can be copied");
    }
    folder
}
