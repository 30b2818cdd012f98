//! A worker over embedded storage, providers that do what a test says, and ports that a test can watch or slow down.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::BoxFuture;
use kakitome::clock::{Clock, Timestamp};
use kakitome::journal::sqlite::SqliteJournal;
use kakitome::message_log::sqlite::SqliteLog;
use kakitome::message_log::{
    Acceptance, Applied, Claim, ClaimRequest, Counts, Due, Filter, Group, Heard, HeardPage, Lacks, LogError,
    MessageLog, NewNotification, Page, Record, Recorded, SentSpan, Standings,
};
use kakitome::notification::status::{By, Fact, Life};
use kakitome::notification::{Notification, NotificationId, Priority};
use kakitome::provider::health::HealthBoard;
use kakitome::provider::{
    EventKind, Handover, Idempotency, Provider, ProviderEvent, SendError, SendErrorClass,
};
use kakitome::queue::sqlite::{self, SqliteQueue};
use kakitome::queue::{Delivery, Depth, Message, Queue, QueueError, Receipt, Settlement};
use kakitome::shutdown::{self, ShutdownTrigger};
use kakitome::sqlite::Engine;
use kakitome::stops::Stops;
use kakitome::storm;
use kakitome::suppression::SuppressionList;
use kakitome::suppression::guard::Suppressions;
use kakitome::suppression::sqlite::SqliteSuppressions;
use kakitome::suppression::verdict::Policy;
use kakitome::worker::{Config, DrainReport, Evidence, Guards, Worker, breaker, concurrency, retry};

use crate::conformance::{new, notification};

/// Nothing that these tests wait for takes longer on any machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub type Answer = Result<Handover, SendError>;

pub fn taken() -> Answer {
    Ok(Handover { message_id: None, http_status: 202 })
}

pub fn not_taken(class: SendErrorClass) -> Answer {
    Err(SendError { class, http_status: None, message: "as the test says".into(), retry_after: None })
}

type Play = dyn Fn(NotificationId) -> BoxFuture<'static, Answer> + Send + Sync;

/// A provider that keeps what it was asked for and answers as it is told.
pub struct Scripted {
    name: &'static str,
    idempotency: Idempotency,
    play: Mutex<Arc<Play>>,
    asked: Mutex<Vec<NotificationId>>,
    recipients: Mutex<Vec<(NotificationId, Vec<String>)>>,
}

impl Scripted {
    /// One that takes everything.
    pub fn new(name: &'static str) -> Arc<Self> {
        Self::with(name, Idempotency::None)
    }

    /// One that knows a repeat for one.
    pub fn keyed(name: &'static str) -> Arc<Self> {
        Self::with(name, Idempotency::Key { ttl: Duration::from_secs(24 * 3600) })
    }

    fn with(name: &'static str, idempotency: Idempotency) -> Arc<Self> {
        let play: Arc<Play> = Arc::new(|_| Box::pin(async { taken() }));
        let (asked, recipients) = Default::default();
        Arc::new(Self { name, idempotency, play: Mutex::new(play), asked, recipients })
    }

