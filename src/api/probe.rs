//! What machines ask: liveness, readiness, metrics, the description. Needs no key.

use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::answer::Json;
use super::{Shared, openapi};
use crate::clock::Timestamp;
use crate::notification::NotificationId;
use crate::provider::health::{Circuit, HealthBoard, ProviderHealth};
use crate::server::problem::Problem;

/// How long the log may take to show that it answers.
const READY_WITHIN: Duration = Duration::from_secs(2);

/// All is well.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Fine {
    /// Always `ok`.
    status: &'static str,
}

/// Liveness
///
/// Fails when this process runs the worker and the queue has not answered it for too long: a restart may help.
#[utoipa::path(
    get, path = "/healthz", operation_id = "healthz", tag = "probes",
    responses(
        (status = 200, description = "Alive", body = Fine),
        (status = 503, description = "The worker has received nothing for too long", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn healthz(State(door): State<Shared>) -> Result<Json<Fine>, Problem> {
    let state = &door.state;
    let now = state.clock.now();
    let silent = now.since(last_sign_of_life(&state.health, door.started_at, now));
    if state.worker_expected && silent > state.config.worker_silence {
        let detail = format!("the worker has received nothing for {} s", silent.as_secs());
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE).with_detail(detail));
    }
    Ok(Json(Fine { status: "ok" }))
}

/// When the worker last showed that it lives. Circuits that turn are signs too; and while no provider takes anything,
/// the worker rightly receives nothing until it probes again: a restart during an outage would help nobody.
fn last_sign_of_life(health: &HealthBoard, started_at: Timestamp, now: Timestamp) -> Timestamp {
    let providers = health.providers();
    let is_shut = |circuit| matches!(circuit, Circuit::Open | Circuit::Refused | Circuit::Held);
    let is_ill = |provider: &ProviderHealth| is_shut(provider.circuit);
    let all_are_ill = providers.iter().all(is_ill);
    let signs = providers.iter().map(|provider| match provider.probe_at {
        _ if !all_are_ill => provider.since,
        Some(probe_at) => provider.since.max(probe_at),
        None => now,
    });
    signs.chain(health.last_receive()).fold(started_at, Timestamp::max)
}

/// Readiness
///
/// Fails when the message log does not answer: nothing could be recorded. And when this process runs the worker and
/// could not read yet what is held or cancelled: until then it sends nothing.
#[utoipa::path(
    get, path = "/readyz", operation_id = "readyz", tag = "probes",
    responses(
        (status = 200, description = "Ready", body = Fine),
        (status = 503, description = "The message log does not answer, or the worker may not send yet", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn readyz(State(door): State<Shared>) -> Result<Json<Fine>, Problem> {
    if door.state.worker_expected && door.state.stops.known().is_none() {
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE)
            .with_detail("the standing stops could not be read yet: nothing is sent"));
    }
    // One look-up of an id that nothing has: the cheapest question that goes all the way.
    let look = door.state.log.get(NotificationId::from_bytes([0; 16]));
    match tokio::time::timeout(READY_WITHIN, look).await {
        Ok(Ok(_)) => Ok(Json(Fine { status: "ok" })),
        Ok(Err(error)) => {
            tracing::warn!(%error, "not ready");
            Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE).with_detail("the message log could not answer"))
        }
        Err(_elapsed) => Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE)
            .with_detail("the message log does not answer in time")),
    }
}

/// Metrics
#[utoipa::path(
    get, path = "/metrics", operation_id = "metrics", tag = "probes",
    responses(
        (status = 200, description = "Prometheus text", body = String, content_type = "text/plain; version=0.0.4"),
        (status = 404, description = "This process keeps no metrics", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn metrics(State(door): State<Shared>) -> Result<Response, Problem> {
    let handle =
        door.state.metrics.as_ref().ok_or_else(|| {
            Problem::new(StatusCode::NOT_FOUND).with_detail("this process keeps no metrics")
        })?;
    let media = HeaderValue::from_static("text/plain; version=0.0.4");
    Ok(([(header::CONTENT_TYPE, media)], handle.render()).into_response())
}

/// This description
#[utoipa::path(
    get, path = "/openapi.json", operation_id = "openapi", tag = "probes",
    responses((status = 200, description = "OpenAPI 3.1", body = serde_json::Value, content_type = "application/json"))
)]
pub(super) async fn openapi() -> Response {
    Json(openapi::description()).into_response()
}
