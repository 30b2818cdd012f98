//! A local server that listens like Slack, or like anybody's webhook.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use serde_json::Value;
use sha2::{Digest, Sha256};

/// How it answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mood {
    #[default]
    Well,
    /// Never answers.
    Hanging,
    /// 403.
    Refusing,
}

#[derive(Clone, Debug)]
pub struct Post {
    pub headers: HeaderMap,
    pub raw: String,
    pub body: Value,
}

#[derive(Clone)]
pub struct Ear {
    pub url: String,
    heard: Arc<Mutex<(Mood, Vec<Post>)>>,
}

impl Ear {
    pub async fn open() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook/a-secret-path", listener.local_addr().unwrap());
        let ear = Self { url, heard: Arc::default() };
        let router = Router::new().route("/hook/{secret}", post(hear)).with_state(ear.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        ear
    }

    pub fn is(&self, mood: Mood) {
        self.heard.lock().unwrap().0 = mood;
    }

    /// Everything that it took.
    pub fn posts(&self) -> Vec<Post> {
        self.heard.lock().unwrap().1.clone()
    }

    /// What it took about this alert; each message once.
    pub fn about(&self, alert: &str) -> Vec<Post> {
        let mut posts: Vec<Post> = Vec::new();
        for post in self.posts().into_iter().filter(|post| post.body["alert"] == alert) {
            if posts.iter().all(|known| known.body["id"] != post.body["id"]) {
                posts.push(post);
            }
        }
        posts
    }
}

async fn hear(State(ear): State<Ear>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let mood = ear.heard.lock().unwrap().0;
    match mood {
        Mood::Hanging => std::future::pending().await,
        Mood::Refusing => StatusCode::FORBIDDEN,
        Mood::Well => {
            let raw = String::from_utf8_lossy(&body).into_owned();
            let body = serde_json::from_str(&raw).unwrap();
            ear.heard.lock().unwrap().1.push(Post { headers, raw, body });
            StatusCode::OK
        }
    }
}

impl Post {
    /// As the README tells a receiver to check it.
    pub fn is_signed_with(&self, secret: &str) -> bool {
        let header = self.headers["kakitome-signature"].to_str().unwrap();
        let (seconds, told) = header.strip_prefix("t=").unwrap().split_once(",v1=").unwrap();
        let mut key = secret.as_bytes().to_vec();
        key.resize(64, 0);
        let padded = |pad: u8| key.iter().map(|byte| byte ^ pad).collect::<Vec<_>>();
        let message = format!("{seconds}.{}", self.raw);
        let inner = Sha256::digest([padded(0x36), message.into_bytes()].concat());
        let outer = Sha256::digest([padded(0x5c), inner.to_vec()].concat());
        outer.iter().map(|byte| format!("{byte:02x}")).collect::<String>() == told
    }
}
