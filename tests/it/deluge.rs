//! A deluge of events against a running server, over HTTP alone: accepted, sent, told of by signed posts in no order and
//! more than once, while others go on handing in; in the end every record is compared with a fold of the test's own.
//! `make bench-events` plays it with a million.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed unwrap is the failed test")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use kakitome::background::Background;
use kakitome::clock::Timestamp;
use kakitome::notification::NotificationId;
use p256::ecdsa::signature::Signer;
use p256::ecdsa::{Signature, SigningKey};
use p256::pkcs8::EncodePublicKey;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::process::{KEY, Kakitome, http};

/// How much of it.
#[derive(Clone, Copy)]
pub struct Scale {
    /// Each is sent, and has four events.
    pub notifications: usize,
    pub connections: usize,
    pub events_per_post: usize,
    /// Handed in each second, before and during the deluge.
    pub accepts_per_second: u32,
    pub quiet: Duration,
}

/// What came of it.
#[allow(dead_code, reason = "the benches print them all, the test needs some")]
pub struct Figures {
    pub events: usize,
    /// From the first post to the last event folded.
    pub seconds: f64,
    /// Until the last post was answered.
    pub posted_seconds: f64,
    /// Of the server, all that it did meanwhile included.
    pub cpu_us_per_event: f64,
    /// Accepted, and sent, meanwhile.
    pub meanwhile: usize,
    /// Milliseconds: the median and the 99th of a hundred, quiet and meanwhile.
    pub quiet: (f64, f64),
    pub busy: (f64, f64),
    pub resident_mib: u64,
    pub commits: f64,
}

const TENANTS: [&str; 3] = ["inn-1", "inn-2", "inn-3"];
const PROVIDER: &str = "sendgrid";

fn tenant(i: usize) -> &'static str {
    TENANTS[i % TENANTS.len()]
}

fn id(i: usize) -> NotificationId {
    NotificationId::derived(tenant(i), &format!("deluge-{i}"))
}

fn notification(key: &str, tenant: &str, email: &str) -> Value {
    json!({
        "idempotency_key": key,
        "tenant": tenant,
        "from": {"email": "reserve@example.jp", "name": "予約センター"},
        "to": [{"email": email}],
        "subject": "ご予約が確定しました",
        "text": format!("{key} {}", "x".repeat(400)),
        "metadata": {"booking": key},
    })
}

fn email(i: usize) -> String {
    format!("guest{i}@example.com")
}

/// What the provider tells of one notification: kind, its type, seconds after the start. The fourth of a hundred comes
/// to a bad end.
fn story(i: usize) -> [(&'static str, Option<&'static str>, i64); 4] {
    let start = i64::try_from(i % 600).unwrap();
    let (third, fourth) = match i % 25 {
        3 => (("bounce", Some("bounce")), ("unsubscribe", None)),
        7 => (("bounce", Some("blocked")), ("deferred", None)),
        11 => (("delivered", None), ("spamreport", None)),
        _ => (("delivered", None), ("open", None)),
    };
    [
        ("processed", None, start),
        ("deferred", None, start + 2),
        (third.0, third.1, start + 5),
        (fourth.0, fourth.1, start + 9),
    ]
}

fn event(i: usize, step: usize, is_renumbered: bool, begun: i64) -> Value {
    let (kind, bounce_type, seconds) = story(i)[step];
    let lane: String = Sha256::digest(tenant(i)).iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    let renumbered = if is_renumbered { "again-" } else { "" };
    let mut event = json!({
        "email": email(i),
        "timestamp": begun + seconds,
        "event": kind,
        "sg_event_id": format!("{renumbered}ZGVsaXZlcmVkLTAtMjY3{i:08}{step}"),
        "sg_message_id": format!("{}.recvd-5f54b5d587-pczjm-1-67BADEEA-6.0", &id(i).to_string()[..22]),
        "smtp-id": format!("<{i}@ismtpd0039p1mdw1.sendgrid.net>"),
        "category": ["booking"],
        "response": "250 2.0.0 OK 1795251600 d2e1a72fcca58-84a8e2a1 - gsmtp",
        "tls": 1,
        "ip": "168.1.1.1",
        "kakitome_id": id(i),
        "kakitome_lane": lane,
    });
    if let Some(bounce_type) = bounce_type {
        event["type"] = json!(bounce_type);
    }
    event
}

