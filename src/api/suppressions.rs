//! The suppression list: look it up, add to it, take off it.

mod entry;
mod remove;

use axum::Extension;
use axum::extract::{Query, Request, State};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::answer::Json;
use super::body::{self, Media};
use super::guard::Caller;
use super::query::{self, moment};
use super::{Door, Shared, trouble};
use crate::clock::Timestamp;
use crate::notification::address::Address;
use crate::notification::content::batch::{self, BatchFault, Form};
use crate::server::problem::Problem;
use crate::suppression::{Added, Entry, Filter, Reason, Source};
pub(super) use entry::EntryRequest;
pub(super) use remove::{__path_remove, __path_remove_many, remove, remove_many};
pub(super) use remove::{Removals, Removed, RemovedAnswer};

/// Entries in one request.
pub(super) const MAX_ENTRIES: usize = 1000;
/// How large a request may be: a thousand entries fit.
const MAX_BODY_BYTES: usize = 1 << 20;

/// Why nothing is sent to one mailbox: one reason of perhaps several.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = Suppression)]
pub struct SuppressionView {
    /// As it was given.
    pub email: String,
    /// Whose list it is on.
    pub tenant: String,
    /// Why.
    pub reason: Reason,
    /// Of an unsubscription from one group: which.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Who says so: a provider's event, or somebody.
    pub source: Source,
    /// Since when.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// Who took it off; only where that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub removed: Option<Source>,
}

impl From<Entry> for SuppressionView {
    fn from(entry: Entry) -> Self {
        let Entry { tenant, address, reason, group, source, created_at, removed } = entry;
        let email = address.reveal().to_owned();
        Self { email, tenant, reason, group, source, created_at, removed }
    }
}

/// One page of a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = SuppressionPage)]
pub struct SuppressionPage {
    /// The entries, in a fixed order.
    pub items: Vec<SuppressionView>,
    /// Give it as `cursor` to get the next page; null on the last.
    #[schema(required = true)]
    pub next_cursor: Option<String>,
}

/// Which entries. Every given parameter must match; an empty value counts as not given.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(super) struct Question {
    /// Whose list; other tenants' need the scope admin.
    tenant: String,
    /// Why: bounce, complaint, unsubscribe, drop or manual.
    reason: String,
    /// Who; quoted and unquoted carrier forms are the same.
    address: String,
    /// Standing since then: RFC 3339, or a span back from now such as `2h`.
    since: String,
    /// `true`: what was taken off within the last 90 days, and by whom, instead of what stands.
    removed: String,
    /// 1 to 1000; 100 when not given.
    limit: String,
    /// A former page's `next_cursor`.
    cursor: String,
}

/// What became of one entry.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Suppressed {
    /// As it was given.
    email: String,
    /// Why.
    reason: Reason,
    /// `false`: it stood there already.
    added: bool,
}

/// A result per entry, in the order of the entries.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SuppressAnswer {
    results: Vec<SuppressResult>,
}

/// What became of one entry: what a single one would have been answered.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
enum SuppressResult {
    Suppressed(Suppressed),
    Refused { error: Problem },
}

