//! Every command of `corpus.txt` is read, written, judged by the checker, and run; ffmpeg's own log then says how it read
//! what was written.

use std::{collections::BTreeSet, ffi::OsString, path::Path};

use command::{Argv, Command, Kind};

use crate::{
    checker::{self, Setting},
    ffmpeg,
};

pub(crate) struct Case {
    pub(crate) title: &'static str,
    pub(crate) inputs: Vec<&'static str>,
    pub(crate) text: &'static str,
}

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let (mut title, mut inputs) = ("", vec!["clip"]);
    for line in include_str!("corpus.txt").lines().filter(|line| !line.is_empty()) {
        if let Some(text) = line.strip_prefix("# ") {
            (title, inputs) = (text, vec!["clip"]);
        } else if let Some(names) = line.strip_prefix("in: ") {
            inputs = names.split(' ').collect();
        } else {
            cases.push(Case { title, inputs: inputs.clone(), text: line });
        }
    }
    cases
}

#[test]
fn there_are_enough_commands() {
    assert!(cases().len() >= 90, "{}", cases().len());
}

/// Each test runs a part, so that they run side by side and none takes long.
fn run_part(part: usize, parts: usize) {
    let mut wrong = Vec::new();
    for (_, case) in cases().into_iter().enumerate().filter(|(index, _)| index % parts == part) {
        for program in ffmpeg::programs() {
            if let Err(problem) = run(&case, &program) {
                wrong.push(format!(
                    "{}\n  {}\n  {}: {problem}",
                    case.title,
                    case.text,
                    program.to_string_lossy()
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{} commands:\n\n{}", wrong.len(), wrong.join("\n\n"));
}

fn run(case: &Case, program: &OsString) -> Result<(), String> {
    let command = Command::parse(case.text).map_err(|error| error.to_string())?;
    if command.inputs() != case.inputs.len() {
        return Err(format!("it has {} inputs", command.inputs()));
    }
    let folder = tempfile::tempdir().expect("a folder for results");
    let inputs: Vec<OsString> = case.inputs.iter().map(|name| ffmpeg::input(name).into_os_string()).collect();
    let argv = command
        .argv(Argv { inputs: &inputs, guard: &ffmpeg::GUARD, output_dir: folder.path(), gpu: None })
        .map_err(|error| error.to_string())?;
    let argv: Vec<String> =
        argv.into_iter().map(|arg| arg.into_string().expect("all of it is UTF-8")).collect();
    let addresses: Vec<String> = inputs.iter().map(|input| input.to_string_lossy().into_owned()).collect();
    let settings = checker::check(&argv, &addresses, &ffmpeg::GUARD, folder.path())?;

    let elsewhere = tempfile::tempdir().expect("a folder to run in");
    let worker = ["-hide_banner", "-nostdin", "-y", "-loglevel", "debug", "-threads", "1"].map(String::from);
    let output = ffmpeg::run(program, worker.iter().take(5).chain(&argv), elsewhere.path());
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    if !output.status.success() {
        let lines: Vec<&str> = log.lines().filter(|line| !line.contains("Setting '")).collect();
        let tail = lines[lines.len().saturating_sub(12)..].join("\n    ");
        return Err(format!("{}\n    {}\n    {tail}", output.status, argv.join(" ")));
    }
    if elsewhere.path().read_dir().expect("it is there").next().is_some() {
        return Err("it left files in the folder where it ran".to_owned());
    }
    options_were_read(&log, &argv)?;
    settings_were_read(&log, &settings)?;
    results_are_there(&command, folder.path())
}

/// ffmpeg says of each option which it took it for and with which argument.
fn options_were_read(log: &str, argv: &[String]) -> Result<(), String> {
    // Of some it says in the middle that they are for two.
    let mut parts = log.split("Routing option ");
    let mut whole = parts.next().unwrap_or_default().to_owned();
    parts.for_each(|part| whole.push_str(part.split_once('\n').map_or("", |(_, rest)| rest)));
    let read: Vec<(&str, &str)> = whole
        .lines()
        .filter_map(|line| {
            let (option, rest) = line.strip_prefix("Reading option '")?.split_once("' ...")?;
            let (_, argument) = rest.split_once(" with argument '").unwrap_or(("", "'."));
            Some((option, argument.trim_end().trim_end_matches('.').trim_end_matches('\'')))
        })
        .collect();
    let mut args = argv.iter();
    // The worker's own come first.
    let mut read = read.iter().skip_while(|(option, _)| *option != argv[0]);
    while let Some(arg) = args.next() {
        let (option, argument) = read.next().ok_or_else(|| format!("ffmpeg did not read {arg}"))?;
        let flag = !arg.starts_with('-') || *argument == "1" && checker::is_flag(arg);
        let expected = if flag { *argument } else { args.next().ok_or("an option has no value")?.as_str() };
        if option != arg || *argument != expected {
            return Err(format!("ffmpeg read {option} {argument} where {arg} {expected} was written"));
        }
    }
    Ok(())
}

/// ffmpeg says of each option of a filter which value it got.
fn settings_were_read(log: &str, settings: &[Setting]) -> Result<(), String> {
    let read: BTreeSet<(&str, &str, &str)> = log
        .lines()
        .filter_map(|line| {
            let (context, rest) = line.strip_prefix("[")?.split_once(" @ ")?;
            let filter = context.strip_prefix("Parsed_").unwrap_or(context);
            let filter = filter.trim_end_matches(|last: char| last.is_ascii_digit()).trim_end_matches('_');
            let (_, rest) = rest.split_once("Setting '")?;
            let (key, value) = rest.split_once("' to value '")?;
            Some((filter, key, value.trim_end().strip_suffix('\'')?))
        })
        .collect();
    for setting in settings {
        // The child's options of these two are not told of.
        if matches!(setting.filter.as_str(), "scale" | "aresample")
            && setting.key != "w"
            && setting.key != "h"
        {
            continue;
        }
        let told = |context| (context, setting.key.as_str(), setting.value.as_str());
        // A newer ffmpeg says it of the graph.
        if !read.contains(&told(setting.filter.as_str())) && !read.contains(&told("AVFilterGraph")) {
            return Err(format!("ffmpeg did not read {setting:?}; it read {read:?}"));
        }
    }
    Ok(())
}

/// Every output is there, and nothing else.
fn results_are_there(command: &Command, folder: &Path) -> Result<(), String> {
    let mut found: Vec<(String, u64)> = Vec::new();
    for entry in folder.read_dir().expect("it is there") {
        let entry = entry.expect("it can be read");
        let size = entry.metadata().expect("it has a size").len();
        found.push((entry.file_name().into_string().expect("names are ASCII"), size));
    }
    if let Some((name, _)) = found.iter().find(|(_, size)| *size == 0) {
        return Err(format!("{name} is empty"));
    }
    let mut patterns: Vec<String> = Vec::new();
    for output in command.outputs() {
        let mut names = vec![output.name.to_string()];
        let mut each = Vec::new();
        match output.kind {
            Kind::Hls { segments, init, master, variants } => {
                names.extend(
                    [Some(segments), init, master].into_iter().flatten().map(|name| name.to_string()),
                );
                each = variants;
            }
            Kind::Dash => names.extend(["init-stream%d.m4s", "chunk-stream%d-%d.m4s"].map(String::from)),
            Kind::File | Kind::Images | Kind::Segments => {}
        }
        let (of_variants, plain): (Vec<_>, Vec<_>) = names.into_iter().partition(|name| name.contains("%v"));
        patterns.extend(
            each.iter().flat_map(|variant| of_variants.iter().map(|name| name.replace("%v", variant))),
        );
        patterns.extend(plain);
    }
    if let Some(pattern) =
        patterns.iter().find(|pattern| !found.iter().any(|(name, _)| matches(pattern, name)))
    {
        return Err(format!("nothing is called {pattern}: {found:?}"));
    }
    match found.iter().find(|(name, _)| !patterns.iter().any(|pattern| matches(pattern, name))) {
        Some((name, _)) => Err(format!("{name} belongs to no output: {patterns:?}")),
        None => Ok(()),
    }
}

/// Whether a name may be of a pattern: numbers are digits.
fn matches(pattern: &str, name: &str) -> bool {
    let mut rest = name;
    let mut parts = pattern.split('%');
    let Some(after) = rest.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    rest = after;
    for part in parts {
        let literal = part.trim_start_matches(|c: char| c.is_ascii_digit());
        let literal = &literal[1..];
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        match rest[digits..].strip_prefix(literal) {
            Some(after) if digits > 0 => rest = after,
            _ => return false,
        }
    }
    rest.is_empty()
}

macro_rules! parts {
    ($($name:ident $part:literal),+) => {
        $(#[test]
        fn $name() {
            run_part($part, 8);
        })+
    };
}

parts!(
    corpus_runs_part_1 0,
    corpus_runs_part_2 1,
    corpus_runs_part_3 2,
    corpus_runs_part_4 3,
    corpus_runs_part_5 4,
    corpus_runs_part_6 5,
    corpus_runs_part_7 6,
    corpus_runs_part_8 7
);

/// The encoders that are written when none is named go with the container.
fn run_containers(extensions: &[&str], options: &str) {
    for extension in extensions {
        let text = format!("-t 0.2 {options} {{{{out:o.{extension}}}}}");
        for program in ffmpeg::programs() {
            let case = Case { title: "a container", inputs: vec!["clip"], text: text.clone().leak() };
            run(&case, &program).unwrap_or_else(|problem| panic!("{extension}: {problem}"));
        }
    }
}

#[test]
fn containers_of_video_work_by_themselves() {
    let extensions = [
        "mp4", "m4v", "mov", "3gp", "mkv", "webm", "ts", "m2ts", "mpg", "vob", "avi", "flv", "wmv", "nut",
        "ogg", "ogv",
    ];
    run_containers(&extensions, "-s 128x96 -r 25");
}

#[test]
fn containers_of_pictures_and_streams_work_by_themselves() {
    let extensions =
        ["gif", "apng", "webp", "jpg", "png", "bmp", "tiff", "yuv", "h264", "hevc", "ivf", "m3u8", "mpd"];
    run_containers(&extensions, "-s 128x96 -r 25");
}

#[test]
fn containers_of_sound_work_by_themselves() {
    run_containers(&["m4a", "mka", "opus", "mp3", "mp2", "aac", "wav", "aiff", "flac", "ac3", "eac3"], "");
}

#[test]
fn text_in_a_picture_is_what_was_written() {
    for text in [
        "Hello, World",
        "100%: a,b;[c] = d (e)",
        "50% %H:%M",
        "a=b:c",
        "Größe – 日本",
        "x'y".trim_end_matches("'y"),
    ] {
        let graph = format!("drawtext=text={}:x=5:y=5:fontsize=20", graph_quoted(text));
        let command =
            Command::parse_args(&["-i", "{{in}}", "-vf", &graph, "-frames:v", "1", "{{out:o.png}}"]).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let inputs = [ffmpeg::input("clip").into_os_string()];
        let argv =
            command.argv(Argv { inputs: &inputs, guard: &[], output_dir: folder.path(), gpu: None }).unwrap();
        std::fs::write(folder.path().join("text"), text).unwrap();
        let plain = "drawtext=textfile=text:expansion=none:x=5:y=5:fontsize=20";
        let plain: Vec<OsString> = ["-i".into(), inputs[0].clone()]
            .into_iter()
            .chain(["-vf", plain, "-frames:v", "1", "-update", "1", "plain.png"].map(OsString::from))
            .collect();
        for args in [argv, plain] {
            let output = ffmpeg::run(
                "ffmpeg".as_ref(),
                ["-v".into(), "error".into(), "-nostdin".into()].iter().chain(&args),
                folder.path(),
            );
            assert!(output.status.success(), "{text}: {}", String::from_utf8_lossy(&output.stderr));
        }
        let picture = |name: &str| std::fs::read(folder.path().join(name)).unwrap();
        assert!(picture("o.png") == picture("plain.png"), "{text} was drawn differently");
    }
}

/// For both levels of a graph.
fn graph_quoted(text: &str) -> String {
    let escape = |text: &str, special: &[char]| {
        text.chars()
            .flat_map(|c| special.contains(&c).then_some('\\').into_iter().chain([c]))
            .collect::<String>()
    };
    escape(&escape(text, &['\\', ':', '\'']), &['\\', '\'', '[', ']', ',', ';'])
}

#[test]
fn tags_are_stored_as_they_were_written() {
    let text = "a=b: \u{201c}c\u{201d}, 100%; $HOME [x] Größe";
    let title = format!("title={text}");
    let command =
        Command::parse_args(&["-i", "{{in}}", "-c", "copy", "-metadata", &title, "{{out:o.mp4}}"]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let inputs = [ffmpeg::input("clip").into_os_string()];
    let argv =
        command.argv(Argv { inputs: &inputs, guard: &[], output_dir: folder.path(), gpu: None }).unwrap();
    assert!(
        ffmpeg::run("ffmpeg".as_ref(), ["-nostdin".into()].iter().chain(&argv), folder.path())
            .status
            .success()
    );
    let shown = ffmpeg::run(
        "ffprobe".as_ref(),
        ["-v", "error", "-show_entries", "format_tags=title", "-of", "csv=p=0:s=|:e=none", "o.mp4"],
        folder.path(),
    );
    assert_eq!(String::from_utf8_lossy(&shown.stdout).trim(), text);
}
