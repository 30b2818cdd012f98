//! What was sent and lacks a word of its provider: found by when it was sent, however long after its acceptance.

use std::collections::BTreeSet;

use kakitome::message_log::{Heard, Lacks, LogError, SentSpan};
use kakitome::provider::EventKind;

use super::super::LogBench;
use super::events::{event, tell};
use super::*;

/// Everything that lacks it, in pages of two. Each once.
async fn without(log: &dyn MessageLog, lacks: Lacks, from: Timestamp, until: Timestamp) -> Vec<Heard> {
    let (mut all, mut cursor): (Vec<Heard>, Option<String>) = (Vec::new(), None);
    for _page in 0..100 {
        let page = log.sent_without(lacks, SentSpan { from, until }, cursor.as_deref(), 2).await.unwrap();
        assert!(page.items.len() <= 2);
        all.extend(page.items);
        cursor = page.next_cursor;
        if cursor.is_none() {
            let ids: BTreeSet<_> = all.iter().map(|heard| heard.id.to_string()).collect();
            assert_eq!(ids.len(), all.len(), "each once");
            return all;
        }
    }
    panic!("it never ends");
}

fn ids(heard: &[Heard]) -> BTreeSet<String> {
    heard.iter().map(|heard| heard.id.to_string()).collect()
}

fn names(ids: &[NotificationId]) -> BTreeSet<String> {
    ids.iter().map(ToString::to_string).collect()
}

pub async fn what_was_sent_and_not_heard_of_is_found_by_when_it_was_sent(bench: &LogBench) {
    let (log, now) = (&*bench.log, start());
    // Sent at once, some seconds, minutes and hours after its acceptance, and not at all.
    let mut sent = Vec::new();
    for (n, late) in [0, 0, 4, 6, 299, 301, 7_200].into_iter().enumerate() {
        let at = now.plus(secs(60 * n as u64));
        let id = accept(log, at, |n| n.cc = to("other@example.com")).await;
        send(log, id, "m1", at.plus(secs(late))).await;
        sent.push((id, at.plus(secs(late))));
    }
    accept(log, now, |_| ()).await;
    let all: Vec<_> = sent.iter().map(|(id, _)| *id).collect();
    for lacks in Lacks::ALL {
        let found = without(log, lacks, now, now.plus(secs(10_000))).await;
        assert_eq!(ids(&found), names(&all));
        let one = found.iter().find(|heard| heard.id == all[6]).unwrap();
        let expected = Heard {
            id: all[6],
            tenant: "default".into(),
            provider: "sendgrid".into(),
            sent_at: sent[6].1,
            recipients: 2,
            silent: 2,
            open: 2,
        };
        assert_eq!(*one, expected);
        // Spans that touch one another: each is in exactly one, also at the edge.
        for (id, at) in &sent {
            let before = without(log, lacks, now, *at).await;
            let after = without(log, lacks, *at, now.plus(secs(10_000))).await;
            assert!(!ids(&before).contains(&id.to_string()));
            assert!(ids(&after).contains(&id.to_string()));
            assert_eq!(before.len() + after.len(), sent.len());
        }
    }
    assert!(without(log, Lacks::End, now.plus(secs(10_000)), now.plus(secs(20_000))).await.is_empty());
    let refused = log.sent_without(Lacks::End, SentSpan { from: now, until: now }, Some("nonsense"), 1).await;
    assert!(matches!(refused, Err(LogError::BadCursor)));
}

pub async fn what_was_heard_of_lacks_only_the_rest(bench: &LogBench) {
    let (log, now) = (&*bench.log, start());
    let id = accept(log, now, |n| n.cc = to("other@example.com")).await;
    let unsent = accept(log, now, |_| ()).await;
    send(log, id, "m1", now).await;
    let other = |kind, after| kakitome::provider::ProviderEvent {
        recipient: Some(address("other@example.com")),
        ..event(Some(id), kind, now.plus(secs(after)))
    };
    let guest = |kind, after| event(Some(id), kind, now.plus(secs(after)));
    let steps = [
        (guest(EventKind::Opened, 1), (2, 2), Some(Lacks::Processed)),
        (guest(EventKind::Processed, 2), (1, 2), Some(Lacks::Processed)),
        (other(EventKind::Deferred, 3), (0, 2), Some(Lacks::End)),
        (guest(EventKind::Delivered, 4), (0, 1), Some(Lacks::End)),
        (other(EventKind::Blocked, 5), (0, 0), None),
    ];
    for (event, (silent, open), lacks) in steps {
        tell(log, &event, now.plus(secs(10))).await;
        let heard = log.heard_of(&[unsent, id, NotificationId::fresh()]).await.unwrap();
        let [None, Some(heard), None] = &heard[..] else { panic!("{heard:?}") };
        assert_eq!((heard.silent, heard.open, heard.lacks()), (silent, open, lacks), "{}", event.kind);
        for asked in Lacks::ALL {
            let found = without(log, asked, now, now.plus(secs(60))).await;
            assert_eq!(!found.is_empty(), heard.is_without(asked), "{asked:?} after {}", event.kind);
        }
    }
}
