//! Reading from DynamoDB beyond what every log does: pages over shards and hours, throttled reads, and events that come
//! in any order, at once and again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use kakitome::aws::Aws;
use kakitome::clock::Timestamp;
use kakitome::message_log::dynamodb::{self, Config, DynamoLog};
use kakitome::message_log::{Filter, LogError, MessageLog, Order, Record, Recorded};
use kakitome::notification::address::Address;
use kakitome::notification::status::Status;
use kakitome::notification::status::recipient::RecipientStatus;
use kakitome::notification::{Mailbox, Notification, NotificationId};
use kakitome::provider::{EventKind, ProviderEvent};
use rand::RngExt;
use rand::seq::SliceRandom;

use crate::conformance::{accept, new, notification, send};
use crate::emulator::{self, Emulator};
use crate::proxy::{Action, Proxy};

struct Bench {
    log: Arc<DynamoLog>,
    proxy: Proxy,
    direct: Aws,
    table: String,
}

async fn bench() -> Bench {
    let upstream = &Emulator::dynoxide().url;
    let config =
        Config { table: emulator::fresh_name("read"), counts_kept: Duration::ZERO, ..Config::default() };
    let direct = emulator::connect(upstream, upstream).await;
    dynamodb::setup(&direct, &config).await.unwrap();
    let proxy = Proxy::before(upstream).await;
    let aws = emulator::connect(&proxy.url, &proxy.url).await;
    Bench { log: Arc::new(DynamoLog::open(&aws, &config)), proxy, direct, table: config.table }
}

fn start() -> Timestamp {
    Timestamp::from_ms(1_800_000_000_000)
}

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn address(text: &str) -> Address {
    Address::parse(text).unwrap()
}

fn to(email: &str) -> Vec<Mailbox> {
    vec![Mailbox { email: address(email), name: None }]
}

/// Records so many, a second apart, in one call.
async fn accept_many(
    log: &DynamoLog,
    count: u64,
    change: impl Fn(u64, &mut Notification),
) -> Vec<NotificationId> {
    let each = (0..count).map(|i| new(notification(|n| change(i, n)), start().plus(secs(i))));
    let all: Vec<_> = each.collect();
    for accepted in log.accept(&all).await {
        accepted.unwrap();
    }
    all.iter().map(|new| new.id).collect()
}

fn unsent(order: Order) -> Filter {
    let statuses = Status::ALL.into_iter().filter(|status| status.is_unsent()).collect();
    Filter { statuses, order, ..Filter::default() }
}

/// All pages of a listing.
async fn all(log: &DynamoLog, filter: &Filter, limit: usize, now: Timestamp) -> Vec<Record> {
    let (mut listed, mut cursor) = (Vec::new(), None);
    loop {
        let page = log.list(filter, cursor.as_deref(), limit, now).await.unwrap();
        assert!(page.items.len() <= limit);
        listed.extend(page.items);
        cursor = page.next_cursor;
        if cursor.is_none() {
            return listed;
        }
    }
}

