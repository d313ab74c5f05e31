//! The course of a live attempt.

use std::{
    ffi::OsString,
    io,
    panic::AssertUnwindSafe,
    path::PathBuf,
    pin::pin,
    process::ExitStatus,
    sync::Arc,
    time::{Duration, Instant},
};

use common::{
    failure::{Failure, FailureKind},
    ffmpeg::{
        EncoderChoice,
        live::{Context, First, lower},
    },
    id::AttemptId,
    live::Work,
    proto,
};
use futures::{FutureExt as _, future};
use reqwest::{Response, Url};
use tokio::{
    sync::{mpsc, oneshot},
    time::{MissedTickBehavior, interval, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    flow::{Feed, Flow, Watchdog},
    input::{Fed, Input},
    output::{Outgoing, put, refused},
    words,
};
use crate::{
    fetch,
    run::{
        Assignment, Ending, LiveTask, Tools, Vitals,
        classify::{Evidence, after_success, classify},
        machine::OomKills,
        scratch::Scratch,
        spawn::{Exit, Process, Program},
    },
};

/// How often the watchdog looks.
const LOOK: Duration = Duration::from_millis(500);
/// For the log's last lines once ffmpeg has ended.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// For the coordinator's answer once everything was sent.
const FAREWELL: Duration = Duration::from_secs(10);
/// Whether text can be drawn is known within this.
const FONT_TRIAL: Duration = Duration::from_secs(5);

/// Runs a live attempt to its end. `started` gets one message when ffmpeg runs. When this returns no process of the attempt
/// is left.
pub(crate) async fn attempt(
    tools: &Tools,
    assignment: &Assignment,
    task: &LiveTask,
    vitals: &Vitals,
    started: mpsc::Sender<(AttemptId, proto::AttemptStarted)>,
    stop: CancellationToken,
) -> Ending {
    let course = async {
        vitals.phase("starting");
        // For ffmpeg to stand in: nothing is written there, and by it a later worker knows what a killed one left running.
        let scratch = match Scratch::create(&tools.scratch, assignment.attempt).await {
            Ok(scratch) => scratch,
            Err(error) => {
                let message = format!("cannot make a folder in {}: {error}", tools.scratch.display());
                return Failure::new(FailureKind::Crashed, message).into();
            }
        };
        let oom_kills = OomKills::read();
        let folder = scratch.folder().to_owned();
        let course = Course { tools, assignment, task, vitals, stop, folder, oom_kills };
        let ending = match course.run(started).await {
            Ok(ending) | Err(ending) => ending,
        };
        scratch.remove().await;
        ending
    };
    AssertUnwindSafe(course).catch_unwind().await.unwrap_or_else(|_| {
        let message = "live: the worker made a mistake (a panic; see its log)";
        Failure::new(FailureKind::Crashed, message).into()
    })
}

struct Course<'a> {
    tools: &'a Tools,
    assignment: &'a Assignment,
    task: &'a LiveTask,
    vitals: &'a Vitals,
    stop: CancellationToken,
    folder: PathBuf,
    oom_kills: OomKills,
}

