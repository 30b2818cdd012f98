//! Whoever bounced gets nothing more, until somebody takes them off the list.

use serde_json::{Value, json};

use super::world::World;

fn to(key: &str) -> impl FnOnce(&mut Value) {
    let to = json!([{"email": format!("{key}@example.com")}]);
    move |notification| notification["to"] = to
}

fn recipients(record: &Value) -> Vec<(&str, &str)> {
    let all = record["recipients"].as_array().unwrap();
    all.iter().map(|one| (one["email"].as_str().unwrap(), one["status"].as_str().unwrap())).collect()
}

fn has_event(record: &Value, kind: &str) -> bool {
    record["events"].as_array().unwrap().iter().any(|event| event["kind"] == kind)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_bounced_gets_nothing_more_while_others_in_the_same_mail_do() {
    let world = World::open(&[], "bounce:first=1").await;
    let first = world.accept("first", to("gone")).await;
    world.record_when(&first, |record| has_event(record, "bounced")).await;
    world.play("");

    let second = world.accept("second", to("gone")).await;
    let record = world.record_with_status(&second, "suppressed").await;
    assert_eq!(record["reason"], "suppressed_bounce");
    assert_eq!(record["attempts"], json!([]), "no byte was sent");
    assert_eq!(recipients(&record), [("gone@example.com", "dropped")]);
    assert!(has_event(&record, "suppressed"));

    let both = json!([{"email": "gone@example.com"}, {"email": "here@example.com"}]);
    let third = world.accept("third", |notification| notification["to"] = both).await;
    let record = world.record_when(&third, |record| has_event(record, "delivered")).await;
    assert_eq!(recipients(&record), [("gone@example.com", "dropped"), ("here@example.com", "delivered")]);
    let outbox = world.get("/metrics").await;
    assert!(outbox.as_str().unwrap().contains("kakitome_suppressed_total{reason=\"bounce\"} "));
    world.close().await;
}
