//! How soon an operator sees what was not sent when a million notifications are open: `make bench-unsent`.
//!
//! `UNSENT_ROWS` of them; `UNSENT_DYNAMODB=URL` names a running server of DynamoDB, where the table `kakitome-unsent` is
//! filled if it is not there, and then stays.
#![allow(clippy::print_stdout, reason = "figures are what it is run for")]

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kakitome::clock::{Clock, Timestamp};
use kakitome::message_log::dynamodb::{self, DynamoLog};
use kakitome::message_log::sqlite::SqliteLog;
use kakitome::message_log::{MessageLog, NewNotification};
use kakitome::notification::NotificationId;
use kakitome::notification::status::State;
use kakitome::sqlite::Engine;
use serde_json::Value;

use super::conformance::{notification, to};
use super::emulator::{self, Emulator};
use super::process::{self, KEY, Kakitome};
use super::{backend, sqs};

/// What the first page may take.
const SOON: Duration = Duration::from_millis(200);
/// How often each question is asked.
const TIMES: usize = 20;
/// Of so many one belongs to a tenant that has few.
const FEW: usize = 1000;

/// So many fill the log at once.
const SIDES: usize = 6;
/// Notifications of one call.
const CHUNK: usize = 250;

fn rows() -> usize {
    std::env::var("UNSENT_ROWS").map_or(1_000_000, |rows| rows.parse().unwrap())
}

/// One open notification of those that an outage of three hours leaves: most wait, some are held, failed or late.
fn open(place: usize, of: usize, now: Timestamp) -> NewNotification {
    let age = Duration::from_millis(10_800_000 * (of - place) as u64 / of as u64);
    let accepted_at = now.minus(age);
    let written = notification(|n| {
        n.tenant = if place % FEW == 7 { "few".into() } else { format!("inn-{}", place % 10) };
        n.to = to(&format!("guest{place}@example.com"));
        n.text = Some("お待ちしております。".repeat(20));
        n.batch = place.is_multiple_of(5).then(|| "tos-2026-11".into());
    });
    let mut new = NewNotification::of(NotificationId::fresh(), Arc::new(written), accepted_at);
    let life = &mut new.life;
    life.wake_at = Some(now.plus(Duration::from_secs(86_400)));
    match place % 50 {
        0..=3 => (life.state, life.reason) = (State::Held, Some("ask first".into())),
        4..=8 => (life.state, life.reason) = (State::Failed, Some("attempts_used_up".into())),
        9 => life.state = State::Expired,
        10..=14 => (life.state, life.due_at) = (State::Scheduled, now.plus(Duration::from_secs(7200))),
        15..=29 => (life.state, life.due_at) = (State::Retrying, now.plus(Duration::from_secs(600))),
        _ => {}
    }
    new
}

/// Fills the log from several sides at once.
async fn fill(log: Arc<dyn MessageLog>, of: usize) {
    let (begun, now) = (Instant::now(), Clock::system().now());
    let side = |side: usize| {
        let log = log.clone();
        tokio::spawn(async move {
            for chunk in (0..of).step_by(CHUNK).skip(side).step_by(SIDES) {
                let mut left: Vec<_> =
                    (chunk..(chunk + CHUNK).min(of)).map(|place| open(place, of, now)).collect();
                // An emulator on a busy machine may answer too late: what was written answers as a repeat.
                while !left.is_empty() {
                    let accepted = log.accept(&left).await;
                    let mut failed = accepted.iter().map(Result::is_err);
                    left.retain(|_| failed.next().unwrap());
                }
            }
        })
    };
    for filled in futures::future::join_all((0..SIDES).map(side)).await {
        filled.unwrap();
    }
    println!("{of} open notifications written in {:.0} s", begun.elapsed().as_secs_f64());
}

fn told(what: &str, mut took: Vec<Duration>) -> Duration {
    let first = took[0];
    took.sort_unstable();
    let (median, most) = (took[took.len() / 2], took[took.len() - 1]);
    let ms = |span: Duration| span.as_secs_f64() * 1000.0;
    println!("{what:<44} first {:>7.1} ms, median {:>7.1}, most {:>7.1}", ms(first), ms(median), ms(most));
    median
}

