//! What the feed is told beyond what every feed does: what a crash, a lost answer, a rival or a slow service leaves.

use std::time::Duration;

use kakitome::clock::Clock;
use kakitome::feed::callback;
use kakitome::feed::dynamodb::Named;
use kakitome::feed::{Cursor, Entry, Feed, FeedError, Told};
use kakitome::message_log::{Applied, MessageLog};
use kakitome::notification::NotificationId;
use kakitome::notification::address::Address;
use kakitome::notification::status::{Answer, By, Status};
use kakitome::provider::{EventKind, ProviderEvent};

use super::*;
use crate::conformance::told::{FeedHouse, config};
use crate::proxy::Action;

const CHANGE: &str = "BatchExecuteStatement";
const ENTRY: &str = "BatchWriteItem";
const HOUR: Duration = Duration::from_secs(3600);

/// A house behind a proxy, and another one on the same table; unless it is said, all tenants have a feed.
struct Telling {
    house: FeedHouse,
    proxy: Proxy,
    other: FeedHouse,
    config: Config,
}

async fn told_bench() -> Telling {
    told_bench_as(Named::All).await
}

async fn told_bench_as(named: Named) -> Telling {
    let upstream = &Emulator::ministack().url;
    let config = Config { table: emulator::fresh_name("told"), count_units: true, ..Config::default() };
    let direct = emulator::connect(upstream, upstream).await;
    dynamodb::setup(&direct, &config).await.unwrap();
    let proxy = Proxy::before(upstream).await;
    let aws = emulator::connect(&proxy.url, &proxy.url).await;
    let clock = Clock::manual(start());
    let house = FeedHouse::open(&aws, &config, &clock, named.clone());
    let other = FeedHouse::open(&direct, &config, &clock, named);
    Telling { house, proxy, other, config }
}

impl Telling {
    /// Accepted and claimed by `house`, as a worker does.
    async fn claimed(&self, change: impl FnOnce(&mut kakitome::notification::Notification)) -> Sending {
        let new = new(notification(change), start());
        self.house.log.accept(std::slice::from_ref(&new)).await.remove(0).unwrap();
        let token = Token::fresh();
        let request = ClaimRequest { fact: claim_of(token, start()), ..fresh(&new, start()) };
        let claim = self.house.log.claim(&[request], start()).await.remove(0).unwrap();
        assert!(matches!(claim, Claim::Won(_)), "{claim:?}");
        Sending { id: new.id, token }
    }

    /// All that is told once it is settled.
    async fn entries(&self) -> Vec<Entry> {
        self.house.settle();
        self.house.feed.read("default", None, 1000).await.unwrap().entries
    }

    async fn told(&self) -> Vec<Told> {
        self.entries().await.into_iter().map(|entry| entry.status).collect()
    }

    /// How many entries were written down, whether they tell anything or not.
    async fn written(&self) -> u64 {
        self.house.settle();
        let begin = self.house.feed.begin("default").await.unwrap();
        self.house.feed.count("default", &begin).await.unwrap()
    }
}

struct Sending {
    id: NotificationId,
    token: Token,
}

impl Sending {
    fn refused(&self) -> Fact {
        let answer = Answer { http_status: Some(400), error: None };
        Fact::Refused { token: self.token, answer, reason: "refused_400".into() }
    }
}

async fn apply_to(house: &FeedHouse, id: NotificationId, fact: Fact) -> Result<Applied, String> {
    let applied = house.log.apply(&[(id, fact)], start()).await.remove(0);
    applied.map_err(|error| error.to_string())
}

pub fn delivered(id: NotificationId, to: &str) -> ProviderEvent {
    ProviderEvent {
        provider: "sendgrid".into(),
        id: Some(id),
        provider_message_id: Some("m1".into()),
        event_id: Some(format!("{id}-{to}")),
        kind: EventKind::Delivered,
        at: start().plus(secs(9)),
        recipient: Some(Address::parse(to).unwrap()),
        machine: false,
        lane: None,
        detail: serde_json::Map::new(),
    }
}

#[tokio::test]
async fn nothing_is_told_before_it_is_settled() {
    let bench = told_bench().await;
    let one = bench.claimed(|_| ()).await;
    apply_to(&bench.house, one.id, accepted()).await.unwrap();
    let read = || bench.house.feed.read("default", None, 10);
    bench.house.clock.advance(config().settled - Duration::from_millis(1));
    let page = read().await.unwrap();
    assert_eq!((page.entries.len(), page.more), (0, false));
    bench.house.clock.advance(Duration::from_millis(2));
    let page = bench.house.feed.read("default", Some(&page.next), 10).await.unwrap();
    assert_eq!(page.entries.len(), 1, "no cursor passes what is not settled");
}

