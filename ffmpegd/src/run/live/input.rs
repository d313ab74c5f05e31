//! What ffmpeg reads: one GET that lasts as long as the attempt.

use std::{collections::VecDeque, io, sync::atomic::Ordering, time::Duration};

use bytes::Bytes;
use common::{
    failure::{Failure, FailureKind},
    ffmpeg::live::first_video,
};
use reqwest::{Response, StatusCode, Url};
use tokio::{io::AsyncWriteExt as _, process::ChildStdin, time::timeout};

use super::flow::Flow;
use crate::run::{Ending, Tools};

/// To the head of the answer; it comes at once, also when the source has nothing yet.
const ANSWER: Duration = Duration::from_secs(10);
/// A video frame that does not begin within this is not there. The input begins with a key frame.
const PEEKED: usize = 1024 * 1024;

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

    /// Reads until it is known when the video begins. What was read is not lost.
    pub(super) async fn first_video(&mut self) -> Result<Option<i64>, String> {
        let mut seen = Vec::new();
        while seen.len() < PEEKED {
            let Some(bytes) = self.response.chunk().await.map_err(super::output::cause)? else { break };
            seen.extend_from_slice(&bytes);
            self.head.push_back(bytes);
            if let Some(pts) = first_video(&seen) {
                return Ok(Some(pts));
            }
        }
        Ok(None)
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
