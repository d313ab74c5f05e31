//! `streams watch`.

use std::{
    env,
    os::fd::AsFd as _,
    path::{Path, PathBuf},
    process::Stdio,
};

use common::{media::VideoCodec, profile::Output};
use serde::Serialize;
use tokio::{fs::File, io::AsyncWriteExt as _, process::Command};

use crate::{
    cli::StreamsWatch, client::Client, console, error::Error, exit::Exit, interrupt::Interrupt, names,
};

/// What is watched where nobody says what, and the stream has every profile.
const USUAL: &str = "h264-720p";
/// The players that are looked for, and what makes them play a live stream well.
const PLAYERS: [(&str, &[&str]); 3] = [
    ("ffplay", &["-hide_banner", "-loglevel", "warning"]),
    ("mpv", &["--profile=low-latency", "--really-quiet"]),
    ("vlc", &["--quiet"]),
];

/// Where a variant can be watched.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Urls {
    #[serde(skip_serializing_if = "Option::is_none")]
    ts: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hls: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dash: Option<String>,
    /// Over all renditions of a ladder.
    #[serde(skip_serializing_if = "Option::is_none")]
    master: Option<String>,
}

pub(super) async fn run(client: &Client, args: StreamsWatch, interrupt: &Interrupt) -> Result<Exit, Error> {
    let stream = client.stream(&args.stream).await?.spec;
    let profiles = client.profiles().await?;
    let offered: Vec<&str> = match stream.profiles.as_slice() {
        [] => profiles.iter().map(|profile| profile.name.as_str()).collect(),
        some => some.iter().map(String::as_str).collect(),
    };
    let chosen = match &args.profile {
        Some(name) => name.as_str(),
        None => stream.profiles.first().map_or(USUAL, String::as_str),
    };
    if !offered.contains(&chosen) {
        let meant = names::nearest(chosen, offered.iter().copied())
            .map_or_else(String::new, |name| format!(" did you mean {name:?}?"));
        return Err(Error::invalid(format!(
            "stream {} has no profile {chosen:?};{meant} it has {}",
            stream.name,
            offered.join(", ")
        )));
    }
    let profile = profiles.iter().find(|profile| profile.name == chosen);
    let token = match args.token {
        None if client.has_key() => client.token(&stream.name, chosen).await?,
        given => given,
    };
    let urls = urls(profile.map(|profile| &profile.output), |file| {
        let path = ["live", stream.name.as_str(), chosen, file];
        let token = token.as_ref().map_or_else(String::new, |token| format!("?token={token}"));
        format!("{}{token}", client.address_of(&path))
    });
    if args.json {
        console::print_json(&urls)?;
        return Ok(Exit::Ok);
    }
    if let Some(file) = &args.output {
        let Some(ts) = &urls.ts else {
            return Err(Error::invalid(format!(
                "{chosen} is not watched as MPEG-TS; choose another profile"
            )));
        };
        return interrupt.or_leave(copy(client, ts, file)).await;
    }
    for (kind, url) in
        [("MPEG-TS", &urls.ts), ("HLS", &urls.hls), ("DASH", &urls.dash), ("HLS", &urls.master)]
    {
        if let Some(url) = url {
            console::print(&format!("{kind:7}  {url}"))?;
        }
    }
    let best = urls.ts.or(urls.master).or(urls.hls);
    match (args.print, best, player(env::var_os("PATH").as_deref())) {
        (true, ..) | (_, None, _) => Ok(Exit::Ok),
        (false, Some(_), None) => {
            console::say("no player found; install ffplay, mpv or vlc, or open one of these");
            Ok(Exit::Ok)
        }
        (false, Some(url), Some((player, arguments))) => play(&player, arguments, &url, interrupt).await,
    }
}

/// What there is of a profile; of an unknown one everything.
fn urls(output: Option<&Output>, url: impl Fn(&str) -> String) -> Urls {
    let ladder = matches!(output, Some(Output::Ladder { .. }));
    // MPEG-TS does not carry it.
    let av1 = matches!(output, Some(Output::Rendition(rendition))
        if rendition.video.as_ref().is_some_and(|video| video.codec == VideoCodec::Av1));
    Urls {
        ts: (!ladder && !av1).then(|| url("stream.ts")),
        hls: (!ladder).then(|| url("index.m3u8")),
        dash: (!ladder).then(|| url("manifest.mpd")),
        master: ladder.then(|| url("master.m3u8")),
    }
}

/// The first player in the folders of `path`.
fn player(path: Option<&std::ffi::OsStr>) -> Option<(PathBuf, &'static [&'static str])> {
    let folders: Vec<_> = path.map(|path| env::split_paths(path).collect()).unwrap_or_default();
    PLAYERS.iter().find_map(|(name, arguments)| {
        let found = folders.iter().map(|folder| folder.join(name)).find(|file| file.is_file())?;
        Some((found, *arguments))
    })
}

async fn play(player: &Path, arguments: &[&str], url: &str, interrupt: &Interrupt) -> Result<Exit, Error> {
    let failed = |error| Error::failed(format!("cannot start {}: {error}", player.display()));
    console::say(&format!("playing with {}", player.display()));
    let mut child = Command::new(player)
        .args(arguments)
        .arg(url)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(failed)?;
    tokio::select! {
        biased;
        () = interrupt.asked.cancelled() => Ok(Exit::Ok),
        ended = child.wait() => match ended.map_err(failed)? {
            status if status.success() => Ok(Exit::Ok),
            status => Err(Error::failed(format!("{} ended with {status}; the stream is at {url}", player.display()))),
        },
    }
}

/// Until the stream ends.
async fn copy(client: &Client, url: &str, file: &Path) -> Result<Exit, Error> {
    let mut response = client.open(url).await?;
    let mut out = if file == Path::new("-") {
        // A handle of its own, whose writes block no other.
        let stdout = std::io::stdout().as_fd().try_clone_to_owned();
        stdout.map(|stdout| File::from_std(stdout.into()))
    } else {
        File::create(file).await
    }
    .map_err(|error| Error::writing("create", file, &error))?;
    let failed = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::BrokenPipe => Error::stdout_closed(),
        _ => Error::writing("write to", file, &error),
    };
    while let Some(chunk) = client.piece(&mut response).await? {
        out.write_all(&chunk).await.map_err(failed)?;
        // A player at the other end of a pipe waits for it.
        out.flush().await.map_err(failed)?;
    }
    console::say("the stream has ended");
    Ok(Exit::Ok)
}

#[cfg(test)]
mod tests {
    use common::profile::Profiles;

    use super::*;

    #[test]
    fn a_profile_is_watched_where_it_can_be() {
        let profiles = Profiles::builtin();
        let urls = |name: &str| urls(profiles.get(name).map(|profile| &profile.output), str::to_owned);
        assert_eq!(urls("h264-720p").ts.as_deref(), Some("stream.ts"));
        assert_eq!((urls("av1-720p").ts, urls("av1-720p").hls.as_deref()), (None, Some("index.m3u8")));
        let ladder = urls("ladder");
        assert_eq!((ladder.ts, ladder.hls, ladder.master.as_deref()), (None, None, Some("master.m3u8")));
    }

    #[test]
    fn players_are_taken_in_order_wherever_they_are() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let path = env::join_paths([one.path(), two.path()]).unwrap();
        assert_eq!(player(Some(&path)), None);
        std::fs::write(one.path().join("vlc"), "").unwrap();
        std::fs::write(two.path().join("mpv"), "").unwrap();
        assert_eq!(player(Some(&path)).unwrap().0, two.path().join("mpv"));
        assert_eq!(player(None), None);
    }
}
