//! Why ffmpeg or ffprobe did not do what it should: from its exit, its words, and what the proxy saw.
//!
//! ffmpeg's exit code tells little (5.1 ends with 1 for everything; a full disk can end with 0), so its own words decide.
//! They are matched in an order from the surest to the vaguest; the patterns were recorded from ffmpeg 5.1 and 9.0.

mod input;
mod words;

use common::{
    bytes,
    failure::{Failure, FailureKind},
};

use self::input::{input, moov_behind, undecodable};
pub(super) use self::words::{Words, bare};
use super::{
    damage::Complaints,
    machine::{disk, machine},
    progress::Encoded,
    scratch::Shortage,
    spawn::Exit,
};
use crate::fetch::{Observed, Origin};

/// What is known of a failure.
#[derive(Debug, Clone, Copy)]
pub(super) struct Evidence<'a> {
    /// The name that the user knows the input by.
    pub(super) input: &'a str,
    /// `reading`, `encoding`, `checking`: what was being done.
    pub(super) doing: &'a str,
    pub(super) program: &'a str,
    /// ffmpeg was told what a user's command says, with encoders that need no device: what it refuses, it would refuse
    /// anywhere.
    pub(super) commanded: bool,
    pub(super) exit: Exit,
    pub(super) stderr: &'a [String],
    /// The input's source, if it came through the proxy.
    pub(super) source: Option<SourceSeen<'a>>,
    /// The input's first bytes, as far as they are known.
    pub(super) head: &'a [u8],
    /// Whether the kernel has killed for memory meanwhile, where it says so.
    pub(super) oom_killed: Option<bool>,
}

/// What the proxy saw.
#[derive(Debug, Clone, Copy)]
pub(super) struct SourceSeen<'a> {
    pub(super) shown: &'a str,
    pub(super) origin: Origin,
    pub(super) observed: &'a Observed,
}

/// A failure, and what the next worker must have where that is the matter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) failure: Failure,
    pub(crate) missing_filters: Vec<String>,
    pub(crate) missing_encoders: Vec<String>,
    /// With [`FailureKind::DiskFull`]: scratch that the attempt would need in all. 0: not known.
    pub(crate) missing_scratch_bytes: u64,
}

impl From<Failure> for Verdict {
    fn from(failure: Failure) -> Self {
        Self { failure, missing_filters: Vec::new(), missing_encoders: Vec::new(), missing_scratch_bytes: 0 }
    }
}

/// Of an attempt that would need more scratch space than there is. `doing`: `encoding clip.mp4`.
pub(crate) fn no_room(doing: &str, shortage: Shortage) -> Verdict {
    let message = format!(
        "{doing}: it needs {} of scratch space, and this worker can give it {}; make room there, or change \
         TVARR_SCRATCH_LIMIT or TVARR_SCRATCH_DIR",
        bytes::show(shortage.needed),
        bytes::show(shortage.available)
    );
    let failure = Failure::new(FailureKind::DiskFull, message);
    Verdict { missing_scratch_bytes: shortage.needed, ..failure.into() }
}

/// Of a program that ended with an error.
pub(super) fn classify(evidence: &Evidence<'_>) -> Verdict {
    let words = Words(evidence.stderr);
    machine(evidence, &words)
        .map(Verdict::from)
        .or_else(|| source(evidence).map(Verdict::from))
        .or_else(|| capability(evidence, &words))
        .or_else(|| input(evidence, &words).map(Verdict::from))
        .unwrap_or_else(|| crashed(evidence, &words).into())
}

/// Of ffmpeg that ended with 0: what nevertheless went wrong, whatever the output looks like.
pub(super) fn after_success(evidence: &Evidence<'_>) -> Option<Failure> {
    disk(evidence, &Words(evidence.stderr)).or_else(|| source(evidence))
}

/// Of an output that is not what was asked for. `wrong`: in what, in words. An input of which nothing can be decoded is to
/// blame itself.
pub(super) fn after_check(
    evidence: &Evidence<'_>,
    wrong: &str,
    encoded: Encoded,
    complaints: &Complaints,
) -> Failure {
    if let Some(failure) = moov_behind(evidence, &Words(evidence.stderr)).or_else(|| source(evidence)) {
        return failure;
    }
    let doing = format!("encoding {}: ffmpeg reported success", evidence.input);
    if !encoded.is_nothing() {
        return Failure::new(FailureKind::OutputWrong, format!("{doing}, but {wrong}"));
    }
    match &complaints.first {
        Some(first) => undecodable(evidence.input, first),
        None if evidence.commanded => Failure::new(
            FailureKind::InvalidSpec,
            format!("{doing} and encoded nothing ({wrong}): the command leaves nothing of the input"),
        ),
        None => Failure::new(
            FailureKind::OutputWrong,
            format!("{doing} and encoded nothing ({wrong}); another worker's ffmpeg may do better"),
        ),
    }
}

/// Of ffprobe that ended with 0: an index that cannot be reached makes every attempt end in nothing.
pub(super) fn after_probe(evidence: &Evidence<'_>) -> Option<Failure> {
    moov_behind(evidence, &Words(evidence.stderr))
}

fn source(evidence: &Evidence<'_>) -> Option<Failure> {
    let seen = evidence.source?;
    if seen.observed.size == Some(0) {
        let message = format!("{} is empty (zero bytes)", evidence.input);
        return Some(Failure::new(FailureKind::InvalidInput, message));
    }
    seen.observed.failure.as_ref().map(|failure| failure.failure(seen.shown, seen.origin))
}

/// What this ffmpeg lacks and another one may have.
fn capability(evidence: &Evidence<'_>, words: &Words<'_>) -> Option<Verdict> {
    let lacks = |what: &str, name: &str| {
        Failure::new(
            FailureKind::MissingCapability,
            format!("encoding {}: this worker's ffmpeg has no {what} {name}", evidence.input),
        )
    };
    if let Some(name) = words.quoted_after("No such filter: ") {
        let failure = lacks("filter", &name);
        return Some(Verdict { missing_filters: vec![name], ..failure.into() });
    }
    let name = words.quoted_after("Unknown encoder ")?;
    let failure = lacks("encoder", &name);
    Some(Verdict { missing_encoders: vec![name], ..failure.into() })
}

fn crashed(evidence: &Evidence<'_>, words: &Words<'_>) -> Failure {
    let ended = match evidence.exit {
        Exit::Code(code) => format!("ended with code {code}"),
        Exit::Signal(signal) => format!("was ended by signal {signal}{}", signal_name(signal)),
    };
    // It ends in good order then, and says why at level info.
    let told_to = evidence.stderr.iter().find(|line| line.contains("received signal"));
    let said = told_to.map(|line| bare(line)).or_else(|| words.first_error());
    let said = said.map_or_else(String::new, |line| format!(": {line}"));
    let kind = match evidence.exit {
        Exit::Code(_) if evidence.commanded && told_to.is_none() => FailureKind::InvalidSpec,
        Exit::Code(_) | Exit::Signal(_) => FailureKind::Crashed,
    };
    Failure::new(kind, format!("{} {}: {} {ended}{said}", evidence.doing, evidence.input, evidence.program))
}

const fn signal_name(signal: i32) -> &'static str {
    match signal {
        4 => " (illegal instruction: a build for another CPU?)",
        6 => " (abort)",
        7 => " (bus error)",
        8 => " (floating point exception)",
        11 => " (segmentation fault)",
        15 => " (terminated from outside)",
        24 => " (its limit of CPU time)",
        31 => " (a system call that is not allowed)",
        _ => "",
    }
}

#[cfg(test)]
mod tests;
