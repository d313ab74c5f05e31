//! Which URLs workers get. Each belongs to an attempt and opens while that is current.

use common::{id::AttemptId, worker::OutputFile};

use crate::queue::UploadGrant;
use crate::storage::{
    Key, RelPath,
    address::Address,
    sign::{Action, Claim, Signer},
};

/// Makes URLs that an assignment carries.
#[derive(Debug, Clone)]
pub(super) struct AttemptUrls(pub(super) Signer);

impl AttemptUrls {
    pub(super) fn object(&self, attempt: AttemptId, key: &str) -> String {
        self.0.url(Claim { action: Action::Read, target: key, attempt, size: 0, sha256: None })
    }

    pub(super) fn shared(&self, attempt: AttemptId, path: &str) -> String {
        self.0.url(Claim { action: Action::ReadShared, target: path, attempt, size: 0, sha256: None })
    }

    pub(super) fn bucket(&self, attempt: AttemptId, address: &Address) -> String {
        let target = &address.as_path();
        self.0.url(Claim { action: Action::ReadBucket, target, attempt, size: 0, sha256: None })
    }

    /// Where a live attempt reads its source.
    pub(super) fn live_input(&self, attempt: AttemptId) -> String {
        self.live(Action::ReadLive, attempt)
    }

    /// Where it puts its result.
    pub(super) fn live_output(&self, attempt: AttemptId) -> String {
        self.live(Action::WriteLive, attempt)
    }

    fn live(&self, action: Action, attempt: AttemptId) -> String {
        self.0.url(Claim { action, target: "", attempt, size: 0, sha256: None })
    }
}

/// Where to PUT each of an attempt's files.
pub(super) fn uploads(signer: &Signer, grant: UploadGrant, files: &[OutputFile]) -> Vec<String> {
    let url = |file: &OutputFile| {
        let path = RelPath::parse(&file.path).expect("checked when the request came in");
        let key = Key::output(grant.job, grant.attempt, &path);
        signer.url(Claim {
            action: Action::Write,
            target: key.as_str(),
            attempt: grant.attempt,
            size: file.size,
            // Empty from a worker that does not say.
            sha256: file.sha256.parse().ok(),
        })
    };
    files.iter().map(url).collect()
}
