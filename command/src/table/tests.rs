//! The tables against themselves, and against the real ffmpeg.

use std::{collections::BTreeMap, process::Command as Process};

use super::{Refused, Row, TABLES};
use crate::kind::Type;

/// Every type in the tables with the name of what has it.
fn types() -> Vec<(String, &'static Type)> {
    let mut types: Vec<(String, &Type)> =
        TABLES.options.iter().map(|(name, row)| (format!("-{name}"), &row.kind)).collect();
    let mut rows = |owner: &str, rows: &'static [Row]| {
        types.extend(
            rows.iter().filter_map(|row| Some((format!("{owner} {}", row.name), row.kind.as_ref().ok()?))),
        );
    };
    TABLES.encoders.iter().for_each(|(name, encoder)| rows(name, &encoder.options));
    TABLES.muxers.iter().for_each(|(name, muxer)| rows(name, &muxer.options));
    TABLES.filters.iter().for_each(|(name, filter)| rows(name, &filter.options));
    TABLES.dictionaries.iter().for_each(|(name, keys)| rows(name, keys));
    types
}

fn check(name: &str, kind: &Type) {
    match kind {
        Type::Expression { set, .. } => {
            assert!(TABLES.variables.contains_key(set), "{name}: no variables {set}");
        }
        Type::Dictionary(dictionary) => {
            assert!(TABLES.dictionaries.contains_key(dictionary), "{name}: no {dictionary}");
        }
        Type::Flags(words) => {
            assert!(
                !words.is_empty() && words.iter().all(|word| !word.contains(['+', '-'])),
                "{name}: {words:?}"
            );
        }
        Type::Word(words) => assert!(!words.is_empty(), "{name}"),
        Type::Integer { least, most } => assert!(least <= most, "{name}"),
        Type::Number { least, most } => assert!(least <= most, "{name}"),
        Type::List { item, separator, .. } => {
            check(name, item);
            if let Type::Word(words) = &**item {
                assert!(
                    words.iter().all(|word| !word.contains(*separator)),
                    "{name}: {separator} in {words:?}"
                );
            }
        }
        Type::OneOf(types) => types.iter().for_each(|kind| check(name, kind)),
        _ => {}
    }
}

#[test]
fn the_tables_fit_together() {
    let types = types();
    assert!(types.len() > 1500, "{}", types.len());
    types.iter().for_each(|(name, kind)| check(name, kind));
    for (name, (option, _)) in &TABLES.aliases {
        assert!(
            TABLES.options.contains_key(option) || TABLES.private.contains(option),
            "{name}: no {option}"
        );
    }
    for (name, encoder) in &TABLES.called {
        assert!(TABLES.encoders.contains_key(encoder), "{name}: no {encoder}");
    }
    for (name, muxer) in &TABLES.muxers {
        for encoder in muxer
            .defaults
            .iter()
            .map(|(_, encoder)| encoder)
            .chain(muxer.special_defaults.iter().map(|(_, encoder)| encoder))
        {
            assert!(TABLES.encoders.contains_key(encoder), "{name}: no {encoder}");
        }
    }
    for ((what, name), reason) in &TABLES.refused {
        let allowed = match what {
            Refused::Option => TABLES.options.contains_key(name),
            Refused::Filter => TABLES.filters.contains_key(name),
            Refused::Muxer => TABLES.muxers.contains_key(name),
            Refused::Dictionary => false,
        };
        assert!(!allowed && !reason.is_empty(), "{name} is allowed and refused");
    }
}

#[test]
fn flags_without_a_value_are_known_before_their_owner() {
    for (name, kind) in types().into_iter().filter(|(name, _)| !name.starts_with('-')) {
        assert!(!matches!(kind, Type::Flag), "{name}: only options of ffmpeg itself take no value");
    }
}

/// An option with its type and its range.
type Told = (String, String, Option<(f64, f64)>);

/// What `-h` says of a filter, encoder or container: its options in their order, with type and range.
fn told(what: &str) -> Vec<Told> {
    let output = Process::new("ffmpeg").args(["-hide_banner", "-h", what]).output().expect("ffmpeg starts");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let (name, kind) = (words.next()?, words.next()?.strip_prefix('<')?.strip_suffix('>')?);
            let range = line.split_once("(from ").and_then(|(_, rest)| {
                let (least, rest) = rest.split_once(" to ")?;
                let bound = |text: &str| match text.trim_start_matches('-') {
                    "INT_MAX" | "INT_MIN" | "FLT_MAX" | "DBL_MAX" | "I64_MAX" | "I64_MIN" | "INF"
                    | "UINT32_MAX" => {
                        Some(if text.starts_with('-') || text.ends_with("MIN") { f64::MIN } else { f64::MAX })
                    }
                    _ => text.parse().ok(),
                };
                Some((bound(least)?, bound(rest.split_once(')')?.0)?))
            });
            Some((name.trim_start_matches('-').to_owned(), kind.to_owned(), range))
        })
        .collect()
}

