//! The course of an attempt.

use std::{io, panic::AssertUnwindSafe, path::PathBuf, sync::Arc, time::Instant};

use common::{
    api::OnDamagedInput,
    failpoint,
    failure::{Failure, FailureKind},
    ffmpeg::{
        Context, EncoderChoice, Lowered, ffprobe_args, lower, missing_filters, parse_ffprobe, safe_stem,
    },
    id::AttemptId,
    media::MediaInfo,
    proto,
    worker::Damage,
};
use futures::FutureExt;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{
    Assignment, Batch, Ending, Location, Tools, Vitals,
    check::{Check, MAX_ANSWER, Objection},
    classify::{Evidence, SourceSeen, Verdict, after_check, after_probe, after_success, classify, no_room},
    damage::{self, Complaints},
    machine::OomKills,
    progress::{Encoded, Parser},
    scratch::{Claim, Growth, Scratch, estimate},
    spawn::{Exit, Process, Program},
    supervise::{Bounds, End, Keep, Stdout, supervise},
    upload,
};
use crate::fetch::{self, Mount, Observed, Origin};

/// Runs an attempt to its end. `started` gets one message when ffmpeg runs. When this returns no process of the attempt
/// is left and its scratch folder is gone.
pub(crate) async fn attempt(
    tools: &Tools,
    assignment: &Assignment,
    batch: &Batch,
    claim: Claim,
    vitals: &Vitals,
    started: mpsc::Sender<(AttemptId, proto::AttemptStarted)>,
    stop: CancellationToken,
) -> Ending {
    let run = AssertUnwindSafe(run(tools, assignment, batch, claim, vitals, started, stop)).catch_unwind();
    run.await.unwrap_or_else(|_| {
        let message =
            format!("transcoding {}: the worker made a mistake (a panic; see its log)", assignment.input);
        Failure::new(FailureKind::Crashed, message).into()
    })
}

async fn run(
    tools: &Tools,
    assignment: &Assignment,
    batch: &Batch,
    claim: Claim,
    vitals: &Vitals,
    started: mpsc::Sender<(AttemptId, proto::AttemptStarted)>,
    stop: CancellationToken,
) -> Ending {
    vitals.phase("probing");
    // Side by side: an encode waits for both.
    let (scratch, opened) = tokio::join!(
        Scratch::create(&tools.scratch, assignment.attempt),
        stop.run_until_cancelled(open(tools, assignment, batch))
    );
    let scratch = match scratch {
        Ok(scratch) => scratch,
        Err(error) => return no_scratch(tools, assignment, &error).into(),
    };
    // What is claimed is in use until the files are gone.
    let claim = Arc::new(claim);
    let growth = Growth { claim: Arc::clone(&claim), folder: scratch.folder().to_owned() };
    let course = Course {
        tools,
        assignment,
        batch,
        vitals,
        stop,
        scratch: &scratch,
        growth,
        begun: Instant::now(),
        oom_kills: OomKills::read(),
    };
    let ending = match opened {
        Some(Ok(opened)) => match course.run(&opened, started).await {
            Ok(ending) => ending,
            // The coordinator gave the input to somebody else: what ffmpeg made of that says nothing.
            Err(Ending::Failed(_)) if opened.taken_away() => Ending::NotCurrent,
            Err(ending) => ending,
        },
        Some(Err(failure)) => failure.into(),
        None => Ending::Stopped,
    };
    failpoint::hit("scratch.remove.before");
    scratch.remove().await;
    failpoint::hit("scratch.remove.after");
    drop(claim);
    ending
}

fn no_scratch(tools: &Tools, assignment: &Assignment, error: &io::Error) -> Failure {
    let kind = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => FailureKind::DiskFull,
        _ => FailureKind::Crashed,
    };
    let message = format!(
        "transcoding {}: cannot make a scratch folder in {}: {error}; make room there, or set TVARR_SCRATCH_DIR",
        assignment.input,
        tools.scratch.display()
    );
    Failure::new(kind, message)
}

/// What ffmpeg opens.
enum Opened {
    Mount(Mount),
    Path { path: PathBuf, head: Vec<u8> },
}

async fn open(tools: &Tools, assignment: &Assignment, batch: &Batch) -> Result<Opened, Failure> {
    let invalid = |reason: String| {
        Failure::new(FailureKind::InvalidInput, format!("cannot read {}: {reason}", assignment.input))
    };
    match &batch.location {
        Location::Path(path) => {
            let file = fetch::open_below(&tools.shared_roots, path.as_ref()).await?;
            Ok(Opened::Path { path: file.path, head: file.head })
        }
        Location::Url(url) => {
            let origin = if url.contains("://") { Origin::User } else { Origin::Coordinator };
            let resolved = tools.coordinator.resolve(url).map_err(invalid)?;
            if !matches!(resolved.scheme(), "http" | "https") {
                return Err(invalid(format!(
                    "{} is not supported; give an http or https URL",
                    resolved.scheme()
                )));
            }
            Ok(Opened::Mount(tools.proxy.mount(resolved, origin, &assignment.input)))
        }
    }
}

