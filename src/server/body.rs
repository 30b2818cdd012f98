//! Reading a request's body: bounded in bytes, in silence and in total time.

use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::Body as _;
use tokio::time::{Instant, timeout_at};

/// Why a body could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// Longer than the limit, by its `Content-Length` or by what came: 413.
    #[error("the body is larger than allowed")]
    TooLarge,
    /// Silent or slow for too long: 408.
    #[error("the body did not come in time")]
    TimedOut,
    /// Cut off or badly framed: 400, if anybody is still listening.
    #[error("the body ended before it was whole")]
    Broken,
}

/// Reads a whole body of at most `limit_bytes`. A declared length over the limit is refused before a byte is read.
/// No pause between two pieces may be longer than `idle`, and the whole not longer than `total`.
pub async fn read_body(
    mut body: Body,
    limit_bytes: usize,
    idle: Duration,
    total: Duration,
) -> Result<Bytes, BodyError> {
    let declared = body.size_hint();
    let limit = u64::try_from(limit_bytes).unwrap_or(u64::MAX);
    if declared.lower() > limit {
        return Err(BodyError::TooLarge);
    }
    let end = Instant::now() + total;
    let mut first: Option<Bytes> = None;
    let mut whole = BytesMut::new();
    while let Some(data) = next_data(&mut body, idle, end).await? {
        let so_far = whole.len() + first.as_ref().map_or(0, Bytes::len);
        if so_far + data.len() > limit_bytes {
            return Err(BodyError::TooLarge);
        }
        // Most bodies come in one piece, which is then handed on without a copy.
        match first.take() {
            None if whole.is_empty() => first = Some(data),
            held => {
                if let Some(held) = held {
                    // Trust a declared length only so far: a client may declare much and send little.
                    let expected = usize::try_from(declared.lower()).unwrap_or(0).min(1024 * 1024);
                    whole.reserve(expected.max(held.len() + data.len()));
                    whole.extend_from_slice(&held);
                }
                whole.extend_from_slice(&data);
            }
        }
    }
    Ok(first.unwrap_or_else(|| whole.freeze()))
}

/// The next piece of data; `None` at the end. Trailers are passed over.
async fn next_data(body: &mut Body, idle: Duration, end: Instant) -> Result<Option<Bytes>, BodyError> {
    loop {
        let until = end.min(Instant::now() + idle);
        match timeout_at(until, body.frame()).await {
            Err(_elapsed) => return Err(BodyError::TimedOut),
            Ok(None) => return Ok(None),
            Ok(Some(Err(_broken))) => return Err(BodyError::Broken),
            Ok(Some(Ok(frame))) => {
                // A client could keep us here with empty pieces, were the end not looked at again.
                if Instant::now() >= end {
                    return Err(BodyError::TimedOut);
                }
                match frame.into_data() {
                    Ok(data) if data.is_empty() => {}
                    Ok(data) => return Ok(Some(data)),
                    Err(_trailers) => {}
                }
            }
        }
    }
}
