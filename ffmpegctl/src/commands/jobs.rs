//! `jobs`.

use std::time::Instant;

use common::{
    api::{JobState, JobView},
    id::JobId,
};
use futures::future::join_all;
use jiff::Timestamp;

use super::{redrive, render};
use crate::{
    cli::{JobsCommand, JobsLs, OneJob, SomeJobs},
    client::{Client, Events, Farm, JobQuery},
    console,
    error::Error,
    exit::Exit,
    follow::{Link, News, follow},
    interrupt::Interrupt,
    progress::{Outcome, Reporter, Stage, Style},
};

pub(crate) async fn run(command: JobsCommand, farm: &Farm, interrupt: &Interrupt) -> Result<Exit, Error> {
    let client = super::connect(farm)?;
    let command = async {
        match command {
            JobsCommand::Ls(args) => list(&client, args).await,
            JobsCommand::Show(args) => show(&client, args).await,
            JobsCommand::Logs(args) => logs(&client, args).await,
            JobsCommand::Cancel(args) => {
                each(&client, &args.jobs, args.json, async |client, job| Ok(client.cancel(job).await?)).await
            }
            JobsCommand::Retry(args) => {
                each(&client, &args.jobs, args.json, async |client, job| Ok(client.retry(job).await?)).await
            }
            JobsCommand::Rm(args) => each(&client, &args.jobs, args.json, remove).await,
            JobsCommand::Priority(args) => {
                let priority = args.priority;
                let set = async |client: &Client, job| Ok(client.set_priority(job, priority).await?);
                each(&client, &args.jobs.jobs, args.jobs.json, set).await
            }
            JobsCommand::Redrive(args) => redrive::run(&client, args).await,
            JobsCommand::Watch(args) => watch(&client, args).await,
        }
    };
    interrupt.or_leave(command).await
}

/// As it was.
async fn remove(client: &Client, job: JobId) -> Result<JobView, Error> {
    let view = client.job(job).await?;
    client.remove_job(job).await?;
    Ok(view)
}

async fn list(client: &Client, args: JobsLs) -> Result<Exit, Error> {
    let query = JobQuery {
        states: args.states.iter().map(|state| (*state).into()).collect(),
        owner: args.owner,
        kind: args.kind,
        preset: args.preset,
        worker: args.worker,
        text: args.text,
    };
    let limit = if args.all { usize::MAX } else { args.limit as usize };
    let jobs = client.jobs(&query, limit).await?;
    if args.json {
        console::print_json(&jobs)?;
    } else if jobs.is_empty() {
        console::say("no jobs");
    } else {
        console::print(&render::jobs(&jobs, Timestamp::now(), args.full))?;
        if jobs.len() == limit {
            console::say(&format!("the newest {limit}; more with --all or -n"));
        }
    }
    Ok(Exit::Ok)
}

async fn show(client: &Client, args: OneJob) -> Result<Exit, Error> {
    let job = client.job(client.find_job(&args.job).await?).await?;
    if args.json {
        console::print_json(&job)?;
    } else {
        console::print(&render::job(&job, Timestamp::now()))?;
    }
    Ok(Exit::Ok)
}

async fn logs(client: &Client, args: OneJob) -> Result<Exit, Error> {
    let logs = client.logs(client.find_job(&args.job).await?).await?;
    if args.json {
        console::print_json(&logs)?;
        return Ok(Exit::Ok);
    }
    if logs.iter().all(|log| log.lines.is_empty()) {
        console::say("ffmpeg said nothing so far");
    }
    for log in &logs {
        if logs.len() > 1 {
            console::say(&format!("attempt {} on {}:", log.epoch, log.worker));
        }
        for line in &log.lines {
            console::print(&crate::text::printable(line))?;
        }
    }
    Ok(Exit::Ok)
}

/// Does the same to every job.
pub(super) async fn each(
    client: &Client,
    jobs: &[String],
    json: bool,
    act: impl AsyncFn(&Client, JobId) -> Result<JobView, Error>,
) -> Result<Exit, Error> {
    let mut changed = Vec::new();
    let change = async |piece: &str| {
        let job = act(client, client.find_job(piece).await?).await?;
        let line = (!json).then(|| format!("{}  {}", job.summary.id, job.summary.state.as_str()));
        changed.push(job);
        Ok(line)
    };
    let exit = super::each(jobs, change).await?;
    if json {
        console::print_json(&changed)?;
    }
    Ok(exit)
}

async fn watch(client: &Client, args: SomeJobs) -> Result<Exit, Error> {
    let mut jobs = Vec::new();
    for piece in &args.jobs {
        let job = client.job(client.find_job(piece).await?).await?;
        if !jobs.iter().any(|other: &JobView| other.summary.id == job.summary.id) {
            jobs.push(job);
        }
    }
    let names: Vec<_> = jobs.iter().map(|job| crate::text::printable(&job.summary.input)).collect();
    let short = names.iter().map(|name| last_part(name).to_owned()).collect();
    let reporter = Reporter::new(Style::choose(args.json, false, false), names.clone(), short);
    let events = Events::start(client.clone());
    let link = Link::new(|message| reporter.note(message));
    let watching = jobs.iter().zip(names).enumerate().map(|(index, (job, name))| {
        let (reporter, events, link) = (&reporter, &events, &link);
        async move {
            let outcome = watch_one(client, events, link, reporter, index, job, name).await;
            reporter.finished(index, &outcome, &[]);
            outcome
        }
    });
    let outcomes = join_all(watching).await;
    let exit = Exit::worst(outcomes.iter().map(|outcome| outcome.exit_code));
    reporter.result(exit, &outcomes);
    Ok(exit)
}

async fn watch_one(
    client: &Client,
    events: &Events,
    link: &Link<'_>,
    reporter: &Reporter,
    index: usize,
    job: &JobView,
    name: String,
) -> Outcome {
    let id = job.summary.id;
    let began = Instant::now();
    let mut outcome = Outcome::new(name);
    outcome.job = Some(id);
    let mut stage = Stage::of_job(job);
    let mut news = |news: News<'_>| {
        match news {
            News::Job(view) if view.summary.state.is_final() => return,
            News::Job(view) => stage = Stage::of_job(view),
            News::Progress(progress) => stage = stage.with_progress(progress),
        }
        reporter.stage(index, Some(id), &stage);
    };
    match follow(client, events, link, id, &mut news).await {
        Ok(ended) => {
            outcome.conclude(&ended);
            if matches!(ended.summary.state, JobState::Failed | JobState::Dead)
                && outcome.wants_log()
                && let Ok(logs) = client.logs(id).await
                && let Some(last) = logs.last()
            {
                outcome.add_log(&last.lines);
            }
            // How long the job took, whenever the watching began.
            outcome.seconds = match (ended.summary.started_at, ended.summary.finished_at) {
                (Some(start), Some(end)) => crate::text::between(start, end).as_secs_f64(),
                _ => began.elapsed().as_secs_f64(),
            };
        }
        Err(error) => outcome.fail(error),
    }
    outcome
}

/// The last part of a path or URL.
fn last_part(name: &str) -> &str {
    name.rsplit('/').find(|part| !part.is_empty()).unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watched_job_is_called_after_its_file() {
        assert_eq!(last_part("/mnt/media/a.mp4"), "a.mp4");
        assert_eq!(last_part("https://cdn/x/"), "x");
        assert_eq!(last_part("a.mp4"), "a.mp4");
    }
}
