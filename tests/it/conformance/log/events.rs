//! Events: matched, folded, and harmless when repeated or shuffled.

use kakitome::message_log::Recorded;
use kakitome::notification::status::recipient::RecipientStatus;
use kakitome::notification::status::{By, Fact, Status};
use kakitome::provider::{EventKind, ProviderEvent};
use rand::RngExt;
use serde_json::json;

use super::super::LogBench;
use super::*;

/// What SendGrid would say of the notification's first recipient.
pub(super) fn event(id: Option<NotificationId>, kind: EventKind, at: Timestamp) -> ProviderEvent {
    ProviderEvent {
        provider: "sendgrid".into(),
        id,
        provider_message_id: Some("m1".into()),
        event_id: Some(format!("{kind}-{}", at.as_ms())),
        kind,
        at,
        recipient: Some(address("guest@example.com")),
        machine: false,
        lane: None,
        detail: json!({"response": "250 OK"}).as_object().cloned().unwrap(),
    }
}

pub(super) async fn tell(log: &dyn MessageLog, event: &ProviderEvent, now: Timestamp) -> Recorded {
    log.record_events(std::slice::from_ref(event), now).await.remove(0).unwrap()
}

/// Everything that events can change.
fn told(record: &Record) -> (Vec<(RecipientStatus, Timestamp)>, usize, Status) {
    let recipients = record.recipients.iter().map(|r| (r.status, r.since)).collect();
    (recipients, record.events.len(), record.life.status(start()))
}

pub async fn an_event_is_kept_folded_and_taken_as_evidence(bench: &LogBench) {
    let (log, now) = (&*bench.log, start());
    let id = accept(log, now, |n| n.cc = to("other@example.com")).await;
    claim(log, id, now).await;
    let later = now.plus(secs(40));
    let delivered = event(Some(id), EventKind::Delivered, now.plus(secs(3)));
    let recorded = tell(log, &delivered, later).await;
    assert_eq!(
        recorded,
        Recorded::Folded { tenant: "default".into(), settled: Some(Status::Unknown), ready_at: now }
    );
    let record = record(log, id).await;
    assert_eq!(record.life.provider_message_id.as_deref(), Some("m1"));
    assert_eq!(record.life.status(later), Status::Sent);
    let [to, cc] = &record.recipients[..] else { panic!("two recipients") };
    assert_eq!((to.status, to.since), (RecipientStatus::Delivered, delivered.at));
    assert_eq!((cc.status, cc.since), (RecipientStatus::Pending, now));
    let [kept] = &record.events[..] else { panic!("one event") };
    assert_eq!((&kept.kind, kept.at, &kept.recipient), (&delivered.kind, delivered.at, &delivered.recipient));
    assert_eq!(kept.detail, delivered.detail);

    let opened = ProviderEvent { machine: true, ..event(Some(id), EventKind::Opened, now.plus(secs(9))) };
    let recorded = tell(log, &opened, later).await;
    assert_eq!(recorded, Recorded::Folded { tenant: "default".into(), settled: None, ready_at: now });
    let unknown_person = ProviderEvent {
        recipient: Some(address("x@example.com")),
        ..event(Some(id), EventKind::Bounced, later)
    };
    tell(log, &unknown_person, later).await;
    let record = super::record(log, id).await;
    assert_eq!(record.events.len(), 3, "events about strangers and about nobody are still on the record");
    assert!(record.events[1].machine);
    assert_eq!(record.recipients[0].status, RecipientStatus::Delivered);
}

