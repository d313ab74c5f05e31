//! The same request sent again, priorities that change, and as much as an owner may have.

use std::collections::BTreeSet;

use common::api::{JobView, Quotas};
use reqwest::{Method, Response, StatusCode, header};
use serde_json::{Value, json};

use crate::farm::{Farm, problem};

fn body() -> Value {
    json!({"input": {"url": "http://host/a.mp4"}, "preset": "h264"})
}

async fn send(farm: &Farm, key: &str, body: &Value) -> Response {
    farm.http.post(farm.url("/v1/jobs")).header("idempotency-key", key).json(body).send().await.unwrap()
}

async fn patch(farm: &Farm, job: &JobView, body: Value) -> Response {
    farm.http.patch(farm.url(&format!("/v1/jobs/{}", job.summary.id))).json(&body).send().await.unwrap()
}

#[tokio::test]
async fn fifty_at_once_with_one_key_are_one_job_also_after_a_restart() {
    let farm = Farm::start().await;
    let (a, b) = (body(), body());
    let answers = futures::future::join_all((0..50).map(|_| send(&farm, "one", &a))).await;
    let (mut jobs, mut made) = (BTreeSet::new(), 0);
    for answer in answers {
        match answer.status() {
            StatusCode::CREATED => made += 1,
            status => assert_eq!(
                (status, &answer.headers()["idempotency-replayed"]),
                (StatusCode::OK, &"true".parse().unwrap())
            ),
        }
        jobs.insert(answer.json::<JobView>().await.unwrap().summary.id);
    }
    assert_eq!((jobs.len(), made), (1, 1));
    let farm = farm.restart().await;
    let again = send(&farm, "one", &b).await;
    assert_eq!(again.status(), StatusCode::OK);
    assert!(jobs.contains(&again.json::<JobView>().await.unwrap().summary.id));
    let other = json!({"input": {"url": "http://host/b.mp4"}, "preset": "h264"});
    let refused = problem(send(&farm, "one", &other).await).await;
    assert_eq!(refused.status, 409, "{refused:?}");
    let ran = farm
        .http
        .post(farm.url("/v1/run"))
        .header("idempotency-key", "one")
        .json(&body())
        .send()
        .await
        .unwrap();
    assert_eq!(problem(ran).await.status, 409, "another route is another request");
    assert_eq!(send(&farm, "two", &other).await.status(), StatusCode::CREATED);
    for wrong in ["", &"x".repeat(256)] {
        assert_eq!(problem(send(&farm, wrong, &a).await).await.status, 400);
    }
    let page: Value = farm.get("/v1/jobs").await.json().await.unwrap();
    assert_eq!(page["items"].as_array().unwrap().len(), 2);
    farm.stop().await;
}

#[tokio::test]
async fn run_gives_the_same_job_for_the_same_key() {
    let farm = Farm::start().await;
    let run = async || {
        let request = farm.http.post(farm.url("/v1/run")).header("idempotency-key", "one").json(&body());
        request.send().await.unwrap().json::<Value>().await.unwrap()["job_id"].clone()
    };
    let first = run().await;
    assert!(first.is_string());
    assert_eq!(run().await, first);
    farm.stop().await;
}

#[tokio::test]
async fn a_waiting_job_is_moved_and_stays_there() {
    let farm = Farm::start().await;
    let upload = farm.upload("a.mp4", "bytes").await;
    let (first, second) = (farm.submit_upload(&upload).await, farm.submit_upload(&upload).await);
    let moved = patch(&farm, &second, json!({"priority": 7})).await;
    assert_eq!(moved.json::<JobView>().await.unwrap().summary.priority, 7);
    for (wrong, status) in [(json!({"priority": 101}), 422), (json!({"owner": "x"}), 422), (json!({}), 422)] {
        assert_eq!(problem(patch(&farm, &second, wrong).await).await.status, status);
    }
    let farm = farm.restart().await;
    assert_eq!(farm.job(second.summary.id).await.summary.priority, 7);
    let mut worker = farm.worker().await;
    let assigned = worker.assigned().await.task_id;
    assert_eq!(assigned, farm.job(second.summary.id).await.tasks[0].id.to_string());
    farm.http.post(farm.url(&format!("/v1/jobs/{}/cancel", first.summary.id))).send().await.unwrap();
    assert_eq!(problem(patch(&farm, &first, json!({"priority": 1})).await).await.status, 409);
    farm.stop().await;
}

#[tokio::test]
async fn an_owner_gets_no_more_than_its_quotas() {
    let farm =
        Farm::start_with(|config| config.quotas = Quotas { queued: Some(3), running: Some(1), bytes: None })
            .await;
    let submit = async |owner: &str| {
        let body = json!({"input": {"url": "http://host/a.mp4"}, "preset": "h264", "owner": owner});
        farm.post("/v1/jobs", &body).await
    };
    let mut jobs = Vec::new();
    for _ in 0..3 {
        jobs.push(submit("ann").await.json::<JobView>().await.unwrap());
    }
    let refused = submit("ann").await;
    assert_eq!(refused.headers()[header::RETRY_AFTER], "10");
    let refused = problem(refused).await;
    assert_eq!((refused.status, refused.kind.as_str()), (429, "/problems/quota"), "{refused:?}");
    assert!(refused.detail.contains("`queued`") && refused.detail.contains("ann has 3"), "{refused:?}");
    let bobs: JobView = submit("bob").await.json().await.unwrap();
    // Two slots: one of them for ann, however many of hers wait.
    let mut worker = farm.worker().await;
    let tasks = BTreeSet::from([worker.assigned().await.task_id, worker.assigned().await.task_id]);
    let first = farm.job(jobs[0].summary.id).await.tasks[0].id.to_string();
    assert_eq!(tasks, BTreeSet::from([first, bobs.tasks[0].id.to_string()]));
    let waits = farm.job(jobs[1].summary.id).await.summary.waiting_for.unwrap_or_default();
    assert!(waits.contains("quota `running`"), "{waits}");

    let quotas = async |method: Method, body: Value| {
        let request = farm.http.request(method, farm.url("/v1/owners/ann/quotas")).json(&body);
        request.send().await.unwrap().status()
    };
    assert_eq!(quotas(Method::PUT, json!({"slots": 1})).await, 422);
    assert_eq!(quotas(Method::PUT, json!({"queued": 9})).await, 200);
    assert_eq!(submit("ann").await.status(), StatusCode::CREATED);
    let farm = farm.restart().await;
    let owners: Value = farm.get("/v1/owners").await.json().await.unwrap();
    let (ann, bob) = (&owners["items"][0], &owners["items"][1]);
    assert_eq!(
        (&ann["owner"], &ann["quotas"], &ann["own"]),
        (&json!("ann"), &json!({"queued": 9}), &json!(true))
    );
    // Those that ran may be claimed by their worker for a while.
    assert_eq!(ann["used"], json!({"queued": 3, "running": 1, "upload_bytes": 0, "output_bytes": 0}));
    assert_eq!(
        (&bob["owner"], &bob["own"], &bob["used"]["running"]),
        (&json!("bob"), &json!(false), &json!(1))
    );
    farm.stop().await;
}
