//! What the feed is told: an entry for a change, written before the change, which then names it.
//!
//! | attribute of an entry | |
//! | --- | --- |
//! | `pk` | `f#<shard>#<tenant>` |
//! | `sk` | `<stamp: µs, 16 digits>#<id>#<write>`; of a recipient `…#<recipient key>` |
//! | `st` | the state's code in the table, or the recipient's status's |
//! | `at` | since when, ms |
//! | `rn` | why |
//!
//! The row or events item that changed has `fd`: which of its writes the feed was told of. It is set by the very write
//! that makes the change, so an entry whose write is named there tells what happened, and any other what did not: its
//! write was refused, or whoever was to send it is gone. That can be said once nobody may still send it, see [`settled`].

pub(super) mod recipients;
mod retold;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_dynamodb::types::AttributeValue;

pub use retold::{Told, ToldOf, ToldPage};

use super::DynamoLog;
use super::keys::{self, Item, Key};
use super::row::{self, WriteId, b, n, s};
use crate::aws;
use crate::clock::{Clock, Timestamp};
use crate::message_log::LogError;
use crate::notification::NotificationId;
use crate::notification::status::recipient::RecipientStatus;
use crate::notification::status::{Life, State};

/// Partitions of a tenant's entries: each takes 1,000 writes a second, and every look reads all of them.
const SHARDS: u8 = 4;

/// A change is sent so long after the stamp of its entry, or gets a new entry first.
const SENT_WITHIN: Duration = Duration::from_secs(2);

/// What a server may still do with a request after its client gave it up, generously.
const AFTERMATH: Duration = Duration::from_secs(3);

/// How far a clock may be wrong, as everywhere in this program.
const SKEW: Duration = Duration::from_secs(2);

/// Writes that an item remembers as told: a notification that is redriven or held again and again must not fill its row.
/// Of an item that has changed more often, every entry counts as told.
const REMEMBERED: usize = 64;

/// After so long, whatever an entry tells of has happened or never will.
pub fn settled(calls: &aws::Config) -> Duration {
    SENT_WITHIN + calls.operation_timeout + AFTERMATH + 2 * SKEW
}

/// Whose changes are told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tenants {
    /// Every tenant's.
    All,
    /// Theirs.
    These(Arc<BTreeSet<String>>),
}

impl Tenants {
    /// Whether this tenant's changes are told.
    pub fn include(&self, tenant: &str) -> bool {
        match self {
            Tenants::All => true,
            Tenants::These(these) => these.contains(tenant),
        }
    }

    fn are_none(&self) -> bool {
        matches!(self, Tenants::These(these) if these.is_empty())
    }
}

/// Knows whose changes are told.
#[async_trait]
pub trait Audience: Send + Sync + std::fmt::Debug {
    /// Right now. Fails only where that was never known.
    async fn tenants(&self) -> Result<Tenants, LogError>;
}

/// How changes are told.
#[derive(Clone, Debug)]
pub struct Telling {
    /// To whom.
    pub audience: Arc<dyn Audience>,
    /// Stamps the entries.
    pub clock: Clock,
    /// How long an entry is kept.
    pub kept: Duration,
    /// See [`settled`].
    pub settled: Duration,
}

/// Tells. Without [`Telling`], nobody.
#[derive(Debug, Default)]
pub(super) struct Teller {
    telling: Option<Telling>,
    /// The latest stamp of this process: no two entries of it have the same, and they sort as they were made.
    latest: AtomicI64,
    /// Whether anybody's changes were told when that was asked last.
    has_tenants: AtomicBool,
}

/// What an item remembers of what was told, see the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct History {
    /// The stamp of the latest: whatever is told later sorts behind it, whoever's clock stamps it.
    latest: i64,
    writes: Vec<WriteId>,
}