#[tokio::test]
async fn a_change_whose_answer_is_lost_is_told_once() {
    let bench = told_bench().await;
    let one = bench.claimed(|_| ()).await;
    bench.proxy.next(1, CHANGE, Action::LoseAnswer);
    apply_to(&bench.house, one.id, accepted()).await.unwrap();
    bench.proxy.next(1, ENTRY, Action::LoseAnswer);
    bench.proxy.next(1, CHANGE, Action::LoseAnswer);
    let event = delivered(one.id, "guest@example.com");
    bench.house.log.record_events(&[event], start()).await.remove(0).unwrap();
    assert_eq!(bench.told().await, [Told::Sent, Told::Delivered]);
    assert_eq!(bench.written().await, 2);
}

#[tokio::test]
async fn an_entry_whose_change_never_came_is_not_told_and_the_change_is_once_it_comes() {
    let bench = told_bench().await;
    let one = bench.claimed(|_| ()).await;
    bench.proxy.always(CHANGE, Action::Fail(400, "ValidationException"));
    apply_to(&bench.house, one.id, accepted()).await.unwrap_err();
    let event = delivered(one.id, "guest@example.com");
    bench.other.log.record_events(&[delivered(one.id, "nobody@example.com")], start()).await;
    bench.house.log.record_events(std::slice::from_ref(&event), start()).await.remove(0).unwrap_err();
    bench.proxy.pass_all();
    let begin = bench.house.feed.begin("default").await.unwrap();
    let page = bench.house.settling().read("default", Some(&begin), 10).await.unwrap();
    let sent: Vec<_> = page.entries.iter().map(|entry| entry.status).collect();
    assert_eq!(sent, [Told::Sent], "the other one's event proved it; who is no recipient is not told of");
    assert!(bench.written().await >= 4, "what never happened was written down");
    bench.house.log.record_events(&[event], start()).await.remove(0).unwrap();
    assert_eq!(bench.told().await, [Told::Sent, Told::Delivered]);
    let again = bench.house.feed.between("default", &begin, &page.next).await.unwrap();
    assert_eq!(again, page.entries, "what is told once stays told, and the same");
}

