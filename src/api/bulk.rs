//! One act on many notifications, a page at a time.
//!
//! Every page is: list, apply a fact to each by compare-and-set, put what goes on its way on the queue. Killed between
//! any two of these, the same request again does the rest: what was done no longer matches, and what was not put on
//! the queue is brought by the sweeper.

use axum::Extension;
use axum::extract::{Request, State};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashSet};
use utoipa::ToSchema;

use super::act::{Action, check_reason, wake};
use super::answer::Json;
use super::guard::Caller;
use super::query::{Criteria, MAX_LIMIT, Selection};
use super::trouble::{self, check};
use super::{Door, Shared, body};
use crate::clock::Timestamp;
use crate::message_log::{Applied, Filter, LogError, Order, Page, Record};
use crate::notification::NotificationId;
use crate::notification::status::{By, Refusal, Status};
use crate::server::problem::Problem;

/// One act on everything that matches, up to `limit` at a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "action": "redrive",
    "filter": {"tenant": "default", "reason": "refused_400", "since": "2h"},
    "dry_run": true
}))]
pub struct BulkRequest {
    /// What to do.
    pub action: Action,
    /// To which. Of those, an act looks only at the ones in a status that it concerns: `redrive` at failed ones,
    /// `release` at held ones, `hold` at open ones, `cancel` at all that are not sent, cancelled or suppressed.
    #[serde(default)]
    pub filter: BulkFilter,
    /// Why, in the operator's words; kept with a hold or a cancellation.
    #[serde(default)]
    #[schema(max_length = 200)]
    pub reason: Option<String>,
    /// At most this many in this call, oldest first. Does not bound `ids`, which are all done at once.
    #[serde(default = "max_limit")]
    #[schema(minimum = 1, maximum = 1000, default = 1000)]
    pub limit: usize,
    /// Only count.
    #[serde(default)]
    pub dry_run: bool,
    /// A former answer's `next_cursor`, to go on behind those that were refused.
    #[serde(default)]
    pub cursor: Option<String>,
}

/// What is said of an id that the caller cannot see.
const ABSENT: &str = "there is no such notification";

fn max_limit() -> usize {
    MAX_LIMIT
}

/// Which notifications. Every given field must match.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BulkFilter {
    /// These, at most 1000; absent: all. An empty list names none.
    #[schema(value_type = Option<Vec<String>>, max_items = 1000)]
    pub ids: Option<Vec<NotificationId>>,
    /// Any of these; empty: all that the act concerns.
    pub status: Vec<Status>,
    /// Whose.
    pub tenant: Option<String>,
    /// The broadcast.
    pub batch: Option<String>,
    /// A recipient's address.
    pub recipient: Option<String>,
    /// The reason, to the letter.
    pub reason: Option<String>,
    /// Recorded at or after: RFC 3339, or a span back from now such as `2h`.
    pub since: Option<String>,
    /// Recorded before: RFC 3339, or a span back from now.
    pub until: Option<String>,
}

/// What a bulk act found and did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BulkAnswer {
    /// How many matched when this call began, exactly.
    pub matched: u64,
    /// The same, by status and reason, most first.
    pub by_reason: Vec<ReasonLine>,
    /// To how many it was done in this call.
    pub done: u64,
    /// To which.
    #[schema(value_type = Vec<String>)]
    pub done_ids: Vec<NotificationId>,
    /// To which it was not done in this call, and why.
    pub refused: Vec<BulkRefusal>,
    /// Give it as `cursor` to go on; null when everything that matched has been looked at.
    #[schema(required = true)]
    pub next_cursor: Option<String>,
}

/// How many are in one status for one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReasonLine {
    /// The status.
    pub status: Status,
    /// The reason, if it has one.
    #[schema(required = true)]
    pub reason: Option<String>,
    /// How many.
    pub count: u64,
}

/// One notification to which it was not done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BulkRefusal {
    /// Which.
    #[schema(value_type = String, format = "uuid")]
    pub id: NotificationId,
    /// Why not.
    pub detail: String,
}

