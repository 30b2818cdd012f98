//! Keys, scopes, rates.

use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use serde_json::json;

use super::world::{ADMIN, HOTEL, READER, SENDER, api_world, booking, booking_with, world_with};

#[tokio::test]
async fn without_a_known_key_nothing_under_v1_answers() {
    let world = api_world().await;
    for header in [None, Some("Bearer kk_wrong"), Some("Basic a2s6"), Some("Bearer"), Some("Bearer ")] {
        for path in ["/v1/notifications", "/v1/notifications/x", "/v1/status"] {
            let mut request = Request::get(path);
            if let Some(header) = header {
                request = request.header("authorization", header);
            }
            let reply = world.send(request.body(Body::empty()).unwrap()).await;
            assert_eq!((reply.status, reply.pointers().len()), (401, 0), "{header:?} {path}");
            assert!(reply.header("www-authenticate").starts_with("Bearer"));
            assert!(!reply.text.contains("kk_wrong"));
        }
    }
}

#[tokio::test]
async fn each_call_needs_its_scope() {
    let world = api_world().await;
    let id = world.hand_in(HOTEL, &booking("b-1")).await;
    let show = format!("/v1/notifications/{id}");
    let hold = format!("{show}/hold");
    assert_eq!(world.get(READER, &show).await.status, 200);
    assert_eq!(world.get(SENDER, &show).await.status, 403);
    assert_eq!(world.post(SENDER, "/v1/notifications", &booking("b-2")).await.status, 202);
    for path in ["/v1/notifications", "/v1/notifications/batch", "/v1/jobs", &hold] {
        let reply = world.post(READER, path, &booking("b-3")).await;
        assert_eq!(reply.status, 403, "{path}");
        assert!(
            reply.json["detail"].as_str().is_some_and(|detail| detail.contains("scope")),
            "{}",
            reply.text
        );
    }
    assert_eq!(world.get(READER, "/v1/status").await.status, 403);
    assert_eq!(world.get(HOTEL, "/v1/status").await.status, 200);
}

#[tokio::test]
async fn a_key_hands_in_for_its_own_tenant_and_an_admin_for_any() {
    let world = api_world().await;
    let own = world.hand_in(HOTEL, &booking("b-1")).await;
    assert_eq!(world.record(&own).await["tenant"], "hotel");
    let foreign =
        world.post(HOTEL, "/v1/notifications", &booking_with("b-2", json!({"tenant": "default"}))).await;
    assert_eq!((foreign.status, foreign.pointers()), (403, vec!["/tenant"]));
    let for_hotel = world.hand_in(ADMIN, &booking_with("b-3", json!({"tenant": "hotel"}))).await;
    assert_eq!(world.get(READER, &format!("/v1/notifications/{for_hotel}")).await.status, 200);
}

#[tokio::test]
async fn a_key_over_its_rate_is_told_when_to_come_back() {
    let world = world_with(|state| state.config.requests_per_second = Some(2)).await;
    for _ in 0..2 {
        assert_eq!(world.get(READER, "/v1/notifications").await.status, 200);
    }
    let over = world.get(READER, "/v1/notifications").await;
    assert_eq!((over.status, over.header("retry-after")), (429, "1"));
    assert!(over.pointers().is_empty());
    assert_eq!(world.get(HOTEL, "/v1/notifications").await.status, 200, "another key has its own rate");
    world.clock.advance(Duration::from_secs(1));
    assert_eq!(world.get(READER, "/v1/notifications").await.status, 200);
}
