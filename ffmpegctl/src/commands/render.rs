//! Jobs and workers as text.

use common::{
    api::{
        AttemptState, AttemptView, JobState, JobSummary, JobView, OnDamagedInput, TaskView, Webhook,
        WorkerSummary, WorkerView,
    },
    media::{MediaInfo, StreamKind},
    worker::{Damage, Gpu, Labels},
};
use jiff::Timestamp;

use super::{facts, letter, table, worker_state};
use crate::{names, text};

/// Columns that an input's or owner's name takes in a list at most.
const NAME: usize = 40;

fn id(id: &impl ToString, full: bool) -> String {
    if full { id.to_string() } else { names::short(id) }
}

// ---- jobs

pub(super) fn jobs(jobs: &[JobSummary], now: Timestamp, full: bool) -> String {
    let mut table =
        table(&["ID", "STATE", "PROGRESS", "PRESET", "WORKER", "OWNER", "ELAPSED", "FAILURE", "INPUT"]);
    for job in jobs {
        table.add_row([
            id(&job.id, full),
            job.state.as_str().to_owned(),
            progress(job),
            text::shorten(&text::printable(&job.preset), NAME),
            job.worker.as_ref().map_or_else(dash, |it| text::shorten(&text::printable(&it.name), NAME)),
            job.owner.as_ref().map_or_else(dash, |owner| text::shorten(&text::printable(owner), NAME)),
            elapsed(job, now),
            job.failure.as_ref().map_or_else(dash, |failure| failure.kind.to_string()),
            text::shorten(&text::printable(&job.input), NAME),
        ]);
    }
    table.trim_fmt()
}

/// The policy, where it is not the usual one.
const fn on_damage(policy: OnDamagedInput) -> &'static str {
    match policy {
        OnDamagedInput::Warn => "",
        OnDamagedInput::Fail => "fail",
    }
}

/// `ends at 36.0 s of 60.0 s, 214 errors while decoding`
fn damage(damage: &Damage) -> String {
    let ends = match (damage.ends_at_seconds, damage.claimed_seconds) {
        (Some(there), Some(claimed)) => Some(format!("ends at {there:.1} s of {claimed:.1} s")),
        (Some(there), None) => Some(format!("ends at {there:.1} s")),
        (None, _) => None,
    };
    let errors = match damage.errors {
        0 => None,
        1 => Some("1 error while decoding".to_owned()),
        errors => Some(format!("{errors} errors while decoding")),
    };
    ends.into_iter().chain(errors).collect::<Vec<_>>().join(", ")
}

fn dash() -> String {
    "-".to_owned()
}

fn progress(job: &JobSummary) -> String {
    match (job.state, &job.progress) {
        (JobState::Succeeded, _) => "100%".to_owned(),
        (JobState::Queued, _) | (_, None) => dash(),
        (JobState::Running | JobState::Failed | JobState::Cancelled | JobState::Dead, Some(progress)) => {
            match progress.percent {
                Some(percent) => format!("{:.0}%", percent.floor()),
                None => text::clock(progress.progress.out_time_us as f64 / 1e6),
            }
        }
    }
}

/// How long it runs or ran; how long it waits while it is queued.
fn elapsed(job: &JobSummary, now: Timestamp) -> String {
    let end = job.finished_at.unwrap_or(now);
    text::span(text::between(job.started_at.unwrap_or(job.submitted_at), end))
}

pub(super) fn job(job: &JobView, now: Timestamp) -> String {
    let summary = &job.summary;
    let mut sections = vec![facts(&[
        ("id", summary.id.to_string()),
        ("state", state_in_words(summary)),
        ("input", text::printable(&summary.input)),
        ("", job.input_info.as_ref().map(media).unwrap_or_default()),
        ("preset", summary.preset.clone()),
        ("hardware", job.hardware.to_string()),
        ("priority", summary.priority.to_string()),
        ("labels", labels(&job.labels)),
        ("owner", summary.owner.as_deref().map(text::printable).unwrap_or_default()),
        ("submitted", text::time(summary.submitted_at)),
        ("started", summary.started_at.map(text::time).unwrap_or_default()),
        ("finished", summary.finished_at.map(text::time).unwrap_or_default()),
        ("elapsed", elapsed(summary, now)),
        ("progress", running_progress(summary)),
        ("on damage", on_damage(job.on_damaged_input).to_owned()),
        ("damage", job.damage.as_ref().map(damage).unwrap_or_default()),
        ("tells", job.webhook.as_ref().map(webhook).unwrap_or_default()),
    ])];
    if summary.state == JobState::Dead {
        sections.push(letter::explain(job));
    } else if let Some(failure) = &summary.failure {
        sections.push(format!("failure ({})\n  {}", failure.kind, indented(&failure.message)));
    }
    if !job.warnings.is_empty() {
        sections.push(format!("warnings\n  {}", indented(&job.warnings.join("\n"))));
    }
    sections.extend(job.tasks.iter().flat_map(|task| task.attempts.iter().map(move |it| attempt(task, it))));
    if !job.outputs.is_empty() {
        let mut table = table(&["OUTPUT", "SIZE", "TYPE"]);
        for output in &job.outputs {
            table.add_row([
                text::printable(&output.path),
                text::bytes(output.size),
                output.content_type.clone(),
            ]);
        }
        sections.push(table.trim_fmt());
    }
    sections.join("\n\n")
}

