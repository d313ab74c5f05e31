//! The queue's words and the wire's, one into the other.

use common::{
    digest::Digest,
    failure::{Failure, FailureKind},
    id::{AttemptId, JobId},
    media::MediaInfo,
    proto::{self, coordinator_message::Message},
    worker::{Damage, Need, OutputFile, Progress},
};

use super::{
    hello::{progress, shorten},
    urls::AttemptUrls,
};
use crate::{
    fleet::shares,
    queue::{Assignment, AttemptResult, InputLocation, JobInput, LiveAssignment, ToWorker},
    storage::RelPath,
};

/// Bytes of a failure's message.
const MAX_MESSAGE: usize = 4096;
/// Bytes of one log line.
const MAX_LINE: usize = 1024;
/// Bytes of log that a heartbeat may carry, and that an attempt's end may carry.
pub(super) const MAX_HEARTBEAT_LOG: usize = 8 * 1024;
pub(super) const MAX_LOG_TAIL: usize = 16 * 1024;
/// Arguments of a command line, and their bytes together.
const MAX_ARGV: usize = 4096;
const MAX_ARGV_BYTES: usize = 64 * 1024;
/// Bytes of the input's description.
const MAX_INPUT_INFO: usize = 256 * 1024;
/// Files of one attempt: a day of 4 s segments on six renditions.
pub(super) const MAX_FILES: usize = 150_000;
const MAX_WARNINGS: usize = 64;
const MAX_NEEDS: usize = 64;

/// What every assignment carries besides what the queue decided.
#[derive(Debug, Clone)]
pub(super) struct Terms {
    pub(super) stall_timeout_ms: u32,
    pub(super) urls: AttemptUrls,
    /// The worker's.
    pub(super) shared_roots: Vec<String>,
}

/// A message to the worker; `Err` ends the stream with a reason.
pub(super) fn to_wire(message: ToWorker, terms: &Terms) -> Result<Message, String> {
    Ok(match message {
        ToWorker::Assign(assignment) => Message::Assign(assign(*assignment, terms)),
        ToWorker::AssignLive(assignment) => Message::Assign(assign_live(*assignment, terms)),
        ToWorker::Stop { attempt, reason } => Message::StopAttempt(proto::StopAttempt {
            task_id: attempt.task.to_string(),
            epoch: attempt.epoch.0,
            reason,
        }),
        ToWorker::Acknowledge { attempt, refused } => {
            Message::AttemptAcknowledged(proto::AttemptAcknowledged {
                task_id: attempt.task.to_string(),
                epoch: attempt.epoch.0,
                accepted: refused.is_none(),
                reason: refused.unwrap_or_default(),
            })
        }
        ToWorker::LeasesRenewed(attempts) => Message::LeasesRenewed(proto::LeasesRenewed {
            attempts: attempts.into_iter().map(wire_attempt).collect(),
        }),
        ToWorker::SetDraining(draining) => Message::SetDraining(proto::SetDraining { draining }),
        ToWorker::Idle => Message::Idle(proto::Idle {}),
        ToWorker::ProbeAgain { reason } => Message::ProbeAgain(proto::ProbeAgain { reason }),
        ToWorker::Disconnect { reason } => return Err(reason),
    })
}

fn assign(assignment: Assignment, terms: &Terms) -> proto::Assign {
    let Assignment {
        job,
        attempt,
        preset,
        spec,
        input,
        more_inputs,
        grows,
        encoder,
        device,
        on_damaged_input,
        time_limit,
    } = assignment;
    proto::Assign {
        job_id: job.to_string(),
        task_id: attempt.task.to_string(),
        epoch: attempt.epoch.0,
        preset,
        spec_json: serde_json::to_string(&*spec).expect("a spec is JSON"),
        encoder: encoder.unwrap_or_default(),
        device: device.map(Into::into),
        input: Some(proto::Input { grows, ..wire_input(job, attempt, &input, terms) }),
        stall_timeout_ms: terms.stall_timeout_ms,
        time_limit_ms: time_limit.map_or(0, |limit| limit.as_millis().try_into().unwrap_or(u64::MAX).max(1)),
        on_damaged_input: proto::OnDamagedInput::from(on_damaged_input).into(),
        more_inputs: more_inputs.iter().map(|input| wire_input(job, attempt, input, terms)).collect(),
        ..Default::default()
    }
}

fn assign_live(assignment: LiveAssignment, terms: &Terms) -> proto::Assign {
    let LiveAssignment { attempt, stream, profile, work, reads, encoder, device } = assignment;
    proto::Assign {
        // For the worker's log: there is no job.
        job_id: stream.to_string(),
        task_id: attempt.task.to_string(),
        epoch: attempt.epoch.0,
        preset: profile,
        encoder: encoder.unwrap_or_default(),
        device: device.map(Into::into),
        stall_timeout_ms: terms.stall_timeout_ms,
        live_json: serde_json::to_string(&work).expect("live work is JSON"),
        live_input_url: if reads { terms.urls.live_input(attempt) } else { String::new() },
        live_output_url: terms.urls.live_output(attempt),
        ..Default::default()
    }
}

