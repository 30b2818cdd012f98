//! Cancel, hold, release, redrive, and the instance's status.

use std::time::Duration;

use kakitome::api::status::StatusView;
use kakitome::notification::status::{Fact, Status};
use kakitome::provider::health::{Circuit, ProviderHealth};
use serde_json::{Value, json};

use super::world::{ADMIN, HOTEL, Reply, World, api_world, booking, booking_with};

async fn act(world: &World, id: &str, action: &str) -> Reply {
    world.post_raw(ADMIN, &format!("/v1/notifications/{id}/{action}"), &[], "").await
}

#[tokio::test]
async fn a_held_one_waits_until_it_is_released_and_is_then_brought_again() {
    let world = api_world().await;
    let id = world.hand_in(ADMIN, &booking("b-1")).await;
    world.drain_queue().await;
    let path = format!("/v1/notifications/{id}/hold");
    let held = world.post(ADMIN, &path, &json!({"reason": "wrong prices"})).await;
    assert_eq!((held.status, &held.json["status"]), (200, &json!("held")));
    assert_eq!((&held.json["reason"], &held.json["id"]), (&json!("wrong prices"), &json!(id)));
    assert!(world.drain_queue().await.is_empty());

    let released = act(&world, &id, "release").await;
    assert_eq!((released.status, &released.json["status"]), (200, &json!("accepted")));
    assert_eq!(released.json, world.record(&id).await);
    assert_eq!(world.drain_queue().await, [id]);
}

#[tokio::test]
async fn a_dead_letter_is_redriven_and_nothing_else_is() {
    let world = api_world().await;
    let id = world.hand_in(ADMIN, &booking("b-1")).await;
    let refused = act(&world, &id, "redrive").await;
    assert_eq!(
        (refused.status, &refused.json["detail"]),
        (409, &json!("its status accepted does not allow it"))
    );
    world.fail(&id, "bad_request").await;
    world.drain_queue().await;
    let redriven = act(&world, &id, "redrive").await;
    assert_eq!((redriven.status, &redriven.json["status"]), (200, &json!("retrying")));
    assert_eq!(world.drain_queue().await, [id]);
}

#[tokio::test]
async fn a_state_that_forbids_it_is_a_conflict_that_says_why() {
    let world = api_world().await;
    let sent = world.hand_in(ADMIN, &booking("s")).await;
    let accepted = Fact::Accepted { provider: "sandbox".into(), message_id: None, http_status: Some(202) };
    world.tell(&sent, accepted).await;
    for (action, detail) in [
        ("cancel", "it is already sent"),
        ("hold", "it is already sent"),
        ("release", "its status sent does not allow it"),
        ("redrive", "its status sent does not allow it"),
    ] {
        let reply = act(&world, &sent, action).await;
        assert!(reply.pointers().is_empty());
        assert_eq!((reply.status, &reply.json["detail"]), (409, &json!(detail)), "{action}");
    }
    let leased = world.hand_in(ADMIN, &booking("l")).await;
    world.claim(&leased).await;
    assert_eq!(act(&world, &leased, "cancel").await.status, 409);
    assert_eq!(act(&world, &leased, "hold").await.status, 409);
}

#[tokio::test]
async fn cancelling_twice_is_cancelling_once() {
    let world = api_world().await;
    let id = world.hand_in(ADMIN, &booking("b-1")).await;
    assert_eq!(act(&world, &id, "cancel").await.json["status"], "cancelled");
    let again = act(&world, &id, "cancel").await;
    assert_eq!((again.status, &again.json["status"]), (200, &json!("cancelled")));
}

#[tokio::test]
async fn another_tenants_cannot_be_acted_upon() {
    let world = api_world().await;
    let id = world.hand_in(ADMIN, &booking("b-1")).await;
    for action in ["cancel", "hold", "release", "redrive"] {
        let path = format!("/v1/notifications/{id}/{action}");
        assert_eq!(world.post_raw(HOTEL, &path, &[], "").await.status, 404, "{action}");
    }
    assert_eq!(world.record(&id).await["status"], "accepted");
}

#[tokio::test]
async fn a_reason_is_short_and_plain_and_the_body_knows_no_other_field() {
    let world = api_world().await;
    let id = world.hand_in(ADMIN, &booking("b-1")).await;
    let path = format!("/v1/notifications/{id}/hold");
    for (body, pointer) in [
        (json!({"reason": "x".repeat(201)}), "/reason"),
        (json!({"reason": "a\u{1b}[2Jb"}), "/reason"),
        (json!({"reasno": "x"}), ""),
        (json!([1]), ""),
    ] {
        let reply = world.post(ADMIN, &path, &body).await;
        assert_eq!((reply.status, reply.pointers()), (422, vec![pointer]), "{body}");
    }
    let text = world.post_raw(ADMIN, &path, &[("content-type", "text/plain")], "because").await;
    assert_eq!(text.status, 415);
    assert_eq!(world.record(&id).await["status"], "accepted");
}

#[tokio::test]
async fn the_status_tells_how_much_stands_where_and_how_long_it_will_take() {
    let world = api_world().await;
    let empty: StatusView = serde_json::from_value(world.get(ADMIN, "/v1/status").await.json).unwrap();
    assert_eq!((empty.drain_seconds, empty.oldest_unsent_seconds), (Some(0), None));

    let failed = world.hand_in(ADMIN, &booking("f")).await;
    world.fail(&failed, "bad_request").await;
    world.hand_in(ADMIN, &booking("a")).await;
    world.hand_in(ADMIN, &booking_with("s", json!({"deliver_at": "2026-12-01T00:00:00Z"}))).await;
    world.clock.advance(Duration::from_secs(60));
    (0..15).for_each(|_| world.health.record_sent(world.clock.now()));
    let since = world.clock.now();
    let circuit = |circuit| {
        world.health.set_provider(ProviderHealth {
            name: "sandbox".into(),
            circuit,
            since,
            probe_at: None,
            last_error: Some("503".into()),
        });
    };
    circuit(Circuit::Open);
    let ill = world.get(ADMIN, "/v1/status").await.json;
    assert_eq!((&ill["providers"][0]["circuit"], &ill["drain_seconds"]), (&json!("open"), &Value::Null));
    circuit(Circuit::Closed);
    let reply = world.get(ADMIN, "/v1/status").await;
    let status: StatusView = serde_json::from_value(reply.json.clone()).unwrap();
    assert_eq!(reply.json["by_status"].as_object().map(serde_json::Map::len), Some(Status::ALL.len()));
    let by = |status: &str| reply.json["by_status"][status].as_u64();
    assert_eq!(
        [by("failed"), by("accepted"), by("scheduled"), by("sent")],
        [Some(1), Some(1), Some(1), Some(0)]
    );
    assert_eq!(status.oldest_unsent_seconds, Some(60));
    assert_eq!(status.drain_seconds, Some(2));
    assert_eq!(status.queue.map(|queue| queue.visible), Some(2));
    assert_eq!(status.clear_at, Some(status.now.plus(Duration::from_secs(2))));
    assert_eq!(reply.json["last_receive_at"], Value::Null);
}
