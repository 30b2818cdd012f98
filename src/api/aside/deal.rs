//! What an operator does about events that could not be folded: put them back, or dismiss them.

use axum::Extension;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use futures::future::join_all;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{MOST, cursor_of};
use crate::api::answer::Json;
use crate::api::guard::Caller;
use crate::api::{Door, Shared, act, body, trouble};
use crate::clock::Timestamp;
use crate::inbox::{Inbox, pack};
use crate::server::problem::Problem;
use crate::tracking::aside::{self, End, Ended, Found, is_key};

/// Events that are put back with one write.
const TOGETHER: usize = 100;
/// Documents that are read or changed at once.
const AT_ONCE: usize = 8;

/// Which ones, and why.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
#[schema(as = AsideChoice, example = json!({"all": true, "until": "2026-11-22T09:00:00Z", "dry_run": true}))]
pub(in crate::api) struct Choice {
    /// These, up to 1000. Either `ids` or `all`.
    #[schema(max_items = 1000)]
    ids: Vec<String>,
    /// Every one that nobody has dealt with, a thousand a call.
    all: bool,
    /// Of all, those that were set aside by then: what came after a preview is left alone.
    #[schema(value_type = Option<String>, format = DateTime)]
    until: Option<Timestamp>,
    /// Of all, those behind a former answer's `next_cursor`.
    cursor: Option<String>,
    /// Why, at most 200 characters; to dismiss it is required.
    #[schema(max_length = 200)]
    reason: Option<String>,
    /// Count only.
    dry_run: bool,
}

/// What was done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = AsideAnswer)]
pub struct AsideAnswer {
    /// How many; with `dry_run`, how many it would be.
    pub count: u64,
    /// Of `ids`: those that are not there, or were dealt with before.
    pub missing: Vec<String>,
    /// When the call began. Given as `until` to the next, this is what that concerns at the most.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// Where to go on with `all`; null when there are no more.
    #[schema(required = true)]
    pub next_cursor: Option<String>,
}

