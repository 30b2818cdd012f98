//! Taking somebody off the list.

use axum::Extension;
use axum::extract::{Query, Request, State};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use futures::StreamExt;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::super::answer::Json;
use super::super::guard::Caller;
use super::super::trouble::{self, check};
use super::super::{Door, Shared, body};
use super::{MAX_ENTRIES, entry};
use crate::notification::address::Address;
use crate::notification::content::is_tenant_name;
use crate::server::problem::Problem;
use crate::suppression::{Filter, ListError, Reason, Removal, Source, What};

/// Entries of one mailbox that are counted at the most: more than a mailbox can have.
const COUNTED: usize = 1000;
/// Mailboxes that are counted at once.
const COUNTS_AT_ONCE: usize = 8;

/// Who is taken off.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::api) struct Whom {
    /// The address; quoted and unquoted carrier forms are the same.
    address: String,
    /// Only this reason; all of them when left out.
    reason: Option<Reason>,
    /// Whose list; the key's own tenant when left out.
    tenant: Option<String>,
    /// Why, in the operator's words, at most 200 characters.
    note: Option<String>,
}

/// Who is taken off.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"addresses": ["guest@example.com"], "reason": "bounce", "note": "mailbox is back"}))]
pub(in crate::api) struct Removals {
    /// 1 to 1000.
    #[schema(min_items = 1, max_items = 1000)]
    addresses: Vec<String>,
    /// Only this reason; all of them when left out.
    #[serde(default)]
    reason: Option<Reason>,
    /// Whose list; the key's own tenant when left out.
    #[serde(default)]
    tenant: Option<String>,
    /// Why, in the operator's words.
    #[serde(default)]
    #[schema(max_length = 200)]
    note: Option<String>,
    /// Only count.
    #[serde(default)]
    dry_run: bool,
}

/// What was taken off.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct Removed {
    /// How many entries; 0: there was none.
    removed: u64,
}

/// A result per address, in order.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct RemovedAnswer {
    results: Vec<RemovedResult>,
}

/// What became of one.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
enum RemovedResult {
    Removed(Removed),
    Refused { error: Problem },
}

