//! Encoders and cameras of other people: they offer a broadcast by protocols that a worker's ffmpeg has to open.

use std::{
    fs::File,
    net::{Ipv4Addr, TcpListener, UdpSocket},
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, Stdio},
};

use rustix::process::{Pid, Signal};
use tempfile::NamedTempFile;

use super::Broadcast;
use crate::binaries;

/// Debian's own Python, which has Debian's GStreamer.
const PYTHON: &str = "/usr/bin/python3";
/// An encoder that serves one connection at a time and then the next, as it is told when it ends.
const AGAIN: &str = r#"while :; do setpriv --pdeathsig KILL -- "$@"; sleep 0.2; done"#;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// Sent to the worker, whether it listens or not.
    Udp,
    /// The sender listens.
    Srt,
    /// The sender listens.
    Rtmp,
    /// A server of GStreamer's, which sends RTP over the connection.
    Rtsp,
}

/// Sends until it is dropped.
#[derive(Debug)]
pub struct Sender {
    protocol: Protocol,
    port: u16,
    broadcast: String,
    child: Option<Child>,
    log: NamedTempFile,
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.gone();
    }
}

impl Sender {
    /// Sends what is on the air.
    ///
    /// # Panics
    /// It cannot be started.
    #[must_use]
    pub fn of(protocol: Protocol, broadcast: &Broadcast) -> Self {
        let port = free_port(protocol);
        let log = NamedTempFile::new().unwrap();
        let mut sender = Self { protocol, port, broadcast: broadcast.url(), child: None, log };
        sender.back();
        sender
    }

    /// Where a worker gets it.
    #[must_use]
    pub fn url(&self) -> String {
        let port = self.port;
        match self.protocol {
            Protocol::Udp => format!("udp://127.0.0.1:{port}"),
            Protocol::Srt => format!("srt://127.0.0.1:{port}?mode=caller"),
            Protocol::Rtmp => format!("rtmp://127.0.0.1:{port}/live/channel"),
            Protocol::Rtsp => format!("rtsp://127.0.0.1:{port}/channel"),
        }
    }

    /// It is killed, and nobody is told.
    pub fn gone(&mut self) {
        if let Some(mut child) = self.child.take() {
            let group = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
            // It may have ended by itself.
            let _ = rustix::process::kill_process_group(group, Signal::KILL);
            let _ = child.wait();
        }
    }

    /// It is started again.
    ///
    /// # Panics
    /// It cannot be started, or it runs.
    pub fn back(&mut self) {
        assert!(self.child.is_none(), "it sends already");
        let mut command = Command::new(binaries::system("setpriv"));
        command.args(["--pdeathsig", "KILL", "--"]);
        match self.protocol {
            Protocol::Rtsp => {
                let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/live/rtsp_server.py");
                command.arg(PYTHON).arg(script).args([&self.broadcast, &self.port.to_string()]);
            }
            Protocol::Udp | Protocol::Srt | Protocol::Rtmp => {
                command.args(["sh", "-c", AGAIN, "sender"]).arg(binaries::system("ffmpeg"));
                command.args(["-nostdin", "-v", "error", "-probesize", "300000", "-i", &self.broadcast]);
                command.args(["-map", "0", "-c", "copy"]).args(self.output());
            }
        }
        let log = File::options().append(true).open(self.log.path()).unwrap();
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).process_group(0);
        self.child = Some(command.spawn().unwrap());
    }

    fn output(&self) -> Vec<String> {
        let port = self.port;
        let (options, url) = match self.protocol {
            Protocol::Udp => (vec!["-f", "mpegts"], format!("udp://127.0.0.1:{port}?pkt_size=1316")),
            Protocol::Srt => (vec!["-f", "mpegts"], format!("srt://127.0.0.1:{port}?mode=listener")),
            Protocol::Rtmp | Protocol::Rtsp => (vec!["-f", "flv", "-listen", "1"], self.url()),
        };
        options.into_iter().map(str::to_owned).chain([url]).collect()
    }

    /// What it said, and one line `client` for each that came to the RTSP server.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log.path()).unwrap_or_default()
    }
}

fn free_port(protocol: Protocol) -> u16 {
    let any = (Ipv4Addr::LOCALHOST, 0);
    let address = match protocol {
        Protocol::Udp | Protocol::Srt => UdpSocket::bind(any).unwrap().local_addr(),
        Protocol::Rtmp | Protocol::Rtsp => TcpListener::bind(any).unwrap().local_addr(),
    };
    address.unwrap().port()
}
