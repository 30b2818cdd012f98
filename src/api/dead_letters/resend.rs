//! Sending dead letters again, mended or as they were: recorded like anything else, then removed from the queue.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use axum::Extension;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::{MOST_LOOKED_AT, may_see};
use crate::api::answer::Json;
use crate::api::body::{self, Media};
use crate::api::enqueue::{self, Enqueued};
use crate::api::guard::Caller;
use crate::api::{Door, Shared, trouble};
use crate::clock::Timestamp;
use crate::dead_letters::{self, CONFLICT, Kept, Resent, Walk};
use crate::message_log::NewNotification;
use crate::notification::content::batch::{self, BatchFault, Form};
use crate::notification::{Notification, NotificationId};
use crate::server::problem::Problem;

/// A dead letter to send again. What an export has beside these is allowed and passed over.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "only describes a line, which is read field by field")]
pub struct ResendLine {
    /// Its key in the listing.
    key: String,
    /// The mended notification; absent: what was in it, as it is.
    notification: Option<Notification>,
}

/// What an export writes beside the key.
const EXPORTED: [&str; 8] =
    ["id", "tenant", "reason", "bytes", "enqueued_at", "destroyed_at", "body", "body_base64"];

/// A result per line, in order.
#[derive(Debug, Serialize, ToSchema)]
pub struct ResendAnswer {
    results: Vec<ResendResult>,
}

