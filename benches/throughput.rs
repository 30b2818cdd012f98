//! `make bench`: what the whole program does on this machine, as processes of their own on loopback, SQLite durable
//! (`synchronous=FULL`). Prints figures; timing decides nothing.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a bench prints and may fail loudly"
)]
#![allow(missing_docs, reason = "a program, not a library")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

#[path = "../tests/it/backend.rs"]
#[allow(dead_code, reason = "each of those who share it needs a part of it")]
mod backend;
#[path = "../tests/it/emulator.rs"]
#[allow(dead_code, reason = "each of those who share it needs a part of it")]
mod emulator;
#[path = "../tests/it/process.rs"]
mod process;
use process::{KEY, Kakitome, http};

const WAITING: usize = 200_000;
const SINGLES: usize = 20_000;
const SENDS: usize = 60_000;
const TRACKED: usize = 20_000;

fn notification(i: usize, run: &str) -> Value {
    json!({
        "idempotency_key": format!("{run}-{i}"),
        "from": {"email": "reserve@example.jp", "name": "予約センター"},
        "to": [{"email": format!("guest{i}@example.com"), "name": "山田 太郎"}],
        "subject": "ご予約が確定しました",
        // Several runs reach the same guests; each says something of its own.
        "text": format!("{run} {}", "x".repeat(800)),
        "html": "y".repeat(900),
        "categories": ["booking"],
        "metadata": {"booking": i.to_string()},
    })
}

/// Posts `count` notifications in batches of 1,000 over four connections; the seconds it took.
async fn post_batches(url: &str, count: usize, run: &str) -> f64 {
    let bodies: Vec<String> = (0..count / 1000)
        .map(|b| (0..1000).map(|i| notification(b * 1000 + i, run).to_string() + "\n").collect())
        .collect();
    let bodies = Arc::new(std::sync::Mutex::new(bodies));
    let client = http();
    let start = Instant::now();
    let mut posters = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let (bodies, client, url) = (bodies.clone(), client.clone(), format!("{url}/v1/notifications/batch"));
        posters.spawn(async move {
            loop {
                let Some(body) = bodies.lock().unwrap().pop() else { return };
                let request =
                    client.post(&url).bearer_auth(KEY).header("content-type", "application/x-ndjson");
                let answer = request.body(body).send().await.unwrap();
                assert_eq!(answer.status(), 207);
                let text = answer.text().await.unwrap();
                assert_eq!(text.matches("\"duplicate\":false").count(), 1000);
            }
        });
    }
    while let Some(done) = posters.join_next().await {
        done.unwrap();
    }
    start.elapsed().as_secs_f64()
}

/// Posts `count` notifications singly over 64 connections; the seconds it took and each answer's time in ms.
async fn post_singly(url: &str, count: usize, run: &'static str, connections: usize) -> (f64, Vec<f64>) {
    let next = Arc::new(AtomicUsize::new(0));
    let client = http();
    let start = Instant::now();
    let mut posters = tokio::task::JoinSet::new();
    for _ in 0..connections {
        let (next, client, url) = (next.clone(), client.clone(), format!("{url}/v1/notifications"));
        posters.spawn(async move {
            let mut times = Vec::new();
            loop {
                let i = next.fetch_add(1, Ordering::Relaxed);
                if i >= count {
                    return times;
                }
                let body = notification(i, run).to_string();
                let asked = Instant::now();
                let answer = client.post(&url).bearer_auth(KEY).body(body).send().await.unwrap();
                assert_eq!(answer.status(), 202);
                times.push(asked.elapsed().as_secs_f64() * 1000.0);
            }
        });
    }
    let mut times = Vec::new();
    while let Some(done) = posters.join_next().await {
        times.extend(done.unwrap());
    }
    times.sort_by(f64::total_cmp);
    (start.elapsed().as_secs_f64(), times)
}

async fn metric(url: &str, name: &str) -> f64 {
    let text = http().get(format!("{url}/metrics")).send().await.unwrap().text().await.unwrap();
    text.lines()
        .filter(|l| l.starts_with(name))
        .filter_map(|l| l.rsplit(' ').next()?.parse::<f64>().ok())
        .sum()
}

async fn accepted_by(sandbox: &str) -> (usize, usize) {
    let stats = http().get(format!("{sandbox}/sandbox/stats")).send().await.unwrap().text().await.unwrap();
    let stats: Value = serde_json::from_str(&stats).unwrap();
    (stats["accepted"].as_u64().unwrap() as usize, stats["duplicates"].as_u64().unwrap() as usize)
}

fn percentile(sorted: &[f64], share: f64) -> f64 {
    sorted
        .get(((sorted.len() as f64 * share) as usize).min(sorted.len().saturating_sub(1)))
        .copied()
        .unwrap_or(0.0)
}

fn row(name: &str, figure: String, goal: &str) {
    println!("{name:<58} {figure:>14}   {goal}");
}

fn environment(sandbox: &Kakitome) -> Vec<(&'static str, String)> {
    vec![
        ("KAKITOME_PROVIDER", "sendgrid".into()),
        ("KAKITOME_SENDGRID_BASE_URL", sandbox.url.clone()),
        ("KAKITOME_SENDGRID_API_KEY", "SG.bench".into()),
        ("KAKITOME_SENDGRID_WEBHOOK_INSECURE", "true".into()),
        ("KAKITOME_LOG", "warn".into()),
    ]
}

