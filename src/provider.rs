//! The provider port: how a notification is handed over, and what the provider says about it later.
//!
//! Only an adapter knows status codes. It classifies; when to try again is `worker/retry.rs`'s business.

mod detail;
pub mod health;
pub mod http;
mod idempotency;
mod mailbox;
mod redact;
pub mod resend;
pub mod sendgrid;
pub mod ses;
mod signed;
mod told_kind;

pub use idempotency::Idempotency;

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use axum::http::HeaderMap;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::clock::Timestamp;
use crate::named::named;
use crate::notification::address::Address;
use crate::notification::status::recipient::RecipientStatus;
use crate::notification::{Notification, NotificationId};

/// Hands notifications to one provider account.
#[async_trait]
pub trait Provider: Send + Sync {
    /// The name in configuration, records and metrics.
    fn name(&self) -> &str;

    /// One attempt, one request, no retry inside. Ends within the configured time-out.
    async fn send(&self, id: NotificationId, notification: &Notification) -> Result<Handover, SendError>;

    /// Whether it recognises a request that it had before. The key is the notification's id.
    fn idempotency(&self) -> Idempotency {
        Idempotency::None
    }

    /// Whether the provider can be reached: connects, asks nothing of it. For `check`.
    async fn reach(&self) -> Result<(), String>;
}

/// The provider took it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handover {
    /// The provider's id of the message, where it gave one.
    pub message_id: Option<String>,
    /// The status code of the answer.
    pub http_status: u16,
}

/// The provider did not say that it took it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{class:?}: {message}")]
pub struct SendError {
    /// What it means.
    pub class: SendErrorClass,
    /// The status code, where there was an answer.
    pub http_status: Option<u16>,
    /// The provider's or the network's words, truncated, addresses masked.
    pub message: String,
    /// How long the provider asks to wait, not yet clamped.
    pub retry_after: Option<Duration>,
}

/// The closed vocabulary of failed attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SendErrorClass {
    /// Provably not accepted, and it may go better later: name, connect or TLS failure, nothing written.
    NotAccepted,
    /// Provably not accepted: too many requests.
    Throttled,
    /// This message is refused for good.
    Refused,
    /// The provider refuses *us*, whatever the message: key, credits, sender identity, configuration.
    ProviderRefused,
    /// It may have been accepted: time-out or reset after the request was written, every 5xx.
    Unknown,
}

named! {
    /// Every class.
    SendErrorClass {
        NotAccepted: "not_accepted",
        Throttled: "throttled",
        Refused: "refused",
        ProviderRefused: "provider_refused",
        Unknown: "unknown",
    }
}

/// Verifies and parses one provider's event webhook.
#[async_trait]
pub trait EventSource: Send + Sync {
    /// The provider's name.
    fn name(&self) -> &str;

    /// The events in a post, oldest first as far as the provider says; verified over the raw bytes before parsing.
    async fn events(&self, post: Post, now: Timestamp) -> Result<Vec<ProviderEvent>, WebhookError>;
}

/// One request to a webhook, as it came.
#[derive(Clone, Debug)]
pub struct Post {
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body, read within the door's limits.
    pub body: Bytes,
}

impl Post {
    /// A header that is text, by its lower-case name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// Why a webhook post is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WebhookError {
    /// No signature, a wrong one, or a time stamp too far from now.
    #[error("the signature is not valid: {0}")]
    Signature(&'static str),
    /// Not the JSON that this provider sends.
    #[error("the body is not valid: {0}")]
    Malformed(String),
    /// It cannot be read now; the provider is to post it again.
    #[error("the post could not be read: {0}")]
    Unavailable(String),
}

/// One event as the provider told it. As JSON it is a record that this program wrote, under short names: thousands wait
/// in the inbox; a field that comes later has a default, or old records could not be read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProviderEvent {
    /// The provider's name.
    #[serde(rename = "p")]
    pub provider: String,
    /// Our id, if it came back to us.
    #[serde(rename = "i", default, skip_serializing_if = "Option::is_none")]
    pub id: Option<NotificationId>,
    /// The provider's id of the message, in the form that the send call returned.
    #[serde(rename = "m", default, skip_serializing_if = "Option::is_none")]
    pub provider_message_id: Option<String>,
    /// The provider's id of the event, for deduplication.
    #[serde(rename = "e", default, skip_serializing_if = "Option::is_none")]
    pub event_id: Option<String>,
    /// What happened.
    #[serde(rename = "k", with = "told_kind")]
    pub kind: EventKind,
    /// When, by the provider's clock.
    #[serde(rename = "t", with = "millis")]
    pub at: Timestamp,
    /// To whom.
    #[serde(rename = "r", default, skip_serializing_if = "Option::is_none")]
    pub recipient: Option<Address>,
    /// The provider says a machine did it.
    #[serde(rename = "b", default, skip_serializing_if = "std::ops::Not::not")]
    pub machine: bool,
    /// Whose turn its folding takes: the [`lane`] that was sent along, if it came back. For fairness alone; it proves
    /// nothing about the tenant.
    #[serde(rename = "l", default, skip_serializing_if = "Option::is_none")]
    pub lane: Option<String>,
    /// Everything else it said, unknown fields included, our own ids and the address left out.
    #[serde(rename = "d", default, skip_serializing_if = "serde_json::Map::is_empty")]
    pub detail: serde_json::Map<String, serde_json::Value>,
}

