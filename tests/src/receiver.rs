//! A receiver of webhooks, which may be away.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use axum::{Router, body::Bytes, extract::State, http::HeaderMap};
use common::api::WebhookPayload;
use serde::Serialize;
use tokio::{net::TcpListener, task::JoinSet};

/// What came, as it came.
#[derive(Debug, Clone, Serialize)]
pub struct Heard {
    #[serde(rename = "webhook-id")]
    pub id: String,
    #[serde(rename = "webhook-timestamp")]
    pub timestamp: String,
    #[serde(rename = "webhook-signature")]
    pub signature: String,
    #[serde(skip)]
    pub body: String,
}

impl Heard {
    /// # Panics
    /// It is none.
    #[must_use]
    pub fn payload(&self) -> WebhookPayload {
        serde_json::from_str(&self.body).unwrap()
    }
}

type All = Arc<Mutex<Vec<Heard>>>;

/// Answers everything with 204 while it is there.
#[derive(Debug)]
pub struct Receiver {
    address: SocketAddr,
    heard: All,
    serving: JoinSet<()>,
}

impl Receiver {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut receiver =
            Self { address: listener.local_addr().unwrap(), heard: All::default(), serving: JoinSet::new() };
        receiver.serve(listener);
        receiver
    }

    fn serve(&mut self, listener: TcpListener) {
        let router = Router::new().fallback(hear).with_state(self.heard.clone());
        self.serving.spawn(async move { axum::serve(listener, router).await.unwrap() });
    }

    /// Nobody listens from here on.
    pub async fn away(&mut self) {
        self.serving.shutdown().await;
    }

    /// At the same address again.
    ///
    /// # Panics
    /// Somebody else has it.
    pub async fn back(&mut self) {
        self.serve(TcpListener::bind(self.address).await.unwrap());
    }

    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    #[must_use]
    pub fn heard(&self) -> Vec<Heard> {
        self.heard.lock().unwrap().clone()
    }
}

async fn hear(State(all): State<All>, headers: HeaderMap, body: Bytes) -> axum::http::StatusCode {
    let text = |name: &str| headers[name].to_str().unwrap().to_owned();
    all.lock().unwrap().push(Heard {
        id: text("webhook-id"),
        timestamp: text("webhook-timestamp"),
        signature: text("webhook-signature"),
        body: String::from_utf8(body.to_vec()).unwrap(),
    });
    axum::http::StatusCode::NO_CONTENT
}
