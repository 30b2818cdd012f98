//! The API's description, from the table of routes and the types themselves.

use utoipa::OpenApi as _;
use utoipa::openapi::path::{Operation, PathItem, PathsBuilder};
use utoipa::openapi::schema::{AdditionalProperties, Schema};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{ContentBuilder, OpenApi, Ref, RefOr, ResponseBuilder};

use super::alerts::{AlertsView, ChannelTests};
use super::aside::AsidePageView;
use super::aside::deal::{AsideAnswer, Choice};
use super::batch::BatchAnswer;
use super::batches::{Declaration, DeclaredBatches};
use super::callbacks::change::{Resume, Resumed, Rotate, Trial};
use super::callbacks::{CallbacksView, Made, New};
use super::dead_letters::DeadLetters;
use super::dead_letters::resend::{ResendAnswer, ResendLine};
use super::engagement::EngagementView;
use super::enqueue::Enqueued;
use super::events::EventsView;
use super::jobs::{JobRequest, JobView, JobsView, Preview, StopsView};
use super::read::PageView;
use super::routes::{self, Route};
use super::status::StatusView;
use super::suppressions::{
    EntryRequest, Removals, Removed, RemovedAnswer, SuppressAnswer, Suppressed, SuppressionPage,
};
use super::unconfirmed::{Dismissal, DismissalAnswer, UnconfirmedView};
use super::unmatched::UnmatchedPageView;
use super::view::RecordView;
use super::{act, probe};
use crate::incident::Report;
use crate::notification::Notification;
use crate::server::problem::Problem;

const SECURITY: &str = "key";
/// Schemas of what producers write: a field that is not in them is refused.
const CLOSED: [&str; 4] = ["Notification", "Mailbox", "Template", "Attachment"];

/// What each status means: a schema has no place for a word about each value.
const STATUS: &str = "Waiting: `accepted` (for its first attempt), `scheduled` (for its `deliver_at`), `held` (for a \
                      release), `retrying` (not accepted by the provider). Under way: `attempting`, or `unknown` when \
                      the provider may have taken it and nothing says so yet. Ends: `sent` (the provider took it), \
                      `failed` (dead letter: refused for good, or attempts used up), `expired` (its `useful_until` \
                      passed), `cancelled`, `suppressed`.";

#[derive(utoipa::OpenApi)]
#[openapi(components(schemas(
    Notification,
    Enqueued,
    BatchAnswer,
    Declaration,
    DeclaredBatches,
    RecordView,
    PageView,
    EventsView,
    EngagementView,
    CallbacksView,
    New,
    Made,
    Resume,
    Resumed,
    Rotate,
    Trial,
    UnmatchedPageView,
    AsidePageView,
    Choice,
    AsideAnswer,
    act::Reason,
    JobRequest,
    Preview,
    JobView,
    JobsView,
    StopsView,
    DeadLetters,
    ResendLine,
    ResendAnswer,
    EntryRequest,
    Suppressed,
    SuppressAnswer,
    SuppressionPage,
    Removals,
    Removed,
    RemovedAnswer,
    StatusView,
    UnconfirmedView,
    Dismissal,
    DismissalAnswer,
    Report,
    AlertsView,
    ChannelTests,
    probe::Fine,
    Problem
)))]
struct Schemas;

/// The description of every route in the table.
pub(super) fn description() -> OpenApi {
    let mut api = Schemas::openapi();
    api.info.title = "kakitome".into();
    api.info.version = env!("CARGO_PKG_VERSION").into();
    api.info.description = Some(
        "Transactional notifications: recorded before they are acknowledged, sent as often as they should be, never \
         lost from sight. Every call under /v1 needs a key (`Authorization: Bearer KEY`) with the scope that it names: \
         `send`, `read` or `operate`. A key acts for its own tenant, one with the scope `admin` for all. Errors are \
         problem details (RFC 9457) with a JSON pointer for every fault at once. After 429, 500 or 503 the same \
         request with the same idempotency key may be sent again."
            .into(),
    );
    api.info.license = None;
    let mut paths = PathsBuilder::new();
    for route in routes::table() {
        let Route { path, method, scope, mut operation, .. } = route;
        if let Some(scope) = scope {
            operation.security = Some(vec![SecurityRequirement::new(SECURITY, [scope.as_str()])]);
            add_common_answers(
                &mut operation,
                &format!("The key lacks the scope {scope}, or is another tenant's"),
            );
        }
        paths = paths.path(path, PathItem::new(method, operation));
    }
    api.paths = paths.build();
    if let Some(components) = &mut api.components {
        let bearer =
            HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some("An API key")).build();
        components.add_security_scheme(SECURITY, SecurityScheme::Http(bearer));
        if let Some(RefOr::T(Schema::Object(status))) = components.schemas.get_mut("Status") {
            status.description = Some(STATUS.into());
        }
        for name in CLOSED {
            if let Some(RefOr::T(Schema::Object(object))) = components.schemas.get_mut(name) {
                object.additional_properties = Some(Box::new(AdditionalProperties::FreeForm(false)));
            }
        }
    }
    api
}

/// What the guard and the storage may answer on every route that needs a key.
fn add_common_answers(operation: &mut Operation, forbidden: &str) {
    let common = [
        ("401", "No key, or not a known one"),
        ("403", forbidden),
        ("429", "Over a rate or cap; see Retry-After"),
        ("500", "A fault of the server"),
        ("503", "Storage or memory is short; see Retry-After"),
    ];
    for (status, description) in common {
        let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
        let response = ResponseBuilder::new()
            .description(description)
            .content("application/problem+json", content)
            .build();
        operation.responses.responses.insert(status.to_owned(), RefOr::T(response));
    }
}

/// Whether the description names this method on this path.
#[cfg(test)]
fn describes(api: &OpenApi, method: &utoipa::openapi::HttpMethod, path: &str) -> bool {
    api.paths.get_path_operation(path, method.clone()).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_description_has_every_route_and_no_other() {
        let api = description();
        let table = routes::table();
        assert!(table.iter().all(|route| describes(&api, &route.method, &route.path)));
        let json = serde_json::to_value(&api).unwrap_or_default();
        let described: usize = json["paths"].as_object().map_or(0, |paths| {
            paths.values().filter_map(|item| item.as_object().map(|item| item.len())).sum()
        });
        assert_eq!(described, table.len());
    }
}