/// What became of one dead letter.
#[derive(Debug, Serialize, ToSchema)]
struct ResendResult {
    /// Its key; null where the line could not be read.
    #[schema(required = true)]
    key: Option<String>,
    #[serde(flatten)]
    outcome: Outcome,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
enum Outcome {
    Enqueued(Enqueued),
    Refused { error: Problem },
}

struct Line {
    key: String,
    notification: Option<Bytes>,
}

/// Send dead letters again
///
/// One a line. Each is checked and recorded as by `POST /v1/notifications`, under the id that a producer's message has;
/// what was resent before answers as a duplicate. What is refused stays where it is. What has a record is refused:
/// `redrive` sends it again.
#[utoipa::path(
    post, path = "/v1/dead-letters/resend", operation_id = "resendDeadLetters", tag = "operations",
    request_body(content((ResendLine = "application/x-ndjson"))),
    responses(
        (status = 207, description = "One result per line, in order", body = ResendAnswer),
        (status = 413, description = "The body or the number of lines is over the limit", body = Problem, content_type = "application/problem+json"),
        (status = 415, description = "Not NDJSON", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "The body is empty", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(in crate::api) async fn resend(
    State(door): State<Shared>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    body::media(&parts.headers, &[Media::Ndjson])?;
    let held = body::read(&door, body, door.state.config.batch_body_bytes).await?;
    if held.bytes.trim_ascii().is_empty() {
        return Err(trouble::invalid_at("", "the body is empty"));
    }
    let lines = batch::split(&held.bytes, Form::Ndjson, door.state.config.batch_entries);
    let lines = lines.map_err(|fault: BatchFault| {
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE).with_detail(format!("the batch {fault}"))
    })?;
    let mut seen = HashSet::new();
    let lines: Vec<Result<Line, (Option<String>, Problem)>> =
        lines.into_iter().map(|line| read(line.body, &held.bytes, &mut seen)).collect();
    let results = resend_all(&door, &caller, lines).await?;
    Ok((StatusCode::MULTI_STATUS, Json(ResendAnswer { results })).into_response())
}

fn read(line: &[u8], whole: &Bytes, seen: &mut HashSet<String>) -> Result<Line, (Option<String>, Problem)> {
    let refused = |key, pointer: &str, detail: &str| Err((key, trouble::invalid_at(pointer, detail)));
    let Ok(mut fields) = serde_json::from_slice::<BTreeMap<String, &RawValue>>(line) else {
        return refused(None, "", "is not a JSON object");
    };
    let key = fields.remove("key").and_then(|key| serde_json::from_str::<String>(key.get()).ok());
    let Some(key) = key else { return refused(None, "/key", "must be a dead letter's key") };
    let notification = fields.remove("notification").filter(|raw| raw.get() != "null");
    // A field that is misspelt must not send what was meant to be mended as it was.
    if fields.keys().any(|name| !EXPORTED.contains(&name.as_str())) {
        return refused(Some(key), "", "has an unknown field; expected key and notification");
    }
    if !seen.insert(key.clone()) {
        return refused(Some(key), "/key", "is given twice");
    }
    Ok(Line { key, notification: notification.map(|raw| whole.slice_ref(raw.get().as_bytes())) })
}

/// What the keys stand for.
#[derive(Default)]
struct Found {
    kept: HashMap<String, Kept>,
    /// These have a record.
    recorded: HashMap<String, NotificationId>,
}

async fn resend_all(
    door: &Door,
    caller: &Caller,
    lines: Vec<Result<Line, (Option<String>, Problem)>>,
) -> Result<Vec<ResendResult>, Problem> {
    let now = door.state.clock.now();
    let keys: Vec<&str> = lines.iter().flatten().map(|line| line.key.as_str()).collect();
    let found = find(door, &keys, now).await?;
    let (mut keys, mut slots, mut known) = (Vec::new(), Vec::new(), Vec::new());
    for line in lines {
        let (key, ready) = match line {
            Ok(line) => (Some(line.key.clone()), prepare(door, caller, &found, line, now).await),
            Err((key, problem)) => (key, Err(problem)),
        };
        keys.push(key);
        let (slot, enqueued) = match ready {
            Ok(Ready::New(new)) => (Ok(*new), None),
            Ok(Ready::Known(enqueued)) => (Err(super::nothing()), Some(enqueued)),
            Err(problem) => (Err(problem), None),
        };
        slots.push(slot);
        known.push(enqueued);
    }
    let recorded = enqueue::record(door, slots, "dead_letter", now).await?;
    let (mut results, mut resent) = (Vec::with_capacity(keys.len()), HashSet::new());
    for ((key, known), recorded) in keys.into_iter().zip(known).zip(recorded) {
        let is_new = known.is_none();
        let outcome = known.map_or(recorded, Ok);
        if let (Some(kept), Ok(enqueued)) = (key.as_ref().and_then(|key| found.kept.get(key)), &outcome) {
            resent.insert(kept.key.clone());
            if is_new {
                mark(door, caller, kept, enqueued.id, now).await;
            }
        }
        let outcome = match outcome {
            Ok(enqueued) => Outcome::Enqueued(enqueued),
            Err(error) => Outcome::Refused { error },
        };
        results.push(ResendResult { key, outcome });
    }
    remove(door, &resent).await;
    Ok(results)
}

/// What a line leads to.
enum Ready {
    /// To be recorded.
    New(Box<NewNotification>),
    /// Resent before.
    Known(Enqueued),
}

/// The copies of these, and where there is none yet, one made of what lies in the queue.
async fn find(door: &Door, keys: &[&str], now: Timestamp) -> Result<Found, Problem> {
    let (journal, log) = (door.state.journal.as_ref(), door.state.log.as_ref());
    let mut found = Found::default();
    let mut missing = HashSet::new();
    for key in keys {
        match dead_letters::kept(journal, key).await? {
            Some(kept) => drop(found.kept.insert((*key).to_owned(), kept)),
            None => drop(missing.insert(*key)),
        }
    }
    if missing.is_empty() {
        return Ok(found);
    }
    let mut walk = Walk::over(door.state.queue.as_ref(), MOST_LOOKED_AT);
    let ended = loop {
        let mut letters = match walk.next().await {
            Ok(letters) if letters.is_empty() || missing.is_empty() => break Ok(()),
            Ok(letters) => letters,
            Err(error) => break Err(trouble::queue(&error)),
        };
        letters.retain(|letter| missing.remove(letter.key.as_str()));
        let recorded = match dead_letters::recorded(log, &letters).await {
            Ok(recorded) => recorded,
            Err(error) => break Err(trouble::log(&error)),
        };
        let mut failed = None;
        for (letter, is_recorded) in letters.into_iter().zip(recorded) {
            match letter.id.filter(|_| is_recorded) {
                Some(id) => drop(found.recorded.insert(letter.key, id)),
                None => match dead_letters::keep(journal, &letter, now).await {
                    Ok(keeping) => drop(found.kept.insert(letter.key, keeping.kept())),
                    Err(error) => failed = Some(trouble::journal(&error)),
                },
            }
        }
        if let Some(problem) = failed {
            break Err(problem);
        }
    };
    walk.end().await;
    ended.map(|()| found)
}

async fn prepare(
    door: &Door,
    caller: &Caller,
    found: &Found,
    line: Line,
    now: Timestamp,
) -> Result<Ready, Problem> {
    if let Some(id) = found.recorded.get(&line.key) {
        let detail = format!("it has a record: `kakitome redrive --id {id}` sends it again");
        return Err(Problem::new(StatusCode::CONFLICT).with_detail(detail));
    }
    let kept = found.kept.get(&line.key).filter(|kept| may_see(caller, kept.tenant.as_deref()));
    let kept = kept.ok_or_else(super::nothing)?;
    if let Some(resent) = &kept.resent {
        return known(door, resent, now).await.map(Ready::Known);
    }
    let journal = door.state.journal.as_ref();
    let mended = line.notification.is_some();
    let body = match line.notification {
        Some(notification) => Some(notification),
        None => dead_letters::body(journal, kept).await?,
    };
    let body =
        body.as_deref().and_then(|body| if mended { Some(body) } else { dead_letters::original(body) });
    let body = body.ok_or_else(|| trouble::invalid_at("/notification", "is required: nothing was in it"))?;
    let notification = enqueue::read(body, None, caller, &door.state.config, now)?;
    // The id of a message that could be read is the one that its producer was told. Another's is not taken over.
    let own = kept.id.filter(|_| notification.idempotency_key.is_none() && kept.reason != CONFLICT);
    // As for a producer's own message, so that sending it again, by whatever way, is a repeat.
    let id = own.unwrap_or_else(|| notification.id_from(&format!("sqs:{}", kept.key)));
    Ok(Ready::New(Box::new(NewNotification::of(id, Arc::new(notification), now))))
}

/// Where that stands which was resent before.
async fn known(door: &Door, resent: &Resent, now: Timestamp) -> Result<Enqueued, Problem> {
    let lives = door.state.log.lives(&[resent.id]).await?;
    let life = lives.into_iter().next().flatten().ok_or_else(|| {
        let detail = format!("it was resent as {}, whose record is gone", resent.id);
        Problem::new(StatusCode::CONFLICT).with_detail(detail)
    })?;
    Ok(Enqueued { id: resent.id, status: life.status(now), duplicate: true })
}

/// It is in the log: whatever fails from here on leaves a dead letter that answers as a duplicate.
async fn mark(door: &Door, caller: &Caller, kept: &Kept, id: NotificationId, now: Timestamp) {
    let resent = Resent { at: now, who: caller.0.id.clone(), id };
    if let Err(error) = dead_letters::mark_resent(door.state.journal.as_ref(), kept, resent).await {
        tracing::warn!(%error, key = kept.key, "a dead letter was resent, and is not marked so");
    }
}

/// Removes these from the queue. What somebody else looks at in this moment, the keeper removes.
async fn remove(door: &Door, resent: &HashSet<String>) {
    if resent.is_empty() {
        return;
    }
    let mut walk = Walk::over(door.state.queue.as_ref(), MOST_LOOKED_AT);
    while let Ok(letters) = walk.next().await {
        if letters.is_empty() {
            break;
        }
        for letter in letters.iter().filter(|letter| resent.contains(&letter.key)) {
            walk.remove(letter);
        }
    }
    walk.end().await;
}
