//! What a provider took and was not heard of, as the watchdog found it.

use axum::Extension;
use axum::extract::{Query, State};
use axum::http::Uri;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::answer::Json;
use super::guard::Caller;
use super::{Shared, trouble};
use crate::clock::Timestamp;
use crate::message_log::Lacks;
use crate::server::problem::Problem;
use crate::unconfirmed::{self, Finding, PAGE, Stand};

/// Findings of a page, unless somebody says otherwise.
const DEFAULT_LIMIT: usize = 100;

/// How many were not heard of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UnconfirmedCounts {
    /// Sent, and within `watchdog.processed_within` nothing was heard of some recipient.
    pub processed: u64,
    /// Sent, and within `watchdog.end_within` no end was heard of some recipient.
    pub end: u64,
    /// There are at least so many: no more findings are kept, and the watchdog stands still until there are fewer.
    pub at_least: bool,
    /// When the watchdog last looked; null: never.
    #[schema(value_type = Option<String>, format = DateTime, required = true)]
    pub looked_at: Option<Timestamp>,
    /// Providers that never told of any event, and whose webhook is not configured: what they took is not watched.
    pub without_events: Vec<String>,
}

impl From<&Stand> for UnconfirmedCounts {
    fn from(stand: &Stand) -> Self {
        Self {
            processed: stand.count(Lacks::Processed),
            end: stand.count(Lacks::End),
            at_least: stand.is_full,
            looked_at: stand.looked_at,
            without_events: stand.without_events.clone(),
        }
    }
}

/// What was not heard of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = Unconfirmed)]
pub struct UnconfirmedView {
    /// What was sent first stands first.
    pub items: Vec<Finding>,
    /// Give it as `cursor` to get the next page; null on the last.
    #[schema(required = true)]
    pub next_cursor: Option<String>,
    /// Of all tenants.
    #[serde(flatten)]
    pub counts: UnconfirmedCounts,
}

/// Which.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(super) struct Which {
    /// Whose. Other tenants' need the scope admin, with which all are listed when it is left out.
    tenant: Option<String>,
    /// Only what lacks this: `processed` or `end`.
    #[param(inline)]
    lacks: Option<Lacks>,
    /// How many, 1 to 1000; 100 when left out.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
    /// A former page's `next_cursor`.
    cursor: Option<String>,
}

/// List what a provider took and was not heard of
///
/// The provider's 2xx is known, and its events are not: nothing at all within 15 minutes, or no end (delivered, refused,
/// dropped) within 72 hours, both configurable. What is heard of later leaves the list by itself; after 30 days it leaves
/// it in any case.
#[utoipa::path(
    get, path = "/v1/unconfirmed", operation_id = "unconfirmed", tag = "operations",
    params(Which),
    responses(
        (status = 200, description = "A page of findings", body = UnconfirmedView),
        (status = 422, description = "A parameter is not valid or not known", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn unconfirmed(
    State(door): State<Shared>,
    Extension(caller): Extension<Caller>,
    uri: Uri,
) -> Result<Json<UnconfirmedView>, Problem> {
    let Ok(Query(Which { tenant, lacks, limit, cursor })) = Query::try_from_uri(&uri) else {
        let detail = "the parameters are tenant, lacks (processed or end), limit and cursor";
        return Err(trouble::invalid_at("", detail));
    };
    let limit = limit.unwrap_or(DEFAULT_LIMIT);
    if !(1..=PAGE).contains(&limit) {
        return Err(trouble::invalid_at("/limit", "must be a whole number from 1 to 1000"));
    }
    let tenant = caller.tenant(tenant)?;
    let journal = &*door.state.journal;
    let failed = |error| trouble::journal(&error);
    let stand = unconfirmed::stand(journal).await.map_err(failed)?;
    let mut view = UnconfirmedView { items: Vec::new(), next_cursor: None, counts: (&stand).into() };
    let mut after = cursor;
    // Bounded: there are ten pages at the most.
    'pages: loop {
        let found = unconfirmed::list(journal, after.as_deref(), PAGE).await.map_err(failed)?;
        let is_last = found.len() < PAGE;
        for finding in found {
            after = Some(finding.key());
            let is_theirs = tenant.as_ref().is_none_or(|tenant| *tenant == finding.tenant);
            if !is_theirs || lacks.is_some_and(|lacks| lacks != finding.lacks) {
                continue;
            }
            if view.items.len() == limit {
                view.next_cursor = view.items.last().map(Finding::key);
                break 'pages;
            }
            view.items.push(finding);
        }
        if is_last {
            break;
        }
    }
    Ok(Json(view))
}
