//! The suppression list: to whom nothing is sent any more, tenant by tenant, and why.
//!
//! A mailbox is known by its address's canonical form, so that `"a..b"@docomo.ne.jp` and `a..b@docomo.ne.jp` are one.
//! Each reason stands for itself: removing one leaves the others. What was removed is remembered, so that an old event
//! that is told again does not bring it back.

pub mod dynamodb;

pub mod guard;
pub mod listener;
mod sheet;
pub mod sqlite;
pub mod verdict;

use std::str::FromStr;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::clock::Timestamp;
use crate::named::named;
use crate::notification::NotificationId;
use crate::notification::address::Address;

/// For how long a removal is remembered: longer than any event is told again or matched late.
pub const REMOVAL_KEPT: Duration = Duration::from_secs(90 * 24 * 3600);

/// Where the lists are kept. Batches in, a result per entry out, in order; an answer is given only once what it says is
/// durable.
#[async_trait]
pub trait SuppressionList: Send + Sync {
    /// The reasons that stand against each mailbox.
    async fn look_up(&self, asked: &[Place]) -> Vec<Result<Reasons, ListError>>;

    /// Puts each on its tenant's list. Again changes nothing; an event that is not later than a removal neither.
    async fn add(&self, entries: &[Entry]) -> Vec<Result<Added, ListError>>;

    /// Takes each off; how many entries it took off.
    async fn remove(&self, removals: &[Removal]) -> Vec<Result<u64, ListError>>;

    /// A page in a fixed order. `cursor` is a former page's `next_cursor`; `limit` 1 … 1000.
    async fn list(&self, filter: &Filter, cursor: Option<&str>, limit: usize) -> Result<Page, ListError>;

    /// How many match.
    async fn count(&self, filter: &Filter) -> Result<u64, ListError>;
}

/// Why nothing is sent to somebody.
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
pub enum Reason {
    /// The person marked a mail as spam.
    Complaint,
    /// The mailbox refused for good.
    Bounce,
    /// The provider does not try, for a reason of its own.
    Drop,
    /// An operator says so.
    Manual,
    /// The person does not want mail.
    Unsubscribe,
}

named! {
    /// Every reason, the gravest first. The order is the code in storage: never to be sorted anew.
    Reason {
        Complaint: "complaint",
        Bounce: "bounce",
        Drop: "drop",
        Manual: "manual",
        Unsubscribe: "unsubscribe",
    }
}

impl Reason {
    /// The reason code of a notification that ends for it.
    pub fn of_notification(self) -> String {
        format!("suppressed_{}", self.as_str())
    }

    fn bit(self) -> u8 {
        1 << (self as u8)
    }
}

/// A name that is no reason.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be of bounce, complaint, unsubscribe, drop, manual")]
pub struct UnknownReason;

impl FromStr for Reason {
    type Err = UnknownReason;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::named(text).ok_or(UnknownReason)
    }
}

/// Some reasons.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reasons(u8);

impl Reasons {
    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether this is one of them.
    pub fn contains(self, reason: Reason) -> bool {
        self.0 & reason.bit() != 0
    }

    /// Each, the gravest first.
    pub fn iter(self) -> impl Iterator<Item = Reason> {
        Reason::ALL.into_iter().filter(move |reason| self.contains(*reason))
    }
}

impl FromIterator<Reason> for Reasons {
    fn from_iter<I: IntoIterator<Item = Reason>>(reasons: I) -> Self {
        Self(reasons.into_iter().fold(0, |bits, reason| bits | reason.bit()))
    }
}

/// A mailbox on a tenant's list, or not on it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// Whose list.
    pub tenant: String,
    /// Of the address, see [`Address::canonical`].
    pub canonical: String,
}

impl Place {
    /// Where this address stands.
    pub fn of(tenant: &str, address: &Address) -> Self {
        Self { tenant: tenant.to_owned(), canonical: address.canonical() }
    }
}

