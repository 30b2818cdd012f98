#![expect(clippy::unwrap_used, reason = "a failed unwrap is the failed test")]

use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;
use crate::notification::address::Address;

const DELIVERED: i64 = 1_000_000;

fn event(kind: EventKind, ms: i64, who: &str, detail: Value) -> RecordedEvent {
    let detail = detail.as_object().cloned().unwrap_or_default();
    let recipient = Address::parse(who).ok();
    RecordedEvent { at: Timestamp::from_ms(ms), kind, recipient, machine: false, detail }
}

/// A click of the guest's, so many milliseconds after the delivery.
fn click(after_ms: i64, detail: Value) -> RecordedEvent {
    event(EventKind::Clicked, DELIVERED + after_ms, "guest@example.com", detail)
}

fn open(after_ms: i64) -> RecordedEvent {
    event(EventKind::Opened, DELIVERED + after_ms, "guest@example.com", json!({}))
}

fn delivered() -> RecordedEvent {
    event(EventKind::Delivered, DELIVERED, "guest@example.com", json!({}))
}

fn rules() -> Rules {
    file::parse(
        r#"
        networks = ["198.51.100.0/24", "2001:db8::/32", "203.0.113.7"]
        data_centers = ["192.0.2.0/24"]
        user_agents = ["LinkScanner"]
        after_delivery = "5s"
        "#,
    )
    .unwrap()
}

fn reasons(events: &[RecordedEvent]) -> Vec<Option<MachineReason>> {
    marks(events, &rules()).into_iter().map(Mark::reason).collect()
}

#[test]
fn each_reason_marks_what_it_should_and_nothing_beside() {
    use MachineReason::{DataCenter, Network, UserAgent};
    let flagged = RecordedEvent { machine: true, ..open(60_000) };
    let table: [(&str, RecordedEvent, Option<MachineReason>); 19] = [
        ("a person", click(60_000, json!({"ip": "203.0.113.8", "useragent": "Mozilla/5.0 (iPhone)"})), None),
        ("nothing is known of it", click(60_000, json!({})), None),
        ("the provider's flag", flagged, Some(MachineReason::ProviderFlag)),
        ("an excluded network", click(60_000, json!({"ip": "198.51.100.255"})), Some(Network)),
        ("beside it", click(60_000, json!({"ip": "198.51.101.0"})), None),
        ("an excluded address", click(60_000, json!({"ip": "203.0.113.7"})), Some(Network)),
        ("IPv6", click(60_000, json!({"ip": "2001:db8::1"})), Some(Network)),
        ("IPv4 within IPv6", click(60_000, json!({"ip": "::ffff:198.51.100.1"})), Some(Network)),
        ("no address", click(60_000, json!({"ip": "198.51.100"})), None),
        ("SES's names", click(60_000, json!({"click": {"ipAddress": "198.51.100.1"}})), Some(Network)),
        ("an excluded program", click(60_000, json!({"useragent": "x linkscanner/2"})), Some(UserAgent)),
        ("a built-in one", click(60_000, json!({"userAgent": "curl/8.5"})), Some(UserAgent)),
        ("a telephone", click(60_000, json!({"useragent": "Mozilla/5.0 (Linux; CUBOT P50)"})), None),
        ("a data centre at once", click(0, json!({"ip": "192.0.2.9"})), Some(DataCenter)),
        ("right after", click(5_000, json!({"ip": "192.0.2.9"})), Some(DataCenter)),
        ("later", click(5_001, json!({"ip": "192.0.2.9"})), None),
        ("before", click(-60_000, json!({"ip": "192.0.2.9"})), Some(DataCenter)),
        ("a built-in data centre", click(1_000, json!({"ip": "3.4.5.6"})), Some(DataCenter)),
        ("a person right after", click(1_000, json!({"ip": "203.0.113.8"})), None),
    ];
    for (what, event, expected) in table {
        assert_eq!(reasons(&[delivered(), event]), [None, expected], "{what}");
    }
}

