//! A server that is far away: a relay on loopback that keeps every byte back for half a round trip, each way.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context, Result};
use bytes::{Bytes, BytesMut};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::mpsc,
    task::JoinSet,
    time::{Instant, sleep, sleep_until},
};

/// Bytes that are read at a time.
const CHUNK: usize = 64 * 1024;
/// Chunks on the way in one direction: more than a fast line holds, so that only the distance slows it.
const ON_THE_WAY: usize = 512;

/// Relays until it is dropped.
#[derive(Debug)]
pub(crate) struct Far {
    pub(crate) address: SocketAddr,
    _accept: JoinSet<()>,
}

impl Far {
    /// To `host:port`.
    pub(crate) async fn to(server: String, round_trip: Duration) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.context("listening")?;
        let address = listener.local_addr()?;
        let mut accept = JoinSet::new();
        accept.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((near, _)) = listener.accept().await {
                let server = server.clone();
                // Who hangs up early is no fault of the relay's.
                connections.spawn(async move {
                    let _ = relay(near, &server, round_trip).await;
                });
                while connections.try_join_next().is_some() {}
            }
        });
        Ok(Self { address, _accept: accept })
    }
}

async fn relay(near: TcpStream, server: &str, round_trip: Duration) -> std::io::Result<()> {
    // TCP's own handshake, which loopback does not take this long for.
    sleep(round_trip).await;
    let far = TcpStream::connect(server).await?;
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    let (near_in, near_out) = near.into_split();
    let (far_in, far_out) = far.into_split();
    tokio::try_join!(one_way(near_in, far_out, round_trip / 2), one_way(far_in, near_out, round_trip / 2))?;
    Ok(())
}

async fn one_way(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, delay: Duration) -> std::io::Result<()> {
    let (sent, mut on_the_way) = mpsc::channel::<(Instant, Bytes)>(ON_THE_WAY);
    let read = async move {
        loop {
            let mut chunk = BytesMut::with_capacity(CHUNK);
            if from.read_buf(&mut chunk).await? == 0
                || sent.send((Instant::now() + delay, chunk.freeze())).await.is_err()
            {
                return Ok(());
            }
        }
    };
    let write = async {
        while let Some((due, chunk)) = on_the_way.recv().await {
            sleep_until(due).await;
            to.write_all(&chunk).await?;
        }
        to.shutdown().await
    };
    tokio::try_join!(read, write).map(|_: ((), ())| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_far_takes_a_round_trip_and_arrives_whole() {
        let echo = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = echo.local_addr().unwrap();
        let mut echoing = JoinSet::new();
        echoing.spawn(async move {
            let (stream, _) = echo.accept().await.unwrap();
            let (mut read, mut write) = stream.into_split();
            tokio::io::copy(&mut read, &mut write).await.unwrap();
        });
        let far = Far::to(address.to_string(), Duration::from_millis(40)).await.unwrap();
        let before = Instant::now();
        let mut stream = TcpStream::connect(far.address).await.unwrap();
        let sent = vec![7; 300_000];
        let (mut read, mut write) = stream.split();
        let mut back = vec![0; sent.len()];
        tokio::try_join!(write.write_all(&sent), read.read_exact(&mut back)).unwrap();
        // The connection, then there and back. That it takes no less is not a matter of the machine's speed.
        assert!(before.elapsed() >= Duration::from_millis(80), "{:?}", before.elapsed());
        assert!(back == sent);
    }
}