/// Act on many notifications
///
/// Does up to `limit` and says how many matched. Ask again with `next_cursor` until it is null; or without a cursor
/// until `done` is 0. Killed midway, the same request again does the rest and nothing twice.
#[utoipa::path(
    post, path = "/v1/bulk", operation_id = "bulk", tag = "operations",
    request_body(content = BulkRequest, content_type = "application/json"),
    responses(
        (status = 200, description = "What it found and did", body = BulkAnswer),
        (status = 422, description = "The request is not valid", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn bulk(
    State(door): State<Shared>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<Json<BulkAnswer>, Problem> {
    let (parts, body) = request.into_parts();
    let asked: Option<BulkRequest> = body::read_json(&door, &parts.headers, body).await?;
    let asked = asked.ok_or_else(|| trouble::invalid_at("", "a JSON body is needed"))?;
    let now = door.state.clock.now();
    let selection = selection(&asked, &caller, now)?;
    let answer = match &asked.filter.ids {
        None => by_filter(&door, &asked, selection, now).await,
        Some(ids) => by_ids(&door, &asked, ids, &caller, &selection.filter, now).await,
    };
    answer.map(Json).map_err(|error| trouble::log(&error))
}

fn selection(asked: &BulkRequest, caller: &Caller, now: Timestamp) -> Result<Selection, Problem> {
    let mut faults = Vec::new();
    check_reason(asked.reason.as_deref(), &mut faults);
    check((1..=MAX_LIMIT).contains(&asked.limit), "/limit", "must be from 1 to 1000", &mut faults);
    let named = asked.filter.ids.as_ref().map_or(0, Vec::len);
    check(named <= MAX_LIMIT, "/filter/ids", "must be at most 1000", &mut faults);
    // Redrive and release look only at what an operator has to deal with; these two would stop the whole house.
    let stops = matches!(asked.action, Action::Hold | Action::Cancel);
    let is_bounded = !stops || asked.dry_run || asked.filter != BulkFilter::default();
    check(
        is_bounded,
        "/filter",
        "must name at least one thing: empty, it would mean everything",
        &mut faults,
    );
    let filter = asked.filter.clone();
    let criteria = Criteria {
        statuses: filter.status,
        tenant: filter.tenant,
        batch: filter.batch,
        recipient: filter.recipient,
        reason: filter.reason,
        since: filter.since,
        until: filter.until,
    };
    let mut selection = criteria.lower("/filter", now, &mut faults);
    if !faults.is_empty() {
        return Err(trouble::invalid(faults));
    }
    let tenant = selection.filter.tenant.take();
    selection.filter.tenant = match tenant {
        Some(tenant) if !caller.0.may_act_for(&tenant) => {
            return Err(trouble::foreign_tenant("/filter/tenant"));
        }
        tenant => caller.tenant(tenant)?,
    };
    selection.filter.order = Order::OldestFirst;
    if asked.filter.ids.is_none() {
        selection.narrow(|status| asked.action.concerns(status));
    }
    Ok(selection)
}

async fn by_filter(
    door: &Door,
    asked: &BulkRequest,
    selection: Selection,
    now: Timestamp,
) -> Result<BulkAnswer, LogError> {
    if selection.matches_nothing {
        return Ok(BulkAnswer::default());
    }
    let log = &door.state.log;
    let mut answer = BulkAnswer::default();
    let mut counts: BTreeMap<(Status, Option<String>), u64> = BTreeMap::new();
    for group in log.count_groups(&selection.filter, now).await? {
        *counts.entry((group.status, group.reason)).or_default() += group.count;
    }
    answer.count(counts);
    if !asked.dry_run {
        let page = log.list(&selection.filter, asked.cursor.as_deref(), asked.limit, now).await?;
        let Page { items, next_cursor } = page;
        apply(door, asked, items, now, &mut answer).await?;
        answer.next_cursor = next_cursor;
    }
    Ok(answer)
}

/// Ids are looked up one by one, and each that is not touched says why: its caller named it.
async fn by_ids(
    door: &Door,
    asked: &BulkRequest,
    ids: &[NotificationId],
    caller: &Caller,
    filter: &Filter,
    now: Timestamp,
) -> Result<BulkAnswer, LogError> {
    let mut answer = BulkAnswer::default();
    let mut counts: BTreeMap<(Status, Option<String>), u64> = BTreeMap::new();
    let mut records = Vec::new();
    let mut seen = HashSet::new();
    for id in ids.iter().copied().filter(|id| seen.insert(*id)) {
        let found = door.state.log.get(id).await?;
        let Some(record) = found.filter(|record| caller.0.may_act_for(&record.tenant)) else {
            answer.refuse(id, ABSENT);
            continue;
        };
        let status = record.life.status(now);
        if !fits(&record, filter, now) {
            answer.refuse(id, "it does not match the filter");
        } else if !asked.action.concerns(status) {
            answer.refuse(id, &Refusal::NotAllowed(status).to_string());
        } else {
            *counts.entry((status, record.life.reason.clone())).or_default() += 1;
            records.push(record);
        }
    }
    answer.count(counts);
    if !asked.dry_run {
        apply(door, asked, records, now, &mut answer).await?;
    }
    Ok(answer)
}

fn fits(record: &Record, filter: &Filter, now: Timestamp) -> bool {
    let is = |wanted: &Option<String>, actual: Option<&str>| wanted.is_none() || wanted.as_deref() == actual;
    let recipient = filter.recipient.as_ref().map(|address| address.canonical());
    (filter.statuses.is_empty() || filter.statuses.contains(&record.life.status(now)))
        && is(&filter.tenant, Some(&record.tenant))
        && is(&filter.batch, record.batch.as_deref())
        && is(&filter.reason, record.life.reason.as_deref())
        && filter.since.is_none_or(|since| record.life.accepted_at >= since)
        && filter.until.is_none_or(|until| record.life.accepted_at < until)
        && recipient.is_none_or(|wanted| record.recipients.iter().any(|one| one.email.canonical() == wanted))
}

async fn apply(
    door: &Door,
    asked: &BulkRequest,
    mut records: Vec<Record>,
    now: Timestamp,
    answer: &mut BulkAnswer,
) -> Result<(), LogError> {
    if records.is_empty() {
        return Ok(());
    }
    let fact = asked.action.fact(By::new("operator", asked.reason.as_deref()));
    let facts: Vec<_> = records.iter().map(|record| (record.id, fact.clone())).collect();
    let mut results = door.state.log.apply(&facts, now).await;
    results.resize_with(records.len(), || Err(LogError::Unavailable("it gave no answer".into())));
    let mut done: Vec<&Record> = Vec::with_capacity(records.len());
    let mut failure = None;
    for (record, result) in records.iter_mut().zip(results) {
        match result {
            Ok(Applied::Done { life, .. }) => {
                record.life = *life;
                answer.done_ids.push(record.id);
                done.push(record);
            }
            Ok(Applied::Refused(refusal)) => answer.refuse(record.id, &refusal.to_string()),
            Ok(Applied::Absent) => answer.refuse(record.id, ABSENT),
            Err(error) => failure = Some(error),
        }
    }
    answer.done = done.len() as u64;
    if asked.action.wakes() {
        wake(door, &done).await;
    }
    // What was done is done and on its way; the caller asks again for the rest.
    failure.map_or(Ok(()), Err)
}

impl BulkAnswer {
    fn count(&mut self, counts: BTreeMap<(Status, Option<String>), u64>) {
        self.matched = counts.values().sum();
        self.by_reason = counts
            .into_iter()
            .map(|((status, reason), count)| ReasonLine { status, reason, count })
            .collect();
        self.by_reason.sort_by_key(|line| std::cmp::Reverse(line.count));
    }

    fn refuse(&mut self, id: NotificationId, detail: &str) {
        self.refused.push(BulkRefusal { id, detail: detail.to_owned() });
    }
}
