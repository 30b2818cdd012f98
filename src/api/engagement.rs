//! What became of a broadcast: how many opens and clicks were people's, and how many machines'.

use std::time::Duration;

use axum::Extension;
use axum::extract::{Query, State};
use axum::http::Uri;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::answer::Json;
use super::guard::Caller;
use super::{Door, Shared, trouble};
use crate::clock::Timestamp;
use crate::engagement::{self, Engagement, Reached};
use crate::message_log::{Filter, LogError};
use crate::notification::content::is_batch_name;
use crate::server::problem::Problem;

/// The most records that are looked at: as an incident's.
const MOST_RECORDS: u64 = 200_000;

/// How long it may take. What was read until then is told.
const PATIENCE: Duration = Duration::from_secs(60);

/// Records of a page.
const PAGE: usize = 1000;

/// Which broadcast.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Which {
    /// The broadcast's name, as its notifications have it.
    batch: String,
    /// Whose. Other tenants' need the scope admin, with which all are counted when it is left out.
    tenant: Option<String>,
}

/// A broadcast's opens and clicks, by the rules of the moment.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = BatchEngagement)]
pub(super) struct EngagementView {
    /// The broadcast.
    batch: String,
    /// How many of its notifications were looked at.
    notifications: u64,
    /// Whether these are all; if not, the counts are of the latest ones.
    is_complete: bool,
    /// How many recipients opened or clicked, as people do.
    people: Reached,
    /// How often.
    #[serde(flatten)]
    engagement: Engagement,
}

/// Count a broadcast's opens and clicks
///
/// Reads the records of the broadcast, latest first, 200,000 at most and for a minute at most, and says if there were
/// more. Every count is derived now: other rules about machines give other counts.
#[utoipa::path(
    get, path = "/v1/engagement", operation_id = "engagement", tag = "notifications",
    params(Which),
    responses(
        (status = 200, description = "The counts", body = EngagementView),
        (status = 422, description = "A parameter is not valid or not known", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn engagement(
    State(door): State<Shared>,
    Extension(caller): Extension<Caller>,
    uri: Uri,
) -> Result<Json<EngagementView>, Problem> {
    let now = door.state.clock.now();
    let Ok(Query(Which { batch, tenant })) = Query::try_from_uri(&uri) else {
        return Err(trouble::invalid_at("/batch", "batch is required, and tenant the only other parameter"));
    };
    if !is_batch_name(&batch) {
        return Err(trouble::invalid_at("/batch", "is not a name that a notification's batch can have"));
    }
    let filter = Filter { tenant: caller.tenant(tenant)?, batch: Some(batch.clone()), ..Filter::default() };
    // As many at once as incidents: each reads for up to a minute. Never closed.
    let _turn = door.incidents.acquire().await;
    let mut view = EngagementView {
        batch,
        notifications: 0,
        is_complete: false,
        people: Reached::default(),
        engagement: Engagement::default(),
    };
    view.count(&door, &filter, now).await?;
    Ok(Json(view))
}

impl EngagementView {
    async fn count(&mut self, door: &Door, filter: &Filter, now: Timestamp) -> Result<(), LogError> {
        let rules = door.state.machines.rules(now);
        let begun = door.state.clock.boot_time();
        let mut cursor = None;
        while self.notifications < MOST_RECORDS
            && door.state.clock.boot_time().saturating_sub(begun) <= PATIENCE
        {
            let page = door.state.log.list(filter, cursor.as_deref(), PAGE, now).await?;
            for record in &page.items {
                let marks = engagement::marks(&record.events, &rules);
                self.engagement += Engagement::of(&record.events, &marks);
                self.people += Reached::of(&record.events, &marks);
            }
            self.notifications += page.items.len() as u64;
            cursor = page.next_cursor;
            if cursor.is_none() {
                self.is_complete = true;
                return Ok(());
            }
        }
        Ok(())
    }
}
