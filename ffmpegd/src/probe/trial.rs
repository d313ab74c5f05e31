//! One trial encode: what ffmpeg is told, and what its answer means.

use std::ffi::OsString;

use common::{
    ffmpeg::{EncoderChoice, trial_args},
    media::{EncoderFamily, VideoCodec},
};

use super::command::{self, Output};

/// Environment of every ffmpeg that uses a device of this probe. CUDA otherwise numbers GPUs from the fastest to the
/// slowest, which is not NVML's order.
pub const FFMPEG_ENV: &[(&str, &str)] = &[("CUDA_DEVICE_ORDER", "PCI_BUS_ID")];

/// What is tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Trial<'a> {
    pub encoder: &'a str,
    pub codec: VideoCodec,
    /// What ffmpeg is told of the device; see [`common::worker::EncoderDevice::path`].
    pub device: &'a str,
    pub bit_depth: u8,
}

/// ffmpeg's arguments for a trial: those of a real encode, of pictures that ffmpeg makes, to nowhere. `-progress` tells how
/// many frames were encoded.
pub(super) fn argv(trial: &Trial<'_>) -> Vec<OsString> {
    let choice = EncoderChoice {
        name: trial.encoder.to_owned(),
        family: EncoderFamily::of_encoder(trial.encoder),
        device: Some(trial.device.to_owned()),
        nvenc_preset: None,
    };
    ["-nostats", "-progress", "pipe:1"]
        .into_iter()
        .map(OsString::from)
        .chain(trial_args(&choice, trial.codec, trial.bit_depth).into_iter().map(OsString::from))
        .collect()
}

/// The bit depths that a codec has in a family, easiest first. H.264 is 8-bit in hardware, ProRes never is.
pub(super) const fn bit_depths(family: EncoderFamily, codec: VideoCodec) -> &'static [u8] {
    match (family, codec) {
        (_, VideoCodec::ProRes) => &[10],
        (EncoderFamily::V4l2m2m | EncoderFamily::Jetson, _) => &[8],
        (_, VideoCodec::Hevc | VideoCodec::Av1 | VideoCodec::Vp9) => &[8, 10],
        (_, VideoCodec::H264 | VideoCodec::DnxHr) => &[8],
    }
}

/// Why a trial failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    pub reason: String,
    /// The driver has no encode session left; that may be other programs' doing, and pass.
    pub session_limit: bool,
}

/// What a trial says about its encoder.
pub(super) fn judge(ended: Result<Output, command::Error>) -> Result<(), Failure> {
    let output = ended
        .map_err(|error| Failure { reason: format!("the trial encode {error}"), session_limit: false })?;
    match &output.failure {
        None if frames(&output.stdout) > 0 => Ok(()),
        None => Err(Failure {
            reason: telling_line(&output.stderr)
                .unwrap_or_else(|| "the trial encode ended without an error and without a frame".to_owned()),
            session_limit: false,
        }),
        Some(failure) => Err(Failure {
            reason: telling_line(&output.stderr)
                .unwrap_or_else(|| format!("the trial encode failed ({failure}) and said nothing")),
            session_limit: is_session_limit(&output.stderr),
        }),
    }
}

/// NVENC over its session cap: NV_ENC_ERR_OUT_OF_MEMORY from opening a session. On some drivers it is
/// NV_ENC_ERR_INCOMPATIBLE_CLIENT_KEY (21).
fn is_session_limit(stderr: &str) -> bool {
    stderr.contains("OpenEncodeSessionEx failed: out of memory (10)")
        || stderr.contains("OpenEncodeSessionEx failed: incompatible client key (21)")
}

/// The last `frame=` of `-progress`.
fn frames(progress: &str) -> u64 {
    progress
        .lines()
        .rev()
        .find_map(|line| line.strip_prefix("frame=")?.trim().parse().ok())
        .unwrap_or_default()
}

/// Lines in which ffmpeg only says that something before them failed.
const CONSEQUENCES: &[&str] = &[
    "Error while opening encoder",
    "Error initializing output stream",
    "Error sending frames to consumers",
    "Error submitting",
    "Error while filtering",
    "Error reinitializing filters",
    "Failed to inject frame",
    "Could not open encoder before EOF",
    "Task finished with error code",
    "Terminating thread with return code",
    "Nothing was written into output file",
    "Conversion failed",
    "Device creation failed",
    "Failed to set value",
    "Error parsing global options",
    "Error opening output file",
    "Error opening output files",
    "can't configure encoder",
    "No capable devices found",
];

/// What ffmpeg says about the cause. It names the cause first and then, over up to ten lines, what failed because of it.
fn telling_line(stderr: &str) -> Option<String> {
    let lines: Vec<String> = stderr.lines().map(clean).filter(|line| !line.is_empty()).collect();
    let is_cause = |line: &&String| !CONSEQUENCES.iter().any(|text| line.contains(text));
    let cause = lines.iter().find(is_cause).or_else(|| lines.last())?;
    // The remedy for an old driver is in its own line.
    let remedy = lines.iter().find(|line| line.contains("minimum required Nvidia driver") && *line != cause);
    Some(match remedy {
        Some(remedy) => format!("{cause}; {remedy}"),
        None => cause.clone(),
    })
}

