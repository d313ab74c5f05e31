//! What the coordinator asks for, checked.

use std::time::Duration;

use common::{
    api::OnDamagedInput,
    failure::{Failure, FailureKind},
    ffmpeg::EncoderChoice,
    id::{AttemptId, Epoch, JobId, StreamId},
    live,
    media::EncoderFamily,
    proto,
    spec::Spec,
    worker::BadMessage,
};

use super::Whose;

/// The kind of slot that an attempt takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Slot {
    Gpu,
    Cpu,
}

/// Where the input is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Location {
    /// Absolute, or a path on the worker port.
    Url(String),
    /// Below a shared root.
    Path(String),
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Assignment {
    /// The job, or the live stream.
    pub(crate) job: JobId,
    pub(crate) attempt: AttemptId,
    /// The preset, or the live stream's profile.
    pub(crate) preset: String,
    pub(crate) encoder: Option<EncoderChoice>,
    /// The name that the user knows the input by.
    pub(crate) input: String,
    pub(crate) work: Work,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Work {
    Batch(Box<Batch>),
    Live(Box<LiveTask>),
}

/// A file that ffmpeg reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Input {
    pub(crate) location: Location,
    /// The name that the user knows it by.
    pub(crate) name: String,
    /// It is still on its way to the coordinator.
    pub(crate) grows: bool,
}

/// Files into files.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Batch {
    pub(crate) spec: Spec,
    /// At least one; only commands have more.
    pub(crate) inputs: Vec<Input>,
    pub(crate) stall: Option<Duration>,
    pub(crate) time_limit: Option<Duration>,
    pub(crate) on_damaged_input: OnDamagedInput,
}

/// A part of a live stream, for as long as it lasts.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct LiveTask {
    pub(crate) work: live::Work,
    /// Absolute, or a path on the worker port. `None`: nothing comes in.
    pub(crate) input_url: Option<String>,
    pub(crate) output_url: String,
}

/// Why an assignment cannot be taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Unusable {
    /// It does not even say which attempt it is about.
    Nameless(BadMessage),
    /// The attempt fails with this.
    Attempt(AttemptId, Failure),
}

/// The attempt that a message is about.
pub(crate) fn attempt_id(task: &str, epoch: u64) -> Result<AttemptId, BadMessage> {
    let task = task.parse().map_err(|error: common::id::Error| BadMessage(error.to_string()))?;
    Ok(AttemptId { task, epoch: Epoch(epoch) })
}

impl Assignment {
    pub(crate) fn slot(&self) -> Slot {
        match &self.encoder {
            Some(encoder) if encoder.family.is_hardware() => Slot::Gpu,
            _ => Slot::Cpu,
        }
    }

    pub(crate) fn whose(&self) -> Whose {
        if self.is_live() { Whose::Stream(StreamId(self.job.0)) } else { Whose::Job(self.job) }
    }

    pub(crate) fn is_live(&self) -> bool {
        matches!(self.work, Work::Live(_))
    }
}

impl TryFrom<proto::Assign> for Assignment {
    type Error = Unusable;

    fn try_from(assign: proto::Assign) -> Result<Self, Unusable> {
        let attempt = attempt_id(&assign.task_id, assign.epoch).map_err(Unusable::Nameless)?;
        let wrong = |what: String| {
            let message = format!(
                "the assignment cannot be understood: {what}; coordinator and worker may be of different versions"
            );
            Unusable::Attempt(attempt, Failure::new(FailureKind::InvalidSpec, message))
        };
        let job = assign.job_id.parse().map_err(|error: common::id::Error| wrong(error.to_string()))?;
        let (work, input) = if assign.live_json.is_empty() {
            let name = assign.input.as_ref().map(|input| input.name.clone()).unwrap_or_default();
            (Work::Batch(Box::new(batch(&assign).map_err(wrong)?)), name)
        } else {
            (Work::Live(Box::new(live_task(&assign).map_err(wrong)?)), "the live source".to_owned())
        };
        let encoder = (!assign.encoder.is_empty()).then(|| EncoderChoice {
            family: EncoderFamily::of_encoder(&assign.encoder),
            name: assign.encoder,
            device: assign.device.map(|device| device.path),
            nvenc_preset: None,
        });
        Ok(Self { job, attempt, preset: assign.preset, encoder, input: named(&input), work })
    }
}

fn batch(assign: &proto::Assign) -> Result<Batch, String> {
    let spec = serde_json::from_str(&assign.spec_json).map_err(|error| format!("spec: {error}"))?;
    let first = assign.input.as_ref().ok_or("it has no input")?;
    let inputs = std::iter::once(first).chain(&assign.more_inputs).map(input).collect::<Result<_, _>>()?;
    let limit = |millis: u64| (millis > 0).then(|| Duration::from_millis(millis));
    Ok(Batch {
        spec,
        inputs,
        stall: limit(assign.stall_timeout_ms.into()),
        time_limit: limit(assign.time_limit_ms),
        on_damaged_input: assign.on_damaged_input().into(),
    })
}