    pub fn play<F>(&self, play: impl Fn(NotificationId) -> F + Send + Sync + 'static)
    where
        F: Future<Output = Answer> + Send + 'static,
    {
        *self.play.lock().unwrap() = Arc::new(move |id| Box::pin(play(id)));
    }

    /// What it was asked for, in order.
    pub fn asked(&self) -> Vec<NotificationId> {
        self.asked.lock().unwrap().clone()
    }

    /// To whom it was last asked to send this one.
    pub fn recipients(&self, id: NotificationId) -> Vec<String> {
        let all = self.recipients.lock().unwrap();
        all.iter().rev().find(|(of, _)| *of == id).map(|(_, to)| to.clone()).unwrap_or_default()
    }

    pub fn times_asked(&self, id: NotificationId) -> usize {
        self.asked().into_iter().filter(|asked| *asked == id).count()
    }
}

#[async_trait]
impl Provider for Scripted {
    fn name(&self) -> &str {
        self.name
    }
    async fn send(&self, id: NotificationId, notification: &Notification) -> Answer {
        let to = notification.recipients().map(|(_, one)| one.email.reveal().to_owned()).collect();
        self.recipients.lock().unwrap().push((id, to));
        self.asked.lock().unwrap().push(id);
        let play = Arc::clone(&self.play.lock().unwrap());
        play(id).await
    }
    fn idempotency(&self) -> Idempotency {
        self.idempotency
    }
    async fn reach(&self) -> Result<(), String> {
        Ok(())
    }
}

/// Embedded storage with watched ports, and the clocks: the queue's is the machine's, the rest goes by `clock`.
pub struct Bench {
    pub queue: Arc<WatchedQueue>,
    pub log: Arc<SlowLog>,
    pub clock: Clock,
    pub health: HealthBoard,
    pub stops: Stops,
    pub journal: Arc<SqliteJournal>,
    pub suppressions: Arc<dyn SuppressionList>,
    /// Of workers that start from now on.
    pub policy: Policy,
    /// Of the guards of workers that start from now on. They all send the same to the same person here.
    pub storm: storm::Config,
    _home: tempfile::TempDir,
}

/// A worker at work.
pub struct Working {
    stop: ShutdownTrigger,
    task: tokio::task::JoinHandle<DrainReport>,
}

impl Working {
    pub async fn stop(self) -> DrainReport {
        self.stop.pull();
        tokio::time::timeout(PATIENCE, self.task).await.expect("it drains").unwrap()
    }
}

/// Waits short enough for tests, in the relations of the defaults.
pub fn quick() -> Config {
    Config {
        lease: Duration::from_secs(1),
        hold: Duration::from_millis(100),
        attempt_timeout: Duration::from_millis(200),
        visibility: Duration::from_secs(20),
        long_poll: Duration::from_millis(100),
        retry: retry::Policy {
            base: Duration::from_millis(20),
            cap: Duration::from_millis(50),
            witness_cap: Duration::from_millis(100),
            witness_poll: Duration::from_millis(50),
            ..retry::Policy::default()
        },
        breaker: breaker::Config {
            first_open: Duration::from_millis(100),
            longest_open: Duration::from_millis(100),
            ..breaker::Config::default()
        },
        ..Config::default()
    }
}

/// [`quick`] with so many attempts at once.
pub fn quick_with(at_once: u32) -> Config {
    Config { concurrency: concurrency::Config { min: at_once, max: at_once }, ..quick() }
}

pub async fn bench() -> Bench {
    bench_with(Clock::system(), sqlite::Config::default()).await
}

pub async fn bench_with(clock: Clock, config: sqlite::Config) -> Bench {
    let home = tempfile::tempdir().unwrap();
    let engine = Engine::open(home.path(), kakitome::sqlite::Config::default()).unwrap();
    let queue = SqliteQueue::open(engine.clone(), Clock::system(), config).await.unwrap();
    let journal = Arc::new(SqliteJournal::new(engine.clone(), clock.clone()));
    let stops = Stops::new(journal.clone());
    stops.refresh().await.unwrap();
    let suppressions = SqliteSuppressions::new(engine.clone(), clock.clone());
    Bench {
        queue: Arc::new(WatchedQueue { inner: queue, delivered: AtomicUsize::new(0) }),
        log: Arc::new(SlowLog { inner: SqliteLog::new(engine), before_claim: Mutex::new(None) }),
        clock,
        health: HealthBoard::default(),
        stops,
        journal,
        suppressions: Arc::new(suppressions),
        policy: Policy::default(),
        storm: storm::Config { repeat_limit: 0, ..storm::Config::default() },
        _home: home,
    }
}

impl Bench {
    pub fn work(&self, providers: &[&Arc<Scripted>], config: Config) -> Working {
        self.work_with(self.stops.clone(), providers, config)
    }

    /// A worker that knows what stands stopped from these.
    pub fn work_with(&self, stops: Stops, providers: &[&Arc<Scripted>], config: Config) -> Working {
        let (stop, stopped) = shutdown::channel();
        let worker = self.worker(stops, providers, config);
        Working { stop, task: tokio::spawn(worker.run(stopped)) }
    }

    /// A worker that ends, with everything it has begun, when the runtime is dropped: as a crash would end it.
    pub fn work_until_killed(&self, providers: &[&Arc<Scripted>], config: Config) -> tokio::runtime::Runtime {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let (stop, stopped) = shutdown::channel();
        let worker = self.worker(self.stops.clone(), providers, config);
        let runtime = runtime.unwrap();
        runtime.spawn(async move {
            worker.run(stopped).await;
            drop(stop);
        });
        runtime
    }

    fn worker(&self, stops: Stops, providers: &[&Arc<Scripted>], config: Config) -> Worker {
        let providers = providers.iter().map(|one| Arc::clone(*one) as Arc<dyn Provider>).collect();
        let (queue, log) = (Arc::clone(&self.queue), Arc::clone(&self.log));
        let (clock, health) = (self.clock.clone(), self.health.clone());
        let storm = self.guard(&self.storm);
        let suppressions = self.suppressions();
        Worker::new(
            queue,
            log,
            providers,
            clock,
            health,
            Guards { stops, storm, suppressions, evidence: Evidence::Nowhere },
            config,
        )
    }

