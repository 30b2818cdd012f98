//! Events that match no notification.

use axum::Extension;
use axum::extract::{Query, State};
use axum::http::Uri;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};

use super::answer::Json;
use super::guard::Caller;
use super::{Shared, query, trouble};
use crate::clock::Timestamp;
use crate::message_log::unmatched::Unmatched;
use crate::server::problem::Problem;

/// What is asked of them.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Asked {
    /// A former page's `next_cursor`.
    cursor: Option<String>,
    /// 1 to 1000; 100 when not given.
    #[param(value_type = Option<usize>, minimum = 1, maximum = 1000, default = 100)]
    limit: Option<String>,
}

/// One event that matches no notification.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = UnmatchedEvent)]
pub struct UnmatchedView {
    /// When it was heard first.
    #[schema(value_type = String, format = DateTime)]
    pub kept_at: Timestamp,
    /// Who told it.
    pub provider: String,
    /// What happened.
    pub kind: String,
    /// When, by the provider's clock.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// To whom; null where the provider names nobody.
    #[schema(required = true)]
    pub recipient: Option<String>,
    /// The notification that it names, if it names one.
    #[schema(required = true)]
    pub id: Option<String>,
    /// The provider's id of the message.
    #[schema(required = true)]
    pub provider_message_id: Option<String>,
    /// The provider's id of the event.
    #[schema(required = true)]
    pub event_id: Option<String>,
    /// The provider's words.
    #[schema(value_type = Object)]
    pub detail: Map<String, Value>,
}

/// A page of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = UnmatchedEvents)]
pub struct UnmatchedPageView {
    /// How many there are in all.
    pub count: u64,
    /// Newest first; on DynamoDB by the day they tell of.
    pub items: Vec<UnmatchedView>,
    /// Null on the last page.
    #[schema(required = true)]
    pub next_cursor: Option<String>,
}

impl From<Unmatched> for UnmatchedView {
    fn from(unmatched: Unmatched) -> Self {
        let Unmatched { kept_at, event, .. } = unmatched;
        Self {
            kept_at,
            provider: event.provider,
            kind: event.kind.as_str().to_owned(),
            at: event.at,
            recipient: event.recipient.map(|address| address.reveal().to_owned()),
            id: event.id.map(|id| id.to_string()),
            provider_message_id: event.provider_message_id,
            event_id: event.event_id,
            detail: event.detail,
        }
    }
}

/// List the events that match no notification
///
/// They are kept for 30 days and looked at again, later each time: what they are about may come to be known. They belong
/// to no tenant, so the key needs the scope `admin` as well.
#[utoipa::path(
    get, path = "/v1/events/unmatched", operation_id = "unmatchedEvents", tag = "operations",
    params(Asked),
    responses(
        (status = 200, description = "A page", body = UnmatchedPageView),
        (status = 400, description = "The cursor is none of this listing", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "A parameter is not valid or not known", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn unmatched(
    State(door): State<Shared>,
    Extension(caller): Extension<Caller>,
    uri: Uri,
) -> Result<Json<UnmatchedPageView>, Problem> {
    caller.must_see_all()?;
    let Ok(Query(asked)) = Query::<Asked>::try_from_uri(&uri) else {
        return Err(trouble::invalid_at("", "the parameters are cursor and limit, each once"));
    };
    let limit = query::limit(asked.limit).map_err(|wrong| trouble::invalid_at("/limit", wrong))?;
    let cursor = asked.cursor.filter(|cursor| !cursor.is_empty());
    let log = &door.state.unmatched;
    let page = log.list(cursor.as_deref(), limit).await?;
    let count = log.count().await?;
    let items = page.items.into_iter().map(UnmatchedView::from).collect();
    Ok(Json(UnmatchedPageView { count, items, next_cursor: page.next_cursor }))
}
