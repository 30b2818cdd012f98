//! An operator's or producer's act on one notification: cancel, hold, release, redrive.

use axum::Extension;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::answer::Json;
use super::guard::Caller;
use super::view::RecordView;
use super::{Door, Shared, body, read, trouble};
use crate::jobs::Action;
use crate::message_log::{Applied, LogError, Record};
use crate::notification::content::Fault;
use crate::notification::status::By;
use crate::queue::{self, Message};
use crate::server::problem::Problem;

/// How long the words of a reason may be, in characters.
pub const MAX_REASON_CHARS: usize = 200;

/// Why; the whole body may be left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Reason {
    /// In the operator's words, at most 200 characters; kept with a hold or a cancellation.
    #[serde(default)]
    #[schema(max_length = 200)]
    pub reason: Option<String>,
}

/// A reason is shown in tables and logs, so it is short and has no control characters.
pub(super) fn check_reason(reason: Option<&str>, faults: &mut Vec<Fault>) {
    if reason
        .is_some_and(|text| text.chars().count() > MAX_REASON_CHARS || text.chars().any(char::is_control))
    {
        faults.push(trouble::fault("/reason", "must be at most 200 characters without control characters"));
    }
}

/// Stop a notification for good
///
/// 409 while an attempt is under way and once it is sent.
#[utoipa::path(
    post, path = "/v1/notifications/{id}/cancel", operation_id = "cancel", tag = "operations",
    params(("id" = String, Path, description = "The notification's id")),
    request_body(content = Option<Reason>, content_type = "application/json"),
    responses(
        (status = 200, description = "The record", body = RecordView),
        (status = 404, description = "No such notification, or another tenant's", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "Its state forbids it", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "The reason is not valid", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn cancel(
    State(door): State<Shared>,
    Extension(caller): Extension<Caller>,
    id: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Json<RecordView>, Problem> {
    act(Action::Cancel, &door, &caller, id, request).await
}

/// Keep a notification back
///
/// Also stops what sits in the queue or waits for a retry. 409 while an attempt is under way and at an end.
#[utoipa::path(
    post, path = "/v1/notifications/{id}/hold", operation_id = "hold", tag = "operations",
    params(("id" = String, Path, description = "The notification's id")),
    request_body(content = Option<Reason>, content_type = "application/json"),
    responses(
        (status = 200, description = "The record", body = RecordView),
        (status = 404, description = "No such notification, or another tenant's", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "Its state forbids it", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "The reason is not valid", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn hold(
    State(door): State<Shared>,
    Extension(caller): Extension<Caller>,
    id: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Json<RecordView>, Problem> {
    act(Action::Hold, &door, &caller, id, request).await
}

/// Let a held notification go on
#[utoipa::path(
    post, path = "/v1/notifications/{id}/release", operation_id = "release", tag = "operations",
    params(("id" = String, Path, description = "The notification's id")),
    request_body(content = Option<Reason>, content_type = "application/json"),
    responses(
        (status = 200, description = "The record", body = RecordView),
        (status = 404, description = "No such notification, or another tenant's", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "It is not held", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "The reason is not valid", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn release(
    State(door): State<Shared>,
    Extension(caller): Extension<Caller>,
    id: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Json<RecordView>, Problem> {
    act(Action::Release, &door, &caller, id, request).await
}

/// Send a dead letter again
#[utoipa::path(
    post, path = "/v1/notifications/{id}/redrive", operation_id = "redrive", tag = "operations",
    params(("id" = String, Path, description = "The notification's id")),
    request_body(content = Option<Reason>, content_type = "application/json"),
    responses(
        (status = 200, description = "The record", body = RecordView),
        (status = 404, description = "No such notification, or another tenant's", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "It has not failed, or is no longer useful", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "The reason is not valid", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn redrive(
    State(door): State<Shared>,
    Extension(caller): Extension<Caller>,
    id: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Json<RecordView>, Problem> {
    act(Action::Redrive, &door, &caller, id, request).await
}

async fn act(
    action: Action,
    door: &Door,
    caller: &Caller,
    id: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Json<RecordView>, Problem> {
    let mut record = read::find(door, caller, id).await?;
    let reason: Reason = body::read_json(door, request).await?.unwrap_or_default();
    let mut faults = Vec::new();
    check_reason(reason.reason.as_deref(), &mut faults);
    if !faults.is_empty() {
        return Err(trouble::invalid(faults));
    }
    let now = door.state.clock.now();
    let fact = action.fact(By::new(&caller.0.id, reason.reason.as_deref()), false);
    let applied = door.state.log.apply(&[(record.id, fact)], now).await.into_iter().next();
    match applied.unwrap_or_else(|| Err(LogError::Unavailable("it gave no answer".into()))) {
        Ok(Applied::Done { life, .. }) => record.life = *life,
        Ok(Applied::Refused(refusal)) => return Err(trouble::refused(&refusal)),
        Ok(Applied::Absent) => return Err(trouble::not_found()),
        Err(error) => return Err(trouble::log(&error)),
    }
    if action.sets_on_the_way() {
        wake(door, &[&record]).await;
    }
    Ok(Json(door.view(record, now).await))
}

/// Has the queue bring these notifications.
async fn wake(door: &Door, records: &[&Record]) {
    let state = &door.state;
    let now = state.clock.now();
    let messages: Vec<_> = records
        .iter()
        .filter_map(|record| Message::waking(record.id, &record.tenant, record.priority, &record.life, now))
        .collect();
    queue::bring(state.queue.as_ref(), &messages, state.config.queue_timeout).await;
}
