//! How far an input is, and how that is said.

use common::api::{AttemptState, JobState, JobView, ProgressView};
use serde::Serialize;

use crate::text;

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "stage", rename_all = "snake_case")]
pub(crate) enum Stage {
    Uploading { done_bytes: u64, total_bytes: u64 },
    Queued { waiting_for: Option<String> },
    Running(Box<Running>),
    Downloading { done_bytes: u64, total_bytes: u64 },
    Cancelling,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(crate) struct Running {
    /// The worker's name.
    pub worker: Option<String>,
    pub encoder: Option<String>,
    /// Which try this is, from 1.
    pub attempt: usize,
    #[serde(flatten)]
    pub progress: Option<Figures>,
}

/// A [`ProgressView`] as it is shown.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(crate) struct Figures {
    pub percent: Option<f64>,
    pub frames: u64,
    pub fps: f64,
    pub speed: f64,
    pub bitrate: u64,
    pub eta_seconds: Option<f64>,
    pub phase: String,
}

impl From<&ProgressView> for Figures {
    fn from(view: &ProgressView) -> Self {
        Self {
            percent: view.percent,
            frames: view.progress.frames,
            fps: view.progress.fps,
            speed: view.progress.speed,
            bitrate: view.progress.bitrate,
            eta_seconds: view.eta_seconds,
            phase: view.progress.phase.clone(),
        }
    }
}

impl Stage {
    /// The stage of a job that is not over.
    pub(crate) fn of_job(job: &JobView) -> Self {
        match job.summary.state {
            JobState::Queued => Self::Queued { waiting_for: job.summary.waiting_for.clone() },
            JobState::Running
            | JobState::Succeeded
            | JobState::Failed
            | JobState::Cancelled
            | JobState::Dead => {
                let attempts = || job.tasks.iter().flat_map(|task| &task.attempts);
                let current = attempts().rfind(|attempt| attempt.state == AttemptState::Running);
                let attempt = current.or_else(|| attempts().last());
                Self::Running(Box::new(Running {
                    worker: attempt
                        .map(|attempt| &attempt.worker)
                        .or(job.summary.worker.as_ref())
                        .map(|worker| worker.name.clone()),
                    encoder: attempt.and_then(|attempt| attempt.encoder.clone()),
                    attempt: attempts().count(),
                    progress: job.summary.progress.as_ref().map(Figures::from),
                }))
            }
        }
    }

    /// This stage after new figures came.
    pub(crate) fn with_progress(&self, view: &ProgressView) -> Self {
        let mut running = match self {
            Self::Running(running) => running.clone(),
            Self::Uploading { .. } | Self::Queued { .. } | Self::Downloading { .. } | Self::Cancelling => {
                Box::default()
            }
        };
        running.progress = Some(Figures::from(view));
        Self::Running(running)
    }

    /// What is done of it, 0 to 1; absent while that is unknown.
    pub(crate) fn fraction(&self) -> Option<f64> {
        match self {
            Self::Uploading { done_bytes, total_bytes } | Self::Downloading { done_bytes, total_bytes } => {
                (*total_bytes > 0).then(|| *done_bytes as f64 / *total_bytes as f64)
            }
            Self::Running(running) => running.progress.as_ref()?.percent.map(|percent| percent / 100.0),
            Self::Queued { .. } | Self::Cancelling => None,
        }
        .map(|fraction| fraction.clamp(0.0, 1.0))
    }

    /// The stage in words, without the percentage.
    pub(crate) fn words(&self) -> String {
        match self {
            Self::Uploading { done_bytes, total_bytes } => {
                format!("uploading, {} of {}", text::bytes(*done_bytes), text::bytes(*total_bytes))
            }
            Self::Downloading { done_bytes, total_bytes } => {
                format!("fetching results, {} of {}", text::bytes(*done_bytes), text::bytes(*total_bytes))
            }
            Self::Queued { waiting_for: Some(reason) } => format!("queued: {}", text::printable(reason)),
            Self::Queued { waiting_for: None } => "queued".to_owned(),
            Self::Cancelling => "cancelling".to_owned(),
            Self::Running(running) => running.words(),
        }
    }

    /// Changes when something happened that people want to read about at once.
    pub(crate) fn milestone(&self) -> String {
        match self {
            Self::Uploading { .. } => "uploading".to_owned(),
            Self::Downloading { .. } => "downloading".to_owned(),
            Self::Queued { .. } | Self::Cancelling => self.words(),
            Self::Running(running) => {
                let phase = running.progress.as_ref().map_or("", |figures| figures.phase.as_str());
                format!("{phase} {}", running.place())
            }
        }
    }
}

impl Running {
    fn words(&self) -> String {
        let mut parts = Vec::new();
        let phase = self.progress.as_ref().map_or("", |figures| figures.phase.as_str());
        parts.push(if phase.is_empty() { "starting".to_owned() } else { text::printable(phase) });
        if let Some(figures) = &self.progress
            && figures.frames > 0
            && phase == "encoding"
        {
            parts.push(format!("{:.0} fps", figures.fps));
            parts.push(format!("{:.2}x", figures.speed));
        }
        if let Some(eta) = self.progress.as_ref().and_then(|figures| figures.eta_seconds) {
            parts.push(format!("ETA {}", text::clock(eta)));
        }
        let place = self.place();
        if !place.is_empty() {
            parts.push(place);
        }
        parts.join(", ")
    }

    /// Who does it, with what, for which time.
    fn place(&self) -> String {
        let mut place = match (&self.worker, &self.encoder) {
            (Some(worker), Some(encoder)) => format!("on {worker} ({encoder})"),
            (Some(worker), None) => format!("on {worker}"),
            (None, Some(encoder)) => encoder.clone(),
            (None, None) => String::new(),
        };
        if self.attempt > 1 {
            place.push_str(&format!(" attempt {}", self.attempt));
        }
        text::printable(&place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn running(phase: &str, percent: Option<f64>) -> Stage {
        Stage::Running(Box::new(Running {
            worker: Some("host-1".to_owned()),
            encoder: Some("libx264".to_owned()),
            attempt: 1,
            progress: Some(Figures {
                percent,
                frames: 100,
                fps: 53.2,
                speed: 2.14,
                bitrate: 4_000_000,
                eta_seconds: Some(41.0),
                phase: phase.to_owned(),
            }),
        }))
    }

    #[test]
    fn an_encode_tells_speed_eta_worker_and_encoder() {
        let stage = running("encoding", Some(42.0));
        assert_eq!(stage.words(), "encoding, 53 fps, 2.14x, ETA 0:41, on host-1 (libx264)");
        assert_eq!(stage.fraction(), Some(0.42));
    }

    #[test]
    fn figures_are_no_milestone_and_phases_are() {
        let milestone = running("encoding", Some(1.0)).milestone();
        assert_eq!(milestone, running("encoding", Some(2.0)).milestone());
        assert_ne!(milestone, running("uploading", Some(2.0)).milestone());
    }

    #[test]
    fn an_unknown_duration_has_no_fraction() {
        assert_eq!(running("encoding", None).fraction(), None);
        assert_eq!(Stage::Uploading { done_bytes: 1, total_bytes: 0 }.fraction(), None);
    }

    #[test]
    fn json_names_the_stage_and_the_figures() {
        let json = serde_json::to_value(running("encoding", Some(42.0))).unwrap();
        assert_eq!(json["stage"], "running");
        assert_eq!(json["percent"], 42.0);
        assert_eq!(json["worker"], "host-1");
    }
}
