//! Whatever can be read comes out as arguments that the checker accepts, and is read again as the same. Nothing panics.

use std::{ffi::OsString, path::Path};

use command::{Argv, Command};
use proptest::prelude::*;

use crate::{checker, corpus, ffmpeg};

const FOLDER: &str = "/scratch/7";

/// Reads a command, and judges what comes out. Whether it was read at all.
fn judge(args: &[String]) -> bool {
    let Ok(command) = Command::parse_args(args) else { return false };
    let written = command.args();
    let again =
        Command::parse_args(&written).unwrap_or_else(|error| panic!("{args:?}\n{written:?}\n{error}"));
    assert_eq!(again, command, "{args:?}");
    let inputs: Vec<OsString> =
        (0..command.inputs()).map(|number| format!("http://127.0.0.1:1/{number}").into()).collect();
    let with = Argv { inputs: &inputs, guard: &ffmpeg::GUARD, output_dir: Path::new(FOLDER), gpu: None };
    let argv: Vec<String> = command
        .argv(with)
        .expect("it fits")
        .into_iter()
        .map(|arg| arg.into_string().expect("it is UTF-8"))
        .collect();
    let addresses: Vec<String> =
        inputs.into_iter().map(|input| input.into_string().expect("it is UTF-8")).collect();
    if let Err(problem) = checker::check(&argv, &addresses, &ffmpeg::GUARD, Path::new(FOLDER)) {
        panic!("{problem}\nfrom {args:?}\nto {argv:?}");
    }
    true
}

/// Names and values from the page with all tables, and what an attacker would try.
fn vocabulary() -> Vec<String> {
    let mut words: Vec<String> = command::reference()
        .split(|c: char| !(c.is_ascii_alphanumeric() || "_-.:".contains(c)))
        .filter(|word| (2..24).contains(&word.len()))
        .map(str::to_owned)
        .collect();
    words.sort();
    words.dedup();
    let hostile = [
        "movie=/etc/passwd",
        "file=/etc/passwd",
        "textfile=x",
        "=",
        ":",
        ",",
        ";",
        "[",
        "]",
        "'",
        "\\",
        "\\\\",
        "\"",
        "/",
        "../",
        "-",
        "--",
        "-i",
        "{{in}}",
        "{{in_2}}",
        "{{out:a.mp4}}",
        "{{out:b.png}}",
        "{{out:c%d.jpg}}",
        "{{out:d.m3u8}}",
        "0",
        "1",
        "-1",
        "1e9",
        "99999999999",
        "0:v",
        "[a]",
        "[0:v]",
        "%d",
        "%v",
        "%{pts}",
        "\u{2212}1",
        "１",
        "\0",
        "\n",
        "|",
        "tee",
        "concat:a|b",
        "http://x",
        "pipe:1",
        "iw/2",
        "PTS*2",
        "-vf",
        "-filter_complex",
        "-map",
        "-c:v",
        "-c",
        "copy",
        "libx264",
        "-metadata",
        "title=x",
        "0.5",
        "1280x720",
        "25",
        "black@0.5",
        "between(t,1,2)",
    ];
    words.extend(hostile.map(str::to_owned));
    words
}

/// A small generator of its own: the same numbers in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, most: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % most as u64).expect("it is below a usize")
    }

    fn of<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }
}

/// One change: of arguments, or of the characters of one.
fn mutate(args: &mut Vec<String>, words: &[String], others: &[Vec<String>], random: &mut Random) {
    if args.is_empty() {
        args.push(random.of(words).clone());
    }
    let at = random.below(args.len());
    let boundary = |text: &str, random: &mut Random| {
        let places: Vec<usize> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
        *random.of(&places)
    };
    match random.below(9) {
        0 => drop(args.remove(at)),
        1 => args.insert(at, random.of(words).clone()),
        2 => args[at] = random.of(words).clone(),
        3 => {
            let other = random.of(others);
            let from = random.below(other.len());
            args.splice(at..at, other[from..(from + 2).min(other.len())].iter().cloned());
        }
        4 => args.swap(at, 0),
        5 | 6 => {
            let place = boundary(&args[at], random);
            let word: &String = random.of(words);
            args[at].insert_str(place, word);
        }
        7 => {
            let (one, two) = (boundary(&args[at], random), boundary(&args[at], random));
            args[at].replace_range(one.min(two)..one.max(two), "");
        }
        _ => {
            // One word of a value for another: what is most likely to be read.
            let text = args[at].clone();
            let parts: Vec<&str> = text.split_inclusive([':', ',', '=', '|', ';', ' ']).collect();
            let place = random.below(parts.len().max(1));
            let changed: String = parts
                .iter()
                .enumerate()
                .map(|(index, part)| {
                    if index == place {
                        format!("{}{}", random.of(words), &part[part.len() - 1..])
                    } else {
                        (*part).to_owned()
                    }
                })
                .collect();
            args[at] = changed;
        }
    }
}

