//! What every inbox does.

use std::any::Any;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures::future::BoxFuture;
use kakitome::clock::Timestamp;
use kakitome::inbox::{Inbox, Parcel, Taken, pack};
use kakitome::notification::NotificationId;
use kakitome::notification::address::Address;
use kakitome::provider::{EventKind, ProviderEvent};
use serde_json::json;
use sha2::{Digest, Sha256};

/// A fresh, empty inbox and what the suite needs to know of it.
pub struct InboxBench {
    /// Whose it is: `sqlite`, or an emulator's name.
    pub server: &'static str,
    pub inbox: Box<dyn Inbox>,
    /// The same inbox as the next process finds it, once what the former took comes again.
    pub again: Box<dyn Fn() -> BoxFuture<'static, Box<dyn Inbox>> + Send + Sync>,
    /// A wait that is long beside what a case does meanwhile.
    pub wait: Duration,
    /// Whether it counts the events in its parcels.
    pub counts_events: bool,
    /// What must outlive the inbox.
    pub _home: Box<dyn Any + Send + Sync>,
}

/// Every case, for one backend.
macro_rules! suite {
    ($bench:path) => {
        crate::conformance::on_each! { crate::conformance::inbox, $bench;
            what_is_appended_is_taken_once_and_is_gone_when_done
            what_was_taken_and_not_done_comes_again_with_its_tries_counted
            an_event_comes_out_as_it_went_in
            a_parcel_of_the_largest_events_fits
            a_take_waits_for_what_comes
            done_twice_or_of_nothing_is_no_error
            depth_counts_what_is_not_done
        }
    };
}
pub(crate) use suite;

/// Whose turn it is, for a backend that decides it in this program. SQS decides it in its own, by message group.
macro_rules! order_suite {
    ($bench:path) => {
        crate::conformance::on_each! { crate::conformance::inbox, $bench;
            lanes_take_turns
            a_lane_is_taken_in_its_order
            whoever_appends_learns_of_the_end
        }
    };
}
pub(crate) use order_suite;

fn start() -> Timestamp {
    Timestamp::from_ms(1_800_000_000_000)
}

fn event(lane: Option<&str>, n: usize) -> ProviderEvent {
    ProviderEvent {
        provider: "sendgrid".into(),
        id: Some(NotificationId::fresh()),
        provider_message_id: Some("kA5kcHA8SVGtVh5S9rAUew".into()),
        event_id: Some(format!("event-{n}")),
        kind: EventKind::Delivered,
        at: start(),
        recipient: None,
        machine: false,
        lane: lane.map(str::to_owned),
        detail: serde_json::Map::new(),
    }
}

fn parcels(lane: &str, count: usize) -> Vec<Parcel> {
    (0..count).flat_map(|n| pack(&[event(Some(lane), n)], start())).collect()
}

async fn take(inbox: &dyn Inbox, wait: Duration) -> Vec<Taken> {
    inbox.take(1000, wait).await.unwrap()
}

/// Takes until so many came.
async fn take_all(inbox: &dyn Inbox, count: usize, wait: Duration) -> Vec<Taken> {
    let mut all = Vec::new();
    while all.len() < count {
        let taken = take(inbox, wait).await;
        assert!(!taken.is_empty(), "{} of {count} came", all.len());
        all.extend(taken);
    }
    all
}

async fn done(inbox: &dyn Inbox, taken: &[Taken]) {
    let receipts: Vec<_> = taken.iter().map(|one| one.receipt.clone()).collect();
    inbox.done(&receipts).await.unwrap();
}

pub async fn what_is_appended_is_taken_once_and_is_gone_when_done(bench: &InboxBench) {
    let inbox = bench.inbox.as_ref();
    inbox.append(parcels("a", 23)).await.unwrap();
    let taken = take_all(inbox, 23, bench.wait).await;
    assert_eq!(taken.len(), 23);
    let mut ids: Vec<_> = taken.iter().map(|one| one.parcel.open().unwrap()[0].event_id.clone()).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 23);
    assert!(take(inbox, Duration::ZERO).await.is_empty());
    done(inbox, &taken).await;
    assert!(take((bench.again)().await.as_ref(), Duration::ZERO).await.is_empty());
}

pub async fn what_was_taken_and_not_done_comes_again_with_its_tries_counted(bench: &InboxBench) {
    bench.inbox.append(parcels("a", 2)).await.unwrap();
    let first = take_all(bench.inbox.as_ref(), 2, bench.wait).await;
    assert_eq!(first[0].tries, 0);
    done(bench.inbox.as_ref(), &first[..1]).await;
    let second = take_all((bench.again)().await.as_ref(), 1, bench.wait).await;
    assert_eq!((second.len(), &second[0].parcel), (1, &first[1].parcel));
    let third = take_all((bench.again)().await.as_ref(), 1, bench.wait).await;
    assert!(third[0].tries > second[0].tries, "{} {}", third[0].tries, second[0].tries);
}