async fn ask(http: &reqwest::Client, url: &str, query: &str) -> (Duration, Value) {
    let begun = Instant::now();
    let asked = http.get(format!("{url}/v1/notifications?unsent=true&{query}")).bearer_auth(KEY);
    let body = asked.send().await.unwrap().bytes().await.unwrap();
    let took = begun.elapsed();
    (took, serde_json::from_slice(&body).unwrap())
}

/// Asks a server of the storage over HTTP and by the command line. What a tenant with few has is told in any case, and
/// judged where an index leads to it.
async fn measure(dir: &Path, judges_rare: bool, command: impl Fn() -> Command) {
    let server = Kakitome::run(command(), dir, &["serve", "--role", "api"], &[]);
    let http = process::http();
    let mut slow = Vec::new();
    for (query, least) in [
        ("order=oldest&limit=50", 50),
        ("order=oldest&limit=100", 100),
        ("limit=100", 100),
        ("tenant=inn-3&order=oldest&limit=100", 100),
        ("tenant=inn-3&limit=100", 100),
        ("tenant=few&order=oldest&limit=100", 1),
        ("tenant=few&limit=100", 1),
        ("status=failed&order=oldest&limit=100", 100),
        ("batch=tos-2026-11&limit=100", 100),
        ("recipient=guest77@example.com", 1),
    ] {
        let mut took = Vec::new();
        for _ in 0..TIMES {
            let (span, page) = ask(&http, &server.url, query).await;
            let items = page["items"].as_array().unwrap_or_else(|| panic!("{query}: {page}")).len();
            assert!(items >= least, "{query}: {items}");
            took.push(span);
        }
        let is_judged = judges_rare || !query.contains("tenant=few");
        if told(&format!("GET {query}"), took) >= SOON && is_judged {
            slow.push(query);
        }
    }
    for args in [&["unsent"][..], &["unsent", "--tenant", "inn-3"]] {
        let mut took = Vec::new();
        for _ in 0..TIMES {
            let mut unsent = command();
            unsent.args(args).env("KAKITOME_URL", &server.url).env("KAKITOME_API_KEY", KEY);
            let begun = Instant::now();
            let out = unsent.output().unwrap();
            took.push(begun.elapsed());
            assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
            assert_eq!(String::from_utf8_lossy(&out.stdout).lines().count(), 52);
        }
        if told(&format!("kakitome {}", args.join(" ")), took) >= SOON {
            slow.push(args[0]);
        }
    }
    assert!(slow.is_empty(), "over {SOON:?}: {slow:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "fills a million rows: `make bench-unsent`"]
async fn the_first_page_of_a_million_comes_soon_on_the_embedded_backend() {
    let home = tempfile::tempdir().unwrap();
    let engine = Engine::open(&home.path().join("data"), kakitome::sqlite::Config::default()).unwrap();
    fill(Arc::new(SqliteLog::new(engine.clone())), rows()).await;
    engine.close().await;
    drop(engine);
    measure(home.path(), true, || backend::command_with(home.path(), &[], None)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "fills a million rows: `make bench-unsent`"]
async fn the_first_page_of_a_million_comes_soon_on_dynamodb() {
    let home = tempfile::tempdir().unwrap();
    let url = std::env::var("UNSENT_DYNAMODB").unwrap_or_else(|_| Emulator::dynoxide().url.clone());
    let aws = emulator::connect(&url, &url).await;
    let config = dynamodb::Config { table: "kakitome-unsent".into(), ..dynamodb::Config::default() };
    // An emulator that is asked to describe a table counts it, which takes longer than the SDK waits.
    let tables = aws.dynamodb.list_tables().send().await.unwrap().table_names.unwrap_or_default();
    if !tables.contains(&config.table) {
        dynamodb::setup(&aws, &config).await.unwrap();
        fill(Arc::new(DynamoLog::open(&aws, &config)), rows()).await;
    }
    let queues = sqs::Bench::open(sqs::fresh_queues()).await.queues;
    let settings = [
        ("backend", "aws".to_owned()),
        ("sqs.queue_url", queues.queue_url),
        ("sqs.dead_letter_url", queues.dead_letter_url),
        ("dynamodb.table", config.table),
    ];
    let urls = (Emulator::ministack().url.as_str(), url.as_str());
    measure(home.path(), false, || backend::command_with(home.path(), &settings, Some(urls))).await;
}
