//! The sandbox's event webhook, as its receiver meets it.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use kakitome::sandbox::{Config, Sandbox};
use kakitome::server;
use kakitome::shutdown::{self, ShutdownTrigger};
use p256::ecdsa::signature::MultipartVerifier;
use p256::ecdsa::{DerSignature, VerifyingKey};
use p256::pkcs8::DecodePublicKey;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::mpsc;

use super::{PATIENCE, World, mail, world};

struct Receiver {
    address: SocketAddr,
    posts: mpsc::UnboundedReceiver<(HeaderMap, Bytes)>,
    _trigger: ShutdownTrigger,
}

#[derive(Clone)]
struct Hook {
    posts: mpsc::UnboundedSender<(HeaderMap, Bytes)>,
    failures_left: Arc<AtomicUsize>,
}

async fn hook(State(hook): State<Hook>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let less = |left: usize| left.checked_sub(1);
    if hook.failures_left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less).is_ok() {
        return StatusCode::INTERNAL_SERVER_ERROR;
    }
    hook.posts.send((headers, body)).unwrap();
    StatusCode::NO_CONTENT
}

/// A receiver that answers 500 to its first `failures` posts.
fn receiver(failures: usize) -> Receiver {
    let listener = server::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let (trigger, shutdown) = shutdown::channel();
    let (sender, posts) = mpsc::unbounded_channel();
    let state = Hook { posts: sender, failures_left: Arc::new(AtomicUsize::new(failures)) };
    let router = Router::new().route("/hook", post(hook)).with_state(state);
    tokio::spawn(server::serve(listener, router, server::Config::default(), shutdown));
    Receiver { address, posts, _trigger: trigger }
}

impl Receiver {
    async fn next(&mut self) -> (HeaderMap, Bytes) {
        tokio::time::timeout(PATIENCE, self.posts.recv()).await.unwrap().unwrap()
    }

    /// The next `count` events, whatever posts they come in; fails when a post has more.
    async fn events(&mut self, count: usize) -> Vec<Value> {
        let mut events = Vec::new();
        while events.len() < count {
            let (_, body) = self.next().await;
            events.extend(serde_json::from_slice::<Vec<Value>>(&body).unwrap());
        }
        assert_eq!(events.len(), count);
        events
    }
}

fn posting_to(receiver: &Receiver, faults: &str) -> World {
    world(Config {
        webhook_url: Some(format!("http://{}/hook", receiver.address)),
        webhook_flush_interval: Duration::from_millis(50),
        faults: faults.parse().unwrap(),
        ..Config::default()
    })
}

fn kinds(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["event"].as_str().unwrap()).collect()
}

fn verify(key: &str, headers: &HeaderMap, body: &[u8]) {
    let key = VerifyingKey::from_public_key_der(&STANDARD.decode(key).unwrap()).unwrap();
    let signature = STANDARD.decode(&headers["x-twilio-email-event-webhook-signature"]).unwrap();
    let timestamp = headers["x-twilio-email-event-webhook-timestamp"].as_bytes();
    let signature = DerSignature::from_bytes(&signature).unwrap();
    key.multipart_verify(&[timestamp, body], &signature).unwrap();
}

#[tokio::test]
async fn posts_verify_with_the_published_key_and_survive_a_receiver_that_fails_first() {
    let mut receiver = receiver(1);
    let world = posting_to(&receiver, "none");
    let key = world.client.get(world.url("/sandbox/webhook-key")).send().await.unwrap().text().await.unwrap();
    assert!(key.starts_with("MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE"), "{key}");
    assert_eq!(key, world.sandbox.public_key());

    let mut sent = mail("id-1");
    sent["categories"] = json!(["booking"]);
    sent["custom_args"]["note"] = "<a & b>".into();
    sent["custom_args"]["event"] = "overwritten".into();
    let message_id = world.send(&sent).await.headers()["x-message-id"].to_str().unwrap().to_owned();

    let (headers, body) = receiver.next().await;
    verify(&key, &headers, &body);
    let text = std::str::from_utf8(&body).unwrap();
    assert!(text.starts_with("[{") && text.contains("},\r\n{") && text.ends_with("}]\r\n"), "{text}");
    assert!(text.contains("\\u003ca \\u0026 b\\u003e") && !text.contains('<'), "{text}");

    let events: Vec<Value> = serde_json::from_str(text).unwrap();
    assert_eq!(kinds(&events), ["processed", "delivered"]);
    for event in &events {
        assert_eq!(event["email"], "guest@example.com");
        assert_eq!(event["kakitome_id"], "id-1");
        assert_eq!(event["note"], "<a & b>");
        assert_eq!(event["category"], json!(["booking"]));
        assert_eq!(event["smtp-id"], format!("<{message_id}@ismtpd-sandbox>"));
        let sg_message_id = event["sg_message_id"].as_str().unwrap();
        assert!(sg_message_id.starts_with(&format!("{message_id}.recvd-")), "{sg_message_id}");
        assert!((1_700_000_000..100_000_000_000).contains(&event["timestamp"].as_i64().unwrap()));
    }
    assert_ne!(events[0]["sg_event_id"], events[1]["sg_event_id"]);
    assert_eq!(events[1]["tls"], 1);
    assert_eq!(world.sandbox.stats().webhook_failures, 1);
}

