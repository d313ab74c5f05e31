//! ffmpeg alone, with the arguments that the farm gave it.

use std::{
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use e2e::live::ts;
use tokio::{io::AsyncReadExt, process::Command, time::timeout};

use super::stage::LIMIT;

/// The worker's command line, but for where it reads (the source itself) and writes (its standard output).
pub(super) fn command(worker: &[String], source: &str) -> Result<Vec<String>> {
    let mut alone = Vec::new();
    let mut words = worker.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "-i" => {
                words.next().context("-i names an input")?;
                alone.extend(["-i".to_owned(), source.to_owned()]);
            }
            "-progress" => {
                words.next().context("-progress names a place")?;
            }
            _ => alone.push(word.clone()),
        }
    }
    *alone.last_mut().context("the command line has an output")? = "pipe:1".to_owned();
    if alone[0].starts_with('-') {
        alone.insert(0, "ffmpeg".to_owned());
    }
    Ok(alone)
}

/// From just before it is started.
#[derive(Debug, Clone, Copy)]
pub(super) struct First {
    /// Tables, and sound: the encoder of that is done sooner.
    pub(super) byte: Duration,
    pub(super) picture: Duration,
}

pub(super) async fn first(command: &[String]) -> Result<First> {
    let begun = Instant::now();
    let mut child = Command::new(&command[0])
        .args(&command[1..])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("starting {}", command[0]))?;
    let mut stdout = child.stdout.take().context("stdout is piped")?;
    let (mut written, mut byte) = (Vec::new(), None);
    let picture = loop {
        let read = timeout(LIMIT, stdout.read_buf(&mut written)).await.context("waiting for ffmpeg")??;
        if read == 0 {
            bail!("ffmpeg alone gave no picture: {}", command.join(" "));
        }
        byte.get_or_insert_with(|| begun.elapsed());
        if ts::all_pes(&written).iter().any(|pes| pes.video) {
            break begun.elapsed();
        }
    };
    child.kill().await?;
    Ok(First { byte: byte.unwrap_or(picture), picture })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_arguments_read_the_source_and_write_to_a_pipe() {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let worker =
            words("/usr/bin/ffmpeg -progress pipe:3 -f mpegts -i pipe:0 -c:v libx264 -f mpegts pipe:1");
        let alone = command(&worker, "http://h/a").unwrap();
        assert_eq!(alone, words("/usr/bin/ffmpeg -f mpegts -i http://h/a -c:v libx264 -f mpegts pipe:1"));
        assert!(command(&[], "http://h/a").is_err());
    }
}
