//! tus-js-client and tuspy, as applications use them, in pieces, with checksums, in parallel and stopped in the middle.

use std::{fs, path::PathBuf};

use common::{api::InputRef, id::UploadId};
use e2e::{Farm, api::request, binaries, clip};
use tokio::process::Command;

fn root() -> PathBuf {
    binaries::root().join(".tools/clients")
}

/// The URL that a client writes last.
async fn sent(mut command: Command) -> UploadId {
    let output = command.output().await.unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}{err}; `scripts/clients.sh` installs the clients");
    out.trim().rsplit('/').next().unwrap().parse().unwrap()
}

fn object(farm: &Farm, id: UploadId) -> Vec<u8> {
    let folder = farm.data().join("objects/uploads").join(id.to_string());
    let file = fs::read_dir(folder).unwrap().next().unwrap().unwrap();
    assert_eq!(file.file_name(), "bigbuckbunny.mp4");
    fs::read(file.path()).unwrap()
}

#[tokio::test]
async fn tus_js_client_sends_whole_in_chunks_in_parallel_and_without_a_length() {
    let farm = Farm::builder().start().await;
    let file = clip("bigbuckbunny.mp4");
    let whole = fs::read(&file).unwrap();
    for [chunk, parallel, deferred] in
        [["0", "1", "false"], ["200000", "1", "false"], ["0", "3", "false"], ["200000", "1", "true"]]
    {
        let mut node = Command::new("node");
        node.arg(binaries::root().join("tests/clients/upload.mjs")).arg(root());
        node.arg(format!("{}/v1/uploads", farm.api.base)).arg(&file).args([chunk, parallel, deferred]);
        let id = sent(node).await;
        assert!(object(&farm, id) == whole, "chunk {chunk}, parallel {parallel}, deferred {deferred}");
    }
    farm.stop().await;
}

#[tokio::test]
async fn tuspy_sends_with_checksums_and_a_job_takes_it() {
    let farm = Farm::small().await;
    let file = clip("bigbuckbunny.mp4");
    let mut python = Command::new("python3");
    python.arg(binaries::root().join("tests/clients/upload.py")).env("PYTHONPATH", root().join("python"));
    python.arg(format!("{}/v1/uploads", farm.api.base)).arg(&file).arg("300000");
    let id = sent(python).await;
    assert!(object(&farm, id) == fs::read(&file).unwrap());
    let job = farm.api.submit(&request(InputRef::Upload(id), "thumbnails")).await;
    farm.succeeded(job.summary.id).await;
    farm.stop().await;
}
