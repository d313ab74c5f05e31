//! What is allowed, as tables for people: they are `docs/commands-reference.md`, and a test compares.

use std::{collections::BTreeMap, fmt::Write as _};

use crate::{
    kind::Type,
    table::{Layout, Media, OptionRow, Refused, Row, Rows, TABLES},
};

/// All tables, in Markdown.
#[must_use]
pub fn reference() -> String {
    let mut text = String::from(
        "# What commands may say\n\nMade from `command/tables/`; [commands.md](commands.md) explains it.\n\n",
    );
    options(&mut text);
    containers(&mut text);
    codecs(&mut text);
    filters(&mut text);
    refused(&mut text);
    text
}

macro_rules! line {
    ($text:expr, $($arg:tt)*) => { writeln!($text, $($arg)*).expect("writing to a string does not fail") };
}

fn cell(text: &(impl ToString + ?Sized)) -> String {
    text.to_string().replace('|', "\\|")
}

fn options(text: &mut String) {
    line!(text, "## Options\n");
    line!(
        text,
        "Streams: what a specifier may name, as in `-b:v`, `-b:v:0`; without a mark there is none.\n"
    );
    line!(text, "| option | for | streams | value | what it is |\n|---|---|---|---|---|");
    for (name, row) in &TABLES.options {
        let streams: String = row.media.iter().map(|media| media.letter()).collect();
        let other: Vec<String> = TABLES
            .aliases
            .iter()
            .filter(|(other, (option, _))| option == name && other != &name)
            .map(|(other, _)| format!("`-{other}`"))
            .collect();
        let other = if other.is_empty() { String::new() } else { format!(" ({})", other.join(", ")) };
        line!(
            text,
            "| `-{name}`{other} | {} | {streams} | {} | {} |",
            place(row),
            cell(&row.kind),
            cell(row.meaning)
        );
    }
    let ignored: Vec<String> = TABLES.ignored.keys().map(|name| format!("`-{name}`")).collect();
    line!(
        text,
        "\nRead and left out, because the worker sets what they are about: {}.\n",
        ignored.join(", ")
    );
}

fn place(row: &OptionRow) -> &'static str {
    match (row.global, row.input, row.output) {
        (true, ..) => "all",
        (_, true, true) => "inputs, outputs",
        (_, true, false) => "inputs",
        _ => "outputs",
    }
}

fn rows(rows: &Rows) -> String {
    let allowed = rows.iter().filter_map(|row| row.kind.as_ref().ok().map(|kind| named(row, kind)));
    allowed.collect::<Vec<_>>().join("; ")
}

fn named(row: &Row, kind: &Type) -> String {
    let other =
        if row.other_names.is_empty() { String::new() } else { format!(" ({})", row.other_names.join(", ")) };
    format!("`{}`{other}: {kind}", row.name)
}

fn containers(text: &mut String) {
    line!(text, "## Containers\n");
    line!(
        text,
        "| `-f` | extensions | files | encoders when none is named | options |\n|---|---|---|---|---|"
    );
    for (name, muxer) in &TABLES.muxers {
        let called = muxer.called.map(|called| format!(", `{called}`")).unwrap_or_default();
        let files = match muxer.layout {
            Layout::File => "one file",
            Layout::Hls => "playlist and segments",
            Layout::Dash => "manifest and segments",
            Layout::Images => "one picture, or one for each frame with `%03d`",
            Layout::Segments => "one for each segment, with `%03d`; extensions of single files",
        };
        let special =
            muxer.special_defaults.iter().map(|(extension, encoder)| format!("{encoder} for {extension}"));
        let defaults: Vec<String> =
            muxer.defaults.iter().map(|(_, encoder)| (*encoder).to_owned()).chain(special).collect();
        line!(
            text,
            "| `{name}`{called} | {} | {files} | {} | {} |",
            muxer.extensions.join(", "),
            defaults.join(", "),
            cell(&rows(&muxer.options))
        );
    }
    line!(text, "");
}

fn codecs(text: &mut String) {
    line!(text, "## Codecs\n");
    let called: Vec<String> =
        TABLES.called.iter().map(|(name, encoder)| format!("`{name}` is `{encoder}`")).collect();
    line!(text, "`copy` is allowed for every stream. Of codecs by their names, {}.\n", called.join(", "));
    line!(text, "| encoder | streams | its own options |\n|---|---|---|");
    for (name, encoder) in TABLES.encoders.iter().filter(|(_, encoder)| !encoder.options.is_empty()) {
        line!(text, "| `{name}` | {} | {} |", encoder.media.letter(), cell(&rows(&encoder.options)));
    }
    for media in [Media::Video, Media::Audio, Media::Subtitle] {
        let plain = TABLES
            .encoders
            .iter()
            .filter(|(_, encoder)| encoder.media == media && encoder.options.is_empty());
        let names: Vec<String> = plain.map(|(name, _)| format!("`{name}`")).collect();
        line!(text, "| {} | {} | |", names.join(", "), media.letter());
    }
    for media in [Media::Video, Media::Audio, Media::Subtitle] {
        let names: Vec<String> = TABLES
            .decoders
            .iter()
            .filter(|(_, of)| **of == media)
            .map(|(name, _)| format!("`{name}`"))
            .collect();
        line!(text, "\nDecoders that an input may name, `-c:{}`: {}.", media.letter(), names.join(", "));
    }
    line!(text, "");
    for (name, keys) in &TABLES.dictionaries {
        let option = name.trim_end_matches("key");
        line!(text, "Keys of `-{option}-params`: {}.\n", rows(keys));
    }
}

fn filters(text: &mut String) {
    line!(text, "## Filters\n");
    line!(
        text,
        "Options in the order of their positions. `enable` stands where a filter can be switched in time.\n"
    );
    line!(text, "| filter | options |\n|---|---|");
    for (name, row) in &TABLES.filters {
        let enable = if row.timeline { "; `enable`" } else { "" };
        let options = rows(&row.options);
        line!(text, "| `{name}` | {} |", cell(&format!("{options}{enable}").trim_start_matches("; ")));
    }
    line!(text, "");
}

fn refused(text: &mut String) {
    line!(text, "## Refused by name\n");
    line!(text, "Everything that is not in the tables above is refused. These are refused with a reason.\n");
    line!(text, "| what | it ... | names |\n|---|---|---|");
    let mut all: Vec<(&str, String, &str)> = Vec::new();
    for ((what, name), reason) in &TABLES.refused {
        let (what, name) = match what {
            Refused::Option => ("option", format!("-{name}")),
            Refused::Filter => ("filter", (*name).to_owned()),
            Refused::Muxer => ("container", (*name).to_owned()),
            Refused::Dictionary => ("key of an encoder", (*name).to_owned()),
        };
        all.push((what, name, *reason));
    }
    let within = |what, owner: &str, rows: &Rows| -> Vec<(&'static str, String, &'static str)> {
        rows.iter()
            .filter_map(|row| Some((what, format!("{owner} {}", row.name), *row.kind.as_ref().err()?)))
            .collect()
    };
    for (name, row) in &TABLES.filters {
        all.extend(within("option of a filter", name, &row.options));
    }
    for (name, muxer) in &TABLES.muxers {
        all.extend(within("option of a container", name, &muxer.options));
    }
    let mut by_reason: BTreeMap<(&str, &str), Vec<String>> = BTreeMap::new();
    for (what, name, reason) in all {
        by_reason.entry((what, reason)).or_default().push(format!("`{name}`"));
    }
    for ((what, reason), names) in by_reason {
        line!(text, "| {what} | {reason} | {} |", names.join(", "));
    }
}
