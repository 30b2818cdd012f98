//! What events cost: the log's part alone (`-- fold`).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a bench prints and may fail loudly"
)]
#![allow(missing_docs, reason = "a program, not a library")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use kakitome::clock::Timestamp;
use kakitome::message_log::sqlite::SqliteLog;
use kakitome::message_log::{ClaimRequest, Hint, MessageLog, NewNotification, Recorded};
use kakitome::notification::status::{AttemptLimits, Fact, Token};
use kakitome::notification::{Notification, NotificationId};
use kakitome::provider::{EventKind, ProviderEvent};
use kakitome::sqlite::{Config, Engine};
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

fn start() -> Timestamp {
    Timestamp::from_ms(1_800_000_000_000)
}

fn cpu_us() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<_> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    (fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()) * 10_000
}

fn written_bytes() -> u64 {
    let io = std::fs::read_to_string("/proc/self/io").unwrap_or_default();
    io.lines().find_map(|l| l.strip_prefix("wchar: ")).and_then(|n| n.parse().ok()).unwrap_or(0)
}

fn notification(i: usize) -> Notification {
    serde_json::from_value(json!({
        "tenant": "default",
        "from": {"email": "reserve@example.jp"},
        "to": [{"email": format!("guest{i}@example.com"), "name": "山田 太郎"}],
        "subject": "ご予約が確定しました",
        "text": "x".repeat(500),
        "metadata": {"booking": i.to_string()},
        "priority": "transactional", "on_unknown": "resend",
    }))
    .unwrap()
}

fn event(i: usize, id: NotificationId, kind: EventKind, step: u64) -> ProviderEvent {
    let detail: Value = json!({"smtp-id": "<14c5d75ce93.dfd.64b469@ismtpd-555>", "category": ["booking"],
        "response": "250 2.0.0 OK 1795251600 d2e1a72fcca58-84a8e2a1 gsmtp", "ip": "168.1.1.1", "tls": 1,
        "sg_message_id": format!("m{i}.recvd-5f54b5d587-pczjm-1-67BADEEA-6.0")});
    ProviderEvent {
        provider: "sendgrid".into(),
        id: Some(id),
        provider_message_id: Some(format!("m{i}")),
        event_id: Some(format!("ZGVsaXZlcmVkLTAtMTIzNDU2{i:08}{step}")),
        kind,
        at: start().plus(Duration::from_secs(1 + step)),
        recipient: Some(
            kakitome::notification::address::Address::parse(&format!("guest{i}@example.com")).unwrap(),
        ),
        machine: false,
        detail: detail.as_object().cloned().unwrap(),
    }
}

async fn fold(count: usize, per_call: usize) {
    let home = tempfile::tempdir_in(std::env::var("BENCH_DIR").unwrap_or_else(|_| ".".into())).unwrap();
    let engine = Engine::open(home.path(), Config::default()).unwrap();
    let log = SqliteLog::new(engine.clone());
    let mut ids = Vec::new();
    for chunk in (0..count).collect::<Vec<_>>().chunks(1000) {
        let new: Vec<_> = chunk
            .iter()
            .map(|i| NewNotification::of(NotificationId::fresh(), Arc::new(notification(*i)), start()))
            .collect();
        log.accept(&new).await.into_iter().for_each(|r| drop(r.unwrap()));
        let token = Token::fresh();
        let claims: Vec<_> = new
            .iter()
            .map(|n| ClaimRequest {
                id: n.id,
                fact: Fact::Claimed {
                    token,
                    provider: "sendgrid".into(),
                    lease_until: start().plus(Duration::from_secs(30)),
                    hold_until: start().plus(Duration::from_secs(600)),
                    resend_of: None,
                    limits: AttemptLimits { attempts: 12, unknown_resends: 2 },
                },
                content: None,
                hint: Hint::None,
            })
            .collect();
        log.claim(&claims, start()).await.into_iter().for_each(|r| drop(r.unwrap()));
        let facts: Vec<_> = chunk
            .iter()
            .zip(&new)
            .map(|(i, n)| {
                let message_id = Some(format!("m{i}"));
                (n.id, Fact::Accepted { provider: "sendgrid".into(), message_id, http_status: Some(202) })
            })
            .collect();
        log.apply(&facts, start()).await.into_iter().for_each(|r| drop(r.unwrap()));
        ids.extend(new.iter().map(|n| n.id));
    }
    let kinds = [EventKind::Processed, EventKind::Deferred, EventKind::Delivered, EventKind::Opened];
    let mut rng = StdRng::seed_from_u64(7);
    let mut plan: Vec<(usize, usize)> = Vec::new();
    for i in 0..count {
        for step in 0..kinds.len() {
            plan.push((i, step));
            if rng.random_range(0..10) == 0 {
                plan.push((i, step));
            }
        }
    }
    plan.shuffle(&mut rng);
    let (mut folded, mut repeats, mut seconds, mut cpu) = (0, 0, 0.0, 0);
    let (commits, bytes) = (engine.commits(), written_bytes());
    for chunk in plan.chunks(per_call) {
        let events: Vec<_> =
            chunk.iter().map(|(i, step)| event(*i, ids[*i], kinds[*step].clone(), *step as u64)).collect();
        let (begun, cpu_before) = (Instant::now(), cpu_us());
        let results = log.record_events(&events, start().plus(Duration::from_secs(60))).await;
        seconds += begun.elapsed().as_secs_f64();
        cpu += cpu_us() - cpu_before;
        for result in results {
            match result.unwrap() {
                Recorded::Folded { .. } => folded += 1,
                Recorded::Repeat { .. } => repeats += 1,
                Recorded::Unmatched => panic!("it matches"),
            }
        }
    }
    let events = plan.len() as f64;
    println!(
        "{count} notifications, {} events ({folded} folded, {repeats} repeats), {per_call} a call: {:.0}/s, \
         {:.1} us CPU, {:.0} bytes written, {} commits",
        plan.len(),
        events / seconds,
        cpu as f64 / events,
        (written_bytes() - bytes) as f64 / events,
        engine.commits() - commits,
    );
    assert_eq!(folded, count * kinds.len());
}

#[tokio::main]
async fn main() {
    let count = std::env::var("FOLD_COUNT").ok().and_then(|n| n.parse().ok()).unwrap_or(50_000);
    for per_call in std::env::var("FOLD_CALLS").unwrap_or_else(|_| "500".into()).split(',') {
        fold(count, per_call.parse().unwrap()).await;
    }
}
