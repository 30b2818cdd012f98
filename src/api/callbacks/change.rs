//! What is done to a callback that is there.

use axum::Extension;
use axum::extract::{Request, State};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use utoipa::ToSchema;

use super::{CallbackView, From, Id, Made, courier_of, find, secret_of, start, written};
use crate::api::answer::Json;
use crate::api::guard::Caller;
use crate::api::{Shared, body, query, trouble};
use crate::feed::FeedError;
use crate::feed::callback::{self, CallbackState};
use crate::feed::courier::{self, Message};
use crate::server::problem::Problem;

/// For how long the former secrets sign on when nobody says.
const KEEP_OLD: Duration = Duration::from_secs(24 * 3600);
/// And at the longest.
const KEEP_OLD_MOST: Duration = Duration::from_secs(30 * 24 * 3600);

/// Pause a callback
///
/// Nothing is posted until it is resumed; it then goes on where it ended, as far as changes are kept.
#[utoipa::path(
    post, path = "/v1/callbacks/{id}/pause", operation_id = "pauseCallback", tag = "events",
    params(("id" = String, Path, description = "The callback's id")),
    responses(
        (status = 200, description = "Paused", body = CallbackView),
        (status = 404, description = "No such callback, or another tenant's", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(in crate::api) async fn pause(
    State(door): State<Shared>,
    Extension(caller): Extension<Caller>,
    id: Id,
) -> Result<Json<CallbackView>, Problem> {
    let (callback, now) = (find(&door, &caller, id).await?, door.state.clock.now());
    let note = format!("paused by {}", caller.0.id);
    let paused = callback::change(&*door.state.journal, &callback.id, |callback| {
        callback.stand(CallbackState::Paused, Some(note.clone()), now);
        (true, callback.clone())
    });
    let paused = written(paused.await)?;
    Ok(Json(door.callback_view(paused).await))
}

/// How a callback goes on.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ResumeCallback)]
pub(in crate::api) struct Resume {
    /// Where it goes on; where it ended when left out.
    #[serde(default)]
    from: Option<From>,
}

/// A callback that goes on.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = ResumedCallback)]
pub struct Resumed {
    /// The callback.
    pub callback: CallbackView,
    /// How many changes it will not be told, having been sent on to `now`.
    pub skipped: u64,
}

/// Resume a callback
#[utoipa::path(
    post, path = "/v1/callbacks/{id}/resume", operation_id = "resumeCallback", tag = "events",
    params(("id" = String, Path, description = "The callback's id")),
    request_body(content = Option<Resume>, content_type = "application/json"),
    responses(
        (status = 200, description = "It goes on", body = Resumed),
        (status = 404, description = "No such callback, or another tenant's", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "Some of what it has not taken is gone: say from where it shall go on", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(in crate::api) async fn resume(
    State(door): State<Shared>,
    Extension(caller): Extension<Caller>,
    id: Id,
    request: Request,
) -> Result<Json<Resumed>, Problem> {
    let Resume { from } = body::read_json(&door, request).await?.unwrap_or_default();
    let (callback, now) = (find(&door, &caller, id).await?, door.state.clock.now());
    let feed = &door.state.telling.feed;
    let cursor = match from {
        Some(from) => Some(start(&door, &callback.tenant, from).await?),
        None => match feed.read(&callback.tenant, Some(&callback.cursor), 1).await {
            Err(FeedError::Expired { since }) => {
                return Err(trouble::forbidden_now(format!(
                    "some of what it has not taken is gone: changes are kept from {since} on; go on from oldest or now"
                )));
            }
            _ => None,
        },
    };
    let skipped = match from {
        Some(From::Now) => feed.count(&callback.tenant, &callback.cursor).await.unwrap_or(0),
        _ => 0,
    };
    let resumed = callback::change(&*door.state.journal, &callback.id, |callback| {
        callback.resume(cursor.clone(), now);
        (true, callback.clone())
    });
    let resumed = written(resumed.await)?;
    tracing::info!(
        callback = resumed.id,
        tenant = resumed.tenant,
        skipped,
        who = caller.0.id,
        "a callback was resumed"
    );
    Ok(Json(Resumed { callback: door.callback_view(resumed).await, skipped }))
}

/// A new secret.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = RotateCallback)]
pub(in crate::api) struct Rotate {
    /// What signs from now on; left out, one is made, and shown in this answer alone.
    #[serde(default)]
    secret: Option<String>,
    /// For how long the former ones sign as well, such as `24h` (when left out) or `0s`; at most 30 days.
    #[serde(default)]
    keep_old: Option<String>,
}

/// Replace a callback's secret
#[utoipa::path(
    post, path = "/v1/callbacks/{id}/rotate", operation_id = "rotateCallback", tag = "events",
    params(("id" = String, Path, description = "The callback's id")),
    request_body(content = Option<Rotate>, content_type = "application/json"),
    responses(
        (status = 200, description = "Replaced", body = Made),
        (status = 404, description = "No such callback, or another tenant's", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "A field is not valid", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(in crate::api) async fn rotate(
    State(door): State<Shared>,
    Extension(caller): Extension<Caller>,
    id: Id,
    request: Request,
) -> Result<Json<Made>, Problem> {
    let Rotate { secret, keep_old } = body::read_json(&door, request).await?.unwrap_or_default();
    let keep = match keep_old {
        Some(text) => query::span(&text).filter(|keep| *keep <= KEEP_OLD_MOST).ok_or_else(|| {
            trouble::invalid_at("/keep_old", "must be a span of at most 30d, such as 24h or 0s")
        })?,
        None => KEEP_OLD,
    };
    let (callback, now) = (find(&door, &caller, id).await?, door.state.clock.now());
    let (secret, made) = secret_of(secret)?;
    let rotated = callback::change(&*door.state.journal, &callback.id, |callback| {
        callback.rotate(secret.clone(), keep, now);
        (true, callback.clone())
    });
    let rotated = written(rotated.await)?;
    tracing::info!(
        callback = rotated.id,
        tenant = rotated.tenant,
        who = caller.0.id,
        "a callback has a new secret"
    );
    Ok(Json(Made { callback: door.callback_view(rotated).await, secret: made }))
}

/// What came of a trial.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = CallbackTrial)]
pub struct Trial {
    /// Whether it was answered with 2xx.
    pub ok: bool,
    /// What went wrong; null when nothing did.
    #[schema(required = true)]
    pub error: Option<String>,
}

/// Post a trial message to a callback, once
#[utoipa::path(
    post, path = "/v1/callbacks/{id}/test", operation_id = "testCallback", tag = "events",
    params(("id" = String, Path, description = "The callback's id")),
    responses(
        (status = 200, description = "What came of it", body = Trial),
        (status = 404, description = "No such callback, or another tenant's", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(in crate::api) async fn test(
    State(door): State<Shared>,
    Extension(caller): Extension<Caller>,
    id: Id,
) -> Result<Json<Trial>, Problem> {
    let (callback, now) = (find(&door, &caller, id).await?, door.state.clock.now());
    let message_id = format!("msg_{}", uuid::Uuid::now_v7().simple());
    let message = Message::sign(&callback, &message_id, courier::trial(&callback, now), now);
    let posted = courier_of(&door)?.post(&callback.url, &message).await;
    let error = posted.err().map(|error| error.to_string());
    Ok(Json(Trial { ok: error.is_none(), error }))
}
