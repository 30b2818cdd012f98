//! Dead letters that stand nowhere but in the queue: what lies there, and what was in it.

pub mod resend;

use std::collections::BTreeMap;

use axum::Extension;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::answer::Json;
use super::guard::Caller;
use super::{Door, Shared, trouble};
use crate::api::auth::Scope;
use crate::clock::Timestamp;
use crate::dead_letters::{self, Kept, Resent, Walk};
use crate::notification::NotificationId;
use crate::queue::DeadLetter;
use crate::server::problem::Problem;

/// So many dead letters of the queue are looked at for one answer.
const MOST_LOOKED_AT: usize = 1_000;

/// So many copies are read for one answer.
const MOST_KEPT: usize = 5_000;

/// The parameters of a listing of dead letters.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Question {
    /// 1 to 5000; 100 when not given.
    #[param(minimum = 1, maximum = 5000, default = 100)]
    limit: Option<usize>,
    /// `true`: also those that have a record, which `redrive` sends again, and those that were resent.
    all: Option<bool>,
}

/// Dead letters, those first that the queue destroys first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct DeadLetters {
    items: Vec<DeadLetterView>,
    /// Whether there are more than are told, or looked at.
    more: bool,
    /// How many of those in the queue have a record, whether they are told or not.
    recorded: usize,
}

/// A dead letter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = DeadLetter)]
pub struct DeadLetterView {
    /// Names it: the id of the message that it was at first, or of the notification.
    key: String,
    /// The notification, where the message could be read.
    #[schema(value_type = Option<String>, format = "uuid", required = true)]
    id: Option<NotificationId>,
    /// Whose, where the message could be read.
    #[schema(required = true)]
    tenant: Option<String>,
    /// Why it is one: a code, and what was found.
    reason: String,
    /// How large the message is; null where the queue carries none.
    #[schema(required = true)]
    bytes: Option<usize>,
    /// From when the queue counts its age.
    #[schema(value_type = String, format = DateTime)]
    enqueued_at: Timestamp,
    /// When the queue destroys it.
    #[schema(value_type = String, format = DateTime)]
    destroyed_at: Timestamp,
    /// Whether it has a record: then `redrive` sends it again.
    recorded: bool,
    /// Until when a copy is kept; null: there is none (yet), or it needs none.
    #[schema(value_type = Option<String>, format = DateTime, required = true)]
    kept_until: Option<Timestamp>,
    /// Set once it was sent again.
    #[serde(skip_serializing_if = "Option::is_none")]
    resent: Option<Resent>,
}

impl DeadLetterView {
    fn of_copy(kept: Kept) -> Self {
        Self {
            kept_until: Some(kept.until()),
            key: kept.key,
            id: kept.id,
            tenant: kept.tenant,
            reason: kept.reason,
            bytes: kept.bytes,
            enqueued_at: kept.enqueued_at,
            destroyed_at: kept.destroyed_at,
            recorded: false,
            resent: kept.resent,
        }
    }

    fn of_letter(letter: DeadLetter, recorded: bool) -> Self {
        Self {
            key: letter.key,
            id: letter.id,
            tenant: letter.tenant,
            reason: letter.reason,
            bytes: letter.body.map(|body| body.len()),
            enqueued_at: letter.enqueued_at,
            destroyed_at: letter.destroyed_at,
            recorded,
            kept_until: None,
            resent: None,
        }
    }
}

/// What nobody could read is nobody's: only a key for all tenants may see it.
fn may_see(caller: &Caller, tenant: Option<&str>) -> bool {
    caller.0.allows(Scope::Admin) || tenant.is_some_and(|tenant| caller.0.may_act_for(tenant))
}