/// Of five requests one is lost, one is done without an answer, and one is refused for good.
fn unreliable() -> Action {
    let lost = Action::one_in(5, Action::LoseAnswer, Action::Pass);
    let failed = Action::one_in(5, Action::Fail(500, "InternalServerError"), lost);
    Action::one_in(5, Action::Fail(400, "ValidationException"), failed)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_fails_on_the_way_each_change_is_told_in_its_order_and_nothing_else_is() {
    let bench = told_bench().await;
    let mut all = Vec::new();
    for _ in 0..24 {
        all.push(bench.claimed(|_| ()).await);
    }
    bench.proxy.always(CHANGE, unreliable());
    bench.proxy.always(ENTRY, unreliable());
    let by = || By::new("ops", None);
    let live = async |ix: usize, one: &Sending| {
        if ix.is_multiple_of(2) {
            while apply_to(&bench.house, one.id, accepted()).await.is_err() {}
            let event = delivered(one.id, "guest@example.com");
            while bench.house.log.record_events(std::slice::from_ref(&event), start()).await[0].is_err() {}
            return;
        }
        for fact in [one.refused(), Fact::Redriven { by: by(), late: false }, Fact::Cancelled { by: by() }] {
            while apply_to(&bench.house, one.id, fact.clone()).await.is_err() {}
        }
    };
    futures::future::join_all(all.iter().enumerate().map(|(ix, one)| live(ix, one))).await;
    bench.proxy.pass_all();
    let (mut seen, told) = (std::collections::BTreeSet::new(), bench.entries().await);
    let first: Vec<&Entry> = told.iter().filter(|entry| seen.insert(entry.event_id.clone())).collect();
    for (ix, one) in all.iter().enumerate() {
        let of: Vec<_> = first.iter().filter(|entry| entry.id == one.id).map(|entry| entry.status).collect();
        let expected: &[Told] = match ix % 2 {
            0 => &[Told::Sent, Told::Delivered],
            _ => &[Told::Failed, Told::Retrying, Told::Cancelled],
        };
        assert_eq!(of, expected);
    }
    assert!(bench.written().await > first.len() as u64, "nothing was left behind: the test shows nothing");
}

#[tokio::test]
async fn no_change_is_made_whose_entry_cannot_be_written() {
    let bench = told_bench().await;
    let one = bench.claimed(|_| ()).await;
    bench.proxy.always(ENTRY, Action::Fail(400, "ValidationException"));
    apply_to(&bench.house, one.id, accepted()).await.unwrap_err();
    let life = bench.other.log.lives(&[one.id]).await.unwrap().remove(0).unwrap();
    assert_eq!(life.status(start()), Status::Attempting);
    bench.proxy.pass_all();
    apply_to(&bench.house, one.id, accepted()).await.unwrap();
    assert_eq!(bench.told().await, [Told::Sent]);
}

#[tokio::test]
async fn of_two_who_change_one_notification_at_once_what_happened_is_told_and_the_last_state_last() {
    let bench = told_bench().await;
    // Ahead of the other by as much as clocks may be.
    let one = bench.claimed(|_| ()).await;
    bench.house.clock.advance(secs(2));
    apply_to(&bench.house, one.id, one.refused()).await.unwrap();
    let upstream = &Emulator::ministack().url;
    let behind = Clock::manual(start());
    let direct = emulator::connect(upstream, upstream).await;
    let late = FeedHouse::open(&direct, &bench.config, &behind, Named::All);
    let by = || By::new("ops", None);
    apply_to(&late, one.id, Fact::Redriven { by: by(), late: false }).await.unwrap();
    apply_to(&late, one.id, Fact::Cancelled { by: by() }).await.unwrap();
    // What this one remembers of the row is three versions old.
    let rival = bench.claimed(|_| ()).await;
    apply_to(&late, rival.id, accepted()).await.unwrap();
    apply_to(&bench.house, rival.id, accepted()).await.unwrap();
    let told: Vec<_> = bench.entries().await;
    let of = |id| told.iter().filter(|entry| entry.id == id).map(|entry| entry.status).collect::<Vec<_>>();
    assert_eq!(of(one.id), [Told::Failed, Told::Retrying, Told::Cancelled]);
    assert_eq!(of(rival.id), [Told::Sent]);
    assert_eq!(bench.written().await, 5, "the rival's entry tells nothing");
}

#[tokio::test]
async fn a_change_that_would_come_too_late_after_its_entry_gets_another_entry_first() {
    let bench = told_bench().await;
    let one = bench.claimed(|_| ()).await;
    // The SDK asks again after two seconds; by then somebody's reading may soon pass the stamp.
    bench.proxy.next(1, ENTRY, Action::Stall);
    apply_to(&bench.house, one.id, accepted()).await.unwrap();
    assert_eq!(bench.written().await, 2);
    assert_eq!(bench.told().await, [Told::Sent]);
}

#[tokio::test]
async fn a_tenant_without_a_feed_is_told_so_and_costs_nothing_until_it_has_a_callback() {
    let bench = told_bench_as(Named::These(vec!["hotel".into()])).await;
    let one = bench.claimed(|_| ()).await;
    apply_to(&bench.house, one.id, accepted()).await.unwrap();
    let reads = bench.house.feed.read("default", None, 10).await;
    assert_eq!(reads, Err(FeedError::NotKept { tenant: "default".into() }));
    assert_eq!(bench.house.feed.read("hotel", None, 10).await.unwrap().entries, []);
    assert_eq!(bench.written().await, 0);
    let end = bench.house.feed.end("default").await.unwrap();
    let early = bench.claimed(|_| ()).await;
    add_callback(&bench.other, end.clone()).await;
    bench.house.feed.follow("default").await;
    // Claimed by a process that did not know whose it was.
    apply_to(&bench.house, early.id, early.refused()).await.unwrap();
    assert_eq!(bench.told().await, [Told::Failed]);
}

async fn add_callback(house: &FeedHouse, cursor: Cursor) {
    let callback = crate::callbacks::callback_of("default", "http://127.0.0.1:1/", cursor, start());
    callback::add(&*house.journal, &callback).await.unwrap();
}

#[tokio::test]
async fn a_cursor_before_what_is_kept_is_gone_and_one_of_a_quiet_tenant_never_is() {
    let bench = told_bench().await;
    let one = bench.claimed(|_| ()).await;
    apply_to(&bench.house, one.id, accepted()).await.unwrap();
    let mut quiet = bench.house.settling().read("default", None, 10).await.unwrap().next;
    let told = quiet.clone();
    let mut moved = 0;
    for _half_hour in 0..(10 * 24 * 2) {
        bench.house.clock.advance(HOUR / 2);
        let page = bench.house.feed.read("default", Some(&quiet), 10).await.unwrap();
        assert_eq!(page.entries, []);
        moved += u32::from(page.next != quiet);
        quiet = page.next;
    }
    assert!((120..=240).contains(&moved), "a cursor is written down wherever it moves: {moved}");
    let since = bench.house.clock.now().minus(config().retention);
    assert_eq!(bench.house.feed.read("default", Some(&told), 10).await, Err(FeedError::Expired { since }));
    assert_eq!(
        bench.told().await,
        [],
        "what is not kept is not told, though DynamoDB has not deleted it yet"
    );
    let begin = bench.house.feed.begin("default").await.unwrap();
    bench.house.clock.advance(HOUR);
    assert!(
        bench.house.feed.read("default", Some(&begin), 10).await.is_ok(),
        "the oldest is not gone at once"
    );
}
