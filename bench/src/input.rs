//! What applications do: many requests at once, and inputs over HTTP, near and far.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use common::api::{CommandLine, InputRef, JobRequest};
use e2e::web::{Behaviour, Web};
use serde::Serialize;
use tokio::process::Command;

use crate::{
    clock::{monotonic_ns, seconds},
    far::Far,
    farm::{Coordinator, Site},
    flood::Flood,
    report::Verdict,
    stats::{Paired, Spread},
};

/// For one job.
const LIMIT: Duration = Duration::from_secs(600);
const ROUND_TRIP: Duration = Duration::from_millis(50);
/// Of the far file: 1 GiB.
const FAR_BYTES: u64 = 1 << 30;
/// What is cut out of the far file, each with a seek. `{}`: seconds from its beginning.
const CUTS: [f64; 4] = [0.05, 0.35, 0.65, 0.95];

/// p99 of a response, 200 at once: at most. Nobody waits for it knowingly.
const RESPONSE_MS: f64 = 1000.0;
/// Through the range proxy over the file itself: at most.
const PROXY_RATIO: f64 = 1.05;

#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) clip: PathBuf,
    pub(crate) at_once: usize,
    pub(crate) rounds: usize,
    pub(crate) pairs: usize,
}

#[derive(Debug, Clone, Serialize)]
pub(crate) struct Measured {
    pub(crate) at_once: usize,
    /// Milliseconds of each response, over all rounds.
    pub(crate) responses: Spread,
    /// Wall seconds of a 1080p transcode whose input comes by HTTP through the proxy, over one that opens the file.
    pub(crate) proxy_over_file: Paired,
    /// Seconds that ffprobe and ffmpeg take for four cuts from a far 1 GiB mp4 with its index at the end: reading through the
    /// range proxy over reading with their own HTTP reader.
    pub(crate) seeking: Paired,
}

pub(crate) async fn measure(site: &Site, plan: &Plan) -> Result<Measured> {
    let responses = responses(site, plan).await?;
    let coordinator = site.coordinator("input", &[]).await?;
    let timed = Timed::new(&site.folder.join("timed"))?;
    let (ffmpeg, ffprobe) = (timed.program("ffmpeg"), timed.program("ffprobe"));
    let env = [
        ("TVARR_SOURCE_ALLOW", Path::new("127.0.0.0/8")),
        ("TVARR_FFMPEG", ffmpeg.as_path()),
        ("TVARR_FFPROBE", ffprobe.as_path()),
    ];
    let worker = site.worker(&coordinator, "input", &env).await?;
    let proxy_over_file = proxy_over_file(&coordinator, plan).await?;
    let seeking = seeking(site, &coordinator, &timed, plan).await?;
    worker.stop().await;
    coordinator.stop().await;
    Ok(Measured { at_once: plan.at_once, responses, proxy_over_file, seeking })
}

/// ffmpeg and ffprobe under a script that writes down how long each run took.
struct Timed {
    folder: PathBuf,
}