pub async fn a_repeated_event_changes_nothing(bench: &LogBench) {
    let (log, now) = (&*bench.log, start());
    let id = accept(log, now, |_| ()).await;
    send(log, id, "m1", now).await;
    let bounced = event(Some(id), EventKind::Bounced, now.plus(secs(5)));
    assert!(matches!(tell(log, &bounced, now).await, Recorded::Folded { .. }));
    let before = told(&record(log, id).await);
    for i in 0..46 {
        let mut repeat = bounced.clone();
        match i % 3 {
            0 => {}
            // The same event under another number, and the same number on another event.
            1 => repeat.event_id = Some(format!("renumbered-{i}")),
            _ => repeat.at = bounced.at.plus(secs(i)),
        }
        assert_eq!(tell(log, &repeat, now).await, Recorded::Repeat { tenant: Some("default".into()) });
    }
    assert_eq!(told(&record(log, id).await), before);
    let twice = event(Some(id), EventKind::Clicked, now.plus(secs(6)));
    let recorded = log.record_events(&[twice.clone(), twice], now).await;
    assert!(matches!(recorded[..], [Ok(Recorded::Folded { .. }), Ok(Recorded::Repeat { .. })]));
}

pub async fn two_links_followed_within_one_second_are_two_clicks(bench: &LogBench) {
    let (log, now) = (&*bench.log, start());
    let id = accept(log, now, |_| ()).await;
    send(log, id, "m1", now).await;
    let click = |number: &str, link: &str| {
        let mut click = event(Some(id), EventKind::Clicked, now.plus(secs(6)));
        click.event_id = Some(number.into());
        click.detail.insert("url".into(), link.into());
        click
    };
    let clicks = [
        click("c-1", "https://example.com/room"),
        click("c-2", "https://example.com/map"),
        click("renumbered", "https://example.com/map"),
    ];
    for event in &clicks {
        tell(log, event, now.plus(secs(7))).await;
    }
    assert_eq!(record(log, id).await.events.len(), 2, "a repeat under another number is still one");
}

pub async fn events_end_the_same_in_any_order(bench: &LogBench) {
    let (log, now) = (&*bench.log, start());
    let kinds = [
        EventKind::Processed,
        EventKind::Deferred,
        EventKind::Delivered,
        EventKind::Opened,
        EventKind::Complained,
    ];
    let mut ends = Vec::new();
    for _shuffle in 0..12 {
        let id = accept(log, now, |_| ()).await;
        let events = (0_u64..).zip(&kinds).map(|(i, kind)| {
            let mut event = event(Some(id), kind.clone(), now.plus(secs(1 + i)));
            event.event_id = Some(format!("{id}-{i}"));
            event
        });
        let mut events: Vec<_> = events.collect();
        for i in (1..events.len()).rev() {
            events.swap(i, rand::rng().random_range(0..=i));
        }
        for event in events.iter().chain(&events) {
            tell(log, event, now).await;
        }
        ends.push(told(&record(log, id).await));
    }
    assert!(ends.iter().all(|end| *end == ends[0]), "{ends:?}");
    assert_eq!(ends[0].0[0].0, RecipientStatus::Complained);
    assert_eq!((ends[0].1, ends[0].2), (kinds.len(), Status::Sent));
}

pub async fn an_event_may_come_before_the_workers_own_answer(bench: &LogBench) {
    let (log, now) = (&*bench.log, start());
    let id = accept(log, now, |_| ()).await;
    claim(log, id, now).await;
    let recorded = tell(log, &event(Some(id), EventKind::Processed, now), now).await;
    assert_eq!(
        recorded,
        Recorded::Folded { tenant: "default".into(), settled: Some(Status::Attempting), ready_at: now }
    );
    apply(log, id, accepted_as("m1"), now.plus(secs(1))).await;
    let life = record(log, id).await.life;
    assert_eq!((life.status(now), life.sent_at, life.attempts.len()), (Status::Sent, Some(now), 1));
}

pub async fn an_event_without_our_id_is_matched_by_the_providers(bench: &LogBench) {
    let (log, now) = (&*bench.log, start());
    let id = accept(log, now, |_| ()).await;
    send(log, id, "m1", now).await;
    let other = accept(log, now, |_| ()).await;
    send(log, other, "m2", now).await;
    let recorded = tell(log, &event(None, EventKind::Delivered, now), now).await;
    assert!(matches!(recorded, Recorded::Folded { .. }));
    assert_eq!(record(log, id).await.recipients[0].status, RecipientStatus::Delivered);
    assert!(record(log, other).await.events.is_empty());
    let elsewhere = ProviderEvent { provider: "other".into(), ..event(None, EventKind::Opened, now) };
    assert_eq!(tell(log, &elsewhere, now).await, Recorded::Unmatched, "another provider's ids are its own");
}

