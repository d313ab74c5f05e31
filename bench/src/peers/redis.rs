//! A Redis of the benchmark's own: free port, nothing written to disk.

use std::{
    net::{Ipv4Addr, TcpListener},
    path::Path,
};

use anyhow::{Context, Result};
use tokio::{net::TcpStream, process::Command};

use super::START_LIMIT;
use crate::process::{self, Running};

#[derive(Debug)]
pub(crate) struct Redis {
    server: Running,
    port: u16,
}

impl Redis {
    pub(crate) async fn start(name: &str, folder: &Path) -> Result<Self> {
        let port = free_port()?;
        let mut command = Command::new("redis-server");
        command
            .args(["--bind", "127.0.0.1", "--port", &port.to_string()])
            .args(["--save", "", "--appendonly", "no", "--daemonize", "no"])
            .arg("--dir")
            .arg(folder);
        let mut server = process::start(name, folder, command)?;
        server
            .wait_until(START_LIMIT, async || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.is_ok())
            .await?;
        Ok(Self { server, port })
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) async fn stop(self) {
        self.server.stop().await;
    }
}

/// Redis cannot say which port it chose, so one is chosen for it.
fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("looking for a free port")?;
    Ok(listener.local_addr()?.port())
}
