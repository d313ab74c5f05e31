//! Why ffmpeg or ffprobe did not do what it should: from its exit, its words, and what the proxy saw.
//!
//! ffmpeg's exit code tells little (5.1 ends with 1 for everything; a full disk can end with 0), so its own words decide.
//! They are matched in an order from the surest to the vaguest; the patterns were recorded from ffmpeg 5.1 and 9.0.

use common::{
    bytes,
    failure::{Failure, FailureKind},
};

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
        None => Failure::new(
            FailureKind::OutputWrong,
            format!("{doing} and encoded nothing ({wrong}); another worker's ffmpeg may do better"),
        ),
    }
}

fn undecodable(input: &str, line: &str) -> Failure {
    let message = format!("{input} is damaged beyond use: next to nothing in it can be decoded ({line})");
    Failure::new(FailureKind::InvalidInput, message)
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

fn input(evidence: &Evidence<'_>, words: &Words<'_>) -> Option<Failure> {
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
fn moov_behind(evidence: &Evidence<'_>, words: &Words<'_>) -> Option<Failure> {
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

fn crashed(evidence: &Evidence<'_>, words: &Words<'_>) -> Failure {
    let ended = match evidence.exit {
        Exit::Code(code) => format!("ended with code {code}"),
        Exit::Signal(signal) => format!("was ended by signal {signal}{}", signal_name(signal)),
    };
    // It ends in good order then, and says why at level info.
    let told_to = evidence.stderr.iter().find(|line| line.contains("received signal"));
    let said = told_to.map(|line| bare(line)).or_else(|| words.first_error());
    let said = said.map_or_else(String::new, |line| format!(": {line}"));
    Failure::new(
        FailureKind::Crashed,
        format!("{} {}: {} {ended}{said}", evidence.doing, evidence.input, evidence.program),
    )
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

/// ffmpeg's lines, with `-loglevel level+...`. What it says at level info is for people: it quotes the input's own
/// titles and names, and no verdict is made from it.
pub(super) struct Words<'a>(&'a [String]);

impl Words<'_> {
    fn verdicts(&self) -> impl DoubleEndedIterator<Item = &String> {
        self.0.iter().filter(|line| !line.contains("[info]"))
    }

    /// The first line with these words; `.*` stands for anything between two of them.
    pub(super) fn find(&self, pattern: &str) -> Option<String> {
        let matches = |line: &str| {
            pattern
                .split(".*")
                .try_fold(line, |rest, word| rest.split_once(word).map(|(_, rest)| rest))
                .is_some()
        };
        self.verdicts().find(|line| matches(line)).map(|line| bare(line))
    }

    pub(super) fn find_any(&self, patterns: &[&str]) -> Option<String> {
        patterns.iter().find_map(|pattern| self.find(pattern))
    }

    /// `Unknown encoder 'libfoo'` -> `libfoo`
    fn quoted_after(&self, pattern: &str) -> Option<String> {
        self.verdicts().find_map(|line| {
            let (_, rest) = line.split_once(pattern)?;
            let (name, _) = rest.strip_prefix('\'')?.split_once('\'')?;
            Some(name.to_owned())
        })
    }

    /// The first error tells the cause; those after it are mostly its consequences.
    fn first_error(&self) -> Option<String> {
        let error = |line: &&String| line.contains("[error]") || line.contains("[fatal]");
        self.verdicts().find(error).or_else(|| self.verdicts().next_back()).map(|line| bare(line))
    }
}

/// Without the `[h264 @ 0x55d2] [error]` in front.
pub(super) fn bare(line: &str) -> String {
    let mut rest = line.trim();
    while let Some((prefix, after)) = rest.strip_prefix('[').and_then(|inner| inner.split_once("] ")) {
        if !(prefix.contains(" @ 0x") || matches!(prefix, "error" | "fatal" | "warning" | "panic" | "info")) {
            break;
        }
        rest = after.trim_start();
    }
    rest.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fetch::SourceFailure;

    fn verdict(exit: Exit, doing: &str, stderr: &str, source: Option<&Observed>) -> Verdict {
        let lines: Vec<String> = stderr.lines().map(|line| line.trim().to_owned()).collect();
        classify(&evidence(exit, doing, &lines, source))
    }

    fn evidence<'a>(
        exit: Exit,
        doing: &'a str,
        stderr: &'a [String],
        source: Option<&'a Observed>,
    ) -> Evidence<'a> {
        Evidence {
            input: "clip.mp4",
            doing,
            program: "ffmpeg",
            exit,
            stderr,
            head: &[],
            oom_killed: None,
            source: source.map(|observed| SourceSeen {
                shown: "https://a/clip.mp4",
                origin: Origin::User,
                observed,
            }),
        }
    }

    /// Recorded: what ffprobe 5.1, ffmpeg 5.1 and ffmpeg 9.0 wrote with `-loglevel level+warning`.
    const RECORDED: &[(&str, Exit, &str, FailureKind, &str)] = &[
        (
            "reading",
            Exit::Code(1),
            "[mov,mp4,m4a,3gp,3g2,mj2 @ 0x55ce37673a00] [warning] Format mov,mp4,m4a,3gp,3g2,mj2 detected only with low score of 1, misdetection possible!
             [mov,mp4,m4a,3gp,3g2,mj2 @ 0x55ce37673a00] [error] moov atom not found
             [error] clip.mp4: Invalid data found when processing input",
            FailureKind::InvalidInput,
            "clip.mp4 is no media file",
        ),
        (
            "reading",
            Exit::Code(183),
            "[in#0 @ 0x559dcd0e2200] [warning] Format mov,mp4,m4a,3gp,3g2,mj2 detected only with low score of 1, misdetection possible!
             [in#0 @ 0x559dcd0e2200] [error] moov atom not found
             [in#0 @ 0x559dcd0e1ec0] [error] Error opening input: Invalid data found when processing input
             [error] Error opening input file clip.mp4.",
            FailureKind::InvalidInput,
            "clip.mp4 is no media file",
        ),
        (
            "reading",
            Exit::Code(1),
            "[mov,mp4,m4a,3gp,3g2,mj2 @ 0x55c344ce9a00] [error] moov atom not found
             [error] clip.mp4: Invalid data found when processing input",
            FailureKind::InvalidInput,
            "cut off or still being written",
        ),
        (
            "encoding",
            Exit::Code(1),
            "[error] av_interleaved_write_frame(): No space left on device",
            FailureKind::DiskFull,
            "TVARR_SCRATCH_DIR",
        ),
        (
            "encoding",
            Exit::Code(228),
            "[vost#0:0/libx264 @ 0x55cd0da757c0] [error] Error submitting a packet to the muxer: No space left on device
             [out#0/mpegts @ 0x55cd0da7c280] [error] Error muxing a packet",
            FailureKind::DiskFull,
            "no space left",
        ),
        (
            "encoding",
            Exit::Code(1),
            "[h264_nvenc @ 0x55c87e5c1bc0] [error] OpenEncodeSessionEx failed: out of memory (10): (no details)
             [error] Error initializing output stream 0:0 -- Error while opening encoder for output stream #0:0",
            FailureKind::SessionLimit,
            "no free encode session",
        ),
        (
            "encoding",
            Exit::Code(1),
            "[h264_nvenc @ 0x55c87e5c1bc0] [error] Cannot load libcuda.so.1
             [error] Error initializing output stream 0:0 -- Error while opening encoder for output stream #0:0 - maybe incorrect parameters such as bit_rate, rate, width or height",
            FailureKind::Crashed,
            "device on this worker does not work (Cannot load libcuda.so.1)",
        ),
        (
            "encoding",
            Exit::Code(255),
            "[h264_nvenc @ 0x1] [error] Cannot load libcuda.so.1
             [vf#0:0 @ 0x1] [error] Task finished with error code: -1 (Operation not permitted)
             [vost#0:0/h264_nvenc @ 0x1] [enc:h264_nvenc @ 0x1] [error] Could not open encoder before EOF
             [out#0/mp4 @ 0x1] [error] Nothing was written into output file, because at least one of its streams received no packets.",
            FailureKind::Crashed,
            "`ffmpegd detect`",
        ),
        (
            "encoding",
            Exit::Code(234),
            "[VAAPI @ 0x1] [error] No VA display found for device /dev/dri/renderD128.
             [error] Device creation failed: -22.
             [error] Failed to set value 'vaapi=hw:/dev/dri/renderD128' for option 'init_hw_device': Invalid argument",
            FailureKind::Crashed,
            "No VA display found for device /dev/dri/renderD128.",
        ),
        (
            "encoding",
            Exit::Code(1),
            "[h264_v4l2m2m @ 0x1] [error] Could not find a valid device
             [h264_v4l2m2m @ 0x1] [error] can't configure encoder",
            FailureKind::Crashed,
            "device on this worker does not work",
        ),
        (
            "encoding",
            Exit::Code(1),
            "[h264_nvenc @ 0x1] [error] EncodePicture failed!: CUDA_ERROR_ILLEGAL_ADDRESS: an illegal memory access was encountered",
            FailureKind::Crashed,
            "CUDA_ERROR_ILLEGAL_ADDRESS",
        ),
        (
            "encoding",
            Exit::Code(1),
            "[h264_nvenc @ 0x1] [error] InitializeEncoder failed: out of memory (10): (no details)",
            FailureKind::OutOfMemory,
            "GPU's memory ran out",
        ),
        (
            "encoding",
            Exit::Code(1),
            "[h264_v4l2m2m @ 0x1] [error] VIDIOC_STREAMON failed on output context: Device or resource busy",
            FailureKind::SessionLimit,
            "no free encode session",
        ),
        ("encoding", Exit::Signal(25), "", FailureKind::DiskFull, "ulimit -f"),
        (
            "encoding",
            Exit::Code(229),
            "[vost#0:0/libx264 @ 0x1] [error] Error submitting a packet to the muxer: File too large
             [out#0/mp4 @ 0x1] [error] Error muxing a packet",
            FailureKind::DiskFull,
            "larger than a file may be",
        ),
        (
            "encoding",
            Exit::Code(1),
            "[error] av_interleaved_write_frame(): Disk quota exceeded",
            FailureKind::DiskFull,
            "quota",
        ),
        (
            "encoding",
            Exit::Code(1),
            "[error] /scratch/720p/segment_00003.m4s: Too many open files",
            FailureKind::Crashed,
            "ulimit -n",
        ),
        (
            "encoding",
            Exit::Code(1),
            "[libx264 @ 0x1] [error] thread creation failed: Resource temporarily unavailable",
            FailureKind::Crashed,
            "pids.max",
        ),
        (
            "encoding",
            Exit::Code(255),
            "[out#0/mp4 @ 0x1] [error] Error writing trailer: Immediate exit requested
             [info] Exiting normally, received signal 15.",
            FailureKind::Crashed,
            "Exiting normally, received signal 15.",
        ),
        (
            "encoding",
            Exit::Code(69),
            "[vist#0:0/h264 @ 0x1] [dec:h264 @ 0x2] [error] Decoding error: Invalid data found when processing input
             [vist#0:0/h264 @ 0x1] [dec:h264 @ 0x2] [fatal] Decode error rate 1 exceeds maximum 0.666667",
            FailureKind::InvalidInput,
            "damaged beyond use",
        ),
        (
            "encoding",
            Exit::Code(1),
            "[error] Error while decoding stream #0:0: Invalid data found when processing input
             [error] Cannot determine format of input stream 0:0 after EOF
             [fatal] Error marking filters as finished",
            FailureKind::InvalidInput,
            "damaged beyond use",
        ),
        (
            "encoding",
            Exit::Code(1),
            "[fatal] Unknown encoder 'libfoo'",
            FailureKind::MissingCapability,
            "no encoder libfoo",
        ),
        (
            "encoding",
            Exit::Code(1),
            "[AVFilterGraph @ 0x56399f17d280] [error] No such filter: 'zscale'
             [error] Error reinitializing filters!",
            FailureKind::MissingCapability,
            "no filter zscale",
        ),
        (
            "encoding",
            Exit::Code(234),
            "[vist#0:0/none @ 0x55d8d7c8e2c0] [error] Decoding requested, but no decoder found for: none
             [error] Error opening output file o.mp4.",
            FailureKind::InvalidInput,
            "cannot decode",
        ),
        (
            "encoding",
            Exit::Code(1),
            "[error] Decoder (codec none) not found for input stream #0:0",
            FailureKind::InvalidInput,
            "cannot decode",
        ),
        ("encoding", Exit::Signal(9), "", FailureKind::OutOfMemory, "killed by the system"),
        (
            "encoding",
            Exit::Code(1),
            "[error] Error while filtering: Cannot allocate memory",
            FailureKind::OutOfMemory,
            "memory ran out",
        ),
        ("encoding", Exit::Signal(11), "", FailureKind::Crashed, "segmentation fault"),
    ];

    #[test]
    fn ffmpegs_own_words_tell_the_kind() {
        for (doing, exit, stderr, kind, words) in RECORDED {
            let verdict = verdict(*exit, doing, stderr, None);
            assert_eq!(verdict.failure.kind, *kind, "{stderr}\n{}", verdict.failure);
            assert!(verdict.failure.message.contains(words), "{stderr}\n{}", verdict.failure);
            assert!(verdict.failure.message.contains("clip.mp4"), "{}", verdict.failure);
        }
    }

    #[test]
    fn a_kill_is_blamed_on_memory_only_where_the_kernel_does_not_say_otherwise() {
        let killed = |oom_killed| {
            let known = evidence(Exit::Signal(9), "encoding", &[], None);
            classify(&Evidence { oom_killed, ..known }).failure
        };
        assert_eq!(killed(Some(true)).kind, FailureKind::OutOfMemory);
        assert!(killed(None).message.contains("most likely"));
        let somebody = killed(Some(false));
        assert_eq!(somebody.kind, FailureKind::Crashed);
        assert!(somebody.message.contains("from outside"), "{somebody}");
    }

    #[test]
    fn what_another_worker_must_have_is_named() {
        let verdict = verdict(Exit::Code(1), "encoding", "[error] No such filter: 'zscale'", None);
        assert_eq!(verdict.missing_filters, ["zscale"]);
    }

    #[test]
    fn the_proxy_knows_better_than_ffmpeg() {
        let observed = Observed { failure: Some(SourceFailure::Status(404)), ..Observed::default() };
        let stderr = "[error] http://127.0.0.1:1/x: Server returned 404 Not Found";
        let failure = verdict(Exit::Code(1), "reading", stderr, Some(&observed)).failure;
        assert_eq!(failure.kind, FailureKind::InvalidInput);
        assert!(failure.message.contains("https://a/clip.mp4 answered 404 Not Found"), "{failure}");

        let empty = Observed { size: Some(0), ..Observed::default() };
        let stderr = "[mov @ 0x1] [error] moov atom not found";
        let failure = verdict(Exit::Code(1), "reading", stderr, Some(&empty)).failure;
        assert!(failure.message.contains("zero bytes"), "{failure}");
    }

    #[test]
    fn an_index_behind_the_media_needs_ranges() {
        let observed = Observed { ranges: Some(false), size: Some(226_362), ..Observed::default() };
        let stderr = "[mov,mp4,m4a,3gp,3g2,mj2 @ 0x561c76b098c0] [error] stream 1, offset 0x30: partial file
             [http @ 0x561c76b0a0c0] [error] Stream ends prematurely at 48, should be 226362
             [error] http://127.0.0.1:18931/good.mp4: Input/output error";
        let lines: Vec<String> = stderr.lines().map(str::to_owned).collect();
        let probed = evidence(Exit::Code(0), "reading", &lines, Some(&observed));
        for failure in [after_probe(&probed).unwrap(), classify(&probed).failure] {
            assert_eq!(failure.kind, FailureKind::InvalidInput);
            assert!(failure.message.contains("does not support range requests"), "{failure}");
        }
        let ranges = Observed { ranges: Some(true), ..observed };
        assert_eq!(after_probe(&evidence(Exit::Code(0), "reading", &lines, Some(&ranges))), None);
    }

    #[test]
    fn success_is_not_believed() {
        let full = ["[error] Error closing file o.mp4: No space left on device".to_owned()];
        let failure = after_success(&evidence(Exit::Code(0), "encoding", &full, None)).unwrap();
        assert_eq!(failure.kind, FailureKind::DiskFull);
        let broke =
            Observed { failure: Some(SourceFailure::HungUp { at: 5, of: Some(9) }), ..Observed::default() };
        let failure = after_success(&evidence(Exit::Code(0), "encoding", &[], Some(&broke))).unwrap();
        assert_eq!(failure.kind, FailureKind::SourceUnreachable);
        assert_eq!(after_success(&evidence(Exit::Code(0), "encoding", &[], None)), None);
    }

    #[test]
    fn an_output_that_is_wrong_is_ffmpegs_fault_unless_nothing_could_be_decoded() {
        let judge = |frames: u64, first: Option<&str>| {
            let encoded = Encoded { frames: Some(frames), ..Encoded::default() };
            let complaints = Complaints { first: first.map(str::to_owned), ..Complaints::default() };
            after_check(
                &evidence(Exit::Code(0), "checking", &[], None),
                "o.mp4 is empty",
                encoded,
                &complaints,
            )
        };
        let garbage = judge(0, Some("Invalid NAL unit size"));
        assert_eq!(garbage.kind, FailureKind::InvalidInput, "{garbage}");
        assert!(
            garbage.message.contains("clip.mp4") && garbage.message.contains("nothing in it can be decoded"),
            "{garbage}"
        );
        let silent = judge(0, None);
        assert_eq!(silent.kind, FailureKind::OutputWrong, "{silent}");
        assert!(silent.message.contains("encoded nothing (o.mp4 is empty)"), "{silent}");
        let wrong = judge(48, Some("error while decoding MB"));
        assert_eq!(wrong.kind, FailureKind::OutputWrong, "{wrong}");
        assert!(wrong.message.contains("reported success, but o.mp4 is empty"), "{wrong}");
    }

    #[test]
    fn a_text_with_a_films_name_is_no_film_that_was_cut() {
        let stderr = [
            "[mov @ 0x1] [error] moov atom not found",
            "[error] clip.mp4: Invalid data found when processing input",
        ]
        .map(str::to_owned);
        let known = evidence(Exit::Code(1), "reading", &stderr, None);
        let text = classify(&Evidence { head: b"Dear Sir or ", ..known }).failure;
        assert!(text.message.contains("no media file"), "{text}");
        let film = classify(&Evidence { head: b"\0\0\0\x20ftypisom", ..known }).failure;
        assert!(film.message.contains("cut off"), "{film}");
    }

    #[test]
    fn lines_are_shown_without_addresses() {
        assert_eq!(bare("[in#0 @ 0x55d4] [error] moov atom not found"), "moov atom not found");
        assert_eq!(bare("[Parsed_scale_0 @ 0x5] [error] Option 'foo' not found"), "Option 'foo' not found");
        assert_eq!(bare("plain [x] text"), "plain [x] text");
    }
}
