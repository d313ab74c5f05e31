//! The binary: signals, exit codes, and that nothing survives it.

#![allow(clippy::unwrap_used)]

mod support;

use std::process::{Child, Command, Output, Stdio};

use common::proto::coordinator_message::Message as ToWorker;
use rustix::process::{Pid, Signal, kill_process};
use support::{Coordinator, H264, SLOW, TOKEN, clip, eventually, fake, film, processes_in};

struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Daemon {
    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_raw(self.0.id().cast_signed()).unwrap(), signal).unwrap();
    }

    async fn exit_code(&mut self) -> Option<i32> {
        let child = std::sync::Mutex::new(&mut self.0);
        eventually("the end of ffmpegd", || async { child.lock().unwrap().try_wait().unwrap() }).await.code()
    }
}

fn ffmpegd(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ffmpegd"));
    command.args(args).stdin(Stdio::null()).env("TVARR_AUTH_TOKEN", TOKEN).env("TVARR_HWACCEL", "none");
    command
}

async fn connected(state: &std::path::Path) -> (Coordinator, Daemon) {
    let mut coordinator = Coordinator::start().await;
    let address = coordinator.address.to_string();
    let args = ["--coordinator-url", &address, "--state-dir", state.to_str().unwrap(), "--max-cpu-jobs", "2"];
    let daemon = Daemon(ffmpegd(&args).spawn().unwrap());
    let hello = coordinator.hello().await;
    assert_eq!(hello.capacity.unwrap().max_jobs, 2);
    assert!(hello.capabilities.unwrap().encoders.iter().any(|encoder| encoder.name == "libx264"));
    (coordinator, daemon)
}

#[tokio::test]
async fn kill_9_leaves_no_ffmpeg() {
    let state = tempfile::tempdir().unwrap();
    let (mut coordinator, daemon) = connected(state.path()).await;
    let folder = tempfile::tempdir().unwrap();
    let url = coordinator.offer(&film(folder.path()));
    coordinator.send(ToWorker::Assign(coordinator.assign(&url, SLOW))).await;
    coordinator.started().await;
    assert!(!processes_in(state.path()).is_empty());
    daemon.signal(Signal::KILL);
    eventually("the end of ffmpeg", || async { processes_in(state.path()).is_empty().then_some(()) }).await;
}

#[tokio::test]
async fn kill_9_leaves_nothing_that_ffmpeg_started() {
    let state = tempfile::tempdir().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let script =
        "case \"$*\" in *-progress*) trap '' TERM; sleep 600 & wait ;; *) exec ffmpeg \"$@\" ;; esac";
    let fake = fake(folder.path(), script);
    let mut coordinator = Coordinator::start().await;
    let address = coordinator.address.to_string();
    let (state_dir, ffmpeg) = (state.path().to_str().unwrap(), fake.to_str().unwrap());
    let args = ["--coordinator-url", &address, "--state-dir", state_dir, "--ffmpeg", ffmpeg];
    let daemon = Daemon(ffmpegd(&args).spawn().unwrap());
    coordinator.hello().await;
    let url = coordinator.offer(&clip(folder.path(), "clip.mp4", &[]));
    coordinator.send(ToWorker::Assign(coordinator.assign(&url, H264))).await;
    coordinator.started().await;
    let both = || async { (processes_in(state.path()).len() >= 2).then_some(()) };
    eventually("the script and its child", both).await;
    daemon.signal(Signal::KILL);
    eventually("their ends", || async { processes_in(state.path()).is_empty().then_some(()) }).await;
}

#[tokio::test]
async fn the_second_signal_stops_at_once() {
    let state = tempfile::tempdir().unwrap();
    let (mut coordinator, mut daemon) = connected(state.path()).await;
    let folder = tempfile::tempdir().unwrap();
    let url = coordinator.offer(&film(folder.path()));
    coordinator.send(ToWorker::Assign(coordinator.assign(&url, SLOW))).await;
    coordinator.started().await;
    daemon.signal(Signal::TERM);
    coordinator
        .next("Draining", |message| {
            matches!(message, common::proto::worker_message::Message::Draining(_)).then_some(())
        })
        .await;
    daemon.signal(Signal::TERM);
    assert_eq!(coordinator.failed().await.kind, "handed_back");
    assert_eq!(daemon.exit_code().await, Some(4));
    assert!(processes_in(state.path()).is_empty());
}

#[tokio::test]
async fn a_drain_past_its_deadline_hands_back_and_exits_with_4() {
    let state = tempfile::tempdir().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut coordinator = Coordinator::start().await;
    let address = coordinator.address.to_string();
    let state_dir = state.path().to_str().unwrap();
    let args = ["--coordinator-url", &address, "--state-dir", state_dir, "--drain-timeout", "100ms"];
    let mut daemon = Daemon(ffmpegd(&args).spawn().unwrap());
    coordinator.hello().await;
    let url = coordinator.offer(&film(folder.path()));
    coordinator.send(ToWorker::Assign(coordinator.assign(&url, SLOW))).await;
    coordinator.started().await;
    daemon.signal(Signal::TERM);
    assert_eq!(coordinator.failed().await.kind, "handed_back");
    assert_eq!(daemon.exit_code().await, Some(4));
    assert!(processes_in(state.path()).is_empty());
}

#[tokio::test]
async fn a_drained_worker_without_work_exits_with_0() {
    let state = tempfile::tempdir().unwrap();
    let (_coordinator, mut daemon) = connected(state.path()).await;
    daemon.signal(Signal::INT);
    assert_eq!(daemon.exit_code().await, Some(0));
}

#[tokio::test]
async fn two_workers_do_not_share_a_state_folder() {
    let state = tempfile::tempdir().unwrap();
    let (_coordinator, _daemon) = connected(state.path()).await;
    let second = run(&["--state-dir", state.path().to_str().unwrap()]);
    assert_eq!(second.status.code(), Some(2));
    assert!(text(&second).contains("another ffmpegd on this machine"), "{}", text(&second));
}

#[test]
fn a_wrong_setting_is_told_at_once() {
    for (args, words) in [
        (["--coordinator-url", "ftp://farm"], "only http and https"),
        (["--nvenc-preset", "p9"], "p1 (fastest) to p7 (best)"),
        (["--hwaccel", "warp"], "no hardware family"),
        (["--log", "=!="], "log filter"),
    ] {
        let output = run(&args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(text(&output).contains(words), "{args:?}: {}", text(&output));
    }
}

#[test]
fn without_ffmpeg_the_exit_code_is_3() {
    let state = tempfile::tempdir().unwrap();
    let output = run(&["--ffmpeg", "/no/such/ffmpeg", "--state-dir", state.path().to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(3), "{}", text(&output));
}

fn run(args: &[&str]) -> Output {
    ffmpegd(args).output().unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
