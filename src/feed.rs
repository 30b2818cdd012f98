//! The feed port: what changed with a tenant's notifications, in order, to be read on from a cursor.
//!
//! Told is what a producer would act upon: that a notification came to an end (`sent`, `failed`, `expired`, `cancelled`,
//! `suppressed`), is `held`, or came back from any of these (`accepted`, `scheduled`, `retrying`); and of a recipient
//! `deferred`, `delivered`, `blocked`, `dropped`, `bounced`, `complained`. Not told are the attempts in between, and
//! `processed`, which says no more than `sent`. No code path can forget an entry: SQLite writes it by a trigger, in the very
//! transaction that makes the change; the log on DynamoDB writes it before the one write that makes the change, which names
//! it. What one call does to a notification is one change there: what it passed through is not told, what it came to is.

pub mod callback;
pub mod courier;
pub mod dynamodb;
pub mod sqlite;

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::clock::Timestamp;
use crate::named::named;
use crate::notification::NotificationId;
use crate::notification::address::Address;
use crate::notification::status::Status;
use crate::notification::status::recipient::RecipientStatus;

/// What changed, per tenant and in order.
#[async_trait]
pub trait Feed: Send + Sync {
    /// Up to `limit` entries of a tenant behind `after`, oldest first; without a cursor from the oldest that is kept.
    async fn read(&self, tenant: &str, after: Option<&Cursor>, limit: usize) -> Result<Page, FeedError>;

    /// Everything behind `after` up to `until`, which `read` gave with it; at most [`MAX_LIMIT`].
    async fn between(&self, tenant: &str, after: &Cursor, until: &Cursor) -> Result<Vec<Entry>, FeedError>;

    /// Before the oldest entry that is kept.
    async fn begin(&self, tenant: &str) -> Result<Cursor, FeedError>;

    /// Behind the latest entry.
    async fn end(&self, tenant: &str) -> Result<Cursor, FeedError>;

    /// How many entries lie behind `after`; a backend may count what was written down and never happened.
    async fn count(&self, tenant: &str, after: &Cursor) -> Result<u64, FeedError>;

    /// Returns once every change of this tenant is told, which has a callback now.
    async fn follow(&self, tenant: &str);

    /// Forgets up to `limit` entries from before `before`, but never a tenant's latest; how many.
    async fn prune(&self, before: Timestamp, limit: usize) -> Result<u64, FeedError>;
}

/// How many entries one read gives at the most.
pub const MAX_LIMIT: usize = 1000;

/// How long entries are kept, unless the settings say otherwise.
pub const RETENTION: Duration = Duration::from_secs(7 * 24 * 3600);

/// A place between two entries of one tenant's feed. Its text is the adapter's own.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Cursor(String);

impl Cursor {
    /// As it was given out.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// What is given out.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Some of a tenant's entries.
#[derive(Clone, Debug, PartialEq)]
pub struct Page {
    /// Oldest first.
    pub entries: Vec<Entry>,
    /// Where to read on, also when nothing was there.
    pub next: Cursor,
    /// Whether there was more than the limit.
    pub more: bool,
}

/// One change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = FeedEntry)]
pub struct Entry {
    /// Names this change: the same wherever and however often it is told.
    pub event_id: String,
    /// Whose notification it is.
    pub tenant: String,
    /// The notification.
    #[schema(value_type = String, format = "uuid")]
    pub id: NotificationId,
    /// When it changed: for a recipient, when the provider says it happened.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// What changed.
    pub what: What,
    /// To what.
    pub status: Told,
    /// Why the notification stands there: a short code or an operator's words.
    #[schema(required = true)]
    pub reason: Option<String>,
    /// Which recipient it is, for a recipient's change.
    #[schema(value_type = Option<String>, required = true)]
    pub recipient: Option<Address>,
    /// The broadcast it belongs to; null for none.
    #[schema(required = true)]
    pub batch: Option<String>,
    /// The producer's labels.
    pub metadata: BTreeMap<String, String>,
}

/// What an entry tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum What {
    /// A notification's status.
    Notification,
    /// A recipient's status.
    Recipient,
}

/// A status that is told.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    ToSchema,
    clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum Told {
    /// The notification waits again for its first attempt.
    Accepted,
    /// It waits again for its `deliver_at`.
    Scheduled,
    /// It is kept back until somebody releases it.
    Held,
    /// It was redriven, and waits for its next attempt.
    Retrying,
    /// The provider took it.
    Sent,
    /// A dead letter.
    Failed,
    /// Its `useful_until` passed.
    Expired,
    /// It was stopped.
    Cancelled,
    /// A recipient is on the suppression list.
    Suppressed,
    /// The recipient's server asked to try later; the provider does.
    Deferred,
    /// The recipient's server took it.
    Delivered,
    /// The recipient's server refused it for now.
    Blocked,
    /// The provider did not try.
    Dropped,
    /// The recipient's server refused it for good.
    Bounced,
    /// The recipient marked it as spam.
    Complained,
}

named! {
    /// Everything that is told.
    Told {
        Accepted: "accepted",
        Scheduled: "scheduled",
        Held: "held",
        Retrying: "retrying",
        Sent: "sent",
        Failed: "failed",
        Expired: "expired",
        Cancelled: "cancelled",
        Suppressed: "suppressed",
        Deferred: "deferred",
        Delivered: "delivered",
        Blocked: "blocked",
        Dropped: "dropped",
        Bounced: "bounced",
        Complained: "complained",
    }
}

impl Told {
    /// A notification's status, where it is told.
    pub fn of(status: Status) -> Option<Self> {
        Some(match status {
            Status::Accepted => Told::Accepted,
            Status::Scheduled => Told::Scheduled,
            Status::Held => Told::Held,
            Status::Retrying => Told::Retrying,
            Status::Sent => Told::Sent,
            Status::Failed => Told::Failed,
            Status::Expired => Told::Expired,
            Status::Cancelled => Told::Cancelled,
            Status::Suppressed => Told::Suppressed,
            Status::Attempting | Status::Unknown => return None,
        })
    }

    /// A recipient's status, where it is told.
    pub fn of_recipient(status: RecipientStatus) -> Option<Self> {
        Some(match status {
            RecipientStatus::Pending | RecipientStatus::Processed => return None,
            RecipientStatus::Deferred => Told::Deferred,
            RecipientStatus::Delivered => Told::Delivered,
            RecipientStatus::Blocked => Told::Blocked,
            RecipientStatus::Dropped | RecipientStatus::Suppressed => Told::Dropped,
            RecipientStatus::Bounced => Told::Bounced,
            RecipientStatus::Complained => Told::Complained,
        })
    }
}

/// Why the feed did not answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FeedError {
    /// The storage cannot be reached or refused.
    #[error("the feed is unavailable: {0}")]
    Unavailable(String),
    /// A cursor that this feed did not give out.
    #[error("not a cursor of this tenant's feed")]
    BadCursor,
    /// What lies behind the cursor is not kept any more.
    #[error("the cursor is older than what is kept, which begins at {since}")]
    Expired {
        /// The oldest entry that is kept.
        since: Timestamp,
    },
    /// Nobody asked for this tenant's feed, where each entry is paid for.
    #[error("tenant `{tenant}` has no feed: name it in the setting feed.tenants, or add a callback")]
    NotKept {
        /// Whose.
        tenant: String,
    },
}