fn wire_attempt(attempt: AttemptId) -> proto::RunningAttempt {
    proto::RunningAttempt { task_id: attempt.task.to_string(), epoch: attempt.epoch.0 }
}

fn wire_input(job: JobId, attempt: AttemptId, input: &JobInput, terms: &Terms) -> proto::Input {
    use proto::input::Location;
    let location = match input.location() {
        InputLocation::Url(url) => Location::Url(url.clone()),
        InputLocation::Object(key) => Location::Url(terms.urls.object(attempt, key)),
        InputLocation::Bucket(text) => match text.parse() {
            Ok(address) => Location::Url(terms.urls.bucket(attempt, &address)),
            Err(_) => unreachable!("it was parsed when the job came in"),
        },
        InputLocation::Path(path) if shares(&terms.shared_roots, path) => Location::Path(path.clone()),
        InputLocation::Path(path) => Location::Url(terms.urls.shared(attempt, path)),
    };
    tracing::debug!(%job, name = input.name(), "input located");
    proto::Input { location: Some(location), name: input.name().to_owned(), grows: false }
}

/// Lines for people, at most `max` bytes of them, the newest kept.
pub(super) fn log_lines(lines: &[String], max: usize) -> Vec<String> {
    let mut left = max;
    let mut kept: Vec<String> = lines
        .iter()
        .rev()
        .map(|line| shorten(line, MAX_LINE))
        .take_while(|line| {
            let fits = line.len() < left;
            left = left.saturating_sub(line.len() + 1);
            fits
        })
        .collect();
    kept.reverse();
    kept
}

/// The command line that an attempt runs, within bounds.
pub(super) fn argv(argv: Vec<String>) -> Vec<String> {
    let mut left = MAX_ARGV_BYTES;
    let fits = |arg: &String| {
        let fits = arg.len() < left;
        left = left.saturating_sub(arg.len() + 1);
        fits
    };
    argv.into_iter().take(MAX_ARGV).take_while(fits).collect()
}

pub(super) fn input_info(json: &str) -> Option<MediaInfo> {
    if json.is_empty() || json.len() > MAX_INPUT_INFO {
        return None;
    }
    serde_json::from_str(json).inspect_err(|error| tracing::debug!(%error, "input_info_json")).ok()
}

/// A result, or what is wrong with it.
pub(super) fn result(result: Option<proto::attempt_finished::Result>) -> AttemptResult {
    use proto::attempt_finished::Result::{Failed, Succeeded};
    match result {
        Some(Succeeded(succeeded)) => match outputs(succeeded.outputs) {
            Ok(outputs) => AttemptResult::Succeeded {
                outputs,
                warnings: words(succeeded.warnings, MAX_WARNINGS),
                progress: succeeded.final_progress.map_or_else(Progress::default, progress),
                damage: succeeded.damage.map(damage),
            },
            Err(problem) => failed(FailureKind::OutputWrong, problem),
        },
        Some(Failed(failed)) => {
            let missing = Need {
                video: None,
                any_of: words(failed.missing_encoders, MAX_NEEDS)
                    .into_iter()
                    .map(|name| vec![name])
                    .collect(),
                filters: words(failed.missing_filters, MAX_NEEDS),
                scratch_bytes: failed.missing_scratch_bytes,
                ..Need::default()
            };
            let message = shorten(&failed.message, MAX_MESSAGE);
            let failure = match failed.kind.parse() {
                Ok(kind) => Failure::new(kind, message),
                // From a newer worker; what happened is in the message.
                Err(error) => Failure::new(FailureKind::Crashed, format!("{message} ({error})")),
            };
            AttemptResult::Failed { failure, missing }
        }
        None => failed(FailureKind::Crashed, "the worker reported an end without a result".to_owned()),
    }
}

fn damage(damage: proto::Damage) -> Damage {
    let seconds = |value: Option<f64>| value.filter(|value| value.is_finite() && *value >= 0.0);
    Damage {
        errors: damage.errors,
        ends_at_seconds: seconds(damage.ends_at_seconds),
        claimed_seconds: seconds(damage.claimed_seconds),
    }
}

pub(super) fn failed(kind: FailureKind, message: String) -> AttemptResult {
    AttemptResult::Failed { failure: Failure::new(kind, message), missing: Need::default() }
}

fn words(words: Vec<String>, max: usize) -> Vec<String> {
    words.into_iter().take(max).map(|word| shorten(&word, MAX_LINE)).collect()
}

/// Files as a worker reports them: named once each, below the attempt's prefix, not too many.
pub(super) fn outputs(files: Vec<proto::OutputFile>) -> Result<Vec<OutputFile>, String> {
    if files.len() > MAX_FILES {
        return Err(format!("{} output files are more than the {MAX_FILES} that are taken", files.len()));
    }
    let mut seen = std::collections::HashSet::with_capacity(files.len());
    files
        .into_iter()
        .map(|file| {
            let path = RelPath::parse(&file.path).map_err(|error| error.to_string())?;
            if !seen.insert(path) {
                return Err(format!("the output {:?} is named twice", file.path));
            }
            let content_type = shorten(&file.content_type, 128);
            if !file.sha256.is_empty() && file.sha256.parse::<Digest>().is_err() {
                return Err(format!("the digest of {:?} is no SHA-256", file.path));
            }
            Ok(OutputFile { path: file.path, size: file.size, content_type, sha256: file.sha256 })
        })
        .collect()
}

