//! What daemons tell of their work: traces and logs over OTLP, log lines for programs.

use std::time::{Duration, Instant};

use common::{
    api::{InputRef, JobView},
    id::JobId,
};
use e2e::{
    Farm, FarmBuilder, WorkerSpec,
    api::{attempts, request},
    clip,
    collector::{Collector, Record, Span},
    daemon::exit_code,
    wait::seconds,
};
use rustix::process::Signal;
use serde_json::{Map, Value};
use tokio::net::TcpListener;

/// What a daemon waits at its end for a collector that does not answer.
const FAREWELL: Duration = seconds(3);

fn farm(variables: &[(&str, &str)]) -> FarmBuilder {
    let mut worker = WorkerSpec::new("alone");
    let mut farm = Farm::builder();
    for (name, value) in variables {
        worker = worker.env(name, *value);
        farm = farm.env(name, *value);
    }
    farm.worker(worker)
}

fn hex(id: impl std::fmt::Display) -> String {
    id.to_string().replace('-', "")
}

/// The one span of that service and name.
fn one<'a>(spans: &'a [Span], service: &str, name: &str) -> &'a Span {
    let found: Vec<_> = spans.iter().filter(|span| span.service == service && span.name == name).collect();
    let [span] = found.as_slice() else { panic!("{} spans {name} of {service}: {spans:#?}", found.len()) };
    span
}

/// The job's spans make one tree, in order of time, with the ids of the job.
fn check_trace(spans: &[Span], view: &JobView) {
    let (job, attempt) = (&view.summary.id, attempts(view).next().unwrap());
    let whole = one(spans, "coordinator", "job");
    assert_eq!((whole.parent.as_str(), whole.attributes["state"].as_str()), ("", "succeeded"));
    let queue = one(spans, "coordinator", "queue");
    let assigned = one(spans, "coordinator", "attempt");
    let run = one(spans, "ffmpegd", "run");
    for (child, parent) in [(queue, whole), (assigned, whole), (run, assigned)] {
        assert_eq!(child.parent, parent.id, "{} below {}", child.name, parent.name);
        assert_eq!(child.attributes["job"], job.to_string());
        assert_eq!(child.attributes["epoch"], attempt.epoch.to_string());
    }
    assert_eq!(run.attributes["worker"], attempt.worker.id.to_string());
    assert_eq!(assigned.attributes["worker"], attempt.worker.id.to_string());
    let phases = ["probing", "encoding", "checking", "uploading"].map(|name| one(spans, "ffmpegd", name));
    for phase in phases {
        assert_eq!(phase.parent, run.id, "{}", phase.name);
        assert!(run.began <= phase.began && phase.ended <= run.ended, "{phase:?} outside of {run:?}");
    }
    assert!(phases.is_sorted_by_key(|phase| phase.began));
    assert!(phases.iter().all(|phase| phase.began <= phase.ended));
    // Rows have milliseconds.
    let millisecond = 1_000_000;
    assert!(queue.began <= queue.ended && queue.ended <= assigned.began);
    assert!(assigned.began <= run.began + millisecond && run.ended <= assigned.ended + millisecond);
    assert!(whole.began <= queue.began && assigned.ended <= whole.ended);
    assert_eq!(spans.len(), 8, "{spans:#?}");
}

/// Both daemons' records about the job are in its trace.
fn check_records(records: &[Record], job: JobId) {
    for (service, body) in [
        ("coordinator", "job accepted"),
        ("coordinator", "attempt assigned"),
        ("coordinator", "job over"),
        ("ffmpegd", "attempt begins"),
        ("ffmpegd", "attempt succeeded"),
    ] {
        let record = records
            .iter()
            .find(|record| record.service == service && record.body == body && record.trace == hex(job))
            .unwrap_or_else(|| panic!("no {body:?} of {service} in the trace of {job}: {records:#?}"));
        assert_eq!(record.attributes["job"], job.to_string());
        assert_eq!(record.span.len(), 16);
        if service == "ffmpegd" {
            assert!(["worker", "task", "epoch"].iter().all(|id| record.attributes.contains_key(*id)));
        }
    }
}

