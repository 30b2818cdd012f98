//! What every suppression list does.

use std::collections::BTreeSet;
use std::sync::Arc;

use kakitome::clock::Timestamp;
use kakitome::notification::address::Address;
use kakitome::suppression::{
    Added, Entry, Filter, ListError, Place, Reason, Removal, Source, SuppressionList, What,
};

/// A fresh, empty list.
pub struct SuppressionBench {
    /// Whose it is: `sqlite`, or an emulator's name.
    pub server: &'static str,
    pub list: Arc<dyn SuppressionList>,
    /// What must outlive the list.
    pub _home: Box<dyn std::any::Any + Send + Sync>,
}

/// Every case, for one backend.
macro_rules! suite {
    ($(#[$note:meta])* $bench:path) => {
        crate::conformance::on_each! { $(#[$note])* crate::conformance::suppression, $bench;
            carriers_quotes_and_case_are_one_mailbox
            each_reason_stands_and_goes_by_itself
            a_removal_survives_the_old_event_and_not_a_new_one
            who_subscribes_to_a_group_again_may_have_been_told_first
            two_tenants_lists_are_apart
            a_list_comes_page_by_page_with_each_entry_once
            what_was_taken_off_is_remembered_with_who_and_why
            eight_who_write_about_one_mailbox_lose_nothing
            a_thousand_in_one_call_have_a_result_each_in_order
        }
    };
}
pub(crate) use suite;

pub fn at(s: i64) -> Timestamp {
    Timestamp::from_ms(1_800_000_000_000 + s * 1000)
}

pub fn address(text: &str) -> Address {
    Address::parse(text).unwrap()
}

fn event(s: i64) -> Source {
    Source::Event { provider: "sendgrid".into(), at: at(s), notification: None }
}

pub fn operator(s: i64) -> Source {
    Source::Operator { who: "ops".into(), at: at(s), note: Some("mailbox is back".into()) }
}

fn entry(tenant: &str, email: &str, reason: Reason, source: Source) -> Entry {
    let (address, created_at) = (address(email), source.at());
    Entry { tenant: tenant.into(), address, reason, group: None, source, created_at, removed: None }
}

fn removal(email: &str, what: What, source: Source) -> Removal {
    Removal { tenant: "inn".into(), address: address(email), what, source }
}

async fn add(bench: &SuppressionBench, entry: Entry) -> Added {
    bench.list.add(&[entry]).await.pop().unwrap().unwrap()
}

async fn remove(bench: &SuppressionBench, removal: Removal) -> u64 {
    bench.list.remove(&[removal]).await.pop().unwrap().unwrap()
}

async fn standing(bench: &SuppressionBench, tenant: &str, email: &str) -> Vec<Reason> {
    let place = Place::of(tenant, &address(email));
    bench.list.look_up(&[place]).await.pop().unwrap().unwrap().iter().collect()
}

fn of(tenant: Option<&str>) -> Filter {
    Filter { tenant: tenant.map(str::to_owned), ..Filter::default() }
}

pub async fn carriers_quotes_and_case_are_one_mailbox(bench: &SuppressionBench) {
    let quoted = "\"a..b\"@docomo.ne.jp";
    assert_eq!(add(bench, entry("inn", quoted, Reason::Bounce, event(1))).await, Added::New);
    for email in [quoted, "a..b@docomo.ne.jp", "A..B@Docomo.NE.JP"] {
        assert_eq!(standing(bench, "inn", email).await, [Reason::Bounce], "{email}");
        assert_eq!(add(bench, entry("inn", email, Reason::Bounce, event(1))).await, Added::Known);
    }
    assert_eq!(standing(bench, "inn", "a.b@docomo.ne.jp").await, []);
    let filter = Filter { address: Some(address("a..b@docomo.ne.jp")), ..of(Some("inn")) };
    let page = bench.list.list(&filter, None, 10).await.unwrap();
    assert_eq!(page.items.len(), 1);
    assert_eq!(page.items[0].address.reveal(), quoted, "as it was given");
    assert_eq!(remove(bench, removal("a..b@docomo.ne.jp", What::All, operator(2))).await, 1);
    assert_eq!(standing(bench, "inn", quoted).await, []);
}

pub async fn each_reason_stands_and_goes_by_itself(bench: &SuppressionBench) {
    let email = "guest@example.com";
    for reason in [Reason::Unsubscribe, Reason::Bounce, Reason::Manual] {
        assert_eq!(add(bench, entry("inn", email, reason, event(1))).await, Added::New);
    }
    assert_eq!(standing(bench, "inn", email).await, [Reason::Bounce, Reason::Manual, Reason::Unsubscribe]);
    assert_eq!(remove(bench, removal(email, What::Reason(Reason::Bounce), operator(2))).await, 1);
    assert_eq!(standing(bench, "inn", email).await, [Reason::Manual, Reason::Unsubscribe]);
    assert_eq!(remove(bench, removal(email, What::Reason(Reason::Complaint), operator(2))).await, 0);
    assert_eq!(remove(bench, removal(email, What::All, operator(2))).await, 2);
    assert_eq!(remove(bench, removal(email, What::All, operator(3))).await, 0);
    assert_eq!(standing(bench, "inn", email).await, []);
}

pub async fn a_removal_survives_the_old_event_and_not_a_new_one(bench: &SuppressionBench) {
    let bounced = |s| entry("inn", "guest@example.com", Reason::Bounce, event(s));
    add(bench, bounced(10)).await;
    assert_eq!(remove(bench, removal("guest@example.com", What::All, operator(20))).await, 1);
    for old in [10, 20] {
        assert_eq!(add(bench, bounced(old)).await, Added::RemovedSince);
        assert_eq!(standing(bench, "inn", "guest@example.com").await, []);
    }
    assert_eq!(add(bench, bounced(21)).await, Added::New);
    assert_eq!(standing(bench, "inn", "guest@example.com").await, [Reason::Bounce]);
}

pub async fn who_subscribes_to_a_group_again_may_have_been_told_first(bench: &SuppressionBench) {
    let of_group = |group: &str, s| {
        let one = entry("inn", "guest@example.com", Reason::Unsubscribe, event(s));
        Entry { group: Some(group.into()), ..one }
    };
    let again = |s| removal("guest@example.com", What::Group("7".into()), event(s));
    assert_eq!(remove(bench, again(5)).await, 0);
    assert_eq!(add(bench, of_group("7", 4)).await, Added::RemovedSince);
    assert_eq!(add(bench, of_group("8", 4)).await, Added::New, "another group");
    assert_eq!(add(bench, of_group("7", 6)).await, Added::New);
    assert_eq!(remove(bench, again(5)).await, 0, "older than what it would end");
    assert_eq!(remove(bench, again(7)).await, 1);
    let page = bench.list.list(&of(Some("inn")), None, 10).await.unwrap();
    let groups: Vec<_> = page.items.into_iter().map(|entry| entry.group).collect();
    assert_eq!(groups, [Some("8".to_owned())]);
}

pub async fn two_tenants_lists_are_apart(bench: &SuppressionBench) {
    let email = "guest@example.com";
    add(bench, entry("inn", email, Reason::Bounce, event(1))).await;
    // A name that would be another's if keys were only strung together.
    for other in ["hotel", "inn2", "in", "inn:", "0:inn"] {
        assert_eq!(standing(bench, other, email).await, [], "{other}");
        assert_eq!(bench.list.count(&of(Some(other))).await.unwrap(), 0, "{other}");
    }
    add(bench, entry("hotel", email, Reason::Complaint, event(1))).await;
    assert_eq!(remove(bench, removal(email, What::All, operator(2))).await, 1);
    assert_eq!(standing(bench, "hotel", email).await, [Reason::Complaint]);
    assert_eq!(bench.list.count(&of(None)).await.unwrap(), 1);
}

pub async fn a_list_comes_page_by_page_with_each_entry_once(bench: &SuppressionBench) {
    let mut entries = Vec::new();
    for i in 0..25 {
        let tenant = if i % 5 == 0 { "hotel" } else { "inn" };
        let email = format!("guest{i}@example.com");
        entries.push(entry(tenant, &email, Reason::Bounce, event(i)));
        if i % 2 == 0 {
            entries.push(entry(tenant, &email, Reason::Unsubscribe, event(100)));
        }
    }
    for added in bench.list.add(&entries).await {
        assert_eq!(added.unwrap(), Added::New);
    }
    let key = |entry: &Entry| (entry.tenant.clone(), entry.address.canonical(), entry.reason);
    let since = |s| Filter { since: Some(at(s)), ..of(None) };
    let for_reason = |tenant, reason| Filter { reason: Some(reason), ..of(tenant) };
    for (filter, limit) in [
        (of(None), 7),
        (of(None), 1),
        (of(None), 38),
        (of(Some("inn")), 5),
        (of(Some("nobody")), 5),
        (for_reason(Some("inn"), Reason::Unsubscribe), 3),
        (for_reason(None, Reason::Bounce), 25),
        (for_reason(None, Reason::Complaint), 5),
        (since(20), 4),
    ] {
        let fits = |entry: &&Entry| {
            filter.tenant.as_ref().is_none_or(|tenant| *tenant == entry.tenant)
                && filter.reason.is_none_or(|reason| reason == entry.reason)
                && filter.since.is_none_or(|since| entry.created_at >= since)
        };
        let expected: BTreeSet<_> = entries.iter().filter(fits).map(key).collect();
        let (mut found, mut cursor) = (Vec::new(), None::<String>);
        loop {
            let page = bench.list.list(&filter, cursor.as_deref(), limit).await.unwrap();
            assert!(page.items.len() == limit || page.next_cursor.is_none());
            found.extend(page.items.iter().map(key));
            cursor = page.next_cursor;
            if cursor.is_none() {
                break;
            }
        }
        assert_eq!(found.len(), expected.len(), "{filter:?}");
        assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), expected, "{filter:?}");
        assert_eq!(bench.list.count(&filter).await.unwrap(), expected.len() as u64, "{filter:?}");
    }
    for wrong in ["", "x", "bm90IGpzb24"] {
        let refused = bench.list.list(&of(None), Some(wrong), 5).await;
        assert!(matches!(refused, Err(ListError::BadCursor)), "{wrong}");
    }
}

