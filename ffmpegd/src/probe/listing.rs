//! What ffmpeg says it was built with: `-encoders`, `-muxers` and so on, read by plain functions.
//!
//! The formats differ between versions (5.1 has three columns of flags where 9.0 has two, or no `Devices` mark), so lines
//! are recognised by their shape, never by position.

use std::{collections::BTreeSet, path::Path};

use super::{
    command::{self, Runner},
    error::{Error, Tool},
};

/// One line of `-encoders`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listed {
    pub name: String,
    pub codec: String,
    pub video: bool,
}

/// Everything that ffmpeg lists, as far as it could be read.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Listings {
    pub version: String,
    pub encoders: Vec<Listed>,
    pub decoders: BTreeSet<String>,
    pub muxers: BTreeSet<String>,
    pub filters: BTreeSet<String>,
    pub protocols: BTreeSet<String>,
    pub hwaccels: BTreeSet<String>,
    pub problems: Vec<String>,
}

impl Listings {
    /// Runs all listings side by side.
    pub(super) async fn read(runner: &Runner, ffmpeg: &Path) -> Result<Self, Error> {
        let list = |what: &'static str| runner.run(ffmpeg, ["-hide_banner", what], &[]);
        let (version, encoders, decoders, muxers, filters, protocols, hwaccels) = tokio::join!(
            list("-version"),
            list("-encoders"),
            list("-decoders"),
            list("-muxers"),
            list("-filters"),
            list("-protocols"),
            list("-hwaccels"),
        );
        if let Err(command::Error::Start(source)) = version {
            return Err(Error::Missing { tool: Tool::Ffmpeg, path: ffmpeg.to_owned(), source });
        }
        let mut problems = Vec::new();
        let mut text = |what: &str, answer: Answer, readable: fn(&str) -> bool| {
            let (text, problem) = judge(what, answer, readable);
            problems.extend(problem);
            text
        };
        Ok(Self {
            version: parse_version(&text("-version", version, |text| parse_version(text).is_some()))
                .unwrap_or_default(),
            encoders: parse_encoders(&text("-encoders", encoders, |text| !parse_encoders(text).is_empty())),
            decoders: parse_decoders(&text("-decoders", decoders, |text| !parse_decoders(text).is_empty())),
            muxers: parse_muxers(&text("-muxers", muxers, |text| !parse_muxers(text).is_empty())),
            filters: parse_filters(&text("-filters", filters, |text| !parse_filters(text).is_empty())),
            protocols: parse_protocols(&text("-protocols", protocols, |text| {
                !parse_protocols(text).is_empty()
            })),
            // An ffmpeg without any hardware acceleration prints the heading alone.
            hwaccels: parse_hwaccels(&text("-hwaccels", hwaccels, |text| text.contains(HWACCELS_HEADING))),
            problems,
        })
    }
}

type Answer = Result<command::Output, command::Error>;

/// The text to read, and what was wrong with the command. A listing whose command failed is still read: half a listing
/// is better than none.
fn judge(what: &str, answer: Answer, readable: fn(&str) -> bool) -> (String, Option<String>) {
    match answer {
        Err(error) => (String::new(), Some(format!("ffmpeg {what} {error}"))),
        Ok(output) => {
            let problem = match (&output.failure, readable(&output.stdout)) {
                (None, true) => None,
                (None, false) => Some(format!("ffmpeg {what} printed nothing that can be read")),
                (Some(failure), _) => {
                    Some(format!("ffmpeg {what} failed ({failure}){}", first_line(&output.stderr)))
                }
            };
            (output.stdout, problem)
        }
    }
}

fn first_line(stderr: &str) -> String {
    match stderr.lines().map(str::trim).find(|line| !line.is_empty()) {
        Some(line) => format!(": {}", line.chars().take(200).collect::<String>()),
        None => String::new(),
    }
}

