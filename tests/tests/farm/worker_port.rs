//! A worker's own port: figures for Prometheus, health for whoever keeps it running.

use std::{collections::BTreeMap, net::SocketAddr, process::Command, time::Duration};

use common::{api::InputRef, media::HardwarePolicy};
use e2e::{
    Farm, WorkerSpec,
    api::request,
    binaries, clip,
    daemon::exit_code,
    prometheus,
    wait::{self, seconds},
};
use reqwest::{Client, Method, StatusCode};
use tokio::{io::AsyncReadExt as _, io::AsyncWriteExt as _, net::TcpStream};

use crate::{fakes::NvmlGpu, gpus::GpuMachine};

/// Where a worker tells that it listens.
async fn port(farm: &mut Farm, worker: &str) -> SocketAddr {
    let line = farm.worker(worker).logged(seconds(30), "metrics and health are told").await;
    line.rsplit("http=").next().unwrap().trim().parse().unwrap()
}

/// A free port, as far as anybody can tell.
fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

async fn get(address: SocketAddr, path: &str) -> (StatusCode, String) {
    let answer = Client::new().get(format!("http://{address}{path}")).send().await.unwrap();
    (answer.status(), answer.text().await.unwrap())
}

/// Samples by name and labels, as they are written.
async fn scrape(address: SocketAddr) -> (BTreeMap<String, f64>, String) {
    let (status, text) = get(address, "/metrics").await;
    assert_eq!(status, StatusCode::OK);
    assert!(text.ends_with("# EOF\n"), "{text}");
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    let sample = |line: &str| {
        let (name, value) = line.rsplit_once(' ').unwrap();
        (name.to_owned(), value.parse().unwrap())
    };
    (samples.map(sample).collect(), text)
}

#[tokio::test]
async fn a_worker_tells_prometheus_its_work_and_its_gpus() {
    let machine = GpuMachine::new("gpu", 2);
    let busy = NvmlGpu {
        memory_used_mib: 2048,
        utilisation: Some(73),
        encoder: Some(91),
        decoder: Some(12),
        sessions: Some(3),
        temperature: Some(66),
        ..NvmlGpu::new("NVIDIA GeForce RTX 3080", "GPU-gpu-0")
    };
    machine.show(&[busy, NvmlGpu::new("NVIDIA GeForce RTX 3080", "GPU-gpu-1")]);
    let spec = machine.worker.clone().env("TVARR_METRICS_PORT", "0");
    let mut farm = Farm::builder().worker(spec).start().await;
    let address = port(&mut farm, "gpu").await;
    assert!(address.ip().is_loopback(), "{address}: nobody else is told unless that is asked for");

    let input = clip("bigbuckbunny.mp4");
    let upload = farm.api.upload(&input).await;
    let mut request = request(InputRef::Upload(upload.id), "h264");
    request.hardware = HardwarePolicy::Require;
    let job = farm.api.submit(&request).await.summary.id;
    farm.encoding(job).await;
    let (running, text) = scrape(address).await;
    let value = |samples: &BTreeMap<String, f64>, name: &str| {
        *samples.get(name).unwrap_or_else(|| panic!("no {name} in\n{text}"))
    };
    for (name, expected) in [
        ("tvarr_worker_connected", 1.0),
        ("tvarr_worker_sessions_total", 1.0),
        ("tvarr_worker_attempts{class=\"batch\"}", 1.0),
        ("tvarr_worker_attempts{class=\"live\"}", 0.0),
        ("tvarr_worker_slots{kind=\"jobs\"}", 4.0),
        ("tvarr_worker_slots{kind=\"gpu\"}", 2.0),
        ("tvarr_worker_slots_used{kind=\"gpu\"}", 1.0),
        ("tvarr_worker_slots_used{kind=\"cpu\"}", 0.0),
        ("tvarr_worker_gpu_utilization_ratio{gpu=\"0\"}", 0.73),
        ("tvarr_worker_gpu_encoder_utilization_ratio{gpu=\"0\"}", 0.91),
        ("tvarr_worker_gpu_decoder_utilization_ratio{gpu=\"0\"}", 0.12),
        ("tvarr_worker_gpu_memory_used_bytes{gpu=\"0\"}", 2048.0 * 1024.0 * 1024.0),
        ("tvarr_worker_gpu_memory_bytes{gpu=\"1\"}", 10240.0 * 1024.0 * 1024.0),
        ("tvarr_worker_gpu_temperature_celsius{gpu=\"0\"}", 66.0),
        ("tvarr_worker_gpu_sessions{gpu=\"0\"}", 3.0),
        ("tvarr_worker_gpu_sessions_possible{gpu=\"0\"}", 4.0),
        ("tvarr_worker_encoder_available{encoder=\"h264_nvenc\",device=\"0\"}", 1.0),
        ("tvarr_worker_encoder_available{encoder=\"libx264\",device=\"\"}", 1.0),
    ] {
        assert_eq!(value(&running, name), expected, "{name} in\n{text}");
    }
    assert!(text.contains("uuid=\"GPU-gpu-1\""), "{text}");
    for name in [
        "tvarr_worker_memory_bytes",
        "tvarr_worker_scratch_free_bytes",
        "tvarr_worker_scratch_reserved_bytes",
    ] {
        assert!(value(&running, name) > 1e6, "{name} in\n{text}");
    }
    assert!((0.0..=1.0).contains(&value(&running, "tvarr_worker_cpu_ratio")));
    assert!(value(&running, "tvarr_worker_encode_fps{encoder=\"h264_nvenc\"}") >= 0.0);
    assert!(value(&running, "tvarr_worker_frames_encoded_total{encoder=\"h264_nvenc\"}") > 0.0);
    prometheus::no_fault_in(&text);

    let view = farm.succeeded(job).await;
    let (over, text) = scrape(address).await;
    let value = |name: &str| *over.get(name).unwrap_or_else(|| panic!("no {name} in\n{text}"));
    let finished =
        "tvarr_worker_attempts_finished_total{class=\"batch\",outcome=\"succeeded\",kind=\"none\"}";
    assert_eq!(value(finished), 1.0);
    assert_eq!(value("tvarr_worker_attempts{class=\"batch\"}"), 0.0);
    for phase in ["probing", "encoding", "checking", "uploading"] {
        assert_eq!(value(&format!("tvarr_worker_attempt_phase_seconds_count{{phase=\"{phase}\"}}")), 1.0);
    }
    let size = std::fs::metadata(&input).unwrap().len() as f64;
    assert!(value("tvarr_worker_fetched_bytes_total") >= size * 0.9, "{text}");
    let outputs: u64 = view.outputs.iter().map(|file| file.size).sum();
    assert_eq!(value("tvarr_worker_uploaded_bytes_total"), outputs as f64);
    let frames = view.summary.progress.as_ref().map_or(0, |progress| progress.progress.frames);
    assert_eq!(value("tvarr_worker_frames_encoded_total{encoder=\"h264_nvenc\"}"), frames as f64);
    farm.stop().await;
}

