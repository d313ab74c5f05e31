//! One job from the user's disk to the user's disk.

use std::{
    path::PathBuf,
    pin::pin,
    sync::{Mutex, PoisonError, atomic::Ordering},
    time::{Duration, Instant},
};

use common::{
    api::{CommandLine, InputRef, JobRequest, JobState, JobView},
    id::{JobId, UploadId},
};
use futures::future::try_join_all;
use tokio::sync::Semaphore;
use uuid::Uuid;

use super::{
    fetch,
    inputs::{Input, LocalFile, Sources},
    outputs::{self, Place},
    stuck::Stuck,
};
use crate::{
    client::{self, Client, Counter, Events},
    error::Error,
    exit::Exit,
    follow::{Link, News, follow},
    interrupt::Interrupt,
    progress::{Outcome, Reporter, Stage},
    refusal,
};

/// How often bytes on their way are reported.
const TICK: Duration = Duration::from_millis(200);
/// How long a cancelled job may take to end: a worker hears of it at once and kills ffmpeg.
const CANCEL_PATIENCE: Duration = Duration::from_secs(20);
/// Between tries while an owner has as many jobs waiting as it may.
const QUOTA: Duration = Duration::from_secs(3);
/// Times that a job is submitted to a coordinator that is just starting.
const SUBMIT_TRIES: u32 = 5;
const SHORTLY: Duration = Duration::from_millis(500);
/// How often it is looked whether a job waits in vain.
const LOOK: Duration = Duration::from_secs(1);

pub(crate) struct Pipeline<'a> {
    pub client: &'a Client,
    pub events: Events,
    pub link: Link<'a>,
    pub reporter: &'a Reporter,
    pub interrupt: &'a Interrupt,
    pub request: &'a (dyn Fn(InputRef) -> JobRequest + Send + Sync),
    pub force: bool,
    /// The coordinator sees the same disk: files are read where they are.
    pub in_place: bool,
    pub uploads: Semaphore,
}

/// A file on its way to the coordinator.
struct Sending<'a> {
    upload: UploadId,
    file: &'a LocalFile,
    sent: Counter,
}

impl Sending<'_> {
    fn is_done(&self) -> bool {
        self.sent.load(Ordering::Relaxed) >= self.file.size
    }
}

