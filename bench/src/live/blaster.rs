//! A worker without an encoder: what it brings was made before, as much of it as goes through.

use std::{
    process::Command,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use bytes::Buf as _;
use common::proto::{Assign, RunningAttempt, coordinator_message::Message as Order};
use e2e::{
    liar::Liar,
    live::ts::{self, Counters, PACKET},
};
use tokio::{io::AsyncWriteExt, net::TcpStream, time::Instant};

use crate::farm::Coordinator;

/// Bits per second of what it brings: so many that what goes through at once is not a minute ahead of the source, which the
/// coordinator would refuse.
const BITRATE: &str = "200M";
/// A chunk of the body.
const CHUNK: usize = 64 * 1024 / PACKET * PACKET;

/// Bytes that it may be before its viewer.
const LEAD: usize = 24 << 20;

/// One second of 1080p in one group of pictures, without sound, at far more bits than anybody would send.
pub(super) struct Second {
    bytes: Vec<u8>,
    dts: u64,
}

impl Second {
    pub(super) fn make() -> Result<Self> {
        let output = Command::new("ffmpeg")
            .args([
                "-nostdin",
                "-v",
                "error",
                "-f",
                "lavfi",
                "-i",
                "testsrc2=s=1920x1080:r=25,noise=alls=60:allf=t",
            ])
            .args([
                "-t",
                "2.2",
                "-c:v",
                "libx264",
                "-preset",
                "ultrafast",
                "-pix_fmt",
                "yuv420p",
                "-b:v",
                BITRATE,
            ])
            .args([
                "-minrate",
                BITRATE,
                "-maxrate",
                BITRATE,
                "-bufsize",
                BITRATE,
                "-g",
                "25",
                "-keyint_min",
                "25",
            ])
            .args(["-bf", "0", "-sc_threshold", "0", "-f", "mpegts", "-"])
            .output()
            .context("making a second of video")?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let keys: Vec<_> = ts::all_pes(&output.stdout).into_iter().filter(|pes| pes.random_access).collect();
        let [first, second, ..] = &keys[..] else { bail!("two key frames were wanted: {keys:?}") };
        let from = ts::with_tables(&output.stdout, first.at);
        let to = ts::with_tables(&output.stdout, second.at);
        Ok(Self { bytes: output.stdout[from..to].to_vec(), dts: first.dts })
    }

    /// At least that many bytes of it, one second after the other, from `begin` on.
    pub(super) fn repeated(&self, bytes: usize, begin: u64) -> Vec<u8> {
        let mut counters = Counters::default();
        let mut stream = Vec::with_capacity(bytes + self.bytes.len());
        let mut at = begin.wrapping_sub(self.dts) & ((1 << 33) - 1);
        while stream.len() < bytes {
            let from = stream.len();
            stream.extend_from_slice(&self.bytes);
            for packet in stream[from..].chunks_exact_mut(PACKET) {
                ts::shift(packet, at);
                counters.renumber(packet);
            }
            at += 90_000;
        }
        stream
    }
}

/// The worker, and the attempt that it was given.
pub(super) struct Blaster {
    pub(super) liar: Liar,
    pub(super) assign: Assign,
    address: String,
}

impl Blaster {
    /// Takes the next live attempt.
    pub(super) async fn take(mut liar: Liar, coordinator: &Coordinator) -> Result<Self> {
        let assign = liar.assigned().await;
        liar.started(&assign).await;
        let address = coordinator.grpc.trim_start_matches("http://").trim_end_matches('/').to_owned();
        Ok(Self { liar, assign, address })
    }

    /// Opens the connection for the attempt's output; it does not end.
    pub(super) async fn open(&self) -> Result<TcpStream> {
        let mut stream = TcpStream::connect(&self.address).await.context("connecting to the worker port")?;
        stream.set_nodelay(true)?;
        let head = format!(
            "PUT {} HTTP/1.1\r\nhost: {}\r\ntransfer-encoding: chunked\r\n\r\n",
            self.assign.live_output_url, self.address
        );
        stream.write_all(head.as_bytes()).await?;
        Ok(stream)
    }

    /// A heartbeat, and how long its answer takes.
    pub(super) async fn beat(&mut self) -> Duration {
        let running = RunningAttempt { task_id: self.assign.task_id.clone(), epoch: self.assign.epoch };
        let begun = Instant::now();
        self.liar.beat(&[running]).await;
        self.liar
            .next("renewal of the lease", |order| matches!(order, Order::LeasesRenewed(_)).then_some(()))
            .await;
        begun.elapsed()
    }
}

/// Writes it all, in chunks, at most `LEAD` bytes before a viewer has read them: a live source does not wait for its viewers,
/// and one who is behind by the coordinator's whole buffer would be disconnected.
pub(super) async fn blast(stream: &mut TcpStream, bytes: &[u8], read: &AtomicUsize) -> Result<()> {
    for (index, chunk) in bytes.chunks(CHUNK).enumerate() {
        while index * CHUNK > read.load(Ordering::Relaxed) + LEAD {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        // In one write, as an HTTP client does.
        let head = format!("{:x}\r\n", chunk.len());
        stream.write_all_buf(&mut head.as_bytes().chain(chunk).chain(&b"\r\n"[..])).await?;
    }
    Ok(())
}
