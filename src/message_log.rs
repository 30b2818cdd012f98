//! The message-log port: the obligation. A notification is accepted when its row and content are durable here, and
//! every change of its state is a [`Fact`] joined by compare-and-set.

pub mod dynamodb;
mod matched;
mod preview;
pub mod sqlite;
mod standing;
pub mod unmatched;

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use crate::clock::Timestamp;
use crate::notification::address::Address;
use crate::notification::status::recipient::RecipientStatus;
use crate::notification::status::{Fact, Life, Refusal, Status};
use crate::notification::{Notification, NotificationId, Priority, RecipientKind, content};
use crate::provider::{EventKind, ProviderEvent};
pub use preview::{Deadline, Group};
pub use standing::{ByAge, Standing, Standings};

/// The record of every notification. Batches in, a result per entry out, in order. An answer is given only once what
/// it says is durable.
#[async_trait]
pub trait MessageLog: Send + Sync {
    /// Records each notification unless its id exists already: creating the row is the deduplication.
    async fn accept(&self, new: &[NewNotification]) -> Vec<Result<Acceptance, LogError>>;

    /// Applies a [`Fact::Claimed`] to each, and hands out the content of those that were won.
    async fn claim(&self, claims: &[ClaimRequest], now: Timestamp) -> Vec<Result<Claim, LogError>>;

    /// Applies each fact by compare-and-set. Facts for the same id apply in their order.
    async fn apply(&self, facts: &[(NotificationId, Fact)], now: Timestamp)
    -> Vec<Result<Applied, LogError>>;

    /// Keeps each event and folds it: the recipient's status, and acceptance if the event proves it. Repeats change
    /// nothing. An event that matches no notification is kept as unmatched, see [`unmatched`]. Above a bound of a
    /// recipient's events, only what changes something is kept; the others read as repeats.
    async fn record_events(
        &self,
        events: &[ProviderEvent],
        now: Timestamp,
    ) -> Vec<Result<Recorded, LogError>>;

    /// One record.
    async fn get(&self, id: NotificationId) -> Result<Option<Record>, LogError>;

    /// The lives of these, in order; `None` where there is no such record.
    async fn lives(&self, ids: &[NotificationId]) -> Result<Vec<Option<Life>>, LogError>;

    /// The stored contents of these, in order; `None` where there is none.
    async fn contents(&self, ids: &[NotificationId]) -> Result<Vec<Option<Bytes>>, LogError>;

    /// A page of records, see [`Filter::order`]. `cursor` is a former page's `next_cursor`; `limit` 1 … 1000.
    async fn list(
        &self,
        filter: &Filter,
        cursor: Option<&str>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Page, LogError>;

    /// Counts by status of everything that is unsent, and what `sent` and the other ends add up to since the start.
    async fn counts(&self, now: Timestamp) -> Result<Counts, LogError>;

    /// How all that is unsent stands, by status and age: exact where everything is at rest, and never from memory.
    async fn standings(&self, now: Timestamp) -> Result<Standings, LogError>;

    /// How many records match, by everything that a preview shows: exact, not sampled.
    async fn count_groups(&self, filter: &Filter, now: Timestamp) -> Result<Vec<Group>, LogError>;

    /// Up to `limit` notifications whose `wake_at` has come, for the sweeper, oldest first.
    async fn due(&self, now: Timestamp, limit: usize) -> Result<Vec<Due>, LogError>;

    /// The newest event time heard from this provider: whether, and until when, the webhook is known to be alive.
    async fn witness(&self, provider: &str) -> Result<Option<Timestamp>, LogError>;
}

/// A validated notification with everything that its row needs.
#[derive(Clone, Debug)]
pub struct NewNotification {
    /// Derived from its idempotency key, or fresh.
    pub id: NotificationId,
    /// For the row's columns.
    pub notification: std::sync::Arc<Notification>,
    /// The stored form, see [`crate::notification::content::encode`].
    pub content: Bytes,
    /// Tells a repeat from a conflict.
    pub content_hash: [u8; 32],
    /// The life that begins.
    pub life: Life,
}

impl NewNotification {
    /// What is recorded of a notification that is accepted at `now` under this id.
    pub fn of(id: NotificationId, notification: std::sync::Arc<Notification>, now: Timestamp) -> Self {
        let content = content::encode(&notification);
        let life =
            Life::accepted(now, notification.deliver_at, notification.useful_until, notification.on_unknown);
        Self { id, content_hash: content::hash(&content), content, life, notification }
    }
}

/// What [`MessageLog::accept`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acceptance {
    /// Recorded now.
    Created(Status),
    /// The id exists with the same content; its status now.
    Duplicate(Status),
    /// The id exists with other content. Nothing was changed.
    Conflict,
}

/// One claim, and what the queue message said, which may save the log a read.
#[derive(Clone, Debug)]
pub struct ClaimRequest {
    /// What is claimed.
    pub id: NotificationId,
    /// A [`Fact::Claimed`].
    pub fact: Fact,
    /// The stored content, where it came along.
    pub content: Option<Bytes>,
    /// What is known of the record.
    pub hint: Hint,
}

/// What a claim may take for likely. It is never taken for true.
#[derive(Clone, Debug, Default)]
pub enum Hint {
    /// Nothing.
    #[default]
    None,
    /// It was recorded with this life, and nothing else happened to it.
    Fresh(Box<Life>),
    /// It is not recorded yet: a producer put it straight on the queue. It is recorded together with the claim, also
    /// where the claim is refused.
    New(Box<NewNotification>),
}

