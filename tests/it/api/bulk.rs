//! One act on many.

use kakitome::api::bulk::BulkAnswer;
use serde_json::{Value, json};

use super::world::{ADMIN, HOTEL, World, api_world, booking, booking_with};

async fn bulk(world: &World, key: &str, request: Value) -> BulkAnswer {
    let reply = world.post(key, "/v1/bulk", &request).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    serde_json::from_value(reply.json).unwrap()
}

/// Seven failed for one reason, three for another, and two that wait.
async fn dead_letters(world: &World) -> Vec<String> {
    let mut failed = Vec::new();
    for i in 0..10 {
        let id = world.hand_in(ADMIN, &booking_with(&format!("f-{i}"), json!({"batch": "tos"}))).await;
        world.fail(&id, if i < 7 { "bad_request" } else { "exhausted" }).await;
        failed.push(id);
    }
    for key in ["w-1", "w-2"] {
        world.hand_in(ADMIN, &booking_with(key, json!({"batch": "tos"}))).await;
    }
    world.drain_queue().await;
    failed.sort();
    failed
}

#[tokio::test]
async fn a_dry_run_counts_exactly_by_reason_and_changes_nothing() {
    let world = api_world().await;
    dead_letters(&world).await;
    let before = world.get(ADMIN, "/v1/notifications").await.json;
    let request = json!({"action": "redrive", "filter": {"batch": "tos"}, "limit": 2, "dry_run": true});
    let reply = world.post(ADMIN, "/v1/bulk", &request).await;
    let expected = json!({
        "matched": 10,
        "by_reason": [
            {"status": "failed", "reason": "bad_request", "count": 7},
            {"status": "failed", "reason": "exhausted", "count": 3},
        ],
        "done": 0, "done_ids": [], "refused": [], "next_cursor": null,
    });
    assert_eq!(reply.json, expected);
    assert_eq!(world.get(ADMIN, "/v1/notifications").await.json, before);
    assert!(world.drain_queue().await.is_empty());
}

#[tokio::test]
async fn a_redrive_goes_on_in_steps_until_nothing_is_left_and_touches_only_the_failed() {
    let world = api_world().await;
    let failed = dead_letters(&world).await;
    let mut done = Vec::new();
    for expected in [10, 6, 2, 0] {
        let request = json!({"action": "redrive", "filter": {"batch": "tos"}, "limit": 4});
        let answer = bulk(&world, ADMIN, request).await;
        assert_eq!((answer.matched, answer.done), (expected, expected.min(4)));
        assert_eq!(answer.done, answer.done_ids.len() as u64);
        done.extend(answer.done_ids.iter().map(ToString::to_string));
    }
    done.sort();
    assert_eq!(done, failed);
    assert_eq!(world.drain_queue().await, failed);
}

#[tokio::test]
async fn with_a_cursor_it_gets_past_those_that_are_refused() {
    let world = api_world().await;
    for i in 0..6 {
        let until = if i < 3 { "2026-11-21T09:30:00Z" } else { "2026-11-21T23:00:00Z" };
        let id = world.hand_in(ADMIN, &booking_with(&format!("f-{i}"), json!({"useful_until": until}))).await;
        world.fail(&id, "bad_request").await;
        world.clock.advance(std::time::Duration::from_millis(1));
    }
    world.clock.advance(std::time::Duration::from_secs(3600));
    let (mut cursor, mut done, mut refused) = (Value::Null, 0, 0);
    loop {
        let request = json!({"action": "redrive", "limit": 2, "cursor": cursor});
        let answer = bulk(&world, ADMIN, request).await;
        done += answer.done;
        refused += answer.refused.len();
        match answer.next_cursor {
            Some(next) => cursor = json!(next),
            None => break,
        }
    }
    assert_eq!((done, refused), (3, 3));
}

#[tokio::test]
async fn statuses_that_the_act_does_not_concern_match_nothing() {
    let world = api_world().await;
    dead_letters(&world).await;
    let redrive =
        bulk(&world, ADMIN, json!({"action": "redrive", "filter": {"status": ["accepted", "sent"]}})).await;
    assert_eq!(redrive, BulkAnswer::default());
    let release = bulk(&world, ADMIN, json!({"action": "release"})).await;
    assert_eq!((release.matched, release.done), (0, 0));
}

