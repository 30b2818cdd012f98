//! What is wrong, and whether anybody can be told: the alerts as the journal has them.

use async_trait::async_trait;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Shared;
use super::answer::Json;
use crate::clock::Timestamp;
use crate::journal::{Document, Kind};
use crate::server::problem::Problem;

/// So many alerts are listed.
const MOST: usize = 1000;

/// Where alerts are posted.
#[async_trait]
pub trait Channels: Send + Sync {
    /// Posts a test message to each; what became of it.
    async fn test(&self) -> Vec<ChannelTest>;
}

/// What became of a test message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ChannelTest {
    /// `slack` or `webhook`.
    pub channel: String,
    /// Whether it was taken.
    pub ok: bool,
    /// Why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// What became of the test messages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ChannelTests {
    /// One a channel; none where none is configured.
    pub channels: Vec<ChannelTest>,
}

/// Alerts, firing ones first, worst first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AlertsView {
    /// Those that fire, and those that ended within a week.
    pub items: Vec<AlertView>,
}

/// One alert.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = Alert)]
pub struct AlertView {
    /// What, and with whom: `breaker_open:sendgrid`.
    pub key: String,
    /// What is wrong, such as `breaker_open`.
    pub alert: String,
    /// With which provider, tenant or reason.
    #[schema(required = true)]
    pub subject: Option<String>,
    /// `warning` or `critical`.
    pub severity: String,
    /// `firing` or `resolved`.
    pub state: String,
    /// Since when.
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
    /// Until when.
    #[schema(value_type = Option<String>, format = DateTime, required = true)]
    pub resolved_at: Option<Timestamp>,
    /// In a sentence with the numbers.
    pub summary: String,
    /// How many it concerns.
    pub count: u64,
    /// The page in `runbooks/`.
    pub runbook: String,
    /// The command to begin with.
    pub command: String,
    /// When it was last said.
    #[schema(value_type = String, format = DateTime)]
    pub said_at: Timestamp,
    /// How many messages wait for a channel.
    pub unposted: u64,
}

impl AlertView {
    /// The part that is shown of the journal's document, which `alerts` writes.
    fn of(document: &Document) -> Option<Self> {
        let mut stored: serde_json::Value = document.read().ok()?;
        stored["unposted"] = stored["outbox"].as_array().map_or(0, Vec::len).into();
        serde_json::from_value(stored).ok()
    }
}

/// List alerts
#[utoipa::path(
    get, path = "/v1/alerts", operation_id = "alerts", tag = "operations",
    responses((status = 200, description = "Firing first, then what ended within a week", body = AlertsView))
)]
pub(super) async fn alerts(State(door): State<Shared>) -> Result<Json<AlertsView>, Problem> {
    let documents = door.state.journal.list(Kind::Alert, None, MOST).await?;
    let mut items: Vec<AlertView> = documents.iter().filter_map(AlertView::of).collect();
    let rank = |alert: &AlertView| (alert.state != "firing", alert.severity != "critical");
    items.sort_by(|a, b| rank(a).cmp(&rank(b)).then(b.since.cmp(&a.since)));
    Ok(Json(AlertsView { items }))
}

/// Post a test message to every channel
#[utoipa::path(
    post, path = "/v1/alerts/test", operation_id = "test_alerts", tag = "operations",
    responses((status = 200, description = "What became of it, a line a channel", body = ChannelTests))
)]
pub(super) async fn test(State(door): State<Shared>) -> Json<ChannelTests> {
    let channels = match &door.state.channels {
        Some(channels) => channels.test().await,
        None => Vec::new(),
    };
    Json(ChannelTests { channels })
}
