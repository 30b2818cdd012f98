//! The journal port: small documents of what operators, jobs and guards do, each changed by compare-and-set, so that it
//! survives restarts and two processes never overwrite each other.

pub mod dynamodb;
pub mod sqlite;

use std::time::Duration;

use async_trait::async_trait;
use rand::RngExt;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::clock::Timestamp;
use crate::named::named;

/// Where documents are kept. Few and small: nothing that every notification would write.
#[async_trait]
pub trait Journal: Send + Sync {
    /// One document.
    async fn get(&self, kind: Kind, key: &str) -> Result<Option<Document>, JournalError>;

    /// Writes a document if its version is still `expected`; 0: if there is none. `keep_until`: it may be deleted then.
    async fn put(
        &self,
        kind: Kind,
        key: &str,
        body: &str,
        expected: u64,
        keep_until: Option<Timestamp>,
    ) -> Result<Put, JournalError>;

    /// Deletes a document; nothing to delete is no error.
    async fn delete(&self, kind: Kind, key: &str) -> Result<(), JournalError>;

    /// Up to `limit` documents of a kind, greatest key first (keys that are UUIDv7: latest first), behind `after`.
    async fn list(
        &self,
        kind: Kind,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Document>, JournalError>;
}

/// How large a document's body may be, in bytes: an item of DynamoDB has at most 400 KB.
pub const MAX_BODY_BYTES: usize = 350_000;

/// What a document is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A standing hold or cancellation.
    Stop,
    /// That there is anything of a kind to look for: one small read spares a listing.
    Mark,
    /// A job: what was asked, by whom, how far it is, what came of it.
    Job,
    /// What an alert last said.
    Alert,
    /// A broadcast whose size was declared.
    Batch,
    /// How many a tenant usually hands in.
    Usual,
    /// A queue message that could not be read, kept beyond the queue's own retention.
    DeadLetter,
    /// A piece of such a message's body.
    DeadLetterPart,
    /// A provider's event that cannot be folded.
    EventAside,
    /// Something that was sent, and that its provider does not speak of.
    Unconfirmed,
    /// Where a tenant's changes are posted to, and how far that has got.
    Callback,
}

named! {
    /// Every kind.
    Kind {
        Stop: "stop",
        Mark: "mark",
        Job: "job",
        Alert: "alert",
        Batch: "batch",
        Usual: "usual",
        DeadLetter: "dead_letter",
        DeadLetterPart: "dead_letter_part",
        EventAside: "event_aside",
        Unconfirmed: "unconfirmed",
        Callback: "callback",
    }
}

/// A document as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// Its name within its kind.
    pub key: String,
    /// 1 when it was made, one more with every change.
    pub version: u64,
    /// JSON.
    pub body: String,
}

impl Document {
    /// The value in it.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, JournalError> {
        serde_json::from_str(&self.body).map_err(|error| JournalError::Corrupt {
            key: self.key.clone(),
            // The position only: the text may quote what an operator wrote.
            column: error.column(),
        })
    }
}

/// What a write found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    /// Written; its version now.
    Done(u64),
    /// Somebody else changed it meanwhile. Nothing was changed.
    Conflict,
}

/// Why a journal operation failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum JournalError {
    /// The backend cannot be reached or refused; nothing was acknowledged.
    #[error("the journal is unavailable: {0}")]
    Unavailable(String),
    /// What is stored cannot be read back.
    #[error("the journal's document {key} cannot be read (column {column})")]
    Corrupt {
        /// Which.
        key: String,
        /// Where.
        column: usize,
    },
    /// Above [`MAX_BODY_BYTES`].
    #[error("a document of {0} bytes is too large for the journal")]
    TooLarge(usize),
    /// Others kept changing it.
    #[error("the journal's document {0} is changed by others all the time")]
    Contended(String),
}

/// How often a change is tried against others, with growing waits: some 3 seconds in all.
const TRIES: u32 = 20;

/// From this try on a change waits before it is tried again.
const PATIENT_TRIES: u32 = 3;

/// Reads, changes and writes a document until nobody else came in between. `change` returns what to write, `None` to
/// leave it, and what to answer.
pub async fn change<T, R>(
    journal: &dyn Journal,
    kind: Kind,
    key: &str,
    keep_until: Option<Timestamp>,
    mut change: impl FnMut(Option<T>) -> (Option<T>, R) + Send,
) -> Result<R, JournalError>
where
    T: Serialize + DeserializeOwned + Send,
    R: Send,
{
    for round in 0..TRIES {
        if let Some(round) = round.checked_sub(PATIENT_TRIES) {
            let most_ms = 5_u64 << round.min(6);
            let wait_ms = rand::rng().random_range(0..=most_ms);
            tokio::time::sleep(Duration::from_millis(wait_ms)).await;
        }
        let found = journal.get(kind, key).await?;
        let version = found.as_ref().map_or(0, |document| document.version);
        let (changed, answer) = change(found.map(|document| document.read()).transpose()?);
        let Some(changed) = changed else { return Ok(answer) };
        if let Put::Done(_) = journal.put(kind, key, &write(&changed), version, keep_until).await? {
            return Ok(answer);
        }
    }
    Err(JournalError::Contended(key.to_owned()))
}

/// A value as a document's body.
pub fn write<T: Serialize>(value: &T) -> String {
    // Plain structs of texts and numbers: writing them as JSON cannot fail.
    serde_json::to_string(value).unwrap_or_default()
}