impl Timed {
    fn new(folder: &Path) -> Result<Self> {
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

    fn program(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn forget(&self) {
        // It may not be there yet.
        let _ = fs::remove_file(self.folder.join("took"));
    }

    /// Seconds of the first two runs since: the look at the input, and the cuts.
    fn first_two(&self) -> Result<f64> {
        let text = fs::read_to_string(self.folder.join("took")).context("nothing was run")?;
        let took: Vec<u64> = text.lines().take(2).map(str::parse).collect::<Result<_, _>>()?;
        if took.len() < 2 {
            bail!("ffprobe and ffmpeg were not both run: {text:?}");
        }
        Ok(seconds(0, took.iter().sum()))
    }
}

/// `at_once` clients, each with one request, all at once; so many rounds on one coordinator.
async fn responses(site: &Site, plan: &Plan) -> Result<Spread> {
    let coordinator = site.coordinator("requests", &[]).await?;
    let mut milliseconds = Vec::new();
    for round in 0..plan.rounds {
        let jobs = (0..plan.at_once).map(|number| {
            let url = format!("https://media.example.com/{round}/{number}.mov");
            command(
                InputRef::Url(url),
                "-vf scale=1280:720 -c:v libx264 -crf 23 -c:a aac -b:a 128k {{out:a.mp4}}",
            )
        });
        milliseconds.extend(
            Flood::new("/v1/run", coordinator.api.address(), jobs)?.send(plan.at_once).await?.milliseconds,
        );
    }
    coordinator.stop().await;
    Spread::of(&milliseconds).context("no request was answered")
}

fn command(input: InputRef, text: &str) -> JobRequest {
    JobRequest { command: Some(CommandLine::Text(text.to_owned())), ..JobRequest::new(input) }
}

/// From the submission until the job is seen to have succeeded.
async fn run(coordinator: &Coordinator, request: &JobRequest) -> Result<f64> {
    let before = monotonic_ns();
    let job = coordinator.api.submit(request).await?;
    coordinator.succeeded(job.summary.id, LIMIT).await?;
    Ok(seconds(before, monotonic_ns()))
}

async fn proxy_over_file(coordinator: &Coordinator, plan: &Plan) -> Result<Paired> {
    let bytes = fs::read(&plan.clip).with_context(|| format!("reading {}", plan.clip.display()))?;
    let web = Web::serve([("/clip.mp4", Behaviour::Ranges(bytes))]).await;
    let text = "-t 20 -c:v libx264 -preset veryfast -crf 23 -c:a aac {{out:a.mp4}}";
    let by_http = command(InputRef::Url(web.url("/clip.mp4")), text);
    let file = command(InputRef::Path(plan.clip.to_string_lossy().into_owned()), text);
    run(coordinator, &file).await?;
    let mut pairs = Vec::new();
    for index in 0..plan.pairs {
        let (ours, theirs) = if index % 2 == 0 {
            let ours = run(coordinator, &by_http).await?;
            (ours, run(coordinator, &file).await?)
        } else {
            let theirs = run(coordinator, &file).await?;
            (run(coordinator, &by_http).await?, theirs)
        };
        eprintln!("input {}: by the proxy {ours:.2} s, from the file {theirs:.2} s", index + 1);
        pairs.push((ours, theirs));
    }
    Paired::of(&pairs).context("no pair was measured")
}

async fn seeking(site: &Site, coordinator: &Coordinator, timed: &Timed, plan: &Plan) -> Result<Paired> {
    let folder = site.folder.join("far");
    fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    let (file, length) = far_file(&plan.clip, &folder).await?;
    let web = Web::serve([("/far.mp4", Behaviour::Ranges(fs::read(file)?))]).await;
    let server = web.url("").trim_start_matches("http://").to_owned();
    let far = Far::to(server, ROUND_TRIP).await?;
    let url = format!("http://{}/far.mp4", far.address);
    let starts = CUTS.map(|part| format!("{:.0}", part * length));
    let inputs: String = starts.iter().map(|start| format!("-ss {start} -t 1 -i {{{{in}}}} ")).collect();
    let outputs: String =
        (0..CUTS.len()).map(|index| format!("-map {index}:v -c copy {{{{out:cut_{index}.mp4}}}} ")).collect();
    let request = command(InputRef::Url(url.clone()), &format!("{inputs}{outputs}"));
    let mut pairs = Vec::new();
    for index in 0..plan.pairs {
        let by_proxy = async || {
            timed.forget();
            run(coordinator, &request).await?;
            timed.first_two()
        };
        let (ours, theirs) = if index % 2 == 0 {
            let ours = by_proxy().await?;
            (ours, plainly(timed, &url, &starts, &folder).await?)
        } else {
            let theirs = plainly(timed, &url, &starts, &folder).await?;
            (by_proxy().await?, theirs)
        };
        eprintln!(
            "seeking {}: through the proxy {ours:.2} s, with their own reader {theirs:.2} s",
            index + 1
        );
        pairs.push((ours, theirs));
    }
    Paired::of(&pairs).context("no pair was measured")
}

/// The clip over and over until it has a gibibyte, its index at the end, and its seconds.
async fn far_file(clip: &Path, folder: &Path) -> Result<(PathBuf, f64)> {
    let (bytes, file) = (fs::metadata(clip)?.len(), folder.join("far.mp4"));
    let again = FAR_BYTES.div_ceil(bytes).saturating_sub(1).to_string();
    let clip = clip.to_str().context("the clip's name is UTF-8")?;
    ffmpeg(
        Path::new("ffmpeg"),
        &["-y", "-stream_loop", &again, "-i", clip, "-c", "copy", file.to_str().unwrap_or_default()],
    )
    .await?;
    let args = ["-show_entries", "format=duration", "-of", "csv=p=0", file.to_str().unwrap_or_default()];
    let length = ffmpeg(Path::new("ffprobe"), &args).await?;
    Ok((file, length.trim().parse().context("the far file's length")?))
}

/// What the farm does to the input, by hand: a look at it, then the cuts.
async fn plainly(timed: &Timed, url: &str, starts: &[String], folder: &Path) -> Result<f64> {
    timed.forget();
    ffmpeg(&timed.program("ffprobe"), &["-show_format", "-show_streams", "-of", "json", url]).await?;
    let mut args = vec!["-y"];
    for start in starts {
        args.extend(["-ss", start, "-t", "1", "-i", url]);
    }
    let outputs: Vec<(String, String)> = (0..starts.len())
        .map(|index| {
            (format!("{index}:v"), folder.join(format!("cut_{index}.mp4")).to_string_lossy().into_owned())
        })
        .collect();
    for (map, output) in &outputs {
        args.extend(["-map", map, "-c", "copy", output]);
    }
    ffmpeg(&timed.program("ffmpeg"), &args).await?;
    timed.first_two()
}

async fn ffmpeg(program: &Path, args: &[&str]) -> Result<String> {
    let mut command = Command::new(program);
    command.args(["-loglevel", "error"]).args(args).stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(LIMIT, command.output()).await.context("it did not end")??;
    if !output.status.success() {
        bail!("{} {}: {}", program.display(), args.join(" "), String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

pub(crate) fn verdicts(input: &Measured) -> Vec<Verdict> {
    let (proxy, seeking) = (&input.proxy_over_file, &input.seeking);
    vec![
        Verdict {
            what: format!("{} requests at once to POST /v1/run, p99", input.at_once),
            farm: format!("{:.0} ms", input.responses.p99),
            other: format!("p50 {:.0} ms; all accepted", input.responses.p50),
            target: format!("at most {RESPONSE_MS:.0} ms"),
            met: input.responses.p99 <= RESPONSE_MS,
        },
        Verdict {
            what: "1080p transcode, input through the range proxy over the file".to_owned(),
            farm: format!("{:.2} s", proxy.median_ours),
            other: format!("{:.2} s", proxy.median_theirs),
            target: format!("ratio {:.3}, at most {PROXY_RATIO}", proxy.median_ratio),
            met: proxy.median_ratio <= PROXY_RATIO,
        },
        Verdict {
            what: "ffprobe and ffmpeg, four cuts from 1 GiB of mp4, index at the end, 50 ms away".to_owned(),
            farm: format!("{:.2} s", seeking.median_ours),
            other: format!("their own HTTP reader {:.2} s", seeking.median_theirs),
            target: format!("ratio {:.2}, below 1", seeking.median_ratio),
            met: seeking.median_ratio < 1.0,
        },
    ]
}
