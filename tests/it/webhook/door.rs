//! The door: what it answers, and that it says yes only to what is durable.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{Request, StatusCode};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures::StreamExt;
use http_body_util::BodyExt;
use kakitome::background::Background;
use kakitome::clock::Clock;
use kakitome::inbox::Inbox;
use kakitome::inbox::sqlite;
use kakitome::provider::EventSource;
use kakitome::provider::health::HealthBoard;
use kakitome::provider::sendgrid::{SIGNATURE_HEADER, SendGridEvents, TIMESTAMP_HEADER};
use kakitome::webhook::{Config, WebhookState, router};
use p256::ecdsa::signature::Signer;
use p256::ecdsa::{Signature, SigningKey};
use p256::pkcs8::EncodePublicKey;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::{NOW, Step, TestInbox, now};

const PATH: &str = "/webhooks/sendgrid";
const ID: &str = "0f9b1c52-6a35-8d1e-9c2b-7a1d2e3f4a5b";

fn key() -> SigningKey {
    SigningKey::from_slice(&[7; 32]).unwrap()
}

/// Nobody folds behind this door, and it waits for nobody.
fn config() -> Config {
    Config { folded_within: Duration::ZERO, ..Config::default() }
}

fn public(key: &SigningKey) -> String {
    STANDARD.encode(key.verifying_key().to_public_key_der().unwrap().as_bytes())
}

fn source(name: &str, keys: &[&SigningKey]) -> Arc<dyn EventSource> {
    let keys: Vec<String> = keys.iter().map(|key| public(key)).collect();
    Arc::new(SendGridEvents::new(name, &keys, false).unwrap())
}

fn door(inbox: &Arc<TestInbox>, config: Config) -> Router {
    let sources = [(PATH, source("sendgrid", &[&key()]))];
    door_of(inbox, &sources, config)
}

fn door_of(inbox: &Arc<TestInbox>, sources: &[(&str, Arc<dyn EventSource>)], config: Config) -> Router {
    router(WebhookState {
        inbox: inbox.clone(),
        sources: sources.iter().map(|(path, source)| ((*path).to_owned(), source.clone())).collect(),
        clock: Clock::manual(now()),
        health: HealthBoard::default(),
        background: Background::default(),
        config,
    })
}

async fn open_door() -> (Arc<TestInbox>, Router) {
    let inbox = Arc::new(TestInbox::open().await);
    let door = door(&inbox, config());
    (inbox, door)
}

async fn events_in(inbox: &TestInbox) -> u64 {
    inbox.depth().await.unwrap().events.unwrap()
}

fn signed(body: impl AsRef<[u8]>) -> Request<Body> {
    signed_by(&key(), NOW, body.as_ref())
}

fn signed_by(key: &SigningKey, at: i64, body: &[u8]) -> Request<Body> {
    let timestamp = at.to_string();
    let signature: Signature = key.sign(&[timestamp.as_bytes(), body].concat());
    Request::post(PATH)
        .header(SIGNATURE_HEADER, STANDARD.encode(signature.to_der().as_bytes()))
        .header(TIMESTAMP_HEADER, timestamp)
        .body(Body::from(body.to_vec()))
        .unwrap()
}

fn event(event_id: &str) -> Value {
    json!({"event": "delivered", "email": "guest@example.com", "timestamp": NOW - 3, "sg_event_id": event_id,
        "kakitome_id": ID})
}

struct Answer {
    status: StatusCode,
    retry_after: Option<String>,
    problem: Value,
}

async fn ask(door: &Router, request: Request<Body>) -> Answer {
    let (parts, body) = door.clone().oneshot(request).await.unwrap().into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let status = parts.status;
    let header = |name: &str| parts.headers.get(name).map(|value| value.to_str().unwrap().to_owned());
    let (retry_after, content_type) = (header("retry-after"), header("content-type"));
    let problem = if status.is_success() {
        Value::Null
    } else {
        assert_eq!(content_type.as_deref(), Some("application/problem+json"));
        serde_json::from_slice(&body).unwrap()
    };
    Answer { status, retry_after, problem }
}

