//! Handing many notifications in at once: one call to the log and one to the queue, a result per entry.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::answer::Json;
use super::body::Media;
use super::enqueue::{self, Enqueued, off_the_reactor};
use super::guard::Caller;
use super::{Shared, body, trouble};
use crate::notification::Notification;
use crate::notification::content::batch::{self, BatchFault, Form};
use crate::server::problem::Problem;

/// A result per entry, in the order of the entries.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct BatchAnswer {
    results: Vec<BatchResult>,
}

/// What became of one entry: what the single call would have answered.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
enum BatchResult {
    Enqueued(Enqueued),
    Refused { error: Problem },
}

/// Hand in up to 1,000 notifications
///
/// As NDJSON, one notification a line (blank lines are passed over), or as a JSON array. One bad entry never spoils
/// its neighbours.
#[utoipa::path(
    post, path = "/v1/notifications/batch", operation_id = "enqueueBatch", tag = "notifications",
    request_body(content(
        (Notification = "application/x-ndjson"),
        (Notification = "application/jsonl"),
        (Vec<Notification> = "application/json"),
    )),
    responses(
        (status = 207, description = "One result per entry, in order", body = BatchAnswer),
        (status = 413, description = "The body or the number of entries is over the limit", body = Problem, content_type = "application/problem+json"),
        (status = 415, description = "None of the media types", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "Not a JSON array", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn enqueue_batch(
    State(door): State<Shared>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let media = body::media(&parts.headers, &[Media::Json, Media::Ndjson])?;
    let held = body::read(&door, body, door.state.config.batch_body_bytes).await?;
    let now = door.state.clock.now();
    let (bytes, shared) = (held.bytes.clone(), Arc::clone(&door));
    let slots = off_the_reactor(move || {
        let config = &shared.state.config;
        let entries = entries(&bytes, media, config.batch_entries)?;
        Ok(entries.into_iter().map(|entry| enqueue::prepare(entry, None, &caller, config, now)).collect())
    })
    .await?;
    let results = enqueue::record(&door, slots, "batch", now).await?;
    let results = results
        .into_iter()
        .map(|result| match result {
            Ok(enqueued) => BatchResult::Enqueued(enqueued),
            Err(error) => BatchResult::Refused { error },
        })
        .collect();
    Ok((StatusCode::MULTI_STATUS, Json(BatchAnswer { results })).into_response())
}

/// The entries of a batch, uncopied.
fn entries(body: &[u8], media: Media, max: usize) -> Result<Vec<&[u8]>, Problem> {
    if body.trim_ascii().is_empty() {
        return Err(trouble::invalid_at("", "the body is empty"));
    }
    let form = match media {
        Media::Ndjson => Form::Ndjson,
        Media::Json => Form::List,
        Media::Unsaid => Form::of(body),
    };
    match batch::split(body, form, max) {
        Ok(entries) => Ok(entries.into_iter().map(|entry| entry.body).collect()),
        Err(fault @ BatchFault::NotOneList) => Err(trouble::invalid_at("", fault.to_string())),
        Err(fault @ BatchFault::TooMany(_)) => {
            Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE).with_detail(format!("the batch {fault}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(body: &str, media: Media) -> Result<Vec<&str>, u16> {
        match entries(body.as_bytes(), media, 3) {
            Ok(entries) => {
                Ok(entries.into_iter().map(|entry| std::str::from_utf8(entry).unwrap_or("?")).collect())
            }
            Err(problem) => Err(problem.status.as_u16()),
        }
    }

    #[test]
    fn lines_and_arrays_are_both_read_and_bounded() {
        assert_eq!(found("{\"a\":1}\r\n\n  nonsense\n", Media::Ndjson), Ok(vec!["{\"a\":1}", "nonsense"]));
        assert_eq!(found(" [ {\"a\": [1]} , 2 ] ", Media::Json), Ok(vec!["{\"a\": [1]}", "2"]));
        assert_eq!(found("[1]", Media::Unsaid), Ok(vec!["1"]));
        assert_eq!(found("{}\n{}", Media::Unsaid), Ok(vec!["{}", "{}"]));
        assert_eq!(found("[]", Media::Json), Ok(vec![]));
        assert_eq!(found("1\n2\n3\n4", Media::Ndjson), Err(413));
        assert_eq!(found("[1,2,3,4,]", Media::Json), Err(413));
        for wrong in ["{}", "[1", "[1] 2", "[1,]", ""] {
            assert_eq!(found(wrong, Media::Json), Err(422), "{wrong}");
        }
    }
}
