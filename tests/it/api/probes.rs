//! Probes need no key and say when something is wrong.

use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use kakitome::provider::health::{Circuit, ProviderHealth};

use super::world::{Reply, World, api_world, world_with};

async fn ask(world: &World, path: &str) -> Reply {
    world.send(Request::get(path).body(Body::empty()).unwrap()).await
}

#[tokio::test]
async fn a_process_without_a_worker_is_alive_and_ready() {
    let world = api_world().await;
    world.clock.advance(Duration::from_secs(3600));
    assert_eq!(ask(&world, "/healthz").await.status, 200);
    assert_eq!(ask(&world, "/readyz").await.status, 200);
}

#[tokio::test]
async fn a_worker_that_has_stopped_receiving_fails_the_liveness_probe() {
    let world = world_with(|state| state.worker_expected = true).await;
    world.clock.advance(Duration::from_secs(120));
    assert_eq!(ask(&world, "/healthz").await.status, 200, "it may still be starting");
    world.clock.advance(Duration::from_secs(1));
    let reply = ask(&world, "/healthz").await;
    assert_eq!((reply.status, reply.pointers().len()), (503, 0));
    world.health.set_last_receive(world.clock.now());
    assert_eq!(ask(&world, "/healthz").await.status, 200);
}

#[tokio::test]
async fn a_worker_that_could_not_read_the_stops_is_not_ready() {
    let mut stops = None;
    let world = world_with(|state| {
        state.worker_expected = true;
        stops = Some(state.stops.clone());
    })
    .await;
    assert_eq!(ask(&world, "/readyz").await.status, 503);
    stops.unwrap().refresh().await.unwrap();
    assert_eq!(ask(&world, "/readyz").await.status, 200);
}

#[tokio::test]
async fn metrics_are_prometheus_text_where_they_are_kept() {
    let without = api_world().await;
    assert_eq!(ask(&without, "/metrics").await.status, 404);
    let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    let world = world_with(|state| state.metrics = Some(handle)).await;
    let reply = ask(&world, "/metrics").await;
    assert_eq!((reply.status, reply.header("content-type")), (200, "text/plain; version=0.0.4"));
}

#[tokio::test]
async fn a_worker_that_pauses_for_an_ill_provider_is_alive_until_it_should_probe() {
    let world = world_with(|state| state.worker_expected = true).await;
    let since = world.clock.now();
    let probe_at = Some(since.plus(Duration::from_secs(600)));
    let mut health =
        ProviderHealth { name: "sandbox".into(), circuit: Circuit::Open, since, probe_at, last_error: None };
    world.health.set_provider(health.clone());
    world.clock.advance(Duration::from_secs(600 + 120));
    assert_eq!(ask(&world, "/healthz").await.status, 200);
    world.clock.advance(Duration::from_secs(1));
    assert_eq!(ask(&world, "/healthz").await.status, 503, "it should have probed");

    health.circuit = Circuit::Refused;
    health.probe_at = None;
    world.health.set_provider(health.clone());
    assert_eq!(ask(&world, "/healthz").await.status, 200, "somebody must mend it first");
    health.name = "other".into();
    health.circuit = Circuit::Closed;
    world.health.set_provider(health);
    assert_eq!(ask(&world, "/healthz").await.status, 503, "another provider would take mail");
}

#[tokio::test]
async fn without_the_api_role_the_probes_still_answer() {
    let mut kept = None;
    let mut probes = world_with(|state| kept = Some(state.clone())).await;
    probes.router = kakitome::api::probes(kept.unwrap());
    for path in ["/healthz", "/readyz", "/openapi.json"] {
        assert_eq!(ask(&probes, path).await.status, 200, "{path}");
    }
    assert_eq!(ask(&probes, "/v1/notifications").await.status, 404);
}
