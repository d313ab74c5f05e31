//! Looks at what ffmpeg made before anybody gets it.
//!
//! The result must hold what was asked for, what ffmpeg says that it encoded, and all that the input has. The input's
//! headers say how much that is; where the result differs from them the input itself is looked at, packet by packet, and
//! decides.

use std::{
    path::Path,
    sync::{Arc, Mutex},
};

use common::{
    failure::{Failure, FailureKind},
    ffmpeg::{
        self, Allowed, Expected, Lowered, Survey, ffprobe_output_args, parse_ffprobe, survey_args,
        survey_output_args,
        timing::{self, Extents},
        verify::{self, Files, Playlist},
    },
    media::MediaInfo,
};
use futures::{StreamExt, TryStreamExt, stream};

use super::{
    Ending, Tools,
    classify::no_room,
    damage::Complaints,
    lines::Lines,
    log::Log,
    progress::Encoded,
    spawn::{Exit, Program},
    supervise::{Bounds, End, Keep, Stdout, supervise},
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

/// What is checked, and what it is checked against.
#[derive(Debug)]
pub(super) struct Check<'a> {
    pub(super) tools: &'a Tools,
    pub(super) lowered: &'a Arc<Lowered>,
    /// The output folder.
    pub(super) out: &'a Path,
    pub(super) bounds: &'a Bounds,
    pub(super) input: &'a MediaInfo,
    pub(super) input_url: &'a str,
    pub(super) allowed: Allowed,
    pub(super) encoded: Encoded,
    pub(super) complaints: &'a Complaints,
}

/// One file of the result.
#[derive(Debug)]
struct Made<'a> {
    expected: &'a Expected,
    found: MediaInfo,
    /// `None` for pictures and tracks of them.
    packets: Option<Survey>,
}

