//! `jobs redrive`.

use common::{
    api::{JobState, RedriveRequest, Redriven},
    id::JobId,
};

use super::jobs::each;
use crate::{cli::JobsRedrive, client::Client, console, error::Error, exit::Exit, text};

pub(super) async fn run(client: &Client, args: JobsRedrive) -> Result<Exit, Error> {
    if !args.jobs.is_empty() {
        return each(client, &args.jobs, args.json, async |client, job| {
            let state = client.job(job).await?.summary.state;
            if state != JobState::Dead {
                return Err(no_letter(job, state));
            }
            Ok(client.retry(job).await?)
        })
        .await;
    }
    all_that_fit(client, condition(&args)?, args.json).await
}

fn no_letter(job: JobId, state: JobState) -> Error {
    let next = match state {
        JobState::Failed | JobState::Cancelled => {
            format!("; `ffmpegctl jobs retry {job}` queues it again nevertheless")
        }
        JobState::Queued | JobState::Running | JobState::Succeeded | JobState::Dead => String::new(),
    };
    Error::failed(format!("job {job} is no dead letter, it is {}{next}", state.as_str()))
}

/// What the dead letters have to fit. That it is all of them must be said.
fn condition(args: &JobsRedrive) -> Result<RedriveRequest, Error> {
    let request = RedriveRequest {
        kind: args.kind,
        preset: args.preset.clone(),
        owner: args.owner.clone(),
        worker: args.worker.clone(),
        text: args.text.clone(),
        cursor: None,
    };
    let any = request.kind.is_some()
        || [&request.preset, &request.owner, &request.worker, &request.text].into_iter().any(Option::is_some);
    if any || args.all {
        return Ok(request);
    }
    Err(Error::invalid(
        "nothing says which dead letters to queue again: name some, give conditions (--kind, --preset, --worker, \
         --owner, --text), or take --all; `ffmpegctl jobs ls --state dead` lists them",
    ))
}

/// Page by page, as each answer comes.
async fn all_that_fit(client: &Client, mut request: RedriveRequest, json: bool) -> Result<Exit, Error> {
    let mut all = Redriven::default();
    loop {
        let page = client.redrive(&request).await?;
        if !json {
            for job in &page.jobs {
                console::print(&format!("{job}  {}", JobState::Queued.as_str()))?;
            }
            for refusal in &page.refused {
                let reason = text::printable(&refusal.reason);
                console::complain(&format!("job {} was not queued again: {reason}", refusal.job));
            }
        }
        all.jobs.extend(page.jobs);
        all.refused.extend(page.refused);
        request.cursor = page.next_cursor;
        if request.cursor.is_none() {
            break;
        }
    }
    if json {
        console::print_json(&all)?;
    } else {
        console::say(&summary(all.jobs.len(), all.refused.len()));
    }
    Ok(if all.refused.is_empty() { Exit::Ok } else { Exit::Failed })
}

fn summary(redriven: usize, refused: usize) -> String {
    let letters =
        |count: usize| if count == 1 { "1 dead letter".to_owned() } else { format!("{count} dead letters") };
    match (redriven, refused) {
        (0, 0) => "no dead letter fits".to_owned(),
        (redriven, 0) => format!("{} queued again", letters(redriven)),
        (redriven, refused) => format!("{} queued again, {refused} refused", letters(redriven)),
    }
}

#[cfg(test)]
mod tests {
    use common::failure::FailureKind;

    use super::*;

    fn args() -> JobsRedrive {
        JobsRedrive {
            jobs: Vec::new(),
            kind: None,
            preset: None,
            worker: None,
            owner: None,
            text: None,
            all: false,
            json: false,
        }
    }

    #[test]
    fn all_of_them_is_only_done_when_it_is_said() {
        let error = condition(&args()).unwrap_err();
        assert_eq!(error.exit, Exit::Invalid);
        assert!(error.message.contains("--all") && error.message.contains("jobs ls --state dead"), "{error}");
        assert!(condition(&JobsRedrive { all: true, ..args() }).is_ok());
        let crashed = condition(&JobsRedrive { kind: Some(FailureKind::Crashed), ..args() }).unwrap();
        assert_eq!(crashed.kind, Some(FailureKind::Crashed));
    }

    #[test]
    fn what_is_no_dead_letter_is_told_what_to_do_instead() {
        let job = JobId::new();
        assert!(no_letter(job, JobState::Failed).message.contains(&format!("jobs retry {job}")));
        assert!(no_letter(job, JobState::Running).message.ends_with("it is running"));
    }

    #[test]
    fn the_last_line_counts() {
        assert_eq!(summary(0, 0), "no dead letter fits");
        assert_eq!(summary(1, 0), "1 dead letter queued again");
        assert_eq!(summary(12, 1), "12 dead letters queued again, 1 refused");
    }
}
