//! A file that a former version of the program left behind.

use kakitome::journal::sqlite::SqliteJournal;
use kakitome::journal::{Journal, Kind, Put};
use kakitome::notification::status::{ActKind, AttemptOutcome};
use kakitome::sqlite::DATABASE_FILE;

use super::*;

const SCHEMA_2: &str = include_str!("../fixtures/schema_2.sql");

#[tokio::test]
async fn a_file_without_acts_and_journal_is_opened_read_and_written() {
    let home = home();
    let former = rusqlite::Connection::open(home.path().join(DATABASE_FILE)).unwrap();
    former.execute_batch(SCHEMA_2).unwrap();
    drop(former);
    let engine = open(&home);
    let log = SqliteLog::new(engine.clone());
    let now = Timestamp::from_ms(1_800_000_010_000);
    let listed = log.list(&Filter::default(), None, 10, now).await.unwrap().items;
    let seen: Vec<_> =
        listed.iter().map(|record| (record.life.status(now), record.tenant.as_str())).collect();
    let (sent, failed, held, accepted) = (Status::Sent, Status::Failed, Status::Held, Status::Accepted);
    assert_eq!(seen, [(sent, "inn-8"), (failed, "inn-8"), (held, "inn-7"), (accepted, "inn-7")]);
    assert!(listed.iter().all(|record| record.life.acts.is_empty() && record.recipients.len() == 1));
    assert_eq!(listed[1].life.attempts[0].outcome, AttemptOutcome::Refused);
    assert_eq!(log.count_groups(&Filter::default(), now).await.unwrap().len(), 4);
    let facts = [
        (listed[1].id, Fact::Redriven { by: By::new("operator", Some("mended")), late: false }),
        (listed[2].id, Fact::Released { by: By::new("operator", None) }),
    ];
    for applied in log.apply(&facts, now).await {
        assert!(matches!(applied, Ok(Applied::Done { .. })), "{applied:?}");
    }
    let lives = log.lives(&[listed[1].id, listed[2].id]).await.unwrap();
    let kinds: Vec<_> = lives.iter().flatten().map(|life| life.acts[0].kind).collect();
    assert_eq!(kinds, [ActKind::Redriven, ActKind::Released]);
    let journal = SqliteJournal::new(engine.clone(), Clock::system());
    assert_eq!(journal.put(Kind::Job, "a", "{}", 0, None).await.unwrap(), Put::Done(1));
    let queue = SqliteQueue::open(engine, Clock::system(), sqlite::Config::default()).await.unwrap();
    assert_eq!(queue.depth().await.unwrap().live(), 1);
}
