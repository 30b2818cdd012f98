//! The feed over HTTP.

use std::time::Duration;

use serde_json::{Value, json};

use super::world::{ADMIN, HOTEL, READER, SENDER, World, api_world, booking_with};

/// Hands one in and has the provider refuse it.
async fn fail_one(world: &World, key: &str, name: &str) -> String {
    let id = world.hand_in(key, &booking_with(name, json!({"tenant": "hotel", "batch": "tos"}))).await;
    world.fail(&id, "refused_400").await;
    id
}

fn items(page: &Value) -> &[Value] {
    page["items"].as_array().unwrap()
}

#[tokio::test]
async fn what_changed_is_pulled_from_cursor_to_cursor() {
    let world = api_world().await;
    let empty = world.get(HOTEL, "/v1/events").await;
    assert_eq!((empty.status, items(&empty.json).len()), (200, 0), "{}", empty.text);
    let mut cursor = empty.json["next_cursor"].as_str().unwrap().to_owned();
    for round in 0..3 {
        let id = fail_one(&world, HOTEL, &format!("f{round}")).await;
        let page = world.get(READER, &format!("/v1/events?cursor={cursor}&limit=5")).await;
        let [entry] = items(&page.json) else { panic!("{}", page.text) };
        let expected = json!({
            "event_id": entry["event_id"], "tenant": "hotel", "id": id, "at": "2026-11-21T09:00:00.000Z",
            "what": "notification", "status": "failed", "reason": "refused_400", "recipient": null,
            "batch": "tos", "metadata": {"booking": format!("f{round}")},
        });
        assert_eq!(*entry, expected);
        cursor = page.json["next_cursor"].as_str().unwrap().to_owned();
    }
    let all = world.get(HOTEL, "/v1/events").await;
    assert_eq!(items(&all.json).len(), 3, "without a cursor from the oldest on");
    let latest = world.get(HOTEL, "/v1/events?cursor=latest").await;
    assert_eq!((items(&latest.json).len(), latest.json["next_cursor"].as_str()), (0, Some(cursor.as_str())));
}

#[tokio::test]
async fn a_key_pulls_its_own_tenants_changes_alone() {
    let world = api_world().await;
    fail_one(&world, HOTEL, "f").await;
    let foreign = world.get(READER, "/v1/events?tenant=default").await;
    assert_eq!((foreign.status, foreign.pointers()), (403, vec!["/tenant"]));
    assert_eq!(world.get(SENDER, "/v1/events").await.status, 403, "the scope read is needed");
    let own = world.get(ADMIN, "/v1/events").await;
    assert_eq!(items(&own.json).len(), 0, "an admin's key has a tenant, too");
    let asked = world.get(ADMIN, "/v1/events?tenant=hotel").await;
    assert_eq!(items(&asked.json).len(), 1);
}

#[tokio::test]
async fn what_is_asked_wrongly_is_named() {
    let world = api_world().await;
    for (query, status, pointers) in [
        ("cursor=nonsense", 400, vec!["/cursor"]),
        ("limit=0&wait=31", 422, vec!["/limit", "/wait"]),
        ("limit=many", 422, vec!["/limit"]),
        ("since=2h", 422, vec![""]),
    ] {
        let reply = world.get(HOTEL, &format!("/v1/events?{query}")).await;
        assert_eq!((reply.status, reply.pointers()), (status, pointers), "{query}");
    }
}

#[tokio::test]
async fn a_cursor_older_than_what_is_kept_is_gone_and_says_from_when_on_there_is_something() {
    let world = api_world().await;
    let cursor = world.get(HOTEL, "/v1/events").await.json["next_cursor"].as_str().unwrap().to_owned();
    fail_one(&world, HOTEL, "old").await;
    world.clock.advance(Duration::from_secs(3600));
    fail_one(&world, HOTEL, "new").await;
    assert_eq!(world.feed.prune(world.clock.now(), 10).await, Ok(1));
    let gone = world.get(HOTEL, &format!("/v1/events?cursor={cursor}")).await;
    assert_eq!((gone.status, gone.pointers()), (410, vec!["/cursor"]));
    assert!(gone.json["detail"].as_str().unwrap().contains("2026-11-21T10:00:00.000Z"), "{}", gone.text);
}

#[tokio::test]
async fn who_waits_is_answered_as_soon_as_something_changes() {
    let world = api_world().await;
    let id = world.hand_in(HOTEL, &booking_with("w", json!({"tenant": "hotel"}))).await;
    let (page, ()) = tokio::join!(world.get(HOTEL, "/v1/events?wait=30"), async {
        world.fail(&id, "refused_400").await;
    });
    assert_eq!(items(&page.json).len(), 1);
    assert_eq!(page.json["items"][0]["id"], id.as_str());
}
