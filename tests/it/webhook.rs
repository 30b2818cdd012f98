//! The webhook door: what it answers, and that it says yes only to what is durable.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot be set up should fail loudly"
)]

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{Request, StatusCode};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures::StreamExt;
use http_body_util::BodyExt;
use kakitome::clock::{Clock, Timestamp};
use kakitome::message_log::{
    Acceptance, Applied, Claim, ClaimRequest, Counts, Due, Filter, Group, Heard, HeardPage, Lacks, LogError,
    MessageLog, NewNotification, Page, Record, Recorded, SentSpan, Standings,
};
use kakitome::notification::NotificationId;
use kakitome::notification::status::{Fact, Life, Status};
use kakitome::provider::health::HealthBoard;
use kakitome::provider::sendgrid::{SIGNATURE_HEADER, SendGridEvents, TIMESTAMP_HEADER};
use kakitome::provider::{EventSource, ProviderEvent};
use kakitome::tracking::Tracker;
use kakitome::webhook::{Config, WebhookState, router};
use metrics_exporter_prometheus::PrometheusBuilder;
use p256::ecdsa::signature::Signer;
use p256::ecdsa::{Signature, SigningKey};
use p256::pkcs8::EncodePublicKey;
use serde_json::{Value, json};
use tower::ServiceExt;

const PATH: &str = "/webhooks/sendgrid";
const ID: &str = "0f9b1c52-6a35-8d1e-9c2b-7a1d2e3f4a5b";
/// 2026-11-21T09:00:00Z.
const NOW: i64 = 1_795_251_600;

/// A log of events alone: one known notification whose outcome is unknown, a set of events seen, a disk that may fail.
#[derive(Default)]
struct EventLog {
    seen: Mutex<HashSet<String>>,
    calls: Mutex<Vec<usize>>,
    failing: Mutex<HashSet<String>>,
    swallows_results: bool,
    /// Calls wait here, where there is one, and say so.
    gate: Option<tokio::sync::Semaphore>,
    reached: tokio::sync::Notify,
}

impl EventLog {
    fn record(&self, event: &ProviderEvent, now: Timestamp) -> Result<Recorded, LogError> {
        let event_id = event.event_id.clone().unwrap_or_default();
        if self.failing.lock().unwrap().contains(&event_id) {
            return Err(LogError::Unavailable("the disk is full".into()));
        }
        let mut seen = self.seen.lock().unwrap();
        let first = seen.is_empty();
        if !seen.insert(event_id) {
            return Ok(Recorded::Repeat { tenant: None });
        }
        if event.id.is_none() {
            return Ok(Recorded::Unmatched);
        }
        Ok(Recorded::Folded {
            tenant: "default".into(),
            settled: first.then_some(Status::Unknown),
            ready_at: now,
        })
    }

    fn seen(&self) -> usize {
        self.seen.lock().unwrap().len()
    }
}

const ONLY_EVENTS: &str = "the webhook records events and does nothing else";

#[async_trait]
impl MessageLog for EventLog {
    async fn record_events(
        &self,
        events: &[ProviderEvent],
        now: Timestamp,
    ) -> Vec<Result<Recorded, LogError>> {
        if let Some(gate) = &self.gate {
            self.reached.notify_one();
            gate.acquire().await.unwrap().forget();
        }
        self.calls.lock().unwrap().push(events.len());
        let results = events.iter().map(|event| self.record(event, now));
        results.skip(usize::from(self.swallows_results)).collect()
    }

