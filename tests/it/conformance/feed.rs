//! What every feed does.

use std::sync::Arc;

use kakitome::feed::{Cursor, Feed, FeedError, Told, What};
use kakitome::message_log::{Applied, MessageLog};
use kakitome::notification::NotificationId;
use kakitome::notification::status::{Answer, By, Fact};
use kakitome::provider::{EventKind, ProviderEvent};
use serde_json::json;

use super::log::*;

/// A fresh, empty log with its feed.
pub struct FeedBench {
    /// Whose it is: `sqlite`, or an emulator's name.
    pub server: &'static str,
    pub log: Arc<dyn MessageLog>,
    pub feed: Arc<dyn Feed>,
    /// What must outlive them.
    pub _home: Box<dyn std::any::Any + Send + Sync>,
}

/// Every case, for one backend.
macro_rules! suite {
    ($(#[$note:meta])* $bench:path) => {
        crate::conformance::on_each! { $(#[$note])* crate::conformance::feed, $bench;
            sent_then_delivered_is_told_in_this_order_and_whole
            attempts_in_between_and_processed_are_not_told
            repeats_of_events_write_nothing
            what_comes_back_from_an_end_or_a_hold_is_told
            each_tenant_has_its_own_order_and_no_cursor_fits_another
            every_entry_is_read_once_page_by_page
            between_two_cursors_lies_what_was_read_there
        }
    };
}
pub(crate) use suite;

/// What is forgotten when it is told to; DynamoDB forgets by itself.
macro_rules! prune_suite {
    ($bench:path) => {
        crate::conformance::on_each! { crate::conformance::feed, $bench;
            what_is_pruned_is_gone_and_an_older_cursor_says_so
        }
    };
}
pub(crate) use prune_suite;

fn event(id: NotificationId, kind: EventKind, seconds: u64) -> ProviderEvent {
    let at = start().plus(secs(seconds));
    ProviderEvent {
        provider: "sendgrid".into(),
        id: Some(id),
        provider_message_id: Some("m1".into()),
        event_id: Some(format!("{id}-{kind}-{seconds}")),
        kind,
        at,
        recipient: Some(address("guest@example.com")),
        machine: false,
        lane: None,
        detail: json!({}).as_object().cloned().unwrap(),
    }
}

async fn tell(bench: &FeedBench, event: &ProviderEvent) {
    bench.log.record_events(std::slice::from_ref(event), event.at).await.remove(0).unwrap();
}

async fn all(bench: &FeedBench, tenant: &str) -> Vec<kakitome::feed::Entry> {
    bench.feed.read(tenant, None, 1000).await.unwrap().entries
}

async fn told(bench: &FeedBench, tenant: &str) -> Vec<Told> {
    all(bench, tenant).await.into_iter().map(|entry| entry.status).collect()
}

pub async fn sent_then_delivered_is_told_in_this_order_and_whole(bench: &FeedBench) {
    let id = accept(&*bench.log, start(), |n| n.batch = Some("tos".into())).await;
    assert_eq!(all(bench, "default").await, [], "that it was accepted the producer was told");
    send(&*bench.log, id, "m1", start().plus(secs(1))).await;
    tell(bench, &event(id, EventKind::Delivered, 5)).await;
    let entries = all(bench, "default").await;
    let [sent, delivered] = &entries[..] else { panic!("{entries:?}") };
    assert_eq!((sent.what, sent.status, &sent.recipient), (What::Notification, Told::Sent, &None));
    assert_eq!((sent.id, sent.at, sent.tenant.as_str()), (id, start().plus(secs(1)), "default"));
    assert_eq!((delivered.what, delivered.status), (What::Recipient, Told::Delivered));
    assert_eq!(delivered.recipient, Some(address("guest@example.com")));
    assert_eq!(delivered.at, start().plus(secs(5)));
    for entry in [sent, delivered] {
        assert_eq!(entry.batch.as_deref(), Some("tos"));
        assert_eq!(entry.metadata.get("booking").map(String::as_str), Some("8123"));
    }
    assert_ne!(sent.event_id, delivered.event_id);
    assert_eq!(all(bench, "default").await, entries, "the same is told the same way again");
}

pub async fn attempts_in_between_and_processed_are_not_told(bench: &FeedBench) {
    let id = accept(&*bench.log, start(), |_| ()).await;
    let token = claim(&*bench.log, id, start()).await;
    let answer = Answer { http_status: Some(500), error: None };
    let due_at = start().plus(secs(2));
    apply(&*bench.log, id, Fact::NotAccepted { token, answer, due_at, counts: true }, start()).await;
    send(&*bench.log, id, "m1", due_at).await;
    tell(bench, &event(id, EventKind::Processed, 4)).await;
    tell(bench, &event(id, EventKind::Opened, 9)).await;
    assert_eq!(told(bench, "default").await, [Told::Sent]);
}

pub async fn repeats_of_events_write_nothing(bench: &FeedBench) {
    let id = accept(&*bench.log, start(), |_| ()).await;
    send(&*bench.log, id, "m1", start()).await;
    for _ in 0..3 {
        tell(bench, &event(id, EventKind::Deferred, 3)).await;
        tell(bench, &event(id, EventKind::Delivered, 5)).await;
        // An earlier one of the same kind moves the time, not the status; a lower rank moves nothing.
        tell(bench, &event(id, EventKind::Delivered, 4)).await;
        tell(bench, &event(id, EventKind::Deferred, 2)).await;
    }
    assert_eq!(told(bench, "default").await, [Told::Sent, Told::Deferred, Told::Delivered]);
}

pub async fn what_comes_back_from_an_end_or_a_hold_is_told(bench: &FeedBench) {
    let id = accept(&*bench.log, start(), |_| ()).await;
    let token = claim(&*bench.log, id, start()).await;
    let answer = Answer { http_status: Some(400), error: Some("no".into()) };
    apply(&*bench.log, id, Fact::Refused { token, answer, reason: "refused_400".into() }, start()).await;
    let [failed] = &all(bench, "default").await[..] else { panic!("one entry") };
    assert_eq!((failed.status, failed.reason.as_deref()), (Told::Failed, Some("refused_400")));
    let by = || By::new("ops", Some("mended"));
    for fact in [
        Fact::Redriven { by: by(), late: false },
        Fact::Held { by: by() },
        Fact::Released { by: by() },
        Fact::Cancelled { by: by() },
    ] {
        let applied = apply(&*bench.log, id, fact, start().plus(secs(60))).await;
        assert!(matches!(applied, Applied::Done { .. }), "{applied:?}");
    }
    let entries = all(bench, "default").await;
    let told: Vec<Told> = entries.iter().map(|entry| entry.status).collect();
    assert_eq!(told, [Told::Failed, Told::Retrying, Told::Held, Told::Retrying, Told::Cancelled]);
    assert_eq!(entries[0].reason.as_deref(), Some("refused_400"), "as it was then, not as it is now");
    assert_eq!(entries[2].reason.as_deref(), Some("mended"));
}

pub async fn each_tenant_has_its_own_order_and_no_cursor_fits_another(bench: &FeedBench) {
    for tenant in ["hotel", "ryokan", "hotel"] {
        let id = accept(&*bench.log, start(), |n| n.tenant = tenant.into()).await;
        send(&*bench.log, id, "m1", start()).await;
    }
    assert_eq!(told(bench, "hotel").await, [Told::Sent; 2]);
    assert_eq!(told(bench, "ryokan").await, [Told::Sent]);
    assert_eq!(told(bench, "nobody").await, []);
    let end = bench.feed.end("hotel").await.unwrap();
    assert_eq!(bench.feed.read("ryokan", Some(&end), 10).await, Err(FeedError::BadCursor));
    for wrong in ["", "1", "x.y", "-1.00000000", "99999999999999999999.00"] {
        let read = bench.feed.read("hotel", Some(&Cursor::new(wrong)), 10).await;
        assert_eq!(read, Err(FeedError::BadCursor), "{wrong}");
    }
}

pub async fn every_entry_is_read_once_page_by_page(bench: &FeedBench) {
    let empty = bench.feed.read("default", None, 3).await.unwrap();
    assert_eq!((empty.entries.len(), empty.more), (0, false));
    let mut ids = Vec::new();
    for _ in 0..7 {
        let id = accept(&*bench.log, start(), |_| ()).await;
        send(&*bench.log, id, "m1", start()).await;
        ids.push(id);
    }
    assert_eq!(bench.feed.count("default", &empty.next).await, Ok(7));
    let (mut cursor, mut read, mut sizes) = (empty.next, Vec::new(), Vec::new());
    for _ in 0..4 {
        let page = bench.feed.read("default", Some(&cursor), 3).await.unwrap();
        sizes.push((page.entries.len(), page.more));
        read.extend(page.entries.into_iter().map(|entry| entry.id));
        cursor = page.next;
    }
    assert_eq!(sizes, [(3, true), (3, true), (1, false), (0, false)]);
    assert_eq!(read, ids);
    let end = bench.feed.end("default").await.unwrap();
    for behind in [cursor, end] {
        assert_eq!(bench.feed.count("default", &behind).await, Ok(0));
        assert_eq!(bench.feed.read("default", Some(&behind), 3).await.unwrap().entries, []);
    }
}

pub async fn between_two_cursors_lies_what_was_read_there(bench: &FeedBench) {
    for _ in 0..12 {
        let id = accept(&*bench.log, start(), |_| ()).await;
        send(&*bench.log, id, "m1", start()).await;
        tell(bench, &event(id, EventKind::Delivered, 5)).await;
    }
    let mut after = bench.feed.begin("default").await.unwrap();
    let mut read = Vec::new();
    for limit in [1, 4, 7, 100] {
        let page = bench.feed.read("default", Some(&after), limit).await.unwrap();
        assert_eq!(bench.feed.between("default", &after, &page.next).await, Ok(page.entries.clone()));
        assert_eq!(bench.feed.between("default", &page.next, &after).await, Ok(Vec::new()));
        read.extend(page.entries);
        after = page.next;
    }
    assert_eq!(read, all(bench, "default").await);
    assert_eq!(read.len(), 24);
}

pub async fn what_is_pruned_is_gone_and_an_older_cursor_says_so(bench: &FeedBench) {
    let from = bench.feed.end("default").await.unwrap();
    for second in 0..6 {
        let id = accept(&*bench.log, start(), |_| ()).await;
        send(&*bench.log, id, "m1", start().plus(secs(second))).await;
    }
    let fourth = start().plus(secs(3));
    assert_eq!(bench.feed.prune(fourth, 2).await, Ok(2), "no more at once than was asked for");
    assert_eq!(bench.feed.prune(fourth, 100).await, Ok(1));
    assert_eq!(bench.feed.read("default", Some(&from), 10).await, Err(FeedError::Expired { since: fourth }));
    assert_eq!(told(bench, "default").await.len(), 3, "without a cursor it begins with what is there");
    let later = start().plus(secs(1000));
    assert_eq!(bench.feed.prune(later, 100).await, Ok(2), "the latest stays, so that no number comes twice");
    let end = bench.feed.end("default").await.unwrap();
    let id = accept(&*bench.log, start(), |_| ()).await;
    send(&*bench.log, id, "m1", later).await;
    let page = bench.feed.read("default", Some(&end), 10).await.unwrap();
    assert_eq!(page.entries.iter().map(|entry| entry.id).collect::<Vec<_>>(), [id]);
}
