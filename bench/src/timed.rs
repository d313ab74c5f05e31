//! ffmpeg and ffprobe whose runs are timed, and what they are given.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, SystemTime},
};

use anyhow::{Context, Result, bail};
use tokio::process::Command;

use crate::clock::seconds;

/// For one run.
const LIMIT: Duration = Duration::from_secs(600);

/// ffmpeg and ffprobe under a script that writes down how long each run took.
pub(crate) struct Timed {
    folder: PathBuf,
}

impl Timed {
    pub(crate) fn new(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
        for name in ["ffmpeg", "ffprobe"] {
            let script = format!(
                "#!/bin/bash\nbefore=$(date +%s%N)\n{name} \"$@\"\nstatus=$?\n\
                 echo $(($(date +%s%N) - before)) >>'{}'\nexit $status\n",
                folder.join("took").display()
            );
            let file = folder.join(name);
            fs::write(&file, script)?;
            fs::set_permissions(&file, fs::Permissions::from_mode(0o755))?;
        }
        Ok(Self { folder: folder.to_owned() })
    }

    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    pub(crate) fn forget(&self) {
        // It may not be there yet.
        let _ = fs::remove_file(self.folder.join("took"));
    }

    /// Seconds of the first two runs since: the look at the input, and the cuts.
    pub(crate) fn first_two(&self) -> Result<f64> {
        let text = fs::read_to_string(self.folder.join("took")).context("nothing was run")?;
        let took: Vec<u64> = text.lines().take(2).map(str::parse).collect::<Result<_, _>>()?;
        if took.len() < 2 {
            bail!("ffprobe and ffmpeg were not both run: {text:?}");
        }
        Ok(seconds(0, took.iter().sum()))
    }

    /// When the last of them ended.
    pub(crate) fn last_end(&self) -> Result<SystemTime> {
        let took = fs::metadata(self.folder.join("took")).context("nothing was run")?;
        Ok(took.modified()?)
    }
}

/// The clip over and over until it has that many bytes, its index at the end, and its seconds.
pub(crate) async fn long_file(clip: &Path, folder: &Path, size: u64) -> Result<(PathBuf, f64)> {
    let (bytes, file) = (fs::metadata(clip)?.len(), folder.join("long.mp4"));
    let again = size.div_ceil(bytes).saturating_sub(1).to_string();
    let clip = clip.to_str().context("the clip's name is UTF-8")?;
    ffmpeg(
        Path::new("ffmpeg"),
        &["-y", "-stream_loop", &again, "-i", clip, "-c", "copy", file.to_str().unwrap_or_default()],
    )
    .await?;
    let args = ["-show_entries", "format=duration", "-of", "csv=p=0", file.to_str().unwrap_or_default()];
    let length = ffmpeg(Path::new("ffprobe"), &args).await?;
    Ok((file, length.trim().parse().context("the long file's length")?))
}

/// Runs one of them by hand; what it says.
pub(crate) async fn ffmpeg(program: &Path, args: &[&str]) -> Result<String> {
    let mut command = Command::new(program);
    command.args(["-loglevel", "error"]).args(args).stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(LIMIT, command.output()).await.context("it did not end")??;
    if !output.status.success() {
        bail!("{} {}: {}", program.display(), args.join(" "), String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