/// Take somebody off the suppression list
///
/// Mail goes there again from now on; what ended as `suppressed` stays so until it is redriven. An event that was told
/// before does not put the address back, a new one does.
#[utoipa::path(
    delete, path = "/v1/suppressions", operation_id = "removeSuppression", tag = "suppressions",
    params(Whom),
    responses(
        (status = 200, description = "How many entries were taken off", body = Removed),
        (status = 422, description = "A parameter is not valid or not known", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(in crate::api) async fn remove(
    State(door): State<Shared>,
    Extension(caller): Extension<Caller>,
    uri: Uri,
) -> Result<Json<Removed>, Problem> {
    let Ok(Query(Whom { address, reason, tenant, note })) = Query::try_from_uri(&uri) else {
        let detail = "the parameters are address, reason (bounce, complaint, unsubscribe, drop, manual), tenant and \
                      note, each once";
        return Err(trouble::invalid_at("", detail));
    };
    let ground = ground(&door, &caller, reason, tenant, note)?;
    let removal = ground.removal(&address, "/address")?;
    let removed = door.state.suppressions.remove(&[removal]).await.pop();
    let removed = removed.unwrap_or_else(|| Err(trouble::no_answer()));
    let removed = removed?;
    tell(&caller, removed);
    Ok(Json(Removed { removed }))
}

/// Take up to 1,000 off the suppression list
///
/// With `dry_run` it only counts what would be taken off.
#[utoipa::path(
    post, path = "/v1/suppressions/remove", operation_id = "removeSuppressions", tag = "suppressions",
    request_body(content = Removals, content_type = "application/json"),
    responses(
        (status = 207, description = "One result per address, in order", body = RemovedAnswer),
        (status = 422, description = "The request is not valid", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(in crate::api) async fn remove_many(
    State(door): State<Shared>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<Response, Problem> {
    let asked: Option<Removals> = body::read_json(&door, request).await?;
    let Removals { addresses, reason, tenant, note, dry_run } =
        asked.ok_or_else(|| trouble::invalid_at("/addresses", "is missing"))?;
    if !(1..=MAX_ENTRIES).contains(&addresses.len()) {
        return Err(trouble::invalid_at("/addresses", "must be 1 to 1000"));
    }
    let ground = ground(&door, &caller, reason, tenant, note)?;
    let place = |number: usize| format!("/addresses/{number}");
    let slots: Vec<Result<Removal, Problem>> =
        addresses.iter().enumerate().map(|(n, text)| ground.removal(text, &place(n))).collect();
    let removals: Vec<Removal> = slots.iter().filter_map(|slot| slot.as_ref().ok()).cloned().collect();
    let answers = match dry_run {
        true => count(&door, &removals).await,
        false => door.state.suppressions.remove(&removals).await,
    };
    if !dry_run {
        tell(&caller, answers.iter().filter_map(|answer| answer.as_ref().ok()).sum());
    }
    let mut answers = answers.into_iter();
    let results = slots.into_iter().map(|slot| {
        let answer = slot.and_then(|_| {
            let answer = answers.next().unwrap_or_else(|| Err(trouble::no_answer()));
            answer.map_err(|error| trouble::suppressions(&error))
        });
        match answer {
            Ok(removed) => RemovedResult::Removed(Removed { removed }),
            Err(error) => RemovedResult::Refused { error },
        }
    });
    Ok((StatusCode::MULTI_STATUS, Json(RemovedAnswer { results: results.collect() })).into_response())
}

/// What all removals of a request have in common.
struct Ground {
    tenant: String,
    what: What,
    source: Source,
}

fn ground(
    door: &Door,
    caller: &Caller,
    reason: Option<Reason>,
    tenant: Option<String>,
    note: Option<String>,
) -> Result<Ground, Problem> {
    let tenant = tenant.unwrap_or_else(|| caller.0.tenant.clone());
    let mut faults = Vec::new();
    entry::check_note(note.as_deref(), &mut faults);
    check(is_tenant_name(&tenant), "/tenant", "is not a tenant's name", &mut faults);
    if !faults.is_empty() {
        return Err(trouble::invalid(faults));
    }
    if !caller.0.may_act_for(&tenant) {
        return Err(trouble::foreign_tenant("/tenant"));
    }
    let source = Source::Operator { who: caller.0.id.clone(), at: door.state.clock.now(), note };
    Ok(Ground { tenant, what: reason.map_or(What::All, What::Reason), source })
}

impl Ground {
    fn removal(&self, text: &str, pointer: &str) -> Result<Removal, Problem> {
        let address = Address::parse(text.trim()).map_err(|wrong| trouble::invalid_at(pointer, wrong.0))?;
        let Self { tenant, what, source } = self;
        Ok(Removal { tenant: tenant.clone(), address, what: what.clone(), source: source.clone() })
    }
}

/// How many entries each would take off; the same mailbox named twice is counted once.
async fn count(door: &Door, removals: &[Removal]) -> Vec<Result<u64, ListError>> {
    let mut seen = std::collections::BTreeSet::new();
    let looks = removals.iter().map(|removal| {
        let is_first = seen.insert(removal.address.canonical());
        let reason = match removal.what {
            What::Reason(reason) => Some(reason),
            What::All | What::Group(_) => None,
        };
        let filter = Filter {
            tenant: Some(removal.tenant.clone()),
            reason,
            address: Some(removal.address.clone()),
            ..Filter::default()
        };
        async move {
            if !is_first {
                return Ok(0);
            }
            let page = door.state.suppressions.list(&filter, None, COUNTED).await?;
            Ok(page.items.len() as u64)
        }
    });
    let looks: Vec<_> = looks.collect();
    futures::stream::iter(looks).buffered(COUNTS_AT_ONCE).collect().await
}

fn tell(caller: &Caller, removed: u64) {
    if removed > 0 {
        tracing::info!(removed, who = caller.0.id, "entries were taken off the suppression list");
    }
}
