//! Dead letters that stand nowhere but in the queue: what could not be read, or belongs to no record. The queue destroys
//! them after its retention, so each gets a copy in the journal. What has a record needs none: the log is the
//! obligation, and `redrive` sends it again.
//!
//! A copy is a head of [`Kind::DeadLetter`] and the body in parts of [`Kind::DeadLetterPart`], so that the largest
//! message of SQS (1 MiB) fits and a listing reads heads alone. The head is written last: without it there is no copy.

mod walk;

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::clock::Timestamp;
use crate::journal::{self, Journal, JournalError, Kind, Put};
use crate::message_log::{LogError, MessageLog};
use crate::notification::NotificationId;
use crate::notification::content::{self, Limits};
use crate::queue::{DeadLetter, RECEIVED_TOO_OFTEN};
pub use walk::{Survey, Walk, survey};

/// For how long a copy is kept, and what was resent is remembered.
pub const KEPT: Duration = Duration::from_secs(90 * 24 * 3600);

/// The reason of a message whose id is recorded with other content.
pub const CONFLICT: &str = "conflict";

/// Bytes of a body in one part: a third more as base64, within [`journal::MAX_BODY_BYTES`].
const PART_BYTES: usize = 240_000;

/// A copy of a dead letter, without its body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// Names it.
    pub key: String,
    /// The notification, where the message could be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<NotificationId>,
    /// Whose, where the message could be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// Why it is a dead letter.
    pub reason: String,
    /// From when the queue counts its age.
    pub enqueued_at: Timestamp,
    /// When the queue destroys it.
    pub destroyed_at: Timestamp,
    /// When it was copied.
    pub kept_at: Timestamp,
    /// How large the body was; `None`: the queue had none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<usize>,
    /// In how many parts the body lies.
    pub parts: usize,
    /// Set once it was sent again; the body is gone then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resent: Option<Resent>,
}

/// How a dead letter was sent again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Resent {
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// By whom: the name of an API key.
    pub who: String,
    /// As which notification.
    #[schema(value_type = String, format = "uuid")]
    pub id: NotificationId,
}

impl Kept {
    /// Until when it is kept.
    pub fn until(&self) -> Timestamp {
        self.resent.as_ref().map_or(self.kept_at, |resent| resent.at).plus(KEPT)
    }
}

/// What keeping a copy found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Keeping {
    /// There is one now.
    Done(Kept),
    /// There was one.
    Known(Kept),
}

impl Keeping {
    /// The copy.
    pub fn kept(self) -> Kept {
        match self {
            Keeping::Done(kept) | Keeping::Known(kept) => kept,
        }
    }
}

fn part_key(key: &str, part: usize) -> String {
    format!("{key}#{part:02}")
}

/// Sees to it that there is a copy.
pub async fn keep(
    journal: &dyn Journal,
    letter: &DeadLetter,
    now: Timestamp,
) -> Result<Keeping, JournalError> {
    if let Some(known) = kept(journal, &letter.key).await? {
        return Ok(Keeping::Known(known));
    }
    let parts: Vec<&[u8]> =
        letter.body.as_deref().map_or(Vec::new(), |body| body.chunks(PART_BYTES).collect());
    let until = Some(now.plus(KEPT));
    for (at, part) in parts.iter().enumerate() {
        let text = journal::write(&BASE64_STANDARD.encode(part));
        // A conflict: whoever came before us was cut off before the head. A key stands for one body.
        journal.put(Kind::DeadLetterPart, &part_key(&letter.key, at), &text, 0, until).await?;
    }
    let head = Kept {
        key: letter.key.clone(),
        id: letter.id,
        tenant: letter.tenant.clone(),
        reason: letter.reason.clone(),
        enqueued_at: letter.enqueued_at,
        destroyed_at: letter.destroyed_at,
        kept_at: now,
        bytes: letter.body.as_ref().map(Bytes::len),
        parts: parts.len(),
        resent: None,
    };
    match journal.put(Kind::DeadLetter, &letter.key, &journal::write(&head), 0, until).await? {
        Put::Done(_) => Ok(Keeping::Done(head)),
        Put::Conflict => Ok(Keeping::Known(kept(journal, &letter.key).await?.unwrap_or(head))),
    }
}