#[test]
fn a_data_centre_counts_as_early_only_for_the_recipient_whose_delivery_it_is() {
    let other = event(EventKind::Delivered, DELIVERED + 3_600_000, "other@example.com", json!({}));
    let late = click(60_000, json!({"ip": "192.0.2.9"}));
    assert_eq!(reasons(&[delivered(), other, late.clone()]), [None, None, None]);
    // Nothing was heard of its delivery yet: it came before it, and is looked at again when that is heard.
    assert_eq!(reasons(&[late]), [Some(MachineReason::DataCenter)]);
}

#[test]
fn faster_than_a_person_is_a_burst_and_all_of_it_is_marked() {
    let link = |after_ms, url: &str| click(after_ms, json!({ "url": url }));
    let burst = Some(MachineReason::Burst);
    type Case = (&'static str, Vec<RecordedEvent>, Vec<Option<MachineReason>>);
    let table: [Case; 9] = [
        ("one link twice", vec![link(0, "a"), link(400, "a")], vec![None, None]),
        ("two links", vec![link(0, "a"), link(1_000, "b")], vec![burst, burst]),
        ("two links, slowly", vec![link(0, "a"), link(1_001, "b")], vec![None, None]),
        ("an open and a click", vec![open(0), link(0, "a")], vec![None, None]),
        ("three of anything", vec![open(0), link(500, "a"), link(1_000, "a")], vec![burst; 3]),
        ("a chain", (0..5).map(|i| link(i * 900, ["a", "b"][i as usize % 2])).collect(), vec![burst; 5]),
        ("a person after it", vec![link(0, "a"), link(0, "b"), link(30_000, "c")], vec![burst, burst, None]),
        (
            "another recipient's",
            vec![link(0, "a"), event(EventKind::Clicked, DELIVERED, "two@example.com", json!({"url": "b"}))],
            vec![None, None],
        ),
        ("a thousand", (0..1000).map(|i| link(i % 7, "a")).collect(), vec![burst; 1000]),
    ];
    for (what, events, expected) in table {
        assert_eq!(reasons(&events), expected, "{what}");
    }
}

#[test]
fn what_is_no_open_and_no_click_is_counted_as_neither() {
    let unsubscribed =
        event(EventKind::Unsubscribed, DELIVERED, "guest@example.com", json!({"ip": "198.51.100.1"}));
    let events = [delivered(), unsubscribed, open(60_000), click(70_000, json!({"ip": "198.51.100.1"}))];
    let marks = marks(&events, &rules());
    assert_eq!(marks[..2], [Mark::Other(None), Mark::Other(None)]);
    let engagement = Engagement::of(&events, &marks);
    assert_eq!(engagement.opens, Counted { people: 1, machines: 0 });
    assert_eq!(engagement.clicks, Counted { people: 0, machines: 1 });
}

#[test]
fn a_bad_file_is_refused_with_its_line_and_field() {
    let many = format!("networks = [{}]", "\"192.0.2.0/24\",".repeat(MAX_ENTRIES + 1));
    let table = [
        ("networks = [", "line 1, is not TOML"),
        ("\nnetwork = []", "line 2, network: is not a known field"),
        (
            "networks = [\n  \"192.0.2.0/24\",\n  \"192.0.2.0/33\"]",
            "line 3, networks: \"192.0.2.0/33\" is no",
        ),
        ("data_centers = [\"192.0.2.1/24\"]", "the network is 192.0.2.0/24"),
        ("networks = [\"0.0.0.0/0\"]", "every address"),
        ("networks = \"192.0.2.0/24\"", "networks: must be a list"),
        ("networks = [1]", "networks: must be a list of texts"),
        ("user_agents = [\"ok\"]", "user_agents: an entry must have 3 to 200"),
        ("burst = \"2h\"", "burst: must be a span from 0s to 60s"),
        ("burst = 1", "burst: must be a span"),
        ("after_delivery = \"-1s\"", "after_delivery: must be a span"),
        ("defaults = 1", "defaults: must be true or false"),
        (&many, "has 20001 entries"),
    ];
    for (text, expected) in table {
        let fault = file::parse(text).unwrap_err().to_string();
        assert!(fault.contains(expected), "{text:.60}: {fault}");
    }
}

#[test]
fn the_built_in_rules_can_be_left_out() {
    assert_eq!(file::parse("defaults = false").unwrap(), Rules::bare());
    assert_eq!(file::parse("").unwrap(), Rules::default());
    assert_eq!(Rules::default().data_centers.nets.len(), 3);
}

#[test]
fn a_file_that_changes_is_read_again_and_a_bad_one_keeps_the_former_rules() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("machines.toml");
    let book = Rulebook::new(Some(path.clone()));
    let start = Timestamp::from_ms(5_000_000);
    let at = |seconds| start.plus(Duration::from_secs(seconds));
    let clicked = [click(60_000, json!({"ip": "198.51.100.1"}))];
    let reason = |seconds| marks(&clicked, &book.rules(at(seconds)))[0].reason();
    assert_eq!(reason(0), None);
    assert!(book.fault().unwrap().to_string().contains("cannot be opened"));
    std::fs::write(&path, "networks = [\"198.51.100.0/24\"]").unwrap();
    // Looked at once a second at most.
    assert_eq!(reason(0), None);
    assert_eq!(reason(1), Some(MachineReason::Network));
    assert_eq!(book.fault(), None);
    std::fs::write(&path, "networks = [\"198.51.100.0/24\"]\nbursts = 1").unwrap();
    assert_eq!(reason(2), Some(MachineReason::Network));
    let fault = book.fault().unwrap();
    assert_eq!((fault.line, fault.field.as_str()), (2, "bursts"));
    std::fs::write(&path, "networks = []").unwrap();
    assert_eq!((reason(3), book.fault()), (None, None));
}

