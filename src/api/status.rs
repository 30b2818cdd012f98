//! How the whole instance stands. Numbers only: no tenant's data is in them.

use std::collections::BTreeMap;

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::answer::Json;
use super::{Shared, trouble};
use crate::clock::Timestamp;
use crate::notification::status::Status;
use crate::provider::health::ProviderHealth;
use crate::queue::Depth;
use crate::server::problem::Problem;

/// How the instance stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = InstanceStatus)]
pub struct StatusView {
    /// Notifications by status; every status is there.
    #[schema(value_type = BTreeMap<String, u64>)]
    pub by_status: BTreeMap<Status, u64>,
    /// How long the longest-waiting notification that should be on its way has waited, in whole seconds; null when
    /// none waits.
    #[schema(required = true)]
    pub oldest_unsent_seconds: Option<u64>,
    /// Since when it waits.
    #[schema(value_type = Option<String>, format = DateTime, required = true)]
    pub oldest_unsent_since: Option<Timestamp>,
    /// What lies on the queue; null when the queue did not answer.
    #[schema(required = true)]
    pub queue: Option<QueueView>,
    /// Every provider account as this process's worker last saw it.
    pub providers: Vec<ProviderHealth>,
    /// When the queue last answered this process's worker.
    #[schema(value_type = Option<String>, format = DateTime, required = true)]
    pub last_receive_at: Option<Timestamp>,
    /// How many per second the providers took, lately.
    pub sent_per_second: f64,
    /// How long the backlog takes at that rate, in whole seconds; 0 without a backlog, null when nothing moves.
    #[schema(required = true)]
    pub drain_seconds: Option<u64>,
}

/// Queue messages by where they lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = QueueDepth)]
pub struct QueueView {
    /// Ready to be received.
    pub visible: u64,
    /// Received and not settled.
    pub in_flight: u64,
    /// Waiting for their delay.
    pub delayed: u64,
    /// In the dead-letter queue.
    pub dead: u64,
}

impl From<Depth> for QueueView {
    fn from(depth: Depth) -> Self {
        let Depth { visible, in_flight, delayed, dead } = depth;
        Self { visible, in_flight, delayed, dead }
    }
}

/// See how the instance stands
#[utoipa::path(
    get, path = "/v1/status", operation_id = "status", tag = "operations",
    responses((status = 200, description = "How it stands", body = StatusView))
)]
pub(super) async fn status(State(door): State<Shared>) -> Result<Json<StatusView>, Problem> {
    let state = &door.state;
    let now = state.clock.now();
    let counts = state.log.counts(now).await.map_err(|error| trouble::log(&error))?;
    // An operator asks just when something is ill: what still answers is shown.
    let depth = match tokio::time::timeout(state.config.queue_timeout, state.queue.depth()).await {
        Ok(Ok(depth)) => Some(QueueView::from(depth)),
        Ok(Err(error)) => {
            tracing::warn!(%error, "the queue's depth cannot be read");
            None
        }
        Err(_elapsed) => None,
    };
    let by_status: BTreeMap<Status, u64> = Status::ALL
        .into_iter()
        .map(|status| (status, counts.by_status.get(&status).copied().unwrap_or(0)))
        .collect();
    let rate = state.health.sent_per_second(now);
    Ok(Json(StatusView {
        drain_seconds: drain_seconds(&by_status, rate),
        by_status,
        oldest_unsent_seconds: counts.oldest_unsent.map(|since| now.since(since).as_secs()),
        oldest_unsent_since: counts.oldest_unsent,
        queue: depth,
        providers: state.health.providers(),
        last_receive_at: state.health.last_receive(),
        sent_per_second: rate,
    }))
}

fn drain_seconds(by_status: &BTreeMap<Status, u64>, per_second: f64) -> Option<u64> {
    let on_its_way = [Status::Accepted, Status::Attempting, Status::Retrying, Status::Unknown];
    let backlog: u64 = on_its_way.iter().filter_map(|status| by_status.get(status)).sum();
    match backlog {
        0 => Some(0),
        // The cast saturates, and no forecast is negative.
        _ if per_second > 0.0 => Some((backlog as f64 / per_second).ceil() as u64),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_forecast_counts_what_is_on_its_way_and_is_silent_when_nothing_moves() {
        let stand = BTreeMap::from([(Status::Accepted, 90), (Status::Retrying, 10), (Status::Failed, 1000)]);
        assert_eq!(drain_seconds(&stand, 40.0), Some(3));
        assert_eq!(drain_seconds(&stand, 0.0), None);
        assert_eq!(drain_seconds(&BTreeMap::from([(Status::Sent, 5)]), 0.0), Some(0));
    }
}