/// Whom it tells what.
fn webhook(webhook: &Webhook) -> String {
    let events: Vec<_> = webhook.events.iter().map(|event| event.as_str()).collect();
    format!("{} ({})", text::printable(&webhook.url), events.join(", "))
}

fn state_in_words(job: &JobSummary) -> String {
    match (&job.waiting_for, job.state) {
        (Some(reason), JobState::Queued) => format!("queued: {}", text::printable(reason)),
        (_, state) => state.as_str().to_owned(),
    }
}

fn running_progress(job: &JobSummary) -> String {
    let (JobState::Running, Some(view)) = (job.state, &job.progress) else { return String::new() };
    let mut parts = vec![text::printable(&view.progress.phase)];
    parts.extend(view.percent.map(|percent| format!("{percent:.1}%")));
    parts.push(format!("frame {}", view.progress.frames));
    parts.push(format!("{:.0} fps", view.progress.fps));
    parts.push(format!("{:.2}x", view.progress.speed));
    if view.progress.bitrate > 0 {
        parts.push(text::bitrate(view.progress.bitrate));
    }
    parts.extend(view.eta_seconds.map(|eta| format!("ETA {}", text::clock(eta))));
    parts.retain(|part| !part.is_empty());
    parts.join(", ")
}

fn attempt(task: &TaskView, attempt: &AttemptView) -> String {
    let state = match attempt.state {
        AttemptState::Running => "running",
        AttemptState::Disconnected => "running; its worker is disconnected and may come back",
        AttemptState::Succeeded => "succeeded",
        AttemptState::Failed => "failed",
        AttemptState::Cancelled => "cancelled",
        AttemptState::Superseded => "superseded: its worker was lost and another attempt took over",
    };
    let failure =
        attempt.failure.as_ref().map(|it| format!("{}: {}", it.kind, it.message)).unwrap_or_default();
    let facts = facts(&[
        ("state", state.to_owned()),
        (
            "worker",
            format!("{} ({})", text::printable(&attempt.worker.name), names::short(&attempt.worker.id)),
        ),
        ("encoder", attempt.encoder.clone().unwrap_or_default()),
        ("device", attempt.device.clone().unwrap_or_default()),
        ("assigned", text::time(attempt.assigned_at)),
        ("started", attempt.started_at.map(text::time).unwrap_or_default()),
        ("finished", attempt.finished_at.map(text::time).unwrap_or_default()),
        ("failure", text::printable(&failure)),
        ("command", text::printable(&text::shell(&attempt.command))),
    ]);
    format!("{}, attempt {}\n  {}", text::printable(&task.kind), attempt.epoch, indented_lines(&facts))
}

fn indented(message: &str) -> String {
    indented_lines(&text::printable(message))
}

fn indented_lines(lines: &str) -> String {
    lines.replace('\n', "\n  ")
}

/// `mov, 0:52, h264 1920x1080 29.97 fps, aac 2 channels`.
fn media(info: &MediaInfo) -> String {
    let mut parts = vec![info.format.split(',').next().unwrap_or_default().to_owned()];
    parts.extend(info.duration.map(text::clock));
    parts.extend(info.size.map(text::bytes));
    for stream in &info.streams {
        parts.push(match &stream.kind {
            StreamKind::Video(video) => {
                let (width, height) = video.display_size();
                let fps = video.fps().map(|fps| format!(" {} fps", (fps * 100.0).round() / 100.0));
                format!("{} {width}x{height}{}", stream.codec, fps.unwrap_or_default())
            }
            StreamKind::Audio(audio) => format!("{} {} channels", stream.codec, audio.channels),
            StreamKind::Subtitle { .. } => format!("{} subtitles", stream.codec),
            StreamKind::AttachedPicture => "cover art".to_owned(),
            StreamKind::Other => continue,
        });
    }
    parts.retain(|part| !part.is_empty());
    text::printable(&parts.join(", "))
}

fn labels(labels: &Labels) -> String {
    let labels: Vec<_> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    text::printable(&labels.join(", "))
}

// ---- workers

