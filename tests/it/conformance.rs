//! One suite over the ports. A backend joins it with a function that makes a fresh bench, and one line.

pub mod aside;
mod feed;
mod inbox;
mod journal;
mod log;
mod queue;
pub mod slots;
pub mod suppression;
pub mod told;

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use kakitome::clock::{Clock, Timestamp};
use kakitome::feed::dynamodb::Named;
use kakitome::feed::sqlite::SqliteFeed;
use kakitome::inbox::Inbox;
use kakitome::inbox::sqlite::{self as inbox_sqlite, SqliteInbox};
use kakitome::inbox::sqs::{self as inbox_sqs, SqsInbox};
use kakitome::journal::dynamodb::DynamoJournal;
use kakitome::journal::sqlite::SqliteJournal;
use kakitome::message_log::dynamodb::{self, DynamoLog};
use kakitome::message_log::sqlite::SqliteLog;
use kakitome::message_log::unmatched::{Looked, Unmatched, UnmatchedEvents, UnmatchedPage};
use kakitome::message_log::{LogError, MessageLog};
use kakitome::queue::Queue;
use kakitome::queue::sqlite::{self, SqliteQueue};
use kakitome::queue::sqs::setup::Queues;
use kakitome::sqlite::{Config, Engine};
use kakitome::suppression::dynamodb::DynamoSuppressions;
use kakitome::suppression::sqlite::SqliteSuppressions;

use super::sqs;
use crate::emulator::{self, Emulator};
use feed::FeedBench;
use inbox::InboxBench;
use journal::JournalBench;
use suppression::SuppressionBench;
use told::FeedHouse;

/// A fresh, empty queue and what the suite needs to know of it.
pub struct QueueBench {
    /// Whose it is: `sqlite`, or an emulator's name.
    pub server: &'static str,
    pub queue: Box<dyn Queue>,
    /// Lets so much of the queue's time pass.
    pub pass: Box<dyn Fn(Duration) -> BoxFuture<'static, ()> + Send + Sync>,
    pub visibility_timeout: Duration,
    pub max_receive_count: u32,
    /// A wait that is long beside what a case does meanwhile. Where time really passes, as short as can be.
    pub wait: Duration,
    /// Whether what is given back with a wait counts as in flight until then: SQS hides it, and counts it so.
    pub hides_what_is_given_back: bool,
    /// Whether `Done` of a stale delivery may read as done: SQS deletes nothing then, and says nothing.
    pub may_say_done_of_what_is_stale: bool,
    /// What must outlive the queue.
    pub _home: Box<dyn Any + Send + Sync>,
}

/// A fresh, empty log.
pub struct LogBench {
    /// Whose it is: `sqlite`, or an emulator's name.
    pub server: &'static str,
    pub log: Arc<dyn MessageLog>,
    /// The same, as it keeps what matches nothing.
    pub unmatched: Arc<dyn UnmatchedEvents>,
    /// Lists what was not sent by when its wait began, where the latest accepted first are asked for: its index of
    /// those has no other order.
    pub newest_by_wait: bool,
    /// What must outlive the log.
    pub _home: Box<dyn Any + Send + Sync>,
}

/// For who needs somewhere to ask for unmatched events, and asks for none.
pub struct NoStrays;

#[async_trait::async_trait]
impl UnmatchedEvents for NoStrays {
    async fn due(&self, _: Timestamp, _: usize) -> Result<Vec<Unmatched>, LogError> {
        Ok(Vec::new())
    }
    async fn looked(&self, _: &[Looked], _: Timestamp) -> Result<(), LogError> {
        Ok(())
    }
    async fn list(&self, _: Option<&str>, _: usize) -> Result<UnmatchedPage, LogError> {
        Ok(UnmatchedPage::default())
    }
    async fn count(&self) -> Result<u64, LogError> {
        Ok(0)
    }
}

