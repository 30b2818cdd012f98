use proptest::prelude::*;

use super::*;

fn at(s: i64) -> Timestamp {
    Timestamp::from_ms(s * 1000)
}

fn address() -> Address {
    Address::parse("guest@example.com").unwrap()
}

fn event(s: i64) -> Source {
    Source::Event { provider: "sendgrid".into(), at: at(s), notification: None }
}

fn operator(s: i64) -> Source {
    Source::Operator { who: "ops".into(), at: at(s), note: None }
}

fn entry(reason: Reason, group: Option<&str>, source: Source) -> Entry {
    let created_at = source.at();
    Entry {
        tenant: "inn".into(),
        address: address(),
        reason,
        group: group.map(Into::into),
        source,
        created_at,
        removed: None,
    }
}

fn removal(what: What, source: Source) -> Removal {
    Removal { tenant: "inn".into(), address: address(), what, source }
}

fn standing(sheet: &Sheet) -> Vec<Reason> {
    sheet.standing().iter().collect()
}

#[test]
fn each_reason_stands_for_itself() {
    let mut sheet = Sheet::default();
    assert_eq!(sheet.add(&entry(Reason::Unsubscribe, None, event(1))), Added::New);
    assert_eq!(sheet.add(&entry(Reason::Bounce, None, event(2))), Added::New);
    assert_eq!(sheet.add(&entry(Reason::Bounce, None, event(2))), Added::Known);
    assert_eq!(standing(&sheet), [Reason::Bounce, Reason::Unsubscribe]);
    assert_eq!(sheet.remove(&removal(What::Reason(Reason::Bounce), operator(3))), 1);
    assert_eq!(standing(&sheet), [Reason::Unsubscribe]);
    assert_eq!(sheet.remove(&removal(What::All, operator(3))), 1);
    assert_eq!(sheet.remove(&removal(What::All, operator(4))), 0);
    assert!(sheet.standing().is_empty() && sheet.expires_at() == Some(at(3).plus(REMOVAL_KEPT)));
}

#[test]
fn an_operators_removal_survives_the_old_event_and_not_a_new_one() {
    let mut sheet = Sheet::default();
    sheet.add(&entry(Reason::Bounce, None, event(10)));
    assert_eq!(sheet.remove(&removal(What::All, operator(20))), 1);
    for old in [10, 15, 20] {
        assert_eq!(sheet.add(&entry(Reason::Bounce, None, event(old))), Added::RemovedSince);
    }
    assert!(sheet.standing().is_empty());
    assert_eq!(sheet.add(&entry(Reason::Bounce, None, event(21))), Added::New);
    // What an operator asks for is done, whatever the provider's clock says.
    sheet.add(&entry(Reason::Bounce, None, event(1000)));
    assert_eq!(sheet.remove(&removal(What::All, operator(30))), 1);
    assert_eq!(sheet.add(&entry(Reason::Bounce, None, event(1000))), Added::RemovedSince);
    assert_eq!(sheet.add(&entry(Reason::Bounce, None, operator(31))), Added::New);
}

#[test]
fn who_subscribes_to_a_group_again_is_still_unsubscribed_from_the_others() {
    let mut sheet = Sheet::default();
    sheet.add(&entry(Reason::Unsubscribe, Some("7"), event(1)));
    sheet.add(&entry(Reason::Unsubscribe, Some("8"), event(2)));
    assert_eq!(sheet.remove(&removal(What::Group("7".into()), event(3))), 1);
    let groups: Vec<_> = sheet.entries("inn", false).map(|entry| entry.group).collect();
    assert_eq!(groups, [Some("8".to_owned())]);
    assert_eq!(sheet.remove(&removal(What::Reason(Reason::Unsubscribe), operator(4))), 1);
}

#[test]
fn groups_beyond_the_limit_count_as_everything_and_nothing_is_lost() {
    let mut sheet = Sheet::default();
    for group in 0..MOST_LINES * 2 {
        sheet.add(&entry(Reason::Unsubscribe, Some(&group.to_string()), event(1)));
    }
    assert!(sheet.0.len() <= MOST_LINES + 1);
    assert_eq!(standing(&sheet), [Reason::Unsubscribe]);
    assert_eq!(Sheet::parse(&sheet.write()).unwrap(), sheet);
}

proptest! {
    /// Of a group's words, in any order and any number of times, the latest counts.
    #[test]
    fn words_may_come_in_any_order_and_again(
        words in prop::collection::vec((any::<bool>(), 0_i64..50), 1..10),
        picks in prop::collection::vec(any::<prop::sample::Index>(), 30),
    ) {
        let fold = |words: &[(bool, i64)]| {
            let mut sheet = Sheet::default();
            for (is_against, s) in words {
                if *is_against {
                    sheet.add(&entry(Reason::Unsubscribe, Some("7"), event(*s)));
                } else {
                    sheet.remove(&removal(What::Group("7".into()), event(*s)));
                }
            }
            standing(&sheet)
        };
        let expected = fold(&words);
        let mut again = words.clone();
        again.extend(picks.iter().map(|pick| words[pick.index(words.len())]));
        for (i, pick) in picks.iter().enumerate() {
            let (i, j) = (i % again.len(), pick.index(again.len()));
            again.swap(i, j);
        }
        prop_assert_eq!(fold(&again), expected);
    }
}
