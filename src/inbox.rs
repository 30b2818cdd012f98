//! The inbox port: provider events that are durable and not folded yet, in parcels.
//!
//! The webhook's door appends, the folder takes, folds, and says done. A parcel holds events of one lane; takes go
//! round the lanes, so that one tenant's flood delays no other tenant's events. At least once: what was taken and not
//! said done comes again after a restart.

mod parcel;
pub mod sqlite;
pub mod sqs;

use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::oneshot;

use crate::clock::Timestamp;
pub use parcel::{MOST_EVENTS, Parcel, Unreadable, pack};

/// Where events wait to be folded.
#[async_trait]
pub trait Inbox: Send + Sync {
    /// Takes them in: durable when answered, all of them; after an error some may be in it all the same.
    async fn append(&self, parcels: Vec<Parcel>) -> Result<Appended, InboxError>;

    /// Some parcels, taking turns among the lanes: one at the least if there is one, and none more once they hold
    /// `events`. Waits for the first for up to `wait`. Await it to its end: what it has taken would be nobody's.
    async fn take(&self, events: usize, wait: Duration) -> Result<Vec<Taken>, InboxError>;

    /// Keeps what was taken from coming again for a while longer. Needed only where [`Inbox::keeps_for`] says so.
    async fn keep(&self, receipts: &[Receipt]) -> Result<(), InboxError>;

    /// For how long what was taken stays away without a further [`Inbox::keep`]; `None`: until a restart.
    fn keeps_for(&self) -> Option<Duration>;

    /// Removes them. A receipt that counts no more is no error: its parcel comes again, or is gone.
    async fn done(&self, receipts: &[Receipt]) -> Result<(), InboxError>;

    /// Leaves what was taken where it is: this process cannot read it, the next one, or another, may.
    fn leave(&self, receipts: &[Receipt]);

    /// How much waits, taken parcels included.
    async fn depth(&self) -> Result<Depth, InboxError>;

    /// Everything that came in before this is folded; `None`: nobody can say. `heard`: the newest event of any provider
    /// that was folded, which shows that somebody folds.
    async fn folded_until(
        &self,
        now: Timestamp,
        _heard: Option<Timestamp>,
    ) -> Result<Option<Timestamp>, InboxError> {
        Ok(Some(self.depth().await?.oldest.unwrap_or(now)))
    }
}

/// Parcels that are durable.
#[derive(Debug, Default)]
pub struct Appended {
    /// Ends, with an error, once all of them are done; `None` where this process cannot know.
    pub folded: Option<oneshot::Receiver<()>>,
}

/// A parcel for the time of its folding.
#[derive(Clone, Debug)]
pub struct Taken {
    /// The parcel.
    pub parcel: Parcel,
    /// For [`Inbox::keep`] and [`Inbox::done`].
    pub receipt: Receipt,
    /// How often it was taken before by somebody who came to no end.
    pub tries: u32,
}

/// The right to end one taken parcel.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Receipt(pub String);

/// What waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Depth {
    /// Parcels; approximate on SQS.
    pub parcels: u64,
    /// Events in them; `None` where nobody counts them.
    pub events: Option<u64>,
    /// When the oldest came; on SQS of those that this process has taken.
    pub oldest: Option<Timestamp>,
}

/// Why the inbox did not do it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InboxError {
    /// More waits than it is allowed to hold: the provider is to keep them meanwhile.
    #[error("{0} events wait to be folded, more than are kept")]
    Full(u64),
    /// The backend cannot be reached or refused.
    #[error("the inbox is unavailable: {0}")]
    Unavailable(String),
}
