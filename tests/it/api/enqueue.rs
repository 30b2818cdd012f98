//! One notification at a time.

use futures::future::join_all;
use serde_json::json;

use super::world::{ADMIN, HOTEL, api_world, booking, booking_with, world_with};

const PATH: &str = "/v1/notifications";
const JSON: (&str, &str) = ("content-type", "application/json");

#[tokio::test]
async fn a_notification_is_recorded_and_put_on_the_queue_before_it_is_acknowledged() {
    let world = api_world().await;
    let reply = world.post(ADMIN, PATH, &booking("b-1")).await;
    assert_eq!(reply.status, 202, "{}", reply.text);
    let id = reply.id();
    assert_eq!(reply.json, json!({"id": id, "status": "accepted", "duplicate": false}));
    assert_eq!(world.record(&id).await["metadata"], json!({"booking": "b-1"}));
    assert_eq!(world.drain_queue().await, [id]);
}

#[tokio::test]
async fn the_same_again_is_the_same_notification_and_is_not_queued_again() {
    let world = api_world().await;
    let id = world.hand_in(ADMIN, &booking("b-1")).await;
    world.drain_queue().await;
    let again = world.post(ADMIN, PATH, &booking("b-1")).await;
    assert_eq!((again.status, again.json), (200, json!({"id": id, "status": "accepted", "duplicate": true})));
    assert!(world.drain_queue().await.is_empty());
}

#[tokio::test]
async fn a_hundred_at_once_with_one_key_are_one_notification() {
    let world = api_world().await;
    let notification = booking("b-1");
    let replies = join_all((0..100).map(|_| world.post(ADMIN, PATH, &notification))).await;
    let first: Vec<_> = replies.iter().filter(|reply| reply.status == 202).collect();
    assert_eq!(first.len(), 1);
    assert_eq!(replies.iter().filter(|reply| reply.status == 200).count(), 99);
    assert!(replies.iter().all(|reply| reply.id() == first[0].id()));
    assert_eq!(world.drain_queue().await.len(), 1);
}

#[tokio::test]
async fn the_same_key_with_other_content_is_a_conflict() {
    let world = api_world().await;
    let id = world.hand_in(ADMIN, &booking("b-1")).await;
    let other = booking_with("b-1", json!({"subject": "キャンセル"}));
    let reply = world.post(ADMIN, PATH, &other).await;
    assert_eq!((reply.status, reply.pointers()), (409, vec!["/idempotency_key"]));
    assert_eq!(world.record(&id).await["status"], "accepted");
}

#[tokio::test]
async fn the_key_may_come_in_a_header_and_must_not_contradict_the_body() {
    let world = api_world().await;
    let id = world.hand_in(ADMIN, &booking("b-1")).await;
    let mut without = booking("b-1");
    without.as_object_mut().unwrap().remove("idempotency_key");

    let send = async |body: &serde_json::Value, key: &str| {
        world.post_raw(ADMIN, PATH, &[JSON, ("idempotency-key", key)], body.to_string()).await
    };
    let by_header = send(&without, "b-1").await;
    assert_eq!((by_header.status, by_header.id()), (200, id.clone()));
    assert_eq!(send(&booking("b-1"), "b-1").await.id(), id);
    for key in ["b-2", "", &"x".repeat(300)] {
        let refused = send(&booking("b-1"), key).await;
        assert_eq!((refused.status, refused.pointers()), (422, vec!["/idempotency_key"]), "{key}");
    }
}

#[tokio::test]
async fn without_a_key_every_one_is_new() {
    let world = api_world().await;
    let mut notification = booking("b-1");
    notification.as_object_mut().unwrap().remove("idempotency_key");
    let first = world.hand_in(ADMIN, &notification).await;
    assert_ne!(world.hand_in(ADMIN, &notification).await, first);
}

#[tokio::test]
async fn the_same_key_of_two_tenants_is_two_notifications() {
    let world = api_world().await;
    let ours = world.hand_in(ADMIN, &booking("b-1")).await;
    assert_ne!(world.hand_in(HOTEL, &booking("b-1")).await, ours);
}

#[tokio::test]
async fn a_far_delivery_waits_in_the_log_and_a_near_one_on_the_queue() {
    let world = api_world().await;
    let far = booking_with("far", json!({"deliver_at": "2026-11-22T09:00:00Z"}));
    let reply = world.post(ADMIN, PATH, &far).await;
    assert_eq!((reply.status, reply.json["status"].as_str()), (202, Some("scheduled")));
    let near = booking_with("near", json!({"deliver_at": "2026-11-21T09:05:00Z"}));
    world.hand_in(ADMIN, &near).await;
    let depth = world.queue.depth().await.unwrap();
    assert_eq!((depth.visible, depth.delayed), (0, 1));

    let too_far = booking_with("too-far", json!({"deliver_at": "2027-11-23T09:00:00Z"}));
    let reply = world.post(ADMIN, PATH, &too_far).await;
    assert_eq!((reply.status, reply.pointers()), (422, vec!["/deliver_at"]));
}

#[tokio::test]
async fn a_deadline_that_has_passed_refuses_a_new_one_but_not_a_repeat() {
    let world = api_world().await;
    let useful = booking_with("b-1", json!({"useful_until": "2026-11-21T10:00:00Z"}));
    let id = world.hand_in(ADMIN, &useful).await;
    world.clock.advance(std::time::Duration::from_secs(7200));

    let again = world.post(ADMIN, PATH, &useful).await;
    assert_eq!((again.status, again.id()), (200, id));
    let other = booking_with("b-1", json!({"useful_until": "2026-11-21T10:30:00Z"}));
    assert_eq!(world.post(ADMIN, PATH, &other).await.status, 409);
    let late = booking_with("b-2", json!({"useful_until": "2026-11-21T10:00:00Z"}));
    let reply = world.post(ADMIN, PATH, &late).await;
    assert_eq!((reply.status, reply.pointers()), (422, vec!["/useful_until"]));
}

#[tokio::test]
async fn every_fault_of_a_notification_is_named_with_its_place() {
    let world = api_world().await;
    let wrong = json!({"from": {"email": "nobody"}, "to": [], "subject": "x", "text": "x", "tpyo": 1});
    let reply = world.post(ADMIN, PATH, &wrong).await;
    assert_eq!(reply.status, 422, "{}", reply.text);
    let mut pointers = reply.pointers();
    pointers.sort_unstable();
    assert_eq!(pointers, ["/from/email", "/to", "/tpyo"]);
    assert!(!reply.text.contains("nobody"), "{}", reply.text);
}

#[tokio::test]
async fn a_full_backlog_asks_to_come_back_later() {
    let world = world_with(|state| state.config.backlog_cap = Some(2)).await;
    world.hand_in(ADMIN, &booking("b-1")).await;
    let id = world.hand_in(ADMIN, &booking("b-2")).await;
    let reply = world.post(ADMIN, PATH, &booking("b-3")).await;
    assert_eq!((reply.status, reply.header("retry-after")), (429, "5"));
    assert!(reply.pointers().is_empty());

    let cancelled = world.post(ADMIN, &format!("{PATH}/{id}/cancel"), &json!({})).await;
    assert_eq!(cancelled.status, 200);
    world.clock.advance(std::time::Duration::from_secs(2));
    world.hand_in(ADMIN, &booking("b-3")).await;
}
