//! The whole house on SQS and DynamoDB while they fail as a proxy is told to. Always on AWS, whatever the backend of
//! the other tests is. The proof is always the same: whatever was accepted is at its end by itself, the sandbox took
//! each once, and the queue is empty.

mod aside;
mod away;
mod budget;
mod denied;
mod direct;
mod ill;
mod late;
mod lost;
mod twice;

use std::sync::Arc;
use std::time::{Duration, Instant};

use kakitome::aws::{Aws, Config};
use kakitome::clock::Clock;
use kakitome::message_log::dynamodb::{self, DynamoLog};
use kakitome::queue::sqs::{self, SqsQueue};
use kakitome::recovery::sweep::{self, Sweeper};
use kakitome::settings::Roles;
use serde_json::{Value, json};

use super::backend;
use super::emulator::{self, Emulator};
use super::proxy::Proxy;
use super::world::{Place, World, booking};

/// Nothing that these tests wait for takes longer on any machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A lease that outlives the SDK's own tries, and no resend of unknowns: an answer that is lost must be found again.
const PATIENT: [(&str, &str); 3] =
    [("worker.lease", "8s"), ("worker.hold", "2s"), ("worker.witness_cap", "1h")];

const DYNAMODB: [&str; 4] = ["BatchExecuteStatement", "BatchGetItem", "BatchWriteItem", "Query"];
const SQS: [&str; 5] = [
    "SendMessageBatch",
    "ReceiveMessage",
    "DeleteMessageBatch",
    "ChangeMessageVisibilityBatch",
    "GetQueueAttributes",
];

/// From when the sweeper looks at what should have been sent by now: a minute after the hold of an unknown is over.
const AHEAD: Duration = Duration::from_secs(90);

/// Nobody who sends.
const API_ONLY: Roles = Roles { api: true, worker: false, webhook: false, console: false };

/// A house behind a proxy.
struct Bench {
    world: World,
    proxy: Proxy,
    place: Place,
    /// To AWS without the proxy.
    direct: Aws,
}

/// A proxy, and a place behind it that is nobody else's.
async fn place() -> (Proxy, Place) {
    let proxy = Proxy::before(&Emulator::ministack().url).await;
    let name = emulator::fresh_name("house");
    let (sqs_url, dynamodb_url) = (proxy.url.clone(), proxy.url.clone());
    (
        proxy,
        Place { name, sqs_url, dynamodb_url, calls: Config::default(), roles: Roles::ALL, is_process: false },
    )
}

impl Bench {
    async fn open(settings: &[(&'static str, &str)], faults: &str) -> Self {
        Self::open_as(|_| (), settings, faults).await
    }

    async fn open_as(
        change: impl FnOnce(&mut Place),
        settings: &[(&'static str, &str)],
        faults: &str,
    ) -> Self {
        let (proxy, mut place) = place().await;
        change(&mut place);
        let settings: Vec<_> = PATIENT.into_iter().chain(settings.iter().copied()).collect();
        let world = World::open_on_aws(place.clone(), &settings, faults).await;
        let url = &Emulator::ministack().url;
        Self { world, proxy, place, direct: emulator::connect(url, url).await }
    }

    fn setting(&self, wanted: &str) -> String {
        let settings = backend::aws_settings(&self.place.name);
        settings.into_iter().find(|(path, _)| *path == wanted).unwrap().1
    }

    fn queue_url(&self) -> String {
        self.setting("sqs.queue_url")
    }

    fn dead_letter_url(&self) -> String {
        self.setting("sqs.dead_letter_url")
    }

    /// Hands in so many, again and again with the same keys until each is accepted.
    async fn accept(&self, prefix: &str, count: usize) {
        let bookings: Vec<Value> = (0..count).map(|i| booking(&format!("{prefix}-{i}"))).collect();
        for bookings in bookings.chunks(20) {
            let begun = Instant::now();
            loop {
                let (status, answer) = self.world.post("/v1/notifications/batch", &json!(bookings)).await;
                let results = answer["results"].as_array().cloned().unwrap_or_default();
                if results.len() == bookings.len() && results.iter().all(|result| result["id"].is_string()) {
                    break;
                }
                assert!(begun.elapsed() < PATIENCE, "{status} {answer}");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }

    /// Waits until so many requests of this operation came by.
    async fn sees(&self, operation: &str, count: usize) {
        let begun = Instant::now();
        while self.proxy.operations().iter().filter(|seen| *seen == operation).count() < count {
            assert!(begun.elapsed() < PATIENCE, "{:?}", self.proxy.operations());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Of each of these, accepted over and over, one mail; and nothing is left over.
    async fn all_sent_once(self, count: u64) -> String {
        self.wait_until_sent(count).await;
        let stats = self.world.sandbox().stats();
        assert_eq!((stats.distinct, stats.duplicates), (count, 0), "{stats:?}");
        self.world.close().await
    }

    /// How many records say that they are sent. The count of `/v1/status` may miss one whose write's answers are lost.
    async fn sent(&self) -> u64 {
        let page = self.world.get("/v1/notifications?limit=1000").await;
        let items = page["items"].as_array().cloned().unwrap_or_default();
        items.iter().filter(|item| item["status"] == "sent").count() as u64
    }

    async fn wait_until_sent(&self, count: u64) {
        let begun = Instant::now();
        while self.sent().await < count {
            assert!(begun.elapsed() < PATIENCE, "{:#}", self.world.get("/v1/status").await);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// What the sweeper does a minute and more later, until so many are sent. Each look is ten minutes after the last.
    async fn sweep_until_sent(&self, count: u64) {
        let clock = Clock::manual(Clock::system().now().plus(AHEAD));
        let sweeper = self.sweeper(&clock, &Emulator::ministack().url).await;
        let begun = Instant::now();
        while self.sent().await != count {
            assert!(begun.elapsed() < PATIENCE, "{:#}", self.world.get("/v1/status").await);
            sweeper.step().await.unwrap();
            clock.advance(Duration::from_secs(601));
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// Another sweeper of the same queue and table, whose time is the test's.
    async fn sweeper(&self, clock: &Clock, url: &str) -> Sweeper {
        let aws = emulator::connect(url, url).await;
        let table = self.setting("dynamodb.table");
        let config = dynamodb::Config { table, counts_kept: Duration::ZERO, ..dynamodb::Config::default() };
        let log = Arc::new(DynamoLog::open(&aws, &config));
        let queue = sqs::Config::new(self.queue_url(), self.dead_letter_url());
        let queue = Arc::new(SqsQueue::open(&aws, queue));
        Sweeper::new(log, queue, clock.clone(), sweep::Config::default())
    }

    /// Entries that were put on a queue so far.
    fn enqueued(&self) -> usize {
        let seen = self.proxy.seen();
        let sends = seen.iter().filter(|seen| seen.operation == "SendMessageBatch");
        sends.map(|seen| seen.body["Entries"].as_array().map_or(0, Vec::len)).sum()
    }
}

/// How many lines of a log say this.
fn said(log: &str, words: &str) -> usize {
    log.lines().filter(|line| line.contains(words)).count()
}
