//! On listings recorded from Debian's ffmpeg 5.1.9 and from a static n9.0.2.

use super::*;

macro_rules! recorded {
    ($version:literal, $what:literal) => {
        include_str!(concat!("recorded/", $version, "-", $what, ".txt"))
    };
}

fn codec_of_encoder<'a>(encoders: &'a [Listed], name: &str) -> &'a str {
    &encoders.iter().find(|encoder| encoder.name == name).unwrap_or_else(|| panic!("no {name}")).codec
}

#[test]
fn encoders_of_both_versions_are_read_with_their_codecs() {
    for (text, count) in [(recorded!("5.1", "encoders"), 217), (recorded!("n9.0", "encoders"), 229)] {
        let encoders = parse_encoders(text);
        assert_eq!(encoders.len(), count);
        assert_eq!(codec_of_encoder(&encoders, "libx264"), "h264");
        assert_eq!(codec_of_encoder(&encoders, "h264_nvenc"), "h264");
        assert_eq!(codec_of_encoder(&encoders, "prores_ks"), "prores");
        // No `(codec ...)` when it is the name.
        assert_eq!(codec_of_encoder(&encoders, "aac"), "aac");
        assert!(encoders.iter().any(|encoder| encoder.name == "libopus" && !encoder.video));
        assert!(encoders.iter().all(|encoder| encoder.name != "="));
    }
}

#[test]
fn decoders_muxers_and_filters_of_both_versions_are_read() {
    for (decoders, muxers, filters) in [
        (recorded!("5.1", "decoders"), recorded!("5.1", "muxers"), recorded!("5.1", "filters")),
        (recorded!("n9.0", "decoders"), recorded!("n9.0", "muxers"), recorded!("n9.0", "filters")),
    ] {
        let (decoders, muxers, filters) =
            (parse_decoders(decoders), parse_muxers(muxers), parse_filters(filters));
        for name in ["h264", "hevc", "pgssub", "aac"] {
            assert!(decoders.contains(name), "{name}");
        }
        // The last two share a line.
        for name in ["mp4", "hls", "null", "image2", "webvtt", "stream_segment", "ssegment"] {
            assert!(muxers.contains(name), "{name}");
        }
        assert!(!muxers.contains("=") && !muxers.contains("Muxing"));
        for name in ["scale", "zscale", "tonemap", "tile", "split", "color", "hwupload"] {
            assert!(filters.contains(name), "{name}");
        }
        assert!(!filters.contains("="));
    }
}

#[test]
fn protocols_hwaccels_and_versions_are_read() {
    let protocols = parse_protocols(recorded!("5.1", "protocols"));
    assert!(protocols.contains("http") && protocols.contains("file") && protocols.contains("pipe"));
    assert!(!protocols.contains("Output:"));
    assert!(parse_protocols(recorded!("n9.0", "protocols")).contains("https"));
    let hwaccels = parse_hwaccels(recorded!("5.1", "hwaccels"));
    assert_eq!(
        hwaccels.iter().map(String::as_str).collect::<Vec<_>>(),
        ["cuda", "drm", "opencl", "qsv", "vaapi", "vdpau", "vulkan"]
    );
    assert!(parse_hwaccels(recorded!("n9.0", "hwaccels")).contains("amf"));
    assert_eq!(parse_version(recorded!("5.1", "version")).as_deref(), Some("5.1.9-0+deb12u1"));
    assert_eq!(
        parse_version(recorded!("n9.0", "version")).as_deref(),
        Some("n9.0.2-17-g2a571b6068-20260930")
    );
}

#[test]
fn garbage_gives_nothing() {
    for text in
        ["", "\u{fffd}\u{0}\u{1}\n\n", "command not found", "Segmentation fault (core dumped)\n = = ="]
    {
        assert!(parse_encoders(text).is_empty(), "{text:?}");
        assert!(parse_muxers(text).is_empty() && parse_filters(text).is_empty(), "{text:?}");
        assert!(parse_protocols(text).is_empty() && parse_hwaccels(text).is_empty(), "{text:?}");
        assert_eq!(parse_version(text), None);
    }
}

#[test]
fn half_a_listing_of_a_command_that_failed_is_read_and_the_failure_told() {
    let output = command::Output {
        failure: Some("exit status: 1".to_owned()),
        stdout: " V....D libx264   x264 (codec h264)\n".to_owned(),
        stderr: "\nout of cheese\n".to_owned(),
    };
    let (text, problem) = judge("-encoders", Ok(output), |_| true);
    assert_eq!(parse_encoders(&text).len(), 1);
    assert_eq!(problem.unwrap(), "ffmpeg -encoders failed (exit status: 1): out of cheese");
}
