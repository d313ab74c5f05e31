//! How many bytes go from a worker through the coordinator to a viewer, by the real endpoints, beside one plain TCP
//! connection over loopback and one hop of Python's gRPC; and how long heartbeats take meanwhile.
//!
//! The worker brings a real transport stream made before, as fast as it is taken; the coordinator takes it apart, splices it
//! and packs it anew, as always.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::Path,
    process::Command,
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use common::{id::WorkerId, stream::StreamOptions};
use e2e::{
    liar::{self, Liar},
    live::Recording,
};
use serde::Serialize;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};

use super::{
    Plan,
    blaster::{Blaster, Second, blast},
    cold::milliseconds,
    stage::{self, LIMIT, STREAM},
};
use crate::{
    farm::Site,
    stats::{Paired, Spread, median},
};

const MEBIBYTE: f64 = 1024.0 * 1024.0;
/// What iperf3 writes at once unless told otherwise.
const BLOCK: usize = 128 * 1024;
const HEARTBEATS: usize = 100;
const PAUSE: Duration = Duration::from_millis(10);
/// What the worker brings begins where attempts begin.
const BEGIN: u64 = 10 * 90_000;

#[derive(Debug, Clone, Serialize)]
pub(crate) struct Pipe {
    /// MiB per second, over one TCP connection of this program's own.
    pub(crate) over_tcp: Paired,
    /// Over one hop of Python's gRPC; `None` where it is not installed.
    pub(crate) over_grpcio: Option<Paired>,
    /// Over two TCP connections, through a process that does nothing but pass bytes on: no more goes through any two hops here.
    pub(crate) over_relay: Paired,
    /// MiB per second, once.
    pub(crate) iperf3: Option<f64>,
    /// Milliseconds.
    pub(crate) heartbeat_idle: Spread,
    pub(crate) heartbeat_busy: Option<Spread>,
}

pub(super) async fn measure(site: &Site, plan: &Plan) -> Result<Pipe> {
    let second = Second::make()?;
    let bytes = second.repeated(plan.mebibytes << 20, BEGIN);
    let (mut over_tcp, mut over_relay, mut over_grpcio) = (Vec::new(), Vec::new(), Vec::new());
    let (mut idle, mut busy) = (Vec::new(), Vec::new());
    for round in 0..plan.rounds {
        let farm = through_the_farm(site, plan, round, &bytes, &mut idle, &mut busy).await?;
        over_tcp.push((farm, tokio::task::block_in_place(|| over_tcp_alone(bytes.len(), 1))?));
        over_relay.push((farm, tokio::task::block_in_place(|| over_tcp_alone(bytes.len(), 2))?));
        if let Some(grpcio) = over_grpc(plan)? {
            over_grpcio.push((farm, grpcio));
        }
    }
    Ok(Pipe {
        over_tcp: Paired::of(&over_tcp).context("at least one round")?,
        over_relay: Paired::of(&over_relay).context("at least one round")?,
        over_grpcio: Paired::of(&over_grpcio),
        iperf3: iperf3().await,
        heartbeat_idle: Spread::of(&idle).context("at least one heartbeat")?,
        heartbeat_busy: Spread::of(&busy),
    })
}

async fn through_the_farm(
    site: &Site,
    plan: &Plan,
    round: usize,
    bytes: &[u8],
    idle: &mut Vec<f64>,
    busy: &mut Vec<f64>,
) -> Result<f64> {
    let recording = Recording::default().video_only();
    let name = format!("live-pipe-{round}");
    // Room for several segments of what goes through.
    let env = [("TVARR_LIVE_BUFFER_BYTES", Path::new("256MiB"))];
    let stage = stage::Stage::set(site, &name, &recording, StreamOptions::default(), &env).await?;
    let hello = liar::hello("blaster", WorkerId::new(), 4);
    let liar = Liar::dial(&stage.coordinator.grpc, "", hello).await?;
    liar.beat(&[]).await;
    let address = stage.coordinator.api.address();
    let mut viewer = tokio::net::TcpStream::connect(address).await?;
    let request =
        format!("GET /live/{STREAM}/{}/stream.ts HTTP/1.1\r\nhost: {address}\r\n\r\n", plan.profile);
    viewer.write_all(request.as_bytes()).await?;
    let mut blaster = timeout(LIMIT, Blaster::take(liar, &stage.coordinator)).await??;
    for _ in 0..HEARTBEATS {
        idle.push(milliseconds(blaster.beat().await));
    }
    let mut output = blaster.open().await?;
    let wanted = bytes.len() / 10 * 9;
    let come = AtomicUsize::new(0);
    let reading = async {
        let (mut count, mut buffer) = (0, vec![0; BLOCK]);
        // Until the coordinator's buffer is full, much of the time is the kernel's, for clearing new memory.
        let (mut begun, mut warm) = (Instant::now(), 0);
        while count < wanted {
            let read = viewer.read(&mut buffer).await?;
            if read == 0 {
                bail!("the viewer was sent home after {count} of {wanted} bytes");
            }
            count += read;
            come.store(count, Ordering::Relaxed);
            if warm == 0 && count >= wanted / 2 {
                (begun, warm) = (Instant::now(), count);
            }
        }
        Ok((count - warm) as f64 / MEBIBYTE / begun.elapsed().as_secs_f64())
    };
    let beating = async {
        loop {
            busy.push(milliseconds(blaster.beat().await));
            tokio::time::sleep(PAUSE).await;
        }
    };
    let writing = async {
        blast(&mut output, bytes, &come).await?;
        std::future::pending::<Result<f64>>().await
    };
    let rate = tokio::select! {
        rate = timeout(LIMIT, reading) => rate.context("waiting for the viewer's bytes")?,
        wrong = writing => wrong,
        () = beating => bail!("heartbeats ended"),
    }?;
    drop((output, viewer, blaster));
    stage.coordinator.stop().await;
    Ok(rate)
}

