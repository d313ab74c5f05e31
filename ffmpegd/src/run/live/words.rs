//! What ffmpeg says on stderr: its log and, between the lines, its progress.

use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    process::ChildStderr,
};

use crate::run::{Vitals, lines::Lines, progress::Parser};

/// Reads to the end.
pub(super) async fn read(mut stderr: ChildStderr, vitals: &Vitals) {
    listen(&mut stderr, vitals).await;
}

async fn listen(stderr: &mut (impl AsyncRead + Unpin), vitals: &Vitals) {
    let (mut lines, mut parser) = (Lines::default(), Parser::new(None));
    let mut buffer = vec![0; 8 * 1024];
    let mut hear = |line: &str| {
        if !is_progress(line) {
            vitals.log(line);
        } else if let Some(progress) = parser.line(line) {
            vitals.report(progress);
        }
    };
    while let Ok(count @ 1..) = stderr.read(&mut buffer).await {
        lines.push(&buffer[..count], &mut hear);
    }
    lines.finish(&mut hear);
}

/// Lines of the log begin with `[`: `-loglevel level+...`.
fn is_progress(line: &str) -> bool {
    let Some((key, _)) = line.split_once('=') else { return false };
    key.starts_with("stream_")
        || matches!(
            key,
            "frame"
                | "fps"
                | "bitrate"
                | "total_size"
                | "out_time_us"
                | "out_time_ms"
                | "out_time"
                | "dup_frames"
                | "drop_frames"
                | "speed"
                | "progress"
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn progress_is_told_from_the_log() {
        let said = "[info] Output #0, mpegts, to 'pipe:1':\nframe=48\nfps=25.0\nstream_0_0_q=28.0\nout_time_us=2000000\n\
                    speed=1.0x\nprogress=continue\n[libx264 @ 0x1] [warning] frame=odd\n";
        let vitals = Vitals::default();
        listen(&mut said.as_bytes(), &vitals).await;
        assert_eq!(vitals.progress().frames, 48);
        assert_eq!(vitals.log_tail().len(), 2, "{:?}", vitals.log_tail());
    }
}
