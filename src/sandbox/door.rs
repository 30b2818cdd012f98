//! The sandbox's HTTP: SendGrid's one call and the sandbox's own.

mod control;
mod mail_send;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use axum::Router;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};

use super::faults::{Plan, Script};
use super::validate::Issue;
use super::{Config, Outbox, Signer, Stats, Webhooks};
use crate::shutdown::Shutdown;

/// What the handlers share.
pub(super) struct Door {
    config: Config,
    /// The only accepted bearer token; without one any will do.
    api_key: RwLock<Option<String>>,
    script: RwLock<Arc<Script>>,
    pub(super) outbox: Outbox,
    pub(super) signer: Arc<Signer>,
    webhooks: Option<Arc<Webhooks>>,
    faulted: AtomicU64,
    shutdown: Shutdown,
}

impl std::fmt::Debug for Door {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Door").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Door {
    pub(super) fn new(
        config: Config,
        signer: Arc<Signer>,
        webhooks: Option<Arc<Webhooks>>,
        shutdown: Shutdown,
    ) -> Self {
        Self {
            script: RwLock::new(Arc::new(Script::new(config.faults.clone(), config.seed))),
            outbox: Outbox::new(config.outbox_capacity, config.outbox_capacity_bytes),
            signer,
            webhooks,
            faulted: AtomicU64::new(0),
            shutdown,
            api_key: RwLock::new(config.api_key.clone()),
            config,
        }
    }

    pub(super) fn script(&self) -> Arc<Script> {
        Arc::clone(&self.script.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn set_plan(&self, plan: Plan) {
        let script = Arc::new(Script::new(plan, self.config.seed));
        *self.script.write().unwrap_or_else(PoisonError::into_inner) = script;
    }

    fn api_key(&self) -> Option<String> {
        self.api_key.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set_api_key(&self, key: Option<String>) {
        *self.api_key.write().unwrap_or_else(PoisonError::into_inner) = key;
    }

    pub(super) fn stats(&self) -> Stats {
        let mails = self.outbox.counts();
        let events = self.webhooks.as_ref().map(|webhooks| webhooks.counts()).unwrap_or_default();
        Stats {
            accepted: mails.accepted,
            distinct: mails.distinct,
            duplicates: mails.duplicates,
            refused: mails.refused,
            faulted: self.faulted.load(Ordering::Relaxed),
            events_posted: events.events_posted,
            webhook_failures: events.webhook_failures,
            events_lost: events.events_lost,
        }
    }
}

pub(super) fn router(door: Arc<Door>) -> Router {
    Router::new()
        .route("/v3/mail/send", post(mail_send::mail_send))
        .route("/sandbox/outbox", get(control::outbox).delete(control::clear_outbox))
        .route("/sandbox/stats", get(control::stats))
        .route("/sandbox/webhook-key", get(control::webhook_key))
        .route("/sandbox/faults", get(control::faults).post(control::set_faults))
        .route("/healthz", get(async || "ok"))
        .fallback(async || errors(StatusCode::NOT_FOUND, &[Issue::general("not found")]))
        .method_not_allowed_fallback(async || {
            errors(StatusCode::METHOD_NOT_ALLOWED, &[Issue::general("method not allowed")])
        })
        .with_state(door)
}

/// SendGrid's error body.
fn errors(status: StatusCode, issues: &[Issue]) -> Response {
    json(status, serde_json::json!({ "errors": issues }).to_string())
}

fn json(status: StatusCode, body: impl Into<axum::body::Body>) -> Response {
    let kind = HeaderValue::from_static("application/json");
    (status, [(header::CONTENT_TYPE, kind)], body.into()).into_response()
}
