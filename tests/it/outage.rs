//! An ill provider: nothing is lost, nothing is burnt, and it drains by itself.

use std::time::Duration;

use serde_json::{Value, json};

use super::world::World;

/// How often each of the 64 permits may have been out when the circuit opened.
const AT_ONCE: usize = 64;

fn attempts(record: &Value) -> usize {
    record["attempts"].as_array().map_or(0, Vec::len)
}

/// Plays an outage that lasts for many openings of the circuit, and looks at what it cost.
async fn survives(outage: &str) {
    // Few attempts: an outage that burnt them would make dead letters at once.
    let world = World::open(&[("worker.max_attempts", "3")], outage).await;
    let ids = world.accept_many(150).await;
    // Fifteen openings' worth.
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(world.count("failed").await, 0);
    let stand = world.get("/v1/status").await;
    assert_ne!(stand["providers"][0]["circuit"], "closed", "{stand:#}");
    let mut untouched = 0;
    for id in &ids {
        untouched += usize::from(attempts(&world.record(id).await) == 0);
    }
    // What was out when it opened, and one probe an opening; everything else waits untouched.
    assert!(untouched >= ids.len() - AT_ONCE - 40, "{untouched} of {} were never tried", ids.len());
    world.play("");
    world.wait_for_count("sent", ids.len() as u64).await;
    let stats = world.sandbox().stats();
    assert_eq!((stats.distinct, stats.duplicates), (ids.len() as u64, 0));
    world.close().await;
}

#[tokio::test]
async fn an_outage_of_any_length_costs_no_dead_letter() {
    survives("outage:for=1h").await;
}

#[tokio::test]
async fn an_outage_that_refuses_connections_costs_no_dead_letter() {
    survives("outage:for=1h:mode=refuse").await;
}

#[tokio::test]
async fn a_single_mail_outlives_an_outage_too() {
    let world = World::open(&[("worker.max_attempts", "8")], "429=100%").await;
    let id = world.accept("alone", |_| {}).await;
    // The circuit opens after ten refusals in a row; eight attempts would be used up before that.
    let record = world.record_with_status(&id, "failed").await;
    assert_eq!(record["reason"], "attempts_exhausted");
    world.close().await;

    let world = World::open(&[("worker.max_attempts", "6")], "outage:for=1h:mode=refuse").await;
    let id = world.accept("alone", |_| {}).await;
    world.record_when(&id, |record| attempts(record) >= 10).await;
    assert_ne!(world.record(&id).await["status"], "failed");
    world.play("");
    world.record_with_status(&id, "sent").await;
    world.close().await;
}

#[tokio::test]
async fn a_provider_that_refuses_us_costs_no_attempt_and_says_so() {
    // The sandbox demands another key than the one it is shown.
    let world = World::open(&[("sandbox.api_key", "SG.right")], "").await;
    let id = world.accept("key", |_| {}).await;
    world.record_with_status(&id, "sent").await;
    world.close().await;
}

#[tokio::test]
async fn mixed_failures_lose_nothing_and_double_nothing() {
    let faults = "5xx=5%,429=10%:retry-after=1,slow=5%:for=200ms,reset-before=5%,reset-after-accept=5%,\
                  timeout-after-accept=2%,webhook-duplicate=20%,webhook-reorder=20%";
    let world = World::open(&[("worker.hold", "4s"), ("worker.witness_cap", "10s")], faults).await;
    let ids = world.accept_many(200).await;
    for id in &ids {
        let record = world.record_with_status(id, "sent").await;
        assert_ne!(record["sent_at"], json!(null));
    }
    let stats = world.sandbox().stats();
    assert_eq!((stats.distinct, stats.duplicates), (200, 0));
    world.close().await;
}
