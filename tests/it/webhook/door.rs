//! The door: what it answers, and that it says yes only to what is durable.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{Request, StatusCode};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures::StreamExt;
use http_body_util::BodyExt;
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

fn door(inbox: &Arc<TestInbox>, config: Config) -> Router {
    let public = STANDARD.encode(key().verifying_key().to_public_key_der().unwrap().as_bytes());
    let source: Arc<dyn EventSource> = Arc::new(SendGridEvents::new("sendgrid", &[public], false).unwrap());
    router(WebhookState {
        inbox: inbox.clone(),
        sources: BTreeMap::from([(PATH.to_owned(), source)]),
        clock: Clock::manual(now()),
        health: HealthBoard::default(),
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
    let body = body.as_ref();
    let timestamp = NOW.to_string();
    let signature: Signature = key().sign(&[timestamp.as_bytes(), body].concat());
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
