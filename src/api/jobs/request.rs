//! What is asked of a job, and what of it is not right.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::super::act::check_reason;
use super::super::auth::Scope as KeyScope;
use super::super::guard::Caller;
use super::super::query::Criteria;
use super::super::trouble::{self, check, fault};
use crate::clock::Timestamp;
use crate::jobs::{Action, MAX_IDS, New, Pace, Selection};
use crate::notification::NotificationId;
use crate::notification::content::Fault;
use crate::notification::status::Status;
use crate::server::problem::Problem;
use crate::stops::Scope;

/// The fastest pace that can be asked for.
const MAX_PER_SECOND: u32 = 100_000;
/// The largest canary.
const MAX_CANARY: u32 = 1000;

/// An act on everything that matches.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "action": "redrive",
    "filter": {"tenant": "default", "reason": "refused_400", "since": "2h"},
    "pace": {"per_second": 50, "canary": 10, "stop_above_percent": 20},
    "dry_run": true
}))]
pub struct JobRequest {
    /// What to do.
    pub action: Action,
    /// To which. Of those, `redrive` looks at failed ones (with `late` at expired ones too), `release` at held ones,
    /// `hold` at open ones, `cancel` at all that are not sent, cancelled or suppressed.
    #[serde(default)]
    pub filter: JobFilter,
    /// To everything; then the filter is empty. A hold, a release or a cancellation with an empty filter needs it.
    #[serde(default)]
    pub all: bool,
    /// Why, in the operator's words; kept with each notification and with the job.
    #[serde(default)]
    #[schema(max_length = 200)]
    pub reason: Option<String>,
    /// How to go about it.
    #[serde(default)]
    pub pace: Pace,
    /// Only count, and show a few.
    #[serde(default)]
    pub dry_run: bool,
}

/// Which notifications. Every given field must match.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct JobFilter {
    /// These, 1 to 1000; absent: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<String>>, max_items = 1000, min_items = 1)]
    pub ids: Option<Vec<NotificationId>>,
    /// Any of these; empty: all that the act concerns.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub status: Vec<Status>,
    /// Whose.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// The broadcast.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch: Option<String>,
    /// The provider of the latest attempt. In a hold or release it stands alone and means the provider itself: nothing
    /// is handed to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// A recipient's address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recipient: Option<String>,
    /// The reason, to the letter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Recorded at or after: RFC 3339, or a span back from now such as `2h`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// Recorded before: RFC 3339, or a span back from now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
}

impl JobRequest {
    /// The job that is asked for, not counted yet; or everything that is wrong with it.
    pub(super) fn lower(self, caller: &Caller, sees_outcomes: bool, now: Timestamp) -> Result<New, Problem> {
        let mut faults = Vec::new();
        check_reason(self.reason.as_deref(), &mut faults);
        check_pace(self.action, &self.pace, sees_outcomes, &mut faults);
        self.check_filter(&mut faults);
        let Self { action, filter, all, reason, pace, .. } = self;
        let is_of_provider = filter.provider.is_some() && matches!(action, Action::Hold | Action::Release);
        let ids = filter.ids.clone().unwrap_or_default();
        let mut selection = filter.lower(ids, now, &mut faults);
        if !faults.is_empty() {
            return Err(trouble::invalid(faults));
        }
        let is_admin = caller.0.allows(KeyScope::Admin);
        for (is_asked, pointer) in [(all, "/all"), (is_of_provider, "/filter/provider")] {
            if is_asked && !is_admin {
                return Err(trouble::foreign_tenant(pointer));
            }
        }
        selection.tenant = match selection.tenant {
            Some(tenant) if !caller.0.may_act_for(&tenant) => {
                return Err(trouble::foreign_tenant("/filter/tenant"));
            }
            tenant => caller.tenant(tenant)?,
        };
        let scope = scope(action, all, &selection);
        let who = caller.0.id.clone();
        Ok(New { action, selection, scope, pace, who, why: reason, planned: 0 })
    }

