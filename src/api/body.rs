//! A request's body: its media type, and its bytes within every bound.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::{Body, HttpBody};
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, header};
use bytes::Bytes;
use futures::StreamExt;
use serde::de::DeserializeOwned;

use super::limit::Room;
use super::{Door, trouble};
use crate::server::problem::Problem;
use crate::server::{BodyError, read_body};

/// How large the body of an operator's request may be: a thousand ids fit.
const SMALL_BODY_BYTES: usize = 256 * 1024;

/// The media types that are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Media {
    Json,
    Ndjson,
    /// The caller did not say.
    Unsaid,
}

/// What the `Content-Type` says; 415 when it is none of `allowed` (an unsaid one is allowed always).
pub(super) fn media(headers: &HeaderMap, allowed: &[Media]) -> Result<Media, Problem> {
    let Some(value) = headers.get(header::CONTENT_TYPE) else {
        return Ok(Media::Unsaid);
    };
    let text = value.to_str().unwrap_or_default().to_ascii_lowercase();
    let mut parts = text.split(';').map(str::trim);
    let media = match parts.next() {
        Some("application/json") => Some(Media::Json),
        Some("application/x-ndjson" | "application/jsonl" | "application/ndjson") => Some(Media::Ndjson),
        // What `curl -d` and Python's urllib say by themselves: their users have not said anything.
        Some("application/x-www-form-urlencoded") => return Ok(Media::Unsaid),
        _ => None,
    };
    let is_utf8 = parts
        .filter_map(|part| part.strip_prefix("charset="))
        .all(|charset| matches!(charset.trim_matches('"'), "utf-8" | "utf8" | "us-ascii"));
    media.filter(|media| is_utf8 && allowed.contains(media)).ok_or_else(|| {
        let names = if allowed.contains(&Media::Ndjson) {
            "application/x-ndjson, application/jsonl or application/json"
        } else {
            "application/json"
        };
        Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE)
            .with_detail(format!("the Content-Type must be {names}, in UTF-8"))
    })
}

/// A whole body, and the room that it takes up until it is dropped.
pub(super) struct Held {
    pub(super) bytes: Bytes,
    _room: Arc<Mutex<Room>>,
}

/// Reads a whole body of at most `limit` bytes.
pub(super) async fn read(door: &Door, body: Body, limit: usize) -> Result<Held, Problem> {
    if body.size_hint().lower() > limit as u64 {
        return Err(trouble::body(BodyError::TooLarge, limit));
    }
    let room = Arc::new(Mutex::new(door.bodies.room()));
    let is_short = Arc::new(AtomicBool::new(false));
    let (counted, noticed) = (Arc::clone(&room), Arc::clone(&is_short));
    let pieces = body.into_data_stream().map(move |piece| {
        let piece = piece?;
        if counted.lock().unwrap_or_else(PoisonError::into_inner).grow(piece.len()) {
            return Ok(piece);
        }
        noticed.store(true, Ordering::Relaxed);
        Err(axum::Error::new(std::io::Error::from(std::io::ErrorKind::OutOfMemory)))
    });
    let config = &door.state.config;
    let read = read_body(Body::from_stream(pieces), limit, config.body_idle_timeout, config.body_timeout);
    match read.await {
        Ok(bytes) => Ok(Held { bytes, _room: room }),
        Err(_) if is_short.load(Ordering::Relaxed) => Err(trouble::memory_short()),
        Err(error) => Err(trouble::body(error, limit)),
    }
}

/// Reads an operator's JSON. An empty body is `None`.
pub(super) async fn read_json<T: DeserializeOwned>(
    door: &Door,
    request: Request,
) -> Result<Option<T>, Problem> {
    let (parts, body) = request.into_parts();
    let held = read(door, body, SMALL_BODY_BYTES).await?;
    if held.bytes.is_empty() {
        return Ok(None);
    }
    media(&parts.headers, &[Media::Json])?;
    serde_json::from_slice(&held.bytes).map(Some).map_err(|error| trouble::invalid_at("", in_words(&error)))
}

/// Says what is wrong without repeating a value, which may be an address; names of fields and choices are ours.
pub(super) fn in_words(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let is_about_names = ["missing field", "duplicate field"].iter().any(|start| text.starts_with(start));
    if is_about_names {
        return text;
    }
    // "unknown field `x`, expected one of `a`, `b` at line 1 column 9": what was expected is enough.
    let what = match text.strip_prefix("unknown ").and_then(|rest| rest.split_once(", expected ")) {
        Some((unknown, expected)) => {
            let kind = if unknown.starts_with("field") { "an unknown field" } else { "an unknown value" };
            return format!("{kind}; expected {expected}");
        }
        None if error.is_data() => "a value is not of the right type",
        None => "is not valid JSON",
    };
    format!("{what} (line {}, column {})", error.line(), error.column())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Sample {
        #[expect(dead_code, reason = "only its type matters")]
        count: u32,
    }

    fn words(json: &str) -> String {
        serde_json::from_str::<Sample>(json).err().map(|error| in_words(&error)).unwrap_or_default()
    }

    #[test]
    fn faults_name_fields_and_never_repeat_a_value() {
        assert_eq!(
            words(r#"{"count":"guest@example.com"}"#),
            "a value is not of the right type (line 1, column 28)"
        );
        assert_eq!(
            words(r#"{"guest@example.com":1}"#),
            "an unknown field; expected `count` at line 1 column 20"
        );
        assert_eq!(words("{}"), "missing field `count` at line 1 column 2");
        assert_eq!(words("{"), "is not valid JSON (line 1, column 1)");
    }

    #[test]
    fn a_charset_other_than_utf_8_is_not_read() {
        let said = |value: &'static str| {
            let headers =
                HeaderMap::from_iter([(header::CONTENT_TYPE, axum::http::HeaderValue::from_static(value))]);
            media(&headers, &[Media::Json]).ok()
        };
        assert_eq!(said("Application/JSON; charset=UTF-8"), Some(Media::Json));
        assert_eq!(said("application/json; charset=shift_jis"), None);
        assert_eq!(said("application/x-ndjson"), None);
        assert_eq!(said("text/plain"), None);
        assert_eq!(media(&HeaderMap::new(), &[Media::Json]).ok(), Some(Media::Unsaid));
    }
}
