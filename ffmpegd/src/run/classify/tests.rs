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
        commanded: false,
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
        after_check(&evidence(Exit::Code(0), "checking", &[], None), "o.mp4 is empty", encoded, &complaints)
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
fn what_ffmpeg_refuses_of_a_command_is_the_commands_fault() {
    let stderr = ["[fatal] Stream map '0:a' matches no streams.".to_owned()];
    let known = evidence(Exit::Code(1), "encoding", &stderr, None);
    assert_eq!(classify(&known).failure.kind, FailureKind::Crashed);
    let commanded = Evidence { commanded: true, ..known };
    let failure = classify(&commanded).failure;
    assert_eq!(failure.kind, FailureKind::InvalidSpec);
    assert!(failure.message.contains("matches no streams"), "{failure:?}");
    // A crash says nothing about the command, nor does somebody who ends ffmpeg.
    let signal = Evidence { exit: Exit::Signal(11), ..commanded };
    assert_eq!(classify(&signal).failure.kind, FailureKind::Crashed);
    let told = ["[info] Exiting normally, received signal 15.".to_owned()];
    let told = Evidence { stderr: &told, exit: Exit::Code(255), ..commanded };
    assert_eq!(classify(&told).failure.kind, FailureKind::Crashed);
}
