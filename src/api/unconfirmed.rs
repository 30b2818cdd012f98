//! What a provider took and was not heard of, as the watchdog found it.

use std::collections::BTreeMap;

use axum::Extension;
use axum::extract::{Query, Request, State};
use axum::http::Uri;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::answer::Json;
use super::guard::Caller;
use super::{Shared, act, body, query, trouble};
use crate::clock::Timestamp;
use crate::message_log::Lacks;
use crate::notification::NotificationId;
use crate::server::problem::Problem;
use crate::unconfirmed::{self, Dismissed, Finding, PAGE, Stand};

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
    /// 1 to 1000; 100 when not given.
    #[param(value_type = Option<usize>, minimum = 1, maximum = 1000, default = 100)]
    limit: Option<String>,
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
    let limit = query::limit(limit).map_err(|wrong| trouble::invalid_at("/limit", wrong))?;
    let tenant = caller.tenant(tenant)?;
    let journal = &*door.state.journal;
    let stand = unconfirmed::stand(journal).await?;
    let mut view = UnconfirmedView { items: Vec::new(), next_cursor: None, counts: (&stand).into() };
    let mut after = cursor;
    // Bounded: there are ten pages at the most.
    'pages: loop {
        let found = unconfirmed::list(journal, after.as_deref(), PAGE).await?;
        let is_last = found.len() < PAGE;
        for finding in found {
            after = Some(finding.key());
            let is_theirs = tenant.as_ref().is_none_or(|tenant| *tenant == finding.tenant);
            if finding.dismissed.is_some() || !is_theirs || lacks.is_some_and(|lacks| lacks != finding.lacks)
            {
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

/// What is taken off the list.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
#[schema(example = json!({"lacks": "processed", "reason": "lost at the provider, handed in again"}))]
pub(super) struct Dismissal {
    /// Only what lacks this.
    lacks: Option<Lacks>,
    /// Only this tenant's.
    tenant: Option<String>,
    /// Only this notification.
    #[schema(value_type = Option<String>, format = "uuid")]
    id: Option<NotificationId>,
    /// Why; required.
    reason: String,
    /// Count only.
    dry_run: bool,
}

/// What was taken off the list.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DismissalAnswer {
    /// How many; with `dry_run`, how many it would be.
    count: u64,
}

/// Take off the list what was dealt with
///
/// Every finding that matches each given field. It is neither listed, counted nor found again; the record stays as it is.
#[utoipa::path(
    post, path = "/v1/unconfirmed/dismiss", operation_id = "dismissUnconfirmed", tag = "operations",
    request_body(content = Dismissal, content_type = "application/json"),
    responses(
        (status = 200, description = "How many", body = DismissalAnswer),
        (status = 422, description = "A field is not valid", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn dismiss(
    State(door): State<Shared>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<Json<DismissalAnswer>, Problem> {
    let asked: Option<Dismissal> = body::read_json(&door, request).await?;
    let Dismissal { lacks, tenant, id, reason, dry_run } = asked.unwrap_or_default();
    let mut faults = Vec::new();
    trouble::check(dry_run || !reason.trim().is_empty(), "/reason", "is required", &mut faults);
    act::check_reason(Some(&reason), &mut faults);
    if !faults.is_empty() {
        return Err(trouble::invalid(faults));
    }
    let tenant = caller.tenant(tenant)?;
    let (journal, now) = (&*door.state.journal, door.state.clock.now());
    let dismissed = Dismissed { at: now, who: caller.0.id.clone(), why: reason };
    let mut by_kind = BTreeMap::<Lacks, i64>::new();
    let mut after = None;
    loop {
        let found = unconfirmed::list(journal, after.as_deref(), PAGE).await?;
        after = found.last().map(Finding::key);
        for finding in &found {
            let fits = finding.dismissed.is_none()
                && lacks.is_none_or(|lacks| lacks == finding.lacks)
                && tenant.as_ref().is_none_or(|tenant| *tenant == finding.tenant)
                && id.is_none_or(|id| id == finding.id);
            let is_done = fits && (dry_run || unconfirmed::dismiss(journal, finding, &dismissed).await?);
            if is_done {
                *by_kind.entry(finding.lacks).or_default() += 1;
            }
        }
        if found.len() < PAGE {
            break;
        }
    }
    let count = by_kind.values().sum::<i64>().unsigned_abs();
    if !dry_run && count > 0 {
        // Until the watchdog counts anew.
        let counted = unconfirmed::change(journal, |stand| {
            by_kind.iter().for_each(|(lacks, count)| stand.add(*lacks, -count));
            Some(())
        });
        counted.await?;
        tracing::info!(count, who = dismissed.who, "what was not heard of was dismissed");
    }
    Ok(Json(DismissalAnswer { count }))
}
