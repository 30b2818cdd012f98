//! Many at once.

use serde_json::{Value, json};

use super::world::{ADMIN, HOTEL, World, api_world, booking, booking_with, world_with};

const PATH: &str = "/v1/notifications/batch";
const NDJSON: &[(&str, &str)] = &[("content-type", "application/x-ndjson")];

async fn results(world: &World, headers: &[(&str, &str)], body: impl Into<axum::body::Body>) -> Vec<Value> {
    let reply = world.post_raw(ADMIN, PATH, headers, body).await;
    assert_eq!(reply.status, 207, "{}", reply.text);
    reply.json["results"].as_array().unwrap().clone()
}

#[tokio::test]
async fn a_bad_entry_never_spoils_its_neighbours_and_the_order_is_kept() {
    let world = api_world().await;
    let invalid = booking_with("c", json!({"to": []}));
    let body = [
        booking("a").to_string().into_bytes(),
        b"{\"not\": json".to_vec(),
        b"\xff\xfe".to_vec(),
        invalid.to_string().into_bytes(),
        booking_with("d", json!({"tenant": "hotel"})).to_string().into_bytes(),
    ]
    .join(&b'\n');
    let results = results(&world, NDJSON, body).await;
    assert_eq!(results.len(), 5);
    assert_eq!((&results[0]["status"], &results[0]["duplicate"]), (&json!("accepted"), &json!(false)));
    for i in [1, 2] {
        assert_eq!(results[i]["error"]["status"], 422, "{}", results[i]);
        assert_eq!(results[i]["error"]["errors"][0]["pointer"], "", "{}", results[i]);
    }
    assert_eq!(results[3]["error"]["errors"][0]["pointer"], "/to");
    assert_eq!(results[4]["duplicate"], false);
    assert_eq!(world.drain_queue().await.len(), 2);
}

#[tokio::test]
async fn a_json_array_is_read_as_lines_are() {
    let world = api_world().await;
    let list = format!("[{}, {{\"broken\": }}, {}]", booking("a"), booking("b"));
    for headers in [&[("content-type", "application/json")][..], &[][..]] {
        let results = results(&world, headers, list.clone()).await;
        assert_eq!(results.len(), 3);
        assert_eq!(results[1]["error"]["status"], 422);
        assert_eq!(results[2]["id"].as_str().map(str::len), Some(36));
    }
}

#[tokio::test]
async fn the_same_key_twice_in_one_batch_is_one_notification_and_other_content_a_conflict() {
    let world = api_world().await;
    let lines = [booking("a"), booking("a"), booking_with("a", json!({"subject": "other"}))];
    let body = lines.map(|line| line.to_string()).join("\n");
    let results = results(&world, NDJSON, body).await;
    assert_eq!(results[0]["duplicate"], false);
    assert_eq!((&results[1]["duplicate"], &results[1]["id"]), (&json!(true), &results[0]["id"]));
    assert_eq!(results[2]["error"]["status"], 409);
    assert_eq!(world.drain_queue().await.len(), 1);
}

#[tokio::test]
async fn a_thousand_entries_are_taken_and_one_more_is_not() {
    let world = api_world().await;
    let mut lines: Vec<String> = (0..1000).map(|i| booking(&format!("b-{i}")).to_string()).collect();
    let taken = results(&world, NDJSON, lines.join("\n") + "\n\n").await;
    assert!(taken.len() == 1000 && taken.iter().all(|one| one["status"] == "accepted"));
    lines.push(booking("one more").to_string());
    let reply = world.post_raw(ADMIN, PATH, NDJSON, lines.join("\n")).await;
    assert_eq!((reply.status, reply.pointers().len()), (413, 0));
}

#[tokio::test]
async fn entries_of_other_tenants_are_refused_one_by_one() {
    let world = api_world().await;
    let body = format!("{}\n{}", booking("a"), booking_with("b", json!({"tenant": "default"})));
    let reply = world.post_raw(HOTEL, PATH, NDJSON, body).await;
    assert_eq!(reply.status, 207);
    assert_eq!(reply.json["results"][0]["status"], "accepted");
    assert_eq!(reply.json["results"][1]["error"]["status"], 403);
    assert_eq!(reply.json["results"][1]["error"]["errors"][0]["pointer"], "/tenant");
}

#[tokio::test]
async fn what_is_no_batch_is_refused_whole() {
    let world = world_with(|state| state.config.batch_body_bytes = 10_000).await;
    let json = [("content-type", "application/json")];
    for wrong in ["{}", "[1", "", "[{}] {}", "nonsense"] {
        let reply = world.post_raw(ADMIN, PATH, &json, wrong).await;
        assert_eq!((reply.status, reply.pointers()), (422, vec![""]), "{wrong}");
    }
    assert_eq!(world.post_raw(ADMIN, PATH, &[("content-type", "text/csv")], "a").await.status, 415);
    assert_eq!(world.post_raw(ADMIN, PATH, NDJSON, "x".repeat(10_001)).await.status, 413);
}
