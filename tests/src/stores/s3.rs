//! `s3s-fs` behind a door that can be told to fail.

use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use http_body_util::BodyExt as _;
use hyper::{Method, Request, Response, StatusCode, body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use s3s::{
    Body,
    auth::SimpleAuth,
    service::{S3Service, S3ServiceBuilder},
};
use s3s_fs::FileSystem;
use tempfile::TempDir;
use tokio::{net::TcpListener, task::JoinSet};

use super::{BUCKET, KEY_ID, OTHER_BUCKET, SECRET, s3_environment};

/// What becomes of a request instead of an answer.
#[derive(Debug, Clone, Copy)]
pub enum Fault {
    Status(u16),
    /// The connection is dropped in the middle of the body.
    Reset,
    /// The answer comes later.
    Slow(Duration),
}

#[derive(Debug)]
struct Rule {
    method: Method,
    /// What its path and query hold.
    holds: String,
    left: usize,
    fault: Fault,
}

#[derive(Debug, Default)]
struct Door {
    rules: Mutex<Vec<Rule>>,
    /// Method, path and query.
    seen: Mutex<Vec<(Method, String)>>,
}

/// Listens until it is dropped.
#[derive(Debug)]
pub struct S3 {
    address: SocketAddr,
    door: Arc<Door>,
    _accept: JoinSet<()>,
    folder: TempDir,
}

impl S3 {
    pub async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for bucket in [BUCKET, OTHER_BUCKET] {
            std::fs::create_dir(folder.path().join(bucket)).unwrap();
        }
        let mut service = S3ServiceBuilder::new(FileSystem::new(folder.path()).unwrap());
        service.set_auth(SimpleAuth::from_single(KEY_ID, SECRET));
        let service = service.build();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let door = Arc::new(Door::default());
        let mut accept = JoinSet::new();
        let inner = Arc::clone(&door);
        accept.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (service, door) = (service.clone(), Arc::clone(&inner));
                connections.spawn(async move {
                    let answer = service_fn(move |request| {
                        let (service, door) = (service.clone(), Arc::clone(&door));
                        async move { door.pass(&service, request).await }
                    });
                    // A client that hangs up, or is hung up on, ends its connection only.
                    let _ = auto::Builder::new(TokioExecutor::new())
                        .serve_connection(TokioIo::new(stream), answer)
                        .await;
                });
                while connections.try_join_next().is_some() {}
            }
        });
        Self { address, door, _accept: accept, folder }
    }

    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    #[must_use]
    pub fn environment(&self) -> BTreeMap<String, String> {
        s3_environment(&self.endpoint())
    }

    /// The file of an object.
    #[must_use]
    pub fn file(&self, bucket: &str, key: &str) -> PathBuf {
        self.folder.path().join(bucket).join(key)
    }

    /// The keys in a bucket; what the server keeps beside them is left out.
    #[must_use]
    pub fn keys(&self, bucket: &str) -> Vec<String> {
        let root = self.folder.path().join(bucket);
        let mut keys: Vec<String> = crate::system::files(&root)
            .into_iter()
            .map(|file| file.strip_prefix(&root).unwrap_or(&file).to_string_lossy().into_owned())
            .filter(|key| !key.rsplit('/').next().unwrap_or_default().starts_with('.'))
            .collect();
        keys.sort();
        keys
    }

    /// Parts of uploads that were neither completed nor aborted.
    #[must_use]
    pub fn parts(&self) -> usize {
        let files = std::fs::read_dir(self.folder.path()).unwrap().flatten();
        files.filter(|file| file.file_name().to_string_lossy().contains(".part")).count()
    }

    /// The next `times` requests of that method whose path and query hold `holds` meet `fault`.
    pub fn fault(&self, times: usize, method: Method, holds: &str, fault: Fault) {
        let rule = Rule { method, holds: holds.to_owned(), left: times, fault };
        self.door.rules.lock().unwrap().push(rule);
    }

    /// Nothing fails any more.
    pub fn heal(&self) {
        self.door.rules.lock().unwrap().clear();
    }

    /// How many requests of that method came whose path and query hold `holds`.
    #[must_use]
    pub fn seen(&self, method: &Method, holds: &str) -> usize {
        let seen = self.door.seen.lock().unwrap();
        seen.iter().filter(|(known, target)| known == method && target.contains(holds)).count()
    }
}

impl Door {
    async fn pass(&self, service: &S3Service, request: Request<Incoming>) -> io::Result<Response<Body>> {
        let target = request.uri().to_string();
        self.seen.lock().unwrap().push((request.method().clone(), target.clone()));
        match self.fault(request.method(), &target) {
            Some(Fault::Status(status)) => {
                let mut response = Response::new(Body::empty());
                *response.status_mut() = StatusCode::from_u16(status).unwrap();
                // Taken, so that the connection stays in order.
                let _ = request.into_body().collect().await;
                return Ok(response);
            }
            Some(Fault::Reset) => {
                let _ = request.into_body().frame().await;
                return Err(io::ErrorKind::ConnectionReset.into());
            }
            Some(Fault::Slow(pause)) => tokio::time::sleep(pause).await,
            None => {}
        }
        service.call(request.map(Body::from)).await.map_err(|error| io::Error::other(format!("{error:?}")))
    }

    fn fault(&self, method: &Method, target: &str) -> Option<Fault> {
        let mut rules = self.rules.lock().unwrap();
        let rule = rules
            .iter_mut()
            .find(|rule| rule.left > 0 && rule.method == *method && target.contains(&rule.holds))?;
        rule.left -= 1;
        Some(rule.fault)
    }
}