/// Makes a test of every named case, each on a fresh bench. What the bench's server is known to do wrong must show.
macro_rules! on_each {
    (@one [$(#[$note:meta])*] $cases:path, $bench:path, $case:ident) => {
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        $(#[$note])*
        async fn $case() {
            use $cases as cases;
            let bench = $bench().await;
            let played = AssertUnwindSafe(cases::$case(&bench)).catch_unwind().await;
            crate::emulator::judge(bench.server, stringify!($case), played);
        }
    };
    (@all $notes:tt $cases:path, $bench:path; $($case:ident)+) => {
        $( crate::conformance::on_each! { @one $notes $cases, $bench, $case } )+
    };
    ($(#[$note:meta])* $cases:path, $bench:path; $($case:ident)+) => {
        use std::panic::AssertUnwindSafe;
        use futures::FutureExt;
        crate::conformance::on_each! { @all [$(#[$note])*] $cases, $bench; $($case)+ }
    };
}
pub(crate) use on_each;

pub use log::{accept, claim, new, notification, send, start, to};

mod sqlite_queue {
    super::queue::suite!(super::sqlite_queue_bench);
}

mod sqlite_order {
    super::queue::order_suite!(super::sqlite_queue_bench);
}

mod ministack_queue {
    super::queue::suite!(super::ministack_queue_bench);
}

mod fauxqs_queue {
    super::queue::suite!(super::fauxqs_queue_bench);
}

mod sqlite_inbox {
    super::inbox::suite!(super::sqlite_inbox_bench);
}

mod sqlite_inbox_order {
    super::inbox::order_suite!(super::sqlite_inbox_bench);
}

mod ministack_inbox {
    super::inbox::suite!(super::ministack_inbox_bench);
}

mod fauxqs_inbox {
    super::inbox::suite!(super::fauxqs_inbox_bench);
}

mod sqlite_log {
    super::log::suite!(super::sqlite_log_bench);
}

mod ministack_log {
    super::log::suite!(super::ministack_log_bench);
}

mod dynoxide_log {
    super::log::suite!(super::dynoxide_log_bench);
}

mod sqlite_journal {
    super::journal::suite!(super::sqlite_journal_bench);
}

mod sqlite_aside {
    super::aside::suite!(super::sqlite_journal_bench);
}

mod ministack_aside {
    super::aside::suite!(super::ministack_journal_bench);
}

mod dynoxide_aside {
    super::aside::suite!(super::dynoxide_journal_bench);
}

mod sqlite_slots {
    super::slots::suite!(super::sqlite_journal_bench);
}

mod ministack_slots {
    super::slots::suite!(super::ministack_journal_bench);
}

mod dynoxide_slots {
    super::slots::suite!(super::dynoxide_journal_bench);
}

mod sqlite_feed {
    super::feed::suite!(super::sqlite_feed_bench);
}

mod sqlite_feed_prune {
    super::feed::prune_suite!(super::sqlite_feed_bench);
}

mod ministack_feed {
    super::feed::suite!(super::ministack_feed_bench);
}

mod dynoxide_feed {
    super::feed::suite!(super::dynoxide_feed_bench);
}

mod ministack_journal {
    super::journal::suite!(super::ministack_journal_bench);
}

mod dynoxide_journal {
    super::journal::suite!(super::dynoxide_journal_bench);
}

mod sqlite_suppression {
    super::suppression::suite!(super::sqlite_suppression_bench);
}

mod ministack_suppression {
    super::suppression::suite!(super::ministack_suppression_bench);
}

mod dynoxide_suppression {
    super::suppression::suite!(super::dynoxide_suppression_bench);
}

// Amazon's own and the largest: not everywhere is what they need. Ignored unless asked for, so that nobody takes them
// for passed where they did not run.

mod localstack_queue {
    super::queue::suite!(
        #[ignore = "LocalStack needs Python 3.13: `make aws-second` installs and runs it"]
        super::localstack_queue_bench
    );
}

mod dynamodb_local_log {
    super::log::suite!(
        #[ignore = "DynamoDB Local needs Java: `make aws-second` installs and runs it"]
        super::dynamodb_local_log_bench
    );
}

mod dynamodb_local_feed {
    super::feed::suite!(
        #[ignore = "DynamoDB Local needs Java: `make aws-second` installs and runs it"]
        super::dynamodb_local_feed_bench
    );
}

mod dynamodb_local_journal {
    super::journal::suite!(
        #[ignore = "DynamoDB Local needs Java: `make aws-second` installs and runs it"]
        super::dynamodb_local_journal_bench
    );
}

mod dynamodb_local_suppression {
    super::suppression::suite!(
        #[ignore = "DynamoDB Local needs Java: `make aws-second` installs and runs it"]
        super::dynamodb_local_suppression_bench
    );
}

async fn sqlite_queue_bench() -> QueueBench {
    let home = tempfile::tempdir().unwrap();
    let engine = Engine::open(home.path(), Config::default()).unwrap();
    let clock = Clock::manual(Timestamp::from_ms(1_800_000_000_000));
    let config = sqlite::Config { max_receive_count: 3, ..sqlite::Config::default() };
    let (visibility_timeout, max_receive_count) = (config.visibility_timeout, config.max_receive_count);
    let queue = SqliteQueue::open(engine, clock.clone(), config).await.unwrap();
    QueueBench {
        server: "sqlite",
        queue: Box::new(queue),
        pass: Box::new(move |span| {
            clock.advance(span);
            Box::pin(async {})
        }),
        visibility_timeout,
        max_receive_count,
        wait: Duration::from_secs(300),
        hides_what_is_given_back: false,
        may_say_done_of_what_is_stale: false,
        _home: Box::new(home),
    }
}

async fn ministack_queue_bench() -> QueueBench {
    let short = Duration::from_secs(3);
    sqs_queue_bench(Emulator::ministack(), short, Duration::ZERO).await
}

async fn fauxqs_queue_bench() -> QueueBench {
    let short = Duration::from_secs(3);
    sqs_queue_bench(Emulator::fauxqs(), short, Duration::ZERO).await
}

/// It looks at its clock once a second: what is due comes up to a second late.
async fn localstack_queue_bench() -> QueueBench {
    sqs_queue_bench(Emulator::localstack(), Duration::from_secs(8), Duration::from_secs(1)).await
}

/// On a server of the protocol, where time really passes and is counted in whole seconds; `late` is what it may be late.
async fn sqs_queue_bench(
    emulator: &'static Emulator,
    visibility_timeout: Duration,
    late: Duration,
) -> QueueBench {
    let queues = Queues { visibility_timeout, max_receive_count: 3, ..sqs::fresh_queues_on(emulator) };
    let bench = sqs::Bench::open_on(emulator, queues).await;
    QueueBench {
        server: emulator.name,
        visibility_timeout,
        max_receive_count: bench.queues.max_receive_count,
        queue: Box::new(bench.queue),
        pass: Box::new(move |span| Box::pin(tokio::time::sleep(span + late))),
        wait: Duration::from_secs(3) + late,
        hides_what_is_given_back: true,
        may_say_done_of_what_is_stale: true,
        _home: Box::new(()),
    }
}

async fn sqlite_inbox_bench() -> InboxBench {
    let home = tempfile::tempdir().unwrap();
    let engine = Engine::open(home.path(), Config::default()).unwrap();
    let reopen = move |engine: Engine| async move {
        Box::new(SqliteInbox::open(engine, inbox_sqlite::Config::default()).await.unwrap()) as Box<dyn Inbox>
    };
    InboxBench {
        server: "sqlite",
        inbox: reopen(engine.clone()).await,
        again: Box::new(move || Box::pin(reopen(engine.clone()))),
        wait: Duration::from_millis(100),
        counts_events: true,
        _home: Box::new(home),
    }
}

async fn ministack_inbox_bench() -> InboxBench {
    sqs_inbox_bench(Emulator::ministack()).await
}

async fn fauxqs_inbox_bench() -> InboxBench {
    sqs_inbox_bench(Emulator::fauxqs()).await
}

/// Its own queue; what another folder left comes again once its visibility time-out is over.
async fn sqs_inbox_bench(emulator: &'static Emulator) -> InboxBench {
    let queues = sqs::fresh_queues_on(emulator);
    let bench = sqs::Bench::open_on(emulator, queues).await;
    let aws = emulator::connect(&emulator.url, &emulator.url).await;
    let visibility_timeout = Duration::from_secs(2);
    let config = inbox_sqs::Config { url: bench.queues.queue_url, visibility_timeout };
    InboxBench {
        server: emulator.name,
        inbox: Box::new(SqsInbox::open(&aws, config.clone())),
        again: Box::new(move || {
            let inbox = SqsInbox::open(&aws, config.clone());
            Box::pin(async move {
                tokio::time::sleep(visibility_timeout).await;
                Box::new(inbox) as Box<dyn Inbox>
            })
        }),
        wait: Duration::from_secs(3),
        counts_events: false,
        _home: Box::new(()),
    }
}

async fn sqlite_log_bench() -> LogBench {
    let home = tempfile::tempdir().unwrap();
    let engine = Engine::open(home.path(), Config::default()).unwrap();
    let log = Arc::new(SqliteLog::new(engine));
    LogBench {
        server: "sqlite",
        log: log.clone(),
        unmatched: log,
        newest_by_wait: false,
        _home: Box::new(home),
    }
}

async fn ministack_log_bench() -> LogBench {
    dynamodb_log_bench(Emulator::ministack()).await
}

async fn dynoxide_log_bench() -> LogBench {
    dynamodb_log_bench(Emulator::dynoxide()).await
}

async fn dynamodb_local_log_bench() -> LogBench {
    dynamodb_log_bench(Emulator::dynamodb_local()).await
}

/// A table of its own on this server.
async fn dynamodb_log_bench(emulator: &'static Emulator) -> LogBench {
    let aws = emulator::connect(&emulator.url, &emulator.url).await;
    // A count that is told again would hide what a case did since.
    let config = dynamodb::Config {
        table: emulator::fresh_name("log"),
        counts_kept: Duration::ZERO,
        ..dynamodb::Config::default()
    };
    dynamodb::setup(&aws, &config).await.unwrap();
    let log = Arc::new(DynamoLog::open(&aws, &config));
    LogBench {
        server: emulator.name,
        log: log.clone(),
        unmatched: log,
        newest_by_wait: true,
        _home: Box::new(()),
    }
}

async fn sqlite_feed_bench() -> FeedBench {
    let home = tempfile::tempdir().unwrap();
    let engine = Engine::open(home.path(), Config::default()).unwrap();
    let (log, feed) = (SqliteLog::new(engine.clone()), SqliteFeed::new(engine));
    FeedBench { server: "sqlite", log: Arc::new(log), feed: Arc::new(feed), _home: Box::new(home) }
}

async fn ministack_feed_bench() -> FeedBench {
    dynamodb_feed_bench(Emulator::ministack()).await
}

async fn dynoxide_feed_bench() -> FeedBench {
    dynamodb_feed_bench(Emulator::dynoxide()).await
}

async fn dynamodb_local_feed_bench() -> FeedBench {
    dynamodb_feed_bench(Emulator::dynamodb_local()).await
}

async fn dynamodb_feed_bench(emulator: &'static Emulator) -> FeedBench {
    let aws = emulator::connect(&emulator.url, &emulator.url).await;
    let config = dynamodb::Config { table: emulator::fresh_name("feed"), ..dynamodb::Config::default() };
    dynamodb::setup(&aws, &config).await.unwrap();
    let house = FeedHouse::open(&aws, &config, &Clock::manual(log::start()), Named::All);
    let feed = Arc::new(house.settling());
    FeedBench { server: emulator.name, log: house.log, feed, _home: Box::new(()) }
}

async fn sqlite_journal_bench() -> JournalBench {
    let home = tempfile::tempdir().unwrap();
    let engine = Engine::open(home.path(), Config::default()).unwrap();
    let clock = Clock::manual(journal::start());
    let journal = Arc::new(SqliteJournal::new(engine, clock.clone()));
    JournalBench { server: "sqlite", journal, clock, _home: Box::new(home) }
}

async fn ministack_journal_bench() -> JournalBench {
    dynamodb_journal_bench(Emulator::ministack()).await
}

async fn dynoxide_journal_bench() -> JournalBench {
    dynamodb_journal_bench(Emulator::dynoxide()).await
}

async fn dynamodb_local_journal_bench() -> JournalBench {
    dynamodb_journal_bench(Emulator::dynamodb_local()).await
}

async fn dynamodb_journal_bench(emulator: &'static Emulator) -> JournalBench {
    let aws = emulator::connect(&emulator.url, &emulator.url).await;
    let config = dynamodb::Config { table: emulator::fresh_name("journal"), ..dynamodb::Config::default() };
    dynamodb::setup(&aws, &config).await.unwrap();
    let clock = Clock::manual(journal::start());
    let journal = Arc::new(DynamoJournal::open(&aws, &config.table, clock.clone()));
    JournalBench { server: emulator.name, journal, clock, _home: Box::new(()) }
}

async fn sqlite_suppression_bench() -> SuppressionBench {
    let home = tempfile::tempdir().unwrap();
    let engine = Engine::open(home.path(), Config::default()).unwrap();
    let list = Arc::new(SqliteSuppressions::new(engine, Clock::manual(suppression::at(0))));
    SuppressionBench { server: "sqlite", list, _home: Box::new(home) }
}

async fn ministack_suppression_bench() -> SuppressionBench {
    dynamodb_suppression_bench(Emulator::ministack()).await
}

async fn dynoxide_suppression_bench() -> SuppressionBench {
    dynamodb_suppression_bench(Emulator::dynoxide()).await
}

async fn dynamodb_local_suppression_bench() -> SuppressionBench {
    dynamodb_suppression_bench(Emulator::dynamodb_local()).await
}

async fn dynamodb_suppression_bench(emulator: &'static Emulator) -> SuppressionBench {
    let aws = emulator::connect(&emulator.url, &emulator.url).await;
    let config =
        dynamodb::Config { table: emulator::fresh_name("suppressed"), ..dynamodb::Config::default() };
    dynamodb::setup(&aws, &config).await.unwrap();
    let list = Arc::new(DynamoSuppressions::open(&aws, &config.table));
    SuppressionBench { server: emulator.name, list, _home: Box::new(()) }
}
