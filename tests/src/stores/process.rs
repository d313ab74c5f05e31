//! Storage servers out of `.tools`.

use std::{collections::BTreeMap, fs, net::TcpListener, time::Duration};

use futures::TryStreamExt as _;
use object_store::{
    ObjectStore as _,
    aws::{AmazonS3, AmazonS3Builder},
    azure::{AzureAccessKey, AzureAuthorizer, AzureCredential},
    client::HttpRequest,
    path::Path,
    signer::{SignedUrlOptions, Signer as _},
};
use reqwest::{Client, Method};
use tempfile::TempDir;

use super::{BUCKET, KEY_ID, OTHER_BUCKET, SECRET, s3_environment};
use crate::{
    binaries,
    daemon::{Daemon, Launch},
    wait::{self, seconds},
};

const START: Duration = seconds(60);
const ACCOUNT: &str = "devstoreaccount1";
/// Azurite's own, which everybody knows.
const ACCOUNT_KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// Ports that nobody has at this moment.
fn free_ports<const N: usize>() -> [u16; N] {
    let open: Vec<_> = (0..N).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    std::array::from_fn(|index| open[index].local_addr().unwrap().port())
}

fn local() -> Client {
    Client::builder().no_proxy().build().unwrap()
}

/// SeaweedFS with S3; killed when it is dropped.
#[derive(Debug)]
pub struct Seaweed {
    endpoint: String,
    _daemon: Daemon,
    _folder: TempDir,
}

