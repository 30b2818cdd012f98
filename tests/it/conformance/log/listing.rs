//! Listing, counting, and what is due.

use std::collections::{BTreeMap, BTreeSet};

use kakitome::message_log::{Filter, LogError, Order, Record, Standings};
use kakitome::notification::status::{Answer, By, Fact, Status};

use super::super::LogBench;
use super::*;

/// When the listings are made: late enough for some leases to be over and some waits not to be.
fn listed_at() -> Timestamp {
    start().plus(secs(100))
}

/// One notification in each status and then some, over three tenants, two batches and three guests.
async fn furnish(log: &dyn MessageLog) {
    let not_accepted = |token| {
        let due_at = start().plus(secs(9000));
        Fact::NotAccepted { token, answer: Answer::default(), due_at, counts: true }
    };
    for i in 0_u64..44 {
        let now = start().plus(secs(i));
        let fate = i % 11;
        let id = accept(log, now, |n| {
            n.tenant = format!("inn-{}", i % 3);
            n.batch = (i % 2 == 0).then(|| format!("batch-{}", i % 4));
            n.to = to(&format!("guest{}@example.com", i % 3));
            n.deliver_at = match fate {
                1 => Some(start().plus(secs(50))),
                2 => Some(start().plus(secs(5000))),
                _ => None,
            };
            n.useful_until = (fate == 3).then(|| now.plus(secs(1)));
        })
        .await;
        match fate {
            3 => drop(apply(log, id, Fact::Expired, now.plus(secs(2))).await),
            4 => drop(apply(log, id, Fact::Held { by: By::new("tester", Some("ask first")) }, now).await),
            5 => drop(apply(log, id, Fact::Cancelled { by: By::new("tester", Some("closed")) }, now).await),
            6 => drop(claim(log, id, now).await),
            7 => drop(claim(log, id, listed_at()).await),
            8 => {
                let token = claim(log, id, now).await;
                apply(log, id, not_accepted(token), now).await;
            }
            9 => {
                let token = claim(log, id, now).await;
                let reason = if i < 20 { "no_such_template" } else { "poison" };
                let refused = Fact::Refused { token, answer: Answer::default(), reason: reason.into() };
                apply(log, id, refused, now).await;
            }
            10 => send(log, id, &format!("m{i}"), now).await,
            _ => {}
        }
    }
}

fn filters() -> Vec<Filter> {
    let some = |text: &str| Some(text.to_owned());
    let unsent: Vec<_> = Status::ALL.into_iter().filter(|status| status.is_unsent()).collect();
    let mut filters = vec![
        Filter::default(),
        Filter { statuses: unsent, ..Filter::default() },
        Filter { statuses: vec![Status::Sent, Status::Cancelled, Status::Failed], ..Filter::default() },
        Filter {
            statuses: vec![Status::Unknown, Status::Retrying],
            tenant: some("inn-1"),
            ..Filter::default()
        },
        Filter { tenant: some("inn-2"), ..Filter::default() },
        Filter { batch: some("batch-2"), ..Filter::default() },
        Filter { batch: some("batch-2"), statuses: vec![Status::Sent], ..Filter::default() },
        Filter { recipient: Some(address("guest1@example.com")), ..Filter::default() },
        Filter { reason: some("poison"), ..Filter::default() },
        Filter { reason: some("closed"), tenant: some("inn-0"), ..Filter::default() },
        Filter {
            since: Some(start().plus(secs(10))),
            until: Some(start().plus(secs(30))),
            ..Filter::default()
        },
        Filter { tenant: some("nobody"), ..Filter::default() },
        Filter { provider: some("sendgrid"), ..Filter::default() },
        Filter { provider: some("nobody"), statuses: vec![Status::Retrying], ..Filter::default() },
    ];
    filters
        .extend(Status::ALL.into_iter().map(|status| Filter { statuses: vec![status], ..Filter::default() }));
    let oldest = filters.clone().into_iter().map(|filter| Filter { order: Order::OldestFirst, ..filter });
    filters.extend(oldest.collect::<Vec<_>>());
    filters
}

