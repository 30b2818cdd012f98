//! The journal's writes whose answers are lost.

use kakitome::clock::Clock;
use kakitome::journal::dynamodb::DynamoJournal;
use kakitome::journal::{self, Journal, JournalError, Kind, Put};

use super::*;
use crate::proxy::Action;

async fn journal() -> (Bench, DynamoJournal) {
    let bench = bench().await;
    let aws = emulator::connect(&bench.proxy.url, &bench.proxy.url).await;
    let journal = DynamoJournal::open(&aws, &bench.config.table, Clock::manual(start()));
    (bench, journal)
}

#[tokio::test]
async fn a_committed_write_whose_answer_was_lost_is_recognised() {
    let (bench, journal) = journal().await;
    for version in 0..3 {
        bench.proxy.next(1, "PutItem", Action::LoseAnswer);
        let put = journal.put(Kind::Job, "a", "{}", version, None).await.unwrap();
        assert_eq!(put, Put::Done(version + 1), "the SDK tried again what was written");
    }
    bench.proxy.next(1, "PutItem", Action::LoseAnswer);
    let count = |count: Option<u64>| (Some(count.unwrap_or(0) + 1), ());
    journal::change(&journal, Kind::Job, "count", None, count).await.unwrap();
    let stored = journal.get(Kind::Job, "count").await.unwrap().unwrap();
    assert_eq!((stored.version, stored.body.as_str()), (1, "1"), "counted once");
}

#[tokio::test]
async fn what_cannot_be_reached_or_read_is_told() {
    let (bench, journal) = journal().await;
    journal.put(Kind::Stop, "a", "{}", 0, None).await.unwrap();
    for operation in ["PutItem", "GetItem", "Query", "DeleteItem"] {
        bench.proxy.always(operation, Action::Fail(400, "AccessDeniedException"));
    }
    let refused = [
        journal.put(Kind::Stop, "b", "{}", 0, None).await.err(),
        journal.get(Kind::Stop, "a").await.err(),
        journal.list(Kind::Stop, None, 10).await.err(),
        journal.delete(Kind::Stop, "a").await.err(),
    ];
    assert!(refused.iter().all(|error| matches!(error, Some(JournalError::Unavailable(_)))), "{refused:?}");
    bench.proxy.reset();
    let broken = Action::rewrite(|_, answer| {
        answer["Items"][0]["v"] = serde_json::json!({ "S": "no number" });
    });
    bench.proxy.always("Query", broken);
    let listed = journal.list(Kind::Stop, None, 10).await;
    assert!(matches!(listed, Err(JournalError::Corrupt { .. })), "a stop must not be overlooked: {listed:?}");
}
