//! What ffmpeg reads: one GET that lasts as long as the attempt.

use std::{collections::VecDeque, io, sync::atomic::Ordering, time::Duration};

use bytes::Bytes;
use common::{
    failure::{Failure, FailureKind},
    ffmpeg::live::First,
};
use reqwest::{Response, StatusCode, Url};
use tokio::{
    io::AsyncWriteExt as _,
    process::ChildStdin,
    time::{Instant, timeout, timeout_at},
};

use super::{flow::Flow, peek::Peek};
use crate::run::{Ending, Tools};

/// To the head of the answer; it comes at once, also when the source has nothing yet.
const ANSWER: Duration = Duration::from_secs(10);
/// A track that does not begin within this is taken to be silent for now. The input begins with a key frame, which is a
/// megabyte at the most.
const PEEKED: usize = 4 * 1024 * 1024;
/// So long is waited for audio once there is something else: more than usually lies between them.
const SILENCE: Duration = Duration::from_millis(300);

/// An open input.
pub(super) struct Input {
    /// Read already.
    head: VecDeque<Bytes>,
    response: Response,
}

/// How the input ended.
#[derive(Debug)]
pub(super) enum Fed {
    /// Properly: the generation is over.
    Over,
    /// ffmpeg reads no more.
    Refused,
    Broken(String),
}

impl Input {
    pub(super) async fn open(tools: &Tools, url: Url) -> Result<Self, Ending> {
        let failed = |what: String| -> Ending {
            let message = format!("reading the live source from the coordinator: {what}");
            Failure::new(FailureKind::SourceUnreachable, message).into()
        };
        let answer = timeout(ANSWER, tools.live_http.get(url).send()).await;
        let response = match answer {
            Err(_) => return Err(failed(format!("no answer within {} s", ANSWER.as_secs()))),
            Ok(Err(error)) => return Err(failed(super::output::cause(error))),
            Ok(Ok(response)) => response,
        };
        match response.status() {
            status if status.is_success() => Ok(Self { head: VecDeque::new(), response }),
            StatusCode::GONE | StatusCode::NOT_FOUND => Err(Ending::NotCurrent),
            status => Err(failed(format!("it answered {status}"))),
        }
    }

    /// Reads until it is known where the tracks begin. What was read is not lost.
    pub(super) async fn peek(&mut self, wanted: (bool, bool)) -> Result<First, String> {
        let (mut peek, mut read) = (Peek::new(wanted), 0);
        let mut silent_at = None;
        while !peek.is_done() && read < PEEKED {
            let chunk = match silent_at {
                None => self.response.chunk().await,
                Some(time) => match timeout_at(time, self.response.chunk()).await {
                    Ok(chunk) => chunk,
                    Err(_) => break,
                },
            };
            let Some(bytes) = chunk.map_err(super::output::cause)? else { break };
            read += bytes.len();
            peek.push(&bytes);
            self.head.push_back(bytes);
            if peek.lacks_only_audio() && silent_at.is_none() {
                silent_at = Some(Instant::now() + SILENCE);
            }
        }
        Ok(peek.found())
    }

    /// Pipes it into ffmpeg and closes the pipe at the end.
    pub(super) async fn feed(mut self, mut stdin: ChildStdin, flow: &Flow) -> Fed {
        loop {
            let bytes = match self.head.pop_front() {
                Some(bytes) => bytes,
                None => match self.response.chunk().await {
                    Ok(Some(bytes)) => bytes,
                    Ok(None) => break,
                    Err(error) => return Fed::Broken(super::output::cause(error)),
                },
            };
            let count = bytes.len() as u64;
            flow.offered.fetch_add(count, Ordering::Relaxed);
            flow.figures.fetched.inc_by(count);
            match stdin.write_all(&bytes).await {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Fed::Refused,
                Err(error) => return Fed::Broken(format!("writing to ffmpeg: {error}")),
            }
            flow.taken.fetch_add(count, Ordering::Relaxed);
        }
        Fed::Over
    }
}