impl Check<'_> {
    /// Makes what ffmpeg does not make itself. From here on no file of the result changes.
    pub(super) async fn finish(&self) -> Result<Files, Objection> {
        let (work, folder) = (Arc::clone(self.lowered), self.out.to_owned());
        let written = tokio::task::spawn_blocking(move || {
            ffmpeg::finish(&work.finish, &folder)?;
            verify::files(&work, &folder)
        });
        written
            .await
            .unwrap_or_else(|panic| Err(Failure::new(FailureKind::Crashed, panic.to_string())))
            .map_err(objection)
    }

    /// Checks every file that must be there. Returns the survey of the input, when there was a reason for one.
    pub(super) async fn run(&self, files: Files) -> Result<Option<Survey>, Objection> {
        for file in &files.produced {
            self.look(file).await?;
        }
        let mut looks = Vec::with_capacity(files.lists.len());
        for (expected, list) in self.lowered.expected.iter().zip(&files.lists) {
            looks.push(self.one(expected, list.as_ref()));
        }
        let made: Vec<_> = stream::iter(looks).buffer_unordered(PARALLEL).try_collect().await?;

        let claimed = self.complete(&made, &Extents::claimed(self.input));
        if claimed.is_ok() && !self.complaints.cut {
            return Ok(None);
        }
        let survey = self.survey(survey_args(self.input_url, self.allowed), "the input").await?;
        let there = if survey.count() > 0 {
            self.complete(&made, &Extents::surveyed(self.input, &survey))
        } else {
            claimed
        };
        match there {
            // What cannot be decoded is in no result; it was counted and will be told.
            Err(_) if self.complaints.errors > 0 => Ok(Some(survey)),
            Err(failure) => Err(objection(failure)),
            Ok(()) => Ok(Some(survey)),
        }
    }

    fn complete(&self, made: &[Made<'_>], input: &Extents) -> Result<(), Failure> {
        for Made { expected, found, packets } in made {
            if let Some(packets) = packets {
                timing::complete(expected, found, packets, input, self.encoded.unseen())
                    .map_err(|deviation| deviation.failure)?;
            }
        }
        Ok(())
    }

    async fn one<'e>(&self, expected: &'e Expected, list: Option<&Playlist>) -> Result<Made<'e>, Objection> {
        let path = self.out.join(&expected.path);
        let found = self.look(&path).await?;
        verify::check(expected, &found).map_err(objection)?;
        if !expected.is_timed() {
            return Ok(Made { expected, found, packets: None });
        }
        let packets =
            self.survey(survey_output_args(&path), &format!("the result {}", expected.path)).await?;
        timing::written(expected, &found, &packets, self.encoded.frames).map_err(objection)?;
        if let Some(list) = list {
            timing::listed(expected, list, &packets).map_err(objection)?;
        }
        Ok(Made { expected, found, packets: Some(packets) })
    }

    async fn look(&self, file: &Path) -> Result<MediaInfo, Objection> {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let unreadable = |why: &str| Objection::Wrong(format!("the result {name} cannot be read ({why})"));
        let mut answer = Keep { bytes: Vec::new(), limit: MAX_ANSWER };
        let what = format!("the result {name}");
        match self.ask(ffprobe_output_args(file), &mut answer, &what).await? {
            (Exit::Code(0), _) => {
                parse_ffprobe(&answer.bytes).map_err(|failure| unreadable(&failure.message))
            }
            (_, lines) => {
                Err(unreadable(lines.last().map_or("ffprobe says nothing about why", String::as_str)))
            }
        }
    }

    /// An ffprobe that ends with an error has listed what it could read; that is an answer too.
    async fn survey(&self, args: Vec<std::ffi::OsString>, what: &str) -> Result<Survey, Objection> {
        let mut packets = PacketList::default();
        self.ask(args, &mut packets, what).await?;
        packets.lines.finish(|line| packets.survey.line(line));
        Ok(packets.survey)
    }

    /// Runs an ffprobe to its end. Returns what it wrote to stderr.
    async fn ask(
        &self,
        args: Vec<std::ffi::OsString>,
        answer: &mut impl Stdout,
        what: &str,
    ) -> Result<(Exit, Vec<String>), Objection> {
        let path = &self.tools.ffprobe;
        let program =
            Program { path: path.clone(), args, folder: self.out.to_owned(), stdin: false, network: false };
        let ended = |kind, message| objection(Failure::new(kind, message));
        let process = self.tools.spawner.spawn(&program).await.map_err(|error| {
            ended(FailureKind::Crashed, format!("cannot start {}: {error}", path.display()))
        })?;
        let log = Mutex::new(Log::default());
        match supervise(process, answer, &log, self.bounds).await {
            End::Exited(exit) => Ok((exit, log.into_inner().map(|log| log.tail()).unwrap_or_default())),
            End::Stopped => Err(Objection::Ended(Ending::Stopped)),
            End::Stalled(patience) => Err(ended(
                FailureKind::Stalled,
                format!("checking {what}: ffprobe did nothing for {} s", patience.as_secs()),
            )),
            End::OutOfTime => {
                Err(ended(FailureKind::TimeLimit, format!("checking {what}: the job's time limit ran out")))
            }
            End::NoRoom(shortage) => {
                Err(Objection::Ended(Ending::Failed(no_room(&format!("checking {what}"), shortage))))
            }
            End::Lost(error) => {
                Err(ended(FailureKind::Crashed, format!("checking {what}: ffprobe was lost: {error}")))
            }
        }
    }
}

fn objection(failure: Failure) -> Objection {
    match failure.kind {
        FailureKind::OutputWrong => Objection::Wrong(failure.message),
        _ => Objection::Ended(failure.into()),
    }
}

/// ffprobe's list of packets, read as it comes: a long film has millions.
#[derive(Debug, Default)]
struct PacketList {
    lines: Lines,
    survey: Survey,
}

impl Stdout for PacketList {
    fn take(&mut self, bytes: &[u8]) {
        let Self { lines, survey } = self;
        lines.push(bytes, |line| survey.line(line));
    }

    fn signs(&self) -> (u64, u64) {
        (0, self.survey.count())
    }
}