/// A post, signed.
struct Post {
    body: String,
    timestamp: String,
    signature: String,
}

fn key() -> SigningKey {
    SigningKey::from_slice(&[7; 32]).unwrap()
}

/// Every event, a tenth of them twice, half of those under another number; in no order.
fn posts(scale: Scale, begun: i64) -> (Vec<Post>, usize) {
    let mut rng = StdRng::seed_from_u64(7);
    let mut plan: Vec<(usize, usize, bool)> = Vec::new();
    for i in 0..scale.notifications {
        for step in 0..4 {
            plan.push((i, step, false));
            if rng.random_range(0..10) == 0 {
                plan.push((i, step, rng.random_range(0..2) == 0));
            }
        }
    }
    plan.shuffle(&mut rng);
    let timestamp = (Timestamp::from_ms(now_ms()).as_ms() / 1000).to_string();
    let post = |chunk: &[(usize, usize, bool)]| {
        let events: Vec<Value> =
            chunk.iter().map(|(i, step, again)| event(*i, *step, *again, begun)).collect();
        let body = json!(events).to_string();
        let signature: Signature = key().sign(&[timestamp.as_bytes(), body.as_bytes()].concat());
        let signature = BASE64_STANDARD.encode(signature.to_der().as_bytes());
        Post { body, timestamp: timestamp.clone(), signature }
    };
    (plan.chunks(scale.events_per_post).map(post).collect(), plan.len())
}

fn now_ms() -> i64 {
    kakitome::clock::Clock::system().now().as_ms()
}

/// Plays it. Panics where a record is not as it must be.
pub async fn play(dir: &std::path::Path, scale: Scale) -> Figures {
    let sandbox = Kakitome::start(dir, &["sandbox", "--listen", "127.0.0.1:0"], &[]);
    let public = BASE64_STANDARD.encode(key().verifying_key().to_public_key_der().unwrap().as_bytes());
    let env = [
        ("KAKITOME_PROVIDER", PROVIDER.to_owned()),
        ("KAKITOME_SENDGRID_BASE_URL", sandbox.url.clone()),
        ("KAKITOME_SENDGRID_API_KEY", "SG.deluge".into()),
        ("KAKITOME_SENDGRID_WEBHOOK_KEY", public),
        ("KAKITOME_LOG", "warn".into()),
    ];
    let server = Kakitome::start(dir, &["serve"], &env);
    hand_in(&server.url, scale.notifications).await;
    until(|| async { sent(&server.url).await >= scale.notifications }, "all are sent").await;

    let begun = now_ms() / 1000 - 3600;
    let (posts, events) = posts(scale, begun);
    let quiet = Accepts::start(&server.url, "quiet", scale.accepts_per_second);
    tokio::time::sleep(scale.quiet).await;
    let quiet = quiet.end().await;

    let (cpu, _) = server.cost();
    let commits = metric(&server.url, "kakitome_storage_commits_total").await;
    let busy = Accepts::start(&server.url, "busy", scale.accepts_per_second);
    let start = Instant::now();
    pour(&server.url, posts, scale.connections).await;
    let posted_seconds = start.elapsed().as_secs_f64();
    let distinct = 4.0 * scale.notifications as f64;
    let folded = || async { metric(&server.url, "kakitome_events_total").await >= distinct };
    until(folded, "all are folded").await;
    let seconds = start.elapsed().as_secs_f64();
    let (cpu_after, resident_kib) = server.cost();
    let commits = metric(&server.url, "kakitome_storage_commits_total").await - commits;
    let busy = busy.end().await;

    let meanwhile = quiet.len() + busy.len();
    let all = scale.notifications + meanwhile;
    until(|| async { sent(&server.url).await >= all }, "what came meanwhile is sent").await;
    assert_eq!(metric(&server.url, "kakitome_events_total").await, distinct, "none is counted twice");
    let wrong = compare(&server.url, scale, begun).await;
    assert!(wrong.is_empty(), "{} records are not as they must be:\n{}", wrong.len(), wrong[0]);
    Figures {
        events,
        seconds,
        posted_seconds,
        cpu_us_per_event: (cpu_after - cpu) as f64 / events as f64,
        meanwhile: busy.len(),
        quiet: (percentile(&quiet, 0.5), percentile(&quiet, 0.99)),
        busy: (percentile(&busy, 0.5), percentile(&busy, 0.99)),
        resident_mib: resident_kib / 1024,
        commits,
    }
}

