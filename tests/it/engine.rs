//! The embedded engine and what is particular to the adapters on it.

mod migration;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use kakitome::clock::{Clock, Timestamp};
use kakitome::message_log::sqlite::SqliteLog;
use kakitome::message_log::{Applied, Filter, LogError, MessageLog, Order};
use kakitome::notification::status::{By, Fact, Status};
use kakitome::notification::{NotificationId, Priority};
use kakitome::queue::sqlite::SqliteQueue;
use kakitome::queue::{Message, Queue, Settlement, sqlite};
use kakitome::shutdown;
use kakitome::sqlite::{Config, Engine, EngineError, OpenError, Pace};
use tempfile::TempDir;

fn home() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn open(home: &TempDir) -> Engine {
    Engine::open(home.path(), Config::default()).unwrap()
}

/// Writes one row that can be found again.
async fn mark(engine: &Engine, name: &str) -> Result<(), EngineError> {
    let name = name.to_owned();
    let written =
        engine.write(move |tx| tx.execute("INSERT INTO witness (provider, at) VALUES (?1, 1)", [name]));
    written.await.map(drop)
}

async fn marks(engine: &Engine) -> i64 {
    engine.read(|tx| tx.query_row("SELECT count(*) FROM witness", [], |row| row.get(0))).await.unwrap()
}

#[tokio::test]
async fn what_was_answered_is_there_after_reopening() {
    let home = home();
    let engine = open(&home);
    for i in 0..10 {
        mark(&engine, &format!("p{i}")).await.unwrap();
    }
    drop(engine);
    let engine = open(&home);
    assert_eq!(marks(&engine).await, 10);
    engine.close().await;
    assert_eq!(mark(&engine, "late").await, Err(EngineError::Closed));
    assert!(matches!(engine.read(|_| Ok(())).await, Err(EngineError::Closed)));
    assert_eq!(marks(&open(&home)).await, 10);
}

#[tokio::test]
async fn a_directory_serves_one_engine_at_a_time() {
    let home = home();
    let first = open(&home);
    let refused = Engine::open(home.path(), Config::default());
    assert!(matches!(refused, Err(OpenError::Locked(dir)) if dir == home.path()));
    first.close().await;
    open(&home);
}

/// Work that may wait, in so many pieces; each writes a row.
async fn pieces(engine: &Engine, count: usize) -> Result<usize, EngineError> {
    let mut done = 0;
    let work = move |tx: &rusqlite::Connection, pace: &Pace| {
        while done < count {
            tx.execute("INSERT INTO witness (provider, at) VALUES (?1, 1)", [format!("piece-{done}")])?;
            done += 1;
            if pace.is_over() {
                break;
            }
        }
        Ok((done == count).then_some(done))
    };
    engine.write_between(work).await
}