struct Course<'a> {
    tools: &'a Tools,
    assignment: &'a Assignment,
    batch: &'a Batch,
    vitals: &'a Vitals,
    stop: CancellationToken,
    scratch: &'a Scratch,
    growth: Growth,
    begun: Instant,
    /// At the beginning.
    oom_kills: OomKills,
}

impl Course<'_> {
    async fn run(
        &self,
        opened: &Opened,
        started: mpsc::Sender<(AttemptId, proto::AttemptStarted)>,
    ) -> Result<Ending, Ending> {
        let bounds = self.bounds(opened);
        let url = opened.url();
        self.vitals.rename(&url, &self.assignment.input);
        self.vitals.rename(&format!("{}/", self.scratch.out().display()), "");

        let info = self.probe(opened, &url, &bounds).await?;
        let lowered = Arc::new(self.lower(&info, &url)?);
        self.reserve(&info).await?;

        self.vitals.phase("encoding");
        let program = self.program(&self.tools.ffmpeg, lowered.argv.clone());
        failpoint::hit("encode.before");
        let process = self.spawn(&program).await?;
        // Nobody listens only when the worker ends, which ends this too.
        let _ = started.send((self.assignment.attempt, self.started(&program, &info))).await;
        let (encoded, complaints) = self.encode(process, &lowered, opened, &bounds).await?;
        failpoint::hit("encode.after");

        self.vitals.phase("checking");
        let check = Check {
            tools: self.tools,
            lowered: &lowered,
            out: &self.scratch.out(),
            bounds: &bounds,
            input: &info,
            input_url: &url,
            encoded,
            complaints: &complaints,
        };
        let damage = self.check(&check, opened).await?;
        let mut warnings = lowered.warnings.clone();
        warnings.extend(damage.iter().flat_map(|damage| damage::words(damage, &complaints)));

        self.vitals.phase("uploading");
        let out = self.scratch.out();
        let outputs = self.until_stopped(upload::list(&out)).await?.map_err(|error| {
            Failure::new(FailureKind::OutputWrong, format!("cannot read the results: {error}"))
        });
        let outputs = outputs.map_err(Ending::from)?;
        let uploading = upload::upload(self.tools, self.assignment.attempt, &out, &outputs);
        self.until_stopped(uploading).await??;
        Ok(Ending::Succeeded { outputs, warnings, progress: Box::new(self.vitals.progress()), damage })
    }

    async fn until_stopped<T>(&self, work: impl Future<Output = T>) -> Result<T, Ending> {
        self.stop.run_until_cancelled(work).await.ok_or(Ending::Stopped)
    }

    /// What the results will take, as far as one can tell now.
    async fn reserve(&self, info: &MediaInfo) -> Result<(), Ending> {
        let bytes = estimate(&self.batch.spec, info);
        let raised = self.growth.claim.raise(bytes).await;
        raised.map_err(|shortage| {
            Ending::Failed(no_room(&format!("encoding {}", self.assignment.input), shortage))
        })
    }

    fn bounds(&self, opened: &Opened) -> Bounds {
        Bounds {
            stop: self.stop.clone(),
            stall: self.batch.stall,
            deadline: self.batch.time_limit.and_then(|limit| self.begun.checked_add(limit)),
            source: match opened {
                Opened::Mount(mount) => Some(Arc::clone(&mount.source)),
                Opened::Path { .. } => None,
            },
            growth: Some(self.growth.clone()),
        }
    }

    async fn probe(&self, opened: &Opened, url: &str, bounds: &Bounds) -> Result<MediaInfo, Ending> {
        let process = self.spawn(&self.program(&self.tools.ffprobe, ffprobe_args(url))).await?;
        let mut answer = Keep { bytes: Vec::new(), limit: MAX_ANSWER };
        let end = supervise(process, &mut answer, &self.vitals.log, bounds).await;
        let exit = self.exited(end, "reading", "ffprobe", opened)?;
        let doubt = self.with_evidence("reading", "ffprobe", exit, opened, |evidence| match exit {
            Exit::Code(0) => after_probe(evidence).map(Verdict::from),
            Exit::Code(_) | Exit::Signal(_) => Some(classify(evidence)),
        });
        if let Some(verdict) = doubt {
            return Err(Ending::Failed(verdict));
        }
        let mut info = parse_ffprobe(&answer.bytes).map_err(|failure| {
            let message = failure.message.replacen("the input", &self.assignment.input, 1);
            Ending::from(Failure { message, ..failure })
        })?;
        if let Opened::Mount(mount) = opened {
            info.size = mount.source.observed().size.or(info.size);
        }
        Ok(info)
    }

    fn lower(&self, info: &MediaInfo, url: &str) -> Result<Lowered, Ending> {
        let nvenc_preset = self.tools.nvenc_preset;
        let encoder =
            self.assignment.encoder.as_ref().map(|encoder| EncoderChoice { nvenc_preset, ..encoder.clone() });
        let capabilities = Arc::clone(&self.tools.capabilities.borrow());
        let context = Context {
            spec: &self.batch.spec,
            input: info,
            input_url: url,
            stem: &safe_stem(&self.assignment.input),
            encoder: encoder.as_ref(),
            capabilities: &capabilities,
            output_dir: self.scratch.out(),
        };
        lower(&context).map_err(|failure| {
            let missing_filters = match failure.kind {
                FailureKind::MissingCapability => missing_filters(&context),
                _ => Vec::new(),
            };
            Ending::Failed(Verdict { missing_filters, ..self.about_input(failure).into() })
        })
    }

    /// A failure of the pure functions, which do not know the input's name.
    fn about_input(&self, failure: Failure) -> Failure {
        if failure.message.contains(&self.assignment.input) {
            return failure;
        }
        let message = format!("transcoding {}: {}", self.assignment.input, failure.message);
        Failure { message, ..failure }
    }

    async fn encode(
        &self,
        process: Process,
        lowered: &Lowered,
        opened: &Opened,
        bounds: &Bounds,
    ) -> Result<(Encoded, Complaints), Ending> {
        let mut reports = Reports {
            vitals: self.vitals,
            lines: super::lines::Lines::default(),
            parser: Parser::new(lowered.duration),
            last: (0, 0),
        };
        self.vitals.start_tally();
        let end = supervise(process, &mut reports, &self.vitals.log, bounds).await;
        let complaints = self.vitals.take_tally().complaints();
        let exit = self.exited(end, "encoding", "ffmpeg", opened)?;
        let failed = self.with_evidence("encoding", "ffmpeg", exit, opened, |evidence| match exit {
            Exit::Code(0) => after_success(evidence).map(Verdict::from),
            Exit::Code(_) | Exit::Signal(_) => Some(classify(evidence)),
        });
        match failed {
            Some(verdict) => Err(Ending::Failed(verdict)),
            None => Ok((reports.parser.encoded(), complaints)),
        }
    }

    /// Checks the result, and says what was wrong with the input if anything was.
    async fn check(&self, check: &Check<'_>, opened: &Opened) -> Result<Option<Damage>, Ending> {
        let survey = match check.run().await {
            Ok(survey) => survey,
            Err(Objection::Ended(ending)) => return Err(ending),
            Err(Objection::Wrong(wrong)) => {
                let failure = self.with_evidence("checking", "ffmpeg", Exit::Code(0), opened, |evidence| {
                    after_check(evidence, &wrong, check.encoded, check.complaints)
                });
                return Err(failure.into());
            }
        };
        // A transfer that broke off while the input was looked at again says nothing about the input.
        if survey.is_some()
            && let Some(failure) = opened.failure()
        {
            return Err(failure.into());
        }
        let damage = damage::damage(check.complaints, check.input, survey.as_ref());
        match (damage, self.batch.on_damaged_input) {
            (Some(damage), OnDamagedInput::Fail) => {
                let words = damage::words(&damage, check.complaints).join("; ");
                let message = format!(
                    "{} is damaged: {words}; give a whole file, or take what there is with on_damaged_input = warn",
                    self.assignment.input
                );
                Err(Failure::new(FailureKind::InvalidInput, message).into())
            }
            (damage, OnDamagedInput::Warn) => Ok(damage),
            (None, OnDamagedInput::Fail) => Ok(None),
        }
    }

    /// How a process ended, if it ended by itself.
    fn exited(&self, end: End, doing: &str, program: &str, opened: &Opened) -> Result<Exit, Ending> {
        let input = &self.assignment.input;
        let failure = match end {
            End::Exited(exit) => return Ok(exit),
            End::Stopped => return Err(Ending::Stopped),
            End::Stalled(patience) => {
                if let Some(failure) = opened.failure() {
                    return Err(failure.into());
                }
                let message = format!("{doing} {input}: {program} did nothing for {} s", patience.as_secs());
                Failure::new(FailureKind::Stalled, message)
            }
            End::OutOfTime => {
                let limit = self.batch.time_limit.unwrap_or_default().as_secs();
                let message = format!(
                    "{doing} {input}: the job's time limit of {limit} s ran out; raise it or ask for less"
                );
                Failure::new(FailureKind::TimeLimit, message)
            }
            End::NoRoom(shortage) => {
                let shortage = shortage.at(self.vitals.progress().fraction);
                return Err(Ending::Failed(no_room(&format!("{doing} {input}"), shortage)));
            }
            End::Lost(error) => {
                Failure::new(FailureKind::Crashed, format!("{doing} {input}: {program} was lost: {error}"))
            }
        };
        Err(failure.into())
    }

    fn with_evidence<T>(
        &self,
        doing: &str,
        program: &str,
        exit: Exit,
        opened: &Opened,
        judge: impl FnOnce(&Evidence<'_>) -> T,
    ) -> T {
        let stderr = self.vitals.log_tail();
        let seen: Option<(Observed, &Mount)> = match opened {
            Opened::Mount(mount) => Some((mount.source.observed(), mount)),
            Opened::Path { .. } => None,
        };
        let source = seen.as_ref().map(|(observed, mount)| SourceSeen {
            shown: match mount.source.origin {
                Origin::User => &mount.source.shown,
                Origin::Coordinator => &self.assignment.input,
            },
            origin: mount.source.origin,
            observed,
        });
        let head = match (opened, &seen) {
            (Opened::Path { head, .. }, _) => head.as_slice(),
            (Opened::Mount(_), Some((observed, _))) => &observed.head,
            (Opened::Mount(_), None) => &[],
        };
        judge(&Evidence {
            input: &self.assignment.input,
            doing,
            program,
            exit,
            stderr: &stderr,
            source,
            head,
            oom_killed: OomKills::read().since(self.oom_kills),
        })
    }

    fn program(&self, path: &std::path::Path, args: Vec<std::ffi::OsString>) -> Program {
        Program {
            path: path.to_owned(),
            args,
            folder: self.scratch.folder().to_owned(),
            stdin: false,
            network: false,
        }
    }

    async fn spawn(&self, program: &Program) -> Result<Process, Ending> {
        if self.stop.is_cancelled() {
            return Err(Ending::Stopped);
        }
        self.tools.spawner.spawn(program).await.map_err(|error| {
            let kind = match error.kind() {
                io::ErrorKind::OutOfMemory => FailureKind::OutOfMemory,
                _ => FailureKind::Crashed,
            };
            let message = format!(
                "transcoding {}: cannot start {}: {error}; run `ffmpegd detect` on this worker",
                self.assignment.input,
                program.path.display()
            );
            Failure::new(kind, message).into()
        })
    }

    fn started(&self, program: &Program, info: &MediaInfo) -> proto::AttemptStarted {
        let command = std::iter::once(program.path.to_string_lossy().into_owned())
            .chain(program.args.iter().map(|arg| arg.to_string_lossy().into_owned()));
        proto::AttemptStarted {
            task_id: self.assignment.attempt.task.to_string(),
            epoch: self.assignment.attempt.epoch.0,
            argv: command.collect(),
            input_info_json: serde_json::to_string(info).unwrap_or_default(),
        }
    }
}