/// One job of a farm that tells everything; then both daemons have ended.
async fn a_job_is_told(protocol: &str) {
    let collector = Collector::start().await;
    let farm = farm(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url()),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
        // With everything that the exporters' own transport says.
        ("TVARR_LOG", "info,h2=trace,hyper=trace,hyper_util=trace,tonic=trace,tower=trace,reqwest=trace"),
    ]);
    let farm = farm.start().await;
    let job = farm.submit(&clip("bikes-2s.mp4"), "h264").await;
    let view = farm.succeeded(job).await;
    let logs = farm.path().join("logs");
    assert!(
        std::fs::read_to_string(logs.join("alone.log")).unwrap().contains("TRACE"),
        "the filter let nothing through"
    );
    farm.stop().await;

    let spans: Vec<Span> = collector.spans().into_iter().filter(|span| span.trace == hex(job)).collect();
    check_trace(&spans, &view);
    let records = collector.records();
    check_records(&records, job);
    let carriers = ["h2", "hyper", "tonic", "tower", "reqwest"];
    let of_carriers =
        records.iter().find(|record| carriers.iter().any(|name| record.target.starts_with(name)));
    assert!(of_carriers.is_none(), "the exporter tells of itself: {of_carriers:?}");
}

#[tokio::test]
async fn a_job_is_one_trace_through_both_daemons_over_grpc() {
    a_job_is_told("grpc").await;
}

#[tokio::test]
async fn a_job_is_one_trace_through_both_daemons_over_http() {
    a_job_is_told("http/protobuf").await;
}

#[tokio::test]
async fn a_job_that_fails_says_so_in_its_trace_and_a_sampler_leaves_traces_out() {
    let collector = Collector::start().await;
    let url = collector.url();
    let told = [("OTEL_EXPORTER_OTLP_ENDPOINT", url.as_str()), ("OTEL_SERVICE_NAME", "farm")];
    let told = farm(&told).start().await;
    let text = told.path().join("no-media.mp4");
    std::fs::write(&text, "this is no film").unwrap();
    let job = told.submit(&text, "h264").await;
    told.finished(job).await;
    told.stop().await;
    let spans: Vec<Span> = collector.spans().into_iter().filter(|span| span.trace == hex(job)).collect();
    for name in ["job", "attempt", "run"] {
        let span = one(&spans, "farm", name);
        assert!(span.failed, "{span:?}");
        assert_eq!(span.attributes["failure.kind"], "invalid_input");
    }

    let before = collector.spans().len();
    let quiet = [("OTEL_EXPORTER_OTLP_ENDPOINT", url.as_str()), ("OTEL_TRACES_SAMPLER", "always_off")];
    let quiet = farm(&quiet).start().await;
    let job = quiet.submit(&clip("bikes-2s.mp4"), "h264").await;
    quiet.succeeded(job).await;
    quiet.stop().await;
    assert_eq!(collector.spans().len(), before);
    check_records(&collector.records(), job);
}

#[tokio::test]
async fn a_collector_that_never_answers_holds_up_nothing() {
    // It takes connections, and no more.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    for protocol in ["grpc", "http/protobuf"] {
        let farm = farm(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", &url),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "700"),
            ("OTEL_BSP_SCHEDULE_DELAY", "50"),
            ("OTEL_BLRP_SCHEDULE_DELAY", "50"),
        ]);
        let mut farm = farm.start().await;
        let job = farm.submit(&clip("bikes-2s.mp4"), "h264").await;
        farm.succeeded(job).await;
        let warning = "the OTLP collector does not take what it is sent";
        farm.worker("alone").logged(seconds(30), warning).await;
        farm.coordinator().logged(seconds(30), warning).await;

        let mut worker = farm.take_worker("alone");
        let asked = Instant::now();
        worker.signal(Signal::TERM);
        assert_eq!(exit_code(worker.exited(seconds(15)).await), 0);
        let took = asked.elapsed();
        assert!(took < FAREWELL + seconds(2), "{protocol}: the worker took {took:?} to end");
        let warnings = worker.log().matches(warning).count();
        assert!(warnings <= 2, "{warnings} warnings, for spans and for log records");
        let asked = Instant::now();
        farm.stop().await;
        let took = asked.elapsed();
        assert!(took < FAREWELL + seconds(3), "{protocol}: the coordinator took {took:?} to end");
    }
}