async fn hand_in(url: &str, count: usize) {
    let client = http();
    let all: Vec<usize> = (0..count).collect();
    for chunk in all.chunks(1000) {
        let line =
            |i: &usize| notification(&format!("deluge-{i}"), tenant(*i), &email(*i)).to_string() + "\n";
        let body: String = chunk.iter().map(line).collect();
        let request = client.post(format!("{url}/v1/notifications/batch")).bearer_auth(KEY);
        let answer = request.header("content-type", "application/x-ndjson").body(body).send().await.unwrap();
        assert_eq!(answer.status(), 207);
        assert_eq!(answer.text().await.unwrap().matches("\"duplicate\":false").count(), chunk.len());
    }
}

/// Hands in at a steady pace, and takes the time of each answer: on a thread of its own, so that nothing but the server
/// shows in it.
struct Accepts {
    is_over: Arc<AtomicBool>,
    poster: std::thread::JoinHandle<Vec<f64>>,
}

impl Accepts {
    fn start(url: &str, run: &'static str, per_second: u32) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let (over, url) = (is_over.clone(), format!("{url}/v1/notifications"));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let poster = std::thread::spawn(move || runtime.block_on(hand_in_at(url, run, per_second, over)));
        Self { is_over, poster }
    }

    async fn end(self) -> Vec<f64> {
        self.is_over.store(true, Ordering::Relaxed);
        tokio::task::spawn_blocking(|| self.poster.join().unwrap()).await.unwrap()
    }
}

/// Milliseconds until each answer, shortest first.
async fn hand_in_at(url: String, run: &str, per_second: u32, is_over: Arc<AtomicBool>) -> Vec<f64> {
    let client = http();
    let mut pace = tokio::time::interval(Duration::from_secs(1) / per_second);
    let mut asked = tokio::task::JoinSet::new();
    for i in 0.. {
        pace.tick().await;
        if is_over.load(Ordering::Relaxed) {
            break;
        }
        let body = notification(&format!("{run}-{i}"), "inn-9", &format!("other{run}{i}@example.com"));
        let (client, url) = (client.clone(), url.clone());
        asked.spawn(async move {
            let begun = Instant::now();
            let answer = client.post(&url).bearer_auth(KEY).body(body.to_string()).send().await.unwrap();
            assert_eq!(answer.status(), 202);
            answer.bytes().await.unwrap();
            begun.elapsed().as_secs_f64() * 1000.0
        });
    }
    let mut times = asked.join_all().await;
    times.sort_by(f64::total_cmp);
    times
}

/// As the provider posts: many at once, and again what was not taken. It takes what the server leaves of the processors:
/// elsewhere it has its own.
async fn pour(url: &str, posts: Vec<Post>, connections: usize) {
    let posts = Arc::new(Mutex::new(posts));
    let client = http();
    let refused = Arc::new(AtomicUsize::new(0));
    let elsewhere = Background::start().unwrap();
    let mut pourers = Vec::new();
    for _ in 0..connections {
        let (posts, client, refused) = (posts.clone(), client.clone(), refused.clone());
        let url = format!("{url}/webhooks/sendgrid");
        pourers.push(elsewhere.spawn(async move {
            loop {
                let Some(post) = posts.lock().unwrap().pop() else { return };
                loop {
                    let request = client
                        .post(&url)
                        .header("x-twilio-email-event-webhook-signature", &post.signature)
                        .header("x-twilio-email-event-webhook-timestamp", &post.timestamp);
                    let answer = request.body(post.body.clone()).send().await.unwrap();
                    match answer.status().as_u16() {
                        200..=299 => break,
                        429 | 503 => {
                            refused.fetch_add(1, Ordering::Relaxed);
                            tokio::time::sleep(Duration::from_millis(500)).await;
                        }
                        other => panic!("{other}: {}", answer.text().await.unwrap()),
                    }
                }
            }
        }));
    }
    for pourer in pourers {
        pourer.await.unwrap();
    }
}

