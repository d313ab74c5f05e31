//! Failures that are the input's own fault.

use common::failure::{Failure, FailureKind};

use super::{Evidence, words::Words};
use crate::run::spawn::Exit;

/// What is wrong with it by ffmpeg's words.
pub(super) fn input(evidence: &Evidence<'_>, words: &Words<'_>) -> Option<Failure> {
    let input = evidence.input;
    let invalid = |message: String| Some(Failure::new(FailureKind::InvalidInput, message));
    if let Some(moov) = moov_behind(evidence, words) {
        return Some(moov);
    }
    let moov = words.find("moov atom not found").is_some();
    let guessed =
        words.find("detected only with low score of 1,").is_some() || (moov && !is_mov(evidence.head));
    if guessed && words.find("Invalid data found").is_some() {
        return invalid(format!(
            "{input} is no media file: nothing in it is audio or video, whatever its name says \
             (Invalid data found when processing input)"
        ));
    }
    if moov {
        return invalid(format!(
            "{input} has no index (moov atom not found): it is cut off or still being written; give the complete file"
        ));
    }
    let no_decoder = words.find_any(&["no decoder found for", "Decoder (codec", "Unsupported codec with id"]);
    if let Some(line) = no_decoder {
        return invalid(format!("{input} holds a stream of a codec that ffmpeg cannot decode ({line})"));
    }
    if words.find("not whitelisted").is_some() || words.find("not on whitelist").is_some() {
        return invalid(format!(
            "{input} is of a format that is not read here (playlists, manifests and image sequences open other files); \
             give a single media file"
        ));
    }
    // 69: more than two thirds of a stream could not be decoded (`-max_error_rate`); 5.1 does not say so.
    let hopeless = words.find_any(&["Cannot determine format of input", "ecode error rate"]);
    if hopeless.is_some() || (evidence.exit == Exit::Code(69) && evidence.program == "ffmpeg") {
        let first = words.first_error().or(hopeless);
        return Some(undecodable(input, first.as_deref().unwrap_or("ffmpeg does not say why")));
    }
    let damaged = words.find_any(&[
        "Error opening input: Invalid data found",
        "Error opening input: End of file",
        ": Invalid data found when processing input",
        "EBML header parsing failed",
        ": End of file",
        "does not contain any stream",
    ]);
    // A line about one packet among many is no verdict on the file unless nothing came out of it.
    let line = damaged.filter(|line| evidence.doing == "reading" || !line.contains("rror while decoding"))?;
    invalid(format!("{input} is no media file or is damaged beyond use ({line})"))
}

/// Whether a file that ffmpeg takes for mp4 or mov by its name begins like one. Unknown counts as yes.
fn is_mov(head: &[u8]) -> bool {
    const BOXES: [&[u8]; 9] =
        [b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot", b"styp", b"sidx"];
    head.get(4..8).map_or(head.is_empty(), |kind| BOXES.contains(&kind))
}

/// An mp4 with its index at the end, from a server without ranges: ffmpeg finds the index and cannot go back.
pub(super) fn moov_behind(evidence: &Evidence<'_>, words: &Words<'_>) -> Option<Failure> {
    let seen = evidence.source?;
    let stuck = seen.observed.ranges == Some(false)
        && words.find("mov,mp4").is_some()
        && words.find_any(&["partial file", "Stream ends prematurely at"]).is_some()
        && words.find("Packet corrupt").is_none();
    stuck.then(|| {
        let message = format!(
            "the index (moov) of {} is at the end and the server does not support range requests; upload the file \
             instead, serve it with ranges, or move the index to the front (ffmpeg -i IN -c copy -movflags +faststart OUT)",
            evidence.input
        );
        Failure::new(FailureKind::InvalidInput, message)
    })
}

pub(super) fn undecodable(input: &str, line: &str) -> Failure {
    let message = format!("{input} is damaged beyond use: next to nothing in it can be decoded ({line})");
    Failure::new(FailureKind::InvalidInput, message)
}