#[tokio::test]
async fn events_are_acknowledged_once_they_are_durable() {
    let (inbox, door) = open_door().await;
    let post = json!([event("e-1"), event("e-2"), {"event": "open", "sg_event_id": "e-3"}]).to_string();
    assert_eq!(ask(&door, signed(&post)).await.status, StatusCode::NO_CONTENT);
    assert_eq!(events_in(&inbox).await, 3);
    assert_eq!(ask(&door, signed("[]")).await.status, StatusCode::NO_CONTENT);
    assert_eq!(events_in(&inbox).await, 3);
}

#[tokio::test]
async fn what_is_not_known_to_be_durable_is_posted_again() {
    for step in [Step::Append, Step::Appended] {
        let (inbox, door) = open_door().await;
        inbox.fail(step, 1);
        let post = json!([event("e-1"), event("e-2")]).to_string();
        let answer = ask(&door, signed(&post)).await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(answer.retry_after.as_deref(), Some("10"));
        assert_eq!(ask(&door, signed(&post)).await.status, StatusCode::NO_CONTENT);
    }
}

#[tokio::test]
async fn a_full_inbox_leaves_the_events_with_the_provider() {
    let few = sqlite::Config { events_max: 3, ..sqlite::Config::default() };
    let inbox = Arc::new(TestInbox::open_with(few).await);
    let door = door(&inbox, config());
    let post = json!([event("e-1"), event("e-2")]).to_string();
    assert_eq!(ask(&door, signed(&post)).await.status, StatusCode::NO_CONTENT);
    let answer = ask(&door, signed(&post)).await;
    assert_eq!((answer.status, answer.retry_after.is_some()), (StatusCode::SERVICE_UNAVAILABLE, true));
    let taken = inbox.take(10, Duration::ZERO).await.unwrap();
    inbox.done(&[taken[0].receipt.clone()]).await.unwrap();
    assert_eq!(ask(&door, signed(&post)).await.status, StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn a_post_that_is_not_signed_by_the_provider_is_refused_before_anything_is_read() {
    let (inbox, door) = open_door().await;
    let unsigned = Request::post(PATH).body(Body::from("not json")).unwrap();
    let mut changed = signed(json!([event("e-1")]).to_string());
    *changed.body_mut() = Body::from(json!([event("e-2")]).to_string());
    for request in [unsigned, changed] {
        let answer = ask(&door, request).await;
        assert_eq!((answer.status, &answer.problem["status"]), (StatusCode::FORBIDDEN, &json!(403)));
    }
    assert_eq!(events_in(&inbox).await, 0);
}

#[tokio::test]
async fn what_is_signed_but_not_json_is_refused_without_being_repeated() {
    let (_inbox, door) = open_door().await;
    let answer = ask(&door, signed("guest@example.com")).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert!(!answer.problem.to_string().contains('@'));
}

#[tokio::test]
async fn a_post_over_the_limit_is_too_large_declared_or_not() {
    let inbox = Arc::new(TestInbox::open().await);
    let door = door(&inbox, Config { body_limit_bytes: 1_000, ..config() });
    let streamed =
        Body::from_stream(futures::stream::repeat_with(|| Ok::<_, std::io::Error>(vec![b' '; 100])));
    let undeclared = Request::post(PATH).body(streamed).unwrap();
    for request in [signed(vec![b' '; 1_001]), undeclared] {
        assert_eq!(ask(&door, request).await.status, StatusCode::PAYLOAD_TOO_LARGE);
    }
}

#[tokio::test]
async fn a_post_that_does_not_come_in_time_is_given_up() {
    let inbox = Arc::new(TestInbox::open().await);
    let door = door(&inbox, Config { body_idle_timeout: Duration::from_millis(20), ..config() });
    let silent = futures::stream::iter([Ok::<_, std::io::Error>(Bytes::from_static(b"["))])
        .chain(futures::stream::pending());
    let request = Request::post(PATH).body(Body::from_stream(silent)).unwrap();
    assert_eq!(ask(&door, request).await.status, StatusCode::REQUEST_TIMEOUT);
}

#[tokio::test]
async fn posts_above_the_bound_are_asked_to_come_back() {
    let gate = Some(tokio::sync::Semaphore::new(0));
    let inbox = Arc::new(TestInbox { gate, ..TestInbox::open().await });
    let door = door(&inbox, Config { max_concurrent: 1, ..config() });
    let first = tokio::spawn({
        let door = door.clone();
        async move { ask(&door, signed(json!([event("e-1")]).to_string())).await.status }
    });
    inbox.reached.notified().await;
    let refused = ask(&door, signed("[]")).await;
    assert_eq!((refused.status, refused.retry_after.is_some()), (StatusCode::SERVICE_UNAVAILABLE, true));
    inbox.gate.as_ref().unwrap().add_permits(1);
    assert_eq!(first.await.unwrap(), StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn only_posts_are_taken() {
    let (_inbox, door) = open_door().await;
    let answer = ask(&door, Request::get(PATH).body(Body::empty()).unwrap()).await;
    assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn either_key_of_a_rotation_signs_and_no_third() {
    let inbox = Arc::new(TestInbox::open().await);
    let [old, new, other] = [[7; 32], [8; 32], [9; 32]].map(|bytes| SigningKey::from_slice(&bytes).unwrap());
    let door = door_of(&inbox, &[(PATH, source("sendgrid", &[&old, &new]))], config());
    let post = json!([event("e-1")]).to_string();
    for (key, answer) in
        [(old, StatusCode::NO_CONTENT), (new, StatusCode::NO_CONTENT), (other, StatusCode::FORBIDDEN)]
    {
        assert_eq!(ask(&door, signed_by(&key, NOW, post.as_bytes())).await.status, answer);
    }
}

#[tokio::test]
async fn a_post_is_taken_for_25_hours_after_it_was_signed_and_never_from_the_future() {
    let (_inbox, door) = open_door().await;
    let post = json!([event("e-1")]).to_string();
    let hours = |hours: i64| hours * 3600;
    for (age, answer) in [
        (-300, StatusCode::NO_CONTENT),
        (-600, StatusCode::FORBIDDEN),
        (301, StatusCode::NO_CONTENT),
        (hours(23), StatusCode::NO_CONTENT),
        (hours(25), StatusCode::NO_CONTENT),
        (hours(25) + 1, StatusCode::FORBIDDEN),
    ] {
        let asked = ask(&door, signed_by(&key(), NOW - age, post.as_bytes()));
        assert_eq!(asked.await.status, answer, "{age}");
    }
}

#[tokio::test]
async fn what_a_stranger_may_send_is_refused_or_harmless() {
    let (inbox, door) = open_door().await;
    let truncated = json!([event("e-1")]).to_string();
    let truncated = &truncated[..truncated.len() - 5];
    let deep = format!("[{}{}]", "[".repeat(100_000), "]".repeat(100_000));
    let many = format!("[{}{{}}]", "{},".repeat(100_000));
    for (body, answer) in [
        (truncated, StatusCode::BAD_REQUEST),
        (many.as_str(), StatusCode::BAD_REQUEST),
        (&format!("[{}]", "[".repeat(100_000)), StatusCode::BAD_REQUEST),
        (&"x".repeat(5 * 1024 * 1024), StatusCode::PAYLOAD_TOO_LARGE),
    ] {
        assert_eq!(ask(&door, signed(body)).await.status, answer, "{:.20}", body);
    }
    assert_eq!(events_in(&inbox).await, 0);
    // Well-formed, signed and odd: kept as it is, an event that says nothing.
    assert_eq!(ask(&door, signed(deep)).await.status, StatusCode::NO_CONTENT);
    assert_eq!(events_in(&inbox).await, 1);
}

#[tokio::test]
async fn a_compressed_body_is_not_taken() {
    let (inbox, door) = open_door().await;
    for encoding in ["gzip", "br", "identity, gzip"] {
        let mut post = signed(json!([event("e-1")]).to_string());
        post.headers_mut().insert("content-encoding", encoding.parse().unwrap());
        assert_eq!(ask(&door, post).await.status, StatusCode::UNSUPPORTED_MEDIA_TYPE, "{encoding}");
    }
    assert_eq!(events_in(&inbox).await, 0);
    let mut post = signed(json!([event("e-1")]).to_string());
    post.headers_mut().insert("content-encoding", "Identity".parse().unwrap());
    assert_eq!(ask(&door, post).await.status, StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn hundreds_of_posts_at_once_are_taken() {
    let (inbox, door) = open_door().await;
    let posts = (0..300).map(|n| {
        let post = signed(json!([event(&format!("e-{n}"))]).to_string());
        let door = door.clone();
        async move { ask(&door, post).await.status }
    });
    let answers = futures::future::join_all(posts).await;
    assert!(answers.iter().all(|status| *status == StatusCode::NO_CONTENT), "{answers:?}");
    assert_eq!(events_in(&inbox).await, 300);
}

#[tokio::test]
async fn one_sources_flood_takes_no_room_from_another() {
    let gate = Some(tokio::sync::Semaphore::new(0));
    let inbox = Arc::new(TestInbox { gate, ..TestInbox::open().await });
    let sources = [(PATH, source("sendgrid", &[&key()])), ("/webhooks/other", source("other", &[&key()]))];
    let door = door_of(&inbox, &sources, Config { max_concurrent: 1, ..config() });
    let post = json!([event("e-1")]).to_string();
    let first = tokio::spawn({
        let (door, post) = (door.clone(), signed(&post));
        async move { ask(&door, post).await.status }
    });
    inbox.reached.notified().await;
    assert_eq!(ask(&door, signed(&post)).await.status, StatusCode::SERVICE_UNAVAILABLE);
    inbox.gate.as_ref().unwrap().add_permits(2);
    let mut elsewhere = signed(&post);
    *elsewhere.uri_mut() = "/webhooks/other".parse().unwrap();
    assert_eq!(ask(&door, elsewhere).await.status, StatusCode::NO_CONTENT);
    assert_eq!(first.await.unwrap(), StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn bytes_in_flight_are_bounded() {
    let gate = Some(tokio::sync::Semaphore::new(0));
    let inbox = Arc::new(TestInbox { gate, ..TestInbox::open().await });
    let room = Config {
        body_limit_bytes: 4096,
        max_bytes: 4096,
        room_within: Duration::from_millis(20),
        ..config()
    };
    let door = door(&inbox, room);
    let large = format!("{}{}", json!([event("e-1")]), " ".repeat(3500));
    let first = tokio::spawn({
        let (door, post) = (door.clone(), signed(&large));
        async move { ask(&door, post).await.status }
    });
    inbox.reached.notified().await;
    assert_eq!(ask(&door, signed(&large)).await.status, StatusCode::SERVICE_UNAVAILABLE);
    inbox.gate.as_ref().unwrap().add_permits(1);
    assert_eq!(first.await.unwrap(), StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn an_answer_waits_for_the_folding_only_for_a_moment_and_never_fails_of_it() {
    let inbox = Arc::new(TestInbox::open().await);
    let door = door(&inbox, Config { folded_within: Duration::from_millis(20), ..Config::default() });
    let post = json!([event("e-1")]).to_string();
    assert_eq!(ask(&door, signed(post)).await.status, StatusCode::NO_CONTENT);
    assert_eq!(events_in(&inbox).await, 1, "nobody folds here");
}
