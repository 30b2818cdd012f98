//! What every journal does.

use std::sync::Arc;
use std::time::Duration;

use kakitome::clock::{Clock, Timestamp};
use kakitome::journal::{self, Document, Journal, JournalError, Kind, MAX_BODY_BYTES, Put};

/// A fresh, empty journal.
pub struct JournalBench {
    /// Whose it is: `sqlite`, or an emulator's name.
    pub server: &'static str,
    pub journal: Arc<dyn Journal>,
    /// The journal's.
    pub clock: Clock,
    /// What must outlive the journal.
    pub _home: Box<dyn std::any::Any + Send + Sync>,
}

/// Every case, for one backend.
macro_rules! suite {
    ($(#[$note:meta])* $bench:path) => {
        crate::conformance::on_each! { $(#[$note])* crate::conformance::journal, $bench;
            a_document_is_read_back_as_it_was_written
            a_write_on_another_version_changes_nothing
            what_is_deleted_is_gone_and_may_be_made_anew
            documents_are_listed_greatest_key_first_page_by_page
            what_is_past_its_time_is_gone
            a_large_document_is_kept_and_a_larger_one_refused
            of_two_who_write_the_same_one_is_told_of_the_other
            eight_writers_at_once_lose_nothing
        }
    };
}
pub(crate) use suite;

const KIND: Kind = Kind::Job;

/// Written on this version.
async fn put(bench: &JournalBench, key: &str, body: &str, expected: u64) -> Put {
    bench.journal.put(KIND, key, body, expected, None).await.unwrap()
}

async fn get(bench: &JournalBench, key: &str) -> Option<Document> {
    bench.journal.get(KIND, key).await.unwrap()
}

async fn keys(bench: &JournalBench, after: Option<&str>, limit: usize) -> Vec<String> {
    let listed = bench.journal.list(KIND, after, limit).await.unwrap();
    listed.into_iter().map(|document| document.key).collect()
}

pub async fn a_document_is_read_back_as_it_was_written(bench: &JournalBench) {
    assert_eq!(get(bench, "a").await, None);
    let body = "{\"words\":\"予約 \\u0001 \\\"\",\"list\":[1,2]}";
    assert_eq!(put(bench, "a", body, 0).await, Put::Done(1));
    let document = |version, body: &str| Document { key: "a".into(), version, body: body.into() };
    assert_eq!(get(bench, "a").await, Some(document(1, body)));
    for version in 1..4 {
        assert_eq!(put(bench, "a", "{}", version).await, Put::Done(version + 1));
    }
    assert_eq!(get(bench, "a").await, Some(document(4, "{}")));
    let other = bench.journal.get(Kind::Stop, "a").await.unwrap();
    assert_eq!(other, None, "each kind has its own names");
}

pub async fn a_write_on_another_version_changes_nothing(bench: &JournalBench) {
    assert_eq!(put(bench, "a", "1", 7).await, Put::Conflict, "there is none");
    assert_eq!(put(bench, "a", "1", 0).await, Put::Done(1));
    assert_eq!(put(bench, "a", "2", 0).await, Put::Conflict, "there is one");
    assert_eq!(put(bench, "a", "2", 1).await, Put::Done(2));
    for stale in [1, 3] {
        assert_eq!(put(bench, "a", "3", stale).await, Put::Conflict);
    }
    assert_eq!(get(bench, "a").await.unwrap().body, "2");
}

pub async fn what_is_deleted_is_gone_and_may_be_made_anew(bench: &JournalBench) {
    bench.journal.delete(KIND, "a").await.unwrap();
    put(bench, "a", "1", 0).await;
    put(bench, "a", "2", 1).await;
    bench.journal.delete(KIND, "a").await.unwrap();
    assert_eq!((get(bench, "a").await, keys(bench, None, 9).await), (None, Vec::new()));
    assert_eq!(put(bench, "a", "3", 2).await, Put::Conflict);
    assert_eq!(put(bench, "a", "3", 0).await, Put::Done(1));
}

pub async fn documents_are_listed_greatest_key_first_page_by_page(bench: &JournalBench) {
    let names = ["01", "02", "1#x", "9", "a", "b", "ü", "予約"];
    for name in names {
        put(bench, name, "{}", 0).await;
    }
    bench.journal.put(Kind::Stop, "zz", "{}", 0, None).await.unwrap();
    let newest_first: Vec<&str> = names.into_iter().rev().collect();
    assert_eq!(keys(bench, None, 100).await, newest_first);
    let (mut listed, mut after) = (Vec::new(), None);
    loop {
        let page = keys(bench, after.as_deref(), 3).await;
        assert!(page.len() <= 3);
        let Some(last) = page.last() else { break };
        after = Some(last.clone());
        listed.extend(page);
    }
    assert_eq!(listed, newest_first);
    assert_eq!(keys(bench, Some("aa"), 2).await, ["a", "9"], "also behind what is not there");
    assert!(keys(bench, None, 0).await.is_empty());
}

pub async fn what_is_past_its_time_is_gone(bench: &JournalBench) {
    let until = |seconds| Some(bench.clock.now().plus(Duration::from_secs(seconds)));
    bench.journal.put(KIND, "short", "1", 0, until(10)).await.unwrap();
    bench.journal.put(KIND, "long", "1", 0, until(100)).await.unwrap();
    put(bench, "ever", "1", 0).await;
    bench.clock.advance(Duration::from_secs(9));
    assert_eq!(keys(bench, None, 9).await, ["short", "long", "ever"]);
    bench.clock.advance(Duration::from_secs(2));
    assert_eq!(get(bench, "short").await, None);
    assert_eq!(keys(bench, None, 9).await, ["long", "ever"]);
    assert_eq!(keys(bench, None, 1).await, ["long"], "what is gone fills no page");
    assert_eq!(put(bench, "short", "2", 1).await, Put::Conflict, "its version is gone with it");
    assert_eq!(put(bench, "short", "2", 0).await, Put::Done(1));
    bench.journal.put(KIND, "long", "2", 1, None).await.unwrap();
    bench.clock.advance(Duration::from_secs(1000));
    assert_eq!(
        keys(bench, None, 9).await,
        ["short", "long", "ever"],
        "what is written anew has its own time"
    );
}

pub async fn a_large_document_is_kept_and_a_larger_one_refused(bench: &JournalBench) {
    let body = "予".repeat(MAX_BODY_BYTES / 3);
    for name in ["a", "b", "c", "d", "e"] {
        assert_eq!(put(bench, name, &body, 0).await, Put::Done(1));
    }
    let listed = bench.journal.list(KIND, None, 5).await.unwrap();
    assert!(listed.len() == 5 && listed.iter().all(|document| document.body == body));
    let refused = bench.journal.put(KIND, "f", &"x".repeat(MAX_BODY_BYTES + 1), 0, None).await;
    assert!(matches!(refused, Err(JournalError::TooLarge(bytes)) if bytes == MAX_BODY_BYTES + 1));
    assert_eq!(get(bench, "f").await, None);
}

pub async fn of_two_who_write_the_same_one_is_told_of_the_other(bench: &JournalBench) {
    put(bench, "a", "{\"n\":1}", 0).await;
    assert_eq!(put(bench, "a", "{\"n\":2}", 1).await, Put::Done(2));
    assert_eq!(put(bench, "a", "{\"n\":2}", 1).await, Put::Conflict, "who counts must count again");
}

pub async fn eight_writers_at_once_lose_nothing(bench: &JournalBench) {
    const ROUNDS: u64 = 10;
    let writer = |_| {
        let journal = bench.journal.clone();
        tokio::spawn(async move {
            let mut seen = Vec::new();
            for _ in 0..ROUNDS {
                let add = |count: Option<u64>| {
                    let count = count.unwrap_or(0) + 1;
                    (Some(count), count)
                };
                seen.push(journal::change(&*journal, KIND, "count", None, add).await.unwrap());
            }
            seen
        })
    };
    let mut seen = Vec::new();
    for written in futures::future::join_all((0..8).map(writer)).await {
        seen.extend(written.unwrap());
    }
    seen.sort_unstable();
    assert_eq!(seen, (1..=8 * ROUNDS).collect::<Vec<u64>>(), "each count was told to one");
    let stored = get(bench, "count").await.unwrap();
    assert_eq!((stored.read::<u64>().unwrap(), stored.version), (8 * ROUNDS, 8 * ROUNDS));
}

/// When the benches' clocks begin.
pub fn start() -> Timestamp {
    Timestamp::from_ms(1_800_000_000_500)
}