impl History {
    /// As an item has it.
    pub(super) fn read(item: &Item) -> Self {
        let Some((latest, writes)) = row::blob(item, "fd").and_then(<[u8]>::split_first_chunk::<8>) else {
            return Self::default();
        };
        Self { latest: i64::from_be_bytes(*latest), writes: writes.as_chunks::<8>().0.to_vec() }
    }

    /// The stamp of the latest.
    pub(super) fn latest(&self) -> i64 {
        self.latest
    }

    /// With one more.
    fn with(&self, note: &Note) -> AttributeValue {
        let forgotten = (self.writes.len() + 1).saturating_sub(REMEMBERED);
        let mut bytes = Vec::with_capacity(8 + 8 * (self.writes.len() + 1));
        bytes.extend_from_slice(&note.stamp.to_be_bytes());
        self.writes.iter().skip(forgotten).chain([&note.write_id]).for_each(|w| bytes.extend_from_slice(w));
        b(bytes)
    }

    /// Whether this write was made.
    fn has(&self, write_id: WriteId) -> bool {
        self.writes.len() >= REMEMBERED || self.writes.contains(&write_id)
    }
}

/// An entry that is written, or about to be.
#[derive(Clone, Debug)]
pub(super) struct Note {
    partition: String,
    /// The sort key behind the stamp.
    rest: String,
    write_id: WriteId,
    code: usize,
    at: Timestamp,
    reason: Option<String>,
    expires: Timestamp,
    stamp: i64,
    /// When it was stamped, by the time since boot.
    stamped: Duration,
}

impl Note {
    fn item(&self) -> Item {
        let mut item = Key::new(self.partition.as_str(), self.sort()).attributes();
        item.insert("st".into(), n(self.code));
        item.insert("at".into(), n(self.at.as_ms()));
        item.insert("exp".into(), n(self.expires.as_ms() / 1000));
        if let Some(reason) = &self.reason {
            item.insert("rn".into(), s(reason.as_str()));
        }
        item
    }

    fn sort(&self) -> String {
        format!("{:016}#{}", self.stamp, self.rest)
    }

    /// Until when its change may be sent, by the time since boot.
    pub(super) fn send_before(&self) -> Duration {
        self.stamped + SENT_WITHIN
    }

    /// What the changed item is to remember, having remembered `history`.
    pub(super) fn remembered(&self, history: &History) -> AttributeValue {
        history.with(self)
    }
}

/// Where a change belongs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    pub(super) id: NotificationId,
    pub(super) tenant: &'a str,
    pub(super) write_id: WriteId,
}

/// Whether a notification that was in one state and is in the other is told of: it came to an end or is held, or came
/// back from there.
pub(super) fn is_told(before: State, after: State) -> bool {
    let stands = |state: State| {
        matches!(
            state,
            State::Held | State::Sent | State::Failed | State::Expired | State::Cancelled | State::Suppressed
        )
    };
    before != after && after != State::Attempting && (stands(before) || stands(after))
}

/// Whether a recipient that came to this status is told of.
pub(super) fn is_told_of_recipient(status: RecipientStatus) -> bool {
    !matches!(status, RecipientStatus::Pending | RecipientStatus::Processed)
}

impl Teller {
    pub(super) fn new(telling: Telling) -> Self {
        Self { telling: Some(telling), ..Self::default() }
    }

    /// Whose changes are told right now; `None`: nobody's, and nothing more needs to be known.
    pub(super) async fn tenants(&self) -> Result<Option<Tenants>, LogError> {
        let Some(telling) = &self.telling else { return Ok(None) };
        let tenants = Some(telling.audience.tenants().await?).filter(|tenants| !tenants.are_none());
        self.has_tenants.store(tenants.is_some(), Ordering::Relaxed);
        Ok(tenants)
    }

    /// Whether anybody's were when that was last asked.
    pub(super) fn has_tenants(&self) -> bool {
        self.has_tenants.load(Ordering::Relaxed)
    }

    /// A notification's entry, to be stamped.
    pub(super) fn of_life(&self, place: Place<'_>, after: &Life) -> Note {
        let code = usize::from(super::life::state_code(after.state));
        self.note(place, None, (code, after.state_since, after.reason.clone()))
    }

