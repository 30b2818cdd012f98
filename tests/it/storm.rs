//! The storm guard through the whole house: mistakes that are held, listed and released.

use std::time::Duration;

use serde_json::{Value, json};

use super::world::{World, booking};

/// A broadcast to so many guests, enqueued as its `run`-th time.
fn broadcast(run: usize, guests: usize) -> Vec<Value> {
    let mail = |guest: usize| {
        let mut mail = booking(&format!("run-{run}-{guest}"));
        mail["to"] = json!([{"email": format!("guest{guest}@example.com")}]);
        mail["batch"] = "news".into();
        mail
    };
    (0..guests).map(mail).collect()
}

async fn hand_in(world: &World, notifications: &[Value]) {
    let (status, answer) = world.post("/v1/notifications/batch", &json!(notifications)).await;
    assert_eq!(status, 207, "{answer}");
}

async fn release(world: &World, filter: Value) {
    let asked = json!({"action": "release", "filter": filter, "reason": "meant so"});
    let (status, job) = world.post("/v1/jobs", &asked).await;
    assert_eq!(status, 202, "{job}");
    world.job_when(&job["id"], |job| job["state"] == "done").await;
}

#[tokio::test]
async fn a_broadcast_enqueued_five_times_goes_out_three_times_and_the_rest_is_held_and_listed() {
    let world = World::open(&[], "").await;
    for run in 0..5 {
        hand_in(&world, &broadcast(run, 40)).await;
    }
    world.wait_for_count("held", 80).await;
    world.wait_for_count("sent", 120).await;
    let page = world.get("/v1/notifications?status=held&reason=repeat&batch=news&limit=1000").await;
    assert_eq!(page["items"].as_array().unwrap().len(), 80);
    let mut per_guest = std::collections::BTreeMap::new();
    for mail in world.sandbox().mails(1000) {
        let request: Value = serde_json::from_slice(&mail.request).unwrap();
        let to = request["personalizations"][0]["to"][0]["email"].as_str().unwrap().to_owned();
        *per_guest.entry(to).or_insert(0) += 1;
    }
    assert!(per_guest.len() == 40 && per_guest.values().all(|count| *count == 3), "{per_guest:?}");
    let metrics = world.get("/metrics").await;
    assert!(metrics.as_str().unwrap().contains("kakitome_guarded_total{reason=\"repeat\"}"));
    // They were meant, all of them: nobody asks again.
    release(&world, json!({"reason": "repeat"})).await;
    world.wait_for_count("sent", 200).await;
    let stats = world.sandbox().stats();
    assert_eq!((stats.distinct, stats.duplicates), (200, 0));
    world.close().await;
}

#[tokio::test]
async fn what_exceeds_a_declared_broadcast_is_held_and_goes_when_it_is_released() {
    let world = World::open(&[], "").await;
    let (status, declared) = world.post("/v1/batches/news", &json!({"expected": 100})).await;
    assert_eq!(
        (status, &declared["expected"], &declared["taken"]),
        (200, &json!(100), &json!(0)),
        "{declared}"
    );
    let mails = broadcast(0, 150);
    hand_in(&world, &mails).await;
    // The producer's retry is the same broadcast.
    hand_in(&world, &mails).await;
    world.wait_for_count("held", 50).await;
    world.wait_for_count("sent", 100).await;
    assert_eq!(world.sandbox().stats().accepted, 100);
    let listed = world.get("/v1/batches?tenant=default").await;
    assert_eq!((&listed["items"][0]["batch"], &listed["items"][0]["taken"]), (&json!("news"), &json!(100)));
    // Somebody counted wrongly: more may go, and what is held is released.
    let (status, _) = world.post("/v1/batches/news", &json!({"expected": 110})).await;
    assert_eq!(status, 200);
    let more: Vec<Value> = broadcast(0, 170).split_off(150);
    let world = world.reopen(&[], "").await;
    hand_in(&world, &more).await;
    world.wait_for_count("held", 60).await;
    assert_eq!(world.sandbox().stats().accepted, 10);
    release(&world, json!({"reason": "batch_size"})).await;
    world.wait_for_count("sent", 170).await;
    world.close().await;
}

#[tokio::test]
async fn a_tenant_that_floods_is_held_where_that_is_configured() {
    let settings = [("guard.rate_hold", "true"), ("guard.rate_floor", "50")];
    let world = World::open(&settings, "slow=100%:for=300ms").await;
    let flood = |from: usize| -> Vec<Value> {
        let mail = |i: usize| {
            let mut mail = booking(&format!("dummy-{i}"));
            mail["tenant"] = "flood".into();
            mail
        };
        (from..from + 1000).map(mail).collect()
    };
    hand_in(&world, &flood(0)).await;
    let stops = async {
        loop {
            let stops = world.get("/v1/stops").await;
            if let Some(stop) = stops["items"].as_array().unwrap().first() {
                return stop.clone();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let stop = tokio::time::timeout(Duration::from_secs(10), stops).await.unwrap();
    assert_eq!(
        (&stop["who"], &stop["reason"], &stop["scope"]),
        (&json!("storm guard"), &json!("rate"), &json!({"tenant": "flood"}))
    );
    let fine = world.accept("fine", |_| {}).await;
    world.record_with_status(&fine, "sent").await;
    world.wait_for_count("accepted", 0).await;
    let held = world.count("held").await;
    assert!(held > 500, "{held}");
    let page = world.get("/v1/notifications?status=held&reason=rate&tenant=flood&limit=1").await;
    assert_eq!(page["items"].as_array().unwrap().len(), 1);
    world.play("");
    release(&world, json!({"tenant": "flood"})).await;
    world.wait_for_count("sent", 1001).await;
    assert_eq!(world.sandbox().stats().duplicates, 0);
    world.close().await;
}

#[tokio::test]
async fn a_declaration_is_refused_where_it_makes_no_sense() {
    let world = World::open(&[], "").await;
    for (path, body, at) in [
        ("/v1/batches/two%20words", json!({"expected": 1}), "/batch"),
        ("/v1/batches/news", json!({"expected": 1_000_000_001_u64}), "/expected"),
    ] {
        let (status, problem) = world.post(path, &body).await;
        assert_eq!((status, &problem["errors"][0]["pointer"]), (422, &json!(at)), "{problem}");
    }
    let (status, _) = world.post("/v1/batches/news", &json!({"expected": -1})).await;
    assert_eq!(status, 422);
    world.close().await;
}
