//! A producer's endpoint: takes, hangs, fails or is gone as it is told, and verifies what it takes by itself.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use sha2::{Digest, Sha256};

/// How it answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mood {
    #[default]
    Well,
    /// Takes it down, and never answers.
    Hanging,
    Answering(u16),
    /// 302 to this port of the machine.
    Sending(u16),
}

#[derive(Clone, Debug)]
pub struct Post {
    pub headers: HeaderMap,
    pub raw: Bytes,
    pub body: Value,
}

#[derive(Clone)]
pub struct Receiver {
    pub url: String,
    pub port: u16,
    heard: Arc<Mutex<(Mood, Vec<Post>)>>,
}

impl Receiver {
    pub async fn open() -> Self {
        // Whoever posts here needs a client, and the first one of a process its TLS.
        let _tls = crate::process::http();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        Self::behind(listener, format!("http://127.0.0.1:{port}/hook"), port)
    }

    /// Whatever comes through this door.
    pub fn behind<L>(door: L, url: String, port: u16) -> Self
    where
        L: axum::serve::Listener,
        L::Addr: std::fmt::Debug,
    {
        let receiver = Self { url, port, heard: Arc::default() };
        let router = Router::new().route("/hook", post(hear)).with_state(receiver.clone());
        tokio::spawn(async move { axum::serve(door, router).await });
        receiver
    }

    pub fn is(&self, mood: Mood) {
        self.heard.lock().unwrap().0 = mood;
    }

    /// Everything that it was posted, taken or not.
    pub fn posts(&self) -> Vec<Post> {
        self.heard.lock().unwrap().1.clone()
    }

    /// The ids of the posts, in their order.
    pub fn ids(&self) -> Vec<String> {
        self.posts().iter().map(|post| post.header("webhook-id").to_owned()).collect()
    }

    /// The changes that it was told, each once, in their order.
    pub fn events(&self) -> Vec<Value> {
        let mut events: Vec<Value> = Vec::new();
        for post in self.posts() {
            for event in post.body["data"]["events"].as_array().unwrap() {
                if events.iter().all(|known| known["event_id"] != event["event_id"]) {
                    events.push(event.clone());
                }
            }
        }
        events
    }
}

async fn hear(State(receiver): State<Receiver>, headers: HeaderMap, raw: Bytes) -> Response {
    let body = serde_json::from_slice(&raw).unwrap();
    let mood = {
        let mut heard = receiver.heard.lock().unwrap();
        heard.1.push(Post { headers, raw, body });
        heard.0
    };
    match mood {
        Mood::Well => StatusCode::NO_CONTENT.into_response(),
        Mood::Hanging => std::future::pending().await,
        Mood::Answering(status) => StatusCode::from_u16(status).unwrap().into_response(),
        Mood::Sending(port) => {
            let to = format!("http://127.0.0.1:{port}/hook");
            (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, to)]).into_response()
        }
    }
}

impl Post {
    pub fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().unwrap()
    }

    /// As the specification of Standard Webhooks tells a receiver to check it, on our own HMAC.
    pub fn is_signed_with(&self, secret: &str) -> bool {
        let [id, seconds, signatures] =
            ["webhook-id", "webhook-timestamp", "webhook-signature"].map(|name| self.header(name));
        is_signed(secret, id, seconds, &self.raw, signatures)
    }
}

/// Whether one of the space-separated `v1` signatures is this secret's.
pub fn is_signed(secret: &str, id: &str, seconds: &str, body: &[u8], signatures: &str) -> bool {
    let mut key = STANDARD.decode(secret.strip_prefix("whsec_").unwrap()).unwrap();
    key.resize(64, 0);
    let padded = |pad: u8| key.iter().map(|byte| byte ^ pad).collect::<Vec<_>>();
    let message = [id.as_bytes(), b".", seconds.as_bytes(), b".", body].concat();
    let inner = Sha256::digest([padded(0x36), message].concat());
    let outer = Sha256::digest([padded(0x5c), inner.to_vec()].concat());
    let expected = STANDARD.encode(outer);
    signatures.split(' ').any(|one| one.split_once(',') == Some(("v1", expected.as_str())))
}
