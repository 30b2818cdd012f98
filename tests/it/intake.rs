//! Taking in: what is recorded is on the queue, each once, in one commit where one storage has both.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use kakitome::clock::{Clock, Timestamp};
use kakitome::intake::sqlite::SqliteIntake;
use kakitome::intake::{InTurn, Intake, Taken};
use kakitome::message_log::sqlite::SqliteLog;
use kakitome::message_log::{Acceptance, MessageLog, NewNotification};
use kakitome::notification::NotificationId;
use kakitome::notification::status::Status;
use kakitome::queue::sqlite::{self, SqliteQueue};
use kakitome::queue::{Queue, Settlement};
use kakitome::sqlite::{Config, Engine};

use super::conformance::{new, notification};

struct Bench {
    intake: Arc<dyn Intake>,
    log: SqliteLog,
    queue: SqliteQueue,
    engine: Engine,
    _home: tempfile::TempDir,
}

fn now() -> Timestamp {
    Timestamp::from_ms(1_800_000_000_000)
}

/// Taking in at once, and in turn.
async fn benches() -> [Bench; 2] {
    let mut benches = Vec::new();
    for is_at_once in [true, false] {
        let home = tempfile::tempdir().unwrap();
        let engine = Engine::open(home.path(), Config::default()).unwrap();
        let clock = Clock::manual(now());
        let queue = SqliteQueue::open(engine.clone(), clock, sqlite::Config::default()).await.unwrap();
        let log = SqliteLog::new(engine.clone());
        let intake: Arc<dyn Intake> = if is_at_once {
            Arc::new(SqliteIntake::new(engine.clone(), queue.clone()))
        } else {
            Arc::new(InTurn::new(Arc::new(log.clone())))
        };
        benches.push(Bench { intake, log, queue, engine, _home: home });
    }
    benches.try_into().unwrap_or_else(|_| unreachable!())
}

impl Bench {
    /// Takes in, and brings to the queue what is not there yet.
    async fn take(&self, new: &[NewNotification]) -> Vec<Acceptance> {
        let Taken { answers, messages } = self.intake.take(new, now()).await;
        assert!(self.queue.send_batch(&messages).await.iter().all(Result::is_ok));
        answers.into_iter().map(Result::unwrap).collect()
    }

    /// What comes to a worker, which is done with it.
    async fn work_off(&self) -> BTreeSet<NotificationId> {
        let deliveries = self.queue.receive(10, Duration::ZERO).await.unwrap();
        let ids = deliveries.iter().map(|delivery| delivery.id).collect();
        let done = deliveries.into_iter().map(|delivery| (delivery, Settlement::Done)).collect();
        assert!(self.queue.settle(done).await.iter().all(Result::is_ok));
        ids
    }
}

fn keyed(key: &str, text: &str) -> NewNotification {
    let (key, text) = (key.to_owned(), text.to_owned());
    let with = |one: &mut kakitome::notification::Notification| {
        one.idempotency_key = Some(key);
        one.text = Some(text);
    };
    new(notification(with), now())
}

#[tokio::test]
async fn what_is_new_comes_to_a_worker_once_whatever_is_repeated() {
    for bench in benches().await {
        let (first, second) = (keyed("1", "one"), keyed("2", "two"));
        let created = Acceptance::Created(Status::Accepted);
        assert_eq!(bench.take(&[first.clone(), second.clone()]).await, [created, created]);
        assert_eq!(bench.work_off().await, [first.id, second.id].into());
        let again = [first, keyed("2", "other words"), keyed("3", "three")];
        let repeated = [Acceptance::Duplicate(Status::Accepted), Acceptance::Conflict, created];
        assert_eq!(bench.take(&again).await, repeated);
        assert_eq!(bench.work_off().await, [again[2].id].into(), "what is known has had its message");
        assert!(bench.take(&[]).await.is_empty());
    }
}

#[tokio::test]
async fn a_wait_longer_than_the_queues_is_the_logs() {
    for bench in benches().await {
        let day = Duration::from_secs(24 * 3600);
        let later = new(notification(|one| one.deliver_at = Some(now().plus(day))), now());
        let soon = new(notification(|_| ()), now());
        assert_eq!(
            bench.take(&[later.clone(), soon.clone()]).await,
            [Acceptance::Created(Status::Scheduled), Acceptance::Created(Status::Accepted)]
        );
        assert_eq!(bench.queue.depth().await.unwrap().live(), 1);
        assert_eq!(bench.work_off().await, [soon.id].into());
        let due = MessageLog::due(&bench.log, now().plus(day), 10).await.unwrap();
        assert!(due.iter().any(|due| due.id == later.id), "the sweeper brings it");
    }
}

#[tokio::test]
async fn one_storage_takes_in_with_one_commit() {
    let [at_once, in_turn] = benches().await;
    for (bench, commits) in [(at_once, 1), (in_turn, 2)] {
        let before = bench.engine.commits();
        bench.take(&[keyed("1", "one")]).await;
        assert_eq!(bench.engine.commits() - before, commits);
    }
}

#[tokio::test]
async fn what_a_broken_storage_did_not_take_is_neither_recorded_nor_enqueued() {
    let [at_once, _] = benches().await;
    let broken = at_once.engine.write(|_| Err::<(), _>(rusqlite::Error::InvalidQuery)).await;
    assert!(broken.is_err());
    let one = keyed("1", "one");
    let taken = at_once.intake.take(std::slice::from_ref(&one), now()).await;
    assert!(taken.answers[0].is_err() && taken.messages.is_empty());
    assert!(at_once.log.get(one.id).await.unwrap().is_none());
    assert_eq!(at_once.queue.depth().await.unwrap().live(), 0);
}
