//! What the coordinator asks for, checked.

use std::time::Duration;

use common::{
    api::OnDamagedInput,
    failure::{Failure, FailureKind},
    ffmpeg::EncoderChoice,
    id::{AttemptId, Epoch, JobId},
    media::EncoderFamily,
    proto,
    spec::Spec,
    worker::BadMessage,
};

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
    pub(crate) job: JobId,
    pub(crate) attempt: AttemptId,
    pub(crate) preset: String,
    pub(crate) spec: Spec,
    pub(crate) encoder: Option<EncoderChoice>,
    pub(crate) location: Location,
    /// The name that the user knows the input by.
    pub(crate) input: String,
    pub(crate) stall: Option<Duration>,
    pub(crate) time_limit: Option<Duration>,
    pub(crate) on_damaged_input: OnDamagedInput,
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
}

impl TryFrom<proto::Assign> for Assignment {
    type Error = Unusable;

    fn try_from(assign: proto::Assign) -> Result<Self, Unusable> {
        let attempt = attempt_id(&assign.task_id, assign.epoch).map_err(Unusable::Nameless)?;
        let on_damaged_input = assign.on_damaged_input().into();
        let wrong = |what: String| {
            let message = format!(
                "the assignment cannot be understood: {what}; coordinator and worker may be of different versions"
            );
            Unusable::Attempt(attempt, Failure::new(FailureKind::InvalidSpec, message))
        };
        let job = assign.job_id.parse().map_err(|error: common::id::Error| wrong(error.to_string()))?;
        let spec =
            serde_json::from_str(&assign.spec_json).map_err(|error| wrong(format!("spec: {error}")))?;
        let input = assign.input.ok_or_else(|| wrong("it has no input".to_owned()))?;
        let location = match input.location.ok_or_else(|| wrong("its input has no location".to_owned()))? {
            proto::input::Location::Url(url) => Location::Url(url),
            proto::input::Location::Path(path) => Location::Path(path),
        };
        let encoder = (!assign.encoder.is_empty()).then(|| EncoderChoice {
            family: EncoderFamily::of_encoder(&assign.encoder),
            name: assign.encoder,
            device: assign.device.map(|device| device.path),
            nvenc_preset: None,
        });
        let limit = |millis: u64| (millis > 0).then(|| Duration::from_millis(millis));
        Ok(Self {
            job,
            attempt,
            preset: assign.preset,
            spec,
            encoder,
            location,
            input: if input.name.is_empty() { "the input".to_owned() } else { input.name },
            stall: limit(assign.stall_timeout_ms.into()),
            time_limit: limit(assign.time_limit_ms),
            on_damaged_input,
        })
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
            }),
            ..Default::default()
        }
    }

    #[test]
    fn a_whole_assignment_is_understood() {
        let assignment = Assignment::try_from(assign()).unwrap();
        assert_eq!((assignment.slot(), assignment.stall, assignment.time_limit), (Slot::Gpu, None, None));
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
}
