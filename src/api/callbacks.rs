//! Callbacks: where a tenant's changes are posted to.

pub mod change;

use axum::Extension;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Query, Request, State};
use axum::http::{StatusCode, Uri};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::answer::Json;
use super::guard::Caller;
use super::{Door, Shared, body, trouble};
use crate::clock::Timestamp;
use crate::feed::callback::{self, Callback, CallbackState, MOST, PER_TENANT, Signing, slots};
use crate::feed::courier::Courier;
use crate::feed::{Cursor, Told};
use crate::journal::JournalError;
use crate::secret::Secret;
use crate::server::problem::Problem;
use crate::sign;

/// One callback. Its secrets are never shown again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = Callback)]
pub struct CallbackView {
    /// Its id.
    pub id: String,
    /// Whose changes it is told.
    pub tenant: String,
    /// Where they are posted to.
    pub url: String,
    /// Which are; empty: all.
    pub statuses: Vec<Told>,
    /// How it stands.
    pub state: CallbackState,
    /// Since when.
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
    /// Why.
    #[schema(required = true)]
    pub note: Option<String>,
    /// Who asked for it.
    pub who: String,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// How many secrets sign right now.
    pub secrets: usize,
    /// How many changes it has taken.
    pub taken: u64,
    /// When the latest.
    #[schema(value_type = Option<String>, format = DateTime, required = true)]
    pub taken_at: Option<Timestamp>,
    /// How many changes it has not taken, those included that it is not told; null where that cannot be said.
    #[schema(required = true)]
    pub behind: Option<u64>,
    /// What fails; null when nothing does.
    #[schema(required = true)]
    pub failing: Option<Failing>,
}

/// A message that is not taken.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = CallbackFailing)]
pub struct Failing {
    /// The message's id.
    pub message: String,
    /// Since when it is not taken.
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
    /// How often it was not.
    pub tries: u32,
    /// The latest failure.
    #[schema(required = true)]
    pub error: Option<String>,
    /// When it is posted again, unless the callback is paused.
    #[schema(value_type = String, format = DateTime)]
    pub next_at: Timestamp,
}

/// Callbacks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = Callbacks)]
pub struct CallbacksView {
    /// Latest first.
    pub items: Vec<CallbackView>,
}

/// What is asked for.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewCallback, example = json!({"url": "https://bookings.example.jp/kakitome", "statuses": ["failed", "bounced"]}))]
pub(super) struct New {
    /// https, port 443 or 8443, a public address. Without user name, password and fragment.
    url: String,
    /// Whose changes; the key's own tenant when left out.
    #[serde(default)]
    tenant: Option<String>,
    /// Only these; all when left out.
    #[serde(default)]
    statuses: Vec<Told>,
    /// What signs: `whsec_` and base64 of 24 to 64 bytes. Left out, one is made, and shown in this answer alone.
    #[serde(default)]
    secret: Option<String>,
    /// Where it begins.
    #[serde(default)]
    from: From,
}

/// Where in the feed a callback begins or goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = CallbackFrom)]
pub(super) enum From {
    /// What happens from now on.
    #[default]
    Now,
    /// The oldest change that is kept.
    Oldest,
}

/// A new callback, or one with a new secret.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = MadeCallback)]
pub struct Made {
    /// The callback.
    pub callback: CallbackView,
    /// Its secret, where it was made and not given: shown this once.
    #[schema(required = true)]
    pub secret: Option<String>,
}

/// Whose.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Whose {
    /// Other tenants' need the scope admin, with which all are listed when it is left out.
    tenant: Option<String>,
}

type Id = Result<Path<String>, PathRejection>;

impl Door {
    async fn callback_view(&self, callback: Callback) -> CallbackView {
        let now = self.state.clock.now();
        let behind = self.state.telling.feed.count(&callback.tenant, &callback.cursor).await.ok();
        let secrets = callback.signing(now).len();
        let failing = callback.batch.filter(|batch| batch.tries > 0).map(|batch| Failing {
            message: batch.id,
            since: batch.failing_since.unwrap_or(batch.made_at),
            tries: batch.tries,
            error: batch.error,
            next_at: batch.due_at,
        });
        let Callback {
            id, tenant, url, statuses, state, since, note, who, created_at, taken, taken_at, ..
        } = callback;
        CallbackView {
            id,
            tenant,
            url,
            statuses,
            state,
            since,
            note,
            who,
            created_at,
            secrets,
            taken,
            taken_at,
            behind,
            failing,
        }
    }
}

/// Where nothing is posted, a callback would wait for ever.
fn courier_of(door: &Door) -> Result<&dyn Courier, Problem> {
    door.state.telling.courier.as_deref().ok_or_else(|| {
        Problem::new(StatusCode::NOT_IMPLEMENTED).with_detail("this server posts no callbacks")
    })
}

fn absent() -> Problem {
    Problem::new(StatusCode::NOT_FOUND).with_detail("there is no such callback")
}

/// The callback that a path names, if the caller may see it.
async fn find(door: &Door, caller: &Caller, id: Id) -> Result<Callback, Problem> {
    let id = id.ok().map(|Path(id)| id).filter(|id| id.len() <= 64).ok_or_else(absent)?;
    let found = callback::get(&*door.state.journal, &id).await?;
    found.filter(|callback| caller.0.may_act_for(&callback.tenant)).ok_or_else(absent)
}