    /// The suppression list as a process has it that has just begun.
    pub fn suppressions(&self) -> Suppressions {
        Suppressions::new(self.suppressions.clone(), self.journal.clone(), self.policy.clone())
    }

    /// A guard that has seen nothing yet, as after a start.
    pub fn guard(&self, config: &storm::Config) -> storm::Guard {
        let (log, stops) = (Arc::clone(&self.log), self.stops.clone());
        storm::Guard::new(self.journal.clone(), log, stops, self.clock.clone(), config)
    }

    /// Records so many for a tenant, and enqueues them.
    pub async fn hand_in(&self, tenant: &str, count: usize) -> Vec<NotificationId> {
        self.hand_in_from(tenant, 0, count).await
    }

    /// The same with keys from this number on.
    pub async fn hand_in_from(&self, tenant: &str, from: usize, count: usize) -> Vec<NotificationId> {
        self.hand_in_all(tenant, None, from..from + count).await
    }

    /// So many of a broadcast.
    pub async fn hand_in_batch(&self, tenant: &str, batch: &str, count: usize) -> Vec<NotificationId> {
        self.hand_in_all(tenant, Some(batch), 0..count).await
    }

    /// The same with keys from this number on.
    pub async fn hand_in_batch_from(
        &self,
        tenant: &str,
        batch: &str,
        from: usize,
        count: usize,
    ) -> Vec<NotificationId> {
        self.hand_in_all(tenant, Some(batch), from..from + count).await
    }

    /// One, changed.
    pub async fn hand_in_one(&self, tenant: &str, change: impl FnOnce(&mut Notification)) -> NotificationId {
        let one = new(notification(change), self.clock.now());
        let id = one.id;
        assert!(matches!(self.log.accept(&[one]).await[..], [Ok(Acceptance::Created(_))]));
        self.enqueue(tenant, &[id]).await;
        id
    }

    /// Sends it again.
    pub async fn redrive(&self, tenant: &str, id: NotificationId) {
        let fact = Fact::Redriven { by: By::new("ops", None), late: false };
        let applied = self.log.apply(&[(id, fact)], self.clock.now()).await;
        assert!(matches!(applied[..], [Ok(Applied::Done { .. })]), "{applied:?}");
        self.enqueue(tenant, &[id]).await;
    }

    /// The provider says that it reached the first recipient.
    pub async fn tell_delivered(&self, id: NotificationId) {
        let event = ProviderEvent {
            provider: "watching".into(),
            id: Some(id),
            provider_message_id: None,
            event_id: None,
            kind: EventKind::Delivered,
            at: self.clock.now(),
            recipient: Some(self.record(id).await.recipients[0].email.clone()),
            lane: None,
            machine: false,
            detail: Default::default(),
        };
        self.log.record_events(&[event], self.clock.now()).await.pop().unwrap().unwrap();
    }

    async fn hand_in_all(
        &self,
        tenant: &str,
        batch: Option<&str>,
        keys: std::ops::Range<usize>,
    ) -> Vec<NotificationId> {
        let made: Vec<_> = keys
            .map(|i| {
                let key = Some(format!("{tenant}-{i}"));
                let change = |n: &mut Notification| {
                    (n.tenant, n.idempotency_key) = (tenant.into(), key);
                    n.batch = batch.map(str::to_owned);
                };
                new(notification(change), self.clock.now())
            })
            .collect();
        for accepted in self.log.accept(&made).await {
            assert!(matches!(accepted, Ok(Acceptance::Created(_))));
        }
        let ids: Vec<_> = made.into_iter().map(|one| one.id).collect();
        self.enqueue(tenant, &ids).await;
        ids
    }

    /// Has the queue bring these.
    pub async fn enqueue(&self, tenant: &str, ids: &[NotificationId]) {
        let messages: Vec<_> = ids
            .iter()
            .map(|id| Message {
                id: *id,
                tenant: tenant.into(),
                priority: Priority::Transactional,
                delay: Duration::ZERO,
                content: None,
                fresh: None,
            })
            .collect();
        for sent in self.queue.send_batch(&messages).await {
            sent.unwrap();
        }
    }

    pub async fn record(&self, id: NotificationId) -> Record {
        self.log.get(id).await.unwrap().unwrap()
    }