pub async fn an_event_comes_out_as_it_went_in(bench: &InboxBench) {
    let detail = json!({"reason": "550 5.1.1 <山田@例え.jp>\r\n\u{1}", "tls": 1, "url_offset": {"index": 0}});
    let full = ProviderEvent {
        // What a provider calls as we call something else stays the provider's.
        kind: EventKind::Other("bounced".into()),
        recipient: Some(Address::parse("a..b@docomo.ne.jp").unwrap()),
        machine: true,
        detail: detail.as_object().unwrap().clone(),
        ..event(Some("0123456789abcdef"), 1)
    };
    let bare = ProviderEvent { id: None, provider_message_id: None, event_id: None, ..event(None, 2) };
    for one in [full, bare] {
        bench.inbox.append(pack(std::slice::from_ref(&one), start())).await.unwrap();
        let taken = take_all(bench.inbox.as_ref(), 1, bench.wait).await;
        assert_eq!(taken[0].parcel.open().unwrap(), std::slice::from_ref(&one));
        assert_eq!(taken[0].parcel.lane, one.lane.unwrap_or_default());
        assert_eq!(taken[0].parcel.received_at, start());
        done(bench.inbox.as_ref(), &taken).await;
    }
}

/// Events without a pattern, so that compression gains nothing.
pub async fn a_parcel_of_the_largest_events_fits(bench: &InboxBench) {
    let noise = |n: usize| -> String {
        let digests = (0..120).map(|part| Sha256::digest((n * 120 + part).to_le_bytes()));
        digests.map(|digest| STANDARD.encode(digest)).collect()
    };
    let events: Vec<ProviderEvent> = (0..600)
        .map(|n| {
            let mut large = event(Some("a"), n);
            large.detail.insert("noise".into(), noise(n).into());
            large.detail.insert("more".into(), noise(n + 600).into());
            large
        })
        .collect();
    let parcels = pack(&events, start());
    assert!(parcels.len() >= 10, "{}", parcels.len());
    let count = parcels.len();
    bench.inbox.append(parcels).await.unwrap();
    let taken = take_all(bench.inbox.as_ref(), count, bench.wait).await;
    assert_eq!(taken.iter().map(|one| one.parcel.open().unwrap().len()).sum::<usize>(), 600);
}

pub async fn a_take_waits_for_what_comes(bench: &InboxBench) {
    let inbox = bench.inbox.as_ref();
    assert!(take(inbox, Duration::ZERO).await.is_empty());
    let (taken, appended) = tokio::join!(inbox.take(1000, Duration::from_secs(20)), async {
        tokio::task::yield_now().await;
        inbox.append(parcels("a", 1)).await
    });
    appended.unwrap();
    assert_eq!(taken.unwrap().len(), 1);
}

pub async fn done_twice_or_of_nothing_is_no_error(bench: &InboxBench) {
    let inbox = bench.inbox.as_ref();
    inbox.done(&[]).await.unwrap();
    inbox.append(parcels("a", 1)).await.unwrap();
    let taken = take_all(inbox, 1, bench.wait).await;
    inbox.keep(&[taken[0].receipt.clone()]).await.unwrap();
    done(inbox, &taken).await;
    done(inbox, &taken).await;
    inbox.append(parcels("a", 1)).await.unwrap();
    assert_eq!(take_all(inbox, 1, bench.wait).await.len(), 1);
}

pub async fn depth_counts_what_is_not_done(bench: &InboxBench) {
    let inbox = bench.inbox.as_ref();
    assert_eq!((inbox.depth().await.unwrap().parcels, inbox.depth().await.unwrap().oldest), (0, None));
    inbox.append(parcels("a", 3)).await.unwrap();
    let taken = take_all(inbox, 3, bench.wait).await;
    let depth = inbox.depth().await.unwrap();
    assert_eq!((depth.parcels, depth.oldest), (3, Some(start())));
    assert_eq!(depth.events, bench.counts_events.then_some(3));
    done(inbox, &taken).await;
    let depth = inbox.depth().await.unwrap();
    assert_eq!((depth.parcels, depth.oldest), (0, None));
}

pub async fn lanes_take_turns(bench: &InboxBench) {
    let inbox = bench.inbox.as_ref();
    inbox.append(parcels("a", 1000)).await.unwrap();
    inbox.append(parcels("b", 2)).await.unwrap();
    inbox.append(parcels("c", 1)).await.unwrap();
    let taken = inbox.take(6, Duration::ZERO).await.unwrap();
    let lanes: String = taken.iter().map(|one| one.parcel.lane.as_str()).collect();
    assert_eq!(lanes, "abcaba");
}

pub async fn a_lane_is_taken_in_its_order(bench: &InboxBench) {
    let inbox = bench.inbox.as_ref();
    inbox.append(parcels("a", 5)).await.unwrap();
    let ids = |taken: &[Taken]| -> Vec<_> {
        taken.iter().map(|one| one.parcel.open().unwrap()[0].event_id.clone().unwrap()).collect()
    };
    let taken = inbox.take(3, Duration::ZERO).await.unwrap();
    assert_eq!(ids(&taken), ["event-0", "event-1", "event-2"]);
    let again = (bench.again)().await;
    assert_eq!(ids(&take(again.as_ref(), Duration::ZERO).await)[..2], ["event-0", "event-1"]);
}

pub async fn whoever_appends_learns_of_the_end(bench: &InboxBench) {
    let inbox = bench.inbox.as_ref();
    let mut folded = inbox.append(parcels("a", 2)).await.unwrap().folded.unwrap();
    let taken = inbox.take(1000, Duration::ZERO).await.unwrap();
    done(inbox, &taken[..1]).await;
    assert_eq!(folded.try_recv(), Err(tokio::sync::oneshot::error::TryRecvError::Empty));
    done(inbox, &taken).await;
    assert!(folded.await.is_err());
}