    fn check_filter(&self, faults: &mut Vec<Fault>) {
        let Self { action, filter, all, .. } = self;
        let is_empty = *filter == JobFilter::default();
        check(!all || is_empty, "/all", "stands alone: everything leaves nothing to filter", faults);
        // A redrive looks only at what failed; these would meet the whole house.
        let is_bounded = *all || !is_empty || *action == Action::Redrive;
        check(is_bounded, "/filter", "must name at least one thing; everything is `\"all\": true`", faults);
        if let Some(ids) = &filter.ids {
            check((1..=MAX_IDS).contains(&ids.len()), "/filter/ids", "must be 1 to 1000", faults);
        }
        if filter.provider.is_some() {
            let alone = JobFilter { provider: filter.provider.clone(), ..JobFilter::default() };
            match action {
                Action::Redrive => {}
                Action::Hold | Action::Release => check(
                    *filter == alone,
                    "/filter/provider",
                    "stands alone in a hold or release: it means the provider itself",
                    faults,
                ),
                Action::Cancel => faults.push(fault(
                    "/filter/provider",
                    "cannot be cancelled; hold the provider, or cancel by tenant or batch",
                )),
            }
        }
    }
}

fn check_pace(action: Action, pace: &Pace, sees_outcomes: bool, faults: &mut Vec<Fault>) {
    let within = |value: Option<u32>, low, high| value.is_none_or(|value| (low..=high).contains(&value));
    check(within(pace.per_second, 1, MAX_PER_SECOND), "/pace/per_second", "must be from 1 to 100000", faults);
    check(within(pace.canary, 1, MAX_CANARY), "/pace/canary", "must be from 1 to 1000", faults);
    check(
        within(pace.stop_above_percent, 0, 100),
        "/pace/stop_above_percent",
        "must be from 0 to 100",
        faults,
    );
    let of_redrive = [
        (pace.canary.is_some(), "/pace/canary"),
        (pace.stop_above_percent.is_some(), "/pace/stop_above_percent"),
    ];
    for (is_given, pointer) in of_redrive.into_iter().filter(|(is_given, _)| *is_given) {
        check(!is_given || action == Action::Redrive, pointer, "is for a redrive only", faults);
        check(
            sees_outcomes,
            pointer,
            "needs a running server: without one nothing is sent, and nobody learns what becomes of it",
            faults,
        );
    }
    check(!pace.late || action == Action::Redrive, "/pace/late", "is for a redrive only", faults);
    let is_at_once = matches!(action, Action::Hold | Action::Cancel);
    check(
        pace.per_second.is_none() || !is_at_once,
        "/pace/per_second",
        "is for what sets notifications on their way: a redrive or a release",
        faults,
    );
}

impl JobFilter {
    fn lower(self, ids: Vec<NotificationId>, now: Timestamp, faults: &mut Vec<Fault>) -> Selection {
        let criteria = Criteria {
            statuses: self.status,
            tenant: self.tenant,
            batch: self.batch,
            recipient: self.recipient,
            provider: self.provider,
            reason: self.reason,
            since: self.since,
            until: self.until,
        };
        let filter = criteria.lower("/filter", now, faults).filter;
        let mut named: Vec<NotificationId> = Vec::with_capacity(ids.len());
        let mut seen = std::collections::HashSet::new();
        named.extend(ids.into_iter().filter(|id| seen.insert(*id)));
        Selection {
            ids: named,
            statuses: filter.statuses,
            tenant: filter.tenant,
            batch: filter.batch,
            provider: filter.provider,
            recipient: filter.recipient,
            reason: filter.reason,
            since: filter.since,
            until: filter.until,
        }
    }
}

/// The standing stop that comes or goes with this act, so that it also meets what arrives, retries or is redriven
/// later. A selection by what changes or by a time cannot stand; what is there now is all that it means.
fn scope(action: Action, all: bool, selection: &Selection) -> Option<Scope> {
    if action == Action::Redrive {
        return None;
    }
    let Selection { ids, tenant, batch, provider, .. } = selection.clone();
    let standing = Selection {
        ids: ids.clone(),
        tenant: tenant.clone(),
        batch: batch.clone(),
        provider: provider.clone(),
        ..Selection::default()
    };
    let scope = Scope { all, ids, tenant, batch, provider };
    (standing == *selection && !scope.is_empty()).then_some(scope)
}
