use common::api::KeyCreated;
use e2e::{Farm, WorkerSpec, clip, ctl::Desk};

use crate::browser::lead;

const ADMIN: &str = "the-operators-own-key-for-this-test";

async fn create(desk: &Desk, args: &[&str]) -> KeyCreated {
    let made = desk.run(&[&["keys", "create", "--json"], args].concat()).await;
    assert_eq!(made.code, 0, "{}", made.stderr);
    serde_json::from_str(&made.stdout).unwrap()
}

/// Wrong keys are refused, right ones open what their scopes say and no more, and nothing is left when somebody signs out or is
/// shut out.
#[tokio::test]
async fn a_person_signs_in_with_a_key() {
    let farm = Farm::builder().worker(WorkerSpec::new("alone")).env("TVARR_ADMIN_KEY", ADMIN).start().await;
    let mut admin = Desk::at(&farm.api.base);
    admin.env.push(("TVARR_API_KEY".to_owned(), ADMIN.into()));
    let ann = create(&admin, &["--owner", "ann"]).await;
    let mut desk = Desk::at(&farm.api.base);
    desk.env.push(("TVARR_API_KEY".to_owned(), ann.key.into()));
    let input = clip("bikes-2s.mp4");
    let made = desk.run(&["transcode", input.to_str().unwrap(), "-o", "out.mp4", "-p", "proxy"]).await;
    assert_eq!(made.code, 0, "{}", made.stderr);
    let reader = create(&admin, &["--owner", "ann", "--scope", "read"]).await;
    let viewer = create(&admin, &["--owner", "ann", "--scope", "view"]).await;
    let base = farm.api.base.clone();
    lead("keys.mjs", &[&base, ADMIN, &reader.key, &viewer.key], async |asked| {
        assert_eq!(asked, "revoke reader");
        let revoked = admin.run(&["keys", "revoke", &reader.view.id.to_string()]).await;
        assert_eq!(revoked.code, 0, "{}", revoked.stderr);
        String::new()
    })
    .await;
    farm.stop().await;
}