/// Why files without a digest are not taken from a worker of this protocol version, if they are not.
pub(super) fn undigested(files: &[OutputFile], protocol: u32) -> Option<String> {
    if protocol < proto::DIGESTS_SINCE {
        return None;
    }
    let file = files.iter().find(|file| file.sha256.is_empty())?;
    Some(format!("{:?} was reported without its SHA-256, which protocol {protocol} asks for", file.path))
}

#[cfg(test)]
mod tests {
    use common::live::{Ingest, Work};

    use super::*;

    fn file(path: &str) -> proto::OutputFile {
        proto::OutputFile {
            path: path.to_owned(),
            size: 1,
            content_type: "video/mp4".to_owned(),
            ..Default::default()
        }
    }

    #[test]
    fn outputs_stay_below_their_prefix_and_are_named_once() {
        assert_eq!(outputs(vec![file("a.mp4"), file("b/a.mp4")]).unwrap().len(), 2);
        assert!(outputs(vec![file("../a.mp4")]).unwrap_err().contains("no relative path"));
        assert!(outputs(vec![file("a.mp4"), file("a.mp4")]).unwrap_err().contains("twice"));
    }

    #[test]
    fn only_the_first_protocol_knows_no_digests() {
        let files = outputs(vec![file("a.mp4")]).unwrap();
        assert_eq!(undigested(&files, 1), None);
        assert!(undigested(&files, 2).unwrap().contains("a.mp4"));
        let digested = proto::OutputFile { sha256: Digest::of(b"x").to_string(), ..file("a.mp4") };
        assert_eq!(undigested(&outputs(vec![digested.clone()]).unwrap(), 2), None);
        let wrong = proto::OutputFile { sha256: digested.sha256.to_uppercase(), ..digested };
        assert!(outputs(vec![wrong]).unwrap_err().contains("no SHA-256"));
    }

    #[test]
    fn a_failure_of_an_unknown_kind_keeps_its_words() {
        let wire = proto::Failed {
            kind: "gremlins".to_owned(),
            message: "it broke".to_owned(),
            ..Default::default()
        };
        let AttemptResult::Failed { failure, .. } =
            result(Some(proto::attempt_finished::Result::Failed(wire)))
        else {
            panic!("a failure")
        };
        assert_eq!(failure.kind, FailureKind::Crashed);
        assert!(failure.message.starts_with("it broke"), "{failure}");
    }

    #[test]
    fn of_too_many_log_lines_the_newest_are_kept() {
        let lines: Vec<String> = (0..10).map(|n| format!("line {n}")).collect();
        assert_eq!(log_lines(&lines, 15), ["line 8", "line 9"]);
        assert_eq!(log_lines(&lines, 1000).len(), 10);
    }

    #[test]
    fn a_worker_with_the_same_root_gets_the_path() {
        let roots = ["/mnt/media".to_owned(), "relative".to_owned()];
        assert!(shares(&roots, "/mnt/media/a.mp4"));
        assert!(!shares(&roots, "/mnt/media2/a.mp4"));
        assert!(!shares(&[], "/mnt/media/a.mp4"));
    }

    #[test]
    fn live_work_goes_with_urls_of_its_own_attempt() {
        let terms = Terms {
            stall_timeout_ms: 1,
            urls: AttemptUrls(crate::storage::sign::Signer::new(&[7; 32])),
            shared_roots: Vec::new(),
        };
        let attempt = AttemptId { task: common::id::TaskId::new(), epoch: common::id::Epoch(3) };
        let work = Work::Ingest(Ingest { url: "rtsp://camera/".to_owned(), file: false });
        let assign = |reads| {
            let assignment = LiveAssignment {
                attempt,
                stream: common::id::StreamId::new(),
                profile: "ingest".to_owned(),
                work: work.clone(),
                reads,
                encoder: None,
                device: None,
            };
            match to_wire(ToWorker::AssignLive(Box::new(assignment)), &terms) {
                Ok(Message::Assign(assign)) => assign,
                other => panic!("{other:?}"),
            }
        };
        let told = assign(true);
        assert_eq!(serde_json::from_str::<Work>(&told.live_json).unwrap(), work);
        assert_eq!((told.task_id, told.epoch), (attempt.task.to_string(), 3));
        assert!(told.spec_json.is_empty() && told.input.is_none());
        assert!(told.live_input_url.starts_with(&format!("/live/input?task={}&epoch=3&", attempt.task)));
        assert!(told.live_output_url.starts_with(&format!("/live/output?task={}&epoch=3&", attempt.task)));
        assert_eq!(assign(false).live_input_url, "", "nothing comes in");
    }
}
