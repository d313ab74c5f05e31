//! Judges arguments for ffmpeg by themselves, from `checker.txt` and `checker-filters.txt` and from what ffmpeg says of its
//! filters. It shares nothing with the crate: it parts arguments, graphs and options of filters in its own way.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsStr,
    path::Path,
    sync::{LazyLock, Mutex},
};

use crate::ffmpeg;

type Classes = BTreeMap<&'static str, BTreeSet<&'static str>>;

static OPTIONS: LazyLock<Classes> = LazyLock::new(|| classes(include_str!("checker.txt")));
static FILTERS: LazyLock<Classes> = LazyLock::new(|| classes(include_str!("checker-filters.txt")));
/// The type of each option of a filter, as ffmpeg tells it.
static TYPES: Mutex<BTreeMap<String, BTreeMap<String, String>>> = Mutex::new(BTreeMap::new());

fn classes(text: &'static str) -> Classes {
    let mut classes = Classes::new();
    for line in text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let (class, names) = line.split_once("  ").expect("a class and names");
        classes.entry(class).or_default().extend(names.split(' '));
    }
    classes
}

/// An option of a filter with the value that ffmpeg gets.
#[derive(Debug)]
pub(crate) struct Setting {
    pub(crate) filter: String,
    pub(crate) key: String,
    pub(crate) value: String,
}

pub(crate) fn is_flag(option: &str) -> bool {
    OPTIONS["flag"].contains(option.trim_start_matches('-'))
}

/// Says what is wrong with the arguments, or which options all filters get.
pub(crate) fn check(
    argv: &[String],
    inputs: &[String],
    guard: &[&str],
    output_dir: &Path,
) -> Result<Vec<Setting>, String> {
    let output_dir = format!("{}/", output_dir.display());
    let mut settings = Vec::new();
    let mut args = argv.iter().map(String::as_str).peekable();
    let mut outputs = 0;
    while let Some(arg) = args.next() {
        if args.peek().is_some() && guard.first() == Some(&arg) {
            for expected in &guard[1..] {
                ensure(args.next() == Some(*expected), || format!("the guard is broken at {expected}"))?;
            }
            continue;
        }
        let Some(option) = arg.strip_prefix('-') else {
            ensure(arg.strip_prefix(&output_dir).is_some_and(is_file_name), || format!("an output {arg}"))?;
            outputs += 1;
            continue;
        };
        if option == "i" {
            let address = args.next().unwrap_or_default();
            ensure(inputs.iter().any(|input| input == address), || format!("an input {address}"))?;
            continue;
        }
        let (name, specifier) = option.split_once(':').unwrap_or((option, ""));
        ensure(is_specifier(specifier), || format!("a specifier in {arg}"))?;
        if is_flag(name) {
            continue;
        }
        let value = args.next().ok_or_else(|| format!("{arg} has no value"))?;
        ensure(value.chars().all(|c| !c.is_control() && c != '"' && c != '`'), || {
            format!("signs in {arg} {value:?}")
        })?;
        let classes: Vec<&str> =
            OPTIONS.iter().filter(|(_, names)| names.contains(name)).map(|(class, _)| *class).collect();
        ensure(!classes.is_empty(), || format!("an option {arg}"))?;
        if classes == ["graph"] {
            settings.extend(graph(value)?);
            continue;
        }
        if classes == ["path"] {
            ensure(value.strip_prefix(&output_dir).is_some_and(is_file_name), || format!("a path {value}"))?;
            continue;
        }
        ensure(classes.iter().any(|class| is_of(class, value)), || {
            format!("{arg} {value:?} is none of {classes:?}")
        })?;
    }
    ensure(outputs > 0, || "no output".to_owned())?;
    Ok(settings)
}

fn ensure(fine: bool, problem: impl FnOnce() -> String) -> Result<(), String> {
    if fine { Ok(()) } else { Err(problem()) }
}

fn all(text: &str, signs: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || signs.contains(c))
}

