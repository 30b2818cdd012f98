//! A webhook in a process of its own that folds late: what it holds may be the evidence that an unknown outcome waits for.

use kakitome::clock::Timestamp;
use kakitome::inbox::sqs::lag;
use kakitome::inbox::sqs::{Config as InboxConfig, SqsInbox};
use kakitome::inbox::{Inbox, Receipt, Taken, pack};
use kakitome::journal::dynamodb::DynamoJournal;
use kakitome::journal::{Journal, Kind};
use kakitome::message_log::MessageLog;
use kakitome::notification::NotificationId;
use kakitome::notification::address::Address;
use kakitome::provider::{EventKind, ProviderEvent};

use super::*;
use crate::proxy::Action;

const SECOND: Duration = Duration::from_secs(1);

const SENDERS: Roles = Roles { api: true, worker: true, webhook: false, console: false };

/// Resent after a second once silence means something; never because it took too long. Four seconds after it came an event
/// in somebody's hands counts as folded, unless he says otherwise.
const UNKNOWN: [(&str, &str); 4] = [
    ("worker.lease", "1800ms"),
    ("worker.hold", "1s"),
    ("worker.witness_cap", "1h"),
    ("queue.visibility", "4s"),
];

fn event(id: Option<NotificationId>, at: Timestamp) -> ProviderEvent {
    ProviderEvent {
        provider: "sandbox".into(),
        id,
        provider_message_id: None,
        event_id: Some(NotificationId::fresh().to_string()),
        kind: EventKind::Delivered,
        at,
        recipient: Address::parse("guest.evident@example.com").ok(),
        machine: false,
        lane: None,
        detail: serde_json::Map::new(),
    }
}

/// The process that takes events in and folds them.
struct Webhook {
    inbox: SqsInbox,
    log: DynamoLog,
}

impl Webhook {
    async fn beside(bench: &Bench) -> Arc<Self> {
        let url = &Emulator::ministack().url;
        let aws = emulator::connect(url, url).await;
        let table = bench.setting("dynamodb.table");
        let config = InboxConfig { url: bench.setting("sqs.events_url"), visibility_timeout: SECOND * 60 };
        let journal = Arc::new(DynamoJournal::open(&aws, &table, Clock::system()));
        let inbox = SqsInbox::open(&aws, config);
        let soon = Duration::from_millis(500);
        let late = lag::Config { late_after: soon, mark_every: soon, ..lag::Config::default() };
        let inbox = inbox.telling(journal, Clock::system(), late);
        let config = dynamodb::Config { table, ..dynamodb::Config::default() };
        Arc::new(Self { inbox, log: DynamoLog::open(&aws, &config) })
    }

    /// What a folder does with a parcel that it cannot fold for now, while it folds others.
    async fn hold(self: Arc<Self>, receipt: Receipt) {
        loop {
            self.inbox.keep(std::slice::from_ref(&receipt)).await.unwrap();
            let other = ProviderEvent { recipient: None, ..event(None, Clock::system().now()) };
            self.record(&[other]).await;
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    }

    async fn take_in(&self, event: ProviderEvent) {
        self.inbox.append(pack(&[event], Clock::system().now())).await.unwrap();
    }

    async fn take(&self) -> Vec<Taken> {
        self.inbox.take(1, SECOND * 5).await.unwrap()
    }

    async fn fold(&self, taken: &[Taken]) {
        for one in taken {
            self.record(&one.parcel.open().unwrap()).await;
        }
        let receipts: Vec<_> = taken.iter().map(|one| one.receipt.clone()).collect();
        self.inbox.done(&receipts).await.unwrap();
    }

    async fn record(&self, events: &[ProviderEvent]) {
        for recorded in self.log.record_events(events, Clock::system().now()).await {
            recorded.unwrap();
        }
    }
}

impl Bench {
    async fn hand_in(&self, key: &str) -> NotificationId {
        let (_, answer) = self.world.post("/v1/notifications", &booking(key)).await;
        answer["id"].as_str().unwrap().parse().unwrap()
    }

    async fn status(&self, id: NotificationId) -> String {
        let record = self.world.get(&format!("/v1/notifications/{id}")).await;
        record["status"].as_str().unwrap().to_owned()
    }

