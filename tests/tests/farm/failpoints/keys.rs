//! Killed before and after each durable write for a key and for whose an upload is: what was answered holds, a key of which
//! nobody heard opens nothing that anybody could use, and an upload of which nobody heard is nobody's.

use common::api::{KeyCreated, KeyView, Page};
use e2e::Farm;
use reqwest::{Client, Method, Response, StatusCode};
use serde_json::json;

use super::{REACHED, VARIABLE, was_killed};

/// Whether the key is listed afterwards though nobody was answered.
const ADDING: [(&str, bool); 2] = [("access.add.before", false), ("access.add.after", true)];
/// Whether the key opens anything afterwards.
const REVOKING: [(&str, bool); 2] = [("access.revoke.before", true), ("access.revoke.after", false)];
/// Whether the quota holds afterwards.
const QUOTAS: [(&str, bool); 2] = [("quota.set.before", false), ("quota.set.after", true)];
const OWNING: [&str; 2] = ["upload.own.before", "upload.own.after"];

pub(super) fn points() -> impl Iterator<Item = &'static str> {
    ADDING.into_iter().chain(REVOKING).chain(QUOTAS).map(|(point, _)| point).chain(OWNING)
}

const ADMIN: &str = "the-operators-own-key";

#[tokio::test]
async fn a_coordinator_killed_while_it_keeps_keys() {
    let mut door = Door::new().await;
    for (point, there) in ADDING {
        let before = door.keys().await.len();
        door.dies_at(point, async |door| assert!(door.create().await.is_none(), "{point}")).await;
        assert_eq!(door.keys().await.len(), before + usize::from(there), "{point}");
    }
    for (point, opens) in REVOKING {
        let key = door.create().await.unwrap();
        let path = format!("/v1/keys/{}", key.view.id);
        door.dies_at(point, async |door| {
            assert!(door.ask(ADMIN, Method::DELETE, &path, None).await.is_none(), "{point}");
        })
        .await;
        let status = door.ask(&key.key, Method::GET, "/v1/jobs", None).await.unwrap().status();
        assert_eq!(status == StatusCode::OK, opens, "{point}: {status}");
        let again = door.ask(ADMIN, Method::DELETE, &path, None).await.unwrap();
        assert_eq!(again.status(), StatusCode::OK, "{point}");
    }
    for (number, (point, holds)) in QUOTAS.into_iter().enumerate() {
        let path = format!("/v1/owners/owner-{number}/quotas");
        door.dies_at(point, async |door| {
            let url = format!("{}{path}", door.farm.api.base);
            let set = door.client.put(url).bearer_auth(ADMIN).json(&json!({"queued": 1})).send().await;
            assert!(set.is_err(), "{point}");
        })
        .await;
        let owners = door.ask(ADMIN, Method::GET, "/v1/owners", None).await.unwrap();
        assert_eq!(owners.text().await.unwrap().contains(&format!("owner-{number}")), holds, "{point}");
    }
    let key = door.create().await.unwrap().key;
    for point in OWNING {
        door.dies_at(point, async |door| {
            let upload = door.ask(&key, Method::POST, "/v1/uploads?filename=a", Some("bytes")).await;
            assert!(upload.is_none(), "{point}");
        })
        .await;
        let upload = door.ask(&key, Method::POST, "/v1/uploads?filename=a", Some("bytes")).await.unwrap();
        assert_eq!(upload.status(), StatusCode::CREATED, "{point}");
    }
    door.farm.stop().await;
}

struct Door {
    farm: Farm,
    client: Client,
}

impl Door {
    async fn new() -> Self {
        let farm = Farm::builder().env("TVARR_ADMIN_KEY", ADMIN).start().await;
        Self { farm, client: Client::new() }
    }

    /// Starts the coordinator so that it dies at `point`, provokes it, and starts it again.
    async fn dies_at(&mut self, point: &str, provoke: impl AsyncFnOnce(&mut Self)) {
        self.farm.stop_coordinator(false).await;
        self.farm.try_start_coordinator(&[(VARIABLE, point)]).await.unwrap();
        provoke(self).await;
        was_killed(point, self.farm.coordinator_ended(REACHED).await);
        self.farm.start_coordinator().await;
    }

    /// `None`: nobody answered.
    async fn ask(
        &self,
        key: &str,
        method: Method,
        path: &str,
        body: Option<&'static str>,
    ) -> Option<Response> {
        let request = self.client.request(method, format!("{}{path}", self.farm.api.base)).bearer_auth(key);
        match body {
            Some(body) => request.body(body),
            None => request,
        }
        .send()
        .await
        .ok()
    }

    async fn create(&self) -> Option<KeyCreated> {
        let url = format!("{}/v1/keys", self.farm.api.base);
        let body = json!({"owner": "ann", "scopes": ["submit", "read"]});
        let response = self.client.post(url).bearer_auth(ADMIN).json(&body).send().await.ok()?;
        Some(response.json().await.unwrap())
    }

    async fn keys(&self) -> Vec<KeyView> {
        let page = self.ask(ADMIN, Method::GET, "/v1/keys", None).await.unwrap();
        page.json::<Page<KeyView>>().await.unwrap().items
    }
}