    /// The record, once `wanted` holds of it.
    pub async fn record_when(&self, id: NotificationId, wanted: impl Fn(&Record) -> bool) -> Record {
        let looking = async {
            loop {
                let record = self.record(id).await;
                if wanted(&record) {
                    return record;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        match tokio::time::timeout(PATIENCE, looking).await {
            Ok(record) => record,
            Err(_) => panic!("it did not come to that: {:#?}", self.record(id).await),
        }
    }

    /// Waits until `wanted` holds of the queue.
    pub async fn depth_when(&self, wanted: impl Fn(&Depth) -> bool) {
        let looking = async {
            while !wanted(&self.queue.depth().await.unwrap()) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, looking).await.expect("the queue comes to that");
    }
}

/// A queue that counts what it delivers.
pub struct WatchedQueue {
    inner: SqliteQueue,
    delivered: AtomicUsize,
}

impl WatchedQueue {
    pub fn delivered(&self) -> usize {
        self.delivered.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl Queue for WatchedQueue {
    async fn send_batch(&self, messages: &[Message]) -> Vec<Result<(), QueueError>> {
        self.inner.send_batch(messages).await
    }
    async fn receive(&self, max: usize, wait: Duration) -> Result<Vec<Delivery>, QueueError> {
        let received = self.inner.receive(max, wait).await?;
        self.delivered.fetch_add(received.len(), Ordering::SeqCst);
        Ok(received)
    }
    async fn extend(&self, receipts: &[Receipt], for_: Duration) -> Vec<Result<(), QueueError>> {
        self.inner.extend(receipts, for_).await
    }
    async fn settle(&self, settled: Vec<(Delivery, Settlement)>) -> Vec<Result<(), QueueError>> {
        self.inner.settle(settled).await
    }
    async fn depth(&self) -> Result<Depth, QueueError> {
        self.inner.depth().await
    }
}

/// A log in which something may happen just before a claim is written.
pub struct SlowLog {
    inner: SqliteLog,
    before_claim: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

impl SlowLog {
    /// What happens before the next claim, once.
    pub fn before_claim(&self, act: impl FnOnce() + Send + 'static) {
        *self.before_claim.lock().unwrap() = Some(Box::new(act));
    }
}

#[async_trait]
impl MessageLog for SlowLog {
    async fn accept(&self, new: &[NewNotification]) -> Vec<Result<Acceptance, LogError>> {
        self.inner.accept(new).await
    }
    async fn claim(&self, claims: &[ClaimRequest], now: Timestamp) -> Vec<Result<Claim, LogError>> {
        if let Some(act) = self.before_claim.lock().unwrap().take() {
            act();
        }
        self.inner.claim(claims, now).await
    }
    async fn apply(
        &self,
        facts: &[(NotificationId, Fact)],
        now: Timestamp,
    ) -> Vec<Result<Applied, LogError>> {
        self.inner.apply(facts, now).await
    }
    async fn record_events(
        &self,
        events: &[ProviderEvent],
        now: Timestamp,
    ) -> Vec<Result<Recorded, LogError>> {
        self.inner.record_events(events, now).await
    }
    async fn get(&self, id: NotificationId) -> Result<Option<Record>, LogError> {
        self.inner.get(id).await
    }
    async fn lives(&self, ids: &[NotificationId]) -> Result<Vec<Option<Life>>, LogError> {
        self.inner.lives(ids).await
    }
    async fn contents(&self, ids: &[NotificationId]) -> Result<Vec<Option<Bytes>>, LogError> {
        self.inner.contents(ids).await
    }
    async fn list(
        &self,
        filter: &Filter,
        cursor: Option<&str>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Page, LogError> {
        self.inner.list(filter, cursor, limit, now).await
    }
    async fn counts(&self, now: Timestamp) -> Result<Counts, LogError> {
        self.inner.counts(now).await
    }
    async fn standings(&self, now: Timestamp) -> Result<Standings, LogError> {
        self.inner.standings(now).await
    }
    async fn count_groups(&self, filter: &Filter, now: Timestamp) -> Result<Vec<Group>, LogError> {
        self.inner.count_groups(filter, now).await
    }
    async fn due(&self, now: Timestamp, limit: usize) -> Result<Vec<Due>, LogError> {
        self.inner.due(now, limit).await
    }
    async fn witness(&self, provider: &str) -> Result<Option<Timestamp>, LogError> {
        self.inner.witness(provider).await
    }
    async fn sent_without(
        &self,
        lacks: Lacks,
        span: SentSpan,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<HeardPage, LogError> {
        self.inner.sent_without(lacks, span, cursor, limit).await
    }
    async fn heard_of(&self, ids: &[NotificationId]) -> Result<Vec<Option<Heard>>, LogError> {
        self.inner.heard_of(ids).await
    }
}