/// A secret as it was given, or a made one with its text.
fn secret_of(given: Option<String>) -> Result<(Secret, Option<String>), Problem> {
    let Some(given) = given else {
        let made = sign::fresh_secret();
        let text = made.reveal().to_owned();
        return Ok((made, Some(text)));
    };
    let secret = Secret::new(given);
    if sign::key_of(&secret).is_none() {
        return Err(trouble::invalid_at("/secret", "must be whsec_ followed by base64 of 24 to 64 bytes"));
    }
    Ok((secret, None))
}

fn written<T>(changed: Result<Option<T>, JournalError>) -> Result<T, Problem> {
    changed?.ok_or_else(absent)
}

/// List callbacks
#[utoipa::path(
    get, path = "/v1/callbacks", operation_id = "listCallbacks", tag = "events",
    params(Whose),
    responses(
        (status = 200, description = "The callbacks", body = CallbacksView),
        (status = 422, description = "A parameter is not known", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn list(
    State(door): State<Shared>,
    Extension(caller): Extension<Caller>,
    uri: Uri,
) -> Result<Json<CallbacksView>, Problem> {
    let Ok(Query(Whose { tenant })) = Query::try_from_uri(&uri) else {
        return Err(trouble::invalid_at("", "tenant is the only parameter of this listing"));
    };
    let tenant = caller.tenant(tenant)?;
    let found = callback::list(&*door.state.journal, tenant.as_deref()).await;
    let mut items = Vec::new();
    for callback in found? {
        items.push(door.callback_view(callback).await);
    }
    Ok(Json(CallbacksView { items }))
}

/// Have changes posted
///
/// Each message is signed the way of Standard Webhooks (`webhook-id`, `webhook-timestamp`, `webhook-signature`) and holds
/// up to 100 changes of the feed, in order; it is posted again, under the same id, until it is answered with 2xx. After 24
/// hours without one the callback is paused, and 410 ends it at once.
#[utoipa::path(
    post, path = "/v1/callbacks", operation_id = "addCallback", tag = "events",
    request_body(content = New, content_type = "application/json"),
    responses(
        (status = 201, description = "Added", body = Made),
        (status = 409, description = "There are as many as there may be", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "The address may not be posted to, or a field is not valid", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn add(
    State(door): State<Shared>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<(StatusCode, Json<Made>), Problem> {
    let asked: Option<New> = body::read_json(&door, request).await?;
    let New { url, tenant, statuses, secret, from } =
        asked.ok_or_else(|| trouble::invalid_at("/url", "is missing"))?;
    let tenant = caller.acts_for(tenant)?;
    let cursor = start(&door, &tenant, from).await?;
    let (secret, made) = secret_of(secret)?;
    let checked = courier_of(&door)?.check(&url).await;
    checked.map_err(|error| trouble::invalid_at("/url", error.to_string()))?;
    let (journal, now) = (&*door.state.journal, door.state.clock.now());
    let known = callback::list(journal, None).await?;
    if known.len() >= MOST {
        return Err(trouble::forbidden_now(format!("there are {MOST} callbacks, and may be no more")));
    }
    let id = uuid::Uuid::now_v7().to_string();
    if !slots::take(journal, &tenant, &id, &known, now).await? {
        return Err(trouble::forbidden_now(format!(
            "a tenant may have {PER_TENANT} callbacks; remove one first"
        )));
    }
    let callback = Callback {
        id,
        tenant,
        url,
        statuses,
        secrets: vec![Signing { secret, until: None }],
        who: caller.0.id.clone(),
        created_at: now,
        state: CallbackState::Active,
        since: now,
        note: None,
        cursor,
        batch: None,
        taken: 0,
        taken_at: None,
    };
    callback::add(journal, &callback).await?;
    door.state.telling.feed.follow(&callback.tenant).await;
    tracing::info!(
        callback = callback.id,
        tenant = callback.tenant,
        who = caller.0.id,
        "a callback was added"
    );
    let callback = door.callback_view(callback).await;
    Ok((StatusCode::CREATED, Json(Made { callback, secret: made })))
}

async fn start(door: &Door, tenant: &str, from: From) -> Result<Cursor, Problem> {
    let feed = &door.state.telling.feed;
    let end = feed.end(tenant).await?;
    if from == From::Now {
        return Ok(end);
    }
    Ok(feed.begin(tenant).await?)
}

/// Remove a callback
#[utoipa::path(
    delete, path = "/v1/callbacks/{id}", operation_id = "removeCallback", tag = "events",
    params(("id" = String, Path, description = "The callback's id")),
    responses(
        (status = 204, description = "Removed"),
        (status = 404, description = "No such callback, or another tenant's", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn remove(
    State(door): State<Shared>,
    Extension(caller): Extension<Caller>,
    id: Id,
) -> Result<StatusCode, Problem> {
    let callback = find(&door, &caller, id).await?;
    let journal = &*door.state.journal;
    callback::remove(journal, &callback.id).await?;
    slots::free(journal, &callback.tenant, &callback.id).await?;
    tracing::info!(
        callback = callback.id,
        tenant = callback.tenant,
        who = caller.0.id,
        "a callback was removed"
    );
    Ok(StatusCode::NO_CONTENT)
}