    /// A recipient's.
    pub(super) fn of_recipient(
        &self,
        place: Place<'_>,
        recipient_key: &str,
        (status, since): (RecipientStatus, Timestamp),
    ) -> Note {
        let code = RecipientStatus::ALL.iter().position(|known| *known == status).unwrap_or_default();
        self.note(place, Some(recipient_key), (code, since, None))
    }

    fn note(
        &self,
        Place { id, tenant, write_id }: Place<'_>,
        recipient_key: Option<&str>,
        (code, at, reason): (usize, Timestamp, Option<String>),
    ) -> Note {
        let mut rest = format!("{id}#{}", keys::hex(&write_id));
        if let Some(key) = recipient_key {
            rest.push('#');
            rest.push_str(key);
        }
        let partition = partition(tenant, id.as_bytes()[15] % SHARDS);
        let (stamp, stamped, expires) = (0, Duration::ZERO, Timestamp::default());
        Note { partition, rest, write_id, code, at, reason, expires, stamp, stamped }
    }

    /// Stamps it, behind what was told of its item with the stamp `former`.
    pub(super) fn stamp(&self, note: &mut Note, former: i64) {
        let Some(telling) = &self.telling else { return };
        let now = telling.clock.now();
        let after = |latest: i64| micros(now).max(latest + 1);
        let own = self.latest.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |one| Some(after(one)));
        // It never fails, as there is always a later one.
        let stamp = after(own.unwrap_or_default()).max(former + 1);
        (note.stamp, note.stamped, note.expires) = (stamp, boot_time(), now.plus(telling.kept));
    }

    /// Whether it was stamped so long ago that somebody may have found by now that its change never happened.
    fn is_late(&self, note: &Note) -> bool {
        let least =
            self.telling.as_ref().map_or(Duration::MAX, |telling| telling.settled.saturating_sub(2 * SKEW));
        boot_time().saturating_sub(note.stamped) > least
    }
}

impl DynamoLog {
    /// Writes entries, stamped already. A result for each.
    pub(super) async fn put_notes<'a>(
        &self,
        notes: impl Iterator<Item = &'a Note>,
    ) -> Vec<Result<(), LogError>> {
        let items: Vec<Item> = notes.map(Note::item).collect();
        if items.is_empty() { Vec::new() } else { self.writer.put(items).await }
    }

    /// After their changes were made, or may have been: those that somebody may have passed over, because this process stood
    /// still or DynamoDB took very long, are written again where they are still to be read.
    pub(super) async fn repeat_late(&self, notes: &mut [Note]) {
        for note in notes.iter_mut().filter(|note| self.teller.is_late(note)) {
            self.teller.stamp(note, note.stamp);
            if let Some(Err(error)) = self.put_notes([&*note].into_iter()).await.pop() {
                tracing::error!(%error, entry = note.rest, "a change may never be told: its entry came late");
            }
        }
    }
}

/// By which the bounds are measured, whatever clock stamps the entries.
pub(super) fn boot_time() -> Duration {
    Clock::system().boot_time()
}

/// A partition of a tenant's entries.
fn partition(tenant: &str, shard: u8) -> String {
    format!("f#{shard:x}#{tenant}")
}

/// A stamp.
fn micros(at: Timestamp) -> i64 {
    at.as_ms().saturating_mul(1000)
}

#[cfg(test)]
mod tests {
    use super::super::life::STATES;
    use super::*;

    #[test]
    fn what_is_told_of_a_notification_is_what_the_embedded_backends_trigger_tells() {
        let stands = |code: usize| code == 2 || code >= 5;
        for (old, before) in STATES.into_iter().enumerate() {
            for (new, after) in STATES.into_iter().enumerate() {
                let told = new != old && new != 3 && (stands(new) || stands(old));
                assert_eq!(is_told(before, after), told, "{before:?} to {after:?}");
            }
        }
    }
}
