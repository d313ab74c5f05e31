//! ffmpeg alone, with the arguments that the farm gave it.

use std::{
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
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

/// From just before it is started to its first byte.
pub(super) async fn first_byte(command: &[String]) -> Result<Duration> {
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
    let mut byte = [0; 1];
    let read = timeout(LIMIT, stdout.read(&mut byte)).await.context("waiting for ffmpeg's first byte")??;
    let took = begun.elapsed();
    if read == 0 {
        bail!("ffmpeg alone wrote nothing: {}", command.join(" "));
    }
    child.kill().await?;
    Ok(took)
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
