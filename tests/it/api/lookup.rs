//! Looking up: the record, listings, paging, tenants.

use std::time::Duration;

use kakitome::api::read::PageView;
use kakitome::api::view::RecordView;
use kakitome::notification::status::Fact;
use serde_json::{Value, json};

use super::world::{ADMIN, HOTEL, World, api_world, booking, booking_with};

const PATH: &str = "/v1/notifications";

async fn ids(world: &World, key: &str, query: &str) -> Vec<String> {
    let reply = world.get(key, &format!("{PATH}?{query}")).await;
    assert_eq!(reply.status, 200, "{query}: {}", reply.text);
    let items = reply.json["items"].as_array().unwrap();
    items.iter().map(|item| item["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_record_has_every_field_of_the_contract_and_reads_back() {
    let world = api_world().await;
    let id = world.hand_in(ADMIN, &booking_with("b-1", json!({"batch": "tos"}))).await;
    let record = world.record(&id).await;
    let at = "2026-11-21T09:00:00.000Z";
    let expected = json!({
        "id": id, "tenant": "default", "status": "accepted", "status_since": at, "reason": null, "accepted_at": at,
        "deliver_at": null, "useful_until": null, "next_attempt_at": at, "sent_at": null, "provider": null,
        "provider_message_id": null, "batch": "tos", "metadata": {"booking": "b-1"}, "attempts": [],
        "recipients": [{"email": "guest@example.com", "kind": "to", "status": "pending", "since": at}],
        "events": [], "acts": [],
        "engagement": {"opens": {"people": 0, "machines": 0}, "clicks": {"people": 0, "machines": 0}},
        "next": {"what": "attempt", "at": at, "latest": null, "why": "attempt 1; due, the queue brings it to a worker, \
            and if it lost it, the sweeper at 2026-11-21T09:01:00.000Z"},
    });
    assert_eq!(record, expected);

    world.fail(&id, "bad_request").await;
    let record = world.record(&id).await;
    assert_eq!((&record["status"], &record["reason"]), (&json!("failed"), &json!("bad_request")));
    let attempt = json!({"number": 1, "provider": "sandbox", "started_at": at, "ended_at": at, "outcome": "refused",
        "http_status": 400, "error": "no"});
    assert_eq!(record["attempts"], json!([attempt]));
    let view: RecordView = serde_json::from_value(record.clone()).unwrap();
    assert_eq!(serde_json::to_value(&view).unwrap(), record);
    assert!(!format!("{view:?}").contains("guest@"), "an address must not print");
}

#[tokio::test]
async fn what_is_not_there_and_what_is_anothers_look_the_same() {
    let world = api_world().await;
    let ours = world.hand_in(ADMIN, &booking("b-1")).await;
    let foreign = world.get(HOTEL, &format!("{PATH}/{ours}")).await;
    let absent = world.get(HOTEL, &format!("{PATH}/00000000-0000-0000-0000-000000000000")).await;
    assert_eq!((foreign.status, foreign.text.as_str()), (404, absent.text.as_str()));
    for wrong in ["nonsense", "%ff", "a%2Fb"] {
        assert_eq!(world.get(ADMIN, &format!("{PATH}/{wrong}")).await.status, 404, "{wrong}");
    }
    assert!(ids(&world, HOTEL, "").await.is_empty());
    let asked = world.get(HOTEL, &format!("{PATH}?tenant=default")).await;
    assert_eq!((asked.status, asked.pointers()), (403, vec!["/tenant"]));
}

#[tokio::test]
async fn each_filter_finds_its_own() {
    let world = api_world().await;
    let failed = world.hand_in(ADMIN, &booking_with("f", json!({"batch": "b1"}))).await;
    world.fail(&failed, "bad_request").await;
    world.clock.advance(Duration::from_secs(3600));
    let other = json!({"tenant": "hotel", "to": [{"email": "Other@Example.com"}]});
    let waiting = world.hand_in(ADMIN, &booking_with("w", other)).await;
    let sent = world.hand_in(ADMIN, &booking("s")).await;
    let accepted = Fact::Accepted { provider: "sandbox".into(), message_id: None, http_status: Some(202) };
    world.tell(&sent, accepted).await;

    for (query, expected) in [
        ("status=failed", vec![&failed]),
        ("status=failed,accepted&order=oldest", vec![&failed, &waiting]),
        ("status=failed&status=accepted&order=oldest", vec![&failed, &waiting]),
        ("unsent=true&order=oldest", vec![&failed, &waiting]),
        ("unsent=true&status=sent", vec![]),
        ("unsent=false&status=sent", vec![&sent]),
        ("tenant=hotel", vec![&waiting]),
        ("batch=b1", vec![&failed]),
        ("reason=bad_request", vec![&failed]),
        ("recipient=nobody@example.com", vec![]),
        ("recipient=other@EXAMPLE.com", vec![&waiting]),
        ("since=30m&tenant=hotel", vec![&waiting]),
        ("until=30m", vec![&failed]),
        ("until=2026-11-21T18:30:00+09:00", vec![&failed]),
        ("until=2026-11-21T18:30:00%2B09:00", vec![&failed]),
        ("status=&tenant=&batch=&recipient=&since=&until=30m&limit=&cursor=", vec![&failed]),
    ] {
        let expected: Vec<String> = expected.into_iter().cloned().collect();
        assert_eq!(ids(&world, ADMIN, query).await, expected, "{query}");
    }
}

#[tokio::test]
async fn parameters_that_are_wrong_or_unknown_are_named() {
    let world = api_world().await;
    let query = "colour=red&status=lost&limit=0&since=yesterday&unsent=perhaps&order=up&recipient=nobody&batch=a&batch=b";
    let reply = world.get(ADMIN, &format!("{PATH}?{query}")).await;
    assert_eq!(reply.status, 422);
    let mut pointers = reply.pointers();
    pointers.sort_unstable();
    let named = ["/batch", "/colour", "/limit", "/order", "/recipient", "/since", "/status", "/unsent"];
    assert_eq!(pointers, named);
    for query in ["limit=1001", "limit=-1", "cursor=nonsense"] {
        assert_eq!(world.get(ADMIN, &format!("{PATH}?{query}")).await.status, 422, "{query}");
    }
}

#[tokio::test]
async fn pages_follow_one_another_without_a_gap_or_a_repeat() {
    let world = api_world().await;
    let mut all = Vec::new();
    for i in 0..25 {
        all.push(world.hand_in(ADMIN, &booking(&format!("b-{i}"))).await);
        world.clock.advance(Duration::from_millis(i % 3));
    }
    let mut seen = Vec::new();
    let mut cursor = String::new();
    loop {
        let reply = world.get(ADMIN, &format!("{PATH}?limit=10&order=oldest&cursor={cursor}")).await;
        let page: PageView = serde_json::from_value(reply.json).unwrap();
        seen.extend(page.items.iter().map(|item| item.id.to_string()));
        match page.next_cursor {
            Some(next) => cursor = next,
            None => break,
        }
    }
    assert_eq!(seen.len(), 25);
    seen.sort();
    all.sort();
    assert_eq!(seen, all);
    let default: Value = world.get(ADMIN, PATH).await.json;
    assert_eq!(
        (default["items"].as_array().map(Vec::len), &default["next_cursor"]),
        (Some(25), &Value::Null)
    );
}