#[tokio::test]
async fn a_batch_is_held_released_and_cancelled_whole() {
    let world = api_world().await;
    dead_letters(&world).await;
    let filter = json!({"batch": "tos"});
    let held =
        bulk(&world, ADMIN, json!({"action": "hold", "filter": filter, "reason": "wrong prices"})).await;
    assert_eq!((held.matched, held.done), (2, 2));
    let listed = world.get(ADMIN, "/v1/notifications?status=held&reason=wrong%20prices").await;
    assert_eq!(listed.json["items"].as_array().map(Vec::len), Some(2));
    let again = bulk(&world, ADMIN, json!({"action": "hold", "filter": filter})).await;
    assert_eq!((again.matched, again.done), (0, 0));

    assert_eq!(bulk(&world, ADMIN, json!({"action": "release", "filter": filter})).await.done, 2);
    assert_eq!(world.drain_queue().await.len(), 2);
    assert_eq!(bulk(&world, ADMIN, json!({"action": "cancel", "filter": filter})).await.done, 12);
    let status = world.get(ADMIN, "/v1/status").await.json;
    assert_eq!(status["by_status"]["cancelled"], 12);
}

#[tokio::test]
async fn named_ids_that_are_not_touched_say_why() {
    let world = api_world().await;
    let failed = dead_letters(&world).await;
    let waiting = world.hand_in(ADMIN, &booking("w-3")).await;
    let absent = "00000000-0000-0000-0000-000000000000";
    let ids = json!([failed[0], failed[0], waiting, absent]);
    let dry =
        bulk(&world, ADMIN, json!({"action": "redrive", "filter": {"ids": ids}, "dry_run": true})).await;
    assert_eq!((dry.matched, dry.done, dry.refused.len()), (1, 0, 2));
    let answer = bulk(&world, ADMIN, json!({"action": "redrive", "filter": {"ids": ids}})).await;
    assert_eq!((answer.matched, answer.done, answer.done_ids[0].to_string()), (1, 1, failed[0].clone()));
    let details: Vec<_> = answer.refused.iter().map(|one| one.detail.as_str()).collect();
    assert_eq!(details, ["its status accepted does not allow it", "there is no such notification"]);
    assert_eq!(answer.next_cursor, None);
    let narrowed = json!({"action": "cancel", "filter": {"ids": [waiting], "batch": "tos"}});
    let answer = bulk(&world, ADMIN, narrowed).await;
    assert_eq!((answer.done, answer.refused[0].detail.as_str()), (0, "it does not match the filter"));
}

#[tokio::test]
async fn a_tenant_acts_on_its_own_alone() {
    let world = api_world().await;
    dead_letters(&world).await;
    let theirs = world.hand_in(HOTEL, &booking("h")).await;
    let cancelled = bulk(&world, HOTEL, json!({"action": "cancel", "filter": {"since": "1h"}})).await;
    assert_eq!((cancelled.matched, cancelled.done_ids[0].to_string()), (1, theirs));
    let foreign =
        world.get(ADMIN, "/v1/notifications?status=failed&limit=1").await.json["items"][0]["id"].clone();
    let by_id = bulk(&world, HOTEL, json!({"action": "redrive", "filter": {"ids": [foreign]}})).await;
    assert_eq!((by_id.done, by_id.refused[0].detail.as_str()), (0, "there is no such notification"));
    let asked =
        world.post(HOTEL, "/v1/bulk", &json!({"action": "cancel", "filter": {"tenant": "default"}})).await;
    assert_eq!((asked.status, asked.pointers()), (403, vec!["/filter/tenant"]));
}

#[tokio::test]
async fn a_request_that_is_not_right_does_nothing() {
    let world = api_world().await;
    dead_letters(&world).await;
    let ids: Vec<String> = (0..1001).map(|_| "00000000-0000-0000-0000-000000000000".to_owned()).collect();
    for (request, pointers) in [
        (json!({"action": "redrive", "limit": 0}), vec!["/limit"]),
        (json!({"action": "redrive", "limit": 1001}), vec!["/limit"]),
        (json!({"action": "redrive", "filter": {"ids": ids}}), vec!["/filter/ids"]),
        (
            json!({"action": "redrive", "filter": {"since": "soon", "recipient": "x"}}),
            vec!["/filter/since", "/filter/recipient"],
        ),
        (json!({"action": "redrive", "filter": {"batches": "tos"}}), vec![""]),
        (json!({"action": "explode"}), vec![""]),
        (json!({"filter": {}}), vec![""]),
        (json!({"action": "redrive", "cursor": "nonsense"}), vec!["/cursor"]),
        (json!({"action": "cancel"}), vec!["/filter"]),
        (json!({"action": "hold", "filter": {}}), vec!["/filter"]),
    ] {
        let reply = world.post(ADMIN, "/v1/bulk", &request).await;
        assert_eq!((reply.status, reply.pointers()), (422, pointers), "{}", reply.text);
    }
    let nobody = bulk(&world, ADMIN, json!({"action": "redrive", "filter": {"ids": []}})).await;
    assert_eq!((nobody.matched, nobody.done), (0, 0));
    assert!(world.drain_queue().await.is_empty());
}
