//! The command line of `streams`.

use clap::{Args, Subcommand, ValueHint};
use common::stream::SourceSpec;
use jiff::SignedDuration;

use super::{JSON, label};

#[derive(Debug, Subcommand)]
pub enum StreamsCommand {
    /// List streams.
    Ls(AllStreams),
    /// Add a stream: a live source, and what may be watched of it.
    ///
    /// Nothing is fetched or encoded before somebody watches.
    Add(StreamsAdd),
    /// Remove streams; who watches them is disconnected.
    Rm(SomeStreams),
    /// Everything about one stream: its source, who encodes and who watches what, and which workers were replaced.
    Show(OneStream),
    /// Watch a stream: prints its URLs and plays it, if ffplay, mpv or vlc is there.
    Watch(StreamsWatch),
}

#[derive(Debug, Args)]
pub struct AllStreams {
    #[arg(long, help = JSON)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct StreamsAdd {
    /// Its name in viewers' URLs: 1 to 64 lower-case letters, digits, '-' and '_'.
    #[arg(value_name = "NAME")]
    pub name: String,
    /// http(s) MPEG-TS, which the coordinator pulls; whatever ffmpeg opens (.m3u8, rtsp, rtmp, srt, udp), through a worker;
    /// an absolute path below a worker's shared root, looped; or `push`, to send it yourself.
    ///
    /// `ingest:URL` has a worker's ffmpeg open an http(s) URL that is neither MPEG-TS nor a playlist.
    #[arg(value_name = "SOURCE", value_hint = ValueHint::Url)]
    pub source: SourceSpec,
    /// What may be watched. May be repeated. Default: every profile of the farm.
    #[arg(short, long = "profile", value_name = "PROFILE", value_delimiter = ',')]
    pub profiles: Vec<String>,
    /// Workers that encode each variant side by side. With 2 the death of one costs nothing.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=2))]
    pub redundancy: u8,
    /// What is shown while the source is away. Default: the picture stands still.
    #[arg(long, value_name = "TEXT")]
    pub slate: Option<String>,
    /// How long an encode goes on after its last viewer: 0, 500ms, 30s, 5m. Default: 30s.
    #[arg(long, value_name = "DURATION", value_parser = milliseconds)]
    pub linger: Option<u64>,
    /// How long viewers are held while nobody can encode. Default: 15s.
    #[arg(long, value_name = "DURATION", value_parser = milliseconds)]
    pub hold: Option<u64>,
    /// Only workers with this label may encode it. May be repeated.
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label)]
    pub labels: Vec<(String, String)>,
    /// Whose it is: keys of this owner see, send and watch it. Default: the farm's own.
    #[arg(long, value_name = "NAME")]
    pub owner: Option<String>,
    #[arg(long, help = JSON)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct SomeStreams {
    /// Names or ids.
    #[arg(required = true, value_name = "STREAM")]
    pub streams: Vec<String>,
}

#[derive(Debug, Args)]
pub struct OneStream {
    /// The name or the id.
    #[arg(value_name = "STREAM")]
    pub stream: String,
    #[arg(long, help = JSON)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct StreamsWatch {
    /// The name or the id.
    #[arg(value_name = "STREAM")]
    pub stream: String,
    /// What of it. Default: the stream's first profile.
    #[arg(value_name = "PROFILE")]
    pub profile: Option<String>,
    /// Copy the MPEG-TS to a file, or to stdout with `-`, until Ctrl-C or the end; no player.
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath, conflicts_with_all = ["json", "print"])]
    pub output: Option<std::path::PathBuf>,
    /// Only print the URLs.
    #[arg(long)]
    pub print: bool,
    /// A viewer's token, where the farm wants one.
    #[arg(long, value_name = "TOKEN", env = "TVARR_LIVE_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
    /// The URLs as JSON; no player.
    #[arg(long)]
    pub json: bool,
}

/// `0`, `500ms`, `30s`, `5m`; a bare number means seconds.
fn milliseconds(text: &str) -> Result<u64, String> {
    let wrong = || "write a duration such as 0, 500ms, 30s or 5m".to_owned();
    let text = text.trim();
    let duration = match text.parse::<u32>() {
        Ok(seconds) => SignedDuration::from_secs(seconds.into()),
        Err(_) => text.parse::<SignedDuration>().map_err(|_| wrong())?,
    };
    u64::try_from(duration.as_millis()).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::{Cli, Command};

    fn parse(arguments: &[&str]) -> Result<StreamsCommand, String> {
        let command = ["ffmpegctl", "streams"].iter().chain(arguments);
        match Cli::try_parse_from(command).map_err(|error| error.to_string())?.command {
            Command::Streams(command) => Ok(command),
            _ => panic!("not streams"),
        }
    }

    #[test]
    fn a_stream_is_added_with_what_it_may_have() {
        let arguments = "add news push --profile ladder,copy -p audio-aac --redundancy 2 --linger 0 --hold 1m30s --label a=b";
        let arguments: Vec<_> = arguments.split(' ').collect();
        let StreamsCommand::Add(args) = parse(&arguments).unwrap() else { panic!("not add") };
        assert_eq!(args.source, SourceSpec::Push);
        assert_eq!(args.profiles, ["ladder", "copy", "audio-aac"]);
        assert_eq!((args.redundancy, args.linger, args.hold), (2, Some(0), Some(90_000)));
    }

    #[test]
    fn a_source_that_is_none_is_answered_with_what_is() {
        let error = parse(&["add", "news", "clip.ts"]).unwrap_err();
        assert!(error.contains("absolute path") && error.contains("rtsp"), "{error}");
        assert!(parse(&["add", "news", "push", "--redundancy", "3"]).is_err());
        assert!(parse(&["watch", "news", "-o", "-", "--json"]).is_err());
    }
}
