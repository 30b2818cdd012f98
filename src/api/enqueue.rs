//! Handing notifications in: parsed and checked, then taken in.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::answer::Json;
use super::body::Media;
use super::guard::Caller;
use super::{Config, Door, Shared, body, trouble};
use crate::clock::Timestamp;
use crate::intake::Taken;
use crate::message_log::{Acceptance, LogError, NewNotification};
use crate::metrics::ACCEPTED_TOTAL;
use crate::notification::status::Status;
use crate::notification::{Notification, NotificationId, content};
use crate::queue;
use crate::server::problem::Problem;

/// The header that may carry the idempotency key instead of the body. Its value is taken to the letter.
const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// Above this size a body is parsed off the reactor's threads, so that other requests go on meanwhile.
const LARGE_BODY_BYTES: usize = 256 * 1024;

/// What became of one notification that was handed in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(
    as = Enqueued,
    example = json!({"id": "a910f02d-8bb1-814f-8731-10abeaa3bb1b", "status": "accepted", "duplicate": false})
)]
pub struct Enqueued {
    /// Its id.
    #[schema(value_type = String, format = "uuid")]
    pub id: NotificationId,
    /// Where it stands now.
    pub status: Status,
    /// Whether it was recorded before, with the same idempotency key and content.
    pub duplicate: bool,
}

/// Hand in one notification
///
/// Answers once it is durable. The same idempotency key and content again answers 200 with the first id, for as long
/// as the record lives.
#[utoipa::path(
    post, path = "/v1/notifications", operation_id = "enqueue", tag = "notifications",
    params(("Idempotency-Key" = Option<String>, Header, description = "Instead of the body's idempotency_key; must equal it where both are given")),
    request_body(content = Notification, content_type = "application/json"),
    responses(
        (status = 202, description = "Recorded durably; it will be sent", body = Enqueued),
        (status = 200, description = "Recorded before, with this key and this content: nothing new happens", body = Enqueued),
        (status = 409, description = "The key was used before with other content", body = Problem, content_type = "application/problem+json"),
        (status = 413, description = "The body is over the limit", body = Problem, content_type = "application/problem+json"),
        (status = 415, description = "Not application/json", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "Not a valid notification", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn enqueue(
    State(door): State<Shared>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    body::media(&parts.headers, &[Media::Json])?;
    let header_key = header_key(&parts.headers)?;
    let held = body::read(&door, body, door.state.config.limits.body_bytes).await?;
    let now = door.state.clock.now();
    let new = if held.bytes.len() > LARGE_BODY_BYTES {
        let (door, bytes) = (Arc::clone(&door), held.bytes.clone());
        off_the_reactor(move || prepare(&bytes, header_key.as_deref(), &caller, &door.state.config, now))
            .await?
    } else {
        prepare(&held.bytes, header_key.as_deref(), &caller, &door.state.config, now)?
    };
    let enqueued = record(&door, vec![Ok(new)], "http", now).await?;
    let enqueued = enqueued.into_iter().next().unwrap_or_else(|| Err(trouble::log(&silent())))?;
    let status = if enqueued.duplicate { StatusCode::OK } else { StatusCode::ACCEPTED };
    Ok((status, Json(enqueued)).into_response())
}

/// Runs long computing where it blocks nobody. A panic there goes on here.
pub(super) async fn off_the_reactor<T: Send + 'static>(
    compute: impl FnOnce() -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    match tokio::task::spawn_blocking(compute).await {
        Ok(result) => result,
        Err(failed) => match failed.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // Only a runtime that is shutting down cancels.
            Err(_cancelled) => Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE)),
        },
    }
}

fn header_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(first) = values.next() else {
        return Ok(None);
    };
    if values.any(|other| other != first) {
        return Err(trouble::invalid_at("/idempotency_key", "the header Idempotency-Key is given twice"));
    }
    match std::str::from_utf8(first.as_bytes()) {
        Ok(key) if is_key(key) => Ok(Some(key.to_owned())),
        _ => Err(trouble::invalid_at(
            "/idempotency_key",
            "must be 1 to 255 characters without control characters",
        )),
    }
}

/// The rule of the body's field.
fn is_key(key: &str) -> bool {
    let is_allowed = |c: char| !c.is_control() && !matches!(c, '\u{fffe}' | '\u{ffff}');
    (1..=255).contains(&key.chars().count()) && key.chars().all(is_allowed)
}

/// From a body to what the log takes. Checks what depends on the caller and the time; `content` checks the rest.
pub(super) fn prepare(
    body: &[u8],
    header_key: Option<&str>,
    caller: &Caller,
    config: &Config,
    now: Timestamp,
) -> Result<NewNotification, Problem> {
    let notification = read(body, header_key, caller, config, now)?;
    Ok(NewNotification::of(notification.id(), Arc::new(notification), now))
}

