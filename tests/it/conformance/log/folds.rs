//! Many events at once, and events that match late or doubtfully.

use std::collections::{BTreeMap, BTreeSet};

use kakitome::clock::Clock;
use kakitome::message_log::Recorded;
use kakitome::notification::status::Status;
use kakitome::notification::status::recipient::RecipientStatus;
use kakitome::provider::health::HealthBoard;
use kakitome::provider::{EventKind, ProviderEvent};
use kakitome::recovery::rematch::{self, Rematched, Rematcher};
use kakitome::tracking::Tracker;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};

use super::super::LogBench;
use super::*;

fn event(id: Option<NotificationId>, kind: EventKind, at: Timestamp, email: &str) -> ProviderEvent {
    ProviderEvent {
        provider: "sendgrid".into(),
        id,
        provider_message_id: None,
        event_id: Some(format!("{}-{email}-{}", kind.as_str(), at.as_ms())),
        kind,
        at,
        recipient: Some(address(email)),
        machine: false,
        detail: Default::default(),
        lane: None,
    }
}

const KINDS: [EventKind; 9] = [
    EventKind::Processed,
    EventKind::Deferred,
    EventKind::Delivered,
    EventKind::Blocked,
    EventKind::Dropped,
    EventKind::Bounced,
    EventKind::Complained,
    EventKind::Opened,
    EventKind::Clicked,
];

/// What is known of a recipient: rank in the list above (the last two have none), since when, and what was heard.
#[derive(Debug, Default, PartialEq)]
struct Known {
    status: Option<(usize, Timestamp)>,
    heard: BTreeSet<(String, Timestamp)>,
}

pub async fn any_mix_of_events_folds_as_a_plain_fold_does(bench: &LogBench) {
    let (log, now) = (&*bench.log, start());
    let (rounds, notifications, most) = if bench.server == "sqlite" { (6, 40, 900) } else { (1, 8, 120) };
    for seed in 0..rounds {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut ids = Vec::new();
        for i in 0..notifications {
            let mails = |from: u32, to: u32| (from..to).map(|r| format!("r{r}.{seed}.{i}@example.com"));
            let id = accept(log, now, |n| {
                n.to = mails(0, 2).flat_map(|mail| super::to(&mail)).collect();
                n.cc = mails(1, 3).flat_map(|mail| super::to(&mail)).collect();
            });
            ids.push(id.await);
        }
        let mut events = Vec::new();
        for _ in 0..most {
            let i = rng.random_range(0..notifications);
            let email = format!("r{}.{seed}.{i}@example.com", rng.random_range(0..3));
            let kind = KINDS[rng.random_range(0..KINDS.len())].clone();
            let told = event(Some(ids[i]), kind, now.plus(secs(rng.random_range(0..20))), &email);
            for again in 0..rng.random_range(1..4) {
                let event_id = told.event_id.clone().map(|id| if again == 2 { id + "-again" } else { id });
                events.push((i, ProviderEvent { event_id, ..told.clone() }));
            }
        }
        let mut plain: BTreeMap<(usize, String), Known> = BTreeMap::new();
        for (i, told) in &events {
            let email = told.recipient.as_ref().unwrap().reveal().to_owned();
            let known = plain.entry((*i, email)).or_default();
            known.heard.insert((told.kind.as_str().to_owned(), told.at));
            let rank = KINDS.iter().position(|kind| *kind == told.kind).unwrap();
            if rank < 7 && known.status.is_none_or(|(was, at)| rank > was || (rank == was && told.at < at)) {
                known.status = Some((rank, told.at));
            }
        }
        events.shuffle(&mut rng);
        let mut folded = 0;
        let mut rest = &events[..];
        while !rest.is_empty() {
            let (batch, others) = rest.split_at(rng.random_range(1..=rest.len().min(300)));
            let batch: Vec<ProviderEvent> = batch.iter().map(|(_, event)| event.clone()).collect();
            let recorded = log.record_events(&batch, now.plus(secs(60))).await;
            folded += recorded.iter().filter(|one| matches!(one, Ok(Recorded::Folded { .. }))).count();
            assert!(recorded.iter().all(Result::is_ok));
            rest = others;
        }
        assert_eq!(folded, plain.values().map(|known| known.heard.len()).sum::<usize>());
        for (i, id) in ids.iter().enumerate() {
            let record = record(log, *id).await;
            let mut heard: BTreeMap<String, Vec<(String, Timestamp)>> = BTreeMap::new();
            for event in &record.events {
                let email = event.recipient.as_ref().unwrap().reveal().to_owned();
                heard.entry(email).or_default().push((event.kind.as_str().to_owned(), event.at));
            }
            for recipient in &record.recipients {
                let email = recipient.email.reveal().to_owned();
                let nothing = Known::default();
                let known = plain.get(&(i, email.clone())).unwrap_or(&nothing);
                let status = known
                    .status
                    .map_or(RecipientStatus::Pending, |(rank, _)| KINDS[rank].recipient_status().unwrap());
                assert_eq!(recipient.status, status);
                assert!(known.status.is_none_or(|(_, at)| at == recipient.since));
                let told = heard.get(&email).cloned().unwrap_or_default();
                assert_eq!(told.len(), known.heard.len(), "none is kept twice");
                assert_eq!(told.into_iter().collect::<BTreeSet<_>>(), known.heard);
            }
        }
    }
}

fn rematcher(bench: &LogBench, clock: &Clock) -> Rematcher {
    let tracker = Tracker::new(bench.log.clone(), HealthBoard::default(), clock.clone(), Vec::new());
    Rematcher::new(bench.unmatched.clone(), tracker.into(), clock.clone(), rematch::Config::default())
}