/// Whether ffmpeg takes every value of a type for an option of its own type.
fn fits(kind: &Type, of: &str, range: Option<(f64, f64)>) -> bool {
    let within = |least: f64, most: f64| range.is_none_or(|(from, to)| least >= from && most <= to);
    #[expect(clippy::cast_precision_loss, reason = "only compared")]
    match kind {
        Type::OneOf(types) => types.iter().all(|kind| fits(kind, of, range)),
        Type::Integer { least, most } => {
            matches!(of, "string" | "flags")
                || matches!(of, "int" | "int64" | "uint64" | "double" | "float")
                    && within(*least as f64, *most as f64)
        }
        Type::Number { least, most } | Type::Level { least, most } => {
            of == "string" || matches!(of, "double" | "float") && within(*least, *most)
        }
        Type::Amount { .. } => matches!(of, "int" | "int64" | "string"),
        Type::Bool => matches!(of, "boolean" | "int" | "string"),
        Type::Word(_) | Type::Also(_) => true,
        Type::Flags(_) => matches!(of, "flags" | "string"),
        Type::Duration { .. } => matches!(of, "duration" | "string"),
        Type::Size => matches!(of, "image_size" | "string"),
        Type::Rate { .. } => matches!(of, "video_rate" | "rational" | "string"),
        Type::Ratio { .. } => matches!(of, "rational" | "string"),
        _ => !matches!(of, "int" | "double" | "float" | "boolean"),
    }
}

/// Each part runs ffmpeg for every fourth filter, so that none takes long.
fn filters_are_as_ffmpeg_has_them(part: usize) {
    for (name, filter) in TABLES.filters.iter().skip(part).step_by(4) {
        let told = told(&format!("filter={name}"));
        let known: BTreeMap<&str, usize> =
            told.iter().enumerate().rev().map(|(place, (name, ..))| (name.as_str(), place)).collect();
        // These two hand most of their options to a library that ffmpeg lists apart.
        let in_order = !matches!(*name, "aresample" | "scale");
        let mut last = None;
        for row in &filter.options {
            let place = *known.get(row.name).unwrap_or_else(|| panic!("{name} has no {}", row.name));
            assert!(!in_order || last < Some(place), "{name} {} is not in its place", row.name);
            last = Some(place);
            for other in &row.other_names {
                assert!(known.contains_key(other), "{name} has no {other}");
            }
            let (_, of, range) = &told[place];
            if let Ok(kind) = &row.kind {
                let special = matches!(of.as_str(), "color" | "channel_layout" | "pix_fmt");
                assert!(special || fits(kind, of, *range), "{name} {}: {kind} for {of} {range:?}", row.name);
            }
        }
        // Whatever ffmpeg counts as a position in front of the last of ours is one of ours.
        for (option, ..) in told.iter().take(last.map_or(0, |last| last + 1)).filter(|_| in_order) {
            assert!(super::row(&filter.options, option).is_some(), "{name}: {option} shifts positions");
        }
    }
}

#[test]
fn filters_are_as_ffmpeg_has_them_part_1() {
    filters_are_as_ffmpeg_has_them(0);
}

#[test]
fn filters_are_as_ffmpeg_has_them_part_2() {
    filters_are_as_ffmpeg_has_them(1);
}

#[test]
fn filters_are_as_ffmpeg_has_them_part_3() {
    filters_are_as_ffmpeg_has_them(2);
}

#[test]
fn filters_are_as_ffmpeg_has_them_part_4() {
    filters_are_as_ffmpeg_has_them(3);
}

fn compare(what: &str, rows: &[Row]) -> Vec<String> {
    let told = if rows.is_empty() { Vec::new() } else { told(what) };
    // Another ffmpeg may have what this one was built without.
    if told.is_empty() {
        return Vec::new();
    }
    let wrong = rows.iter().filter_map(|row| {
        let Ok(kind) = &row.kind else { return None };
        match told.iter().find(|(name, ..)| name == row.name) {
            Some((_, of, range)) if of == "string" || fits(kind, of, *range) => None,
            Some((_, of, range)) => Some(format!("{what} {}: {kind} for {of} {range:?}", row.name)),
            // Every encoder has it.
            None if row.name == "profile" => None,
            None => Some(format!("{what} {}", row.name)),
        }
    });
    wrong.collect()
}

#[test]
fn options_of_encoders_are_as_ffmpeg_has_them() {
    let wrong: Vec<String> = TABLES
        .encoders
        .iter()
        .flat_map(|(name, encoder)| compare(&format!("encoder={name}"), &encoder.options))
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn options_of_containers_are_as_ffmpeg_has_them() {
    let wrong: Vec<String> = TABLES
        .muxers
        .iter()
        .flat_map(|(name, muxer)| compare(&format!("muxer={name}"), &muxer.options))
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn options_are_known_to_ffmpeg() {
    let output = Process::new("ffmpeg").args(["-hide_banner", "-h", "full"]).output().expect("ffmpeg starts");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let known: Vec<&str> = text
        .lines()
        .filter_map(|line| line.trim_start().strip_prefix('-')?.split([' ', '[', '<']).next())
        .collect();
    for name in TABLES.options.keys() {
        let base = name.strip_prefix("no").unwrap_or(name);
        assert!(known.contains(name) || known.contains(&base), "ffmpeg has no -{name}");
    }
}
