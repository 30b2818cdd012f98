//! The sandbox's own calls: look at what it took, change what goes wrong.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Door, json as json_answer};
use crate::sandbox::faults::Plan;
use crate::sandbox::outbox::Mail;
use crate::server::{BodyError, read_body};

const LARGEST_PLAN_BYTES: usize = 64 * 1024;
const PLAN_TIMEOUT: Duration = Duration::from_secs(10);

/// Which mails are wanted.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    limit: Option<usize>,
    kakitome_id: Option<String>,
    to: Option<String>,
}

pub(super) async fn outbox(
    State(door): State<Arc<Door>>,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Response {
    let Query(wanted) = match wanted {
        Ok(wanted) => wanted,
        Err(error) => return problem(StatusCode::BAD_REQUEST, &error.body_text()),
    };
    let mails = door.outbox.mails(wanted.limit.unwrap_or(usize::MAX), |mail| {
        let is_id = |id| mail.kakitome_id.as_ref() == Some(id);
        wanted.kakitome_id.as_ref().is_none_or(is_id) && wanted.to.as_ref().is_none_or(|to| is_to(mail, to))
    });
    json_answer(StatusCode::OK, written(&mails))
}

/// Whether one of its recipients is `to`, in any case.
fn is_to(mail: &Mail, to: &str) -> bool {
    let request: Value = serde_json::from_slice(&mail.request).unwrap_or_default();
    let personalizations = request["personalizations"].as_array().into_iter().flatten();
    let lists = personalizations.flat_map(|one| ["to", "cc", "bcc"].map(|name| &one[name]));
    let entries = lists.filter_map(Value::as_array).flatten();
    entries.filter_map(|entry| entry["email"].as_str()).any(|email| email.eq_ignore_ascii_case(to))
}

/// A JSON array, the requests spliced in as they came.
fn written(mails: &[Mail]) -> Vec<u8> {
    let bytes: usize = mails.iter().map(|mail| mail.request.len() + 200).sum();
    let mut body = Vec::with_capacity(bytes + 2);
    body.push(b'[');
    for (index, mail) in mails.iter().enumerate() {
        let separator = if index == 0 { "" } else { "," };
        let head = format!(
            "{separator}{{\"accepted_at\":{},\"message_id\":{},\"kakitome_id\":{},\"request\":",
            json!(mail.accepted_at),
            json!(mail.message_id),
            json!(mail.kakitome_id),
        );
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(&mail.request);
        body.push(b'}');
    }
    body.push(b']');
    body
}

pub(super) async fn clear_outbox(State(door): State<Arc<Door>>) -> StatusCode {
    door.outbox.clear();
    door.faulted.store(0, std::sync::atomic::Ordering::Relaxed);
    StatusCode::NO_CONTENT
}

pub(super) async fn stats(State(door): State<Arc<Door>>) -> Response {
    written_json(&door.stats())
}

pub(super) async fn webhook_key(State(door): State<Arc<Door>>) -> String {
    door.signer.public_key().to_owned()
}

pub(super) async fn faults(State(door): State<Arc<Door>>) -> Response {
    written_json(door.script().plan())
}

/// Takes a plan in either form, whatever its content type says.
pub(super) async fn set_faults(State(door): State<Arc<Door>>, body: Body) -> Response {
    let body = match read_body(body, LARGEST_PLAN_BYTES, PLAN_TIMEOUT, PLAN_TIMEOUT).await {
        Ok(body) => body,
        Err(BodyError::TooLarge) => {
            return problem(StatusCode::PAYLOAD_TOO_LARGE, "a plan has at most 64 KiB");
        }
        Err(error @ BodyError::TimedOut) => return problem(StatusCode::REQUEST_TIMEOUT, &error.to_string()),
        Err(error @ BodyError::Broken) => return problem(StatusCode::BAD_REQUEST, &error.to_string()),
    };
    let plan = std::str::from_utf8(&body).map_err(|error| error.to_string());
    match plan.and_then(|text| text.parse::<Plan>().map_err(|error| error.to_string())) {
        Ok(plan) => {
            door.set_plan(plan);
            written_json(door.script().plan())
        }
        Err(error) => problem(StatusCode::BAD_REQUEST, &error),
    }
}

fn written_json(value: &impl serde::Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(body) => json_answer(StatusCode::OK, body),
        Err(error) => problem(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

/// RFC 9457.
fn problem(status: StatusCode, detail: &str) -> Response {
    let body = json!({"title": status.canonical_reason(), "status": status.as_u16(), "detail": detail});
    let kind = HeaderValue::from_static("application/problem+json");
    (status, [(header::CONTENT_TYPE, kind)], body.to_string()).into_response()
}
