//! A server that is killed again and again while it sends. Shared by the kill test and `make soak`.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed unwrap is the failed test")]
#![allow(clippy::print_stderr, reason = "what is missing is shown whole")]

use std::time::Duration;

use kakitome::sandbox::{self, Sandbox};
use kakitome::shutdown;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

use super::process::{KEY, Kakitome};

/// What the rounds ended in.
#[derive(Debug)]
#[allow(dead_code, reason = "every field is shown")]
pub struct Report {
    /// Notifications that got a 202 or a 200.
    pub accepted: usize,
    /// Of these, those that did not reach an end.
    pub missing: usize,
    /// Their records.
    pub left: Vec<Value>,
    /// Ends, by status.
    pub ends: std::collections::BTreeMap<String, usize>,
    /// Mails that the sandbox took.
    pub taken: u64,
    /// Mails that the sandbox took twice.
    pub duplicates: u64,
    /// Resends of unknowns, as the records tell.
    pub attempts_over_one: usize,
}

/// A server that sends through this sandbox, with everything that waits scaled down.
pub fn environment(sandbox: &Sandbox) -> Vec<(&'static str, String)> {
    // Everything is scaled down alike: the rule "hold > latest acceptance + webhook lag + skew" still holds, since
    // the sandbox accepts within its latency and its events come within seconds of each restart.
    [
        ("KAKITOME_PROVIDER", "sendgrid"),
        ("KAKITOME_SENDGRID_BASE_URL", &sandbox.url()),
        ("KAKITOME_SENDGRID_API_KEY", "SG.soak"),
        ("KAKITOME_SENDGRID_WEBHOOK_KEY", sandbox.public_key()),
        ("KAKITOME_WORKER_LEASE", "3s"),
        ("KAKITOME_WORKER_PROVIDER_TIMEOUT", "1s"),
        ("KAKITOME_WORKER_CONNECT_TIMEOUT", "1s"),
        ("KAKITOME_WORKER_HOLD", "6s"),
        ("KAKITOME_WORKER_WITNESS_MARGIN", "1s"),
        ("KAKITOME_WORKER_WITNESS_CAP", "20s"),
        ("KAKITOME_WORKER_WITNESS_POLL", "1s"),
        ("KAKITOME_QUEUE_VISIBILITY", "3s"),
    ]
    .map(|(name, value)| (name, value.to_owned()))
    .into()
}

/// A port that is free now. The server must come back on the same one, since events are posted there.
pub fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Half of `count` notifications wait already, the others are posted, while the server dies `rounds` times in the
/// middle of sending; then waits until every accepted one is at an end.
pub async fn soak(count: usize, rounds: usize, seed: u64) -> Report {
    let mut random = StdRng::seed_from_u64(seed);
    let port = free_port();
    let listen = format!("127.0.0.1:{port}");
    let (stop, stopped) = shutdown::channel();
    let sandbox = Sandbox::start(
        sandbox::Config {
            listen: ([127, 0, 0, 1], 0).into(),
            webhook_url: Some(format!("http://{listen}/webhooks/sendgrid")),
            webhook_flush_interval: Duration::from_millis(200),
            // Slow enough that every kill meets sends on the wire; and some mails are taken without an answer.
            latency: Duration::from_millis(60),
            faults: "timeout-after-accept=5%,reset-after-accept=5%".parse().unwrap(),
            seed,
            ..sandbox::Config::default()
        },
        stopped,
    )
    .unwrap();
    let dir = tempfile::tempdir().unwrap();
    let env = environment(&sandbox);
    let serve = |roles| Kakitome::start(dir.path(), &["serve", "--role", roles, "--listen", &listen], &env);
    let all = "api,worker,webhook";

    // Every request on a connection of its own: a kept one may belong to a server that is dead.
    let client = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0);
    let client = client.timeout(Duration::from_secs(5)).build().unwrap();
    let mut accepted = Vec::new();
    let server = serve("api");
    post_up_to(&client, &server.url, count / 2, &mut accepted).await;
    server.terminate();
    for round in 1..=rounds {
        let server = serve(all);
        let lives_for = Duration::from_millis(random.random_range(200..500));
        let share = count / 2 + (count - count / 2) * round / rounds;
        let posting = async {
            post_up_to(&client, &server.url, share, &mut accepted).await;
            std::future::pending::<()>().await
        };
        let _killed_meanwhile = tokio::time::timeout(lives_for, posting).await;
        server.kill();
    }
    sandbox.set_faults(sandbox::faults::Plan::default());
    let server = serve(all);
    post_up_to(&client, &server.url, count, &mut accepted).await;
    let (records, left) = wait_for_ends(&client, &server.url, &accepted).await;
    let (ended_well, log) = server.terminate();
    assert!(ended_well, "it did not drain: {log}");
    let report = report(&records, left, sandbox.stats());
    stop.pull();
    sandbox.stopped().await;
    report
}

