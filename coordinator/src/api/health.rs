//! Whether the process lives (`/healthz`) and whether it can take work (`/readyz`).

use std::time::Duration;

use axum::extract::State;

use super::{Api, problem::Error};

/// Time for storage, job store and queue to show that they work.
const PATIENCE: Duration = Duration::from_secs(3);

pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

pub(super) async fn readyz(State(api): State<Api>) -> Result<&'static str, Error> {
    let check = async {
        api.storage.probe().await?;
        api.store.ready().await?;
        api.queue.fleet().await?;
        Ok::<_, Error>(())
    };
    match tokio::time::timeout(PATIENCE, check).await {
        Ok(Ok(())) if !api.stop.is_cancelled() => Ok("ready\n"),
        Ok(Ok(())) => Err(Error::Unavailable { problem: "the coordinator is shutting down".to_owned() }),
        Ok(Err(error)) => Err(Error::Unavailable { problem: error.into_problem().detail }),
        Err(_) => Err(Error::Unavailable {
            problem: format!("storage, job store and queue did not answer within {} s", PATIENCE.as_secs()),
        }),
    }
}

pub(super) async fn root() -> &'static str {
    "This is the coordinator of a transcoding farm.\n\n\
     Pages:      /ui/\n\
     API:        /v1/jobs  /v1/uploads  /v1/workers  /v1/presets  /v1/events\n\
     Health:     /healthz  /readyz\n\
     By hand:    ffmpegctl --help\n\
     More:       docs/ in the source, starting with docs/architecture.md\n"
}