fn digits(text: &str) -> bool {
    (1..=17).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn integer(text: &str) -> bool {
    digits(text.strip_prefix('-').unwrap_or(text))
}

fn number(text: &str) -> bool {
    match text.split_once('.') {
        Some((whole, part)) => integer(whole) && digits(part),
        None => integer(text),
    }
}

/// A file name as it is safe in a path that ffmpeg may take for a pattern.
fn is_file_name(text: &str) -> bool {
    let plain = text.replacen("%v", "0", 1);
    let pattern = plain.find('%').map(|at| {
        let width = plain[at + 1..].bytes().take_while(u8::is_ascii_digit).count();
        plain[at + 1 + width..].starts_with('d') && !plain[at + 1..].contains('%') && width < 3
    });
    let end = text.rsplit('.').next().unwrap_or_default();
    pattern != Some(false)
        && !text.starts_with(['-', '.'])
        && !text.contains("..")
        && all(text, "_-.%")
        && text.contains('.')
        && (2..=5).contains(&end.len())
        && !["exe", "sh", "php", "html", "so", "conf", "key"].contains(&end)
}

fn is_specifier(text: &str) -> bool {
    text.is_empty()
        || text.split(':').all(|part| ["v", "a", "s", "d"].contains(&part) || digits(part) && part.len() < 3)
}

fn is_of(class: &str, value: &str) -> bool {
    let list = |separators: &[char], fine: &dyn Fn(&str) -> bool| value.split(separators).all(fine);
    match class {
        "int" => integer(value),
        "num" => list(&['/'], &number) && value.matches('/').count() < 2,
        "time" => number(value),
        "word" => all(value, "_-.()+:;,") && !value.starts_with('-') || integer(value),
        "flags" => list(&['+', '-'], &|part| part.is_empty() || all(part, "_")) || integer(value),
        "size" => value.split_once('x').is_some_and(|(width, height)| {
            [width, height]
                .iter()
                .all(|edge| digits(edge) && edge.parse::<u32>().is_ok_and(|edge| edge <= 16384))
        }),
        "numbers" => list(&[' ', '|', ',', ':', '/'], &|part| number(part.trim_end_matches(['s', 'S']))),
        "words" => all(value, "_-.()+|, "),
        "colors" => list(&['|'], &|color| all(color, "@.")),
        "pan" => all(value, "|=<*+-.") && value.contains('|'),
        "text" => value.chars().all(|c| !c.is_control() && !"'\"`\\".contains(c)),
        "expression" => expression(value),
        "map" => {
            let streams = |text: &str| {
                let (input, specifier) = text.split_once(':').unwrap_or((text, ""));
                digits(input) && input.len() == 1 && is_specifier(specifier)
            };
            match value.strip_prefix('[') {
                Some(label) => label.strip_suffix(']').is_some_and(is_label),
                None => streams(value.trim_start_matches('-').trim_end_matches('?')),
            }
        }
        "tag" => value.split_once('=').is_some_and(|(key, text)| all(key, "_-.") && is_of("text", text)),
        "keyframes" => {
            value == "source" || value.strip_prefix("expr:").map_or(list(&[','], &number), expression)
        }
        "dict" => list(&[':'], &|entry| {
            let unsafe_keys = [
                "stats", "file", "csv", "dump", "log=", "recon", "analysis", "save", "load", "table",
                "info=/", "pass", "rpu", "lut",
            ];
            entry.split_once('=').is_some_and(|(key, value)| {
                all(key, "-_")
                    && all(value, "-_.,()/")
                    && !unsafe_keys.iter().any(|bad| key.contains(bad))
                    && (!value.contains('/') || list_of_numbers(value))
            })
        }),
        "name" => is_file_name(value),
        "variants" => all(value, ":,=_ "),
        _ => panic!("no class {class}"),
    }
}

fn list_of_numbers(text: &str) -> bool {
    text.split('/').all(number)
}

fn is_label(text: &str) -> bool {
    all(text, "_-") && text.len() <= 32
}

fn expression(text: &str) -> bool {
    let name = |c: char| c.is_ascii_alphanumeric() || "_.".contains(c);
    all(text, "_.+-*/^(),;")
        && text.len() <= 1000
        && text.split(|c| !name(c)).filter(|word| !word.is_empty()).all(|word| {
            number(word)
                || word.strip_suffix("dB").is_some_and(number)
                || word.starts_with('.') && digits(&word[1..])
                || FILTERS["names"].contains(word)
        })
}

/// `av_get_token`, told again: the token, and what comes after it.
fn token(text: &str, ends: &str) -> (String, String) {
    let mut characters = text.trim_start_matches(' ').chars();
    let mut result = String::new();
    let mut solid = 0;
    let mut rest = characters.clone();
    while let Some(c) = characters.next() {
        if ends.contains(c) {
            break;
        }
        if c == '\\' {
            result.extend(characters.next());
            solid = result.len();
        } else if c == '\'' {
            result.extend(characters.by_ref().take_while(|c| *c != '\''));
            solid = result.len();
        } else {
            result.push(c);
        }
        rest = characters.clone();
    }
    while result.len() > solid && result.ends_with(' ') {
        result.pop();
    }
    (result, rest.as_str().to_owned())
}

/// Judges a graph as libavfilter parts it.
fn graph(text: &str) -> Result<Vec<Setting>, String> {
    let mut settings = Vec::new();
    let mut rest = text.to_owned();
    loop {
        rest = labels(&rest)?;
        let (filter, after) = token(&rest, "=,;[");
        ensure(FILTERS["filters"].contains(filter.as_str()), || format!("a filter {filter:?}"))?;
        rest = after;
        if let Some(after) = rest.strip_prefix('=') {
            let (mut options, after) = token(after, "[],;");
            rest = after;
            while !options.is_empty() {
                let (key, value) = options
                    .split_once('=')
                    .ok_or_else(|| format!("{filter} has {options} without a name"))?;
                let (value, after) = token(value, ":");
                ensure(all(key, "_"), || format!("a key {key:?}"))?;
                option(&filter, key, &value)?;
                settings.push(Setting { filter: filter.clone(), key: key.to_owned(), value });
                options = after.strip_prefix(':').unwrap_or(&after).to_owned();
            }
        }
        let expands = filter == "drawtext"
            && !settings.iter().any(|setting| setting.key == "expansion" && setting.value == "none");
        ensure(!expands, || "a text that is expanded".to_owned())?;
        rest = labels(&rest)?;
        match rest.chars().next() {
            None => return Ok(settings),
            Some(',' | ';') => rest = rest[1..].to_owned(),
            Some(other) => return Err(format!("{other} in a graph")),
        }
    }
}

fn labels(text: &str) -> Result<String, String> {
    let mut rest = text.trim_start();
    while let Some(after) = rest.strip_prefix('[') {
        let (label, after) = after.split_once(']').ok_or("a label is open")?;
        ensure(is_label(label) || is_of("map", label), || format!("a label {label}"))?;
        rest = after.trim_start();
    }
    Ok(rest.to_owned())
}

fn option(filter: &str, key: &str, value: &str) -> Result<(), String> {
    let name = format!("{filter}.{key}");
    let classes: Vec<&str> =
        FILTERS.iter().filter(|(_, names)| names.contains(name.as_str())).map(|(class, _)| *class).collect();
    let said = || format!("{name}={value:?}");
    if !classes.is_empty() {
        // `size | expr` and `color | invert` are both strings.
        let fine = classes.iter().any(|class| is_of(class, value))
            || ["scale.w", "zscale.w"].contains(&name.as_str()) && is_of("size", value);
        return ensure(fine, said);
    }
    if key == "enable" {
        return ensure(expression(value), said);
    }
    let kind = kind(filter, key).ok_or_else(|| format!("{name} is unknown to ffmpeg"))?;
    let fine = match kind.as_str() {
        "int" | "int64" | "uint64" => integer(value) || all(value, "_-"),
        "float" | "double" => number(value.strip_suffix("dB").unwrap_or(value)) || all(value, "_"),
        "boolean" => ["0", "1"].contains(&value),
        "flags" => all(value, "_+-"),
        "color" => is_of("colors", value),
        "duration" => number(value),
        "rational" | "video_rate" => is_of("num", value),
        "image_size" => is_of("size", value),
        "pix_fmt" | "sample_fmt" | "channel_layout" => all(value, "_.()+"),
        _ => false,
    };
    ensure(fine, || format!("{} is no {kind}", said()))
}

/// What ffmpeg says that an option of a filter is.
pub(crate) fn kind(filter: &str, key: &str) -> Option<String> {
    let mut types = TYPES.lock().expect("no test panics with it");
    if !types.contains_key(filter) {
        types.insert(filter.to_owned(), told(OsStr::new("ffmpeg"), filter));
    }
    types[filter].get(key).cloned()
}

/// The options of a filter with their types, from `-h filter=`.
pub(crate) fn told(program: &OsStr, filter: &str) -> BTreeMap<String, String> {
    let output = ffmpeg::run(program, ["-hide_banner", "-h", &format!("filter={filter}")], Path::new("/"));
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let (name, kind) = (words.next()?, words.next()?);
            let kind = kind.strip_prefix('<')?.strip_suffix('>')?;
            Some((name.trim_start_matches('-').to_owned(), kind.to_owned()))
        })
        .collect()
}