/// Who or what says so, and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Source {
    /// A provider's event.
    Event {
        /// Whose.
        provider: String,
        /// By the provider's clock.
        #[schema(value_type = String, format = DateTime)]
        at: Timestamp,
        /// About which notification; absent where the provider did not say.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schema(value_type = Option<String>)]
        notification: Option<NotificationId>,
    },
    /// Somebody.
    Operator {
        /// The name of an API key.
        who: String,
        /// When.
        #[schema(value_type = String, format = DateTime)]
        at: Timestamp,
        /// Why, in their words.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        note: Option<String>,
    },
}

impl Source {
    /// When it said so.
    pub fn at(&self) -> Timestamp {
        match self {
            Source::Event { at, .. } | Source::Operator { at, .. } => *at,
        }
    }
}

/// Why nothing is sent to one mailbox: one reason of perhaps several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Whose list.
    pub tenant: String,
    /// As it was given.
    pub address: Address,
    /// Why.
    pub reason: Reason,
    /// Of an unsubscription from one group: which.
    pub group: Option<String>,
    /// Who says so; of several the latest.
    pub source: Source,
    /// Since when it stands here.
    pub created_at: Timestamp,
    /// Who took it off, of one that stands no more.
    pub removed: Option<Source>,
}

/// What became of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Added {
    /// It stands now.
    New,
    /// It stood already.
    Known,
    /// It was removed since: nothing was changed.
    RemovedSince,
}

/// What is taken off a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removal {
    /// Whose list.
    pub tenant: String,
    /// Who.
    pub address: Address,
    /// What of it.
    pub what: What,
    /// Who says so.
    pub source: Source,
}

/// What of a mailbox's reasons.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// Everything.
    All,
    /// This reason, of every group.
    Reason(Reason),
    /// The unsubscription from this group.
    Group(String),
}

/// Which entries. Every given field must match.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Whose; absent: everybody's.
    pub tenant: Option<String>,
    /// Why.
    pub reason: Option<Reason>,
    /// Who.
    pub address: Option<Address>,
    /// Standing since this moment or later.
    pub since: Option<Timestamp>,
    /// What was taken off, as long as that is remembered, instead of what stands.
    pub removed: bool,
}

impl Filter {
    fn fits(&self, entry: &Entry) -> bool {
        self.reason.is_none_or(|reason| reason == entry.reason)
            && self.since.is_none_or(|since| entry.created_at >= since)
    }
}

/// One page of a list.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// The entries.
    pub items: Vec<Entry>,
    /// Opaque; absent on the last page.
    pub next_cursor: Option<String>,
}

/// Behind which entry a page begins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Cursor {
    tenant: String,
    canonical: String,
    reason: Reason,
    group: Option<String>,
}

impl Cursor {
    fn at(entry: &Entry) -> Self {
        let Entry { tenant, address, reason, group, .. } = entry.clone();
        Self { tenant, canonical: address.canonical(), reason, group }
    }

    /// Whether this entry of this mailbox comes later.
    fn is_before(&self, place: &Place, entry: &Entry) -> bool {
        (&self.tenant, &self.canonical) != (&place.tenant, &place.canonical)
            || (self.reason, &self.group) < (entry.reason, &entry.group)
    }

    fn parse(text: &str) -> Result<Self, ListError> {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).map_err(|_| ListError::BadCursor)?;
        serde_json::from_slice(&bytes).map_err(|_| ListError::BadCursor)
    }

    fn write(&self) -> String {
        // Texts and a number: writing them as JSON cannot fail.
        BASE64_URL_SAFE_NO_PAD.encode(serde_json::to_vec(self).unwrap_or_default())
    }
}

/// Why a list gave no answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ListError {
    /// The backend cannot be reached or refused; nothing was acknowledged.
    #[error("the suppression list is unavailable: {0}")]
    Unavailable(String),
    /// The cursor is not one of ours.
    #[error("the cursor is not valid")]
    BadCursor,
    /// What is stored cannot be read back.
    #[error("an entry of the suppression list cannot be read")]
    Corrupt,
}