/// The line without the names and addresses of ffmpeg's objects, and without what is no text.
fn clean(line: &str) -> String {
    const LONGEST: usize = 200;
    let mut rest = line.trim();
    while let Some((tag, after)) = rest.strip_prefix('[').and_then(|inner| inner.split_once(']')) {
        if !tag.contains(" @ 0x") {
            break;
        }
        rest = after.trim_start();
    }
    let text: String = rest.chars().filter(|c| !c.is_control()).take(LONGEST).collect();
    text.trim_end_matches(['.', ' ']).trim_end_matches(": (no details)").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(encoder: &str, codec: VideoCodec, device: &str, bit_depth: u8) -> String {
        let argv = argv(&Trial { encoder, codec, device, bit_depth });
        argv.iter().map(|word| word.to_str().unwrap()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_trial_is_an_encode_on_the_device_at_256_lines_or_more_to_nowhere() {
        for (encoder, device, told) in [
            ("h264_nvenc", "1", "-gpu 1"),
            ("h264_vaapi", "/dev/dri/renderD129", "-init_hw_device vaapi=hw:/dev/dri/renderD129"),
            ("h264_qsv", "/dev/dri/renderD128", "/dev/dri/renderD128"),
            ("h264_v4l2m2m", "auto", ""),
            ("h264_amf", "auto", ""),
            ("h264_videotoolbox", "auto", ""),
            ("h264_nvmpi", "auto", ""),
        ] {
            let line = line(encoder, VideoCodec::H264, device, 8);
            assert!(line.contains(&format!("-c:v:0 {encoder} ")) && line.contains(told), "{line}");
            assert!(line.starts_with("-nostats -progress pipe:1 ") && line.ends_with(" -f null -"), "{line}");
            assert!(line.contains("size=320x256"), "{line}");
        }
        assert!(line("hevc_nvenc", VideoCodec::Hevc, "0", 10).contains("p010le"));
    }

    #[test]
    fn ten_bit_is_tried_where_the_codec_has_it() {
        assert_eq!(bit_depths(EncoderFamily::Nvenc, VideoCodec::H264), [8]);
        assert_eq!(bit_depths(EncoderFamily::Nvenc, VideoCodec::Hevc), [8, 10]);
        assert_eq!(bit_depths(EncoderFamily::Vaapi, VideoCodec::Vp9), [8, 10]);
        assert_eq!(bit_depths(EncoderFamily::V4l2m2m, VideoCodec::Hevc), [8]);
        assert_eq!(bit_depths(EncoderFamily::VideoToolbox, VideoCodec::ProRes), [10]);
    }

    fn reason(stderr: &str) -> String {
        let ended = Output {
            failure: Some("exit status: 1".to_owned()),
            stderr: stderr.to_owned(),
            ..Output::default()
        };
        judge(Ok(ended)).unwrap_err().reason
    }

    #[test]
    fn the_reason_is_the_cause_and_not_its_consequences() {
        // ffmpeg 5.1 and n9.0 without a GPU, then what drivers say.
        for (stderr, expected) in [
            (
                "[h264_nvenc @ 0x55daca933900] Cannot load libcuda.so.1\nError initializing output stream 0:0 -- Error \
                 while opening encoder for output stream #0:0 - maybe incorrect parameters\n",
                "Cannot load libcuda.so.1",
            ),
            (
                "[AMF @ 0x7f02600679c0] DLL libamfrt64.so.1 failed to open\n[h264_amf @ 0x55c4d1f15080] Failed to \
                 create  hardware device context (AMF) : Unknown error occurred\n[vost#0:0/h264_amf @ 0x55c4d1f14140] \
                 [enc:h264_amf @ 0x55c4d1f14b80] Error while opening encoder - maybe incorrect parameters.\n",
                "DLL libamfrt64.so.1 failed to open",
            ),
            (
                "[AVHWDeviceContext @ 0x55a53bc4b940] No VA display found for device /dev/dri/renderD128.\nDevice \
                 creation failed: -22.\nError parsing global options: Invalid argument\n",
                "No VA display found for device /dev/dri/renderD128",
            ),
            (
                "[h264_nvenc @ 0x5] OpenEncodeSessionEx failed: unsupported device (2): (no details)\n[h264_nvenc @ \
                 0x5] No capable devices found\n",
                "OpenEncodeSessionEx failed: unsupported device (2)",
            ),
            (
                "[h264_nvenc @ 0x1] Driver does not support the required nvenc API version. Required: 13.0 Found: \
                 12.1\n[h264_nvenc @ 0x1] The minimum required Nvidia driver for nvenc is 570.0 or newer\n",
                "Driver does not support the required nvenc API version. Required: 13.0 Found: 12.1; The minimum \
                 required Nvidia driver for nvenc is 570.0 or newer",
            ),
            ("Conversion failed!\n", "Conversion failed!"),
            ("", "the trial encode failed (exit status: 1) and said nothing"),
        ] {
            assert_eq!(reason(stderr), expected);
        }
    }

    #[test]
    fn a_driver_without_a_free_session_is_told_from_one_without_an_encoder() {
        let failure = |text: &str| {
            let stderr = format!("[h264_nvenc @ 0x5] OpenEncodeSessionEx failed: {text}: (no details)\n");
            judge(Ok(Output { failure: Some("1".to_owned()), stderr, ..Output::default() })).unwrap_err()
        };
        assert!(failure("out of memory (10)").session_limit);
        assert!(!failure("unsupported device (2)").session_limit);
    }

    #[test]
    fn exit_status_0_without_a_frame_is_no_success() {
        let ended = |stdout: &str| judge(Ok(Output { stdout: stdout.to_owned(), ..Output::default() }));
        assert!(ended("frame=0\nprogress=continue\nframe=10\nprogress=end\n").is_ok());
        assert!(ended("frame=0\nprogress=end\n").is_err());
        assert!(ended("").is_err());
    }
}