/// Put events back that could not be folded
///
/// They are folded again like any that come in, each by itself; what was folded already is known for a repeat. What cannot
/// be folded yet is set aside again. Up to a thousand a call.
#[utoipa::path(
    post, path = "/v1/events/aside/retry", operation_id = "retryAsideEvents", tag = "operations",
    request_body(content = Choice, content_type = "application/json"),
    responses(
        (status = 200, description = "How many", body = AsideAnswer),
        (status = 422, description = "A field is not valid", body = Problem, content_type = "application/problem+json"),
        (status = 501, description = "No queue for provider events is configured here", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(in crate::api) async fn retry(
    State(door): State<Shared>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<Json<AsideAnswer>, Problem> {
    deal(End::PutBack, &door, &caller, request).await
}

/// Dismiss events that could not be folded
///
/// Nothing follows from them: they are listed and counted no more, and do not come back when the provider tells the very
/// same again. Up to a thousand a call.
#[utoipa::path(
    post, path = "/v1/events/aside/dismiss", operation_id = "dismissAsideEvents", tag = "operations",
    request_body(content = Choice, content_type = "application/json"),
    responses(
        (status = 200, description = "How many", body = AsideAnswer),
        (status = 422, description = "A field is not valid", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(in crate::api) async fn dismiss(
    State(door): State<Shared>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<Json<AsideAnswer>, Problem> {
    deal(End::Dismissed, &door, &caller, request).await
}

async fn deal(
    how: End,
    door: &Door,
    caller: &Caller,
    request: Request,
) -> Result<Json<AsideAnswer>, Problem> {
    caller.must_see_all()?;
    let asked: Option<Choice> = body::read_json(door, request).await?;
    let choice = asked.unwrap_or_default();
    choice.check(how)?;
    let at = door.state.clock.now();
    let (found, missing, next_cursor) = choose(door, &choice, at).await?;
    let mut count = found.len() as u64;
    if !choice.dry_run {
        let ended = Ended { how, at, who: caller.0.id.clone(), why: choice.reason };
        count = match how {
            End::PutBack => put_back(door, &found, &ended).await?,
            End::Dismissed => end(door, &found, &ended).await?,
        };
        let (who, how) = (&ended.who, if how == End::PutBack { "put back" } else { "dismissed" });
        tracing::info!(count, who, how, "events that were set aside were dealt with");
    }
    Ok(Json(AsideAnswer { count, missing, at, next_cursor }))
}

impl Choice {
    fn check(&self, how: End) -> Result<(), Problem> {
        let mut faults = Vec::new();
        let is_one_way = self.all == self.ids.is_empty();
        trouble::check(is_one_way, "", "must have either ids or all", &mut faults);
        trouble::check(self.ids.len() <= MOST, "/ids", "must be at most 1000", &mut faults);
        let is_of_all = self.all || (self.until.is_none() && self.cursor.is_none());
        trouble::check(is_of_all, "", "until and cursor go with all alone", &mut faults);
        for (number, _) in self.ids.iter().enumerate().filter(|(_, id)| !is_key(id)).take(10) {
            trouble::check(false, &format!("/ids/{number}"), "must be 32 hexadecimal digits", &mut faults);
        }
        let has_reason = self.reason.as_ref().is_some_and(|reason| !reason.trim().is_empty());
        let is_told = self.dry_run || how == End::PutBack || has_reason;
        trouble::check(is_told, "/reason", "is required", &mut faults);
        act::check_reason(self.reason.as_deref(), &mut faults);
        if faults.is_empty() { Ok(()) } else { Err(trouble::invalid(faults)) }
    }
}

/// What the choice concerns now, which ids are not among it, and where to go on.
async fn choose(
    door: &Door,
    choice: &Choice,
    now: Timestamp,
) -> Result<(Vec<Found>, Vec<String>, Option<String>), Problem> {
    let journal = &*door.state.journal;
    if choice.all {
        let cursor = cursor_of(choice.cursor.clone())?;
        let page = aside::list(journal, cursor.as_deref(), MOST, false).await;
        let mut page = page?;
        let until = choice.until.unwrap_or(now);
        page.items.retain(|found| found.aside.at <= until);
        return Ok((page.items, Vec::new(), page.next));
    }
    let mut ids = choice.ids.clone();
    ids.sort_unstable();
    ids.dedup();
    let (mut found, mut missing) = (Vec::new(), Vec::new());
    for some in ids.chunks(AT_ONCE) {
        let read = join_all(some.iter().map(|id| aside::get(journal, id))).await;
        for (id, one) in some.iter().zip(read) {
            match one?.filter(|one| one.aside.ended.is_none()) {
                Some(one) => found.push(one),
                None => missing.push(id.clone()),
            }
        }
    }
    Ok((found, missing, None))
}

/// Appends them to the inbox, and takes them off the list after that: a crash in between leaves them in both, and what is
/// folded twice is a repeat.
async fn put_back(door: &Door, found: &[Found], ended: &Ended) -> Result<u64, Problem> {
    let inbox = inbox_of(door)?;
    let mut count = 0;
    for some in found.chunks(TOGETHER) {
        // Each in a parcel of its own, which may be one that ends its folder; and as old as it is, since an unknown
        // outcome waits for what came in time.
        let pack_one = |one: &Found| pack(std::slice::from_ref(&one.aside.event), one.aside.received_at);
        let appended = inbox.append(some.iter().flat_map(pack_one).collect()).await;
        appended.map_err(|error| trouble::inbox(&error))?;
        end(door, some, ended).await?;
        count += some.len() as u64;
    }
    Ok(count)
}

fn inbox_of(door: &Door) -> Result<&dyn Inbox, Problem> {
    door.state.inbox.as_deref().ok_or_else(|| {
        let detail = "there is no queue for provider events here: set KAKITOME_SQS_EVENTS_URL";
        Problem::new(StatusCode::NOT_IMPLEMENTED).with_detail(detail)
    })
}

/// How many were taken off the list: what somebody else changed meanwhile is as he left it.
async fn end(door: &Door, found: &[Found], ended: &Ended) -> Result<u64, Problem> {
    let journal = &*door.state.journal;
    let mut count = 0;
    for some in found.chunks(AT_ONCE) {
        for is_ended in join_all(some.iter().map(|one| aside::end(journal, one, ended))).await {
            count += u64::from(is_ended?);
        }
    }
    Ok(count)
}
