//! Small files beside the data: the key for signed URLs, the secret of webhooks, and the file that says where the coordinator listens.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    net::SocketAddr,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use common::failpoint;

use crate::{
    storage::sign::{KEY_LENGTH, KeyText, Signer},
    webhooks::{Secret, Secrets},
};

/// The signer with the key in `path`, which is made when it is not there: signed URLs outlive a restart.
pub(crate) fn signing_key(path: &Path) -> io::Result<Signer> {
    let text = kept(path, || {
        let mut key = [0; KEY_LENGTH];
        rand::fill(&mut key);
        KeyText(key).to_string()
    })?;
    let key: KeyText = text.parse().map_err(|()| {
        io::Error::other("it holds no key; remove it and a new one is made (workers' open URLs end)")
    })?;
    Ok(Signer::new(&key.0))
}

/// The secrets in `path` that webhooks are signed with; one is made when it is not there.
pub(crate) fn webhook_secrets(path: &Path) -> io::Result<Secrets> {
    kept(path, || Secret::random().text())?.parse().map_err(|error| {
        io::Error::other(format!(
            "{error}; remove it and a new one is made, which receivers have to be given"
        ))
    })
}

/// What is in a file, which is made when it is not there.
fn kept(path: &Path, make: impl FnOnce() -> String) -> io::Result<String> {
    match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let text = make();
            failpoint::hit("key.write.before");
            replace(path, format!("{text}\n").as_bytes())?;
            failpoint::hit("key.write.after");
            Ok(text)
        }
        read => read,
    }
}

/// Writes where the coordinator listens.
pub(crate) fn write(path: &Path, http: SocketAddr, grpc: Option<SocketAddr>) -> io::Result<()> {
    let text = serde_json::json!({
        "http": http.to_string(),
        "grpc": grpc.map(|address| address.to_string()),
        "pid": std::process::id(),
    });
    replace(path, text.to_string().as_bytes())
}

/// Puts a whole file in place, readable for the owner only: nobody ever sees half of it.
pub(crate) fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let staged = PathBuf::from(name);
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&staged)?;
    file.write_all(content)?;
    file.sync_all()?;
    failpoint::hit("file.staged");
    fs::rename(&staged, path)?;
    failpoint::hit("file.renamed");
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use common::id::{AttemptId, Epoch, TaskId};

    use super::*;
    use crate::storage::sign::{Action, Claim};

    #[test]
    fn the_key_is_made_once_and_for_the_owner_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("signing.key");
        let attempt = AttemptId { task: TaskId::new(), epoch: Epoch(1) };
        let claim = Claim { action: Action::Read, target: "a", attempt, size: 0, sha256: None };
        let first = signing_key(&path).unwrap().url(claim);
        assert_eq!(signing_key(&path).unwrap().url(claim), first);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::write(&path, "rubbish").unwrap();
        assert!(signing_key(&path).unwrap_err().to_string().contains("remove it"));
    }
}