fn any_event() -> impl Strategy<Value = RecordedEvent> {
    let kind = prop::sample::select(vec![EventKind::Delivered, EventKind::Opened, EventKind::Clicked]);
    let who = prop::sample::select(vec!["a@example.com", "b@example.com"]);
    let ip = prop::sample::select(vec!["192.0.2.1", "198.51.100.1", "203.0.113.9"]);
    (kind, who, ip, 0_i64..6_000, 0_u8..3, any::<bool>()).prop_map(|(kind, who, ip, ms, link, machine)| {
        let detail = json!({"ip": ip, "url": format!("https://example.com/{link}")});
        RecordedEvent { machine, ..event(kind, DELIVERED + ms, who, detail) }
    })
}

proptest! {
    #[test]
    fn the_order_of_events_does_not_matter(
        events in prop::collection::vec(any_event(), 0..20),
        picks in prop::collection::vec(any::<prop::sample::Index>(), 20),
    ) {
        let mut order: Vec<usize> = (0..events.len()).collect();
        for (i, pick) in picks.iter().enumerate().take(events.len()) {
            order.swap(i, pick.index(events.len()));
        }
        let marked = marks(&events, &rules());
        let shuffled: Vec<_> = order.iter().map(|ix| events[*ix].clone()).collect();
        let marked_shuffled = marks(&shuffled, &rules());
        for (place, ix) in order.iter().enumerate() {
            prop_assert_eq!(marked[*ix], marked_shuffled[place]);
        }
        prop_assert_eq!(Engagement::of(&events, &marked), Engagement::of(&shuffled, &marked_shuffled));
    }

    #[test]
    fn what_has_a_reason_is_never_counted_as_a_persons(events in prop::collection::vec(any_event(), 0..20)) {
        let marks = marks(&events, &rules());
        let Engagement { opens, clicks } = Engagement::of(&events, &marks);
        let acts = |event: &&RecordedEvent| event.kind != EventKind::Delivered;
        let machines = events.iter().zip(&marks).filter(|(e, m)| acts(e) && m.reason().is_some()).count() as u64;
        prop_assert_eq!(opens.machines + clicks.machines, machines);
        let all = events.iter().filter(acts).count() as u64;
        prop_assert_eq!(opens.people + clicks.people, all - machines);
    }
}

#[test]
fn a_detail_of_any_shape_is_no_harm() {
    let odd = [json!({"ip": 7, "url": ["a"], "open": 1, "click": {"ip": {}}}), Value::Object(Map::new())];
    for detail in odd {
        assert_eq!(reasons(&[click(60_000, detail)]), [None]);
    }
}
