//! Machines and people: marks and counts follow the rules of the moment, and nothing that is stored changes.

use std::fs;
use std::time::Duration;

use kakitome::engagement::Rulebook;
use kakitome::notification::address::Address;
use kakitome::provider::{EventKind, ProviderEvent};
use serde_json::{Value, json};

use super::world::{ADMIN, HOTEL, World, booking_with, world_with};

/// An event of the guest's, so many seconds after the world began.
fn event(id: &str, kind: EventKind, seconds: u64, ip: &str, world: &World) -> ProviderEvent {
    let detail = json!({"ip": ip, "url": "https://example.jp/"});
    ProviderEvent {
        provider: "sandbox".into(),
        id: id.parse().ok(),
        provider_message_id: None,
        event_id: None,
        kind,
        at: world.clock.now().plus(Duration::from_secs(seconds)),
        recipient: Address::parse("guest@example.com").ok(),
        machine: false,
        lane: None,
        detail: detail.as_object().cloned().unwrap(),
    }
}

async fn told(world: &World, id: &str) {
    let events = [
        event(id, EventKind::Delivered, 0, "192.0.2.1", world),
        event(id, EventKind::Opened, 60, "203.0.113.5", world),
        event(id, EventKind::Clicked, 70, "203.0.113.5", world),
        event(id, EventKind::Clicked, 90, "198.51.100.7", world),
    ];
    for recorded in world.log.record_events(&events, world.clock.now()).await {
        recorded.unwrap();
    }
}

/// Each event's `machine_reason`.
fn reasons(record: &Value) -> Vec<Value> {
    let events = record["events"].as_array().unwrap();
    for event in events {
        assert_eq!(event["machine"], !event["machine_reason"].is_null(), "{event}");
    }
    events.iter().map(|event| event["machine_reason"].clone()).collect()
}

fn counted(people: u64, machines: u64) -> Value {
    json!({"people": people, "machines": machines})
}

#[tokio::test]
async fn rules_that_change_mark_what_was_before_anew_and_back_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("machines.toml");
    fs::write(&path, "networks = []").unwrap();
    let world = world_with(|state| state.machines = Rulebook::new(Some(path.clone()))).await;
    let id = world.hand_in(ADMIN, &booking_with("b-1", json!({"batch": "tos"}))).await;
    told(&world, &id).await;
    let person = Value::Null;
    for (rules, reason, people, machines) in [
        ("networks = []", person.clone(), 2, 0),
        ("networks = [\"198.51.100.0/24\"]", json!("network"), 1, 1),
        ("networks = []", person.clone(), 2, 0),
    ] {
        fs::write(&path, rules).unwrap();
        world.clock.advance(Duration::from_secs(2));
        let record = world.record(&id).await;
        assert_eq!(reasons(&record), [person.clone(), person.clone(), person.clone(), reason.clone()]);
        let expected = json!({"opens": counted(1, 0), "clicks": counted(people, machines)});
        assert_eq!(record["engagement"], expected);
        // A listing tells the same.
        let listed = world.get(ADMIN, "/v1/notifications?batch=tos").await.json;
        assert_eq!(listed["items"][0]["events"], record["events"]);
        assert_eq!(listed["items"][0]["engagement"], expected);
    }
}

#[tokio::test]
async fn a_broadcasts_people_and_machines_are_counted_apart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("machines.toml");
    fs::write(&path, "networks = [\"198.51.100.0/24\"]").unwrap();
    let world = world_with(|state| state.machines = Rulebook::new(Some(path))).await;
    for n in 0..3 {
        let mail = booking_with(&format!("b-{n}"), json!({"batch": "tos", "tenant": "hotel"}));
        let id = world.hand_in(ADMIN, &mail).await;
        if n < 2 {
            told(&world, &id).await;
        }
    }
    let reply = world.get(HOTEL, "/v1/engagement?batch=tos").await;
    let expected = json!({
        "batch": "tos", "notifications": 3, "is_complete": true, "people": {"opened": 2, "clicked": 2},
        "opens": counted(2, 0), "clicks": counted(2, 2),
    });
    assert_eq!((reply.status, &reply.json), (200, &expected));
    // Another tenant's is empty, and what is no batch is refused by name.
    let other = world.get(ADMIN, "/v1/engagement?batch=tos&tenant=default").await;
    assert_eq!(other.json["notifications"], 0);
    for wrong in ["", "?batch=", "?batch=tos&limit=1"] {
        let reply = world.get(ADMIN, &format!("/v1/engagement{wrong}")).await;
        assert_eq!((reply.status, reply.pointers()), (422, vec!["/batch"]), "{wrong}");
    }
}
