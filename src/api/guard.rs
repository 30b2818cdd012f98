//! What every request passes: one debug line, a net under panics, and on routes with a scope the key and its rate.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures::FutureExt;

use super::auth::{ApiKey, Scope, bearer};
use super::{Shared, trouble};
use crate::server::problem::Problem;

/// Who calls: put into the request by [`admit`].
#[derive(Clone, Debug)]
pub(super) struct Caller(pub(super) Arc<ApiKey>);

impl Caller {
    /// The tenant to look in: the one asked for if the key may, else the key's own; `None` for an admin who asked
    /// for none, which means all.
    pub(super) fn tenant(&self, asked: Option<String>) -> Result<Option<String>, Problem> {
        match asked {
            Some(tenant) if !self.0.may_act_for(&tenant) => Err(trouble::foreign_tenant("/tenant")),
            Some(tenant) => Ok(Some(tenant)),
            None if self.0.allows(Scope::Admin) => Ok(None),
            None => Ok(Some(self.0.tenant.clone())),
        }
    }

    /// Refuses whoever may not see what belongs to no tenant.
    pub(super) fn must_see_all(&self) -> Result<(), Problem> {
        if self.0.allows(Scope::Admin) { Ok(()) } else { Err(trouble::foreign_tenant("")) }
    }

    /// The one tenant to act for: the one asked for if the key may, and the key's own where none is.
    pub(super) fn acts_for(&self, asked: Option<String>) -> Result<String, Problem> {
        match asked {
            Some(tenant) if !self.0.may_act_for(&tenant) => Err(trouble::foreign_tenant("/tenant")),
            Some(tenant) => Ok(tenant),
            None => Ok(self.0.tenant.clone()),
        }
    }
}

/// Lets a request with a key that allows the route's scope pass, at the key's rate.
pub(super) async fn admit(
    State((door, scope)): State<(Shared, Scope)>,
    mut request: Request,
    next: Next,
) -> Response {
    let key = match key_of(&door, request.headers()) {
        Ok(key) => key,
        Err(unknown) => return unknown.into_response(),
    };
    if !key.allows(scope) {
        return Problem::new(StatusCode::FORBIDDEN)
            .with_detail(format!("the key lacks the scope {scope}"))
            .into_response();
    }
    if let Err(wait) = door.rates.take(&key.id, door.state.clock.boot_time()) {
        return Problem::new(StatusCode::TOO_MANY_REQUESTS)
            .with_detail("too many requests with this key")
            .with_retry_after(wait)
            .into_response();
    }
    request.extensions_mut().insert(Caller(key));
    next.run(request).await
}

/// Why a request has no key.
enum NoKey {
    Absent,
    Malformed,
    Unknown,
}

fn key_of(door: &Shared, headers: &HeaderMap) -> Result<Arc<ApiKey>, NoKey> {
    let given = headers.get(header::AUTHORIZATION).ok_or(NoKey::Absent)?;
    let token = given.to_str().ok().and_then(bearer).ok_or(NoKey::Malformed)?;
    door.state.keys.find(token).ok_or(NoKey::Unknown)
}

impl IntoResponse for NoKey {
    fn into_response(self) -> Response {
        let plain = r#"Bearer realm="kakitome""#;
        let (detail, challenge) = match self {
            NoKey::Absent => ("a key is needed: Authorization: Bearer KEY", plain),
            NoKey::Malformed => ("the Authorization header is not of the form: Bearer KEY", plain),
            NoKey::Unknown => ("the key is not known", r#"Bearer realm="kakitome", error="invalid_token""#),
        };
        let mut response = Problem::new(StatusCode::UNAUTHORIZED).with_detail(detail).into_response();
        response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        response
    }
}

/// Writes one line per request, and turns a panic into a 500 that leaves the process unharmed. The line names the
/// route, never the address asked for: queries hold recipients.
pub(super) async fn watch(request: Request, next: Next) -> Response {
    let started = Instant::now();
    let method = request.method().clone();
    let path = request.extensions().get::<MatchedPath>().cloned();
    let path = path.as_ref().map_or("unmatched", MatchedPath::as_str).to_owned();
    let response = AssertUnwindSafe(next.run(request)).catch_unwind().await.unwrap_or_else(|_panic| {
        tracing::error!(%method, path, "a request's handler panicked");
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR)
            .with_detail("the request could not be handled")
            .into_response()
    });
    let took_ms = started.elapsed().as_millis();
    tracing::debug!(%method, path, status = response.status().as_u16(), took_ms, "request");
    response
}

/// No such path.
pub(super) async fn unknown_path() -> Problem {
    Problem::new(StatusCode::NOT_FOUND).with_detail("there is nothing at this path; see /openapi.json")
}

/// No such method on this path; axum adds `Allow`.
pub(super) async fn unknown_method() -> Problem {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED).with_detail("this path does not answer to this method")
}