impl Course<'_> {
    async fn run(&self, started: mpsc::Sender<(AttemptId, proto::AttemptStarted)>) -> Result<Ending, Ending> {
        let output = self.resolve(&self.task.output_url)?;
        let input_url = self.task.input_url.as_deref().map(|url| self.resolve(url)).transpose()?;
        let (input, mut process, argv) = self.until_stopped(self.begin(input_url)).await??;
        // Nobody listens only when the worker ends, which ends this too.
        let _ = started.send((self.assignment.attempt, self.started(argv))).await;
        self.vitals.phase("encoding");
        let ending = self.stream(&mut process, input, output).await;
        if let Err(error) = process.kill().await {
            tracing::warn!(%error, "cannot wait for a killed process");
        }
        ending
    }

    async fn until_stopped<T>(&self, work: impl Future<Output = T>) -> Result<T, Ending> {
        self.stop.run_until_cancelled(work).await.ok_or(Ending::Stopped)
    }

    fn resolve(&self, url: &str) -> Result<Url, Ending> {
        self.tools.coordinator.resolve(url).map_err(|error| {
            Failure::new(FailureKind::InvalidSpec, format!("live: the coordinator named {error}")).into()
        })
    }

    /// Opens the input and starts ffmpeg: side by side, unless the arguments depend on the input.
    async fn begin(&self, input: Option<Url>) -> Result<(Option<Input>, Process, Vec<OsString>), Ending> {
        let Some(url) = input else {
            let (process, argv) = self.start(First::default()).await?;
            return Ok((None, process, argv));
        };
        let wanted = First::wanted(&self.task.work);
        if wanted == (false, false) {
            let starting = self.start(First::default());
            let (input, started) = future::try_join(Input::open(self.tools, url), starting).await?;
            return Ok((Some(input), started.0, started.1));
        }
        let mut input = Input::open(self.tools, url).await?;
        let first = input.peek(wanted).await.map_err(|problem| broken(&problem))?;
        let (process, argv) = self.start(first).await?;
        Ok((Some(input), process, argv))
    }

    async fn start(&self, first: First) -> Result<(Process, Vec<OsString>), Ending> {
        let (file, text) = match &self.task.work {
            Work::Encode(_) => (None, false),
            Work::Ingest(ingest) if ingest.file => {
                let roots = &self.tools.shared_roots;
                (Some(fetch::open_below(roots, ingest.url.as_ref()).await?.path), false)
            }
            Work::Ingest(ingest) => {
                self.vitals.rename(&ingest.url, &shown(&ingest.url));
                (None, false)
            }
            Work::Slate(_) => (None, self.can_draw_text().await),
        };
        let nvenc_preset = self.tools.nvenc_preset;
        let encoder =
            self.assignment.encoder.as_ref().map(|encoder| EncoderChoice { nvenc_preset, ..encoder.clone() });
        let capabilities = Arc::clone(&self.tools.capabilities.borrow());
        let argv = lower(&Context {
            work: &self.task.work,
            encoder: encoder.as_ref(),
            capabilities: &capabilities,
            first,
            file: file.as_deref(),
            text,
        })?;
        let network = matches!(self.task.work, Work::Ingest(_));
        let process = self.spawn(argv.clone(), self.task.input_url.is_some(), network).await?;
        Ok((process, argv))
    }

    /// A filter that is there may still find no font.
    async fn can_draw_text(&self) -> bool {
        if !self.tools.capabilities.borrow().filters.contains("drawtext") {
            return false;
        }
        let graph = "color=s=160x128:d=0.04,drawtext=text=x";
        let args = ["-hide_banner", "-nostdin", "-v", "error", "-f", "lavfi", "-i", graph, "-f", "null", "-"];
        let Ok(mut trial) = self.spawn(args.map(OsString::from).to_vec(), false, false).await else {
            return false;
        };
        matches!(timeout(FONT_TRIAL, trial.wait()).await, Ok(Ok(status)) if status.success())
    }

    async fn spawn(&self, args: Vec<OsString>, stdin: bool, network: bool) -> Result<Process, Ending> {
        let path = self.tools.ffmpeg.clone();
        let program = Program { path, args, folder: self.folder.clone(), stdin, network };
        self.tools.spawner.spawn(&program).await.map_err(|error| {
            let kind = match error.kind() {
                io::ErrorKind::OutOfMemory => FailureKind::OutOfMemory,
                _ => FailureKind::Crashed,
            };
            let message = format!(
                "live: cannot start {}: {error}; run `ffmpegd detect` on this worker",
                self.tools.ffmpeg.display()
            );
            Failure::new(kind, message).into()
        })
    }

    fn started(&self, argv: Vec<OsString>) -> proto::AttemptStarted {
        let shown = |arg: OsString| {
            let arg = arg.to_string_lossy().into_owned();
            match &self.task.work {
                // Credentials are in there.
                Work::Ingest(ingest) if arg == ingest.url => shown(&arg),
                Work::Encode(_) | Work::Ingest(_) | Work::Slate(_) => arg,
            }
        };
        let program = self.tools.ffmpeg.to_string_lossy().into_owned();
        proto::AttemptStarted {
            task_id: self.assignment.attempt.task.to_string(),
            epoch: self.assignment.attempt.epoch.0,
            argv: std::iter::once(program).chain(argv.into_iter().map(shown)).collect(),
            input_info_json: String::new(),
        }
    }

    /// Moves the bytes until something ends it. The process may still run then.
    async fn stream(
        &self,
        process: &mut Process,
        input: Option<Input>,
        output: Url,
    ) -> Result<Ending, Ending> {
        let lost = || -> Ending { Failure::new(FailureKind::Crashed, "live: ffmpeg has no pipes").into() };
        let (stdout, stderr) = process.take_output().ok_or_else(lost)?;
        let stdin = process.take_input();
        let flow = Arc::new(Flow { figures: self.tools.figures.clone(), ..Flow::default() });
        let (well, verdict) = oneshot::channel();
        let mut well = Some(well);

        let mut feed = if input.is_some() { Feed::Open } else { Feed::Own };
        let feeding = async {
            match input.zip(stdin) {
                Some((input, stdin)) => input.feed(stdin, &flow).await,
                None => future::pending().await,
            }
        };
        let mut feeding = pin!(feeding);
        let mut putting = pin!(put(self.tools, output, Outgoing::new(stdout, verdict, Arc::clone(&flow))));
        let mut hearing = pin!(words::read(stderr, self.vitals));
        let (mut hears, mut running) = (true, true);
        let mut farewell = pin!(future::OptionFuture::from(None));

        let mut watchdog = Watchdog::new(Instant::now());
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return Err(Ending::Stopped),
                answer = &mut putting => return if running { Err(refused(answer)) } else { self.done(answer) },
                Some(()) = &mut farewell => {
                    return Err(refused(Err(format!("no answer to all of it within {} s", FAREWELL.as_secs()))));
                }
                fed = &mut feeding, if feed == Feed::Open => match fed {
                    Fed::Over => feed = Feed::Over,
                    // Its end tells why.
                    Fed::Refused => feed = Feed::Own,
                    Fed::Broken(problem) => return Err(broken(&problem)),
                },
                () = &mut hearing, if hears => hears = false,
                status = process.wait(), if running => {
                    running = false;
                    if hears {
                        // Late lines may tell the cause.
                        let _ = timeout(LAST_WORDS, &mut hearing).await;
                        hears = false;
                    }
                    self.ended(status, feed)?;
                    // The rest of the body goes out, and then its end.
                    if let Some(well) = well.take() {
                        let _ = well.send(());
                    }
                    farewell.set(Some(tokio::time::sleep(FAREWELL)).into());
                }
                _ = look.tick(), if running => {
                    if let Some(time) = watchdog.hangs(flow.seen(), feed, Instant::now()) {
                        return Err(self.hung(time));
                    }
                }
            }
        }
    }

    /// Everything was sent.
    fn done(&self, answer: Result<Response, String>) -> Result<Ending, Ending> {
        match answer {
            Ok(answer) if answer.status().is_success() => Ok(Ending::Succeeded {
                outputs: Vec::new(),
                warnings: Vec::new(),
                progress: Box::new(self.vitals.progress()),
                damage: None,
            }),
            answer => Err(refused(answer)),
        }
    }

    /// Whether ffmpeg ended well, and when it should.
    fn ended(&self, status: io::Result<ExitStatus>, feed: Feed) -> Result<(), Ending> {
        let exit = match status {
            Ok(status) => Exit::from(status),
            Err(error) => {
                let message = format!("live: ffmpeg was lost: {error}");
                return Err(Failure::new(FailureKind::Crashed, message).into());
            }
        };
        let stderr = self.vitals.log_tail();
        let ingests = matches!(self.task.work, Work::Ingest(_));
        let evidence = Evidence {
            input: &self.assignment.input,
            doing: if ingests { "reading" } else { "encoding" },
            program: "ffmpeg",
            commanded: false,
            exit,
            stderr: &stderr,
            source: None,
            head: &[],
            oom_killed: OomKills::read().since(self.oom_kills),
        };
        if exit != Exit::Code(0) {
            let mut verdict = classify(&evidence);
            // ffmpeg reads the source itself here: what it cannot read may be there again in a moment.
            if ingests && matches!(verdict.failure.kind, FailureKind::InvalidInput | FailureKind::Crashed) {
                verdict.failure.kind = FailureKind::SourceUnreachable;
            }
            return Err(Ending::Failed(verdict));
        }
        if let Some(failure) = after_success(&evidence) {
            return Err(failure.into());
        }
        match (&self.task.work, feed) {
            (Work::Encode(_), Feed::Over) | (Work::Ingest(_) | Work::Slate(_), _) => Ok(()),
            (Work::Encode(_), Feed::Open | Feed::Own) => {
                let message = "live: ffmpeg ended before its input did";
                Err(Failure::new(FailureKind::Crashed, message).into())
            }
        }
    }

    fn hung(&self, time: Duration) -> Ending {
        let seconds = time.as_secs();
        match &self.task.work {
            Work::Ingest(_) => {
                let message = format!("reading the live source: it gave nothing for {seconds} s");
                Failure::new(FailureKind::SourceUnreachable, message).into()
            }
            Work::Encode(_) | Work::Slate(_) => {
                let message = format!("live: ffmpeg gave nothing for {seconds} s, though it had everything");
                Failure::new(FailureKind::Stalled, message).into()
            }
        }
    }
}

fn broken(problem: &str) -> Ending {
    let message = format!("reading the live source from the coordinator: {problem}");
    Failure::new(FailureKind::SourceUnreachable, message).into()
}

/// A source as people may see it.
fn shown(url: &str) -> String {
    Url::parse(url).map_or_else(|_| "the source".to_owned(), |url| fetch::shown(&url))
}
