//! Dead letters that are redriven while the server is killed again and again. Shared by the test and `make soak`.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed unwrap is the failed test")]

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use kakitome::clock::Clock;
use kakitome::message_log::sqlite::SqliteLog;
use kakitome::message_log::{Acceptance, Applied, MessageLog, NewNotification};
use kakitome::notification::NotificationId;
use kakitome::notification::content::{self, Limits};
use kakitome::notification::status::Fact;
use kakitome::sandbox::{self, Sandbox, Stats};
use kakitome::shutdown;
use kakitome::sqlite::{Config, Engine};
use serde_json::{Value, json};

use super::backend;
use super::killing::{environment, free_port};
use super::process::{KEY, Kakitome};

/// How long the last outcomes may take after the last kill.
const PATIENCE: Duration = Duration::from_secs(180);

/// What became of it.
#[derive(Debug)]
#[allow(dead_code, reason = "every field is shown")]
pub struct Report {
    /// How often the server was killed.
    pub kills: usize,
    /// The job as the journal has it in the end.
    pub job: Value,
    /// All jobs that the journal has.
    pub jobs: usize,
    /// By the sandbox's own count.
    pub stats: Stats,
    /// From the first redrive to the last dead letter's, kills and restarts included.
    pub took: Duration,
    /// The same until the last outcome was known.
    pub took_until_known: Duration,
}

/// Redrives `count` dead letters with the real program, and kills the server `lives_for` after each of its starts until
/// all are on their way.
pub async fn redrive_and_kill(count: usize, lives_for: Duration) -> Report {
    let dir = tempfile::tempdir().unwrap();
    bury(&dir.path().join("data"), count).await;
    let listen = format!("127.0.0.1:{}", free_port());
    let (stop, stopped) = shutdown::channel();
    let config = sandbox::Config {
        listen: ([127, 0, 0, 1], 0).into(),
        webhook_url: Some(format!("http://{listen}/webhooks/sendgrid")),
        webhook_flush_interval: Duration::from_millis(200),
        ..sandbox::Config::default()
    };
    let sandbox = Sandbox::start(config, stopped).unwrap();
    let env = environment(&sandbox);
    let serve = || Kakitome::start(dir.path(), &["serve", "--listen", &listen], &env);
    let client = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0);
    let client = client.timeout(Duration::from_secs(5)).build().unwrap();

    let (mut kills, mut commands) = (0, Vec::new());
    let mut server = serve();
    let began = Instant::now();
    let note = "kill me if you can";
    commands.push(command(dir.path(), &server.url, &["redrive", "--yes", "--note", note]));
    let id = first_job(&client, &server.url).await;
    let took = loop {
        let dies_at = Instant::now() + lives_for;
        let mut job = job(&client, &server.url, &id).await;
        while is_active(&job) && Instant::now() < dies_at {
            tokio::time::sleep(Duration::from_millis(20)).await;
            job = self::job(&client, &server.url, &id).await;
        }
        if !is_active(&job) {
            break began.elapsed();
        }
        server.kill();
        kills += 1;
        server = serve();
        let left = self::job(&client, &server.url, &id).await;
        assert!(left["state"] != "running", "it went on by itself: {left:#}");
        commands.push(command(dir.path(), &server.url, &["redrive", "--resume", &id]));
        resumed(&client, &server.url, &id).await;
    };
    let job = loop {
        let job = job(&client, &server.url, &id).await;
        if job["state"] == "done" || began.elapsed() > took + PATIENCE {
            break job;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let took_until_known = began.elapsed();
    let jobs = get(&client, &server.url, "/v1/jobs").await["items"].as_array().map_or(0, Vec::len);
    let (ended_well, log) = server.terminate();
    assert!(ended_well, "it did not drain: {log}");
    for mut command in commands {
        // Those that the server left have said how to go on, and ended.
        let _gone = command.kill();
        command.wait().unwrap();
    }
    let stats = sandbox.stats();
    stop.pull();
    sandbox.stopped().await;
    Report { kills, job, jobs, stats, took, took_until_known }
}

/// Records so many dead letters, straight in the storage.
pub async fn bury(data: &Path, count: usize) {
    let engine = Engine::open(data, Config::default()).unwrap();
    let log = SqliteLog::new(engine.clone());
    let now = Clock::system().now().minus(Duration::from_secs(3600));
    for from in (0..count).step_by(1000) {
        let new: Vec<NewNotification> =
            (from..count.min(from + 1000)).map(|i| notification(i, now)).collect();
        let accepted = log.accept(&new).await;
        assert!(accepted.iter().all(|one| matches!(one, Ok(Acceptance::Created(_)))));
        let parked = Fact::Parked { reason: "attempts_exhausted".into(), hold: false };
        let facts: Vec<_> = new.iter().map(|one| (one.id, parked.clone())).collect();
        assert!(log.apply(&facts, now).await.iter().all(|one| matches!(one, Ok(Applied::Done { .. }))));
    }
    engine.close().await;
}

fn notification(i: usize, now: kakitome::clock::Timestamp) -> NewNotification {
    let body = json!({
        "from": {"email": "reserve@example.jp"},
        "to": [{"email": format!("guest{i}@example.com")}],
        "subject": "ご予約が確定しました",
        "text": "redriven",
    });
    let limits = Limits { body_bytes: 1 << 20 };
    let parsed = content::parse(body.to_string().as_bytes(), "default", &limits).unwrap();
    NewNotification::of(NotificationId::fresh(), Arc::new(parsed), now)
}

fn command(dir: &Path, url: &str, args: &[&str]) -> Child {
    let mut command: Command = backend::command(dir);
    command.args(args).env("KAKITOME_URL", url).env("KAKITOME_API_KEY", KEY);
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

async fn get(client: &reqwest::Client, url: &str, path: &str) -> Value {
    let answer = client.get(format!("{url}{path}")).bearer_auth(KEY).send().await.unwrap();
    serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap()
}

async fn job(client: &reqwest::Client, url: &str, id: &str) -> Value {
    get(client, url, &format!("/v1/jobs/{id}")).await
}

fn is_active(job: &Value) -> bool {
    job["state"] == "running"
}

/// The id of the job that the command asked for.
async fn first_job(client: &reqwest::Client, url: &str) -> String {
    for _ in 0..1000 {
        if let Some(id) = get(client, url, "/v1/jobs").await["items"][0]["id"].as_str() {
            return id.to_owned();
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("no job was asked for");
}

/// Waits until the command has it resumed.
async fn resumed(client: &reqwest::Client, url: &str, id: &str) {
    for _ in 0..1000 {
        if job(client, url, id).await["state"] != "interrupted" {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("nobody resumed it");
}

/// Each was sent once, and the journal says so.
pub fn check(report: &Report, count: usize) {
    let progress = &report.job["progress"];
    assert_eq!(report.job["state"], "done", "{report:#?}");
    assert_eq!((&progress["planned"], &progress["done"]), (&json!(count), &json!(count)), "{report:#?}");
    assert_eq!((&progress["sent"], &progress["refused"]), (&json!(count), &json!({})), "{report:#?}");
    assert_eq!((&report.job["awaited"], report.jobs), (&json!(0), 1), "{report:#?}");
    assert_eq!((report.stats.accepted, report.stats.duplicates), (count as u64, 0), "{report:#?}");
}
