//! Live streams of a farm: adding them, watching them, finding who encodes them.

use std::{path::PathBuf, time::Duration};

use common::stream::{SourceSpec, StreamOptions, StreamSpec, StreamView, VariantState, VariantView};
use rustix::process::{Pid, Signal};

use super::{HlsPlayer, Viewer};
use crate::{
    Farm, Refused,
    system::{self, Process},
    wait::{self, seconds},
};

const SOON: Duration = seconds(30);

/// A stream with everything left at its default.
#[must_use]
pub fn stream(name: &str, source: SourceSpec) -> StreamSpec {
    StreamSpec { name: name.to_owned(), source, profiles: Vec::new(), options: StreamOptions::default() }
}

impl Farm {
    /// Adds a stream that is pulled from `url`.
    ///
    /// # Panics
    /// It is refused.
    pub async fn pull(&self, name: &str, url: &str) -> StreamView {
        self.pull_with(name, url, StreamOptions::default()).await
    }

    /// The same with options.
    ///
    /// # Panics
    /// It is refused.
    pub async fn pull_with(&self, name: &str, url: &str, options: StreamOptions) -> StreamView {
        let spec = StreamSpec { options, ..stream(name, SourceSpec::Pull(url.to_owned())) };
        self.api.add_stream(&spec).await.unwrap()
    }

    /// The address of something live: `{stream}/{profile}/stream.ts`.
    #[must_use]
    pub fn live(&self, path: &str) -> String {
        format!("{}/live/{path}", self.api.base)
    }

    /// A viewer of the MPEG-TS.
    #[must_use]
    pub fn watch(&self, stream: &str, profile: &str) -> Viewer {
        Viewer::watch(&self.live(&format!("{stream}/{profile}/stream.ts")))
    }

    /// A player of the HLS.
    #[must_use]
    pub fn play(&self, stream: &str, profile: &str) -> HlsPlayer {
        HlsPlayer::play(&self.live(&format!("{stream}/{profile}/index.m3u8")))
    }

    /// What is said of a variant; `None`: there is none.
    ///
    /// # Panics
    /// There is no such stream.
    pub async fn variant(&self, stream: &str, profile: &str) -> Option<VariantView> {
        let view = self.api.stream(stream).await.unwrap();
        view.variants.into_iter().find(|variant| variant.profile == profile)
    }

    /// Waits until a variant is as it is wanted.
    ///
    /// # Panics
    /// It is not.
    pub async fn variant_becomes(
        &self,
        stream: &str,
        profile: &str,
        what: &str,
        wanted: impl Fn(&VariantView) -> bool,
    ) -> VariantView {
        let become_so = wait::try_until(SOON, || async {
            self.variant(stream, profile).await.filter(|variant| wanted(variant))
        })
        .await;
        match become_so {
            Some(variant) => variant,
            None => {
                panic!("waited for {stream}/{profile} {what}: {:#?}", self.variant(stream, profile).await)
            }
        }
    }

    /// Waits until a variant runs, and tells on which worker.
    pub async fn encoder(&self, stream: &str, profile: &str) -> String {
        let running =
            |variant: &VariantView| variant.state == VariantState::Live && active(variant).is_some();
        let variant = self.variant_becomes(stream, profile, "to run", running).await;
        active(&variant).unwrap_or_default()
    }

    /// Waits until a variant runs on another worker than `before`, and tells on which.
    pub async fn moved(&self, stream: &str, profile: &str, before: &str) -> String {
        let elsewhere = |variant: &VariantView| active(variant).is_some_and(|worker| worker != before);
        let variant = self.variant_becomes(stream, profile, &format!("to leave {before}"), elsewhere).await;
        active(&variant).unwrap_or_default()
    }

    /// Waits until there is no such variant.
    ///
    /// # Panics
    /// There still is.
    pub async fn variant_ends(&self, stream: &str, profile: &str, deadline: Duration) {
        let what = format!("the end of {stream}/{profile}");
        wait::until(deadline, &what, || async {
            self.variant(stream, profile).await.is_none().then_some(())
        })
        .await;
    }

    /// The ffmpegs that a worker runs.
    #[must_use]
    pub fn ffmpegs_of(&mut self, worker: &str) -> Vec<Process> {
        system::ffmpegs_below(self.worker(worker).pid())
    }

    /// Sends a signal to each ffmpeg of a worker.
    ///
    /// # Panics
    /// It runs none.
    pub fn signal_ffmpeg(&mut self, worker: &str, signal: Signal) {
        let ffmpegs = self.ffmpegs_of(worker);
        assert!(!ffmpegs.is_empty(), "{worker} runs no ffmpeg");
        for process in ffmpegs {
            let pid = Pid::from_raw(i32::try_from(process.pid).unwrap()).unwrap();
            // It may have ended by itself.
            let _ = rustix::process::kill_process(pid, signal);
        }
    }

    /// A folder of the test's own, which goes with the farm.
    ///
    /// # Panics
    /// It cannot be made.
    #[must_use]
    pub fn folder(&self, name: &str) -> PathBuf {
        let folder = self.path().join("viewers").join(name);
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }
}

/// The worker whose frames are delivered.
fn active(variant: &VariantView) -> Option<String> {
    let attempt = variant.attempts.iter().find(|attempt| attempt.role == "active")?;
    Some(attempt.worker.name.clone())
}

impl crate::Api {
    /// # Errors
    /// The coordinator's refusal.
    pub async fn add_stream(&self, spec: &StreamSpec) -> Result<StreamView, Refused> {
        self.send("/v1/streams", spec).await
    }

    /// # Errors
    /// The coordinator's refusal.
    pub async fn stream(&self, name: &str) -> Result<StreamView, Refused> {
        self.read(&format!("/v1/streams/{name}")).await
    }

    /// # Errors
    /// The coordinator's refusal.
    pub async fn remove_stream(&self, name: &str) -> Result<(), Refused> {
        self.delete(&format!("/v1/streams/{name}")).await
    }
}
