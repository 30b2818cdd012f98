//! Broadcasts of declared size: what exceeds it is held, not sent.

use axum::Extension;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Query, Request, State};
use axum::http::Uri;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::answer::Json;
use super::guard::Caller;
use super::{Shared, body, trouble};
use crate::notification::content::is_batch_name;
use crate::server::problem::Problem;
use crate::stops::KNOWN_WITHIN;
use crate::storm::batches::{self, Batch};

/// The largest size that can be declared.
const MOST: u64 = 1_000_000_000;

/// What is declared.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"expected": 1200}))]
pub(super) struct Declaration {
    /// How many notifications the broadcast has. Declare it again to let more through.
    #[schema(minimum = 0, maximum = 1_000_000_000)]
    expected: u64,
    /// Whose broadcast it is; the key's own tenant when left out.
    #[serde(default)]
    tenant: Option<String>,
}

/// Every declared broadcast.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DeclaredBatches {
    /// Latest first.
    items: Vec<Batch>,
}

/// Whose.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Whose {
    /// Other tenants' need the scope admin, with which all are listed when it is left out.
    tenant: Option<String>,
}

/// Declare how many notifications a broadcast has
///
/// What exceeds it is held with the reason `batch_size`. Answers once every worker goes by it: hand the broadcast in
/// after that. The same notification again, retries and resends are not counted twice; what is held for it and then
/// released is not counted at all.
#[utoipa::path(
    post, path = "/v1/batches/{batch}", operation_id = "declareBatch", tag = "notifications",
    params(("batch" = String, Path, description = "The broadcast's name, as its notifications have it")),
    request_body(content = Declaration, content_type = "application/json"),
    responses(
        (status = 200, description = "Declared", body = Batch),
        (status = 422, description = "The name or the size is not valid", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn declare(
    State(door): State<Shared>,
    Extension(caller): Extension<Caller>,
    batch: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Json<Batch>, Problem> {
    let declaration: Option<Declaration> = body::read_json(&door, request).await?;
    let Declaration { expected, tenant } =
        declaration.ok_or_else(|| trouble::invalid_at("/expected", "is missing"))?;
    let batch = batch.ok().map(|Path(batch)| batch).filter(|batch| is_batch_name(batch));
    let mut faults = Vec::new();
    trouble::check(
        batch.is_some(),
        "/batch",
        "is not a name that a notification's batch can have",
        &mut faults,
    );
    trouble::check(expected <= MOST, "/expected", "must be at most 1000000000", &mut faults);
    let (Some(batch), true) = (batch, faults.is_empty()) else { return Err(trouble::invalid(faults)) };
    let tenant = caller.acts_for(tenant)?;
    let (journal, now) = (&*door.state.journal, door.state.clock.now());
    let declared = batches::declare(journal, (&tenant, &batch), expected, &caller.0.id, now).await;
    let (declared, is_tighter) = declared?;
    tracing::info!(tenant, batch, expected, who = caller.0.id, "a batch was declared");
    if is_tighter {
        tokio::time::sleep(KNOWN_WITHIN).await;
    }
    Ok(Json(declared))
}

/// List broadcasts of declared size
#[utoipa::path(
    get, path = "/v1/batches", operation_id = "listBatches", tag = "notifications",
    params(Whose),
    responses(
        (status = 200, description = "Every declared broadcast", body = DeclaredBatches),
        (status = 422, description = "A parameter is not known", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn list(
    State(door): State<Shared>,
    Extension(caller): Extension<Caller>,
    uri: Uri,
) -> Result<Json<DeclaredBatches>, Problem> {
    let Ok(Query(Whose { tenant })) = Query::try_from_uri(&uri) else {
        return Err(trouble::invalid_at("", "tenant is the only parameter of this listing"));
    };
    let tenant = caller.tenant(tenant)?;
    let items = batches::list(&*door.state.journal, tenant.as_deref()).await;
    Ok(Json(DeclaredBatches { items: items? }))
}
