//! The door back, and the folding behind it, on real storage with scripted failures.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot be set up should fail loudly"
)]

mod door;
mod folder;

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use axum::body::Bytes;
use kakitome::clock::Timestamp;
use kakitome::inbox::sqlite::{self, SqliteInbox};
use kakitome::inbox::{Appended, Depth, Inbox, InboxError, Parcel, Receipt, Taken};
use kakitome::message_log::{
    Acceptance, Applied, Claim, ClaimRequest, Counts, Due, Filter, Group, LogError, MessageLog,
    NewNotification, Page, Record, Recorded, Standings,
};
use kakitome::notification::NotificationId;
use kakitome::notification::status::{Fact, Life, Status};
use kakitome::provider::ProviderEvent;
use kakitome::sqlite::{Config, Engine};

/// 2026-11-21T09:00:00Z.
pub const NOW: i64 = 1_795_251_600;

pub fn now() -> Timestamp {
    Timestamp::from_ms(NOW * 1000)
}

/// What of the inbox fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// Nothing is written.
    Append,
    /// It is written, and nobody learns of it.
    Appended,
    Take,
    Done,
    /// They are removed, and nobody learns of it.
    Removed,
}

/// The inbox in SQLite, of which each step may be told to fail for a number of times, and whose appends may wait.
pub struct TestInbox {
    inner: SqliteInbox,
    fails: Mutex<HashMap<Step, usize>>,
    /// Appends wait here, where there is one, and say so.
    pub gate: Option<tokio::sync::Semaphore>,
    pub reached: tokio::sync::Notify,
    _home: tempfile::TempDir,
}

impl TestInbox {
    pub async fn open() -> Self {
        Self::open_with(sqlite::Config::default()).await
    }

    pub async fn open_with(config: sqlite::Config) -> Self {
        let home = tempfile::tempdir().unwrap();
        let engine = Engine::open(home.path(), Config::default()).unwrap();
        let inner = SqliteInbox::open(engine, config).await.unwrap();
        let (fails, gate, reached) = (Mutex::default(), None, tokio::sync::Notify::new());
        Self { inner, fails, gate, reached, _home: home }
    }

    pub fn fail(&self, step: Step, times: usize) {
        self.fails.lock().unwrap().insert(step, times);
    }

    fn check(&self, step: Step) -> Result<(), InboxError> {
        let mut fails = self.fails.lock().unwrap();
        let left = fails.entry(step).or_default();
        if *left == 0 {
            return Ok(());
        }
        *left -= 1;
        Err(InboxError::Unavailable("the disk is full".into()))
    }
}

#[async_trait]
impl Inbox for TestInbox {
    async fn append(&self, parcels: Vec<Parcel>) -> Result<Appended, InboxError> {
        if let Some(gate) = &self.gate {
            self.reached.notify_one();
            gate.acquire().await.unwrap().forget();
        }
        self.check(Step::Append)?;
        let appended = self.inner.append(parcels).await?;
        self.check(Step::Appended)?;
        Ok(appended)
    }

    async fn take(&self, events: usize, wait: Duration) -> Result<Vec<Taken>, InboxError> {
        self.check(Step::Take)?;
        self.inner.take(events, wait).await
    }

    async fn keep(&self, receipts: &[Receipt]) -> Result<(), InboxError> {
        self.inner.keep(receipts).await
    }

    fn keeps_for(&self) -> Option<Duration> {
        self.inner.keeps_for()
    }

    async fn done(&self, receipts: &[Receipt]) -> Result<(), InboxError> {
        self.check(Step::Done)?;
        self.inner.done(receipts).await?;
        self.check(Step::Removed)
    }

    async fn depth(&self) -> Result<Depth, InboxError> {
        self.inner.depth().await
    }
}

/// A log of events alone: one known notification whose outcome is unknown, a set of events seen, a disk that may fail.
#[derive(Default)]
pub struct EventLog {
    seen: Mutex<HashSet<String>>,
    pub calls: Mutex<Vec<usize>>,
    pub failing: Mutex<HashSet<String>>,
    pub swallows_results: bool,
}

impl EventLog {
    fn record(&self, event: &ProviderEvent, now: Timestamp) -> Result<Recorded, LogError> {
        let event_id = event.event_id.clone().unwrap_or_default();
        if self.failing.lock().unwrap().contains(&event_id) {
            return Err(LogError::Unavailable("the disk is full".into()));
        }
        let mut seen = self.seen.lock().unwrap();
        let first = seen.is_empty();
        if !seen.insert(event_id) {
            return Ok(Recorded::Repeat { tenant: None });
        }
        if event.id.is_none() {
            return Ok(Recorded::Unmatched);
        }
        Ok(Recorded::Folded {
            tenant: "default".into(),
            settled: first.then_some(Status::Unknown),
            ready_at: now,
        })
    }

    pub fn has_seen(&self, event_id: &str) -> bool {
        self.seen.lock().unwrap().contains(event_id)
    }

    pub fn seen(&self) -> usize {
        self.seen.lock().unwrap().len()
    }
}

const ONLY_EVENTS: &str = "the folder records events and does nothing else";

#[async_trait]
impl MessageLog for EventLog {
    async fn record_events(
        &self,
        events: &[ProviderEvent],
        now: Timestamp,
    ) -> Vec<Result<Recorded, LogError>> {
        self.calls.lock().unwrap().push(events.len());
        let results = events.iter().map(|event| self.record(event, now));
        results.skip(usize::from(self.swallows_results)).collect()
    }

    async fn accept(&self, _: &[NewNotification]) -> Vec<Result<Acceptance, LogError>> {
        unreachable!("{ONLY_EVENTS}")
    }
    async fn claim(&self, _: &[ClaimRequest], _: Timestamp) -> Vec<Result<Claim, LogError>> {
        unreachable!("{ONLY_EVENTS}")
    }
    async fn apply(&self, _: &[(NotificationId, Fact)], _: Timestamp) -> Vec<Result<Applied, LogError>> {
        unreachable!("{ONLY_EVENTS}")
    }
    async fn get(&self, _: NotificationId) -> Result<Option<Record>, LogError> {
        unreachable!("{ONLY_EVENTS}")
    }
    async fn lives(&self, _: &[NotificationId]) -> Result<Vec<Option<Life>>, LogError> {
        unreachable!("{ONLY_EVENTS}")
    }
    async fn contents(&self, _: &[NotificationId]) -> Result<Vec<Option<Bytes>>, LogError> {
        unreachable!("{ONLY_EVENTS}")
    }
    async fn list(&self, _: &Filter, _: Option<&str>, _: usize, _: Timestamp) -> Result<Page, LogError> {
        unreachable!("{ONLY_EVENTS}")
    }
    async fn counts(&self, _: Timestamp) -> Result<Counts, LogError> {
        unreachable!("{ONLY_EVENTS}")
    }
    async fn standings(&self, _: Timestamp) -> Result<Standings, LogError> {
        unreachable!("{ONLY_EVENTS}")
    }
    async fn count_groups(&self, _: &Filter, _: Timestamp) -> Result<Vec<Group>, LogError> {
        unreachable!("{ONLY_EVENTS}")
    }
    async fn due(&self, _: Timestamp, _: usize) -> Result<Vec<Due>, LogError> {
        unreachable!("{ONLY_EVENTS}")
    }
    async fn witness(&self, _: &str) -> Result<Option<Timestamp>, LogError> {
        unreachable!("{ONLY_EVENTS}")
    }
}