/// List dead letters
///
/// Those in the queue that have no record, and the copies of those that it has destroyed. On SQS a look at the queue
/// is approximate: what somebody else looks at in that moment is missing.
#[utoipa::path(
    get, path = "/v1/dead-letters", operation_id = "deadLetters", tag = "operations",
    params(Question),
    responses(
        (status = 200, description = "Dead letters", body = DeadLetters),
        (status = 422, description = "A parameter is not valid or not known", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn dead_letters(
    State(door): State<Shared>,
    Extension(caller): Extension<Caller>,
    question: Result<Query<Question>, QueryRejection>,
) -> Result<Json<DeadLetters>, Problem> {
    let Query(question) = question.map_err(|_| trouble::invalid_at("", "takes limit and all"))?;
    let limit = question.limit.unwrap_or(100);
    if !(1..=MOST_KEPT).contains(&limit) {
        return Err(trouble::invalid_at("/limit", "must be a whole number from 1 to 5000"));
    }
    let all = question.all == Some(true);
    let copies = dead_letters::list(door.state.journal.as_ref(), None, MOST_KEPT).await;
    let copies = copies?;
    let mut more = copies.len() == MOST_KEPT;
    let mut found: BTreeMap<String, DeadLetterView> =
        copies.into_iter().map(|kept| (kept.key.clone(), DeadLetterView::of_copy(kept))).collect();
    let mut recorded = 0;
    let mut walk = Walk::over(door.state.queue.as_ref(), MOST_LOOKED_AT);
    let ended = loop {
        let letters = match walk.next().await {
            Ok(letters) if letters.is_empty() => break Ok(()),
            Ok(letters) => letters,
            Err(error) => break Err(trouble::queue(&error)),
        };
        match dead_letters::recorded(door.state.log.as_ref(), &letters).await {
            Err(error) => break Err(trouble::log(&error)),
            Ok(each) => {
                for (letter, is_recorded) in letters.into_iter().zip(each) {
                    recorded += usize::from(is_recorded && may_see(&caller, letter.tenant.as_deref()));
                    if all || !is_recorded {
                        let view = || DeadLetterView::of_letter(letter.clone(), is_recorded);
                        found.entry(letter.key.clone()).or_insert_with(view);
                    }
                }
            }
        }
    };
    more |= walk.is_cut_short();
    walk.end().await;
    ended?;
    let mut items: Vec<DeadLetterView> = found
        .into_values()
        .filter(|view| (all || view.resent.is_none()) && may_see(&caller, view.tenant.as_deref()))
        .collect();
    items.sort_by_key(|view| view.destroyed_at);
    more |= items.len() > limit;
    items.truncate(limit);
    Ok(Json(DeadLetters { items, more, recorded }))
}

/// What was in a dead letter
///
/// The message as it lies in the queue, or lay there.
#[utoipa::path(
    get, path = "/v1/dead-letters/{key}", operation_id = "deadLetter", tag = "operations",
    params(("key" = String, Path, description = "Its key in the listing")),
    responses(
        (status = 200, description = "The message", body = Vec<u8>, content_type = "application/octet-stream"),
        (status = 404, description = "No such dead letter, or nothing was in it", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn dead_letter(
    State(door): State<Shared>,
    Extension(caller): Extension<Caller>,
    key: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    let Path(key) = key.map_err(|_| nothing())?;
    let (tenant, body) = content(&door, &key).await?;
    let body = body.filter(|_| may_see(&caller, tenant.as_deref())).ok_or_else(nothing)?;
    let media = HeaderValue::from_static("application/octet-stream");
    Ok(([(header::CONTENT_TYPE, media)], body).into_response())
}

fn nothing() -> Problem {
    Problem::new(axum::http::StatusCode::NOT_FOUND)
        .with_detail("there is no such dead letter, nothing was in it, or it was resent")
}

/// Whose it is, and what is in it: from the copy, else from the queue.
async fn content(door: &Door, key: &str) -> Result<(Option<String>, Option<Bytes>), Problem> {
    let journal = door.state.journal.as_ref();
    let kept = dead_letters::kept(journal, key).await?;
    if let Some(kept) = kept {
        let body = dead_letters::body(journal, &kept).await?;
        return Ok((kept.tenant, body));
    }
    let mut walk = Walk::over(door.state.queue.as_ref(), MOST_LOOKED_AT);
    let found = loop {
        match walk.next().await {
            Ok(letters) if letters.is_empty() => break Ok(None),
            Ok(letters) => {
                if let Some(letter) = letters.into_iter().find(|letter| letter.key == key) {
                    break Ok(Some(letter));
                }
            }
            Err(error) => break Err(trouble::queue(&error)),
        }
    };
    walk.end().await;
    Ok(found?.map_or((None, None), |letter| (letter.tenant, letter.body)))
}
