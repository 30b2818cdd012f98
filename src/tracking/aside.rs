//! Provider events that could not be folded, as the journal has them: a document each, named by a digest of the event, so
//! that the same one stands there once however often it fails. Who takes one off the list leaves his name in it.
//!
//! Putting one back appends it to the inbox first and ends its document then, by compare-and-set: should it fail again in
//! between, the document has changed and stays. Versions never begin anew while anybody could still hold an old one,
//! since what is ended is kept, too.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use utoipa::ToSchema;

use crate::clock::Timestamp;
use crate::journal::{self, Journal, JournalError, Kind, Put};
use crate::provider::ProviderEvent;

/// For how long events that were set aside are kept.
pub const KEPT: Duration = Duration::from_secs(90 * 24 * 3600);

/// So many are counted; of more it is said that there are at least as many.
pub const MOST_COUNTED: usize = 1000;

/// Documents that are read at once.
const PAGE: usize = 500;

/// Documents that are read for one answer, ended ones included.
const MOST_READ: usize = 20_000;

/// An event that could not be folded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Aside {
    /// When it was set aside, the last time.
    pub at: Timestamp,
    /// When it came.
    pub received_at: Timestamp,
    /// Why.
    pub why: String,
    /// The event.
    pub event: ProviderEvent,
    /// How often it was set aside.
    #[serde(default = "once")]
    pub times: u32,
    /// Set once somebody dealt with it; it is then listed no more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Ended>,
}

/// Who dealt with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = AsideEnded)]
pub struct Ended {
    /// How.
    pub how: End,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// Who: the name of an API key.
    pub who: String,
    /// Why, in the operator's words.
    #[schema(required = true)]
    pub why: Option<String>,
}

/// How it was dealt with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = AsideEnd)]
pub enum End {
    /// It was put back into the inbox, to be folded again.
    PutBack,
    /// Nothing follows from it; it does not come back.
    Dismissed,
}

/// One that was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// Names it: 32 hexadecimal digits.
    pub key: String,
    /// What it is.
    pub aside: Aside,
    version: u64,
}

/// Some of them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Page {
    /// In the order of their keys.
    pub items: Vec<Found>,
    /// Where to go on; `None`: these were the last.
    pub next: Option<String>,
}

/// How many there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = AsideCount)]
pub struct Count {
    /// How many were counted.
    pub count: u64,
    /// Whether there may be more.
    pub at_least: bool,
}

fn once() -> u32 {
    1
}

impl Aside {
    /// An event that is set aside now.
    pub fn new(event: ProviderEvent, received_at: Timestamp, why: &str, at: Timestamp) -> Self {
        Self { at, received_at, why: why.to_owned(), event, times: once(), ended: None }
    }

    /// Names its document.
    pub fn key(&self) -> String {
        let event = journal::write(&self.event);
        let digest = Sha256::digest(event.as_bytes());
        digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
    }
}

/// Whether this could be a key.
pub fn is_key(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

/// Keeps it, over what was known of it; what was dismissed stays so.
pub async fn keep(journal: &dyn Journal, aside: &Aside) -> Result<(), JournalError> {
    let until = Some(aside.at.plus(KEPT));
    journal::change(journal, Kind::EventAside, &aside.key(), until, |known: Option<Aside>| {
        let Some(known) = known else { return (Some(aside.clone()), ()) };
        if known.ended.as_ref().is_some_and(|ended| ended.how == End::Dismissed) {
            return (None, ());
        }
        let received_at = known.received_at.min(aside.received_at);
        (Some(Aside { received_at, times: known.times.saturating_add(1), ..aside.clone() }), ())
    })
    .await
}

/// One of them, ended or not.
pub async fn get(journal: &dyn Journal, key: &str) -> Result<Option<Found>, JournalError> {
    let Some(document) = journal.get(Kind::EventAside, key).await? else { return Ok(None) };
    Ok(Some(Found { key: document.key.clone(), aside: document.read()?, version: document.version }))
}

/// Up to `limit` behind this key; `all`: also those that were dealt with.
pub async fn list(
    journal: &dyn Journal,
    after: Option<&str>,
    limit: usize,
    all: bool,
) -> Result<Page, JournalError> {
    let (mut page, mut after, mut read) = (Page::default(), after.map(str::to_owned), 0);
    loop {
        let documents = journal.list(Kind::EventAside, after.as_deref(), PAGE).await?;
        let is_last = documents.len() < PAGE;
        read += documents.len();
        for document in documents {
            let behind = after.replace(document.key.clone());
            let aside: Aside = match document.read() {
                Ok(aside) => aside,
                Err(error) => {
                    tracing::warn!(%error, "an event that was set aside cannot be read");
                    continue;
                }
            };
            if !all && aside.ended.is_some() {
                continue;
            }
            if page.items.len() == limit {
                page.next = behind;
                return Ok(page);
            }
            page.items.push(Found { key: document.key, aside, version: document.version });
        }
        if is_last {
            return Ok(page);
        }
        if read >= MOST_READ {
            page.next = after;
            return Ok(page);
        }
    }
}

/// How many nobody has dealt with.
pub async fn count(journal: &dyn Journal) -> Result<Count, JournalError> {
    let page = list(journal, None, MOST_COUNTED, false).await?;
    Ok(Count { count: page.items.len() as u64, at_least: page.next.is_some() })
}

/// Takes it off the list. `false`: it was changed since it was read, and is as it was left.
pub async fn end(journal: &dyn Journal, found: &Found, ended: &Ended) -> Result<bool, JournalError> {
    let aside = Aside { ended: Some(ended.clone()), ..found.aside.clone() };
    let until = Some(ended.at.plus(KEPT));
    let body = journal::write(&aside);
    let put = journal.put(Kind::EventAside, &found.key, &body, found.version, until).await?;
    Ok(matches!(put, Put::Done(_)))
}