#[tokio::test(flavor = "multi_thread")]
async fn work_that_may_wait_lets_others_between_its_pieces_and_comes_to_its_end() {
    let home = home();
    let engine = open(&home);
    let begun = engine.commits();
    let waiting = engine.clone();
    let long = tokio::spawn(async move { pieces(&waiting, 50_000).await });
    // Somebody always waits, and each is answered long before the work is done.
    let mut others = 0;
    while !long.is_finished() && others < 200 {
        mark(&engine, &format!("prompt-{others}")).await.unwrap();
        others += 1;
    }
    assert!(others > 10, "only {others} had a turn");
    assert_eq!(long.await.unwrap(), Ok(50_000));
    assert!(engine.commits() - begun > others, "each piece is a commit of its own");
    assert_eq!(marks(&engine).await, 50_000 + i64::try_from(others).unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn closing_lets_work_that_was_begun_come_to_its_end() {
    let home = home();
    let engine = open(&home);
    let waiting = engine.clone();
    let long = tokio::spawn(async move { pieces(&waiting, 20_000).await });
    let begun = engine.commits();
    while engine.commits() == begun {
        tokio::task::yield_now().await;
    }
    engine.close().await;
    assert_eq!(long.await.unwrap(), Ok(20_000));
    assert_eq!(pieces(&engine, 1).await, Err(EngineError::Closed));
    assert_eq!(marks(&open(&home)).await, 20_000);
}

/// How often the write-ahead log has started anew: its header's checkpoint number, <https://sqlite.org/fileformat.html>.
fn starts_of_log(home: &TempDir) -> u32 {
    let log = std::fs::read(home.path().join("kakitome.db-wal")).unwrap();
    log.get(12..16).map_or(0, |bytes| u32::from_be_bytes(bytes.try_into().unwrap()))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_starts_anew_although_somebody_always_writes() {
    let home = home();
    let engine = Engine::open(home.path(), Config { checkpoint_frames: 50, ..Config::default() }).unwrap();
    let begun = (Instant::now(), starts_of_log(&home));
    let patient = engine.clone();
    let patient = tokio::spawn(async move { pieces(&patient, 100_000).await });
    let mut i = 0;
    while starts_of_log(&home) < begun.1 + 3 {
        assert!(begun.0.elapsed() < Duration::from_secs(60), "it only grows");
        mark(&engine, &format!("p{i}")).await.unwrap();
        i += 1;
    }
    assert_eq!(patient.await.unwrap(), Ok(100_000));
    let written = marks(&engine).await;
    engine.close().await;
    assert_eq!(marks(&open(&home)).await, written);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_is_copied_although_somebody_reads_on_and_on() {
    let home = home();
    let engine = Engine::open(home.path(), Config { checkpoint_frames: 50, ..Config::default() }).unwrap();
    let begun = Instant::now();
    let copied = || std::fs::metadata(home.path().join("kakitome.db")).unwrap().len();
    let is_enough = Arc::new(AtomicBool::new(false));
    let (reader, enough) = (engine.clone(), is_enough.clone());
    let (begin, has_begun) = tokio::sync::oneshot::channel();
    let mut begin = Some(begin);
    let reading = tokio::spawn(async move {
        let count =
            |tx: &rusqlite::Connection| tx.query_row("SELECT count(*) FROM witness", [], |row| row.get(0));
        let read = reader.read_on(move |tx, pace| {
            let seen: i64 = count(tx)?;
            if let Some(begin) = begin.take() {
                begin.send(()).unwrap();
            }
            while !pace.is_over() {
                assert_eq!(count(tx)?, seen, "a turn has one snapshot");
            }
            Ok(enough.load(Ordering::Relaxed).then_some(seen))
        });
        read.await
    });
    has_begun.await.unwrap();
    let (mut written, first) = (0, copied());
    while copied() < first + (1 << 20) {
        assert!(begun.elapsed() < Duration::from_secs(60), "a snapshot keeps it from being copied");
        mark(&engine, &format!("p{written}{}", "x".repeat(4000))).await.unwrap();
        written += 1;
    }
    is_enough.store(true, Ordering::Relaxed);
    assert!(reading.await.unwrap().unwrap() > 0, "a later turn sees what was written since the first");
    assert_eq!(marks(&engine).await, written);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_commands_share_a_commit_and_a_lone_one_does_not_wait() {
    let home = home();
    let engine = open(&home);
    let writes = (0..2000).map(|i| {
        let engine = engine.clone();
        tokio::spawn(async move { mark(&engine, &format!("p{i}")).await })
    });
    for write in writes.collect::<Vec<_>>() {
        write.await.unwrap().unwrap();
    }
    assert_eq!(marks(&engine).await, 2000);
    let commits = engine.commits();
    assert!((1..=100).contains(&commits), "{commits} commits for 2000 commands");
    engine.write(|_| Ok(())).await.unwrap();
    assert_eq!(engine.commits(), commits, "what changes nothing costs no commit");
    for i in 0..5 {
        mark(&engine, &format!("alone{i}")).await.unwrap();
    }
    assert_eq!(engine.commits(), commits + 5);
}

#[tokio::test]
async fn what_somebody_waits_for_joins_the_commit_of_patient_work_that_is_under_way() {
    let home = home();
    let engine = open(&home);
    let (release, gate) = std::sync::mpsc::channel::<()>();
    let (started, running) = tokio::sync::oneshot::channel();
    let mut started = Some(started);
    let patient = tokio::spawn({
        let engine = engine.clone();
        async move {
            let work = move |tx: &rusqlite::Connection, _: &Pace| {
                tx.execute("INSERT INTO witness (provider, at) VALUES ('patient', 1)", [])?;
                Ok((started.take().is_some_and(|started| started.send(()).is_ok()) && gate.recv().is_err())
                    .then_some(()))
            };
            engine.write_between(work).await
        }
    });
    running.await.unwrap();
    let mut waiting: [BoxFuture<'_, _>; 2] =
        [Box::pin(mark(&engine, "one")), Box::pin(mark(&engine, "other"))];
    for write in &mut waiting {
        assert!(futures::poll!(write.as_mut()).is_pending());
    }
    drop(release);
    for write in waiting {
        write.await.unwrap();
    }
    patient.await.unwrap().unwrap();
    assert_eq!((engine.commits(), marks(&engine).await), (1, 3));
}

/// A first command keeps the writer busy until the others wait behind it, so that they form one group.
async fn one_group(
    engine: &Engine,
    broken: impl FnOnce() -> rusqlite::Result<()> + Send + 'static,
) -> Vec<EngineError> {
    let (release, gate) = std::sync::mpsc::channel::<()>();
    let (started, running) = tokio::sync::oneshot::channel();
    let busy = tokio::spawn({
        let engine = engine.clone();
        async move { engine.write(move |_| Ok(started.send(()).is_ok() && gate.recv().is_ok())).await }
    });
    running.await.unwrap();
    let mut waiting: Vec<BoxFuture<'_, Result<(), EngineError>>> = vec![
        Box::pin(mark(engine, "before")),
        Box::pin(engine.write(move |_| broken())),
        Box::pin(mark(engine, "behind")),
    ];
    for write in &mut waiting {
        assert!(futures::poll!(write.as_mut()).is_pending());
    }
    drop(release);
    busy.await.unwrap().unwrap();
    let mut errors = Vec::new();
    for write in waiting {
        errors.push(write.await.unwrap_err());
    }
    errors
}

#[tokio::test]
async fn a_failing_command_fails_its_group_and_breaks_the_engine_for_good() {
    let home = home();
    let engine = open(&home);
    mark(&engine, "kept").await.unwrap();
    let broken = engine.broken();
    let errors = one_group(&engine, || Err(rusqlite::Error::InvalidQuery)).await;
    assert!(errors.iter().all(|error| matches!(error, EngineError::Broken(_))), "{errors:?}");
    assert_eq!(broken.await, errors[0]);
    assert_eq!(engine.broken().await, errors[0], "who asks late is told too");
    assert_eq!(mark(&engine, "later").await, Err(errors[0].clone()));
    assert_eq!(marks(&engine).await, 1, "reading goes on, and nothing of the group was kept");
    drop(engine);
    assert_eq!(marks(&open(&home)).await, 1);
}

#[tokio::test]
async fn a_panicking_command_breaks_the_engine_too() {
    let home = home();
    let engine = open(&home);
    let errors = one_group(&engine, || panic!("a bug")).await;
    assert!(matches!(&errors[..], [EngineError::Broken(_), ..]));
    assert_eq!(engine.broken().await, errors[0]);
}

#[tokio::test]
async fn a_read_that_takes_too_long_is_cut_off() {
    let home = home();
    let config = Config { read_timeout: Duration::from_millis(50), readers: 1, ..Config::default() };
    let engine = Engine::open(home.path(), config).unwrap();
    let endless = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n";
    let cut = engine.read(move |tx| tx.query_row(endless, [], |row| row.get::<_, i64>(0))).await;
    assert!(matches!(cut, Err(EngineError::Read(_))));
    assert_eq!(marks(&engine).await, 0, "the connection serves the next");
    let panicked = engine.read(|_| -> rusqlite::Result<()> { panic!("a bug") }).await;
    assert!(matches!(panicked, Err(EngineError::Read(_))));
    assert_eq!(marks(&engine).await, 0);
}

fn message(delay: Duration) -> Message {
    let id = NotificationId::fresh();
    Message {
        id,
        tenant: "default".into(),
        priority: Priority::Transactional,
        delay,
        content: None,
        fresh: None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_receive_is_woken_by_a_send_and_by_a_delay_that_ends() {
    let home = home();
    let queue = SqliteQueue::open(open(&home), Clock::system(), sqlite::Config::default()).await.unwrap();
    let queue = Arc::new(queue);
    let started = Instant::now();
    assert!(queue.receive(1, Duration::from_millis(20)).await.unwrap().is_empty());
    assert!(started.elapsed() >= Duration::from_millis(20), "it waits as long as it was told");
    for delay in [Duration::ZERO, Duration::from_millis(150)] {
        let waiting = tokio::spawn({
            let queue = Arc::clone(&queue);
            async move { queue.receive(10, Duration::from_secs(60)).await.unwrap() }
        });
        tokio::task::yield_now().await;
        let sent = message(delay);
        queue.send_batch(std::slice::from_ref(&sent)).await.remove(0).unwrap();
        let mut received = waiting.await.unwrap();
        assert_eq!(received[0].id, sent.id);
        let settled = queue.settle(vec![(received.remove(0), Settlement::Done)]).await;
        assert!(matches!(settled[..], [Ok(())]));
    }
    assert!(started.elapsed() < Duration::from_secs(30));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_receive_ends_at_the_shutdown() {
    let home = home();
    let (stop, stopped) = shutdown::channel();
    let queue = SqliteQueue::open(open(&home), Clock::system(), sqlite::Config::default()).await.unwrap();
    let queue = queue.waiting_until(stopped);
    let waiting = tokio::spawn(async move { queue.receive(10, Duration::from_secs(3600)).await.unwrap() });
    stop.pull();
    let received = tokio::time::timeout(Duration::from_secs(30), waiting).await;
    assert!(received.expect("it ends long before its wait is over").unwrap().is_empty());
}

#[tokio::test]
async fn a_repeated_send_never_makes_a_delivery_visible_early() {
    let home = home();
    let clock = Clock::manual(Timestamp::from_ms(1_800_000_000_000));
    let queue = SqliteQueue::open(open(&home), clock, sqlite::Config::default()).await.unwrap();
    let sent = message(Duration::ZERO);
    let send = async || queue.send_batch(std::slice::from_ref(&sent)).await.remove(0).unwrap();
    send().await;
    let delivery = queue.receive(1, Duration::ZERO).await.unwrap().remove(0);
    send().await;
    assert!(queue.receive(1, Duration::ZERO).await.unwrap().is_empty());
    let settled = queue.settle(vec![(delivery, Settlement::Again { after: Duration::from_secs(60) })]).await;
    assert!(matches!(settled[..], [Ok(())]));
    assert_eq!(
        queue.receive(1, Duration::ZERO).await.unwrap().len(),
        1,
        "the send during the delivery counts"
    );
}

#[tokio::test]
async fn the_queue_knows_its_tenants_again_after_reopening() {
    let home = home();
    let clock = Clock::manual(Timestamp::from_ms(1_800_000_000_000));
    let reopen =
        async || SqliteQueue::open(open(&home), clock.clone(), sqlite::Config::default()).await.unwrap();
    let messages: Vec<_> =
        (0..5).map(|i| Message { tenant: format!("inn-{i}"), ..message(Duration::from_secs(i)) }).collect();
    let queue = reopen().await;
    assert!(queue.send_batch(&messages).await.iter().all(Result::is_ok));
    drop(queue);
    clock.advance(Duration::from_secs(2));
    let queue = reopen().await;
    assert_eq!(queue.receive(10, Duration::ZERO).await.unwrap().len(), 3);
    drop(queue);
    clock.advance(Duration::from_secs(60));
    assert_eq!(reopen().await.receive(10, Duration::ZERO).await.unwrap().len(), 5);
}

#[tokio::test]
async fn a_listing_is_the_same_whichever_index_it_walks() {
    let home = home();
    let engine = open(&home);
    let log = SqliteLog::new(engine.clone());
    let now = Timestamp::from_ms(1_800_000_000_000);
    let mut new = Vec::new();
    for i in 0..10 {
        let deliver_at = (i % 3 == 0).then(|| now.plus(Duration::from_secs(100 - i)));
        let wanted = crate::conformance::notification(|n| n.deliver_at = deliver_at);
        new.push(crate::conformance::new(wanted, now.plus(Duration::from_millis(i))));
    }
    assert!(log.accept(&new).await.iter().all(Result::is_ok));
    let statuses = Status::ALL.into_iter().filter(|status| status.is_unsent()).collect();
    let newest = Filter { statuses, ..Filter::default() };
    let oldest = Filter { order: Order::OldestFirst, ..newest.clone() };
    let list = async |filter: &Filter| -> Vec<NotificationId> {
        let page = log.list(filter, None, 100, now).await.unwrap();
        page.items.iter().map(|record| record.id).collect()
    };
    let few = (list(&newest).await, list(&oldest).await);
    assert_eq!((few.0.len(), few.1.len()), (10, 10));
    // What the log believes to hold a million rows is walked in order instead of sorted.
    let pretend = "UPDATE tally SET count = count + 1000000";
    engine.write(move |tx| tx.execute(pretend, [])).await.unwrap();
    assert_eq!((list(&newest).await, list(&oldest).await), few);
}

#[tokio::test]
async fn a_record_that_cannot_be_read_is_reported_and_spoils_nothing_else() {
    let home = home();
    let engine = open(&home);
    let log = SqliteLog::new(engine.clone());
    let now = Timestamp::from_ms(1_800_000_000_000);
    let [bad, good] =
        [(); 2].map(|()| crate::conformance::new(crate::conformance::notification(|_| ()), now));
    assert!(log.accept(&[bad.clone(), good.clone()]).await.iter().all(Result::is_ok));
    let damage = "UPDATE notification SET attempts = '{' WHERE id = ?1";
    let id = *bad.id.as_bytes();
    engine.write(move |tx| tx.execute(damage, [id])).await.unwrap();

    assert!(matches!(log.get(bad.id).await, Err(LogError::Corrupt(_))));
    let released = log
        .apply(
            &[
                (bad.id, Fact::Released { by: By::new("tester", None) }),
                (good.id, Fact::Released { by: By::new("tester", None) }),
            ],
            now,
        )
        .await;
    assert!(matches!(released[..], [Err(LogError::Corrupt(_)), Ok(Applied::Refused(_))]));
    let page = log.list(&Filter::default(), None, 10, now).await.unwrap();
    let reason =
        |id| page.items.iter().find(|record| record.id == id).map(|record| record.life.reason.as_deref());
    assert_eq!((reason(bad.id), reason(good.id)), (Some(Some("corrupt_record")), Some(None)));
    let due = log.due(now.plus(Duration::from_secs(100)), 10).await.unwrap();
    assert_eq!(due.iter().map(|due| due.id).collect::<Vec<_>>(), [good.id]);
}