#[tokio::test]
async fn every_recipient_has_its_events_and_custom_arguments() {
    let mut receiver = receiver(0);
    let world = posting_to(&receiver, "none");
    let mut sent = mail("id-1");
    sent["personalizations"] = json!([
        {"to": [{"email": "a@example.com"}], "cc": [{"email": "b@example.com"}]},
        {"to": [{"email": "c@example.com"}], "custom_args": {"seat": "3"}},
    ]);
    world.send(&sent).await;
    let events = receiver.events(6).await;
    let emails: Vec<_> = events.iter().step_by(2).map(|event| event["email"].as_str().unwrap()).collect();
    assert_eq!(emails, ["a@example.com", "b@example.com", "c@example.com"]);
    assert_eq!((&events[0]["seat"], &events[4]["seat"]), (&Value::Null, &json!("3")));
}

#[tokio::test]
async fn bounces_blocks_drops_and_deferrals_are_told_as_sendgrid_does() {
    let mut receiver = receiver(0);
    let world = posting_to(&receiver, "bounce");
    world.send(&mail("a")).await;
    let events = receiver.events(2).await;
    assert_eq!(kinds(&events), ["processed", "bounce"]);
    assert_eq!((&events[1]["type"], &events[1]["status"]), (&json!("bounce"), &json!("5.1.1")));
    assert!(events[1]["reason"].as_str().unwrap().starts_with("550 5.1.1 "));

    world.sandbox.set_faults("bounce:type=blocked:status=5.7.1".parse().unwrap());
    world.send(&mail("b")).await;
    let events = receiver.events(2).await;
    assert_eq!((&events[1]["type"], &events[1]["status"]), (&json!("blocked"), &json!("5.7.1")));

    world.sandbox.set_faults("bounce:type=dropped".parse().unwrap());
    world.send(&mail("c")).await;
    let events = receiver.events(1).await;
    assert_eq!((kinds(&events), &events[0]["reason"]), (vec!["dropped"], &json!("Bounced Address")));

    world.sandbox.set_faults("defer".parse().unwrap());
    world.send(&mail("d")).await;
    let events = receiver.events(3).await;
    assert_eq!(kinds(&events), ["processed", "deferred", "delivered"]);
    assert_eq!(events[1]["attempt"], "1");
}

#[tokio::test]
async fn webhook_faults_repeat_reorder_drop_and_delay() {
    let mut receiver = receiver(0);
    let world = posting_to(&receiver, "webhook-duplicate");
    world.send(&mail("a")).await;
    let (first, again) = (receiver.next().await.1, receiver.next().await.1);
    assert_eq!(first, again);

    world.sandbox.set_faults("webhook-reorder".parse().unwrap());
    world.send(&mail("b")).await;
    assert_eq!(kinds(&receiver.events(2).await), ["delivered", "processed"]);

    // The second mail's events are the next that come: the first one's were dropped.
    world.sandbox.set_faults("webhook-drop:first=1".parse().unwrap());
    world.send(&mail("dropped")).await;
    world.send(&mail("kept")).await;
    assert!(receiver.events(2).await.iter().all(|event| event["kakitome_id"] == "kept"));

    world.sandbox.set_faults("webhook-delay:first=1:for=300ms".parse().unwrap());
    world.send(&mail("late")).await;
    world.send(&mail("early")).await;
    let events = receiver.events(2).await;
    assert!(events.iter().all(|event| event["kakitome_id"] == "early"));
    assert!(receiver.events(2).await.iter().all(|event| event["kakitome_id"] == "late"));
}

#[tokio::test]
async fn a_sandbox_that_ends_posts_what_is_due_first() {
    let mut receiver = receiver(0);
    let (trigger, shutdown) = shutdown::channel();
    let config = Config {
        listen: "127.0.0.1:0".parse().unwrap(),
        webhook_url: Some(format!("http://{}/hook", receiver.address)),
        webhook_flush_interval: Duration::from_secs(3600),
        ..Config::default()
    };
    let World { sandbox, client, _trigger } = world(Config::default());
    drop(sandbox);
    let sandbox = Sandbox::start(config, shutdown).unwrap();
    let request = client.post(sandbox.url() + "/v3/mail/send").bearer_auth("k");
    let request = request.header("Content-Type", "application/json").body(mail("a").to_string());
    assert_eq!(request.send().await.unwrap().status(), 202);
    trigger.pull();
    sandbox.stopped().await;
    assert_eq!(receiver.events(2).await.len(), 2);
}

#[tokio::test]
async fn the_key_pair_is_kept_in_its_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("webhook-key");
    let config = Config { webhook_key_file: Some(path.clone()), ..Config::default() };
    let first = world(config.clone()).sandbox.public_key().to_owned();
    assert_eq!(world(config).sandbox.public_key(), first);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
