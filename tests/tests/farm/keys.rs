//! Keys, as a person makes and uses them.

use common::api::KeyCreated;
use e2e::{Farm, WorkerSpec, clip, ctl::Desk};

/// What is typed with this key.
fn desk(farm: &Farm, key: Option<&str>) -> Desk {
    let mut desk = Desk::at(&farm.api.base);
    desk.env.extend(key.map(|key| ("TVARR_API_KEY".to_owned(), key.into())));
    desk
}

async fn create(desk: &Desk, args: &[&str]) -> KeyCreated {
    let mut command = vec!["keys", "create", "--json"];
    command.extend(args);
    let made = desk.run(&command).await;
    assert_eq!(made.code, 0, "{}", made.stderr);
    serde_json::from_str(&made.stdout).unwrap()
}

#[tokio::test]
async fn who_has_a_key_transcodes_and_sees_its_own() {
    let mut farm = Farm::builder().worker(WorkerSpec::new("alone")).start().await;
    let nobody = desk(&farm, None);
    let first = nobody.run(&["keys", "create", "--owner", "ann"]).await;
    assert_eq!(first.code, 1, "{}", first.stderr);
    assert!(first.stderr.contains("the first key must have the scope admin"), "{}", first.stderr);
    let printed = nobody.run(&["keys", "create", "--scope", "admin"]).await;
    assert_eq!(printed.code, 0, "{}", printed.stderr);
    let key = printed.stdout.trim();
    assert!(key.starts_with("tvarr_") && !printed.stderr.contains(key), "{printed:?}");
    let admin = desk(&farm, Some(key));
    let shut = nobody.run(&["jobs", "ls"]).await;
    assert_eq!(shut.code, 2, "{}", shut.stderr);
    assert!(shut.stderr.contains("TVARR_API_KEY"), "{}", shut.stderr);

    let ann = desk(&farm, Some(&create(&admin, &["--owner", "ann"]).await.key));
    let bobs = create(&admin, &["--owner", "bob", "--name", "bob's laptop"]).await;
    let bob = desk(&farm, Some(&bobs.key));
    // Upload, job, events, download: all with the key, over a restart.
    farm.stop_coordinator(false).await;
    farm.start_coordinator().await;
    let input = clip("bikes-2s.mp4");
    let made = ann.run(&["transcode", input.to_str().unwrap(), "-o", "out.mp4", "-p", "proxy"]).await;
    assert_eq!(made.code, 0, "{}", made.stderr);
    let listed = ann.run(&["jobs", "ls"]).await;
    assert!(listed.stdout.contains("ann") && listed.stdout.contains("succeeded"), "{}", listed.stdout);
    let nothing = bob.run(&["jobs", "ls"]).await;
    assert!(nothing.stderr.contains("no jobs"), "{nothing:?}");
    let workers = bob.run(&["workers", "ls"]).await;
    assert!(workers.code == 2 && workers.stderr.contains("admin"), "{}", workers.stderr);

    let revoked = admin.run(&["keys", "revoke", "bob's laptop"]).await;
    assert_eq!(revoked.stdout.trim(), format!("{}  revoked", bobs.view.id), "{}", revoked.stderr);
    let late = bob.run(&["jobs", "ls"]).await;
    assert!(late.code == 2 && late.stderr.contains("revoked"), "{}", late.stderr);
    let keys = admin.run(&["keys", "list"]).await;
    assert!(keys.stdout.contains("ann") && !keys.stdout.contains("bob"), "{}", keys.stdout);
    let all = admin.run(&["keys", "list", "--all"]).await;
    assert!(all.stdout.contains("bob's laptop") && all.stdout.contains("revoked"), "{}", all.stdout);
    for log in ["coordinator", "alone"] {
        let text = std::fs::read_to_string(farm.path().join(format!("logs/{log}.log"))).unwrap();
        assert!(!text.contains(&bobs.key[10..]) && !text.contains(&key[10..]), "{log} has a key");
    }
    farm.books_in_order().await;
    farm.stop().await;
}