/// The fold of the test's own: what must be known of notification `i`'s recipient, and its events.
fn expected(i: usize, begun: i64) -> (&'static str, i64, BTreeSet<(String, i64)>) {
    const RANKS: [&str; 5] = ["processed", "deferred", "delivered", "blocked", "bounced"];
    let name = |kind: &str, bounce_type: Option<&str>| match (kind, bounce_type) {
        ("bounce", Some("blocked")) => "blocked",
        ("bounce", _) => "bounced",
        ("open", _) => "opened",
        ("spamreport", _) => "complained",
        ("unsubscribe", _) => "unsubscribed",
        ("processed", _) => "processed",
        ("deferred", _) => "deferred",
        _ => "delivered",
    };
    let told: BTreeSet<(String, i64)> = story(i)
        .into_iter()
        .map(|(kind, bounce_type, seconds)| (name(kind, bounce_type).to_owned(), (begun + seconds) * 1000))
        .collect();
    let rank = |kind: &str| {
        if kind == "complained" { Some(RANKS.len()) } else { RANKS.iter().position(|known| *known == kind) }
    };
    let (highest, since) = told
        .iter()
        .filter_map(|(kind, at)| Some((rank(kind)?, *at)))
        .max_by_key(|(rank, at)| (*rank, -*at))
        .unwrap();
    (RANKS.get(highest).copied().unwrap_or("complained"), since, told)
}

/// What is not as it must be.
async fn compare(url: &str, scale: Scale, begun: i64) -> Vec<String> {
    let wanted: BTreeMap<String, usize> = (0..scale.notifications).map(|i| (id(i).to_string(), i)).collect();
    let client = http();
    let (mut cursor, mut seen, mut wrong) = (None::<String>, BTreeSet::new(), Vec::new());
    loop {
        let behind = cursor.as_ref().map_or_else(String::new, |cursor| format!("&cursor={cursor}"));
        let request = client.get(format!("{url}/v1/notifications?limit=1000{behind}")).bearer_auth(KEY);
        let page: Value =
            serde_json::from_slice(&request.send().await.unwrap().bytes().await.unwrap()).unwrap();
        for record in page["items"].as_array().unwrap() {
            let Some(i) = wanted.get(record["id"].as_str().unwrap()) else { continue };
            seen.insert(*i);
            let (status, since, events) = expected(*i, begun);
            let at = |value: &Value| Timestamp::parse(value.as_str().unwrap()).unwrap().as_ms();
            let recipient = &record["recipients"][0];
            let told: Vec<(String, i64)> = record["events"]
                .as_array()
                .unwrap()
                .iter()
                .map(|event| (event["kind"].as_str().unwrap().to_owned(), at(&event["at"])))
                .collect();
            let is_right = recipient["status"] == status
                && at(&recipient["since"]) == since
                && told.len() == events.len()
                && told.into_iter().collect::<BTreeSet<_>>() == events
                && record["status"] == "sent";
            if !is_right {
                wrong.push(format!("{status} since {since} with {events:?} is told as {record:#}"));
            }
        }
        match page["next_cursor"].as_str() {
            Some(next) => cursor = Some(next.to_owned()),
            None => break,
        }
    }
    if seen.len() != scale.notifications {
        wrong.push(format!("{} of {} records are there", seen.len(), scale.notifications));
    }
    wrong
}

async fn sent(url: &str) -> usize {
    let answer = http().get(format!("{url}/v1/status")).bearer_auth(KEY).send().await.unwrap();
    let stand: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
    usize::try_from(stand["by_status"]["sent"].as_u64().unwrap()).unwrap()
}

async fn metric(url: &str, name: &str) -> f64 {
    let text = http().get(format!("{url}/metrics")).send().await.unwrap().text().await.unwrap();
    let values = text.lines().filter(|line| line.starts_with(name) && !line.starts_with(&format!("{name}_")));
    values.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

/// Polls, with the patience that a million takes on a slow machine.
async fn until<F: Future<Output = bool>>(is_so: impl Fn() -> F, what: &str) {
    let begun = Instant::now();
    while !is_so().await {
        assert!(begun.elapsed() < Duration::from_secs(1_200), "not in twenty minutes: {what}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn percentile(sorted: &[f64], share: f64) -> f64 {
    let place = ((sorted.len() as f64 * share) as usize).min(sorted.len().saturating_sub(1));
    sorted.get(place).copied().unwrap_or(0.0)
}
