//! One trial encode: what ffmpeg is told, and what its answer means.

use std::ffi::OsString;

use common::media::EncoderFamily;

use super::command::{self, Output, args};

/// Environment of every ffmpeg that uses a device of this probe. CUDA otherwise numbers GPUs from the fastest to the
/// slowest, which is not NVML's order.
pub const FFMPEG_ENV: &[(&str, &str)] = &[("CUDA_DEVICE_ORDER", "PCI_BUS_ID")];

/// Some encoders refuse anything below 256 pixels, others want whole blocks of 64.
const SIZE: &str = "640x384";

/// Enough for B-frames and lookahead to have passed through.
const FRAMES: &str = "10";

/// What is tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Trial<'a> {
    pub encoder: &'a str,
    pub family: EncoderFamily,
    /// What ffmpeg is told of the device; see [`common::worker::EncoderDevice::path`].
    pub device: &'a str,
    pub bit_depth: u8,
}

/// ffmpeg's arguments for a trial. The pictures are made by ffmpeg and the packets are thrown away; `-progress` tells how
/// many frames were encoded.
pub(super) fn argv(trial: &Trial<'_>) -> Vec<OsString> {
    let mut argv =
        args(["-hide_banner", "-nostdin", "-loglevel", "error", "-nostats", "-progress", "pipe:1"]);
    match trial.family {
        EncoderFamily::Vaapi => {
            argv.extend(args(["-init_hw_device", &format!("vaapi=hw:{}", trial.device)]));
            argv.extend(args(["-filter_hw_device", "hw"]));
        }
        EncoderFamily::Qsv => {
            argv.extend(args(["-init_hw_device", &format!("vaapi=va:{}", trial.device)]));
            argv.extend(args(["-init_hw_device", "qsv=hw@va", "-filter_hw_device", "hw"]));
        }
        EncoderFamily::Software
        | EncoderFamily::Nvenc
        | EncoderFamily::Amf
        | EncoderFamily::V4l2m2m
        | EncoderFamily::VideoToolbox
        | EncoderFamily::Jetson => {}
    }
    argv.extend(args(["-f", "lavfi", "-i", &format!("testsrc2=size={SIZE}:rate=25")]));
    argv.extend(args(["-frames:v", FRAMES]));
    let format = pixel_format(trial);
    match trial.family {
        EncoderFamily::Vaapi => argv.extend(args(["-vf", &format!("format={format},hwupload")])),
        // QSV encoders hold on to frames for longer than a fixed pool lasts.
        EncoderFamily::Qsv => {
            argv.extend(args(["-vf", &format!("format={format},hwupload=extra_hw_frames=32")]));
        }
        EncoderFamily::Software
        | EncoderFamily::Nvenc
        | EncoderFamily::Amf
        | EncoderFamily::V4l2m2m
        | EncoderFamily::VideoToolbox
        | EncoderFamily::Jetson => argv.extend(args(["-pix_fmt", format])),
    }
    argv.extend(args(["-c:v", trial.encoder]));
    if trial.family == EncoderFamily::Nvenc {
        argv.extend(args(["-gpu", trial.device]));
    }
    argv.extend(args(["-f", "null", "-"]));
    argv
}

fn pixel_format(trial: &Trial<'_>) -> &'static str {
    match (trial.family, trial.bit_depth) {
        // ProRes is 4:2:2.
        (EncoderFamily::VideoToolbox, 10) if trial.encoder.starts_with("prores") => "p210le",
        (EncoderFamily::Software, 10) => "yuv420p10le",
        (_, 10) => "p010le",
        (EncoderFamily::Vaapi | EncoderFamily::Qsv | EncoderFamily::Amf | EncoderFamily::VideoToolbox, _) => {
            "nv12"
        }
        (
            EncoderFamily::Software | EncoderFamily::Nvenc | EncoderFamily::V4l2m2m | EncoderFamily::Jetson,
            _,
        ) => "yuv420p",
    }
}

/// The bit depths that a codec has in a family, easiest first. H.264 is 8-bit in hardware.
pub(super) const fn bit_depths(family: EncoderFamily, codec: &str) -> &'static [u8] {
    match (family, codec.as_bytes()) {
        (EncoderFamily::V4l2m2m | EncoderFamily::Jetson, _) => &[8],
        (_, b"hevc" | b"av1" | b"vp9") => &[8, 10],
        (_, b"prores") => &[10],
        _ => &[8],
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

    fn line(encoder: &str, family: EncoderFamily, device: &str, bit_depth: u8) -> String {
        let argv = argv(&Trial { encoder, family, device, bit_depth });
        let words: Vec<_> = argv.iter().map(|word| word.to_str().unwrap()).collect();
        words.join(" ").replace("-hide_banner -nostdin -loglevel error -nostats -progress pipe:1 ", "")
    }

    const SOURCE: &str = "-f lavfi -i testsrc2=size=640x384:rate=25 -frames:v 10";

    #[test]
    fn nvenc_is_tried_on_its_gpu() {
        assert_eq!(
            line("h264_nvenc", EncoderFamily::Nvenc, "1", 8),
            format!("{SOURCE} -pix_fmt yuv420p -c:v h264_nvenc -gpu 1 -f null -")
        );
        assert!(
            line("hevc_nvenc", EncoderFamily::Nvenc, "0", 10).contains("-pix_fmt p010le -c:v hevc_nvenc")
        );
    }

    #[test]
    fn vaapi_and_qsv_are_tried_on_their_render_node() {
        assert_eq!(
            line("hevc_vaapi", EncoderFamily::Vaapi, "/dev/dri/renderD129", 10),
            format!(
                "-init_hw_device vaapi=hw:/dev/dri/renderD129 -filter_hw_device hw {SOURCE} \
                 -vf format=p010le,hwupload -c:v hevc_vaapi -f null -"
            )
        );
        assert_eq!(
            line("h264_qsv", EncoderFamily::Qsv, "/dev/dri/renderD128", 8),
            format!(
                "-init_hw_device vaapi=va:/dev/dri/renderD128 -init_hw_device qsv=hw@va -filter_hw_device hw \
                 {SOURCE} -vf format=nv12,hwupload=extra_hw_frames=32 -c:v h264_qsv -f null -"
            )
        );
    }

    #[test]
    fn the_other_families_find_their_device_themselves() {
        for (encoder, family, format) in [
            ("h264_v4l2m2m", EncoderFamily::V4l2m2m, "yuv420p"),
            ("h264_amf", EncoderFamily::Amf, "nv12"),
            ("h264_videotoolbox", EncoderFamily::VideoToolbox, "nv12"),
            ("h264_nvmpi", EncoderFamily::Jetson, "yuv420p"),
        ] {
            assert_eq!(
                line(encoder, family, "auto", 8),
                format!("{SOURCE} -pix_fmt {format} -c:v {encoder} -f null -")
            );
        }
    }

    #[test]
    fn ten_bit_is_tried_where_the_codec_has_it() {
        assert_eq!(bit_depths(EncoderFamily::Nvenc, "h264"), [8]);
        assert_eq!(bit_depths(EncoderFamily::Nvenc, "hevc"), [8, 10]);
        assert_eq!(bit_depths(EncoderFamily::Vaapi, "vp9"), [8, 10]);
        assert_eq!(bit_depths(EncoderFamily::V4l2m2m, "hevc"), [8]);
        assert_eq!(bit_depths(EncoderFamily::VideoToolbox, "prores"), [10]);
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