pub async fn what_was_taken_off_is_remembered_with_who_and_why(bench: &SuppressionBench) {
    add(bench, entry("inn", "guest@example.com", Reason::Bounce, event(1))).await;
    add(bench, entry("inn", "other@example.com", Reason::Bounce, event(1))).await;
    remove(bench, removal("guest@example.com", What::All, operator(2))).await;
    let filter = Filter { removed: true, ..of(Some("inn")) };
    let page = bench.list.list(&filter, None, 10).await.unwrap();
    assert_eq!((page.items.len(), page.next_cursor), (1, None));
    assert_eq!(page.items[0].removed, Some(operator(2)));
    assert_eq!(page.items[0].source, event(1));
    assert_eq!(bench.list.count(&of(Some("inn"))).await.unwrap(), 1);
}

pub async fn eight_who_write_about_one_mailbox_lose_nothing(bench: &SuppressionBench) {
    let writes = (0..8).map(|i| {
        let one = entry("inn", "guest@example.com", Reason::Unsubscribe, event(i));
        let of_group = Entry { group: Some(i.to_string()), ..one };
        async move { bench.list.add(&[of_group]).await.pop().unwrap().unwrap() }
    });
    assert_eq!(futures::future::join_all(writes).await, [Added::New; 8]);
    assert_eq!(bench.list.count(&of(Some("inn"))).await.unwrap(), 8);
}

pub async fn a_thousand_in_one_call_have_a_result_each_in_order(bench: &SuppressionBench) {
    let email = |i: usize| format!("guest{}@example.com", i % 500);
    let entries: Vec<_> = (0..1000).map(|i| entry("inn", &email(i), Reason::Manual, event(1))).collect();
    let added: Vec<_> = bench.list.add(&entries).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(added[..500], [Added::New; 500]);
    assert_eq!(added[500..], [Added::Known; 500]);
    let places: Vec<_> =
        (0..1000).map(|i| Place::of("inn", &address(&format!("guest{i}@example.com")))).collect();
    let found = bench.list.look_up(&places).await;
    for (i, reasons) in found.into_iter().enumerate() {
        assert_eq!(reasons.unwrap().is_empty(), i >= 500, "{i}");
    }
    assert_eq!(bench.list.count(&of(Some("inn"))).await.unwrap(), 500);
}