/// What the filter's documentation says.
fn fits(filter: &Filter, record: &Record) -> bool {
    let life = &record.life;
    let is = |wanted: &Option<String>, found: Option<&str>| wanted.is_none() || wanted.as_deref() == found;
    (filter.statuses.is_empty() || filter.statuses.contains(&life.status(listed_at())))
        && is(&filter.tenant, Some(&record.tenant))
        && is(&filter.batch, record.batch.as_deref())
        && is(&filter.provider, life.provider.as_deref())
        && is(&filter.reason, life.reason.as_deref())
        && filter.recipient.as_ref().is_none_or(|email| record.recipients.iter().any(|r| r.email == *email))
        && filter.since.is_none_or(|since| life.accepted_at >= since)
        && filter.until.is_none_or(|until| life.accepted_at < until)
}

async fn everything(log: &dyn MessageLog) -> Vec<Record> {
    let page = log.list(&Filter::default(), None, 1000, listed_at()).await.unwrap();
    assert_eq!(page.next_cursor, None);
    page.items
}

/// Whether the port lets a backend list these by when their wait began, see [`Order::NewestFirst`].
fn asks_for_nothing_sent(filter: &Filter) -> bool {
    filter.reason.is_some() || !filter.statuses.is_empty() && !filter.statuses.contains(&Status::Sent)
}

fn assert_in_order(records: &[Record], order: Order, may_go_by_wait: bool) {
    let accepted: Vec<_> = records.iter().map(|record| record.life.accepted_at).collect();
    let ready: Vec<_> = records.iter().map(|record| record.life.ready_at()).collect();
    match order {
        Order::NewestFirst => {
            let by_wait = may_go_by_wait && ready.is_sorted_by(|a, b| a >= b);
            assert!(by_wait || accepted.is_sorted_by(|a, b| a >= b));
        }
        Order::OldestFirst => assert!(ready.is_sorted() || accepted.is_sorted()),
    }
}

pub async fn every_filter_lists_what_it_says_without_gap_or_repeat(bench: &LogBench) {
    let log = &*bench.log;
    furnish(log).await;
    for filter in filters() {
        let expected: BTreeSet<_> = everything(log)
            .await
            .iter()
            .filter(|record| fits(&filter, record))
            .map(|record| record.id)
            .collect();
        let (mut listed, mut cursor) = (Vec::new(), None);
        loop {
            let page = log.list(&filter, cursor.as_deref(), 3, listed_at()).await.unwrap();
            assert!(page.items.len() <= 3);
            listed.extend(page.items);
            cursor = page.next_cursor;
            if cursor.is_none() {
                break;
            }
            // Others go on while somebody leafs.
            accept(log, listed_at(), |n| n.tenant = "late".into()).await;
        }
        assert!(listed.iter().all(|record| fits(&filter, record)), "{filter:?}");
        assert_in_order(&listed, filter.order, bench.newest_by_wait && asks_for_nothing_sent(&filter));
        let ids: BTreeSet<_> = listed.iter().map(|record| record.id).collect();
        assert_eq!(ids.len(), listed.len(), "no record twice: {filter:?}");
        assert!(ids.is_superset(&expected), "no record left out: {filter:?}");
    }
}

pub async fn a_cursor_of_another_listing_is_refused(bench: &LogBench) {
    let log = &*bench.log;
    for _ in 0..2 {
        accept(log, start(), |_| ()).await;
    }
    let newest = Filter::default();
    let cursor = log.list(&newest, None, 1, start()).await.unwrap().next_cursor.unwrap();
    let oldest = Filter { order: Order::OldestFirst, ..Filter::default() };
    for (filter, cursor) in [(&oldest, cursor.as_str()), (&newest, "made up"), (&newest, "")] {
        let refused = log.list(filter, Some(cursor), 1, start()).await;
        assert!(matches!(refused, Err(LogError::BadCursor)));
    }
}