pub(super) fn workers(workers: &[WorkerSummary], full: bool) -> String {
    let mut table = table(&[
        "NAME", "ID", "STATE", "JOBS", "GPU JOBS", "CPU JOBS", "LOAD", "HARDWARE", "FFMPEG", "ADDRESS", "WHY",
    ]);
    for worker in workers {
        let of = |used: u32, max: u32| format!("{used}/{max}");
        table.add_row([
            text::shorten(&text::printable(&worker.name), NAME),
            id(&worker.id, full),
            worker_state(worker.state).to_owned(),
            of(worker.jobs, worker.capacity.max_jobs),
            of(worker.gpu_jobs, worker.capacity.max_gpu_jobs),
            of(worker.cpu_jobs, worker.capacity.max_cpu_jobs),
            format!("{:.0}%", worker.load.cpu * 100.0),
            if worker.hardware.is_empty() { dash() } else { worker.hardware.join(",") },
            text::shorten(&text::printable(&worker.ffmpeg_version), 16),
            worker.address.clone(),
            worker.reason.as_deref().map_or_else(dash, text::printable),
        ]);
    }
    table.trim_fmt()
}

pub(super) fn worker(worker: &WorkerView) -> String {
    let capabilities = &worker.capabilities;
    let machine = &capabilities.machine;
    let of = |used: u32, max: u32| format!("{used} of {max}");
    let mut sections = vec![facts(&[
        ("name", text::printable(&worker.name)),
        ("id", worker.id.to_string()),
        (
            "state",
            match &worker.reason {
                Some(reason) => format!("{}: {}", worker_state(worker.state), text::printable(reason)),
                None => worker_state(worker.state).to_owned(),
            },
        ),
        ("address", worker.address.clone()),
        ("version", worker.version.clone()),
        ("connected", text::time(worker.connected_at)),
        ("labels", labels(&worker.labels)),
        ("presets", worker.presets.join(", ")),
        ("jobs", of(worker.jobs, worker.capacity.max_jobs)),
        ("GPU jobs", of(worker.gpu_jobs, worker.capacity.max_gpu_jobs)),
        ("CPU jobs", of(worker.cpu_jobs, worker.capacity.max_cpu_jobs)),
        ("so far", format!("{} completed, {} failed", worker.completed, worker.failed)),
        (
            "machine",
            text::printable(&format!(
                "{} ({} {}), {} cores, {}, {}",
                machine.hostname,
                machine.os,
                machine.arch,
                machine.cores,
                machine.cpu,
                text::bytes(machine.memory_total_bytes)
            )),
        ),
        (
            "load",
            format!(
                "{:.0}% of the CPU, {} of memory used, {} of scratch space free",
                worker.load.cpu * 100.0,
                text::bytes(worker.load.memory_used_bytes),
                text::bytes(worker.load.scratch_free_bytes)
            ),
        ),
        ("ffmpeg", text::printable(&capabilities.ffmpeg_version)),
        ("ffprobe", text::printable(&capabilities.ffprobe_version)),
        ("hwaccels", capabilities.hwaccels.iter().cloned().collect::<Vec<_>>().join(", ")),
    ])];
    sections.extend(capabilities.gpus.iter().map(|it| gpu(it, worker)));
    sections.push(encoders(worker));
    if !capabilities.rejected.is_empty() {
        let mut table = table(&["NOT WORKING HERE", "DEVICE", "BITS", "WHY"]);
        for rejected in &capabilities.rejected {
            table.add_row([
                rejected.name.clone(),
                rejected.device.clone(),
                rejected.bit_depth.to_string(),
                text::printable(&rejected.reason),
            ]);
        }
        sections.push(table.trim_fmt());
    }
    if !worker.running.is_empty() || !worker.live.is_empty() {
        let mut table = table(&["RUNNING", "ENCODER", "PROGRESS", "SPEED"]);
        for task in &worker.running {
            let percent = task.progress.as_ref().and_then(|it| it.percent);
            table.add_row([
                format!("job {}", task.job),
                task.encoder.clone().unwrap_or_else(dash),
                percent.map_or_else(dash, |percent| format!("{percent:.0}%")),
                task.progress.as_ref().map_or_else(dash, |it| format!("{:.2}x", it.progress.speed)),
            ]);
        }
        for live in &worker.live {
            table.add_row([
                format!("live {} {}", text::printable(&live.name), live.profile),
                live.encoder.clone().unwrap_or_else(dash),
                dash(),
                live.progress.as_ref().map_or_else(dash, |it| format!("{:.2}x", it.speed)),
            ]);
        }
        sections.push(table.trim_fmt());
    }
    sections.join("\n\n")
}