/// List to whom nothing is sent
#[utoipa::path(
    get, path = "/v1/suppressions", operation_id = "listSuppressions", tag = "suppressions",
    params(Question),
    responses(
        (status = 200, description = "A page of the list", body = SuppressionPage),
        (status = 422, description = "A parameter is not valid or not known", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn list(
    State(door): State<Shared>,
    Extension(caller): Extension<Caller>,
    uri: Uri,
) -> Result<Json<SuppressionPage>, Problem> {
    let Ok(Query(question)) = Query::<Question>::try_from_uri(&uri) else {
        let detail =
            "the parameters are tenant, reason, address, since, removed, limit and cursor, each once";
        return Err(trouble::invalid_at("", detail));
    };
    let (mut filter, cursor, limit) = question.lower(door.state.clock.now())?;
    filter.tenant = caller.tenant(filter.tenant.take())?;
    let page = door.state.suppressions.list(&filter, cursor.as_deref(), limit).await;
    let page = page?;
    let items = page.items.into_iter().map(SuppressionView::from).collect();
    Ok(Json(SuppressionPage { items, next_cursor: page.next_cursor }))
}

impl Question {
    fn lower(self, now: Timestamp) -> Result<(Filter, Option<String>, usize), Problem> {
        let given = |text: String| (!text.is_empty()).then_some(text);
        let mut faults = Vec::new();
        let mut refuse = |pointer: &str, detail: &str| faults.push(trouble::fault(pointer, detail));
        let reason = given(self.reason).and_then(|text| match text.parse::<Reason>() {
            Ok(reason) => Some(reason),
            Err(unknown) => {
                refuse("/reason", &unknown.to_string());
                None
            }
        });
        let address = given(self.address).and_then(|text| match Address::parse(&text) {
            Ok(address) => Some(address),
            Err(wrong) => {
                refuse("/address", wrong.0);
                None
            }
        });
        let since = given(self.since).and_then(|text| {
            let at = moment(&text, now);
            if at.is_none() {
                refuse("/since", "is neither an RFC 3339 time nor a span such as 2h");
            }
            at
        });
        let removed = match self.removed.as_str() {
            "true" => true,
            "" | "false" => false,
            _ => {
                refuse("/removed", "must be true or false");
                false
            }
        };
        let limit = query::limit(Some(self.limit));
        if let Err(wrong) = limit {
            refuse("/limit", wrong);
        }
        let (Ok(limit), true) = (limit, faults.is_empty()) else { return Err(trouble::invalid(faults)) };
        let filter = Filter { tenant: given(self.tenant), reason, address, since, removed };
        Ok((filter, given(self.cursor), limit))
    }
}

/// Put somebody on the suppression list
///
/// One entry, or up to 1,000 as a JSON array or NDJSON with a result per entry; one bad entry never spoils its
/// neighbours. Nothing is sent to that mailbox any more, except that transactional mail goes to people who unsubscribed
/// where the tenant allows it.
#[utoipa::path(
    post, path = "/v1/suppressions", operation_id = "addSuppressions", tag = "suppressions",
    request_body(content(
        (EntryRequest = "application/json"),
        (EntryRequest = "application/x-ndjson"),
    )),
    responses(
        (status = 200, description = "Of one entry: it stands", body = Suppressed),
        (status = 207, description = "Of several: one result per entry, in order", body = SuppressAnswer),
        (status = 413, description = "The body or the number of entries is over the limit", body = Problem, content_type = "application/problem+json"),
        (status = 415, description = "None of the media types", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "The one entry, or the list, is not valid", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn add(
    State(door): State<Shared>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let media = body::media(&parts.headers, &[Media::Json, Media::Ndjson])?;
    let held = body::read(&door, body, MAX_BODY_BYTES).await?;
    let (texts, is_one) = split(&held.bytes, media)?;
    let now = door.state.clock.now();
    let entries = texts.into_iter().map(|text| entry::parse(text, &caller, now)).collect();
    let mut results = record(&door, &caller, entries).await;
    if is_one && let Some(one) = results.pop() {
        return one.map(|one| Json(one).into_response());
    }
    let results = results.into_iter().map(|result| match result {
        Ok(suppressed) => SuppressResult::Suppressed(suppressed),
        Err(error) => SuppressResult::Refused { error },
    });
    Ok((StatusCode::MULTI_STATUS, Json(SuppressAnswer { results: results.collect() })).into_response())
}

/// The entries of a request, uncopied, and whether it is one alone.
fn split(body: &[u8], media: Media) -> Result<(Vec<&[u8]>, bool), Problem> {
    if body.trim_ascii().is_empty() {
        return Err(trouble::invalid_at("", "the body is empty"));
    }
    let is_object = body.trim_ascii().starts_with(b"{");
    let is_one = is_object
        && media != Media::Ndjson
        && serde_json::from_slice::<&serde_json::value::RawValue>(body).is_ok();
    if is_one || (is_object && media == Media::Json) {
        return Ok((vec![body], true));
    }
    let form = match media {
        Media::Ndjson => Form::Ndjson,
        Media::Json => Form::List,
        Media::Unsaid => Form::of(body),
    };
    match batch::split(body, form, MAX_ENTRIES) {
        Ok(entries) => Ok((entries.into_iter().map(|entry| entry.body).collect(), false)),
        Err(fault @ BatchFault::NotOneList) => Err(trouble::invalid_at("", fault.to_string())),
        Err(fault @ BatchFault::TooMany(_)) => {
            Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE).with_detail(format!("the list {fault}")))
        }
    }
}

/// Records what is right in one call, and answers in order.
async fn record(
    door: &Door,
    caller: &Caller,
    slots: Vec<Result<Entry, Problem>>,
) -> Vec<Result<Suppressed, Problem>> {
    let entries: Vec<Entry> = slots.iter().filter_map(|slot| slot.as_ref().ok()).cloned().collect();
    let mut answers = match door.state.suppressions.add(&entries).await {
        Ok(answers) => answers.into_iter(),
        Err(error) => {
            let problem = trouble::journal(&error);
            return slots.into_iter().map(|slot| slot.and(Err(problem.clone()))).collect();
        }
    };
    let mut told = |entry: Entry| match answers.next() {
        Some(Ok(added)) => {
            let email = entry.address.reveal().to_owned();
            Ok(Suppressed { email, reason: entry.reason, added: added == Added::New })
        }
        Some(Err(error)) => Err(trouble::suppressions(&error)),
        None => Err(trouble::suppressions(&trouble::no_answer())),
    };
    let results: Vec<_> = slots.into_iter().map(|slot| slot.and_then(&mut told)).collect();
    let added = results.iter().filter(|result| result.as_ref().is_ok_and(|one| one.added)).count();
    if added > 0 {
        tracing::info!(added, who = caller.0.id, "the suppression list grew");
    }
    results
}