async fn accepts(sandbox: &Kakitome) -> f64 {
    let dir = tempfile::tempdir().unwrap();
    let server = Kakitome::start(dir.path(), &["serve", "--role", "api"], &environment(sandbox));
    let (cpu, _) = server.cost();
    let seconds = post_batches(&server.url, WAITING, "wait").await;
    let (cpu_after, rss) = server.cost();
    row("accepts/s through /batch, 4 connections", format!("{:.0}", WAITING as f64 / seconds), ">= 10,000");
    let cpu_each = (cpu_after - cpu) as f64 / WAITING as f64;
    row("  CPU per accept", format!("{cpu_each:.1} us"), "");
    row("resident with 200,000 waiting", format!("{} MiB", rss / 1024), "< 150 MB");
    let (seconds, times) = post_singly(&server.url, SINGLES, "single", 64).await;
    row("accepts/s singly, 64 connections", format!("{:.0}", SINGLES as f64 / seconds), ">= 2,500");
    row("  p50 / p99", format!("{:.1} / {:.1} ms", percentile(&times, 0.5), percentile(&times, 0.99)), "");
    cpu_each
}

async fn sends(sandbox: &Kakitome, cpu_per_accept: f64) {
    let dir = tempfile::tempdir().unwrap();
    let env = environment(sandbox);
    let server = Kakitome::start(dir.path(), &["serve", "--role", "api"], &env);
    post_batches(&server.url, SENDS, "send").await;
    drop(server);
    let (before, _) = accepted_by(&sandbox.url).await;
    let server = Kakitome::start(dir.path(), &["serve"], &env);
    let target = before + SENDS;
    // The first seconds go to the slow start of the concurrency: the rate is taken over the last three quarters.
    let mut quarter = None;
    let (cpu_start, _) = server.cost();
    loop {
        let (accepted, _) = accepted_by(&sandbox.url).await;
        if quarter.is_none() && accepted >= before + SENDS / 4 {
            let commits = metric(&server.url, "kakitome_storage_commits_total").await;
            quarter = Some((Instant::now(), accepted, server.cost().0, commits));
        }
        if accepted >= target {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let (since, at, cpu, commits) = quarter.expect("a quarter comes before the end");
    let sent = (target - at) as f64;
    let rate = sent / since.elapsed().as_secs_f64();
    let cpu_each = (server.cost().0 - cpu) as f64 / sent;
    let fsyncs = (metric(&server.url, "kakitome_storage_commits_total").await - commits) / sent;
    row("sends/s, sandbox at zero latency, events off", format!("{rate:.0}"), ">= 4,000");
    row("  CPU per send (receive, claim, send, outcome, delete)", format!("{cpu_each:.1} us"), "");
    let whole = cpu_per_accept + cpu_each;
    row("  CPU per notification, accept to delete", format!("{whole:.1} us"), "bare loop: about 35 us");
    row("  commits (fsync) per notification", format!("{fsyncs:.4}"), "<= 0.05");
    let all = (server.cost().0 - cpu_start) as f64 / SENDS as f64;
    row("  CPU per send over the whole run", format!("{all:.1} us"), "");
    let (_, duplicates) = accepted_by(&sandbox.url).await;
    row("  duplicates", duplicates.to_string(), "0");
    drop(server);

    let server = Kakitome::start(dir.path(), &["serve", "--role", "api"], &env);
    post_batches(&server.url, SENDS, "busy").await;
    drop(server);
    let server = Kakitome::start(dir.path(), &["serve"], &env);
    let (_, times) = post_singly(&server.url, 4_000, "meanwhile", 8).await;
    row("accept p99 while sending, 8 connections", format!("{:.1} ms", percentile(&times, 0.99)), "< 50 ms");
}

/// The same with signed events coming back: two for each mail, verified, recorded and folded.
async fn sends_with_events() {
    let dir = tempfile::tempdir().unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let events = format!("http://127.0.0.1:{port}/webhooks/sendgrid");
    let sandbox =
        Kakitome::start(dir.path(), &["sandbox", "--listen", "127.0.0.1:0", "--webhook-url", &events], &[]);
    let key = http().get(format!("{}/sandbox/webhook-key", sandbox.url)).send().await.unwrap();
    let mut env = environment(&sandbox);
    env.push(("KAKITOME_SENDGRID_WEBHOOK_KEY", key.text().await.unwrap()));
    env.retain(|(name, _)| *name != "KAKITOME_SENDGRID_WEBHOOK_INSECURE");
    let server = Kakitome::start(dir.path(), &["serve", "--role", "api"], &env);
    post_batches(&server.url, TRACKED, "tracked").await;
    drop(server);
    let server = Kakitome::start(dir.path(), &["serve", "--listen", &format!("127.0.0.1:{port}")], &env);
    let (begun, cpu) = (Instant::now(), server.cost().0);
    while metric(&server.url, "kakitome_events_total").await < 2.0 * TRACKED as f64 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let seconds = begun.elapsed().as_secs_f64();
    let cpu_each = (server.cost().0 - cpu) as f64 / TRACKED as f64;
    row("sent and tracked/s, two signed events each", format!("{:.0}", TRACKED as f64 / seconds), "");
    row("  CPU per send and its two events", format!("{cpu_each:.1} us"), "");
}

#[tokio::main]
async fn main() {
    if !process::is_bench() {
        println!("measures an optimised build: `make bench` runs it");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let sandbox = Kakitome::start(dir.path(), &["sandbox", "--listen", "127.0.0.1:0"], &[]);
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    println!("dist build, {cores} cores, loopback, 2 KB notifications, synchronous=FULL\n");
    row("figure", "measured".into(), "goal");
    let cpu_per_accept = accepts(&sandbox).await;
    sends(&sandbox, cpu_per_accept).await;
    drop(sandbox);
    sends_with_events().await;
}
