//! Several processes over one journal, and a journal that does not answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use kakitome::alerts::check::Limits;
use kakitome::alerts::post::{Channel, Target};
use kakitome::alerts::{Alerts, Config, Ports};
use kakitome::clock::{Clock, Timestamp};
use kakitome::journal::sqlite::SqliteJournal;
use kakitome::journal::{Document, Journal, JournalError, Kind, Put};
use kakitome::message_log::sqlite::SqliteLog;
use kakitome::provider::health::{Circuit, HealthBoard, ProviderHealth};
use kakitome::queue::sqlite::SqliteQueue;
use kakitome::secret::Secret;
use kakitome::sqlite::Engine;

use super::ear::Ear;

const INTERVAL: Duration = Duration::from_secs(15);

/// What several watches share.
struct House {
    ports: Ports,
    journal: Arc<Moody>,
    clock: Clock,
    webhook: Ear,
    _directory: tempfile::TempDir,
}

impl House {
    async fn open() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let clock = Clock::manual(Timestamp::from_ms(1_800_000_000_000));
        let engine = Engine::open(directory.path(), Default::default()).unwrap();
        let queue = SqliteQueue::open(engine.clone(), clock.clone(), Default::default()).await.unwrap();
        let journal = SqliteJournal::new(engine.clone(), clock.clone());
        let journal = Arc::new(Moody { journal, is_down: AtomicBool::new(false) });
        let ports = Ports {
            log: Arc::new(SqliteLog::new(engine)),
            queue: Arc::new(queue),
            inbox: None,
            journal: journal.clone(),
            health: HealthBoard::default(),
            clock: clock.clone(),
        };
        Self { ports, journal, clock, webhook: Ear::open().await, _directory: directory }
    }

    /// The watch of one more process, which sees its own circuits.
    fn watch(&self, health: &HealthBoard) -> Alerts {
        let limits = Limits {
            delay: Duration::from_secs(600),
            poll_silence: Duration::from_secs(36_000),
            webhook_silence: None,
            webhook_expected: false,
            providers: vec!["sendgrid".into()],
        };
        let config = Config {
            limits,
            interval: INTERVAL,
            calm: Duration::from_secs(60),
            reminder: Duration::from_secs(3600),
            runbooks: "https://wiki.example.jp/runbooks".into(),
            worker: true,
            webhook: false,
            unusual: None,
        };
        let target = Target::Webhook { url: Secret::new(self.webhook.url.clone()), secret: None };
        let channel = Channel::new(target, self.clock.clone()).unwrap();
        Alerts::new(Ports { health: health.clone(), ..self.ports.clone() }, &[channel], config)
    }

    /// So many readings by each.
    async fn steps(&self, watches: &mut [Alerts], count: usize) {
        for _ in 0..count {
            self.clock.advance(INTERVAL);
            for watch in watches.iter_mut() {
                watch.step().await;
            }
        }
    }

    fn said(&self, alert: &str) -> Vec<String> {
        let posts = self.webhook.about(alert);
        posts.iter().map(|post| post.body["change"].as_str().unwrap().to_owned()).collect()
    }

    /// Reads on until so much was heard about an alert. The clock runs ahead of the posts, so they get a moment after
    /// each reading: one that a post misses is taken up again when its lease is over.
    async fn steps_until_heard(&self, watches: &mut [Alerts], alert: &str, count: usize) {
        let mut readings = 0;
        while self.said(alert).len() < count {
            assert!(readings < 200, "{alert}: {:?}", self.said(alert));
            readings += 1;
            self.steps(watches, 1).await;
            let begun = std::time::Instant::now();
            while self.said(alert).len() < count && begun.elapsed() < Duration::from_millis(100) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    }
}

fn shows(health: &HealthBoard, circuit: Circuit) {
    let name = "sendgrid".to_owned();
    let since = Timestamp::from_ms(1_800_000_000_000);
    health.set_provider(ProviderHealth { name, circuit, since, probe_at: None, last_error: None });
}