/// Posts until so many are accepted. The same key again until it was answered: a lost answer, or a connection that
/// died with the former server, must neither lose a notification nor double it.
async fn post_up_to(client: &reqwest::Client, url: &str, count: usize, accepted: &mut Vec<String>) {
    while accepted.len() < count {
        accepted.extend(post(client, url, accepted.len()).await);
    }
}

async fn post(client: &reqwest::Client, url: &str, i: usize) -> Option<String> {
    let body = json!({
        "idempotency_key": format!("soak-{i}"),
        "from": {"email": "reserve@example.jp"},
        "to": [{"email": format!("guest{i}@example.com")}],
        "subject": "ご予約が確定しました",
        "text": "soak",
    });
    let request = client.post(format!("{url}/v1/notifications")).bearer_auth(KEY).body(body.to_string());
    let answer = request.send().await.ok()?;
    assert!(answer.status().is_success(), "{}", answer.status());
    let answer: Value = serde_json::from_slice(&answer.bytes().await.ok()?).ok()?;
    Some(answer["id"].as_str()?.to_owned())
}

/// Asks until every record is at an end, for as long as the waits that were configured can add up to.
/// Those that are, and the others.
async fn wait_for_ends(client: &reqwest::Client, url: &str, ids: &[String]) -> (Vec<Value>, Vec<Value>) {
    let mut ended: Vec<Value> = Vec::new();
    let mut open: Vec<&String> = ids.iter().collect();
    let patience = tokio::time::Instant::now() + Duration::from_secs(120);
    while !open.is_empty() && tokio::time::Instant::now() < patience {
        let mut still = Vec::new();
        for id in open {
            let record = record(client, url, id).await;
            let status = record["status"].as_str().unwrap_or_default();
            if matches!(status, "sent" | "failed" | "expired" | "cancelled" | "suppressed") {
                ended.push(record);
            } else {
                still.push(id);
            }
        }
        open = still;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let mut left = Vec::new();
    for id in open {
        left.push(record(client, url, id).await);
    }
    (ended, left)
}

async fn record(client: &reqwest::Client, url: &str, id: &str) -> Value {
    let answer = client.get(format!("{url}/v1/notifications/{id}")).bearer_auth(KEY).send().await.unwrap();
    serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap()
}

fn report(records: &[Value], left: Vec<Value>, stats: sandbox::Stats) -> Report {
    let mut ends = std::collections::BTreeMap::new();
    for record in records {
        *ends.entry(record["status"].as_str().unwrap_or_default().to_owned()).or_default() += 1;
    }
    let attempts_over_one =
        records.iter().filter(|record| record["attempts"].as_array().is_some_and(|a| a.len() > 1)).count();
    Report {
        accepted: records.len() + left.len(),
        missing: left.len(),
        left,
        ends,
        taken: stats.accepted,
        duplicates: stats.duplicates,
        attempts_over_one,
    }
}