#[test]
fn mutated_commands_come_out_within_the_grammar() {
    let rounds = std::env::var("TVARR_FUZZ_ROUNDS")
        .ok()
        .and_then(|rounds| rounds.parse().ok())
        .unwrap_or(15_000_usize);
    let words = vocabulary();
    let corpus: Vec<Vec<String>> =
        corpus::cases().iter().map(|case| Command::parse(case.text).unwrap().args()).collect();
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    let mut read = 0;
    for _ in 0..rounds {
        let mut args = random.of(&corpus).clone();
        for _ in 0..=random.below(3) / 2 {
            mutate(&mut args, &words, &corpus, &mut random);
        }
        read += usize::from(judge(&args));
    }
    assert!(read * 50 > rounds, "only {read} of {rounds} were read: this shows little");
}

#[test]
fn mutated_text_never_panics() {
    let words = vocabulary();
    let texts: Vec<Vec<String>> = corpus::cases().iter().map(|case| vec![case.text.to_owned()]).collect();
    let mut random = Random(0xDEAD_BEEF_CAFE_F00D);
    let mut read = 0;
    for _ in 0..5_000 {
        let mut text = random.of(&texts).clone();
        mutate(&mut text, &words, &texts, &mut random);
        if let Ok(command) = Command::parse(&text.concat()) {
            read += 1;
            assert!(judge(&command.args()), "{text:?}");
        }
    }
    assert!(read > 100, "only {read} were read");
}

fn expression() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        prop::sample::select(vec!["iw", "ih", "t", "n", "a", "PI", "ow", "1", "0.5", "16", "x"])
            .prop_map(str::to_owned),
        (0..20_000_u32).prop_map(|number| number.to_string()),
    ];
    leaf.prop_recursive(4, 24, 3, |inner| {
        prop_oneof![
            (inner.clone(), prop::sample::select(vec!["+", "-", "*", "/", "^", ";"]), inner.clone())
                .prop_map(|(one, sign, two)| format!("{one}{sign}{two}")),
            (
                prop::sample::select(vec!["min", "max", "if", "gte", "mod", "while", "st", "between"]),
                prop::collection::vec(inner.clone(), 1..4)
            )
                .prop_map(|(name, arguments)| format!("{name}({})", arguments.join(","))),
            inner.prop_map(|one| format!("-({one})")),
        ]
    })
}

fn graph() -> impl Strategy<Value = String> {
    let value = prop_oneof![expression(), "[a-z0-9_./:,;\\\\'= -]{0,12}", prop::sample::select(vocabulary())];
    let key = prop::sample::select(vec![
        "",
        "w=",
        "h=",
        "x=",
        "text=",
        "enable=",
        "d=",
        "color=",
        "fontfile=",
        "expr=",
    ]);
    let name = prop::sample::select(vec![
        "scale", "crop", "overlay", "drawtext", "fade", "select", "setpts", "pad", "color", "movie",
        "volume", "fps",
    ]);
    let filter =
        (name, prop::collection::vec((key, value, any::<bool>()), 0..4)).prop_map(|(name, options)| {
            let options: Vec<String> = options
                .into_iter()
                .map(
                    |(key, value, quoted)| {
                        if quoted { format!("{key}'{value}'") } else { format!("{key}{value}") }
                    },
                )
                .collect();
            if options.is_empty() { name.to_owned() } else { format!("{name}={}", options.join(":")) }
        });
    prop::collection::vec(filter, 1..4).prop_map(|filters| filters.join(","))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn graphs_come_out_within_the_grammar(graph in graph()) {
        judge(&["-vf".to_owned(), graph, "{{out:o.png}}".to_owned()]);
    }

    #[test]
    fn sequences_of_known_words_come_out_within_the_grammar(args in prop::collection::vec(prop::sample::select(vocabulary()), 0..12)) {
        let mut args: Vec<String> = args;
        args.push("{{out:o.mkv}}".to_owned());
        judge(&args);
    }

    #[test]
    fn any_text_is_read_or_refused(text in "\\PC{0,60}") {
        if let Err(error) = Command::parse(&text) {
            prop_assert!(error.offset <= text.len());
        }
        let _ = Command::parse_args(&[text.as_str(), "{{out:o.mkv}}"]);
        judge(&["-metadata".to_owned(), format!("title={text}"), "{{out:o.mkv}}".to_owned()]);
        judge(&["-vf".to_owned(), format!("drawtext=text='{text}'"), "{{out:o.mkv}}".to_owned()]);
    }
}