fn ids(records: &[Record]) -> Vec<NotificationId> {
    records.iter().map(|record| record.id).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_row_is_skipped_or_repeated_while_others_come_and_go() {
    let bench = bench().await;
    for order in [Order::NewestFirst, Order::OldestFirst] {
        // Several of one time each, so that pages end within a tie.
        let each = (0..40_u64).map(|i| new(notification(|_| ()), start().plus(secs(i / 5))));
        let first: Vec<_> = each.collect();
        for accepted in bench.log.accept(&first).await {
            accepted.unwrap();
        }
        let (mut listed, mut gone, mut cursor) = (Vec::new(), BTreeSet::new(), None);
        let now = start().plus(secs(100));
        loop {
            let page = bench.log.list(&unsent(order), cursor.as_deref(), 7, now).await.unwrap();
            listed.extend(ids(&page.items));
            cursor = page.next_cursor;
            if cursor.is_none() {
                break;
            }
            let at = rand::rng().random_range(0..7);
            accept(&*bench.log, start().plus(secs(at)), |_| ()).await;
            let ends = first[rand::rng().random_range(0..first.len())].id;
            if gone.insert(ends) {
                send(&*bench.log, ends, "m1", now).await;
            }
        }
        let distinct: BTreeSet<_> = listed.iter().copied().collect();
        assert_eq!(distinct.len(), listed.len(), "no row twice");
        let missed: Vec<_> =
            first.iter().filter(|new| !distinct.contains(&new.id) && !gone.contains(&new.id)).collect();
        assert!(missed.is_empty(), "{order:?}: {missed:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_page_of_1500_open_rows_reads_no_more_than_it_shows() {
    let bench = bench().await;
    let recorded = accept_many(&bench.log, 1500, |_, _| ()).await;
    let now = start().plus(secs(3000));
    for order in [Order::NewestFirst, Order::OldestFirst] {
        bench.proxy.reset();
        let page = bench.log.list(&unsent(order), None, 100, now).await.unwrap();
        let expected: Vec<_> = match order {
            Order::NewestFirst => recorded.iter().rev().take(100).copied().collect(),
            Order::OldestFirst => recorded.iter().take(100).copied().collect(),
        };
        assert_eq!(ids(&page.items), expected);
        assert!(page.next_cursor.is_some());
        let seen = bench.proxy.seen();
        let read: usize = seen
            .iter()
            .filter(|seen| seen.operation == "BatchGetItem")
            .map(|seen| seen.body["RequestItems"][&bench.table]["Keys"].as_array().map_or(0, Vec::len))
            .sum();
        // The rows, one more to see whether there are any, and an entry for each that is shown.
        assert_eq!(read, 201);
    }
    let counts = bench.log.counts(now).await.unwrap();
    assert_eq!(counts.by_status, BTreeMap::from([(Status::Accepted, 1500)]));
    assert_eq!(counts.oldest_unsent, Some(start()));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_recipient_was_sent_is_listed_over_hours_and_spellings() {
    let bench = bench().await;
    let mut expected = Vec::new();
    for hour in 0..30_u64 {
        let now = start().plus(secs(hour * 3600));
        let email = if hour % 2 == 0 { "a..b@docomo.ne.jp" } else { "\"a..b\"@Docomo.ne.jp" };
        accept(&*bench.log, now, |n| n.to = to("other@example.com")).await;
        let id = accept(&*bench.log, now, |n| match hour % 3 {
            0 => n.bcc = to(email),
            1 => n.to.extend(to(email)),
            _ => n.to = to(email),
        });
        expected.push(id.await);
    }
    let now = start().plus(secs(40 * 3600));
    let filter = Filter {
        recipient: Some(address("\"a..b\"@docomo.ne.jp")),
        order: Order::OldestFirst,
        ..Filter::default()
    };
    assert_eq!(ids(&all(&bench.log, &filter, 4, now).await), expected);
    let newest = Filter { order: Order::NewestFirst, ..filter.clone() };
    expected.reverse();
    assert_eq!(ids(&all(&bench.log, &newest, 4, now).await), expected);
    let lately = Filter { since: Some(start().plus(secs(20 * 3600))), ..newest };
    assert_eq!(ids(&all(&bench.log, &lately, 100, now).await), expected[..10]);
    let counted = bench.log.count_groups(&filter, now).await.unwrap();
    assert_eq!(counted.iter().map(|line| line.count).sum::<u64>(), 30);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broadcast_is_listed_in_the_order_of_acceptance() {
    let bench = bench().await;
    let recorded = accept_many(&bench.log, 60, |i, n| {
        n.batch = Some(if i % 3 == 0 { "other" } else { "summer" }.into());
        n.tenant = format!("inn-{}", i % 2);
    })
    .await;
    let now = start().plus(secs(100));
    let filter = Filter { batch: Some("summer".into()), order: Order::OldestFirst, ..Filter::default() };
    let of = |keep: &dyn Fn(usize) -> bool| -> Vec<_> {
        recorded.iter().enumerate().filter(|(i, _)| i % 3 != 0 && keep(*i)).map(|(_, id)| *id).collect()
    };
    assert_eq!(ids(&all(&bench.log, &filter, 7, now).await), of(&|_| true));
    let one_inn = Filter { tenant: Some("inn-1".into()), ..filter };
    assert_eq!(ids(&all(&bench.log, &one_inn, 7, now).await), of(&|i| i % 2 == 1));
    assert_eq!(bench.log.count_groups(&one_inn, now).await.unwrap()[0].count, 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn throttled_queries_and_unprocessed_keys_are_asked_for_again() {
    let bench = bench().await;
    let recorded = accept_many(&bench.log, 30, |_, _| ()).await;
    let now = start().plus(secs(100));
    let one_at_a_time = Action::rewrite(|seen, answer| {
        for (table, asked) in seen.body["RequestItems"].as_object().unwrap() {
            let keys = asked["Keys"].as_array().unwrap();
            let (first, rest) = keys.split_first().unwrap();
            let found = answer["Responses"][table].as_array_mut().unwrap();
            found.retain(|item| item["pk"] == first["pk"] && item["sk"] == first["sk"]);
            if !rest.is_empty() {
                let left = serde_json::json!({ "Keys": rest, "ConsistentRead": asked["ConsistentRead"] });
                answer["UnprocessedKeys"] = serde_json::json!({ table: left });
            }
        }
    });
    bench.proxy.next(3, "BatchGetItem", one_at_a_time);
    bench.proxy.next(6, "Query", Action::Fail(400, "ProvisionedThroughputExceededException"));
    let filter = Filter { order: Order::OldestFirst, ..unsent(Order::OldestFirst) };
    let page = bench.log.list(&filter, None, 100, now).await.unwrap();
    assert_eq!(ids(&page.items), recorded);
    bench.proxy.reset();
    bench.proxy.always("Query", Action::Fail(500, "InternalServerError"));
    let failed = bench.log.list(&filter, None, 100, now).await;
    assert!(matches!(failed, Err(LogError::Unavailable(_))), "{failed:?}");
}

const GUESTS: [&str; 3] = ["guest@example.com", "\"a..b\"@docomo.ne.jp", "stranger@example.com"];

fn any_events(id: NotificationId) -> Vec<ProviderEvent> {
    let kinds = &EventKind::KNOWN[..10];
    let event = |i: u64| {
        let kind = kinds[rand::rng().random_range(0..kinds.len())].clone();
        let at = start().plus(secs(rand::rng().random_range(0..6)));
        let guest = rand::rng().random_range(0..GUESTS.len());
        ProviderEvent {
            provider: "sendgrid".into(),
            id: Some(id),
            provider_message_id: Some("m1".into()),
            event_id: (!i.is_multiple_of(4)).then(|| format!("{id}-{i}")),
            kind,
            at,
            recipient: Some(address(GUESTS[guest])),
            machine: false,
            lane: None,
            detail: serde_json::Map::new(),
        }
    };
    (0..14).map(event).collect()
}

/// What the events say of a guest, told by nothing of the product's folding: the highest rank, and its earliest time.
fn fold(events: &[ProviderEvent], guest: &str) -> (RecipientStatus, Timestamp) {
    let mut said: Vec<_> = events
        .iter()
        .filter(|event| event.recipient.as_ref().unwrap().canonical() == address(guest).canonical())
        .filter_map(|event| Some((event.kind.recipient_status()?, event.at)))
        .collect();
    said.sort_by_key(|(status, at)| (std::cmp::Reverse(*status), *at));
    said.first().copied().unwrap_or((RecipientStatus::Pending, start()))
}

#[tokio::test(flavor = "multi_thread")]
async fn events_in_any_order_at_once_and_again_fold_the_same_and_repeats_cost_no_write() {
    let bench = bench().await;
    for _round in 0..6 {
        let id = accept(&*bench.log, start(), |n| n.cc = to("a..b@docomo.ne.jp")).await;
        let events = any_events(id);
        let told = (0..4).map(|_| {
            let (log, mut events) = (bench.log.clone(), events.clone());
            events.shuffle(&mut rand::rng());
            tokio::spawn(async move {
                for some in events.chunks(3) {
                    for recorded in log.record_events(some, start()).await {
                        recorded.unwrap();
                    }
                }
            })
        });
        for told in told.collect::<Vec<_>>() {
            told.await.unwrap();
        }
        let record = bench.log.get(id).await.unwrap().unwrap();
        for (recipient, guest) in record.recipients.iter().zip(GUESTS) {
            assert_eq!((recipient.status, recipient.since), fold(&events, guest), "{events:?}");
        }
        assert_eq!(record.recipients.len(), 2);
        let distinct: BTreeSet<_> = events
            .iter()
            .map(|event| (event.at, event.kind.clone(), event.recipient.as_ref().unwrap().canonical()))
            .collect();
        assert_eq!(record.events.len(), distinct.len());
        assert!(record.events.is_sorted_by_key(|event| event.at));
        assert_eq!(record.life.status(start()), Status::Sent);

        bench.proxy.reset();
        for recorded in bench.log.record_events(&events, start()).await {
            assert!(matches!(recorded.unwrap(), Recorded::Repeat { .. }));
        }
        let asked: BTreeSet<_> = bench.proxy.operations().into_iter().collect();
        assert_eq!(asked, BTreeSet::from(["BatchGetItem".to_owned()]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stray_event_is_a_write_once() {
    let bench = bench().await;
    let mut stray = any_events(NotificationId::fresh()).remove(1);
    stray.id = None;
    let told =
        async || bench.log.record_events(std::slice::from_ref(&stray), start()).await.remove(0).unwrap();
    assert_eq!(told().await, Recorded::Unmatched);
    bench.proxy.reset();
    assert_eq!(told().await, Recorded::Repeat { tenant: None });
    let writes = ["BatchExecuteStatement", "UpdateItem", "BatchWriteItem"];
    assert!(bench.proxy.operations().iter().all(|operation| !writes.contains(&operation.as_str())));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_cannot_be_read_whole_is_still_listed() {
    let bench = bench().await;
    let recorded = accept_many(&bench.log, 3, |_, _| ()).await;
    let spoil = bench.direct.dynamodb.update_item().table_name(&bench.table);
    spoil
        .key("pk", AttributeValue::S(format!("n#{}", recorded[1])))
        .key("sk", AttributeValue::S("n".into()))
        .update_expression("SET l = :l")
        .expression_attribute_values(":l", AttributeValue::S("{".into()))
        .send()
        .await
        .unwrap();
    let now = start().plus(secs(10));
    for filter in [Filter::default(), unsent(Order::NewestFirst)] {
        let page = bench.log.list(&filter, None, 10, now).await.unwrap();
        let listed: Vec<_> =
            page.items.iter().map(|record| (record.id, record.life.reason.as_deref())).collect();
        let expected = [(recorded[2], None), (recorded[1], Some("corrupt_record")), (recorded[0], None)];
        assert_eq!(listed, expected);
        assert_eq!(page.items[1].recipients.len(), 1, "what can be read is shown");
    }
    assert!(matches!(bench.log.get(recorded[1]).await, Err(LogError::Corrupt(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_count_is_told_again_while_it_is_kept() {
    let bench = bench().await;
    let config = Config { table: bench.table.clone(), counts_kept: secs(60), ..Config::default() };
    let log = DynamoLog::open(&bench.direct, &config);
    let before = log.counts(start()).await.unwrap();
    accept(&log, start(), |_| ()).await;
    assert_eq!(log.counts(start()).await.unwrap(), before);
    assert_eq!(bench.log.counts(start()).await.unwrap().on_their_way(), 1);
}
