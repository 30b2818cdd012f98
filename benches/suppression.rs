//! What the suppression list costs a mail: CPU and reads of one look, for lists of several lengths, on SQLite.
//! `cargo bench --profile release --bench suppression`. Prints figures; timing decides nothing.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a bench prints and may fail loudly"
)]
#![allow(missing_docs, reason = "a program, not a library")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use async_trait::async_trait;
use kakitome::clock::Clock;
use kakitome::journal::sqlite::SqliteJournal;
use kakitome::notification::Notification;
use kakitome::notification::address::Address;
use kakitome::notification::content::{self, Limits};
use kakitome::sqlite::{Config, Engine};
use kakitome::suppression::guard::{Judgement, Suppressions};
use kakitome::suppression::sqlite::SqliteSuppressions;
use kakitome::suppression::verdict::Policy;
use kakitome::suppression::{
    Added, Entry, Filter, ListError, Page, Place, Reason, Reasons, Removal, Source, SuppressionList,
};
use rustix::time::{ClockId, clock_gettime};

/// Mails that are judged, and how many at once: as many as a worker sends.
const MAILS: usize = 200_000;
const AT_ONCE: usize = 64;
/// One mail in a hundred is for somebody on the list.
const ONE_IN: usize = 100;

/// Counts the reads.
struct Counted {
    list: SqliteSuppressions,
    looks: AtomicU64,
}

#[async_trait]
impl SuppressionList for Counted {
    async fn look_up(&self, asked: &[Place]) -> Vec<Result<Reasons, ListError>> {
        self.looks.fetch_add(1, Ordering::Relaxed);
        self.list.look_up(asked).await
    }

    async fn add(&self, entries: &[Entry]) -> Vec<Result<Added, ListError>> {
        self.list.add(entries).await
    }

    async fn remove(&self, removals: &[Removal]) -> Vec<Result<u64, ListError>> {
        self.list.remove(removals).await
    }

    async fn list(&self, filter: &Filter, cursor: Option<&str>, limit: usize) -> Result<Page, ListError> {
        self.list.list(filter, cursor, limit).await
    }

    async fn count(&self, filter: &Filter) -> Result<u64, ListError> {
        self.list.count(filter).await
    }
}

fn address(number: usize) -> String {
    format!("guest{number}@example.com")
}

fn mail(number: usize, entries: usize) -> Notification {
    let is_listed = entries > 0 && number.is_multiple_of(ONE_IN);
    let to = if is_listed { address(number * 7919 % entries) } else { format!("n{}", address(number)) };
    let text = format!(
        r#"{{"from":{{"email":"reserve@example.jp"}},"to":[{{"email":"{to}"}}],"subject":"s","text":"t"}}"#
    );
    content::parse(text.as_bytes(), "default", &Limits { body_bytes: 1 << 20 }).unwrap()
}

fn entry(number: usize, clock: &Clock) -> Entry {
    let (now, who) = (clock.now(), "bench".to_owned());
    Entry {
        tenant: "default".into(),
        address: Address::parse(&address(number)).unwrap(),
        reason: Reason::Bounce,
        group: None,
        source: Source::Operator { who, at: now, note: None },
        created_at: now,
        removed: None,
    }
}

/// User and system time of all threads, in µs.
fn cpu() -> f64 {
    let spent = clock_gettime(ClockId::ProcessCPUTime);
    spent.tv_sec as f64 * 1e6 + spent.tv_nsec as f64 / 1e3
}

async fn measure(entries: usize) {
    let (home, clock) = (tempfile::tempdir().unwrap(), Clock::system());
    let engine = Engine::open(home.path(), Config::default()).unwrap();
    let list = SqliteSuppressions::new(engine.clone(), clock.clone());
    let counted = Arc::new(Counted { list, looks: AtomicU64::new(0) });
    let journal = Arc::new(SqliteJournal::new(engine.clone(), clock.clone()));
    let suppressions = Suppressions::new(counted.clone(), journal, Policy::default());
    suppressions.refresh().await.unwrap();
    for first in (0..entries).step_by(1000) {
        let some: Vec<_> = (first..(first + 1000).min(entries)).map(|number| entry(number, &clock)).collect();
        let added = suppressions.add(&some).await.unwrap();
        assert!(added.iter().all(|one| matches!(one, Ok(Added::New))));
    }
    // Made beforehand: how a mail is read is not what is asked here.
    let mails: Arc<Vec<_>> = Arc::new((0..MAILS).map(|number| mail(number, entries)).collect());
    let (begun, spent) = (Instant::now(), cpu());
    let mut judges = tokio::task::JoinSet::new();
    for lane in 0..AT_ONCE {
        let (mails, suppressions) = (mails.clone(), suppressions.clone());
        judges.spawn(async move {
            let mut stopped = 0;
            for mail in mails.iter().skip(lane).step_by(AT_ONCE) {
                let judged = suppressions.judge(mail).await.unwrap();
                stopped += usize::from(matches!(judged, Judgement::Nobody { .. }));
            }
            stopped
        });
    }
    let stopped: usize = judges.join_all().await.into_iter().sum();
    let (spent, seconds) = (cpu() - spent, begun.elapsed().as_secs_f64());
    assert_eq!(stopped, if entries == 0 { 0 } else { MAILS / ONE_IN });
    let looks = counted.looks.load(Ordering::Relaxed);
    println!(
        "{entries:>9} entries  {:>8.2} µs of CPU a mail  {:>7.3} reads a mail  {:>9.0} mails/s",
        spent / MAILS as f64,
        looks as f64 / MAILS as f64,
        MAILS as f64 / seconds
    );
    engine.close().await;
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    for entries in [0, 1000, 1_000_000] {
        measure(entries).await;
    }
}
