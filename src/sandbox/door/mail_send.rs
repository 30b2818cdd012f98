//! `POST /v3/mail/send`.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Extension;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use serde_json::Value;
use subtle::ConstantTimeEq;

use super::{Door, errors};
use crate::sandbox::events;
use crate::sandbox::faults::{Script, Turn, Verdict};
use crate::sandbox::outbox::Mail;
use crate::sandbox::validate::{self, Issue};
use crate::server::{BodyError, Connection, read_body};

/// SendGrid's bound on a whole message.
const LARGEST_BODY_BYTES: usize = 30 * 1024 * 1024;
const BODY_IDLE: Duration = Duration::from_secs(10);
const BODY_TOTAL: Duration = Duration::from_secs(60);

const MESSAGE_ID: HeaderName = HeaderName::from_static("x-message-id");

/// One request from its head to its answer, or to the lack of one.
pub(super) async fn mail_send(
    State(door): State<Arc<Door>>,
    Extension(connection): Extension<Connection>,
    request: Request,
) -> Response {
    let script = door.script();
    let turn = script.next_turn();
    let (head, body) = request.into_parts();
    if turn.verdict.takes_mail() {
        if let Err((status, message)) = door.admit(&head.headers) {
            return door.refuse(status, &[Issue::general(message)]);
        }
    } else if !matches!(turn.verdict, Verdict::Refuse(_)) {
        door.faulted.fetch_add(1, Ordering::Relaxed);
    }
    if turn.verdict == Verdict::Reset {
        return door.reset(&connection).await;
    }
    let body = match read_body(body, LARGEST_BODY_BYTES, BODY_IDLE, BODY_TOTAL).await {
        Ok(body) => body,
        Err(error) => return door.unreadable(error),
    };
    let pause = door.config.latency + turn.delay;
    if !pause.is_zero() {
        tokio::time::sleep(pause).await;
    }
    match turn.verdict {
        Verdict::ServerError(status) => server_error(status),
        Verdict::Refuse(status) => door.refuse_for_good(status),
        Verdict::TooManyRequests(retry_after_seconds) => too_many_requests(retry_after_seconds),
        Verdict::Reset => door.reset(&connection).await,
        Verdict::Silence => door.silence(&connection, turn.verdict).await,
        Verdict::Accept => door.take(&script, &turn, body),
        Verdict::AcceptThenReset => match door.take(&script, &turn, body) {
            answer if answer.status() == StatusCode::ACCEPTED => door.reset(&connection).await,
            refusal => refusal,
        },
        Verdict::AcceptThenSilence(_) => match door.take(&script, &turn, body) {
            answer if answer.status() == StatusCode::ACCEPTED => {
                door.silence(&connection, turn.verdict).await
            }
            refusal => refusal,
        },
    }
}

impl Door {
    /// What the head alone is refused for.
    fn admit(&self, headers: &HeaderMap) -> Result<(), (StatusCode, &'static str)> {
        let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
        let key = match text(header::AUTHORIZATION).and_then(|value| value.split_once(' ')) {
            Some((scheme, key)) if scheme.eq_ignore_ascii_case("bearer") && !key.trim().is_empty() => {
                key.trim()
            }
            _ => return Err((StatusCode::UNAUTHORIZED, "authorization required")),
        };
        if let Some(wanted) = self.api_key()
            && !bool::from(wanted.as_bytes().ct_eq(key.as_bytes()))
        {
            let message = "The provided authorization grant is invalid, expired, or revoked";
            return Err((StatusCode::UNAUTHORIZED, message));
        }
        let kind = text(header::CONTENT_TYPE).and_then(|value| value.split(';').next()).unwrap_or_default();
        if !kind.trim().eq_ignore_ascii_case("application/json") {
            return Err((StatusCode::UNSUPPORTED_MEDIA_TYPE, "Content-Type should be application/json."));
        }
        // SendGrid takes gzip only after its support has enabled it for the account.
        if text(header::CONTENT_ENCODING).is_some_and(|encoding| !encoding.eq_ignore_ascii_case("identity")) {
            return Err((StatusCode::UNSUPPORTED_MEDIA_TYPE, "Unsupported Content-Encoding"));
        }
        Ok(())
    }

