//! What an incident did: reads the records that it may concern, folds them, and answers with the report.

use std::collections::HashSet;
use std::time::Duration;

use axum::Extension;
use axum::extract::{Query, State};
use axum::http::Uri;
use utoipa::IntoParams;

use super::answer::Json;
use super::auth::Scope;
use super::guard::Caller;
use super::query::moment;
use super::{Door, Shared, trouble};
use crate::clock::Timestamp;
use crate::incident::{self, Incident, Report};
use crate::message_log::{Filter, LogError, Order};
use crate::notification::content::Fault;
use crate::notification::status::Status;
use crate::server::problem::Problem;

/// The most records that are looked at: some 20 s on the embedded backend, some 600,000 read units on DynamoDB.
pub const MOST_RECORDS: u64 = 200_000;

/// The most affected ones that are told one by one.
pub const MOST_ITEMS: usize = 50_000;

const DEFAULT_ITEMS: usize = 100;

/// How long one may take to read. What was read until then is told.
const PATIENCE: Duration = Duration::from_secs(60);

/// Reports made at once: each holds up to 50,000 rows in memory, others wait.
pub(super) const AT_ONCE: usize = 2;

/// Records of a page.
const PAGE: usize = 1000;

/// The parameters, as given. An empty value counts as not given.
#[derive(Clone, Debug, Default, PartialEq, Eq, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct IncidentQuestion {
    /// From when on: RFC 3339, or a span back from now such as `2h`.
    #[param(required = true)]
    pub since: Option<String>,
    /// Accepted before, in the same forms.
    pub until: Option<String>,
    /// Whose. Other tenants' need the scope admin.
    pub tenant: Option<String>,
    /// How many affected ones to tell one by one, 0 to 50,000; 100 when not given.
    #[param(minimum = 0, maximum = 50_000, default = 100)]
    pub limit: Option<usize>,
}

/// See what an incident did
///
/// Everything accepted in that time, and what was accepted before and was open or failed in it: who is affected, how
/// long it took, what the providers answered, and what to do next. Recipients' addresses are masked for a key without
/// the scope `read`.
#[utoipa::path(
    get, path = "/v1/incident", operation_id = "incident", tag = "operations",
    params(IncidentQuestion),
    responses(
        (status = 200, description = "What it did", body = Report),
        (status = 422, description = "A parameter is not valid or not known", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn incident(
    State(door): State<Shared>,
    Extension(caller): Extension<Caller>,
    uri: Uri,
) -> Result<Json<Report>, Problem> {
    let now = door.state.clock.now();
    let asked = parse(&uri)?;
    let mut question = question(&asked, now)?;
    question.late_after = door.state.config.late_after;
    question.tenant = caller.tenant(asked.tenant)?;
    question.in_full = caller.0.allows(Scope::Read);
    // Never closed.
    let _turn = door.incidents.acquire().await;
    let report = read(&door, question, now).await?;
    Ok(Json(report))
}

fn parse(uri: &Uri) -> Result<IncidentQuestion, Problem> {
    let Ok(Query(pairs)) = Query::<Vec<(String, String)>>::try_from_uri(uri) else {
        return Err(trouble::invalid_at("", "the query cannot be read"));
    };
    let mut asked = IncidentQuestion::default();
    let mut faults = Vec::new();
    for (name, value) in pairs.into_iter().filter(|(_, value)| !value.is_empty()) {
        let place = match name.as_str() {
            "since" => &mut asked.since,
            "until" => &mut asked.until,
            "tenant" => &mut asked.tenant,
            "limit" => {
                asked.limit = value.parse().ok().filter(|limit| *limit <= MOST_ITEMS);
                let detail = "must be a whole number from 0 to 50000";
                trouble::check(asked.limit.is_some(), "/limit", detail, &mut faults);
                continue;
            }
            _ => {
                faults.push(Fault {
                    pointer: String::new(),
                    detail: "only since, until, tenant and limit".into(),
                });
                continue;
            }
        };
        *place = Some(value);
    }
    trouble::check(asked.since.is_some(), "/since", "is required", &mut faults);
    if faults.is_empty() { Ok(asked) } else { Err(trouble::invalid(faults)) }
}

fn question(asked: &IncidentQuestion, now: Timestamp) -> Result<incident::Question, Problem> {
    let mut faults = Vec::new();
    let mut time = |pointer: &str, text: &Option<String>| {
        let at = text.as_ref().and_then(|text| moment(text, now));
        let detail = "is neither an RFC 3339 time nor a span such as 2h";
        trouble::check(text.is_none() || at.is_some(), pointer, detail, &mut faults);
        at
    };
    let (since, until) = (time("/since", &asked.since).unwrap_or(now), time("/until", &asked.until));
    trouble::check(until.is_none_or(|until| until > since), "/until", "must be after since", &mut faults);
    if !faults.is_empty() {
        return Err(trouble::invalid(faults));
    }
    Ok(incident::Question {
        since,
        until,
        tenant: None,
        late_after: Duration::ZERO,
        limit: asked.limit.unwrap_or(DEFAULT_ITEMS),
        in_full: false,
    })
}

/// What is looked for, in the order in which it is: what is not sent first, since there something can still be done.
fn passes(question: &incident::Question) -> [Filter; 4] {
    let statuses = |wanted: fn(Status) -> bool| Status::ALL.into_iter().filter(|s| wanted(*s)).collect();
    let within = |statuses: Vec<Status>, order| Filter {
        statuses,
        tenant: question.tenant.clone(),
        since: Some(question.since),
        until: question.until,
        order,
        ..Filter::default()
    };
    let before = |statuses: Vec<Status>, order| Filter {
        since: None,
        until: Some(question.since),
        ..within(statuses, order)
    };
    [
        before(statuses(|status| !status.is_end() && status != Status::Scheduled), Order::OldestFirst),
        within(statuses(Status::is_unsent), Order::OldestFirst),
        before(vec![Status::Failed, Status::Expired], Order::NewestFirst),
        within(statuses(|status| !status.is_unsent()), Order::NewestFirst),
    ]
}

/// Reads and folds, page by page. Nothing of a page is kept but what the report tells.
async fn read(door: &Door, question: incident::Question, now: Timestamp) -> Result<Report, LogError> {
    let begun = door.state.clock.boot_time();
    let passes = passes(&question);
    let mut incident = Incident::new(question);
    // What changes its status while this reads may be met by two passes.
    let mut seen = HashSet::new();
    for filter in passes {
        let mut cursor = None;
        loop {
            let left = MOST_RECORDS.saturating_sub(incident.looked_at());
            let is_late = door.state.clock.boot_time().saturating_sub(begun) > PATIENCE;
            if left == 0 || is_late {
                return Ok(incident.finish(true, now));
            }
            let limit = usize::try_from(left).unwrap_or(PAGE).min(PAGE);
            let page = door.state.log.list(&filter, cursor.as_deref(), limit, now).await?;
            for record in page.items.iter().filter(|record| seen.insert(*record.id.as_bytes())) {
                incident.add(record, now);
            }
            cursor = page.next_cursor;
            if cursor.is_none() {
                break;
            }
        }
    }
    Ok(incident.finish(false, now))
}