/// What is shown of files on their way while their job is at `stage`.
fn uploading(files: &[Sending<'_>], stage: &Stage) -> Option<Stage> {
    let sent = |file: &Sending<'_>| file.sent.load(Ordering::Relaxed).min(file.file.size);
    let waits = matches!(stage, Stage::Queued { .. }) && !files.iter().all(Sending::is_done);
    waits.then(|| Stage::Uploading {
        done_bytes: files.iter().map(sent).sum(),
        total_bytes: files.iter().map(|file| file.file.size).sum(),
    })
}

impl Pipeline<'_> {
    pub(super) async fn run(&self, index: usize, sources: &Sources, place: &Place) -> Outcome {
        let (outcome, entries) = self.attempt(index, sources, place).await;
        self.reporter.finished(index, &outcome, &entries);
        outcome
    }

    /// The same without saying how it ended. Returns the results that a person opens, too.
    pub(crate) async fn attempt(
        &self,
        index: usize,
        sources: &Sources,
        place: &Place,
    ) -> (Outcome, Vec<PathBuf>) {
        let began = Instant::now();
        let mut outcome = Outcome::new(sources.name());
        let mut entries = Vec::new();
        match self.steps(index, sources, place, &mut outcome).await {
            Ok(found) => entries = found,
            Err(error) => outcome.fail(error),
        }
        outcome.seconds = began.elapsed().as_secs_f64();
        (outcome, entries)
    }

    async fn steps(
        &self,
        index: usize,
        sources: &Sources,
        place: &Place,
        outcome: &mut Outcome,
    ) -> Result<Vec<PathBuf>, Error> {
        if self.interrupt.asked.is_cancelled() {
            return Err(Error::interrupted());
        }
        let mut files = Vec::new();
        let result = match self.bring(sources, &mut files).await {
            Ok(references) => self.job(index, references, &files, place, outcome).await,
            Err(error) => Err(error),
        };
        // A coordinator that went away may still need them.
        if !matches!(&result, Err(error) if error.exit == Exit::Unreachable) {
            for file in &files {
                self.delete(file.upload).await;
            }
        }
        result
    }

    /// Makes the inputs known to the coordinator. Those that come to be in `files` are still to be sent then.
    async fn bring<'i>(
        &self,
        sources: &'i Sources,
        files: &mut Vec<Sending<'i>>,
    ) -> Result<Vec<InputRef>, Error> {
        let mut references = Vec::new();
        for input in sources.iter() {
            let file = match input {
                Input::Url(url) => {
                    references.push(InputRef::Url(url.clone()));
                    continue;
                }
                Input::Upload(upload) => {
                    references.push(InputRef::Upload(*upload));
                    continue;
                }
                Input::File(file) => file,
            };
            // Paths travel as JSON, which has no room for those that are no UTF-8.
            if let (true, Some(path)) = (self.in_place, file.canonical.to_str()) {
                references.push(InputRef::Path(path.to_owned()));
                continue;
            }
            let upload = tokio::select! {
                biased;
                () = self.interrupt.asked.cancelled() => return Err(Error::interrupted()),
                upload = self.create_upload(file) => upload?,
            };
            files.push(Sending { upload, file, sent: Counter::default() });
            references.push(InputRef::Upload(upload));
        }
        Ok(references)
    }

    async fn create_upload(&self, file: &LocalFile) -> Result<UploadId, Error> {
        let name = file.file_name();
        let mut tries = 0;
        loop {
            match self.client.create_upload(&name, file.size).await {
                // One that was made all the same is removed by the coordinator, as nothing comes.
                Err(error) if error.is_transient() && tries < SUBMIT_TRIES => {
                    tries += 1;
                    tokio::time::sleep(SHORTLY).await;
                }
                made => return Ok(made?),
            }
        }
    }

    /// Sends the file of a job that follows it.
    async fn send(&self, index: usize, sending: &Sending<'_>) -> Result<(), Error> {
        let closed = |_| Error::failed("uploads were stopped");
        let _permit = self.uploads.acquire().await.map_err(closed)?;
        let Sending { upload, file, sent } = sending;
        let retrying = |error: &client::Error| {
            self.reporter.note_on(index, &format!("the upload broke and goes on: {error}"));
        };
        self.client.send_upload(*upload, &file.canonical, file.size, sent, retrying).await
    }

    /// Sends what is to be sent and follows the job meanwhile, to its end.
    async fn send_and_follow(
        &self,
        index: usize,
        job: JobId,
        files: &[Sending<'_>],
    ) -> Result<JobView, Error> {
        let mut following = pin!(self.follow(index, job, files));
        let sent = tokio::select! {
            // A job that ends before its input has come has failed, or was cancelled.
            ended = &mut following => return ended,
            sent = try_join_all(files.iter().map(|file| self.send(index, file))) => sent,
        };
        match sent {
            Ok(_) => following.await,
            Err(error) => match self.client.job(job).await {
                // The upload is gone, and the job's end tells why.
                Ok(view) if view.summary.state.is_final() => Ok(view),
                Ok(_) | Err(_) => {
                    self.cancel(index, job).await;
                    Err(error)
                }
            },
        }
    }

    async fn job(
        &self,
        index: usize,
        references: Vec<InputRef>,
        files: &[Sending<'_>],
        place: &Place,
        outcome: &mut Outcome,
    ) -> Result<Vec<PathBuf>, Error> {
        let job = self.submit(references, place).await?;
        outcome.job = Some(job);
        let ended = tokio::select! {
            biased;
            () = self.interrupt.asked.cancelled() => {
                self.cancel(index, job).await;
                return Err(Error::interrupted());
            }
            error = self.hopeless(job), if self.in_place => {
                self.cancel(index, job).await;
                return Err(error);
            }
            ended = self.send_and_follow(index, job, files) => ended?,
        };
        outcome.conclude(&ended);
        if ended.summary.state != JobState::Succeeded {
            if outcome.wants_log()
                && let Ok(logs) = self.client.logs(job).await
                && let Some(last) = logs.last()
            {
                outcome.add_log(&last.lines);
            }
            return Ok(Vec::new());
        }
        let target = match place {
            Place::Here(target) => target,
            Place::Delivered(url) => return Ok(delivered(&ended, url, outcome)),
        };
        let received = Counter::default();
        let total = ended.outputs.iter().map(|output| output.size).sum();
        let retrying = |error: &client::Error| {
            self.reporter.note_on(index, &format!("fetching the results broke and goes on: {error}"));
        };
        let fetching = fetch::fetch(fetch::Fetch {
            client: self.client,
            job,
            outputs: &ended.outputs,
            target,
            force: self.force,
            received: &received,
            retrying: &retrying,
        });
        let stage =
            || Stage::Downloading { done_bytes: received.load(Ordering::Relaxed), total_bytes: total };
        let paths = tokio::select! {
            biased;
            () = self.interrupt.asked.cancelled() => return Err(Error::interrupted()),
            paths = self.ticking(index, Some(job), stage, fetching) => paths?,
        };
        outcome.outputs = paths.all;
        Ok(paths.entries)
    }

    async fn submit(&self, references: Vec<InputRef>, place: &Place) -> Result<JobId, Error> {
        let mut references = references.into_iter();
        let first = references.next().ok_or_else(|| Error::failed("a job has no input"))?;
        let output = match place {
            Place::Here(_) => None,
            Place::Delivered(url) => Some(url.clone()),
        };
        let request = JobRequest { more_inputs: references.collect(), output, ..(self.request)(first) };
        // Sent again it gives the same job, should the first have arrived.
        let key = Uuid::new_v4();
        let mut tries = 0;
        loop {
            match self.client.submit(&request, key).await {
                Ok(view) => return Ok(view.summary.id),
                // Others of the same owner come first.
                Err(error) if error.is_before_its_turn() => tokio::time::sleep(QUOTA).await,
                Err(error) if error.is_transient() && tries < SUBMIT_TRIES => {
                    tries += 1;
                    tokio::time::sleep(SHORTLY).await;
                }
                Err(error) if error.is_transient() && !error.had_no_effect() => {
                    return Err(Error::unreachable(format!(
                        "{error}. The job may have been accepted all the same: `ffmpegctl jobs ls` tells"
                    )));
                }
                Err(error) => return Err(refused(error, &request)),
            }
        }
    }

    /// Until the job runs, what is shown is how much of its input was sent.
    async fn follow(&self, index: usize, job: JobId, files: &[Sending<'_>]) -> Result<JobView, Error> {
        let stage = Mutex::new(Stage::Queued { waiting_for: None });
        let show = || {
            let stage = stage.lock().unwrap_or_else(PoisonError::into_inner);
            let uploading = uploading(files, &stage);
            self.reporter.stage(index, Some(job), uploading.as_ref().unwrap_or(&stage));
        };
        let mut news = |news: News<'_>| {
            {
                let mut stage = stage.lock().unwrap_or_else(PoisonError::into_inner);
                match news {
                    News::Job(view) if view.summary.state.is_final() => return,
                    News::Job(view) => *stage = Stage::of_job(view),
                    News::Progress(progress) => *stage = stage.with_progress(progress),
                }
            }
            show();
        };
        let following = follow(self.client, &self.events, &self.link, job, &mut news);
        let uploaded = async {
            let mut ticks = tokio::time::interval(TICK);
            while !files.iter().all(Sending::is_done) {
                ticks.tick().await;
                show();
            }
            std::future::pending::<Result<JobView, Error>>().await
        };
        tokio::select! {
            ended = following => ended,
            never = uploaded => never,
        }
    }

    /// Ends when the job waits for what this machine will never have.
    async fn hopeless(&self, job: JobId) -> Error {
        let mut stuck = Stuck::default();
        loop {
            tokio::time::sleep(LOOK).await;
            let (Ok(job), Ok(workers)) = (self.client.job(job).await, self.client.workers().await) else {
                continue;
            };
            if let Some(error) = stuck.look(&job, &workers, Instant::now()) {
                return error;
            }
        }
    }

    /// Cancels the job and waits until it is over, so that nothing of it runs on.
    async fn cancel(&self, index: usize, job: JobId) {
        self.reporter.stage(index, Some(job), &Stage::Cancelling);
        let cancelling = async {
            match self.client.cancel(job).await {
                Ok(view) if view.summary.state.is_final() => Ok(()),
                // 409: it ended by itself in the meantime.
                Err(error) if error.status() == Some(409) => Ok(()),
                Ok(_) => follow(self.client, &self.events, &self.link, job, &mut |_| {}).await.map(drop),
                Err(error) => Err(error.into()),
            }
        };
        let result = match tokio::time::timeout(CANCEL_PATIENCE, cancelling).await {
            Ok(result) => result,
            Err(_) => Err(Error::failed(format!("it did not end within {} s", CANCEL_PATIENCE.as_secs()))),
        };
        if let Err(error) = result {
            self.reporter.note_on(
                index,
                &format!("job {job} could not be cancelled: {error}; try `ffmpegctl jobs cancel {job}`"),
            );
        }
    }

    async fn delete(&self, upload: UploadId) {
        match self.client.delete_upload(upload).await {
            Ok(()) => {}
            // Gone already.
            Err(error) if error.status() == Some(404) => {}
            Err(error) => self.reporter.note(&format!("the upload {upload} stays on the farm: {error}")),
        }
    }

    /// Runs `work` and reports its stage again and again.
    async fn ticking<T>(
        &self,
        index: usize,
        job: Option<JobId>,
        stage: impl Fn() -> Stage,
        work: impl Future<Output = T>,
    ) -> T {
        tokio::pin!(work);
        let mut ticks = tokio::time::interval(TICK);
        loop {
            tokio::select! {
                result = &mut work => return result,
                _ = ticks.tick() => self.reporter.stage(index, job, &stage()),
            }
        }
    }
}

/// Takes over where the farm has put the results. Returns those that a person opens.
fn delivered(job: &JobView, url: &str, outcome: &mut Outcome) -> Vec<PathBuf> {
    let names: Vec<_> = job.outputs.iter().map(|output| output.path.as_str()).collect();
    // As the farm writes it.
    let base = job.output.as_deref().unwrap_or(url);
    let place = |name: &str| PathBuf::from(outputs::below(base, name));
    outcome.outputs = names.iter().map(|name| place(name)).collect();
    fetch::entries(&names).into_iter().map(|index| place(names[index])).collect()
}

/// Why the job was not accepted.
fn refused(error: client::Error, request: &JobRequest) -> Error {
    if let (client::Error::Refused(problem), Some(CommandLine::Text(command))) = (&error, &request.command)
        && let Some(error) = refusal::of_problem(command, problem)
    {
        return error;
    }
    error.into()
}