/// The copy of this key.
pub async fn kept(journal: &dyn Journal, key: &str) -> Result<Option<Kept>, JournalError> {
    journal.get(Kind::DeadLetter, key).await?.map(|document| document.read()).transpose()
}

/// Copies, by key, greatest first.
pub async fn list(
    journal: &dyn Journal,
    after: Option<&str>,
    limit: usize,
) -> Result<Vec<Kept>, JournalError> {
    let documents = journal.list(Kind::DeadLetter, after, limit).await?;
    documents.iter().map(journal::Document::read).collect()
}

/// The body of a copy; `None` where the queue had none, or once it was resent.
pub async fn body(journal: &dyn Journal, kept: &Kept) -> Result<Option<Bytes>, JournalError> {
    if kept.bytes.is_none() || kept.resent.is_some() {
        return Ok(None);
    }
    let mut body = Vec::new();
    for part in 0..kept.parts {
        let key = part_key(&kept.key, part);
        let Some(document) = journal.get(Kind::DeadLetterPart, &key).await? else { return Ok(None) };
        let decoded = BASE64_STANDARD.decode(document.read::<String>()?);
        body.extend(decoded.map_err(|_| JournalError::Corrupt { key, column: 0 })?);
    }
    Ok(Some(body.into()))
}

/// Notes that it was sent again, and removes the copy's body. Its mail is in the log now.
pub async fn mark_resent(journal: &dyn Journal, kept: &Kept, resent: Resent) -> Result<(), JournalError> {
    let until = Some(resent.at.plus(KEPT));
    let mark = |found: Option<Kept>| {
        let mut head = found.unwrap_or_else(|| kept.clone());
        if head.resent.is_some() {
            return (None, ());
        }
        head.resent = Some(resent.clone());
        head.parts = 0;
        (Some(head), ())
    };
    journal::change(journal, Kind::DeadLetter, &kept.key, until, mark).await?;
    for part in 0..kept.parts {
        journal.delete(Kind::DeadLetterPart, &part_key(&kept.key, part)).await?;
    }
    Ok(())
}

#[derive(Deserialize)]
struct Wrapped<'a> {
    #[serde(borrow)]
    kakitome: Option<&'a RawValue>,
    #[serde(borrow)]
    content: Option<&'a RawValue>,
}

/// The notification in a message: what the envelope carries, else the message itself. `None`: it carried none.
pub fn original(body: &[u8]) -> Option<&[u8]> {
    let is_object = body.trim_ascii_start().starts_with(b"{");
    match serde_json::from_slice::<Wrapped<'_>>(body) {
        Ok(Wrapped { kakitome: Some(_), content }) if is_object => {
            content.map(|content| content.get().as_bytes())
        }
        _ => Some(body),
    }
}

/// Whether each has a record in the log, with the same content as far as that can be told.
pub async fn recorded(log: &dyn MessageLog, letters: &[DeadLetter]) -> Result<Vec<bool>, LogError> {
    let ids: Vec<NotificationId> = letters.iter().filter_map(|letter| letter.id).collect();
    let mut lives = log.lives(&ids).await?.into_iter();
    let mut recorded = Vec::with_capacity(letters.len());
    for letter in letters {
        let has_life = letter.id.is_some() && lives.next().flatten().is_some();
        recorded.push(has_life && letter.reason != CONFLICT);
    }
    // What the queue moved by itself nobody has compared.
    let unsure: Vec<usize> = (0..letters.len())
        .filter(|at| {
            recorded[*at] && letters[*at].reason == RECEIVED_TOO_OFTEN && letters[*at].body.is_some()
        })
        .collect();
    let ids: Vec<NotificationId> = unsure.iter().filter_map(|at| letters[*at].id).collect();
    for (at, stored) in unsure.into_iter().zip(log.contents(&ids).await?) {
        let carried = letters[at].body.as_deref().and_then(original);
        let tenant = letters[at].tenant.as_deref().unwrap_or_default();
        if let (Some(stored), Some(carried)) = (stored, carried) {
            let carried = content::parse(carried, tenant, &Limits { body_bytes: usize::MAX });
            recorded[at] = carried.map_or(true, |carried| content::encode(&carried) == stored);
        }
    }
    Ok(recorded)
}

#[cfg(test)]
#[path = "dead_letters_tests.rs"]
mod tests;