pub async fn a_bounce_with_nothing_but_an_address_is_matched_by_it(bench: &LogBench) {
    let (log, now) = (&*bench.log, start());
    let bounce = |email: &str, at| ProviderEvent {
        provider_message_id: Some(String::new()),
        event_id: Some(format!("bounce-{email}-{at}")),
        recipient: Some(address(email)),
        ..event(None, EventKind::Bounced, at)
    };
    let first = accept(log, now, |_| ()).await;
    send(log, first, "m1", now).await;
    let never_sent = accept(log, now, |_| ()).await;
    let hour = now.plus(secs(3600));
    let latest = accept(log, now, |_| ()).await;
    send(log, latest, "m2", hour).await;

    // The latest one that was sent before it bounced.
    tell(log, &bounce("guest@example.com", now.plus(secs(60))), hour).await;
    assert_eq!(record(log, first).await.recipients[0].status, RecipientStatus::Bounced);
    tell(log, &bounce("guest@example.com", hour.plus(secs(60))), hour).await;
    assert_eq!(record(log, latest).await.recipients[0].status, RecipientStatus::Bounced);
    assert!(record(log, never_sent).await.events.is_empty());

    let week = now.plus(secs(7 * 24 * 3600));
    assert_eq!(tell(log, &bounce("guest@example.com", week), week).await, Recorded::Unmatched);
    assert_eq!(tell(log, &bounce("nobody@example.com", hour), hour).await, Recorded::Unmatched);
    let mut opened = bounce("guest@example.com", hour);
    (opened.kind, opened.event_id) = (EventKind::Opened, Some("o".into()));
    assert_eq!(tell(log, &opened, hour).await, Recorded::Unmatched, "only bounces come without ids");
}

pub async fn an_event_that_matches_nothing_is_kept_once(bench: &LogBench) {
    let (log, now) = (&*bench.log, start());
    let stray = event(Some(NotificationId::fresh()), EventKind::Delivered, now);
    assert_eq!(tell(log, &stray, now).await, Recorded::Unmatched);
    assert_eq!(tell(log, &stray, now).await, Recorded::Repeat { tenant: None });
    let unnumbered = ProviderEvent { event_id: None, ..stray };
    assert_eq!(tell(log, &unnumbered, now).await, Recorded::Unmatched);
    assert_eq!(tell(log, &unnumbered, now).await, Recorded::Repeat { tenant: None });
    assert!(log.record_events(&[], now).await.is_empty());
}

pub async fn the_witness_is_the_newest_event_but_never_the_future(bench: &LogBench) {
    let (log, now) = (&*bench.log, start());
    assert_eq!(log.witness("sendgrid").await.unwrap(), None);
    let heard = async |at| {
        tell(log, &event(None, EventKind::Delivered, at), now).await;
        log.witness("sendgrid").await.unwrap()
    };
    assert_eq!(heard(now.minus(secs(10))).await, Some(now.minus(secs(10))));
    assert_eq!(heard(now.minus(secs(90))).await, Some(now.minus(secs(10))), "it never goes back");
    assert_eq!(heard(now.plus(secs(3600))).await, Some(now.minus(secs(10))), "a wrong clock proves nothing");
    assert_eq!(heard(now).await, Some(now));
    assert_eq!(log.witness("other").await.unwrap(), None);

    // An event counts as life whatever it is about, matched or not.
    let id = accept(log, now, |_| ()).await;
    tell(log, &event(Some(id), EventKind::Processed, now.plus(secs(2))), now).await;
    assert_eq!(log.witness("sendgrid").await.unwrap(), Some(now.plus(secs(2))));
    apply(log, id, Fact::Released { by: By::new("tester", None) }, now).await;
}