    async fn becomes(&self, id: NotificationId, status: &str) {
        let begun = Instant::now();
        while self.status(id).await != status {
            assert!(
                begun.elapsed() < PATIENCE,
                "{:#}",
                self.world.get(&format!("/v1/notifications/{id}")).await
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until the events queue was asked about so often from now on. Nothing else asks more than once in 15 s.
    async fn asks(&self, count: usize) {
        let events = self.setting("sqs.events_url");
        let asked = || {
            let seen = self.proxy.seen();
            let of_events = |body: &Value| {
                body["QueueUrl"].as_str().is_some_and(|url| events.ends_with(url.rsplit('/').next().unwrap()))
            };
            seen.iter().filter(|one| one.operation == "GetQueueAttributes" && of_events(&one.body)).count()
        };
        let (before, begun) = (asked(), Instant::now());
        while asked() < before + count {
            assert!(begun.elapsed() < PATIENCE, "it was asked {} times", asked() - before);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Two unknown outcomes: the one's event is in the hands of a webhook that is slow, of the other there is none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_waits_for_a_late_webhook_in_another_process_and_is_resent_once_it_is_done() {
    let bench = Bench::open_as(|place| place.roles = SENDERS, &UNKNOWN, "reset-after-accept=100%").await;
    let webhook = Webhook::beside(&bench).await;
    let (evident, silent) = (bench.hand_in("evident").await, bench.hand_in("silent").await);
    bench.becomes(evident, "unknown").await;
    bench.becomes(silent, "unknown").await;
    bench.world.play("");
    webhook.take_in(event(Some(evident), Clock::system().now())).await;
    let held = webhook.take().await;
    assert_eq!(held.len(), 1);
    // The provider is heard far past both attempts, as other events are folded all the time.
    let busy = tokio::spawn(webhook.clone().hold(held[0].receipt.clone()));
    bench.asks(20).await;
    assert_eq!(bench.world.sandbox().stats().accepted, 2, "its evidence waits to be folded");
    // While nobody can be asked nothing is resent either.
    bench.proxy.always("GetQueueAttributes", Action::Fail(403, "AccessDenied"));
    busy.abort();
    webhook.fold(&held).await;
    bench.becomes(evident, "sent").await;
    bench.asks(5).await;
    assert_eq!((bench.status(silent).await.as_str(), bench.world.sandbox().stats().accepted), ("unknown", 2));
    // Nothing waits any more, and everybody knows.
    bench.proxy.pass_all();
    bench.becomes(silent, "sent").await;
    let stats = bench.world.sandbox().stats();
    assert_eq!((stats.accepted, stats.distinct), (3, 2), "the silent one twice, the other once");
    bench.world.close().await;
}

/// Inboxes of two processes on one queue, whose time is the test's.
struct Two {
    late: SqsInbox,
    asks: SqsInbox,
    journal: Arc<dyn Journal>,
    clock: Clock,
    aws: Aws,
    url: String,
}

const VISIBILITY: Duration = Duration::from_secs(30);

/// What is trusted of a queue that is not empty: SQS counts within a minute, and what a dead process held comes again.
const SLACK: Duration = Duration::from_secs(90);

impl Two {
    async fn open() -> Self {
        let url = &Emulator::ministack().url;
        let aws = emulator::connect(url, url).await;
        let table = emulator::fresh_name("late");
        let config = dynamodb::Config { table: table.clone(), ..dynamodb::Config::default() };
        dynamodb::setup(&aws, &config).await.unwrap();
        let made = aws.sqs.create_queue().queue_name(&table).send().await.unwrap();
        let clock = Clock::manual(Clock::system().now());
        let journal: Arc<dyn Journal> = Arc::new(DynamoJournal::open(&aws, &table, clock.clone()));
        let config = InboxConfig { url: made.queue_url.unwrap(), visibility_timeout: VISIBILITY };
        let open = || {
            let inbox = SqsInbox::open(&aws, config.clone());
            inbox.telling(journal.clone(), clock.clone(), lag::Config::default())
        };
        let (late, asks) = (open(), open());
        Self { late, asks, journal, clock, url: config.url, aws }
    }

    async fn append(&self, age: Duration) {
        let came_at = self.clock.now().minus(age);
        self.late.append(pack(&[event(None, came_at)], came_at)).await.unwrap();
    }

    /// Asked when the last answer is no longer told again.
    async fn ask(&self, heard: Option<Duration>) -> Option<Timestamp> {
        self.clock.advance(SECOND * 10);
        let now = self.clock.now();
        self.asks.folded_until(now, heard.map(|age| now.minus(age))).await.unwrap()
    }

    /// How often anybody said that he is late.
    async fn marks(&self) -> u64 {
        let mark = self.journal.get(Kind::Mark, "events_late").await.unwrap();
        mark.map_or(0, |document| document.version)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_empty_queue_says_counts_and_what_a_full_one_does_only_while_somebody_folds() {
    let two = Two::open().await;
    let settled = SECOND * 60;
    assert_eq!(two.ask(None).await, Some(two.clock.now().minus(settled)));
    two.append(Duration::ZERO).await;
    // Nobody folds, as far as anybody knows.
    assert_eq!(two.ask(None).await, None);
    assert_eq!(two.ask(Some(SLACK + SECOND)).await, None);
    // Somebody does, who may have begun just now; and later still does, without a word that he is late.
    assert_eq!(two.ask(Some(SECOND)).await, None);
    assert_eq!(two.ask(Some(SECOND)).await, Some(two.clock.now().minus(SLACK)));
    assert_eq!(two.ask(Some(SLACK + SECOND)).await, None);
    assert_eq!(two.ask(Some(SECOND)).await, None, "from the beginning");
    two.clock.advance(SECOND * 600);
    assert_eq!(two.ask(Some(SECOND)).await, None, "what was seen so long ago counts no more");
    let taken = two.late.take(1, SECOND * 5).await.unwrap();
    two.late.done(&[taken[0].receipt.clone()]).await.unwrap();
    assert_eq!(two.ask(None).await, Some(two.clock.now().minus(settled)));
    assert!(two.marks().await <= 1, "what was taken had waited, and was gone at once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_holds_what_is_late_says_so_now_and_then_and_who_is_in_time_writes_nothing() {
    let two = Two::open().await;
    for _ in 0..3 {
        two.append(SECOND).await;
        let taken = two.late.take(1, SECOND * 5).await.unwrap();
        two.late.done(&[taken[0].receipt.clone()]).await.unwrap();
        two.clock.advance(SECOND * 11);
    }
    assert_eq!(two.marks().await, 0, "in time");
    two.append(SECOND * 300).await;
    two.append(SECOND * 200).await;
    let oldest = two.clock.now().minus(SECOND * 300);
    let mut held = two.late.take(1, SECOND * 5).await.unwrap();
    while held.len() < 2 {
        held.extend(two.late.take(1, SECOND * 5).await.unwrap());
    }
    let receipts: Vec<_> = held.iter().map(|one| one.receipt.clone()).collect();
    for _ in 0..5 {
        two.late.keep(&receipts).await.unwrap();
    }
    assert_eq!(two.marks().await, 1, "at most once in ten seconds");
    two.clock.advance(SECOND * 10);
    two.late.keep(&receipts).await.unwrap();
    assert_eq!(two.marks().await, 2, "as long as it holds them");
    assert_eq!(two.ask(Some(SECOND)).await, Some(oldest.minus(SLACK)));
    // It died: its word stands until what it held must have come again.
    two.clock.advance(VISIBILITY - SECOND);
    assert_eq!(two.ask(Some(SECOND)).await, Some(oldest.minus(SLACK)));
    assert_eq!(two.ask(Some(SECOND)).await, None);
    assert_eq!(two.ask(Some(SECOND)).await, Some(two.clock.now().minus(SLACK)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_is_told_again_for_a_while_and_an_error_is_none() {
    let two = Two::open().await;
    let now = two.clock.now();
    let first = two.asks.folded_until(now, None).await.unwrap();
    two.aws.sqs.delete_queue().queue_url(&two.url).send().await.unwrap();
    let later = now.plus(SECOND * 9);
    assert_eq!(two.asks.folded_until(later, None).await.unwrap(), first);
    assert!(two.asks.folded_until(now.plus(SECOND * 10), None).await.is_err());
    assert!(two.asks.folded_until(now.plus(SECOND * 11), None).await.is_err());
}
