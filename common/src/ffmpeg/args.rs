//! The argument list while it is being built.

use std::{
    ffi::{OsStr, OsString},
    path::PathBuf,
};

use super::Context;

/// Protocols that an input may be read with. `tcp` is what `http` stands on.
pub(super) const PROTOCOLS: &str = "file,http,tcp";

/// Demuxers of formats that are one file. Left out on purpose: playlists and manifests (`hls`, `dash`, `concat`, `imf`,
/// `sdp`, `dvdvideo`, `mlv`), which open other files, and `image2`, which reads patterns.
pub(super) const DEMUXERS: &str = "mov,matroska,webm,avi,mpegts,mpeg,mpegvideo,m4v,flv,live_flv,asf,ogg,mp3,wav,w64,aiff,\
caf,au,aac,ac3,eac3,dts,dtshd,truehd,flac,ape,wv,tta,amr,amrnb,amrwb,mxf,gxf,lxf,ivf,obu,av1,h264,hevc,vc1,vc1test,dv,rm,\
nut,yuv4mpegpipe,gif,apng,swf,wtv,nsv,nuv,bink,smk,roq,voc,oma,mpc,mpc8,dsf,shn,tak,avs,cavsvideo,evc,vvc,\
dirac,ingenient,mjpeg,r3d,mtv,film_cpk,ea,4xm,idcin,flic,3dostr,thp,vivo,xwma,qcp,gsm,sox,pva,ty,rpl,webp_anim";

/// What a user's own command may open besides: single pictures, subtitles and tags, which are one file as well.
pub(super) const MORE_FOR_COMMANDS: &str =
    "png_pipe,jpeg_pipe,webp_pipe,bmp_pipe,tiff_pipe,gif_pipe,srt,ass,webvtt,ffmetadata";

/// How every run reports.
pub(super) const REPORTS: [&str; 10] = [
    "-hide_banner",
    "-nostdin",
    "-y",
    "-loglevel",
    "level+info",
    "-nostats",
    "-progress",
    "pipe:1",
    "-stats_period",
    "0.5",
];

/// What stands in front of an input: nothing but the one file is opened.
pub(super) fn guard(demuxers: &str) -> [&str; 4] {
    ["-protocol_whitelist", PROTOCOLS, "-format_whitelist", demuxers]
}

#[derive(Debug, Default)]
pub(super) struct Args(Vec<OsString>);

impl Args {
    /// What every run has, up to and with the input.
    pub(super) fn with_input(context: &Context<'_>, device: &[String]) -> Self {
        let mut args = Self::default();
        args.all(REPORTS).all(device).all(guard(DEMUXERS));
        args.pair("-i", input_address(context.inputs.first().map_or("", String::as_str)));
        args
    }

    pub(super) fn push(&mut self, arg: impl Into<OsString>) -> &mut Self {
        self.0.push(arg.into());
        self
    }

    pub(super) fn pair(&mut self, name: &str, value: impl Into<OsString>) -> &mut Self {
        self.push(name).push(value)
    }

    pub(super) fn all<S: AsRef<OsStr>>(&mut self, args: impl IntoIterator<Item = S>) -> &mut Self {
        self.0.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    pub(super) fn output(&mut self, path: PathBuf) -> &mut Self {
        self.push(path)
    }

    pub(super) fn into_vec(self) -> Vec<OsString> {
        self.0
    }
}

/// The input as one argument that cannot be read as an option or as another protocol.
pub(super) fn input_address(url: &str) -> String {
    if url.starts_with("http://") || url.starts_with("file:") {
        url.to_owned()
    } else {
        format!("file:{url}")
    }
}

/// A number without needless zeros, as filters take it.
pub(super) fn number(value: f64) -> String {
    let text = format!("{value:.6}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_name_is_never_read_as_an_option_or_a_protocol() {
        assert_eq!(input_address("-y"), "file:-y");
        assert_eq!(input_address("concat:a|b"), "file:concat:a|b");
        assert_eq!(input_address("http://127.0.0.1:1/x"), "http://127.0.0.1:1/x");
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!(number(6.0), "6");
        assert_eq!(number(23.976), "23.976");
        assert_eq!(number(0.0), "0");
    }

    #[test]
    fn demuxers_that_open_other_files_are_shut_out() {
        for name in [
            "hls",
            "concat",
            "dash",
            "image2",
            "imf",
            "sdp",
            "lavfi",
            "tty",
            "applehttp",
            "dvdvideo",
            "mlv",
            "avisynth",
        ] {
            let all = DEMUXERS.split(',').chain(MORE_FOR_COMMANDS.split(','));
            assert!(all.into_iter().all(|known| known != name), "{name}");
        }
    }
}
