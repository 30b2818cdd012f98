//! `make bench-events`: a million signed events, shuffled, a tenth of them repeated, posted over 32 connections while
//! others hand in and the worker sends; every record is compared in the end. `ARGS=fold`: the log's part alone.
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
        lane: None,
        detail: detail.as_object().cloned().unwrap(),
    }
}

/// Records so many notifications that a provider took; their ids.
async fn sent(log: &SqliteLog, count: usize) -> Vec<NotificationId> {
    let mut ids = Vec::new();
    for chunk in (0..count).collect::<Vec<_>>().chunks(1000) {
        let new: Vec<_> = chunk
            .iter()
            .map(|i| NewNotification::of(NotificationId::fresh(), Arc::new(notification(*i)), start()))
            .collect();
        log.accept(&new).await.into_iter().for_each(|answer| assert!(answer.is_ok()));
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
        log.claim(&claims, start()).await.into_iter().for_each(|answer| assert!(answer.is_ok()));
        let facts: Vec<_> = chunk
            .iter()
            .zip(&new)
            .map(|(i, n)| {
                let message_id = Some(format!("m{i}"));
                (n.id, Fact::Accepted { provider: "sendgrid".into(), message_id, http_status: Some(202) })
            })
            .collect();
        log.apply(&facts, start()).await.into_iter().for_each(|answer| assert!(answer.is_ok()));
        ids.extend(new.iter().map(|n| n.id));
    }
    ids
}

async fn fold(count: usize, per_call: usize) {
    let home = tempfile::tempdir_in(std::env::var("BENCH_DIR").unwrap_or_else(|_| ".".into())).unwrap();
    let engine = Engine::open(home.path(), Config::default()).unwrap();
    let log = SqliteLog::new(engine.clone());
    let ids = sent(&log, count).await;
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

#[path = "../tests/it/backend.rs"]
#[allow(dead_code, reason = "each of those who share it needs a part of it")]
mod backend;
#[path = "../tests/it/deluge.rs"]
mod deluge;
#[path = "../tests/it/emulator.rs"]
#[allow(dead_code, reason = "each of those who share it needs a part of it")]
mod emulator;
#[path = "../tests/it/process.rs"]
mod process;

/// Four events each, and a tenth of them again: a million.
const NOTIFICATIONS: usize = 228_000;

async fn pour(notifications: usize) {
    let dir = tempfile::tempdir_in(std::env::var("BENCH_DIR").unwrap_or_else(|_| "target".into())).unwrap();
    let scale = deluge::Scale {
        notifications,
        connections: 32,
        events_per_post: 500,
        accepts_per_second: 160,
        quiet: Duration::from_secs(20),
    };
    let figures = deluge::play(dir.path(), scale).await;
    let row = |name: &str, figure: String, goal: &str| println!("{name:<58} {figure:>20}   {goal}");
    row("events folded/s", format!("{:.0}", figures.events as f64 / figures.seconds), ">= 20,000");
    row("  events, all right in the end", figures.events.to_string(), "");
    row("  posts answered after", format!("{:.1} s", figures.posted_seconds), "");
    row("  all folded after", format!("{:.1} s", figures.seconds), "");
    row("  CPU of the server per event", format!("{:.1} us", figures.cpu_us_per_event), "");
    row("  commits per 1,000 events", format!("{:.1}", figures.commits * 1000.0 / figures.events as f64), "");
    row("  resident", format!("{} MiB", figures.resident_mib), "");
    row("accepted and sent meanwhile", figures.meanwhile.to_string(), ">= 5,000");
    let show = |(median, high): (f64, f64)| format!("{median:.1} / {high:.1} ms");
    row("  accept p50 / p99, quiet", show(figures.quiet), "");
    row("  accept p50 / p99, meanwhile", show(figures.busy), "p99 within twice the quiet one");
    row("  p99 ratio", format!("{:.2}", figures.busy.1 / figures.quiet.1), "<= 2");
}

#[tokio::main]
async fn main() {
    if !process::is_bench() {
        println!("measures an optimised build: `make bench-events` runs it");
        return;
    }
    let asked: Vec<String> = std::env::args().skip(1).filter(|one| one != "--bench").collect();
    if asked.first().is_some_and(|one| one == "fold") {
        let count = asked.get(1).and_then(|n| n.parse().ok()).unwrap_or(50_000);
        let calls = asked.get(2).and_then(|n| n.parse().ok()).unwrap_or(4_000);
        fold(count, calls).await;
    } else {
        pour(asked.first().and_then(|n| n.parse().ok()).unwrap_or(NOTIFICATIONS)).await;
    }
}