#[tokio::test]
async fn variables_that_cannot_be_understood_are_refused_at_the_start() {
    let mut farm = Farm::builder().start().await;
    farm.stop_coordinator(true).await;
    let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318");
    for wrong in [("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"), ("OTEL_TRACES_SAMPLER", "sometimes")] {
        let status = farm.try_start_coordinator(&[endpoint, wrong]).await.unwrap_err();
        assert_eq!(exit_code(status), 78);
        let log = std::fs::read_to_string(farm.path().join("logs/coordinator.log")).unwrap();
        let (name, value) = wrong;
        assert!(log.contains(&format!("{name}={value}: use")), "{log}");
    }
    farm.start_coordinator().await;
    farm.stop().await;
}

#[tokio::test]
async fn json_lines_are_flat_and_say_which_job_and_worker_they_are_about() {
    let spec = |name: &str, level: &str| {
        let spec = WorkerSpec::new(name).labels(&format!("log={level}"));
        spec.env("TVARR_LOG_FORMAT", "json").env("TVARR_LOG", level)
    };
    // Ids stay when only warnings are wanted.
    let farm = Farm::builder().env("TVARR_LOG_FORMAT", "json");
    let farm = farm.worker(spec("alone", "info")).worker(spec("strict", "warn")).start().await;
    let text = farm.path().join("no-media.mp4");
    std::fs::write(&text, "this is no film").unwrap();
    let mut jobs = Vec::new();
    for (clip, level) in [(clip("bikes-2s.mp4"), "info"), (text, "warn")] {
        let upload = farm.api.upload(&clip).await;
        let mut request = request(InputRef::Upload(upload.id), "h264");
        request.labels = [("log".to_owned(), level.to_owned())].into();
        jobs.push(farm.api.submit(&request).await.summary.id);
    }
    let [job, failing] = jobs[..] else { unreachable!("there are two") };
    let view = farm.succeeded(job).await;
    farm.finished(failing).await;
    let read = |name: &str| {
        let text = std::fs::read_to_string(farm.path().join("logs").join(name)).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<Map<String, Value>>>()
    };
    let (coordinator, worker, strict) = (read("coordinator.log"), read("alone.log"), read("strict.log"));
    for line in coordinator.iter().chain(&worker).chain(&strict) {
        assert!(
            ["timestamp", "level", "message", "target"].iter().all(|name| line[*name].is_string()),
            "{line:?}"
        );
        assert!(line.values().all(|value| !value.is_object() && !value.is_array()), "not flat: {line:?}");
    }
    let about = |lines: &[Map<String, Value>], job: JobId| -> Vec<Map<String, Value>> {
        let id = Value::from(job.to_string());
        lines.iter().filter(|line| line.get("job") == Some(&id)).cloned().collect()
    };
    let of_attempt = attempts(&view).next().unwrap();
    for (lines, least) in [(about(&coordinator, job), 3), (about(&worker, job), 2)] {
        assert!(lines.len() >= least, "{lines:?}");
        let of_attempts = lines.iter().filter(|line| line.contains_key("task"));
        for line in of_attempts {
            assert_eq!(line["worker"], of_attempt.worker.id.to_string(), "{line:?}");
            assert_eq!(line["epoch"], of_attempt.epoch.to_string(), "{line:?}");
        }
    }
    let failed = about(&strict, failing);
    assert!(
        failed.iter().any(|line| line["level"] == "WARN" && line["kind"] == "invalid_input"),
        "{strict:?}"
    );
    let registered = coordinator.iter().find(|line| line["message"] == "worker registered").unwrap();
    assert!(registered.contains_key("worker") && registered.contains_key("session"), "{registered:?}");
    farm.stop().await;
}
