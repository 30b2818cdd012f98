//! An ill provider: nothing is lost, nothing is burnt, and it drains by itself.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::future::join_all;
use kakitome::sandbox::{self, Sandbox};
use kakitome::shutdown;
use serde_json::{Value, json};

use super::world::World;

/// How often each of the 64 permits may have been out when the circuit opened.
const AT_ONCE: usize = 64;

fn attempts(record: &Value) -> usize {
    record["attempts"].as_array().map_or(0, Vec::len)
}

/// Waits until the circuit has opened so many times: each opening names another time for its probe.
async fn outlives_openings(world: &World, count: usize) {
    let mut probes = BTreeSet::new();
    tokio::time::timeout(Duration::from_secs(60), async {
        while probes.len() < count {
            let provider = &world.get("/v1/status").await["providers"][0];
            probes.extend(provider["probe_at"].as_str().map(str::to_owned));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .expect("the circuit opens again and again");
}

/// Plays an outage that lasts for many openings of the circuit, and looks at what it cost.
async fn survives(outage: &str) {
    // Few attempts: an outage that burnt them would make dead letters at once.
    let world = World::open(&[("worker.max_attempts", "3")], outage).await;
    let ids = world.accept_many(150).await;
    outlives_openings(&world, 10).await;
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
    join_all(["outage:for=1h", "outage:for=1h:mode=refuse", "429=100%"].map(outlives_alone)).await;
}

async fn outlives_alone(outage: &str) {
    let limits = [("worker.max_attempts", "3"), ("worker.unknown_resends", "1")];
    // Every attempt that nobody knows the end of costs a lease and a hold, and no webhook is heard meanwhile.
    let quick = [
        ("worker.provider_timeout", "500ms"),
        ("worker.connect_timeout", "500ms"),
        ("worker.lease", "1200ms"),
        ("worker.hold", "500ms"),
        ("worker.witness_cap", "500ms"),
    ];
    let world = World::open(&[&limits[..], &quick[..]].concat(), outage).await;
    let id = world.accept("alone", |_| {}).await;
    let record = world.record_when(&id, |record| attempts(record) >= 5).await;
    assert_ne!(record["status"], "failed", "{outage}");
    world.play("");
    world.record_with_status(&id, "sent").await;
    world.close().await;
}

#[tokio::test]
async fn a_provider_that_refuses_us_is_paused_and_costs_no_attempt() {
    let world = World::open(&[("worker.max_attempts", "1")], "").await;
    // Another account, whose key this is not.
    let strict = sandbox::Config { listen: ([127, 0, 0, 1], 0).into(), ..sandbox::Config::default() };
    let (_stop, stopped) = shutdown::channel();
    let strict =
        Sandbox::start(sandbox::Config { api_key: Some("SG.other".into()), ..strict }, stopped).unwrap();
    let world = world.reopen(&[("worker.max_attempts", "1"), ("sandbox.url", &strict.url())], "").await;
    let id = world.accept("key", |_| {}).await;
    let record = world.record_with_status(&id, "retrying").await;
    assert_eq!(record["attempts"][0]["http_status"], 401);
    let provider = &world.get("/v1/status").await["providers"][0];
    assert_eq!(provider["circuit"], "refused", "{provider:#}");
    let world = world.reopen(&[("worker.max_attempts", "1")], "").await;
    let (status, _) = world.post(&format!("/v1/notifications/{id}/cancel"), &json!({})).await;
    assert_eq!(status, 200);
    // Its message rests for a minute yet, as long as nobody had mended the account.
    world.leave().await;
}

#[tokio::test]
async fn mixed_failures_lose_nothing_and_double_nothing() {
    let faults = "5xx=5%,429=10%:retry-after=1,slow=5%:for=200ms,reset-before=5%,reset-after-accept=5%,\
                  timeout-after-accept=2%,webhook-duplicate=20%,webhook-reorder=20%";
    let world = World::open(&[("worker.hold", "3s"), ("worker.witness_cap", "10s")], faults).await;
    let ids = world.accept_many(200).await;
    for id in &ids {
        let record = world.record_with_status(id, "sent").await;
        assert_ne!(record["sent_at"], json!(null));
    }
    let stats = world.sandbox().stats();
    assert_eq!((stats.distinct, stats.duplicates), (200, 0));
    world.close().await;
}