    async fn accept(&self, _: &[NewNotification]) -> Vec<Result<Acceptance, LogError>> {
        unreachable!("{ONLY_EVENTS}")
    }
    async fn claim(&self, _: &[ClaimRequest], _: Timestamp) -> Vec<Result<Claim, LogError>> {
        unreachable!("{ONLY_EVENTS}")
    }
    async fn apply(&self, _: &[(NotificationId, Fact)], _: Timestamp) -> Vec<Result<Applied, LogError>> {
        unreachable!("{ONLY_EVENTS}")
    }
    async fn get(&self, _: NotificationId) -> Result<Option<Record>, LogError> {
        unreachable!("{ONLY_EVENTS}")
    }
    async fn lives(&self, _: &[NotificationId]) -> Result<Vec<Option<Life>>, LogError> {
        unreachable!("{ONLY_EVENTS}")
    }
    async fn contents(&self, _: &[NotificationId]) -> Result<Vec<Option<Bytes>>, LogError> {
        unreachable!("{ONLY_EVENTS}")
    }
    async fn list(&self, _: &Filter, _: Option<&str>, _: usize, _: Timestamp) -> Result<Page, LogError> {
        unreachable!("{ONLY_EVENTS}")
    }
    async fn counts(&self, _: Timestamp) -> Result<Counts, LogError> {
        unreachable!("{ONLY_EVENTS}")
    }
    async fn standings(&self, _: Timestamp) -> Result<Standings, LogError> {
        unreachable!("{ONLY_EVENTS}")
    }
    async fn count_groups(&self, _: &Filter, _: Timestamp) -> Result<Vec<Group>, LogError> {
        unreachable!("{ONLY_EVENTS}")
    }
    async fn due(&self, _: Timestamp, _: usize) -> Result<Vec<Due>, LogError> {
        unreachable!("{ONLY_EVENTS}")
    }
    async fn witness(&self, _: &str) -> Result<Option<Timestamp>, LogError> {
        unreachable!("{ONLY_EVENTS}")
    }
    async fn sent_without(
        &self,
        _: Lacks,
        _: SentSpan,
        _: Option<&str>,
        _: usize,
    ) -> Result<HeardPage, LogError> {
        unreachable!("{ONLY_EVENTS}")
    }
    async fn heard_of(&self, _: &[NotificationId]) -> Result<Vec<Option<Heard>>, LogError> {
        unreachable!("{ONLY_EVENTS}")
    }
}

fn key() -> SigningKey {
    SigningKey::from_slice(&[7; 32]).unwrap()
}

fn door(log: &Arc<EventLog>, config: Config) -> Router {
    let public = STANDARD.encode(key().verifying_key().to_public_key_der().unwrap().as_bytes());
    let source: Arc<dyn EventSource> = Arc::new(SendGridEvents::new("sendgrid", &[public], false).unwrap());
    let (clock, health) = (Clock::manual(Timestamp::from_ms(NOW * 1000)), HealthBoard::default());
    router(WebhookState {
        tracker: Arc::new(Tracker::new(log.clone(), health.clone(), clock.clone(), Vec::new())),
        sources: BTreeMap::from([(PATH.to_owned(), source)]),
        clock,
        health,
        config,
    })
}