/// So many connections one behind the other, with a thread at each end of each and nothing done to the bytes in between.
fn over_tcp_alone(bytes: usize, hops: usize) -> Result<f64> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let mut threads = Vec::new();
    let address = listener.local_addr()?;
    threads.push(std::thread::spawn(move || -> std::io::Result<()> {
        let mut stream = TcpStream::connect(address)?;
        let block = vec![7; BLOCK];
        for _ in 0..bytes.div_ceil(BLOCK) {
            stream.write_all(&block)?;
        }
        Ok(())
    }));
    let (mut stream, _) = listener.accept()?;
    for _ in 1..hops {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let mut onward = TcpStream::connect(listener.local_addr()?)?;
        let (next, _) = listener.accept()?;
        let mut before = std::mem::replace(&mut stream, next);
        threads.push(std::thread::spawn(move || -> std::io::Result<()> {
            let mut buffer = vec![0; BLOCK];
            loop {
                match before.read(&mut buffer)? {
                    0 => return Ok(()),
                    read => onward.write_all(&buffer[..read])?,
                }
            }
        }));
    }
    let (mut count, mut buffer) = (0, vec![0; BLOCK]);
    let begun = Instant::now();
    loop {
        match stream.read(&mut buffer)? {
            0 => break,
            read => count += read,
        }
    }
    let rate = count as f64 / MEBIBYTE / begun.elapsed().as_secs_f64();
    for thread in threads {
        thread.join().map_err(|_| anyhow::anyhow!("a thread panicked"))??;
    }
    Ok(rate)
}

fn over_grpc(plan: &Plan) -> Result<Option<f64>> {
    if !plan.python.is_file() {
        return Ok(None);
    }
    let output = Command::new(&plan.python)
        .arg(plan.peers.join("grpc_stream.py"))
        .arg((plan.mebibytes / 4).max(64).to_string())
        .output()
        .context("running grpc_stream.py")?;
    if !output.status.success() {
        bail!("grpc_stream.py: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(Some(
        String::from_utf8_lossy(&output.stdout).trim().parse().context("grpc_stream.py prints a number")?,
    ))
}

/// The median of three runs of a second each; `None` where it is not installed.
async fn iperf3() -> Option<f64> {
    let mut rates = Vec::new();
    for _ in 0..3 {
        rates.extend(iperf3_once().await);
    }
    median(&rates)
}

async fn iperf3_once() -> Option<f64> {
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).ok()?.local_addr().ok()?.port().to_string();
    let mut server = tokio::process::Command::new("iperf3");
    server.args(["-s", "-1", "-p", &port]).stdout(std::process::Stdio::null()).kill_on_drop(true);
    let _server = server.spawn().ok()?;
    // It listens a moment after it was started.
    for _ in 0..50 {
        tokio::time::sleep(Duration::from_millis(20)).await;
        let mut client = tokio::process::Command::new("iperf3");
        let output = client.args(["-c", "127.0.0.1", "-p", &port, "-t", "1", "-J"]).output().await.ok()?;
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).ok()?;
        if let Some(bits) = report["end"]["sum_received"]["bits_per_second"].as_f64() {
            return Some(bits / 8.0 / MEBIBYTE);
        }
    }
    None
}
