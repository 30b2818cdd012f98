//! Events as they lie beside their row: one item for each recipient (or few that share a bucket), so that a repeat is
//! recognised by reading one item.
//!
//! | attribute | |
//! | --- | --- |
//! | `v` | counts the writes: each is on condition that none came between |
//! | `w` | names the latest write |
//! | `ev` | a JSON list, zstd |
//! | `fd` | what the feed was told of, see `told.rs` |

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

use super::entry::{pack, unpack};
use super::keys::{Item, Key};
use super::row::{self, WriteId, b, blob, n, s};
use super::table::Table;
use super::told::recipients::Notes;
use super::write::Write;
use crate::clock::Timestamp;
use crate::message_log::{LogError, RecordedEvent};
use crate::notification::address::Address;
use crate::provider::{EventKind, ProviderEvent, link};

/// One event as it is kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct KeptEvent {
    #[serde(rename = "p")]
    provider: String,
    #[serde(rename = "e", default, skip_serializing_if = "Option::is_none")]
    event_id: Option<String>,
    #[serde(rename = "k")]
    kind: EventKind,
    /// Milliseconds since the epoch.
    #[serde(rename = "t")]
    at: i64,
    #[serde(rename = "r", default, skip_serializing_if = "Option::is_none")]
    recipient: Option<Address>,
    #[serde(rename = "m", default, skip_serializing_if = "std::ops::Not::not")]
    machine: bool,
    #[serde(rename = "d", default, skip_serializing_if = "serde_json::Map::is_empty")]
    detail: serde_json::Map<String, serde_json::Value>,
}

impl KeptEvent {
    pub(super) fn of(event: &ProviderEvent) -> Self {
        Self {
            provider: event.provider.clone(),
            event_id: event.event_id.clone(),
            kind: event.kind.clone(),
            at: event.at.as_ms(),
            recipient: event.recipient.clone(),
            machine: event.machine,
            detail: event.detail.clone(),
        }
    }

    pub(super) fn at(&self) -> Timestamp {
        Timestamp::from_ms(self.at)
    }

    pub(super) fn kind(&self) -> &EventKind {
        &self.kind
    }

    pub(super) fn recipient(&self) -> Option<&Address> {
        self.recipient.as_ref()
    }

    /// Whether both tell of the same thing: by the provider's number, or by what they say, as the provider may number
    /// one event twice.
    pub(super) fn is_repeat_of(&self, other: &Self) -> bool {
        let numbered =
            self.event_id.is_some() && (&self.event_id, &self.provider) == (&other.event_id, &other.provider);
        let to = |event: &Self| event.recipient.as_ref().map(Address::canonical);
        let same_link = || link(&self.kind, &self.detail) == link(&other.kind, &other.detail);
        numbered || (self.at, &self.kind) == (other.at, &other.kind) && to(self) == to(other) && same_link()
    }

    /// Oldest first. The provider tells whole seconds: within one, what comes first in a message's life stands first.
    pub(super) fn compare(&self, other: &Self) -> Ordering {
        let place = |event: &Self| match event.kind {
            EventKind::Processed => 0,
            EventKind::Deferred => 1,
            EventKind::Delivered => 2,
            _ => 3,
        };
        let key = |event: &Self| (event.at, place(event));
        key(self)
            .cmp(&key(other))
            .then_with(|| self.kind.as_str().cmp(other.kind.as_str()))
            .then_with(|| self.recipient.cmp(&other.recipient))
    }

    pub(super) fn into_recorded(self) -> RecordedEvent {
        RecordedEvent {
            at: self.at(),
            kind: self.kind,
            recipient: self.recipient,
            machine: self.machine,
            detail: self.detail,
        }
    }
}

/// The events in such an item.
pub(super) fn read(item: &Item) -> Result<Vec<KeptEvent>, LogError> {
    let corrupt = || LogError::Corrupt("its events".into());
    let json = unpack(blob(item, "ev").ok_or_else(corrupt)?)?;
    serde_json::from_slice(&json).map_err(|_| corrupt())
}

/// An item as it is about to be written.
pub(super) struct EventsItem<'a> {
    pub(super) key: &'a Key,
    /// As it was read; `None`: there was none.
    pub(super) version: Option<u64>,
    pub(super) write_id: WriteId,
    /// The list, see [`packed`].
    pub(super) list: Vec<u8>,
    pub(super) expires: Timestamp,
    /// What the feed was told of it.
    pub(super) notes: &'a Notes,
}

/// The list as it is stored.
pub(super) fn packed(events: &[KeptEvent]) -> Vec<u8> {
    // Texts, numbers and what came as JSON: writing them as JSON cannot fail.
    pack(&serde_json::to_vec(events).unwrap_or_default())
}

/// Writes it, unless another did since it was read.
pub(super) fn write(table: &Table, item: EventsItem<'_>) -> Write {
    let EventsItem { key, version, write_id, list, expires, notes } = item;
    let (pk, sk) = (s(key.pk.as_str()), s(key.sk.as_str()));
    let (list, expires) = (b(list), n(expires.as_ms() / 1000));
    let write_id = b(write_id.to_vec());
    let name = table.name.as_ref();
    let remembered = notes.remembered();
    let (statement, mut parameters) = match version {
        None => {
            let told = if remembered.is_some() { ", 'fd': ?" } else { "" };
            let values = "'pk': ?, 'sk': ?, 'v': ?, 'w': ?, 'ev': ?, 'exp': ?";
            (
                format!("INSERT INTO \"{name}\" VALUE {{{values}{told}}}"),
                vec![pk, sk, n(1), write_id, list, expires],
            )
        }
        Some(version) => {
            let told = if remembered.is_some() { " SET fd=?" } else { "" };
            (
                format!(
                    "UPDATE \"{name}\" SET v=? SET w=? SET ev=? SET exp=?{told} WHERE pk=? AND sk=? AND v=?"
                ),
                vec![n(version + 1), write_id, list, expires, pk, sk, n(version)],
            )
        }
    };
    if let Some(remembered) = remembered {
        parameters.insert(if version.is_some() { 4 } else { 6 }, remembered);
    }
    Write { key: key.clone(), statement, parameters, send_before: notes.send_before() }
}

/// The item's version.
pub(super) fn version(item: &Item) -> Option<u64> {
    row::number(item, "v")
}