impl Opened {
    fn url(&self) -> String {
        match self {
            Self::Mount(mount) => mount.url.clone(),
            Self::Path { path, .. } => path.to_string_lossy().into_owned(),
        }
    }

    /// Whether the coordinator answered that the attempt is not current any more.
    fn taken_away(&self) -> bool {
        match self {
            Self::Path { .. } => false,
            Self::Mount(mount) => mount.source.taken_away(),
        }
    }

    fn failure(&self) -> Option<Failure> {
        match self {
            Self::Path { .. } => None,
            Self::Mount(mount) => {
                let failure = mount.source.observed().failure?;
                Some(failure.failure(&mount.source.shown, mount.source.origin))
            }
        }
    }
}

/// `ffmpeg -progress` on stdout.
struct Reports<'a> {
    vitals: &'a Vitals,
    lines: super::lines::Lines,
    parser: Parser,
    last: (u64, u64),
}

impl Stdout for Reports<'_> {
    fn take(&mut self, bytes: &[u8]) {
        let Self { vitals, lines, parser, last } = self;
        lines.push(bytes, |line| {
            if let Some(progress) = parser.line(line) {
                *last = (progress.out_time_us, progress.frames);
                vitals.report(progress);
            }
        });
    }

    fn signs(&self) -> (u64, u64) {
        self.last
    }
}
