//! Which URLs workers get, and for how long they open.

use common::worker::OutputFile;

use crate::queue::UploadGrant;
use crate::storage::{
    Key, RelPath,
    sign::{Action, Claim, Signer},
};

/// Seconds since 1970.
pub(super) type Seconds = u64;

/// How long an input may be read: longer than any job runs, as ffmpeg comes back for ranges until its end.
const READ_FOR: Seconds = 7 * 24 * 3600;
/// How long after an attempt's end its files may still be brought.
const WRITE_FOR: Seconds = 24 * 3600;

/// Makes URLs for inputs.
#[derive(Debug, Clone)]
pub(super) struct InputUrls(pub(super) Signer);

impl InputUrls {
    pub(super) fn object(&self, key: &str, now: Seconds) -> String {
        self.0.url(Claim { action: Action::Read, target: key, expires: now + READ_FOR, size: 0 })
    }

    pub(super) fn shared(&self, path: &str, now: Seconds) -> String {
        self.0.url(Claim { action: Action::ReadShared, target: path, expires: now + READ_FOR, size: 0 })
    }
}

/// Where to PUT each of an attempt's files.
pub(super) fn uploads(
    signer: &Signer,
    grant: UploadGrant,
    files: &[OutputFile],
    now: Seconds,
) -> Vec<String> {
    let url = |file: &OutputFile| {
        let path = RelPath::parse(&file.path).expect("checked when the request came in");
        let key = Key::output(grant.job, grant.attempt, &path);
        let claim =
            Claim { action: Action::Write, target: key.as_str(), expires: now + WRITE_FOR, size: file.size };
        signer.url(claim)
    };
    files.iter().map(url).collect()
}

/// The coordinator's clock; only ever compared with what it said itself.
pub(super) fn now() -> Seconds {
    u64::try_from(jiff::Timestamp::now().as_second()).unwrap_or_default()
}
