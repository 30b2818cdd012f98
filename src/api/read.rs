//! Looking notifications up.

use axum::Extension;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::Uri;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::answer::Json;
use super::guard::Caller;
use super::query::{self, Question};
use super::view::RecordView;
use super::{Door, Shared, trouble};
use crate::message_log::{Page, Record};
use crate::notification::NotificationId;
use crate::server::problem::Problem;

/// One page of a listing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = RecordPage)]
pub struct PageView {
    /// The records.
    pub items: Vec<RecordView>,
    /// Give it as `cursor` to get the next page; null on the last.
    #[schema(required = true)]
    pub next_cursor: Option<String>,
}

/// Look one notification up
#[utoipa::path(
    get, path = "/v1/notifications/{id}", operation_id = "show", tag = "notifications",
    params(("id" = String, Path, description = "The notification's id")),
    responses(
        (status = 200, description = "The record", body = RecordView),
        (status = 404, description = "No such notification, or another tenant's", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn show(
    State(door): State<Shared>,
    Extension(caller): Extension<Caller>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<RecordView>, Problem> {
    let record = find(&door, &caller, id).await?;
    Ok(Json(door.view(record, door.state.clock.now()).await))
}

/// The record that a path names, if the caller may see it. Another tenant's does not exist for them.
pub(super) async fn find(
    door: &Door,
    caller: &Caller,
    id: Result<Path<String>, PathRejection>,
) -> Result<Record, Problem> {
    let id =
        id.ok().and_then(|Path(text)| text.parse::<NotificationId>().ok()).ok_or_else(trouble::not_found)?;
    let record = door.state.log.get(id).await?;
    record.filter(|record| caller.0.may_act_for(&record.tenant)).ok_or_else(trouble::not_found)
}

/// List notifications
///
/// Every given parameter must match. Times are RFC 3339, or a span back from now such as `2h`.
#[utoipa::path(
    get, path = "/v1/notifications", operation_id = "list", tag = "notifications",
    params(Question),
    responses(
        (status = 200, description = "A page of records", body = PageView),
        (status = 422, description = "A parameter is not valid or not known", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn list(
    State(door): State<Shared>,
    Extension(caller): Extension<Caller>,
    uri: Uri,
) -> Result<Json<PageView>, Problem> {
    let now = door.state.clock.now();
    let wanted = query::parse(&uri, now)?;
    let mut selection = wanted.selection;
    selection.filter.tenant = caller.tenant(selection.filter.tenant.take())?;
    let page = if selection.matches_nothing {
        Page::default()
    } else {
        let listed =
            door.state.log.list(&selection.filter, wanted.cursor.as_deref(), wanted.limit, now).await;
        listed?
    };
    let items = page.items.into_iter().map(|record| door.view_with(record, None, now)).collect();
    Ok(Json(PageView { items, next_cursor: page.next_cursor }))
}