fn open_door(log: &Arc<EventLog>) -> Router {
    door(log, Config::default())
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
async fn events_are_acknowledged_once_they_are_recorded_and_repeats_again() {
    let log = Arc::new(EventLog::default());
    let door = open_door(&log);
    let post = json!([event("e-1"), event("e-2"), {"event": "open", "sg_event_id": "e-3"}]).to_string();
    for _ in 0..2 {
        assert_eq!(ask(&door, signed(&post)).await.status, StatusCode::NO_CONTENT);
        assert_eq!(log.seen(), 3);
    }
    assert_eq!(ask(&door, signed("[]")).await.status, StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn one_event_that_is_not_durable_makes_the_provider_post_all_again() {
    let log = Arc::new(EventLog::default());
    let door = open_door(&log);
    log.failing.lock().unwrap().insert("e-2".into());
    let post = json!([event("e-1"), event("e-2"), event("e-3")]).to_string();
    let answer = ask(&door, signed(&post)).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.retry_after.as_deref(), Some("10"));
    log.failing.lock().unwrap().clear();
    assert_eq!(ask(&door, signed(&post)).await.status, StatusCode::NO_CONTENT);
    assert_eq!(log.seen(), 3);
}

#[tokio::test]
async fn an_event_without_a_result_counts_as_not_durable() {
    let log = Arc::new(EventLog { swallows_results: true, ..EventLog::default() });
    let answer = ask(&open_door(&log), signed(json!([event("e-1"), event("e-2")]).to_string())).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn a_large_post_is_recorded_in_bounded_calls() {
    let log = Arc::new(EventLog::default());
    let post: Vec<Value> = (0..1_201).map(|n| event(&format!("e-{n}"))).collect();
    assert_eq!(ask(&open_door(&log), signed(json!(post).to_string())).await.status, StatusCode::NO_CONTENT);
    assert_eq!(*log.calls.lock().unwrap(), vec![500, 500, 201]);
}

#[tokio::test]
async fn a_post_that_is_not_signed_by_the_provider_is_refused_before_anything_is_read() {
    let log = Arc::new(EventLog::default());
    let door = open_door(&log);
    let unsigned = Request::post(PATH).body(Body::from("not json")).unwrap();
    let mut changed = signed(json!([event("e-1")]).to_string());
    *changed.body_mut() = Body::from(json!([event("e-2")]).to_string());
    for request in [unsigned, changed] {
        let answer = ask(&door, request).await;
        assert_eq!((answer.status, &answer.problem["status"]), (StatusCode::FORBIDDEN, &json!(403)));
    }
    assert_eq!(log.seen(), 0);
}

#[tokio::test]
async fn what_is_signed_but_not_json_is_refused_without_being_repeated() {
    let log = Arc::new(EventLog::default());
    let answer = ask(&open_door(&log), signed("guest@example.com")).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert!(!answer.problem.to_string().contains('@'));
}

#[tokio::test]
async fn a_post_over_the_limit_is_too_large_declared_or_not() {
    let log = Arc::new(EventLog::default());
    let door = door(&log, Config { body_limit_bytes: 1_000, ..Config::default() });
    let streamed =
        Body::from_stream(futures::stream::repeat_with(|| Ok::<_, std::io::Error>(vec![b' '; 100])));
    let undeclared = Request::post(PATH).body(streamed).unwrap();
    for request in [signed(vec![b' '; 1_001]), undeclared] {
        assert_eq!(ask(&door, request).await.status, StatusCode::PAYLOAD_TOO_LARGE);
    }
}

#[tokio::test]
async fn a_post_that_does_not_come_in_time_is_given_up() {
    let log = Arc::new(EventLog::default());
    let door = door(&log, Config { body_idle_timeout: Duration::from_millis(20), ..Config::default() });
    let silent = futures::stream::iter([Ok::<_, std::io::Error>(Bytes::from_static(b"["))])
        .chain(futures::stream::pending());
    let request = Request::post(PATH).body(Body::from_stream(silent)).unwrap();
    assert_eq!(ask(&door, request).await.status, StatusCode::REQUEST_TIMEOUT);
}

#[tokio::test]
async fn posts_above_the_bound_are_asked_to_come_back() {
    let log = Arc::new(EventLog { gate: Some(tokio::sync::Semaphore::new(0)), ..EventLog::default() });
    let door = door(&log, Config { max_concurrent: 1, ..Config::default() });
    let first = tokio::spawn({
        let door = door.clone();
        async move { ask(&door, signed(json!([event("e-1")]).to_string())).await.status }
    });
    log.reached.notified().await;
    let refused = ask(&door, signed("[]")).await;
    assert_eq!((refused.status, refused.retry_after.is_some()), (StatusCode::SERVICE_UNAVAILABLE, true));
    log.gate.as_ref().unwrap().add_permits(1);
    assert_eq!(first.await.unwrap(), StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn only_posts_are_taken() {
    let log = Arc::new(EventLog::default());
    let answer = ask(&open_door(&log), Request::get(PATH).body(Body::empty()).unwrap()).await;
    assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn metrics_count_what_was_new_under_bounded_names() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let metrics = recorder.handle();
    let _recording = metrics::set_default_local_recorder(&recorder);
    let log = Arc::new(EventLog::default());
    let door = open_door(&log);
    let odd = json!({"event": "reseller_notice_4711", "sg_event_id": "e-2"});
    let post = json!([event("e-1"), event("e-1"), odd]).to_string();
    ask(&door, signed(&post)).await;
    let text = metrics.render();
    for line in [
        r#"kakitome_events_total{provider="sendgrid",kind="delivered"} 1"#,
        r#"kakitome_events_total{provider="sendgrid",kind="other"} 1"#,
        r#"kakitome_unknown_total{resolution="event"} 1"#,
        "kakitome_webhook_lag_seconds_count 2",
        "kakitome_webhook_lag_seconds_sum 3",
        // What only its event settled was sent as well.
        "kakitome_accept_to_sent_seconds_count 1",
    ] {
        assert!(text.lines().any(|l| l == line), "{line} in\n{text}");
    }
    assert!(!text.contains("4711"));
}