#[tokio::test]
async fn a_worker_is_ready_while_it_has_a_session_and_tells_nothing_else() {
    let port_number = free_port().to_string();
    let spec =
        WorkerSpec::new("alone").env("TVARR_METRICS_PORT", &port_number).env("TVARR_METRICS_BIND", "0.0.0.0");
    let mut farm = Farm::builder().worker(spec).start().await;
    let address = SocketAddr::from(([127, 0, 0, 1], port(&mut farm, "alone").await.port()));
    let health = |port: Option<&str>| {
        let mut command = Command::new(binaries::workspace("ffmpegd"));
        command.arg("health").env_remove("TVARR_METRICS_PORT").env("TVARR_METRICS_BIND", "0.0.0.0");
        if let Some(port) = port {
            command.env("TVARR_METRICS_PORT", port);
        }
        command.output().unwrap()
    };
    assert_eq!(get(address, "/healthz").await, (StatusCode::OK, "ok\n".to_owned()));
    assert_eq!(get(address, "/readyz").await, (StatusCode::OK, "ready\n".to_owned()));
    assert!(health(Some(&port_number)).status.success());
    let nobody = health(Some(&free_port().to_string()));
    assert_eq!(nobody.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&nobody.stderr).contains("does not answer"), "{nobody:?}");
    assert!(String::from_utf8_lossy(&health(None).stderr).contains("TVARR_METRICS_PORT"));

    for path in ["/", "/metrics/", "/v1/jobs", "/readyz/x"] {
        assert_eq!(get(address, path).await.0, StatusCode::NOT_FOUND, "{path}");
    }
    let client = Client::new();
    for method in [Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS] {
        let sending = client.request(method.clone(), format!("http://{address}/metrics")).body("x").send();
        assert_eq!(sending.await.unwrap().status(), StatusCode::METHOD_NOT_ALLOWED, "{method}");
    }
    assert_eq!(
        client.head(format!("http://{address}/metrics")).send().await.unwrap().status(),
        StatusCode::OK
    );
    // Headers without an end.
    let mut endless = TcpStream::connect(address).await.unwrap();
    let _ = endless.write_all(format!("GET / HTTP/1.1\r\nx: {}", "y".repeat(64 << 10)).as_bytes()).await;
    let mut answer = String::new();
    let _ = tokio::time::timeout(Duration::from_secs(10), endless.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");

    farm.stop_coordinator(true).await;
    let told = wait::until(seconds(15), "the worker to say that it is not ready", || async {
        let (status, text) = get(address, "/readyz").await;
        (status == StatusCode::SERVICE_UNAVAILABLE).then_some(text)
    })
    .await;
    assert!(told.starts_with("no session with the coordinator: "), "{told}");
    assert_eq!(health(Some(&port_number)).status.code(), Some(1));
    assert_eq!(get(address, "/healthz").await.0, StatusCode::OK);
    assert_eq!(scrape(address).await.0["tvarr_worker_connected"], 0.0);
    assert_eq!(scrape(address).await.0["tvarr_worker_sessions_lost_total"], 1.0);
    farm.start_coordinator().await;
    farm.registered("alone").await;
    wait::until(seconds(15), "the worker to be ready again", || async {
        (get(address, "/readyz").await.0 == StatusCode::OK).then_some(())
    })
    .await;
    farm.stop().await;
}

#[tokio::test]
async fn a_port_that_somebody_has_is_a_clear_error_and_none_is_taken_unasked() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let number = taken.local_addr().unwrap().port().to_string();
    let mut farm = Farm::builder().worker(WorkerSpec::new("quiet")).start().await;
    assert!(!farm.worker("quiet").log().contains("metrics and health are told"));
    let spec = WorkerSpec::new("late").env("TVARR_METRICS_PORT", &number).not_awaited();
    farm.start_worker(spec).await;
    let mut late = farm.take_worker("late");
    assert_eq!(exit_code(late.exited(seconds(15)).await), 1);
    let log = late.log();
    assert!(log.contains(&format!("cannot listen on 127.0.0.1:{number} (TVARR_METRICS_PORT)")), "{log}");
    farm.stop().await;
}
