//! The course of an attempt.

use std::{io, panic::AssertUnwindSafe, sync::Arc, time::Instant};

use common::{
    api::OnDamagedInput,
    failpoint,
    failure::{Failure, FailureKind},
    ffmpeg::{
        Allowed, Context, EncoderChoice, Lowered, ffprobe_args, lower, missing_filters, parse_ffprobe,
        safe_stem, verify::Files,
    },
    id::AttemptId,
    media::MediaInfo,
    proto,
    spec::{PROBE_ANSWER, Spec},
    worker::{Damage, OutputFile},
};
use futures::FutureExt;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{
    Assignment, Batch, Ending, Tools, Vitals,
    check::{Check, MAX_ANSWER, Objection},
    classify::{Evidence, SourceSeen, Verdict, after_check, after_probe, after_success, classify, no_room},
    damage::{self, Complaints},
    growing,
    inputs::Inputs,
    machine::OomKills,
    progress::{Encoded, Parser},
    scratch::{Claim, Growth, Scratch, estimate},
    spawn::{Exit, Process, Program},
    supervise::{Bounds, End, Keep, Stdout, supervise},
    upload,
};

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
        stop.run_until_cancelled(Inputs::open(tools, &batch.inputs))
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
        Some(Ok(inputs)) => match Box::pin(course.run_in_order(&inputs, started)).await {
            Ok(ending) => ending,
            // The coordinator gave the input to somebody else: what ffmpeg made of that says nothing.
            Err(Ending::Failed(_)) if inputs.taken_away() => Ending::NotCurrent,
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
    /// Runs it; what fails of an input that is read as it comes is tried again when all of it is there.
    async fn run_in_order(
        &self,
        inputs: &Inputs,
        started: mpsc::Sender<(AttemptId, proto::AttemptStarted)>,
    ) -> Result<Ending, Ending> {
        let grew = inputs.grow();
        let ending = Box::pin(self.run(inputs, started.clone())).await;
        let again = match &ending {
            Err(Ending::Failed(verdict)) => {
                grew && growing::may_be_for_its_order(verdict.failure.kind) && inputs.failure().is_none()
            }
            Ok(_) | Err(_) => false,
        };
        if !again {
            return ending;
        }
        self.vitals.log("ffmpegd: that was read while it was uploaded; it is tried again when it has ended");
        self.vitals.phase("waiting");
        self.until_stopped(inputs.until_whole()).await??;
        let cleared = self.scratch.clear().await;
        cleared.map_err(|error| Ending::from(no_scratch(self.tools, self.assignment, &error)))?;
        self.vitals.begin_again();
        self.vitals.phase("probing");
        Box::pin(self.run(inputs, started)).await
    }

    async fn run(
        &self,
        inputs: &Inputs,
        started: mpsc::Sender<(AttemptId, proto::AttemptStarted)>,
    ) -> Result<Ending, Ending> {
        let bounds = self.bounds(inputs);
        for (url, name) in inputs.named() {
            self.vitals.rename(&url, name);
        }
        self.vitals.rename(&format!("{}/", self.scratch.out().display()), "");

        let urls = inputs.urls();
        let url = urls.first().map_or("", String::as_str);
        let grew = inputs.grow();
        let (mut info, answer) = self.probe(inputs, url, &bounds).await?;
        if grew {
            growing::forget_guesses(&mut info);
        }
        if self.batch.spec == Spec::Probe {
            return self.answer(&info, &answer, started).await;
        }
        let lowered = Arc::new(self.lower(&info, &urls)?);
        self.reserve(&info).await?;

        self.vitals.phase("encoding");
        let program = self.program(&self.tools.ffmpeg, lowered.argv.clone());
        failpoint::hit("encode.before");
        let process = self.spawn(&program).await?;
        // Nobody listens only when the worker ends, which ends this too.
        let _ = started.send((self.assignment.attempt, self.started(&program, &info))).await;
        let (encoded, complaints) = self.encode(process, &lowered, inputs, &bounds).await?;
        failpoint::hit("encode.after");
        if grew {
            // It says more about itself by now.
            self.until_stopped(inputs.until_whole()).await??;
            (info, _) = self.probe(inputs, url, &bounds).await?;
            let _ = started.send((self.assignment.attempt, self.started(&program, &info))).await;
        }

        self.vitals.phase("checking");
        let check = Check {
            tools: self.tools,
            lowered: &lowered,
            out: &self.scratch.out(),
            bounds: &bounds,
            input: &info,
            input_url: url,
            allowed: Allowed::of(&self.batch.spec),
            encoded,
            complaints: &complaints,
        };
        let files = check.finish().await.map_err(|objection| self.objected(objection, &check, inputs))?;
        let checking = Box::pin(self.check(&check, files, inputs));
        // What was wrong with a result says more than that it cannot be read.
        let (damage, outputs) = tokio::try_join!(checking, async { Ok(self.outputs().await) })?;
        let outputs = outputs?;
        let mut warnings = lowered.warnings.clone();
        warnings.extend(damage.iter().flat_map(|damage| damage::words(damage, &complaints)));

        self.upload(outputs, warnings, damage).await
    }

    /// What is in the output folder, with its digests.
    async fn outputs(&self) -> Result<Vec<OutputFile>, Ending> {
        let outputs = self.until_stopped(upload::list(&self.scratch.out())).await?;
        outputs.map_err(|error| {
            Failure::new(FailureKind::OutputWrong, format!("cannot read the results: {error}")).into()
        })
    }

    /// Brings what is in the output folder.
    async fn upload(
        &self,
        outputs: Vec<OutputFile>,
        warnings: Vec<String>,
        damage: Option<Damage>,
    ) -> Result<Ending, Ending> {
        self.vitals.phase("uploading");
        let out = self.scratch.out();
        let uploading = upload::upload(self.tools, self.assignment.attempt, &out, &outputs);
        self.until_stopped(uploading).await??;
        Ok(Ending::Succeeded { outputs, warnings, progress: Box::new(self.vitals.progress()), damage })
    }

    /// What ffprobe said is the result.
    async fn answer(
        &self,
        info: &MediaInfo,
        answer: &[u8],
        started: mpsc::Sender<(AttemptId, proto::AttemptStarted)>,
    ) -> Result<Ending, Ending> {
        let program = self.program(&self.tools.ffprobe, Vec::new());
        let _ = started.send((self.assignment.attempt, self.started(&program, info))).await;
        let answer = probe_answer(answer, &self.assignment.input).map_err(|error| {
            let message = format!("probing {}: ffprobe's answer is no JSON: {error}", self.assignment.input);
            Ending::from(Failure::new(FailureKind::Crashed, message))
        })?;
        let written = tokio::fs::write(self.scratch.out().join(PROBE_ANSWER), answer).await;
        written.map_err(|error| Ending::from(no_scratch(self.tools, self.assignment, &error)))?;
        self.upload(self.outputs().await?, Vec::new(), None).await
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

    fn bounds(&self, inputs: &Inputs) -> Bounds {
        Bounds {
            stop: self.stop.clone(),
            stall: self.batch.stall,
            deadline: self.batch.time_limit.and_then(|limit| self.begun.checked_add(limit)),
            sources: inputs.sources(),
            growth: Some(self.growth.clone()),
        }
    }

    /// What ffprobe says about the first input: read, and as it was said.
    async fn probe(
        &self,
        inputs: &Inputs,
        url: &str,
        bounds: &Bounds,
    ) -> Result<(MediaInfo, Vec<u8>), Ending> {
        let args = ffprobe_args(url, Allowed::of(&self.batch.spec));
        let process = self.spawn(&self.program(&self.tools.ffprobe, args)).await?;
        let mut answer = Keep { bytes: Vec::new(), limit: MAX_ANSWER };
        let end = supervise(process, &mut answer, &self.vitals.log, bounds).await;
        let exit = self.exited(end, "reading", "ffprobe", inputs)?;
        let doubt = self.with_evidence("reading", "ffprobe", exit, inputs, |evidence| match exit {
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
        info.size = inputs.size().or(info.size);
        Ok((info, answer.bytes))
    }

    fn lower(&self, info: &MediaInfo, urls: &[String]) -> Result<Lowered, Ending> {
        let nvenc_preset = self.tools.nvenc_preset;
        let encoder =
            self.assignment.encoder.as_ref().map(|encoder| EncoderChoice { nvenc_preset, ..encoder.clone() });
        let capabilities = Arc::clone(&self.tools.capabilities.borrow());
        let context = Context {
            spec: &self.batch.spec,
            input: info,
            inputs: urls,
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
        inputs: &Inputs,
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
        let exit = self.exited(end, "encoding", "ffmpeg", inputs)?;
        let failed = self.with_evidence("encoding", "ffmpeg", exit, inputs, |evidence| match exit {
            Exit::Code(0) => after_success(evidence).map(Verdict::from),
            Exit::Code(_) | Exit::Signal(_) => Some(classify(evidence)),
        });
        match failed {
            Some(verdict) => Err(Ending::Failed(verdict)),
            None => Ok((reports.parser.encoded(), complaints)),
        }
    }

    /// Why a result is not taken, with what ffmpeg said on its way there.
    fn objected(&self, objection: Objection, check: &Check<'_>, inputs: &Inputs) -> Ending {
        match objection {
            Objection::Ended(ending) => ending,
            Objection::Wrong(wrong) => {
                let failure = self.with_evidence("checking", "ffmpeg", Exit::Code(0), inputs, |evidence| {
                    after_check(evidence, &wrong, check.encoded, check.complaints)
                });
                failure.into()
            }
        }
    }

    /// Checks the result, and says what was wrong with the input if anything was.
    async fn check(
        &self,
        check: &Check<'_>,
        files: Files,
        inputs: &Inputs,
    ) -> Result<Option<Damage>, Ending> {
        let survey = check.run(files).await.map_err(|objection| self.objected(objection, check, inputs))?;
        // A transfer that broke off while the input was looked at again says nothing about the input.
        if survey.is_some()
            && let Some(failure) = inputs.failure()
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
    fn exited(&self, end: End, doing: &str, program: &str, inputs: &Inputs) -> Result<Exit, Ending> {
        let input = &self.assignment.input;
        let failure = match end {
            End::Exited(exit) => return Ok(exit),
            End::Stopped => return Err(Ending::Stopped),
            End::Stalled(patience) => {
                if let Some(failure) = inputs.failure() {
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
        inputs: &Inputs,
        judge: impl FnOnce(&Evidence<'_>) -> T,
    ) -> T {
        let stderr = self.vitals.log_tail();
        let seen = inputs.seen();
        let fetched = seen.as_ref().and_then(|seen| seen.fetched.as_ref());
        let source = fetched.map(|(observed, origin, shown)| SourceSeen { shown, origin: *origin, observed });
        judge(&Evidence {
            input: seen.as_ref().map_or(&self.assignment.input, |seen| &seen.name),
            doing,
            program,
            commanded: program == "ffmpeg" && self.is_commanded(),
            exit,
            stderr: &stderr,
            source,
            head: seen.as_ref().map_or(&[], |seen| &seen.head),
            oom_killed: OomKills::read().since(self.oom_kills),
        })
    }

    /// A command that any worker would run alike.
    fn is_commanded(&self) -> bool {
        let in_hardware =
            || self.assignment.encoder.as_ref().is_some_and(|encoder| encoder.family.is_hardware());
        matches!(self.batch.spec, Spec::Command(_)) && !in_hardware()
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

/// ffprobe's answer, with the name that the user knows the input by.
fn probe_answer(answer: &[u8], name: &str) -> serde_json::Result<Vec<u8>> {
    let mut answer: serde_json::Value = serde_json::from_slice(answer)?;
    if let Some(filename) = answer.pointer_mut("/format/filename") {
        *filename = name.into();
    }
    serde_json::to_vec_pretty(&answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_of_a_probe_does_not_name_the_proxy() {
        let answer = br#"{"streams":[],"format":{"filename":"http://127.0.0.1:4000/x","nb_streams":0}}"#;
        let answer = String::from_utf8(probe_answer(answer, "a.mp4").unwrap()).unwrap();
        assert!(answer.contains("\"filename\": \"a.mp4\"") && !answer.contains("127.0.0.1"), "{answer}");
        assert!(probe_answer(b"{", "a.mp4").is_err());
    }
}