/// A tenant's lane: a tag that providers may see and send back with its events. It names nobody.
pub fn lane(tenant: &str) -> String {
    Sha256::digest(tenant.as_bytes()).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// The tag in what came back as one, if it is one of ours: nobody else is to make thousands of lanes.
fn lane_in(text: &str) -> Option<String> {
    let is_tag = text.len() == 16 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    is_tag.then(|| text.to_owned())
}

/// A moment as milliseconds since the epoch: shorter than RFC 3339, and quicker to read.
mod millis {
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::clock::Timestamp;

    pub(super) fn serialize<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_i64(at.as_ms())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        i64::deserialize(deserializer).map(Timestamp::from_ms)
    }
}

impl ProviderEvent {
    /// The link that was followed; empty where none was. See [`link`].
    pub fn link(&self) -> &str {
        link(&self.kind, &self.detail)
    }
}

/// The link of a click, as every adapter names it. Providers tell whole seconds, and two links may be followed within one:
/// it is part of what makes two events the same.
pub fn link<'a>(kind: &EventKind, detail: &'a serde_json::Map<String, serde_json::Value>) -> &'a str {
    let url = detail.get("url").filter(|_| *kind == EventKind::Clicked);
    url.and_then(serde_json::Value::as_str).unwrap_or_default()
}

/// What an event says happened.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum EventKind {
    /// The provider works on it.
    Processed,
    /// The receiving server asked to try later.
    Deferred,
    /// The receiving server took it.
    Delivered,
    /// Refused for good.
    Bounced,
    /// Refused for now; the address itself is fine.
    Blocked,
    /// The provider did not try.
    Dropped,
    /// Marked as spam.
    Complained,
    /// Images were loaded.
    Opened,
    /// A link was followed.
    Clicked,
    /// Unsubscribed from everything.
    Unsubscribed,
    /// Unsubscribed from one group.
    GroupUnsubscribed,
    /// Subscribed to a group again.
    GroupResubscribed,
    /// The provider account itself changed its state.
    AccountStatusChanged,
    /// Our own: nothing is sent to this recipient, who is on the tenant's suppression list.
    Suppressed,
    /// A kind that we do not know, kept under the provider's name.
    Other(String),
}

impl EventKind {
    /// Every kind that has a name of ours.
    pub const KNOWN: [EventKind; 14] = [
        EventKind::Processed,
        EventKind::Deferred,
        EventKind::Delivered,
        EventKind::Bounced,
        EventKind::Blocked,
        EventKind::Dropped,
        EventKind::Complained,
        EventKind::Opened,
        EventKind::Clicked,
        EventKind::Unsubscribed,
        EventKind::GroupUnsubscribed,
        EventKind::GroupResubscribed,
        EventKind::AccountStatusChanged,
        EventKind::Suppressed,
    ];

    /// The name used in JSON and as a metric label.
    pub fn as_str(&self) -> &str {
        match self {
            EventKind::Processed => "processed",
            EventKind::Deferred => "deferred",
            EventKind::Delivered => "delivered",
            EventKind::Bounced => "bounced",
            EventKind::Blocked => "blocked",
            EventKind::Dropped => "dropped",
            EventKind::Complained => "complained",
            EventKind::Opened => "opened",
            EventKind::Clicked => "clicked",
            EventKind::Unsubscribed => "unsubscribed",
            EventKind::GroupUnsubscribed => "group_unsubscribed",
            EventKind::GroupResubscribed => "group_resubscribed",
            EventKind::AccountStatusChanged => "account_status_changed",
            EventKind::Suppressed => "suppressed",
            EventKind::Other(name) => name,
        }
    }

    /// What it says of its recipient; `None` when nothing (opens, clicks, unsubscribes, unknown kinds).
    pub fn recipient_status(&self) -> Option<RecipientStatus> {
        match self {
            EventKind::Processed => Some(RecipientStatus::Processed),
            EventKind::Deferred => Some(RecipientStatus::Deferred),
            EventKind::Delivered => Some(RecipientStatus::Delivered),
            EventKind::Bounced => Some(RecipientStatus::Bounced),
            EventKind::Blocked => Some(RecipientStatus::Blocked),
            EventKind::Dropped => Some(RecipientStatus::Dropped),
            EventKind::Complained => Some(RecipientStatus::Complained),
            EventKind::Suppressed => Some(RecipientStatus::Suppressed),
            _ => None,
        }
    }

    /// Whether it proves that the provider accepted the message it names: every event about a message does, since
    /// the provider cannot know of a message that it did not take. Unknown kinds and our own prove nothing.
    pub fn proves_acceptance(&self) -> bool {
        !matches!(self, EventKind::AccountStatusChanged | EventKind::Suppressed | EventKind::Other(_))
    }
}

impl From<String> for EventKind {
    fn from(name: String) -> Self {
        Self::KNOWN.into_iter().find(|kind| kind.as_str() == name).unwrap_or(EventKind::Other(name))
    }
}

impl From<EventKind> for String {
    fn from(kind: EventKind) -> Self {
        kind.as_str().to_owned()
    }
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
