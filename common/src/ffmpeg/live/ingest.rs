//! A source that ffmpeg opens itself, copied into MPEG-TS.
//!
//! The URL is a user's: it is one argument, it begins with one of a few schemes, and ffmpeg may use no protocol but what that
//! scheme stands on. A file is opened where the worker found it, below a shared root.

use super::{Context, output};
use crate::{
    failure::{Failure, FailureKind},
    ffmpeg::args::{Args, DEMUXERS},
    live::{Container, Ingest},
};

/// Longer addresses are a mistake.
const MAX_URL: usize = 4096;

/// A scheme, the protocols under it, and the one that ffmpeg must have.
const SCHEMES: [(&str, &str, &str); 14] = [
    ("http", "http,https,tcp,tls,crypto", "http"),
    ("https", "http,https,tcp,tls,crypto", "https"),
    ("rtsp", "rtp,srtp,udp,tcp,tls,crypto", "tcp"),
    ("rtsps", "rtp,srtp,udp,tcp,tls,crypto", "tls"),
    ("rtmp", "rtmp,tcp", "rtmp"),
    ("rtmps", "rtmps,tls,tcp", "rtmps"),
    ("rtmpt", "rtmpt,ffrtmphttp,http,tcp", "rtmpt"),
    ("srt", "srt", "srt"),
    ("rist", "rist", "rist"),
    ("udp", "udp", "udp"),
    ("rtp", "rtp,udp", "rtp"),
    ("srtp", "srtp,rtp,udp", "srtp"),
    ("tcp", "tcp", "tcp"),
    ("tls", "tls,tcp", "tls"),
];

/// Schemes whose media come as RTP.
const OVER_RTP: [&str; 4] = ["rtsp", "rtsps", "rtp", "srtp"];

/// What an ingested source may be made of, besides what a file may: playlists, and what comes in packets. A playlist can name
/// nothing but what the protocols of its own scheme reach.
const LIVE_DEMUXERS: &str = "hls,rtsp,rtp,sdp,webvtt,live_flv";

/// The schemes of URLs that may be ingested.
pub fn schemes() -> impl Iterator<Item = &'static str> {
    SCHEMES.iter().map(|(name, ..)| *name)
}

/// The scheme of a URL that may be ingested.
#[must_use]
pub fn scheme(url: &str) -> Option<&'static str> {
    let (name, rest) = url.split_once("://")?;
    let known = SCHEMES.iter().find(|(known, ..)| known.eq_ignore_ascii_case(name))?;
    (!rest.is_empty()).then_some(known.0)
}

/// The protocol that ffmpeg must have for a URL: `rtsp`, for one, is none of its protocols but stands on `tcp`.
#[must_use]
pub fn needed_protocol(url: &str) -> Option<&'static str> {
    let scheme = scheme(url)?;
    SCHEMES.iter().find(|(name, ..)| *name == scheme).map(|(_, _, needed)| *needed)
}

pub(super) fn lower(args: &mut Args, context: &Context<'_>, ingest: &Ingest) -> Result<(), Failure> {
    args.all(["-probesize", "2000000", "-analyzeduration", "2000000"]);
    if ingest.file {
        let path = context.file.ok_or_else(|| refused("the file was not looked up below a shared root"))?;
        args.all(["-protocol_whitelist", "file", "-format_whitelist", DEMUXERS]);
        args.all(["-re", "-stream_loop", "-1", "-i"]);
        args.push(format!("file:{}", path.display()));
    } else {
        url(args, context, &ingest.url)?;
    }
    // The first picture, every language; what MPEG-TS cannot hold would end it all.
    args.all(["-map", "0:V:0?", "-map", "0:a?", "-sn", "-dn", "-c", "copy"]);
    if !ingest.file && scheme(&ingest.url).is_some_and(|scheme| OVER_RTP.contains(&scheme)) {
        // RTP tells no decoding times, and ffmpeg (5.1 and 9.0) gives the first frame of H.264 no time at all. Without
        // B-frames the muxer takes it for zero, with them it gives the whole stream up: it goes on from the next one.
        args.pair("-bsf:v", "noise=drop=eq(pts\\,nopts)");
    }
    output(args, Container::MpegTs, false);
    Ok(())
}

fn url(args: &mut Args, context: &Context<'_>, url: &str) -> Result<(), Failure> {
    let known: Vec<_> = schemes().collect();
    let Some(scheme) = scheme(url) else {
        return Err(refused(format!(
            "it must begin with one of {}:// (a file is named by its absolute path)",
            known.join("://, ")
        )));
    };
    if url.len() > MAX_URL || url.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err(refused("it is too long, or holds spaces or control characters; write them as %20"));
    }
    let (_, protocols, needed) = SCHEMES.iter().find(|(name, ..)| *name == scheme).unwrap_or(&SCHEMES[0]);
    let has = &context.capabilities.protocols;
    if !has.is_empty() && !has.contains(*needed) {
        return Err(Failure::new(
            FailureKind::MissingCapability,
            format!(
                "the source needs ffmpeg's protocol {needed}, which ffmpeg {} on this worker lacks; it goes to another \
                 worker",
                context.capabilities.ffmpeg_version
            ),
        ));
    }
    args.pair("-protocol_whitelist", *protocols);
    args.pair("-format_whitelist", format!("{DEMUXERS},{LIVE_DEMUXERS}"));
    if scheme.starts_with("rtsp") {
        // Over UDP packets get lost and firewalls are in the way.
        args.all(["-rtsp_flags", "prefer_tcp"]);
    }
    if matches!(scheme, "http" | "https") {
        // Microseconds without a byte.
        args.all(["-rw_timeout", "15000000"]);
    }
    args.pair("-i", url);
    Ok(())
}

fn refused(why: impl std::fmt::Display) -> Failure {
    Failure::new(FailureKind::InvalidInput, format!("the source cannot be opened: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_schemes_are_opened() {
        for (url, expected) in [
            ("http://a/x.m3u8", Some("http")),
            ("HTTPS://a/x", Some("https")),
            ("srt://a:9000?mode=caller", Some("srt")),
            ("file:///etc/passwd", None),
            ("/etc/passwd", None),
            ("concat:a|b", None),
            ("hls+http://a/x", None),
            ("crypto:http://a/x", None),
            ("subfile,,start,0,end,9,,://a", None),
            ("-i", None),
            ("rtmp://", None),
            ("pipe:0", None),
            ("", None),
        ] {
            assert_eq!(scheme(url), expected, "{url}");
        }
        assert_eq!(needed_protocol("rtsp://camera/1"), Some("tcp"));
        assert_eq!(needed_protocol("srt://a:9000"), Some("srt"));
    }
}
