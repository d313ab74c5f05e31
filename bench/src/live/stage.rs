//! What each part begins with: a coordinator with a stream on the air.

use std::{path::Path, time::Duration};

use anyhow::{Context, Result, bail};
use common::stream::{SourceSpec, StreamOptions, StreamSpec, StreamView, VariantView};
use e2e::live::{Broadcast, Recording, Viewer};
use tokio::time::{Instant, sleep};

use crate::{
    farm::{Coordinator, Site},
    process::POLL,
};

pub(super) const STREAM: &str = "channel";
/// Everything that is waited for comes within this.
pub(super) const LIMIT: Duration = Duration::from_secs(60);

/// A coordinator, and a broadcast that it pulls.
pub(super) struct Stage {
    pub(super) coordinator: Coordinator,
    pub(super) broadcast: Broadcast,
}

/// 1080p at 25 frames per second and about 6 Mbit/s, AAC.
pub(super) fn full_hd() -> Recording {
    Recording::default().size(1920, 1080)
}

impl Stage {
    pub(super) async fn set(
        site: &Site,
        data: &str,
        recording: &Recording,
        options: StreamOptions,
        env: &[(&str, &Path)],
    ) -> Result<Self> {
        let broadcast = Broadcast::of(recording);
        let coordinator = site.coordinator(data, env).await?;
        let source = SourceSpec::Pull(broadcast.url());
        let spec = StreamSpec { name: STREAM.to_owned(), source, profiles: Vec::new(), options };
        coordinator.api.add_stream(&spec).await?;
        Ok(Self { coordinator, broadcast })
    }

    pub(super) fn url(&self, profile: &str) -> String {
        format!("http://{}/live/{STREAM}/{profile}/stream.ts", self.coordinator.api.address())
    }

    pub(super) fn watch(&self, profile: &str) -> Viewer {
        Viewer::watch(&self.url(profile))
    }

    pub(super) async fn stream(&self) -> Result<StreamView> {
        self.coordinator.api.stream(STREAM).await
    }

    pub(super) async fn variant(&self, profile: &str) -> Result<Option<VariantView>> {
        Ok(self.stream().await?.variants.into_iter().find(|variant| variant.profile == profile))
    }

    /// Waits until nothing is encoded and the source is let go.
    pub(super) async fn idle(&self) -> Result<()> {
        let deadline = Instant::now() + LIMIT;
        loop {
            if self.stream().await?.variants.is_empty() && self.broadcast.listeners() == 0 {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("the variants do not end: {:?}", self.stream().await?.variants);
            }
            sleep(POLL).await;
        }
    }

    /// Waits until a worker delivers the variant, and tells which; `before`: another one than that.
    pub(super) async fn encoder(&self, profile: &str, before: Option<&str>) -> Result<String> {
        let deadline = Instant::now() + LIMIT;
        loop {
            let variant = self.variant(profile).await?.context("the variant goes on")?;
            let active = variant.attempts.iter().find(|attempt| attempt.role == "active");
            if let Some(name) =
                active.map(|attempt| &attempt.worker.name).filter(|name| Some(name.as_str()) != before)
            {
                return Ok(name.clone());
            }
            if Instant::now() > deadline {
                bail!("nobody delivers the variant: {variant:?}");
            }
            sleep(POLL).await;
        }
    }
}