/// A journal that may be out of reach.
struct Moody {
    journal: SqliteJournal,
    is_down: AtomicBool,
}

impl Moody {
    fn check(&self) -> Result<(), JournalError> {
        let is_down = self.is_down.load(Ordering::SeqCst);
        if is_down { Err(JournalError::Unavailable("out of reach".into())) } else { Ok(()) }
    }
}

#[async_trait::async_trait]
impl Journal for Moody {
    async fn get(&self, kind: Kind, key: &str) -> Result<Option<Document>, JournalError> {
        self.check()?;
        self.journal.get(kind, key).await
    }
    async fn put(
        &self,
        kind: Kind,
        key: &str,
        body: &str,
        expected: u64,
        keep_until: Option<Timestamp>,
    ) -> Result<Put, JournalError> {
        self.check()?;
        self.journal.put(kind, key, body, expected, keep_until).await
    }
    async fn delete(&self, kind: Kind, key: &str) -> Result<(), JournalError> {
        self.check()?;
        self.journal.delete(kind, key).await
    }
    async fn list(
        &self,
        kind: Kind,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Document>, JournalError> {
        self.check()?;
        self.journal.list(kind, after, limit).await
    }
}

#[tokio::test]
async fn two_processes_say_it_once_and_it_is_over_when_neither_sees_it() {
    let house = House::open().await;
    let boards = [HealthBoard::default(), HealthBoard::default()];
    let mut watches: Vec<Alerts> = boards.iter().map(|board| house.watch(board)).collect();
    boards.iter().for_each(|board| shows(board, Circuit::Open));
    house.steps_until_heard(&mut watches, "breaker_open", 1).await;
    house.steps(&mut watches, 20).await;
    shows(&boards[0], Circuit::Closed);
    house.steps(&mut watches, 20).await;
    assert_eq!(house.said("breaker_open"), ["firing"], "the other still sees it");
    shows(&boards[1], Circuit::Closed);
    house.steps_until_heard(&mut watches, "breaker_open", 2).await;
    house.steps(&mut watches, 20).await;
    assert_eq!(house.said("breaker_open"), ["firing", "resolved"]);
    let runbook = &house.webhook.about("breaker_open")[0].body["runbook"];
    assert_eq!(runbook, "https://wiki.example.jp/runbooks/provider-outage.md");
}

#[tokio::test]
async fn what_a_process_wrote_down_and_did_not_post_another_posts() {
    let house = House::open().await;
    let board = HealthBoard::default();
    shows(&board, Circuit::Open);
    house.webhook.is(super::Mood::Hanging);
    let mut first = house.watch(&board);
    first.step().await;
    // It dies with the message in its hand.
    drop(first);
    house.webhook.is(super::Mood::Well);
    let mut second = [house.watch(&board)];
    house.steps_until_heard(&mut second, "breaker_open", 1).await;
    house.steps(&mut second, 8).await;
    assert_eq!(house.said("breaker_open"), ["firing"]);
}

#[tokio::test]
async fn an_outage_of_the_journal_silences_no_alert_and_repeats_none() {
    let house = House::open().await;
    let board = HealthBoard::default();
    let mut watch = [house.watch(&board)];
    house.journal.is_down.store(true, Ordering::SeqCst);
    shows(&board, Circuit::Open);
    house.steps_until_heard(&mut watch, "breaker_open", 1).await;
    house.steps_until_heard(&mut watch, "journal_unreachable", 1).await;
    house.journal.is_down.store(false, Ordering::SeqCst);
    shows(&board, Circuit::Closed);
    house.steps_until_heard(&mut watch, "breaker_open", 2).await;
    house.steps_until_heard(&mut watch, "journal_unreachable", 2).await;
    house.steps(&mut watch, 20).await;
    assert_eq!(house.said("breaker_open"), ["firing", "resolved"]);
    let documents = house.journal.list(Kind::Alert, None, 10).await.unwrap();
    assert_eq!(documents.len(), 2);
}
