//! Looks at what ffmpeg made before anybody gets it.

use std::{
    path::Path,
    sync::{Arc, Mutex},
};

use common::{
    failure::{Failure, FailureKind},
    ffmpeg::{self, Expected, Lowered, ffprobe_output_args, parse_ffprobe, verify},
    media::MediaInfo,
};
use futures::{StreamExt, TryStreamExt, stream};

use super::{
    Ending, Tools,
    classify::no_room,
    log::Log,
    spawn::{Exit, Program},
    supervise::{Bounds, End, Keep, supervise},
};

/// ffprobe's answer about one file; the largest there is lists thousands of streams' tags.
pub(super) const MAX_ANSWER: usize = 16 << 20;
/// ffprobes at once.
const PARALLEL: usize = 4;

/// Why an output is not taken.
#[derive(Debug)]
pub(super) enum Objection {
    /// It is not what was asked for.
    Wrong(String),
    /// It could not be looked at.
    Ended(Ending),
}

/// Makes what ffmpeg does not make itself, and checks every file that must be there.
pub(super) async fn check(
    tools: &Tools,
    lowered: &Arc<Lowered>,
    out: &Path,
    bounds: &Bounds,
) -> Result<(), Objection> {
    let (work, folder) = (Arc::clone(lowered), out.to_owned());
    let written = tokio::task::spawn_blocking(move || {
        ffmpeg::finish(&work.finish, &folder)?;
        verify::files(&work.expected, &folder)
    });
    written
        .await
        .unwrap_or_else(|panic| Err(Failure::new(FailureKind::Crashed, panic.to_string())))
        .map_err(objection)?;
    let mut looks = Vec::with_capacity(lowered.expected.len());
    for expected in &lowered.expected {
        looks.push(one(tools, expected, out, bounds));
    }
    stream::iter(looks).buffer_unordered(PARALLEL).try_collect::<()>().await
}

async fn one(tools: &Tools, expected: &Expected, out: &Path, bounds: &Bounds) -> Result<(), Objection> {
    let found = look(tools, &out.join(&expected.path), out, bounds).await?;
    verify::check(expected, &found).map_err(objection)
}

fn objection(failure: Failure) -> Objection {
    match failure.kind {
        FailureKind::OutputWrong => Objection::Wrong(failure.message),
        _ => Objection::Ended(failure.into()),
    }
}

async fn look(tools: &Tools, file: &Path, folder: &Path, bounds: &Bounds) -> Result<MediaInfo, Objection> {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let program =
        Program { path: tools.ffprobe.clone(), args: ffprobe_output_args(file), folder: folder.to_owned() };
    let process = tools.spawner.spawn(&program).await.map_err(|error| {
        objection(Failure::new(
            FailureKind::Crashed,
            format!("cannot start {}: {error}", tools.ffprobe.display()),
        ))
    })?;
    let log = Mutex::new(Log::default());
    let mut answer = Keep { bytes: Vec::new(), limit: MAX_ANSWER };
    match supervise(process, &mut answer, &log, bounds).await {
        End::Exited(Exit::Code(0)) => parse_ffprobe(&answer.bytes).map_err(|failure| {
            Objection::Wrong(format!("the result {name} cannot be read: {}", failure.message))
        }),
        End::Exited(_) => {
            let lines = log.into_inner().map(|log| log.tail()).unwrap_or_default();
            let said = lines.last().map_or("ffprobe says nothing about why", String::as_str);
            Err(Objection::Wrong(format!("the result {name} cannot be read ({said})")))
        }
        End::Stopped => Err(Objection::Ended(Ending::Stopped)),
        End::Stalled(patience) => {
            let message =
                format!("checking the result {name}: ffprobe did nothing for {} s", patience.as_secs());
            Err(objection(Failure::new(FailureKind::Stalled, message)))
        }
        End::OutOfTime => {
            let message = format!("checking the result {name}: the job's time limit ran out");
            Err(objection(Failure::new(FailureKind::TimeLimit, message)))
        }
        End::NoRoom(shortage) => {
            let verdict = no_room(&format!("checking the result {name}"), shortage);
            Err(Objection::Ended(Ending::Failed(verdict)))
        }
        End::Lost(error) => {
            let message = format!("checking the result {name}: ffprobe was lost: {error}");
            Err(objection(Failure::new(FailureKind::Crashed, message)))
        }
    }
}
