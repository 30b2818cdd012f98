//! A strict Resend on loopback that remembers keys, can lose its answers, and can be gone altogether.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde_json::{Value, json};

pub const KEY: &str = "re_the-key-of-the-double";

/// What it does with mail.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Take,
    /// Takes it, and says that something went wrong.
    TakeAndFail,
    /// Takes it, and never answers.
    TakeAndStall,
}

struct Office {
    mode: Mode,
    /// Mails by their keys.
    mails: BTreeMap<String, Value>,
    requests: usize,
}

pub struct Double {
    office: Arc<Mutex<Office>>,
    address: SocketAddr,
    serving: Option<tokio::task::JoinHandle<()>>,
}

impl Double {
    pub async fn open(mode: Mode) -> Self {
        let office = Arc::new(Mutex::new(Office { mode, mails: BTreeMap::new(), requests: 0 }));
        let mut double = Self { office, address: ([127, 0, 0, 1], 0).into(), serving: None };
        double.come_back().await;
        double
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn set(&self, mode: Mode) {
        self.office.lock().unwrap().mode = mode;
    }

    /// Every mail that it took, by the id that it was sent under.
    pub fn mails(&self) -> BTreeMap<String, Value> {
        self.office.lock().unwrap().mails.clone()
    }

    pub fn requests(&self) -> usize {
        self.office.lock().unwrap().requests
    }

    /// Nobody listens any more.
    pub async fn go_away(&mut self) {
        if let Some(serving) = self.serving.take() {
            serving.abort();
            let _aborted = serving.await;
        }
    }

    /// Listens, at the same address as before.
    pub async fn come_back(&mut self) {
        let listener = tokio::net::TcpListener::bind(self.address).await.unwrap();
        self.address = listener.local_addr().unwrap();
        let router = Router::new().route("/emails", post(take)).with_state(self.office.clone());
        self.serving = Some(tokio::spawn(async move { axum::serve(listener, router).await.unwrap() }));
    }
}

impl Drop for Double {
    fn drop(&mut self) {
        if let Some(serving) = &self.serving {
            serving.abort();
        }
    }
}

fn answer(status: u16, body: &Value) -> Response {
    // No connection outlives its answer: who goes away is gone for kept ones too.
    let status = StatusCode::from_u16(status).unwrap();
    (status, [("connection", "close"), ("content-type", "application/json")], body.to_string())
        .into_response()
}

fn refuse(status: u16, name: &str) -> Response {
    answer(status, &json!({"statusCode": status, "message": "as the double says", "name": name}))
}

async fn take(State(office): State<Arc<Mutex<Office>>>, headers: HeaderMap, body: Bytes) -> Response {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if header("authorization") != format!("Bearer {KEY}") {
        return refuse(403, "invalid_api_key");
    }
    let key = header("idempotency-key").to_owned();
    if key.is_empty() || key.len() > 256 {
        return refuse(400, "invalid_idempotency_key");
    }
    let Ok(mail) = serde_json::from_slice::<Value>(&body) else {
        return refuse(400, "validation_error");
    };
    let is_tag = |tag: &Value| {
        let ok = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        ["name", "value"].iter().all(|part| tag[*part].as_str().is_some_and(|text| text.chars().all(ok)))
    };
    let has = |name: &str| mail.get(name).is_some_and(Value::is_string);
    let is_right = has("from")
        && has("subject")
        && (has("text") || has("html"))
        && mail["to"].as_array().is_some_and(|to| (1..=50).contains(&to.len()))
        && mail["tags"].as_array().is_some_and(|tags| tags.iter().all(is_tag));
    if !is_right {
        return refuse(422, "validation_error");
    }
    let mode = {
        let mut office = office.lock().unwrap();
        office.requests += 1;
        if office.mails.get(&key).is_some_and(|known| *known != mail) {
            return refuse(409, "invalid_idempotent_request");
        }
        office.mails.insert(key.clone(), mail);
        office.mode
    };
    match mode {
        Mode::Take => answer(200, &json!({"id": format!("mail-{key}")})),
        Mode::TakeAndFail => refuse(500, "application_error"),
        Mode::TakeAndStall => std::future::pending().await,
    }
}