fn gpu(gpu: &Gpu, worker: &WorkerView) -> String {
    let load = worker.gpus.iter().find(|load| load.index == gpu.index).and_then(|load| {
        let max = load.sessions_possible.map(|max| format!(" of {max}")).unwrap_or_default();
        Some(format!(
            "{}% busy, encoder {}%, decoder {}%, {} sessions{max}, {} of memory used, {} °C",
            load.utilisation?,
            load.encoder_utilisation?,
            load.decoder_utilisation?,
            load.sessions?,
            text::bytes(load.memory_used_bytes?),
            load.temperature_celsius?
        ))
    });
    let facts = facts(&[
        ("vendor", gpu.vendor.clone()),
        ("driver", gpu.driver.clone()),
        (
            "memory",
            if gpu.memory_total_bytes > 0 { text::bytes(gpu.memory_total_bytes) } else { String::new() },
        ),
        ("load", load.unwrap_or_default()),
    ]);
    text::printable(&format!("GPU {}: {}\n  {}", gpu.index, gpu.name, indented_lines(&facts)))
}

/// Hardware encoders one by one; software ones, of which there are a hundred, in a paragraph of those for video.
fn encoders(worker: &WorkerView) -> String {
    let all = &worker.capabilities.encoders;
    let mut table = table(&["HARDWARE ENCODER", "CODEC", "DEVICES (BITS)"]);
    for encoder in all.iter().filter(|encoder| encoder.family.is_hardware()) {
        let devices: Vec<_> = encoder
            .devices
            .iter()
            .map(|device| {
                let bits: Vec<_> = device.bit_depths.iter().map(ToString::to_string).collect();
                format!("{} ({})", device.path, bits.join(", "))
            })
            .collect();
        table.add_row([encoder.name.clone(), encoder.codec.clone(), devices.join(", ")]);
    }
    let software: Vec<_> = all
        .iter()
        .filter(|encoder| !encoder.family.is_hardware())
        .map(|encoder| encoder.name.as_str())
        .collect();
    let software = format!("software encoders\n  {}", indented_lines(&wrap(&software.join(", "), 98)));
    if table.is_empty() { software } else { format!("{}\n\n{software}", table.trim_fmt()) }
}

/// Lines of at most `width` characters, broken at blanks.
fn wrap(text: &str, width: usize) -> String {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let line = lines.last_mut().expect("there is always one line");
        if line.is_empty() {
            line.push_str(word);
        } else if line.len() + 1 + word.len() <= width {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use common::{
        api::{ProgressView, WorkerRef},
        failure::{Failure, FailureKind},
        id::{JobId, WorkerId},
        worker::Progress,
    };

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + second).unwrap()
    }

    fn summary() -> JobSummary {
        JobSummary {
            id: JobId::new(),
            state: JobState::Running,
            preset: "h264".to_owned(),
            input: "clip.mp4".to_owned(),
            owner: Some("ann".to_owned()),
            priority: 0,
            submitted_at: at(0),
            started_at: Some(at(10)),
            finished_at: None,
            waiting_for: None,
            failure: None,
            worker: Some(WorkerRef { id: WorkerId::new(), name: "host-1".to_owned() }),
            progress: Some(ProgressView {
                percent: Some(42.9),
                eta_seconds: Some(5.0),
                progress: Progress::default(),
            }),
        }
    }

    #[test]
    fn a_list_shows_who_has_the_job_and_for_how_long() {
        let job = summary();
        let text = jobs(std::slice::from_ref(&job), at(100), false);
        let row = text.lines().nth(1).unwrap();
        let columns: Vec<_> = row.split_whitespace().collect();
        assert_eq!(columns[1..], ["running", "42%", "h264", "host-1", "ann", "1m30s", "-", "clip.mp4"]);
        assert!(job.id.to_string().ends_with(columns[0]));
        assert!(jobs(std::slice::from_ref(&job), at(100), true).contains(&job.id.to_string()));
    }

    #[test]
    fn a_queued_job_shows_how_long_it_waits_and_what_for() {
        let job = JobSummary {
            state: JobState::Queued,
            started_at: None,
            waiting_for: Some("a worker with libx264".to_owned()),
            ..summary()
        };
        assert_eq!(elapsed(&job, at(100)), "1m40s");
        assert_eq!(state_in_words(&job), "queued: a worker with libx264");
    }

    #[test]
    fn a_failed_job_shows_how_far_it_came_and_why_it_ended() {
        let failure = Failure::new(FailureKind::Crashed, "ffmpeg crashed");
        let job = JobSummary { state: JobState::Failed, failure: Some(failure), ..summary() };
        assert_eq!(progress(&job), "42%");
        let text = jobs(std::slice::from_ref(&job), at(100), false);
        assert!(text.lines().nth(1).unwrap().ends_with("1m30s    crashed  clip.mp4"), "{text}");
    }

    #[test]
    fn long_lists_of_encoders_are_wrapped() {
        assert_eq!(wrap("aa, bb, cc", 7), "aa, bb,\ncc");
        assert_eq!(wrap("", 7), "");
    }
}