#[test]
fn the_checker_refuses_what_must_not_come_out() {
    let fine =
        ["-i", "in", "-filter:v", r"scale=w=min(100\,iw):h=-2", "-crf", "20", "-f", "mp4", "/out/o.mp4"];
    let judge = |args: &[&str]| {
        let argv: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
        check(&argv, &["in".to_owned()], &["-guard", "x"], Path::new("/out"))
    };
    assert_eq!(judge(&fine).expect("it is fine").len(), 2);
    for (at, wrong) in [
        (1, "/etc/passwd"),
        (2, "-attach"),
        (2, "-filter_script"),
        (2, "-filter:v:x"),
        (3, "movie=filename=a"),
        (3, "scale=w=1,amovie=filename=a"),
        (3, "scale=1280:720"),
        (3, "scale=w=/etc/passwd"),
        (3, "drawtext=text=a"),
        (3, "drawtext=text=a:expansion=normal"),
        (3, "drawtext=textfile=a:expansion=none"),
        (3, r"select=expr=while(1\,1)"),
        (3, "curves=psfile=a"),
        (3, "paletteuse=debug_kdtree=a"),
        (3, "nosuch=1"),
        (4, "-x264-params"),
        (5, "20;"),
        (5, "/dev/null"),
        (7, "../mp4"),
        (8, "/etc/o.mp4"),
        (8, "/out/../o.mp4"),
        (8, "/out/sub/o.mp4"),
        (8, "/out/-o.mp4"),
        (8, "/out/o%s.mp4"),
    ] {
        let mut args = fine;
        args[at] = wrong;
        assert!(judge(&args).is_err(), "{wrong} was accepted");
    }
    assert!(judge(&["-x264-params", "stats=a", "/out/o.mp4"]).is_err());
    assert!(judge(&["-hls_segment_filename", "a%d.ts", "/out/o.m3u8"]).is_err());
    assert!(judge(&["-metadata", "title=a'b", "/out/o.mp4"]).is_err());
}