/// A notification that is right in itself, and that this caller may hand in now.
pub(super) fn read(
    body: &[u8],
    header_key: Option<&str>,
    caller: &Caller,
    config: &Config,
    now: Timestamp,
) -> Result<Notification, Problem> {
    if body.len() > config.limits.body_bytes {
        return Err(trouble::too_large(config.limits.body_bytes));
    }
    let mut notification =
        content::parse(body, &caller.0.tenant, &config.limits).map_err(trouble::invalid)?;
    if let Some(key) = header_key {
        match &notification.idempotency_key {
            Some(own) if own != key => {
                return Err(trouble::invalid_at(
                    "/idempotency_key",
                    "is not what the header Idempotency-Key says",
                ));
            }
            _ => notification.idempotency_key = Some(key.to_owned()),
        }
    }
    if !caller.0.may_act_for(&notification.tenant) {
        return Err(trouble::foreign_tenant("/tenant"));
    }
    if notification.deliver_at.is_some_and(|at| at > now.plus(config.schedule_horizon)) {
        let days = config.schedule_horizon.as_secs() / 86_400;
        return Err(trouble::invalid_at("/deliver_at", format!("is more than {days} days ahead")));
    }
    Ok(notification)
}

/// Takes in at once what is right, and answers in order.
pub(super) async fn record(
    door: &Door,
    mut slots: Vec<Result<NewNotification, Problem>>,
    at_door: &'static str,
    now: Timestamp,
) -> Result<Vec<Result<Enqueued, Problem>>, Problem> {
    let state = &door.state;
    let count = slots.iter().filter(|slot| slot.is_ok()).count();
    let has_room = door.backlog.has_room(count, state.log.as_ref(), &state.clock).await;
    if !has_room? {
        return Err(trouble::backlog_full());
    }
    refuse_late(door, &mut slots, now).await;
    let mut new = Vec::with_capacity(count);
    let slots: Vec<Result<NotificationId, Problem>> = slots
        .into_iter()
        .map(|slot| {
            let one = slot?;
            let id = one.id;
            new.push(one);
            Ok(id)
        })
        .collect();
    let Taken { answers, messages } = take(door, &new, now).await;

    let created = new.iter().zip(&answers).filter(|(_, answer)| matches!(answer, Ok(Acceptance::Created(_))));
    let created: Vec<&NewNotification> = created.map(|(one, _)| one).collect();
    metrics::counter!(ACCEPTED_TOTAL, "door" => at_door).increment(created.len() as u64);
    door.backlog.add(created.len() as u64);
    measure(door, &created);
    queue::bring(state.queue.as_ref(), &messages, state.config.queue_timeout).await;

    let mut answers = answers.into_iter();
    let mut enqueued = |id| {
        let (status, duplicate) = match answers.next().unwrap_or_else(|| Err(silent())) {
            Ok(Acceptance::Created(status)) => (status, false),
            Ok(Acceptance::Duplicate(status)) => (status, true),
            Ok(Acceptance::Conflict) => return Err(trouble::conflict()),
            Err(error) => return Err(trouble::log_failed(&error)),
        };
        Ok(Enqueued { id, status, duplicate })
    };
    Ok(slots.into_iter().map(|slot| slot.and_then(&mut enqueued)).collect())
}

/// Counts what was recorded, tenant by tenant.
fn measure(door: &Door, created: &[&NewNotification]) {
    for same in created.chunk_by(|a, b| a.notification.tenant == b.notification.tenant) {
        door.state.meter.count(&same[0].notification.tenant, same.len() as u64);
    }
}

/// With one answer for each. Failures are written down as one.
async fn take(door: &Door, new: &[NewNotification], now: Timestamp) -> Taken {
    if new.is_empty() {
        return Taken::default();
    }
    let mut taken = door.state.intake.take(new, now).await;
    // An adapter that answers too few has not said that the rest is durable.
    taken.answers.resize_with(new.len(), || Err(silent()));
    let failed = taken.answers.iter().filter(|answer| answer.is_err()).count();
    if let Some(error) = taken.answers.iter().find_map(|answer| answer.as_ref().err()) {
        tracing::error!(%error, failed, of = new.len(), "notifications could not be recorded");
    }
    taken
}

fn silent() -> LogError {
    LogError::Unavailable("it gave no answer".into())
}

/// A deadline that has passed refuses a new notification, but a repeat of a recorded one is still that one.
async fn refuse_late(door: &Door, slots: &mut [Result<NewNotification, Problem>], now: Timestamp) {
    for slot in slots {
        let Ok(new) = slot else { continue };
        if new.life.useful_until.is_none_or(|until| until > now) {
            continue;
        }
        let known = match new.notification.idempotency_key {
            Some(_) => door.state.log.get(new.id).await,
            None => Ok(None),
        };
        match known {
            Ok(Some(_)) => {}
            Ok(None) => *slot = Err(trouble::invalid_at("/useful_until", "has passed")),
            Err(error) => *slot = Err(trouble::log(&error)),
        }
    }
}
