//! Provider events that could not be folded, for an operator to see.

pub mod deal;

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
use crate::server::problem::Problem;
use crate::tracking::aside::{self, Count, Ended, Found, is_key};

/// Events that one call concerns.
const MOST: usize = 1000;

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
    /// `true`: also those that were put back or dismissed.
    #[param(value_type = Option<bool>)]
    all: Option<String>,
}

/// One event that could not be folded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = AsideEvent)]
pub struct AsideView {
    /// Names it here.
    pub id: String,
    /// When it was set aside, the last time.
    #[schema(value_type = String, format = DateTime)]
    pub set_aside_at: Timestamp,
    /// When it came.
    #[schema(value_type = String, format = DateTime)]
    pub received_at: Timestamp,
    /// Why it was set aside.
    pub why: String,
    /// How often.
    pub times: u32,
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
    pub notification: Option<String>,
    /// The provider's id of the message.
    #[schema(required = true)]
    pub provider_message_id: Option<String>,
    /// The provider's id of the event.
    #[schema(required = true)]
    pub event_id: Option<String>,
    /// The provider's words.
    #[schema(value_type = Object)]
    pub detail: Map<String, Value>,
    /// Set once somebody dealt with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended: Option<Ended>,
}

/// A page of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = AsideEvents)]
pub struct AsidePageView {
    /// How many nobody has dealt with.
    #[serde(flatten)]
    pub counted: Count,
    /// In the order of their ids.
    pub items: Vec<AsideView>,
    /// Null on the last page.
    #[schema(required = true)]
    pub next_cursor: Option<String>,
}

impl From<Found> for AsideView {
    fn from(Found { key, aside, .. }: Found) -> Self {
        let event = aside.event;
        Self {
            id: key,
            set_aside_at: aside.at,
            received_at: aside.received_at,
            why: aside.why,
            times: aside.times,
            provider: event.provider,
            kind: event.kind.as_str().to_owned(),
            at: event.at,
            recipient: event.recipient.map(|address| address.reveal().to_owned()),
            notification: event.id.map(|id| id.to_string()),
            provider_message_id: event.provider_message_id,
            event_id: event.event_id,
            detail: event.detail,
            ended: aside.ended,
        }
    }
}

fn cursor_of(cursor: Option<String>) -> Result<Option<String>, Problem> {
    let cursor = cursor.filter(|cursor| !cursor.is_empty());
    match cursor {
        Some(cursor) if !is_key(&cursor) => {
            Err(trouble::invalid_at("/cursor", "is not a cursor that this server gave out"))
        }
        cursor => Ok(cursor),
    }
}

/// List the events that could not be folded
///
/// Each is kept for 90 days with the reason; its neighbours were folded. They belong to no tenant, so the key needs the
/// scope `admin` as well.
#[utoipa::path(
    get, path = "/v1/events/aside", operation_id = "asideEvents", tag = "operations",
    params(Asked),
    responses(
        (status = 200, description = "A page", body = AsidePageView),
        (status = 422, description = "A parameter is not valid or not known", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn aside(
    State(door): State<Shared>,
    Extension(caller): Extension<Caller>,
    uri: Uri,
) -> Result<Json<AsidePageView>, Problem> {
    caller.must_see_all()?;
    let Ok(Query(Asked { cursor, limit, all })) = Query::<Asked>::try_from_uri(&uri) else {
        return Err(trouble::invalid_at("", "the parameters are cursor, limit and all, each once"));
    };
    let limit = query::limit(limit).map_err(|wrong| trouble::invalid_at("/limit", wrong))?;
    let all = match all.as_deref() {
        None | Some("" | "false") => false,
        Some("true") => true,
        Some(_) => return Err(trouble::invalid_at("/all", "must be true or false")),
    };
    let (journal, cursor) = (&*door.state.journal, cursor_of(cursor)?);
    let page = aside::list(journal, cursor.as_deref(), limit, all).await?;
    let counted = aside::count(journal).await?;
    let items = page.items.into_iter().map(AsideView::from).collect();
    Ok(Json(AsidePageView { counted, items, next_cursor: page.next }))
}
