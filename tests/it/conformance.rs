//! One suite over the ports. A backend joins it with a function that makes a fresh bench, and one line.

mod log;
mod queue;

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use kakitome::clock::{Clock, Timestamp};
use kakitome::message_log::MessageLog;
use kakitome::message_log::dynamodb::{self, DynamoLog};
use kakitome::message_log::sqlite::SqliteLog;
use kakitome::queue::Queue;
use kakitome::queue::sqlite::{self, SqliteQueue};
use kakitome::queue::sqs::setup::Queues;
use kakitome::sqlite::{Config, Engine};

use super::sqs;
use crate::emulator::{self, Emulator};

/// A fresh, empty queue and what the suite needs to know of it.
pub struct QueueBench {
    pub queue: Box<dyn Queue>,
    /// Lets so much of the queue's time pass.
    pub pass: Box<dyn Fn(Duration) -> BoxFuture<'static, ()> + Send + Sync>,
    pub visibility_timeout: Duration,
    pub max_receive_count: u32,
    /// A wait that is long beside what a case does meanwhile. Where time really passes, as short as can be.
    pub wait: Duration,
    /// Whether what is given back with a wait counts as in flight until then: SQS hides it, and counts it so.
    pub hides_what_is_given_back: bool,
    /// What must outlive the queue.
    pub _home: Box<dyn Any + Send + Sync>,
}

/// A fresh, empty log.
pub struct LogBench {
    pub log: Arc<dyn MessageLog>,
    /// Lists what was not sent by when its wait began, where the latest accepted first are asked for: its index of
    /// those has no other order.
    pub newest_by_wait: bool,
    /// What must outlive the log.
    pub _home: Box<dyn Any + Send + Sync>,
}

/// Makes a test of every named case, each on a fresh bench.
macro_rules! on_each {
    ($cases:path, $bench:path; $($case:ident)+) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                use $cases as cases;
                cases::$case(&$bench().await).await;
            }
        )+
    };
}
pub(crate) use on_each;

pub use log::{accept, new, notification, send};

mod sqlite_queue {
    super::queue::suite!(super::sqlite_queue_bench);
    super::queue::order_suite!(super::sqlite_queue_bench);
}

mod sqs_queue {
    super::queue::suite!(super::sqs_queue_bench);
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

async fn sqlite_queue_bench() -> QueueBench {
    let home = tempfile::tempdir().unwrap();
    let engine = Engine::open(home.path(), Config::default()).unwrap();
    let clock = Clock::manual(Timestamp::from_ms(1_800_000_000_000));
    let config = sqlite::Config { max_receive_count: 3, ..sqlite::Config::default() };
    let (visibility_timeout, max_receive_count) = (config.visibility_timeout, config.max_receive_count);
    let queue = SqliteQueue::open(engine, clock.clone(), config).await.unwrap();
    QueueBench {
        queue: Box::new(queue),
        pass: Box::new(move |span| {
            clock.advance(span);
            Box::pin(async {})
        }),
        visibility_timeout,
        max_receive_count,
        wait: Duration::from_secs(300),
        hides_what_is_given_back: false,
        _home: Box::new(home),
    }
}

/// On a server of the protocol, where time really passes and is counted in whole seconds.
async fn sqs_queue_bench() -> QueueBench {
    let visibility_timeout = Duration::from_secs(3);
    let queues = Queues { visibility_timeout, max_receive_count: 3, ..sqs::fresh_queues() };
    let bench = sqs::Bench::open(queues).await;
    QueueBench {
        visibility_timeout,
        max_receive_count: bench.queues.max_receive_count,
        queue: Box::new(bench.queue),
        pass: Box::new(|span| Box::pin(tokio::time::sleep(span))),
        wait: Duration::from_secs(3),
        hides_what_is_given_back: true,
        _home: Box::new(()),
    }
}

async fn sqlite_log_bench() -> LogBench {
    let home = tempfile::tempdir().unwrap();
    let engine = Engine::open(home.path(), Config::default()).unwrap();
    LogBench { log: Arc::new(SqliteLog::new(engine)), newest_by_wait: false, _home: Box::new(home) }
}

async fn ministack_log_bench() -> LogBench {
    dynamodb_log_bench(&Emulator::ministack().url).await
}

async fn dynoxide_log_bench() -> LogBench {
    dynamodb_log_bench(&Emulator::dynoxide().url).await
}

/// A table of its own on the server at `url`.
pub async fn dynamodb_log_bench(url: &str) -> LogBench {
    let aws = emulator::connect(url, url).await;
    // A count that is told again would hide what a case did since.
    let config = dynamodb::Config {
        table: emulator::fresh_name("log"),
        counts_kept: Duration::ZERO,
        ..dynamodb::Config::default()
    };
    dynamodb::setup(&aws, &config).await.unwrap();
    LogBench { log: Arc::new(DynamoLog::open(&aws, &config)), newest_by_wait: true, _home: Box::new(()) }
}