impl Seaweed {
    /// `None` where its package has none for this machine.
    pub async fn start() -> Option<Self> {
        common::tls::install_provider();
        if cfg!(not(target_arch = "x86_64")) {
            return None;
        }
        let program = binaries::root().join(".tools/weed");
        assert!(program.is_file(), "{} is not there: run scripts/stores.sh", program.display());
        let folder = tempfile::tempdir().unwrap();
        let identities = serde_json::json!({"identities": [{
            "name": KEY_ID,
            "credentials": [{"accessKey": KEY_ID, "secretKey": SECRET}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        }]});
        let config = folder.path().join("s3.json");
        fs::write(&config, identities.to_string()).unwrap();
        let data = folder.path().join("data");
        fs::create_dir(&data).unwrap();
        let [master, master_grpc, volume, volume_grpc, filer, filer_grpc, s3, s3_grpc] = free_ports();
        let args = [
            "server".to_owned(),
            format!("-dir={}", data.display()),
            "-ip=127.0.0.1".to_owned(),
            "-ip.bind=127.0.0.1".to_owned(),
            "-volume.max=200".to_owned(),
            "-master.volumeSizeLimitMB=64".to_owned(),
            format!("-master.port={master}"),
            format!("-master.port.grpc={master_grpc}"),
            format!("-volume.port={volume}"),
            format!("-volume.port.grpc={volume_grpc}"),
            "-filer".to_owned(),
            format!("-filer.port={filer}"),
            format!("-filer.port.grpc={filer_grpc}"),
            "-s3".to_owned(),
            format!("-s3.port={s3}"),
            format!("-s3.port.grpc={s3_grpc}"),
            format!("-s3.config={}", config.display()),
        ];
        let launch = Launch {
            program,
            args: args.into_iter().map(Into::into).collect(),
            env: vec![("HOME".to_owned(), folder.path().into()), ("TMPDIR".to_owned(), folder.path().into())],
            cwd: folder.path().to_owned(),
        };
        let log = folder.path().join("weed.log");
        let daemon = Daemon::start("weed", &launch, &log);
        let this = Self { endpoint: format!("http://127.0.0.1:{s3}"), _daemon: daemon, _folder: folder };
        for bucket in [BUCKET, OTHER_BUCKET] {
            let made = wait::try_until(START, || this.make_bucket(bucket)).await;
            assert!(made.is_some(), "SeaweedFS makes no bucket: {}", fs::read_to_string(&log).unwrap());
        }
        Some(this)
    }

    fn client(&self, bucket: &str) -> AmazonS3 {
        AmazonS3Builder::new()
            .with_endpoint(&self.endpoint)
            .with_allow_http(true)
            .with_bucket_name(bucket)
            .with_access_key_id(KEY_ID)
            .with_secret_access_key(SECRET)
            .build()
            .unwrap()
    }

    /// What is in the bucket.
    pub async fn keys(&self, bucket: &str) -> Vec<String> {
        let found: Vec<_> = self.client(bucket).list(None).try_collect().await.unwrap();
        found.into_iter().map(|object| object.location.to_string()).collect()
    }

    /// Uploads in parts that were neither completed nor aborted.
    pub async fn unfinished(&self, bucket: &str) -> usize {
        let options = SignedUrlOptions::default().with_query([("uploads", String::new())]);
        let client = self.client(bucket);
        let url = client.signed_url_opts(Method::GET, &Path::default(), seconds(60), &options).await.unwrap();
        let answer = local().get(url).send().await.unwrap().error_for_status().unwrap();
        answer.text().await.unwrap().matches("<UploadId>").count()
    }

    /// Once it can store something: its parts find each other one after the other.
    async fn make_bucket(&self, bucket: &str) -> Option<()> {
        let store = self.client(bucket);
        let http = local();
        for path in ["", "probe"] {
            let url = store.signed_url(Method::PUT, &Path::from(path), seconds(60)).await.unwrap();
            let answer = http.put(url).body("").send().await.ok()?;
            if !answer.status().is_success() && answer.status() != 409 {
                return None;
            }
        }
        let url = store.signed_url(Method::DELETE, &Path::from("probe"), seconds(60)).await.unwrap();
        http.delete(url).send().await.ok()?.error_for_status().ok().map(drop)
    }

    #[must_use]
    pub fn environment(&self) -> BTreeMap<String, String> {
        s3_environment(&self.endpoint)
    }
}

/// Azure Blob Storage, as far as Azurite is; killed when it is dropped.
#[derive(Debug)]
pub struct Azurite {
    endpoint: String,
    _daemon: Daemon,
    _folder: TempDir,
}

impl Azurite {
    pub async fn start() -> Self {
        common::tls::install_provider();
        let script = binaries::root().join(".tools/azurite/node_modules/azurite/dist/src/blob/main.js");
        assert!(script.is_file(), "{} is not there: run scripts/stores.sh", script.display());
        let folder = tempfile::tempdir().unwrap();
        let [port] = free_ports();
        let launch = Launch {
            program: binaries::system("node"),
            args: vec![
                script.into(),
                "--blobHost".into(),
                "127.0.0.1".into(),
                "--blobPort".into(),
                port.to_string().into(),
                "--location".into(),
                folder.path().into(),
                "--skipApiVersionCheck".into(),
                "--disableTelemetry".into(),
            ],
            env: vec![("HOME".to_owned(), folder.path().into())],
            cwd: folder.path().to_owned(),
        };
        let log = folder.path().join("azurite.log");
        let daemon = Daemon::start("azurite", &launch, &log);
        let endpoint = format!("http://127.0.0.1:{port}/{ACCOUNT}");
        let this = Self { endpoint, _daemon: daemon, _folder: folder };
        for container in [BUCKET, OTHER_BUCKET] {
            let made = wait::try_until(START, || this.make_container(container)).await;
            assert!(made.is_some(), "Azurite makes no container: {}", fs::read_to_string(&log).unwrap());
        }
        this
    }

    async fn make_container(&self, container: &str) -> Option<()> {
        let mut request = HttpRequest::new(Vec::new().into());
        *request.method_mut() = Method::PUT;
        *request.uri_mut() = format!("{}/{container}?restype=container", self.endpoint).parse().unwrap();
        request.headers_mut().insert("content-length", 0.into());
        let credential = AzureCredential::AccessKey(AzureAccessKey::try_new(ACCOUNT_KEY).unwrap());
        AzureAuthorizer::new(&credential, ACCOUNT).try_authorize(&mut request).unwrap();
        let http = local();
        let (head, _) = request.into_parts();
        let answer = http.put(head.uri.to_string()).headers(head.headers).body("").send().await.ok()?;
        (answer.status().is_success() || answer.status() == 409).then_some(())
    }

    #[must_use]
    pub fn environment(&self) -> BTreeMap<String, String> {
        [
            ("AZURE_STORAGE_ACCOUNT_NAME", ACCOUNT),
            ("AZURE_STORAGE_ACCOUNT_KEY", ACCOUNT_KEY),
            ("AZURE_STORAGE_ENDPOINT", &self.endpoint),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
    }
}