fn input(input: &proto::Input) -> Result<Input, String> {
    let location = match input.location.as_ref().ok_or("an input has no location")? {
        proto::input::Location::Url(url) => Location::Url(url.clone()),
        proto::input::Location::Path(path) => Location::Path(path.clone()),
    };
    Ok(Input { location, name: named(&input.name), grows: input.grows })
}

fn named(name: &str) -> String {
    if name.is_empty() { "the input".to_owned() } else { name.to_owned() }
}

fn live_task(assign: &proto::Assign) -> Result<LiveTask, String> {
    let work = serde_json::from_str(&assign.live_json).map_err(|error| format!("live work: {error}"))?;
    let input_url = Some(assign.live_input_url.clone()).filter(|url| !url.is_empty());
    if assign.live_output_url.is_empty() {
        return Err("its result has nowhere to go".to_owned());
    }
    match (&work, &input_url) {
        (live::Work::Encode(_), None) => Err("there is nothing to encode: it names no source".to_owned()),
        (live::Work::Ingest(_) | live::Work::Slate(_), Some(_)) => {
            Err("it names a source for work that reads none".to_owned())
        }
        (live::Work::Encode(_), Some(_)) | (live::Work::Ingest(_) | live::Work::Slate(_), None) => {
            Ok(LiveTask { work, input_url, output_url: assign.live_output_url.clone() })
        }
    }
}

#[cfg(test)]
mod tests {
    use common::id::TaskId;

    use super::*;

    fn assign() -> proto::Assign {
        proto::Assign {
            job_id: JobId::new().to_string(),
            task_id: TaskId::new().to_string(),
            epoch: 4,
            spec_json: r#"{"kind":"file","container":"mp4"}"#.to_owned(),
            encoder: "h264_nvenc".to_owned(),
            device: Some(proto::EncoderDevice { gpu: 1, path: "1".to_owned(), bit_depths: vec![8] }),
            input: Some(proto::Input {
                location: Some(proto::input::Location::Url("/objects/a".to_owned())),
                name: "a.mp4".to_owned(),
                grows: false,
            }),
            ..Default::default()
        }
    }

    #[test]
    fn a_whole_assignment_is_understood() {
        let assignment = Assignment::try_from(assign()).unwrap();
        let Work::Batch(batch) = &assignment.work else { panic!("it is live") };
        assert_eq!((assignment.slot(), batch.stall, batch.time_limit), (Slot::Gpu, None, None));
        assert_eq!(assignment.encoder.unwrap().device.as_deref(), Some("1"));
        let software = proto::Assign { encoder: "libx264".to_owned(), device: None, ..assign() };
        assert_eq!(Assignment::try_from(software).unwrap().slot(), Slot::Cpu);
    }

    #[test]
    fn what_is_odd_fails_the_attempt_or_is_nameless() {
        for odd in [
            proto::Assign { spec_json: "{".to_owned(), ..assign() },
            proto::Assign { input: None, ..assign() },
            proto::Assign { input: Some(proto::Input::default()), ..assign() },
            proto::Assign { job_id: "1".to_owned(), ..assign() },
        ] {
            assert!(matches!(Assignment::try_from(odd), Err(Unusable::Attempt(_, _))));
        }
        let nameless = proto::Assign { task_id: "x".to_owned(), ..assign() };
        assert!(matches!(Assignment::try_from(nameless), Err(Unusable::Nameless(_))));
    }

    fn slate() -> proto::Assign {
        let live_json =
            r#"{"work":"slate","width":640,"height":360,"frame_rate":[25,1],"text":"Soon"}"#.to_owned();
        let live_output_url = "/live/output".to_owned();
        proto::Assign { live_json, live_output_url, spec_json: String::new(), input: None, ..assign() }
    }

    #[test]
    fn live_work_is_told_from_batch() {
        let assignment = Assignment::try_from(slate()).unwrap();
        assert!(assignment.is_live());
        assert!(!Assignment::try_from(assign()).unwrap().is_live());
    }

    #[test]
    fn live_work_that_is_odd_fails_the_attempt() {
        for odd in [
            proto::Assign { live_json: "{".to_owned(), ..slate() },
            proto::Assign { live_json: r#"{"work":"dance"}"#.to_owned(), ..slate() },
            proto::Assign { live_json: r#"{"work":"encode"}"#.to_owned(), ..slate() },
            proto::Assign { live_input_url: "/live/input".to_owned(), ..slate() },
            proto::Assign { live_output_url: String::new(), ..slate() },
        ] {
            assert!(matches!(Assignment::try_from(odd), Err(Unusable::Attempt(_, _))));
        }
    }
}
