//! What every journal does for events that were set aside.

use std::time::Duration;

use kakitome::provider::{EventKind, ProviderEvent};
use kakitome::tracking::aside::{self, Aside, Count, End, Ended, KEPT};

use super::journal::JournalBench;

/// Every case, for one backend.
macro_rules! suite {
    ($bench:path) => {
        crate::conformance::on_each! { crate::conformance::aside, $bench;
            each_stands_once_and_says_how_often_it_was_set_aside
            what_failed_again_meanwhile_is_not_ended
            what_was_dismissed_does_not_come_back_and_what_was_put_back_may
            pages_pass_over_what_was_dealt_with
        }
    };
}
pub(crate) use suite;

pub fn event(event_id: &str) -> ProviderEvent {
    ProviderEvent {
        provider: "sendgrid".into(),
        id: None,
        provider_message_id: Some("m1".into()),
        event_id: Some(event_id.to_owned()),
        kind: EventKind::Delivered,
        at: super::journal::start(),
        recipient: None,
        machine: false,
        lane: None,
        detail: serde_json::Map::new(),
    }
}

async fn keep(bench: &JournalBench, event_id: &str) -> String {
    let now = bench.clock.now();
    let one = Aside::new(event(event_id), now.minus(Duration::from_secs(60)), "not a life", now);
    aside::keep(&*bench.journal, &one).await.unwrap();
    one.key()
}

fn ended(bench: &JournalBench, how: End) -> Ended {
    Ended { how, at: bench.clock.now(), who: "ops".into(), why: Some("as the test wants it".into()) }
}

async fn standing(bench: &JournalBench) -> Vec<String> {
    let page = aside::list(&*bench.journal, None, 1000, false).await.unwrap();
    page.items.into_iter().map(|found| found.key).collect()
}

pub async fn each_stands_once_and_says_how_often_it_was_set_aside(bench: &JournalBench) {
    let first = keep(bench, "e-1").await;
    let came_at = bench.clock.now().minus(Duration::from_secs(60));
    bench.clock.advance(Duration::from_secs(10));
    assert_eq!(keep(bench, "e-1").await, first);
    let found = aside::get(&*bench.journal, &first).await.unwrap().unwrap();
    assert_eq!((found.aside.times, found.aside.received_at, found.aside.at), (2, came_at, bench.clock.now()));
    assert_eq!(aside::count(&*bench.journal).await.unwrap(), Count { count: 1, at_least: false });
    // DynamoDB counts whole seconds.
    bench.clock.advance(KEPT + Duration::from_secs(1));
    assert_eq!(standing(bench).await, Vec::<String>::new(), "kept for 90 days after the last time");
}

/// Put back, folded without success and set aside anew before its document could be ended: it must not vanish.
pub async fn what_failed_again_meanwhile_is_not_ended(bench: &JournalBench) {
    let key = keep(bench, "e-1").await;
    let read = aside::get(&*bench.journal, &key).await.unwrap().unwrap();
    keep(bench, "e-1").await;
    assert!(!aside::end(&*bench.journal, &read, &ended(bench, End::PutBack)).await.unwrap());
    assert_eq!(standing(bench).await, std::slice::from_ref(&key));
    // The same where another operator ended it before that, and it then failed.
    let read = aside::get(&*bench.journal, &key).await.unwrap().unwrap();
    assert!(aside::end(&*bench.journal, &read, &ended(bench, End::PutBack)).await.unwrap());
    keep(bench, "e-1").await;
    assert!(!aside::end(&*bench.journal, &read, &ended(bench, End::PutBack)).await.unwrap());
    assert_eq!(standing(bench).await, [key]);
}

pub async fn what_was_dismissed_does_not_come_back_and_what_was_put_back_may(bench: &JournalBench) {
    for (how, event_id, left) in [(End::Dismissed, "e-1", 0), (End::PutBack, "e-2", 1)] {
        let key = keep(bench, event_id).await;
        let read = aside::get(&*bench.journal, &key).await.unwrap().unwrap();
        let ended = ended(bench, how);
        assert!(aside::end(&*bench.journal, &read, &ended).await.unwrap());
        assert_eq!(standing(bench).await.len(), 0);
        let all = aside::list(&*bench.journal, None, 10, true).await.unwrap();
        let stands = all.items.into_iter().find(|found| found.key == key).unwrap().aside.ended;
        assert_eq!(stands, Some(ended), "who did it, and why");
        keep(bench, event_id).await;
        assert_eq!(standing(bench).await.len(), left, "{how:?}");
    }
}

pub async fn pages_pass_over_what_was_dealt_with(bench: &JournalBench) {
    let mut keys = Vec::new();
    for number in 0..12 {
        keys.push(keep(bench, &format!("e-{number}")).await);
    }
    for key in keys.split_off(6) {
        let read = aside::get(&*bench.journal, &key).await.unwrap().unwrap();
        aside::end(&*bench.journal, &read, &ended(bench, End::Dismissed)).await.unwrap();
    }
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let page = aside::list(&*bench.journal, after.as_deref(), 2, false).await.unwrap();
        assert!(page.items.len() <= 2);
        seen.extend(page.items.into_iter().map(|found| found.key));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    seen.sort();
    keys.sort();
    assert_eq!(seen, keys);
}
