//! Who carries messages to the endpoints, as others see it; and the message.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use serde::Serialize;

use super::Entry;
use super::callback::{Callback, Posted};
use crate::clock::Timestamp;
use crate::sign;

/// How many changes are in one message at the most.
pub const MOST_EVENTS: usize = 100;
/// How large its body is at the most, unless one change alone is larger.
pub const MOST_BYTES: usize = 256 * 1024;

/// Carries messages.
#[async_trait]
pub trait Courier: Send + Sync {
    /// Whether this address may be posted to, and its host leads to allowed addresses right now.
    async fn check(&self, url: &str) -> Result<(), PostError>;

    /// Posts once. What the address leads to is judged again.
    async fn post(&self, url: &str, message: &Message) -> Result<(), PostError>;
}

/// One message, signed for one post.
#[derive(Clone, Debug)]
pub struct Message {
    /// `webhook-id`: the same in every post of it.
    pub id: String,
    /// `webhook-timestamp`, of this post.
    pub seconds: i64,
    /// `webhook-signature`.
    pub signature: String,
    /// JSON, the same bytes in every post of it.
    pub body: Bytes,
}

#[derive(Serialize)]
struct Body<'a> {
    r#type: &'static str,
    timestamp: Timestamp,
    data: Data<'a>,
}

#[derive(Serialize)]
struct Data<'a> {
    tenant: &'a str,
    callback: &'a str,
    events: &'a [Entry],
}

/// The body that tells of these changes.
pub fn body(callback: &Callback, events: &[Entry], made_at: Timestamp) -> Bytes {
    write(callback, "notification.events", events, made_at)
}

/// The body of a trial, which tells nothing.
pub fn trial(callback: &Callback, now: Timestamp) -> Bytes {
    write(callback, "callback.test", &[], now)
}

fn write(callback: &Callback, r#type: &'static str, events: &[Entry], timestamp: Timestamp) -> Bytes {
    let data = Data { tenant: &callback.tenant, callback: &callback.id, events };
    // Plain structs of texts, numbers and times: writing them as JSON cannot fail.
    serde_json::to_vec(&Body { r#type, timestamp, data }).unwrap_or_default().into()
}

impl Message {
    /// Signs a body for a post at `now`, with every secret that is active then.
    pub fn sign(callback: &Callback, id: &str, body: Bytes, now: Timestamp) -> Self {
        let seconds = now.as_ms() / 1000;
        let signature = sign::webhook_signature(&callback.signing(now), id, seconds, &body);
        Self { id: id.to_owned(), seconds, signature, body }
    }
}

/// Why a post failed, without the address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PostError {
    /// It answered, and not with 2xx.
    #[error("it answered {status}")]
    Answer {
        /// What.
        status: u16,
        /// `Retry-After`, where it was a number of seconds.
        retry_after: Option<Duration>,
    },
    /// It did not answer in time.
    #[error("no answer in time")]
    Timeout,
    /// It cannot be reached.
    #[error("it cannot be reached")]
    Unreachable,
    /// Its certificate is not one to be trusted.
    #[error("{0}")]
    Certificate(&'static str),
    /// The address is not one that we post to.
    #[error("{0}")]
    Forbidden(&'static str),
}

impl From<Result<(), PostError>> for Posted {
    fn from(ended: Result<(), PostError>) -> Self {
        match ended {
            Ok(()) => Posted::Taken,
            Err(PostError::Answer { status: 410, .. }) => Posted::Gone,
            Err(error) => {
                let retry_after = match &error {
                    PostError::Answer { status: 429 | 503, retry_after } => *retry_after,
                    _ => None,
                };
                Posted::Failed { error: error.to_string(), retry_after }
            }
        }
    }
}