/// What a claim got.
#[derive(Clone, Debug)]
pub enum Claim {
    /// Won: this worker sends it.
    Won(Box<Claimed>),
    /// Not now, or not at all.
    Refused {
        /// Why.
        refusal: Refusal,
        /// The life as it is.
        life: Box<Life>,
        /// Recorded just now, see [`Hint::New`].
        created: bool,
    },
    /// There is no such record.
    Absent,
    /// The id is recorded with other content than [`Hint::New`] has. Nothing was changed.
    Conflict,
}

/// A won claim.
#[derive(Clone, Debug)]
pub struct Claimed {
    /// After the claim.
    pub life: Life,
    /// The stored content.
    pub content: Bytes,
    /// Recorded just now, see [`Hint::New`].
    pub created: bool,
}

/// What became of a fact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Applied {
    /// It holds now.
    Done {
        /// The status before it.
        before: Status,
        /// The life after it.
        life: Box<Life>,
    },
    /// It does not fit; nothing was changed.
    Refused(Refusal),
    /// There is no such record.
    Absent,
}

/// What became of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recorded {
    /// Kept and folded.
    Folded {
        /// Whose notification it is about.
        tenant: Arc<str>,
        /// The event proved an acceptance that was not known: the status before.
        settled: Option<Status>,
        /// From when that notification's wait counts, see [`Life::ready_at`].
        ready_at: Timestamp,
    },
    /// Known already.
    Repeat {
        /// Whose notification it is about; absent where it matches none.
        tenant: Option<Arc<str>>,
    },
    /// Kept; it matches no notification.
    Unmatched,
}

/// A notification as the log knows it.
#[derive(Clone, Debug)]
pub struct Record {
    /// Its id.
    pub id: NotificationId,
    /// Whose it is.
    pub tenant: String,
    /// The broadcast it belongs to.
    pub batch: Option<String>,
    /// Its lane.
    pub priority: Priority,
    /// The producer's labels.
    pub metadata: BTreeMap<String, String>,
    /// Its state.
    pub life: Life,
    /// Each recipient, in the order to, cc, bcc.
    pub recipients: Vec<Recipient>,
    /// Every event, oldest first.
    pub events: Vec<RecordedEvent>,
}

/// One recipient in a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipient {
    /// The address as it was given.
    pub email: Address,
    /// How it was addressed.
    pub kind: RecipientKind,
    /// What the events say.
    pub status: RecipientStatus,
    /// Since when.
    pub since: Timestamp,
}

/// One event in a record.
#[derive(Clone, Debug, PartialEq)]
pub struct RecordedEvent {
    /// When it happened, by the provider's clock.
    pub at: Timestamp,
    /// What happened.
    pub kind: EventKind,
    /// To whom; absent where the provider names nobody.
    pub recipient: Option<Address>,
    /// The provider says a machine did it.
    pub machine: bool,
    /// The provider's words.
    pub detail: serde_json::Map<String, serde_json::Value>,
}

/// Which records. Every given field must match.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Any of these; empty: all.
    pub statuses: Vec<Status>,
    /// Whose.
    pub tenant: Option<String>,
    /// The broadcast.
    pub batch: Option<String>,
    /// A recipient's address; quoted and unquoted carrier forms are the same.
    pub recipient: Option<Address>,
    /// The provider of the latest attempt.
    pub provider: Option<String>,
    /// The reason, to the letter.
    pub reason: Option<String>,
    /// Accepted at or after.
    pub since: Option<Timestamp>,
    /// Accepted before.
    pub until: Option<Timestamp>,
    /// In which order.
    pub order: Order,
}

/// In which order a listing comes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// Latest accepted first. Where nothing that was sent is asked for, a backend may go by the moment from which the
    /// wait counts.
    #[default]
    NewestFirst,
    /// Waiting longest first.
    OldestFirst,
}

/// One page of a listing.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// The records.
    pub items: Vec<Record>,
    /// Opaque; absent on the last page.
    pub next_cursor: Option<String>,
}

/// How many stand where.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// By status. Statuses with none are absent. In a backlog of thousands a backend may count those under way with
    /// what they were before.
    pub by_status: BTreeMap<Status, u64>,
    /// From when the longest-waiting one that should be on its way counts (dead letters, held and scheduled ones
    /// are not on their way).
    pub oldest_unsent: Option<Timestamp>,
}

impl Counts {
    /// How many should be on their way: each has a queue message, or waits in the log for its time.
    pub fn on_their_way(&self) -> u64 {
        [Status::Accepted, Status::Attempting, Status::Retrying, Status::Unknown]
            .iter()
            .filter_map(|status| self.by_status.get(status))
            .sum()
    }
}

/// A notification that the sweeper looks at.
#[derive(Clone, Debug)]
pub struct Due {
    /// Its id.
    pub id: NotificationId,
    /// Whose it is.
    pub tenant: String,
    /// Its lane.
    pub priority: Priority,
    /// Its state.
    pub life: Life,
}

/// Why a log operation failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LogError {
    /// The backend cannot be reached or refused; nothing was acknowledged.
    #[error("the message log is unavailable: {0}")]
    Unavailable(String),
    /// The cursor is not one of ours.
    #[error("the cursor is not valid")]
    BadCursor,
    /// What is stored cannot be read back.
    #[error("a stored record cannot be read: {0}")]
    Corrupt(String),
}
