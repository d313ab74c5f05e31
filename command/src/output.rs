//! Reads the options of one output: which encoders and which container it has decides what else may be said.

use crate::{
    command::{Output, Setting, Target},
    error::{Error, Place, Problem, instead, not_ascii},
    kind::{Type, shown},
    map::Specifier,
    name::{Name, Role},
    parse::{Raw, add, target, unknown_muxer, value},
    table::{Layout, Media, Muxer, Row, TABLES, row},
    value::Value,
};

pub(crate) fn read(name: &Name, raws: &[Raw<'_>], place: Place) -> Result<Output, Error> {
    let muxer = muxer(name, raws, place)?;
    let mut reader = Reader { muxer: &TABLES.muxers[muxer], settings: Vec::new() };
    for raw in raws.iter().filter(|raw| raw.option == "c") {
        reader.codec(raw)?;
    }
    reader.default_codecs(name, raws);
    let codecs = reader.settings.len();
    for raw in raws.iter().filter(|raw| !matches!(raw.option, "c" | "f")) {
        let setting = reader.setting(raw)?;
        add(&mut reader.settings, setting, raw)?;
    }
    reader.filtered_copies(raws)?;
    // Codecs in front, then everything in the order in which it was written.
    debug_assert!(reader.settings[..codecs].iter().all(|setting| setting.option == "c"));
    let mut output = Output { name: name.clone(), muxer, settings: reader.settings };
    file_names(&mut output, place)?;
    Ok(output)
}

fn muxer(name: &Name, raws: &[Raw<'_>], place: Place) -> Result<&'static str, Error> {
    let by_name = TABLES.muxer_of_extension(name.extension()).expect("names have known extensions");
    let mut named = raws.iter().filter(|raw| raw.option == "f");
    let Some(raw) = named.next() else { return Ok(by_name) };
    if let Some(again) = named.next() {
        return Err(again.error(Problem::new("it is given twice", "give it once")));
    }
    if raw.specifier.is_some() {
        return Err(raw.error(Problem::new("it takes no stream specifier", "leave it out")));
    }
    let muxer = TABLES.muxer_called(raw.text()).ok_or_else(|| raw.value_error(unknown_muxer(raw.text())))?;
    let fits = match TABLES.muxers[muxer].layout {
        Layout::Segments => TABLES.muxers[by_name].layout == Layout::File,
        _ => muxer == by_name,
    };
    if fits {
        return Ok(muxer);
    }
    Err(Problem::new(
        format!("its extension is of the container {by_name}, and -f says {muxer}"),
        "let both say the same",
    )
    .at(name.as_str(), place))
}

struct Reader {
    muxer: &'static Muxer,
    settings: Vec<Setting>,
}

impl Reader {
    fn codec(&mut self, raw: &Raw<'_>) -> Result<(), Error> {
        let target = target(raw, &TABLES.options["c"].media)?;
        let media = match target {
            Target::Streams(streams) => streams.media,
            _ => None,
        };
        let everything = target == Target::All;
        let fits = |of: Media| !everything && media.is_none_or(|media| media == of);
        let name = TABLES.called.get(raw.text()).copied().unwrap_or(raw.text());
        let word = match TABLES.encoders.get_key_value(name) {
            _ if raw.text() == "copy" => "copy",
            Some((name, encoder)) if fits(encoder.media) => name,
            Some(_) => {
                return Err(raw.value_error(Problem::new(
                    format!("the encoder {} is not for all of these streams", raw.text()),
                    "name the streams: -c:v, -c:a or -c:s",
                )));
            }
            None => return Err(raw.value_error(unknown_encoder(raw.text(), fits))),
        };
        add(&mut self.settings, Setting { option: "c", target, value: Value::Word(word) }, raw)
    }

    /// Which encoder ffmpeg would take depends on how it was built, so it is always said.
    fn default_codecs(&mut self, name: &Name, raws: &[Raw<'_>]) {
        let said = |media: Media| {
            let whole = [Target::All, Target::Streams(Specifier { media: Some(media), index: None })];
            self.settings.iter().any(|setting| whole.contains(&setting.target))
        };
        let left_out = |media: Media| {
            let flag = format!("{}n", media.letter());
            raws.iter().any(|raw| raw.option == flag)
        };
        let muxer = match self.muxer.layout {
            Layout::Segments => {
                TABLES.muxer_of_extension(name.extension()).map_or(self.muxer, |inner| &TABLES.muxers[inner])
            }
            _ => self.muxer,
        };
        let defaults: Vec<Setting> = Media::ALL
            .into_iter()
            .filter(|media| !said(*media) && !left_out(*media))
            .filter_map(|media| {
                let encoder = muxer.default_encoder(media, name.extension())?;
                let target = Target::Streams(Specifier { media: Some(media), index: None });
                Some(Setting { option: "c", target, value: Value::Word(encoder) })
            })
            .collect();
        // In front: what is said of single streams comes after it.
        self.settings.splice(..0, defaults);
    }

    /// Encoders of the streams that are meant, by name; `copy` among them.
    fn encoders(&self, target: Target) -> Vec<&'static str> {
        let streams = match target {
            Target::All | Target::Tags(_) => Specifier::default(),
            Target::Streams(streams) => streams,
        };
        let codecs = self.settings.iter().filter(|setting| setting.option == "c");
        codecs
            .filter(|setting| match setting.target {
                Target::Streams(of) => of.overlaps(streams),
                Target::All | Target::Tags(_) => true,
            })
            .filter_map(|setting| setting.value.word())
            .collect()
    }

    fn setting(&self, raw: &Raw<'_>) -> Result<Setting, Error> {
        if let (Some(row), None) = (row(&self.muxer.options, raw.option), raw.specifier) {
            return Ok(Setting {
                option: row.name,
                target: Target::All,
                value: value(raw, allowed(raw, row)?)?,
            });
        }
        if TABLES.private.contains(raw.option)
            && let Some(setting) = self.of_encoder(raw)?
        {
            return Ok(setting);
        }
        let Some(generic) = TABLES.options.get(raw.option) else {
            return Err(raw.error(self.belongs_elsewhere(raw)));
        };
        if !generic.output {
            return Err(
                raw.error(Problem::new("it is no option of an output", "move it in front of -i {{in}}"))
            );
        }
        let target = match generic.kind {
            Type::Metadata => tags(raw)?,
            _ => target(raw, &generic.media)?,
        };
        Ok(Setting { option: raw.option, target, value: value(raw, &generic.kind)? })
    }

    /// An option that some encoder of the output has. What all of those that have it take alike is fine.
    fn of_encoder(&self, raw: &Raw<'_>) -> Result<Option<Setting>, Error> {
        let target = target(raw, &Media::ALL)?;
        let mut read: Option<Setting> = None;
        for name in self.encoders(target) {
            let Some(row) = TABLES.encoders.get(name).and_then(|encoder| row(&encoder.options, raw.option))
            else {
                continue;
            };
            let value = value(raw, allowed(raw, row)?)?;
            read.get_or_insert(Setting { option: row.name, target, value });
        }
        Ok(read)
    }

    fn belongs_elsewhere(&self, raw: &Raw<'_>) -> Problem {
        let has = |rows: &[Row]| row(rows, raw.option).is_some();
        let mut owners: Vec<&str> =
            TABLES.encoders.iter().filter(|(_, of)| has(&of.options)).map(|(name, _)| *name).collect();
        owners.extend(TABLES.muxers.iter().filter(|(_, of)| has(&of.options)).map(|(name, _)| *name));
        let mut here = self.encoders(Target::All);
        here.sort_unstable();
        here.dedup();
        Problem::new(
            format!("nothing in this output has it (its codecs: {})", here.join(", ")),
            format!("it belongs to {}", owners.join(", ")),
        )
    }

    /// ffmpeg does not run with filters for a stream that is copied.
    fn filtered_copies(&self, raws: &[Raw<'_>]) -> Result<(), Error> {
        for setting in self.settings.iter().filter(|setting| setting.option == "filter") {
            let encoders = self.encoders(setting.target);
            if !encoders.is_empty() && encoders.iter().all(|encoder| *encoder == "copy") {
                let raw =
                    raws.iter().find(|raw| raw.option == "filter").expect("the setting was read from one");
                return Err(raw.error(Problem::new(
                    "its stream is copied, and filters need one that is encoded",
                    "choose an encoder instead of copy, or leave the filters out",
                )));
            }
        }
        Ok(())
    }
}

impl Muxer {
    fn default_encoder(&self, media: Media, extension: &str) -> Option<&'static str> {
        let special = self.special_defaults.iter().find(|(of, ..)| media == Media::Video && *of == extension);
        special
            .map(|(_, encoder)| *encoder)
            .or_else(|| self.defaults.iter().find(|(of, _)| *of == media).map(|(_, encoder)| *encoder))
    }
}

fn allowed<'a>(raw: &Raw<'_>, row: &'a Row) -> Result<&'a Type, Error> {
    row.kind
        .as_ref()
        .map_err(|reason| raw.error(Problem::new(format!("it is refused: it {reason}"), "leave it out")))
}

fn unknown_encoder(name: &str, fits: impl Fn(Media) -> bool) -> Problem {
    not_ascii(name).unwrap_or_else(|| {
        let names = TABLES.encoders.iter().filter(|(_, encoder)| fits(encoder.media)).map(|(name, _)| *name);
        Problem::new(
            format!("the encoder '{}' is not allowed", shown(name)),
            instead(name, names.chain(["copy"])),
        )
    })
}

/// `-metadata`, `-metadata:g`, `-metadata:s:a:0`.
fn tags(raw: &Raw<'_>) -> Result<Target, Error> {
    match raw.specifier {
        None | Some("g") => Ok(Target::All),
        Some("s") => Ok(Target::Tags(Specifier::default())),
        Some(text) => match text.strip_prefix("s:").and_then(Specifier::read) {
            Some(streams) => Ok(Target::Tags(streams)),
            None => Err(raw.error(Problem::new(
                format!("'{}' does not say whose tags are meant", shown(text)),
                "use -metadata, -metadata:s, -metadata:s:v or -metadata:s:a:0",
            ))),
        },
    }
}

/// Adds what follows from the output's name, and checks that name and container go together.
fn file_names(output: &mut Output, place: Place) -> Result<(), Error> {
    let numbered = output.name.pattern().is_some();
    let problem =
        |problem: &str, remedy: &str| Err(Problem::new(problem, remedy).at(output.name.as_str(), place));
    match output.layout() {
        Layout::Images if !numbered && output.value("update").is_none() => {
            // Without it ffmpeg stops at the second picture of a name that has no number.
            output.settings.push(Setting { option: "update", target: Target::All, value: Value::Bool(true) });
        }
        Layout::Segments if !numbered => {
            return problem("its segments would have one name", "put a number such as %03d into it");
        }
        Layout::File | Layout::Dash | Layout::Hls if numbered => {
            return problem("it has a number, and its container makes one file", "leave the number out");
        }
        Layout::Hls => hls_names(output),
        _ => {}
    }
    let variants = output.variants().len();
    let names = output.settings.iter().filter_map(|setting| match &setting.value {
        Value::Name(name) if setting.option != "master_pl_name" => Some(name),
        _ => None,
    });
    let mut names = names.chain([&output.name]);
    if variants < 2 && names.clone().any(Name::is_per_variant) {
        return Err(Problem::new(
            "it has %v, and there are no variants",
            "leave it out, or give -var_stream_map several variants",
        )
        .at(output.name.as_str(), place));
    }
    if variants > 1 && names.any(|name| !name.is_per_variant()) {
        return Err(Problem::new(
            "its variants would have the same names",
            "put %v into the names of playlist and segments",
        )
        .at(output.name.as_str(), place));
    }
    Ok(())
}

/// Every file of an HLS output is named, so that outputs can be kept apart and the worker knows what to expect.
fn hls_names(output: &mut Output) {
    let fragmented = output.value("hls_segment_type").and_then(Value::word) == Some("fmp4");
    let stem = output.name.stem().to_owned();
    let mut add = |option: &'static str, name: String, role: Role| {
        if output.value(option).is_none()
            && let Ok(name) = Name::read(&name, role)
        {
            output.settings.push(Setting { option, target: Target::All, value: Value::Name(name) });
        }
    };
    let extension = if fragmented { "m4s" } else { "ts" };
    add("hls_segment_filename", format!("{stem}_%05d.{extension}"), Role::Segment);
    if fragmented {
        add("hls_fmp4_init_filename", format!("{stem}_init.mp4"), Role::Init);
    }
}
