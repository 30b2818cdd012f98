//! `kill -9` while events are taken in and folded: none is lost, and none counted twice.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kakitome::clock::{Clock, Timestamp};
use kakitome::provider::sendgrid::{SIGNATURE_HEADER, TIMESTAMP_HEADER};
use p256::ecdsa::signature::Signer;
use p256::ecdsa::{Signature, SigningKey};
use p256::pkcs8::EncodePublicKey;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

use super::process::{self, KEY, Kakitome};
use super::world::booking;

/// Nothing that this waits for takes longer on any machine.
const PATIENCE: Duration = Duration::from_secs(120);
const NOTIFICATIONS: usize = 60;
const ROUNDS: usize = 8;
/// Events of one notification.
const STORY: usize = 8;

fn key() -> SigningKey {
    SigningKey::from_slice(&[7; 32]).unwrap()
}

/// Of a server whose events are signed with our key.
pub fn environment() -> [(&'static str, String); 2] {
    let public = STANDARD.encode(key().verifying_key().to_public_key_der().unwrap().as_bytes());
    [("KAKITOME_PROVIDER", "sendgrid".to_owned()), ("KAKITOME_SENDGRID_WEBHOOK_KEY", public)]
}

/// Such a server. It sends nothing.
fn serve(dir: &std::path::Path) -> Kakitome {
    Kakitome::start(dir, &["serve", "--role", "api,webhook"], &environment())
}

/// What is told of one notification: each event with its own moment, as a provider would.
fn story(id: &str, email: &str, start: Timestamp) -> Vec<Value> {
    let kinds = ["processed", "deferred", "deferred", "delivered", "open", "open", "click", "open"];
    let event = |(n, kind): (usize, &&str)| {
        json!({"event": kind, "email": email, "timestamp": start.as_ms() / 1000 - 60 + n as i64,
            "sg_event_id": format!("{id}-{n}"), "kakitome_id": id, "kakitome_lane": kakitome::provider::lane("default")})
    };
    kinds.iter().enumerate().map(event).collect()
}

/// A signed post of events.
pub fn post(client: &reqwest::Client, url: &str, body: &str) -> reqwest::RequestBuilder {
    let at = (Clock::system().now().as_ms() / 1000).to_string();
    let signature: Signature = key().sign(&[at.as_bytes(), body.as_bytes()].concat());
    client
        .post(format!("{url}/webhooks/sendgrid"))
        .header(SIGNATURE_HEADER, STANDARD.encode(signature.to_der().as_bytes()))
        .header(TIMESTAMP_HEADER, at)
        .body(body.to_owned())
}

/// Posts what is left, eight at a time, each until it is answered with 2xx.
async fn post_all(client: &reqwest::Client, url: &str, left: &Mutex<VecDeque<String>>) {
    let poster = || async {
        loop {
            let Some(body) = left.lock().unwrap().pop_front() else { return };
            let mut back = PutBack { left, body: Some(body.clone()) };
            match post(client, url, &body).send().await {
                Ok(answer) if answer.status().is_success() => back.body = None,
                Ok(answer) => assert_eq!(answer.status(), 503, "{answer:?}"),
                // Killed: posted again to the next one.
                Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    };
    futures::future::join_all((0..8).map(|_| poster())).await;
}

/// A post that was not answered, also because nobody waits for its answer any more, is posted again.
struct PutBack<'a> {
    left: &'a Mutex<VecDeque<String>>,
    body: Option<String>,
}

impl Drop for PutBack<'_> {
    fn drop(&mut self) {
        if let Some(body) = self.body.take() {
            self.left.lock().unwrap().push_back(body);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_survive_kill_after_kill_and_each_is_counted_once() {
    let mut random = StdRng::seed_from_u64(5);
    let dir = tempfile::tempdir().unwrap();
    let client = process::http();
    let server = serve(dir.path());
    let mut ids = Vec::new();
    for n in 0..NOTIFICATIONS {
        let request = client.post(format!("{}/v1/notifications", server.url)).bearer_auth(KEY);
        let answer = request.body(booking(&format!("kill-{n}")).to_string()).send().await.unwrap();
        let answer: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
        ids.push(answer["id"].as_str().unwrap().to_owned());
    }
    server.kill();

    let start = Clock::system().now();
    let mut events: Vec<Value> = ids
        .iter()
        .enumerate()
        .flat_map(|(n, id)| story(id, &format!("guest.kill-{n}@example.com"), start))
        .collect();
    let repeats: Vec<Value> = events.iter().filter(|_| random.random_bool(0.1)).cloned().collect();
    events.extend(repeats);
    events.shuffle(&mut random);
    let mut posts = VecDeque::new();
    while !events.is_empty() {
        let count = random.random_range(1..8).min(events.len());
        posts.push_back(Value::from(events.split_off(events.len() - count)).to_string());
    }
    let per_round = posts.len() / ROUNDS + 1;
    for _ in 0..ROUNDS {
        let share: VecDeque<String> = posts.drain(..per_round.min(posts.len())).collect();
        let (server, left) = (serve(dir.path()), Mutex::new(share));
        let lives_for = Duration::from_millis(random.random_range(10..120));
        let _killed_meanwhile = tokio::time::timeout(lives_for, post_all(&client, &server.url, &left)).await;
        server.kill();
        posts.extend(left.into_inner().unwrap());
    }
    let (server, left) = (serve(dir.path()), Mutex::new(posts));
    while !left.lock().unwrap().is_empty() {
        post_all(&client, &server.url, &left).await;
    }
    for id in &ids {
        let record = wait_for_story(&client, &server.url, id, STORY).await;
        let told: Vec<(&str, &str)> = record["events"]
            .as_array()
            .unwrap()
            .iter()
            .map(|event| (event["kind"].as_str().unwrap(), event["at"].as_str().unwrap()))
            .collect();
        assert_eq!(told.len(), told.iter().collect::<BTreeSet<_>>().len(), "one was counted twice: {told:?}");
        assert_eq!(record["status"], "sent");
        assert_eq!(record["recipients"][0]["status"], "delivered");
    }
    // What was in flight at the end was folded too, and only its repeats were.
    wait_for_empty_inbox(&client, &server.url).await;
    for id in &ids {
        let record = wait_for_story(&client, &server.url, id, STORY).await;
        assert_eq!(record["events"].as_array().unwrap().len(), STORY);
    }
    let (ended_well, log) = server.terminate();
    assert!(ended_well, "{log}");
}

/// What is answered to who may do everything.
pub async fn get(client: &reqwest::Client, url: String) -> Value {
    let answer = client.get(url).bearer_auth(KEY).send().await.unwrap();
    serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap()
}

async fn wait_for_story(client: &reqwest::Client, url: &str, id: &str, events: usize) -> Value {
    let until = Instant::now() + PATIENCE;
    loop {
        let record = get(client, format!("{url}/v1/notifications/{id}")).await;
        if record["events"].as_array().is_some_and(|all| all.len() >= events) {
            return record;
        }
        assert!(Instant::now() < until, "an event is lost: {record}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn wait_for_empty_inbox(client: &reqwest::Client, url: &str) {
    let until = Instant::now() + PATIENCE;
    loop {
        let status = get(client, format!("{url}/v1/status")).await;
        if status["inbox"]["parcels"] == json!(0) {
            return;
        }
        assert!(Instant::now() < until, "{}", status["inbox"]);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