    fn refuse_for_good(&self, status: u16) -> Response {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
        self.refuse(status, &[Issue::general(status.canonical_reason().unwrap_or("refused"))])
    }

    fn refuse(&self, status: StatusCode, issues: &[Issue]) -> Response {
        self.outbox.refuse();
        errors(status, issues)
    }

    fn unreadable(&self, error: BodyError) -> Response {
        let (status, message) = match error {
            BodyError::TooLarge => (
                StatusCode::PAYLOAD_TOO_LARGE,
                "The JSON payload you have included in your request is too large.",
            ),
            BodyError::TimedOut => (StatusCode::REQUEST_TIMEOUT, "request timeout"),
            BodyError::Broken => (StatusCode::BAD_REQUEST, "Bad Request"),
        };
        self.refuse(status, &[Issue::general(message)])
    }

    /// Validates, keeps and answers. The body is parsed once.
    fn take(&self, script: &Script, turn: &Turn, body: Bytes) -> Response {
        let Ok(text) = std::str::from_utf8(&body) else {
            return self
                .refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE, &[Issue::general("Invalid UTF8 in request")]);
        };
        let Ok(request) = serde_json::from_str::<Value>(text) else {
            return self.refuse(StatusCode::BAD_REQUEST, &[Issue::general("Bad Request")]);
        };
        let now = self.config.clock.now();
        let issues = validate::issues(&request, now);
        if !issues.is_empty() {
            return self.refuse(StatusCode::BAD_REQUEST, &issues);
        }
        if request["mail_settings"]["sandbox_mode"]["enable"] == true {
            return answer(StatusCode::OK, None);
        }
        let message_id = URL_SAFE_NO_PAD.encode(rand::random::<[u8; 16]>());
        if let Some(webhooks) = &self.webhooks {
            webhooks.push(events::of(&request, &message_id, turn.number, script, now));
        }
        let kakitome_id = kakitome_id(&request).map(str::to_owned);
        self.outbox.accept(Mail {
            accepted_at: now,
            message_id: message_id.clone(),
            kakitome_id,
            request: body,
        });
        answer(StatusCode::ACCEPTED, HeaderValue::try_from(message_id).ok())
    }

    /// Cuts the connection. Never returns: the listener drops the request.
    async fn reset(&self, connection: &Connection) -> Response {
        connection.reset();
        std::future::pending().await
    }

    /// Says nothing until the client leaves, the time is up or the sandbox stops.
    async fn silence(&self, connection: &Connection, verdict: Verdict) -> Response {
        tokio::select! {
            () = tokio::time::sleep(verdict.silence()) => {}
            () = self.shutdown.pulled() => {}
        }
        self.reset(connection).await
    }
}

/// The custom argument of the whole request, else of the first personalization that has it.
fn kakitome_id(request: &Value) -> Option<&str> {
    let everywhere = request["personalizations"].as_array().into_iter().flatten();
    let mut args = std::iter::once(request).chain(everywhere).map(|one| &one["custom_args"]["kakitome_id"]);
    args.find_map(Value::as_str)
}

fn answer(status: StatusCode, message_id: Option<HeaderValue>) -> Response {
    let mut response = status.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    if let Some(message_id) = message_id {
        headers.insert(MESSAGE_ID, message_id);
    }
    response
}

fn server_error(status: u16) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let message = match status {
        StatusCode::SERVICE_UNAVAILABLE => "The SendGrid v3 Web API is not available",
        _ => status.canonical_reason().unwrap_or("server error"),
    };
    errors(status, &[Issue::general(message)])
}

fn too_many_requests(retry_after_seconds: Option<u32>) -> Response {
    let mut response = errors(StatusCode::TOO_MANY_REQUESTS, &[Issue::general("too many requests")]);
    if let Some(seconds) = retry_after_seconds {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}