pub async fn counts_agree_with_the_listing(bench: &LogBench) {
    let (log, now) = (&*bench.log, listed_at());
    assert_eq!(log.counts(now).await.unwrap(), Default::default());
    furnish(log).await;
    let mut by_status: BTreeMap<Status, u64> = BTreeMap::new();
    for record in everything(log).await {
        *by_status.entry(record.life.status(now)).or_default() += 1;
    }
    assert!(by_status.len() >= 10, "{by_status:?}");
    assert_eq!(log.counts(now).await.unwrap().by_status, by_status);
    for filter in filters() {
        let mut expected: BTreeMap<(Status, Option<String>), u64> = BTreeMap::new();
        for record in everything(log).await.into_iter().filter(|record| fits(&filter, record)) {
            *expected.entry((record.life.status(now), record.life.reason)).or_default() += 1;
        }
        let mut counted: BTreeMap<_, u64> = BTreeMap::new();
        for group in log.count_groups(&filter, now).await.unwrap() {
            *counted.entry((group.status, group.reason)).or_default() += group.count;
        }
        assert_eq!(counted, expected, "{filter:?}");
    }
}

pub async fn the_oldest_unsent_is_on_its_way(bench: &LogBench) {
    let (log, now) = (&*bench.log, start());
    let oldest = async |now| log.counts(now).await.unwrap().oldest_unsent;
    assert_eq!(oldest(now).await, None);
    let held = accept(log, now, |_| ()).await;
    apply(log, held, Fact::Held { by: By::new("tester", Some("ask first")) }, now).await;
    let dead = accept(log, now, |_| ()).await;
    apply(log, dead, Fact::Parked { reason: "attempts_used_up".into(), hold: false }, now).await;
    accept(log, now, |n| n.deliver_at = Some(now.plus(secs(100)))).await;
    assert_eq!(oldest(now).await, None, "nothing is on its way yet");
    assert_eq!(oldest(now.plus(secs(200))).await, Some(now.plus(secs(100))));
    let first = accept(log, now.plus(secs(10)), |_| ()).await;
    accept(log, now.plus(secs(20)), |_| ()).await;
    assert_eq!(oldest(now.plus(secs(30))).await, Some(now.plus(secs(10))));
    claim(log, first, now.plus(secs(30))).await;
    assert_eq!(oldest(now.plus(secs(300))).await, Some(now.plus(secs(10))), "an unknown one waits too");
    apply(log, first, accepted_as("m1"), now.plus(secs(300))).await;
    assert_eq!(oldest(now.plus(secs(300))).await, Some(now.plus(secs(20))));
}

pub async fn what_is_due_comes_oldest_first(bench: &LogBench) {
    let (log, now) = (&*bench.log, start());
    let mut ids = Vec::new();
    for i in [3, 1, 2] {
        ids.push(accept(log, now.plus(secs(i)), |n| n.tenant = format!("inn-{i}")).await);
    }
    let sent = accept(log, now, |_| ()).await;
    send(log, sent, "m1", now).await;
    assert!(log.due(now.plus(secs(60)), 10).await.unwrap().is_empty());
    let later = now.plus(secs(100));
    let due = log.due(later, 10).await.unwrap();
    assert_eq!(due.iter().map(|due| due.id).collect::<Vec<_>>(), [ids[1], ids[2], ids[0]]);
    assert_eq!((due[0].tenant.as_str(), due[0].life.status(later)), ("inn-1", Status::Accepted));
    assert_eq!(log.due(later, 2).await.unwrap().len(), 2);
    apply(log, ids[1], Fact::Enqueued { wake_at: later.plus(secs(60)) }, later).await;
    assert_eq!(log.due(later, 10).await.unwrap().len(), 2, "the sweeper looks later again");
}

pub async fn standings_agree_with_the_listing(bench: &LogBench) {
    let (log, now) = (&*bench.log, listed_at());
    assert_eq!(log.standings(now).await.unwrap(), Standings::new());
    furnish(log).await;
    for now in [now, now.plus(secs(700)), now.plus(secs(5000)), now.plus(secs(90_000))] {
        let mut expected = Standings::new();
        for record in log.list(&Filter::default(), None, 1000, now).await.unwrap().items {
            let status = record.life.status(now);
            if status.is_unsent() {
                expected.entry(status).or_default().add(record.life.ready_at(), now);
            }
        }
        assert!(expected.len() >= 6, "{expected:?}");
        assert_eq!(log.standings(now).await.unwrap(), expected, "{now}");
    }
}
