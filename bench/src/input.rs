//! What applications do: many requests at once, and inputs over HTTP, near and far.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result};
use common::api::{CommandLine, InputRef, JobRequest};
use e2e::web::{Behaviour, Web};
use serde::Serialize;

use crate::{
    clock::{monotonic_ns, seconds},
    far::Far,
    farm::{Coordinator, Site},
    flood::Flood,
    report::Verdict,
    stats::{Paired, Spread},
    timed::{self, Timed},
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
    let (file, length) = timed::long_file(&plan.clip, &folder, FAR_BYTES).await?;
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

/// What the farm does to the input, by hand: a look at it, then the cuts.
async fn plainly(timed: &Timed, url: &str, starts: &[String], folder: &Path) -> Result<f64> {
    timed.forget();
    timed::ffmpeg(&timed.program("ffprobe"), &["-show_format", "-show_streams", "-of", "json", url]).await?;
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
    timed::ffmpeg(&timed.program("ffmpeg"), &args).await?;
    timed.first_two()
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