pub async fn an_event_that_came_too_early_is_matched_when_it_is_looked_at_again(bench: &LogBench) {
    let (log, now) = (&*bench.log, start());
    let clock = Clock::manual(now);
    let again = rematcher(bench, &clock);
    // One whose row comes later, one that names what the worker has not recorded yet, and one of somebody else's mail.
    let later = notification(|n| n.idempotency_key = Some("later".into()));
    let by_id = event(Some(later.id()), EventKind::Delivered, now, "guest@example.com");
    let by_message = ProviderEvent {
        provider_message_id: Some("m7".into()),
        ..event(None, EventKind::Bounced, now.plus(secs(1)), "seven@example.com")
    };
    let strange = event(None, EventKind::Bounced, now, "strange@example.org");
    let early = [by_id, by_message, strange];
    let recorded = log.record_events(&early, now).await;
    assert!(recorded.iter().all(|one| *one.as_ref().unwrap() == Recorded::Unmatched));
    assert_eq!(bench.unmatched.count().await.unwrap(), 3);
    assert_eq!(again.step().await.unwrap(), Rematched::default(), "not at once");

    let created = log.accept(&[new(later.clone(), now)]).await.remove(0).unwrap();
    assert!(matches!(created, Acceptance::Created(_)));
    let seven = accept(log, now, |n| n.to = to("seven@example.com")).await;
    send(log, seven, "m7", now).await;
    clock.advance(secs(31));
    assert_eq!(again.step().await.unwrap(), Rematched { looked: 3, matched: 2 });
    assert_eq!(record(log, later.id()).await.life.status(now), Status::Sent, "and it is evidence");
    assert_eq!(record(log, seven).await.recipients[0].status, RecipientStatus::Bounced);
    assert_eq!(bench.unmatched.count().await.unwrap(), 1);
    let repeated = log.record_events(&early, now).await;
    assert!(matches!(&repeated[0], Ok(Recorded::Repeat { tenant: Some(_) })));
    assert!(matches!(&repeated[2], Ok(Recorded::Repeat { tenant: None })));
}

pub async fn unmatched_events_are_listed_page_by_page_and_looked_at_ever_later(bench: &LogBench) {
    let (log, now) = (&*bench.log, start());
    let clock = Clock::manual(now);
    let strays: Vec<_> = (0..7)
        .map(|i| event(None, EventKind::Bounced, now.plus(secs(i)), &format!("s{i}@example.org")))
        .collect();
    log.record_events(&strays, now).await;
    let (mut seen, mut cursor) = (BTreeSet::new(), None::<String>);
    loop {
        let page = bench.unmatched.list(cursor.as_deref(), 3).await.unwrap();
        seen.extend(page.items.into_iter().map(|one| one.event.event_id));
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(seen, strays.iter().map(|event| event.event_id.clone()).collect());
    assert!(bench.unmatched.list(Some("nonsense"), 3).await.is_err());
    let again = rematcher(bench, &clock);
    let mut looks = Vec::new();
    for _minute in 0..20 {
        clock.advance(secs(60));
        looks.push(again.step().await.unwrap().looked);
    }
    assert_eq!(looks[0], 7);
    let busy = looks.iter().filter(|looked| **looked > 0).count();
    assert!((3..=7).contains(&busy), "{looks:?}");
}

pub async fn a_bounce_hits_the_latest_of_two_tenants_mails_and_says_that_it_is_a_guess(bench: &LogBench) {
    let (log, now) = (&*bench.log, start());
    let mut ids = Vec::new();
    for (i, tenant) in ["inn-1", "inn-2", "inn-1"].into_iter().enumerate() {
        let at = now.plus(secs(700 * i as u64));
        let id = accept(log, at, |n| n.tenant = tenant.into()).await;
        send(log, id, &format!("m{i}"), at).await;
        ids.push(id);
    }
    let bounce = event(None, EventKind::Bounced, now.plus(secs(900)), "guest@example.com");
    let later = now.plus(secs(3600));
    for _repeat in 0..3 {
        let recorded = log.record_events(std::slice::from_ref(&bounce), later).await.remove(0).unwrap();
        let (Recorded::Folded { tenant, .. } | Recorded::Repeat { tenant: Some(tenant) }) = recorded else {
            panic!("{recorded:?}");
        };
        assert_eq!(&*tenant, "inn-2");
    }
    let hit = record(log, ids[1]).await;
    assert_eq!((hit.recipients[0].status, hit.events.len()), (RecipientStatus::Bounced, 1));
    let mark = &hit.events[0].detail["kakitome_match"];
    assert_eq!(*mark, serde_json::json!({"by": "address", "sends": 2, "of_other_tenants": 1}));
    for other in [ids[0], ids[2]] {
        assert_eq!(record(log, other).await.recipients[0].status, RecipientStatus::Pending);
    }
}

pub async fn the_same_address_in_two_places_has_one_fate(bench: &LogBench) {
    let (log, now) = (&*bench.log, start());
    let id = accept(log, now, |n| {
        n.to = to("a..b@docomo.ne.jp");
        n.cc = to("\"a..b\"@docomo.ne.jp");
        n.bcc = to("other@example.com");
    })
    .await;
    send(log, id, "m1", now).await;
    let told = event(Some(id), EventKind::Delivered, now.plus(secs(2)), "\"a..b\"@DOCOMO.ne.jp");
    log.record_events(&[told.clone(), told], now).await;
    let record = record(log, id).await;
    let fates: Vec<_> = record.recipients.iter().map(|one| one.status).collect();
    assert_eq!(fates, [RecipientStatus::Delivered, RecipientStatus::Delivered, RecipientStatus::Pending]);
    assert_eq!(record.events.len(), 1);
}