/// The version of an ffprobe that works.
pub(super) async fn ffprobe_version(runner: &Runner, ffprobe: &Path) -> Result<String, Error> {
    let broken = |reason: String| Error::Broken { tool: Tool::Ffprobe, path: ffprobe.to_owned(), reason };
    match runner.run(ffprobe, ["-hide_banner", "-version"], &[]).await {
        Err(command::Error::Start(source)) => {
            Err(Error::Missing { tool: Tool::Ffprobe, path: ffprobe.to_owned(), source })
        }
        Err(error) => Err(broken(format!("ffprobe -version {error}"))),
        Ok(output) => match (output.failure, parse_version(&output.stdout)) {
            (None, Some(version)) => Ok(version),
            (None, None) => Err(broken("ffprobe -version printed no version".to_owned())),
            (Some(failure), _) => {
                Err(broken(format!("ffprobe -version failed ({failure}){}", first_line(&output.stderr))))
            }
        },
    }
}

/// `ffmpeg version 5.1.9-0+deb12u1 Copyright ...` gives `5.1.9-0+deb12u1`.
fn parse_version(text: &str) -> Option<String> {
    let mut words = text.lines().next()?.split_whitespace();
    match (words.next(), words.next(), words.next()) {
        (Some("ffmpeg" | "ffprobe"), Some("version"), Some(version)) => Some(version.to_owned()),
        _ => None,
    }
}

/// Lines such as ` V....D h264_nvenc   NVIDIA NVENC H.264 encoder (codec h264)`. The codec is left out by ffmpeg when it is
/// the encoder's name.
fn parse_encoders(text: &str) -> Vec<Listed> {
    coders(text)
        .map(|(kind, name, description)| Listed {
            name: name.to_owned(),
            codec: codec_of(description).unwrap_or(name).to_owned(),
            video: kind == b'V',
        })
        .collect()
}

fn parse_decoders(text: &str) -> BTreeSet<String> {
    coders(text).map(|(_, name, _)| name.to_owned()).collect()
}

fn coders(text: &str) -> impl Iterator<Item = (u8, &str, &str)> {
    text.lines().filter_map(|line| {
        let (flags, rest) = line.trim_start().split_once(' ')?;
        let (name, description) = rest.trim_start().split_once(' ').unwrap_or((rest.trim_start(), ""));
        let flags = flags.as_bytes();
        let shape = flags.len() == 6
            && matches!(flags[0], b'V' | b'A' | b'S')
            && flags[1..].iter().all(|flag| b".FSXBD".contains(flag));
        (shape && name != "=" && !name.is_empty()).then_some((flags[0], name, description))
    })
}

fn codec_of(description: &str) -> Option<&str> {
    description.trim_end().strip_suffix(')')?.rsplit_once("(codec ").map(|(_, codec)| codec)
}

/// Lines such as `  E mp4   MP4 (MPEG-4 Part 14)`; several names share a line with commas.
fn parse_muxers(text: &str) -> BTreeSet<String> {
    text.lines()
        .skip_while(|line| !is_rule(line))
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let flags = words.next()?;
            let names = words.next()?;
            (flags.contains('E') && flags.chars().all(|flag| "DEd.".contains(flag))).then_some(names)
        })
        .flat_map(|names| names.split(','))
        .map(str::to_owned)
        .collect()
}

fn is_rule(line: &str) -> bool {
    let line = line.trim();
    line.len() >= 2 && line.bytes().all(|byte| byte == b'-')
}

/// Lines such as ` TSC overlay   VV->V   Overlay a video source on top of the input.`
fn parse_filters(text: &str) -> BTreeSet<String> {
    text.lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let (_flags, name, pads) = (words.next()?, words.next()?, words.next()?);
            pads.contains("->").then(|| name.to_owned())
        })
        .collect()
}

/// Names below `Input:` and `Output:`.
fn parse_protocols(text: &str) -> BTreeSet<String> {
    text.lines()
        .skip_while(|line| line.trim() != "Input:")
        .map(str::trim)
        .filter(|line| is_name(line))
        .map(str::to_owned)
        .collect()
}

const HWACCELS_HEADING: &str = "Hardware acceleration methods:";

fn parse_hwaccels(text: &str) -> BTreeSet<String> {
    text.lines()
        .skip_while(|line| !line.contains(HWACCELS_HEADING))
        .skip(1)
        .map(str::trim)
        .filter(|line| is_name(line))
        .map(str::to_owned)
        .collect()
}

fn is_name(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-+".contains(&byte))
}

#[cfg(test)]
mod tests;
