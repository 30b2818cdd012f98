//! Entries: one per distinct recipient, by the hour of acceptance. The first one has the content.
//!
//! | attribute | of the first recipient's entry |
//! | --- | --- |
//! | `c` | the stored content, zstd |
//! | `k` | instead of it, where the content is with the queue or in parts: `{to, cc, bcc, metadata, template}`, zstd |
//! | `cn` | in how many parts the content lies beside the row, under `c#00` …: an item has at most 400 KB |
//!
//! The other recipients' entries have `f`, the first recipient's key, alone.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::keys::{self, Item, Key};
use super::row::{b, blob, n, number, s, text};
use crate::clock::Timestamp;
use crate::message_log::{LogError, NewNotification};
use crate::notification::address::Address;
use crate::notification::{Mailbox, Notification, NotificationId, RecipientKind};

/// What of the content stands in one item; an item has at most 400 KB with its names and keys.
const PART_BYTES: usize = 380_000;

/// Entries outlive their rows by this, so that no row is without its content.
pub(super) const KEPT_LONGER: Duration = Duration::from_secs(30 * 24 * 3600);

/// zstd's own default: a better ratio costs more time than it saves in write units.
const ZSTD_LEVEL: i32 = 3;

/// An entry as it was read.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// Whose.
    pub(super) id: NotificationId,
    /// What it has.
    pub(super) body: Body,
}

/// What an entry has.
#[derive(Clone, Debug)]
pub(super) enum Body {
    /// The stored content, see [`crate::notification::content::encode`].
    Content(Bytes),
    /// Who and which labels. The content lies in so many parts, or with the queue where there are none.
    Card {
        /// Who and which labels.
        card: Card,
        /// How many parts; 0: none, the queue message has it.
        parts: u32,
    },
    /// Nothing: it is not the first recipient's.
    Nothing,
}

/// What a record shows of the content.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Card {
    #[serde(default)]
    to: Vec<OnlyEmail>,
    #[serde(default)]
    cc: Vec<OnlyEmail>,
    #[serde(default)]
    bcc: Vec<OnlyEmail>,
    /// The producer's labels.
    #[serde(default)]
    pub(super) metadata: BTreeMap<String, String>,
    template: Option<OnlyId>,
}

#[derive(Clone, Debug, Deserialize)]
struct OnlyEmail {
    email: Address,
}

#[derive(Clone, Debug, Deserialize)]
struct OnlyId {
    id: String,
}

impl Card {
    /// Every recipient, in the order to, cc, bcc.
    pub(super) fn recipients(&self) -> impl Iterator<Item = (RecipientKind, &Address)> {
        let to = self.to.iter().map(|one| (RecipientKind::To, &one.email));
        let cc = self.cc.iter().map(|one| (RecipientKind::Cc, &one.email));
        to.chain(cc).chain(self.bcc.iter().map(|one| (RecipientKind::Bcc, &one.email)))
    }

    /// The provider's template that it is made from.
    pub(super) fn template(&self) -> Option<&str> {
        self.template.as_ref().map(|template| template.id.as_str())
    }

    fn read(json: &[u8]) -> Result<Self, LogError> {
        serde_json::from_slice(json).map_err(|_| corrupt("its recipients"))
    }
}

impl Entry {
    /// Reads an item of an hour.
    pub(super) fn read(item: &Item) -> Result<Self, LogError> {
        let parts = text(item, "sk").and_then(keys::entry_parts);
        let (_, _, id) = parts.ok_or_else(|| corrupt("an entry's key"))?;
        let body = if let Some(packed) = blob(item, "c") {
            Body::Content(unpack(packed)?)
        } else if let Some(packed) = blob(item, "k") {
            Body::Card { card: Card::read(&unpack(packed)?)?, parts: number(item, "cn").unwrap_or(0) }
        } else {
            Body::Nothing
        };
        Ok(Self { id, body })
    }

    /// Who and which labels; nothing in an entry that is not the first recipient's.
    pub(super) fn card(&self) -> Result<Option<Card>, LogError> {
        match &self.body {
            Body::Content(content) => Card::read(content).map(Some),
            Body::Card { card, .. } => Ok(Some(card.clone())),
            Body::Nothing => Ok(None),
        }
    }
}

/// Where the parts of this content lie.
pub(super) fn part_keys(id: NotificationId, parts: u32) -> impl Iterator<Item = Key> {
    (0..parts).map(move |part| Key::new(keys::notification_partition(id), format!("c#{part:02}")))
}

/// The content in its parts, put together. `None` if one is missing.
pub(super) fn join_parts<'a>(
    parts: impl Iterator<Item = Option<&'a Item>>,
) -> Result<Option<Bytes>, LogError> {
    let mut packed = Vec::new();
    for part in parts {
        let Some(bytes) = part.and_then(|item| blob(item, "c")) else { return Ok(None) };
        packed.extend_from_slice(bytes);
    }
    unpack(&packed).map(Some)
}

#[derive(Serialize)]
struct CardOf<'a> {
    to: Vec<EmailOf<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    cc: Vec<EmailOf<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    bcc: Vec<EmailOf<'a>>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    metadata: &'a BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    template: Option<IdOf<'a>>,
}

#[derive(Serialize)]
struct EmailOf<'a> {
    email: &'a Address,
}

#[derive(Serialize)]
struct IdOf<'a> {
    id: &'a str,
}

fn packed_card(notification: &Notification) -> Vec<u8> {
    fn emails(of: &[Mailbox]) -> Vec<EmailOf<'_>> {
        of.iter().map(|mailbox| EmailOf { email: &mailbox.email }).collect()
    }
    let card = CardOf {
        to: emails(&notification.to),
        cc: emails(&notification.cc),
        bcc: emails(&notification.bcc),
        metadata: &notification.metadata,
        template: notification.template.as_ref().map(|template| IdOf { id: &template.id }),
    };
    // Texts only: writing them as JSON cannot fail.
    pack(&serde_json::to_vec(&card).unwrap_or_default())
}

/// What entries are made of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Source<'a> {
    /// Whose.
    pub(super) id: NotificationId,
    /// Who and which labels.
    pub(super) notification: &'a Notification,
    /// The stored form.
    pub(super) content: &'a [u8],
    /// Its hash.
    pub(super) content_hash: &'a [u8; 32],
    /// When it was accepted.
    pub(super) accepted_at: Timestamp,
    /// See [`crate::notification::status::Life::ready_at`].
    pub(super) ready_at: Timestamp,
}

impl<'a> Source<'a> {
    /// Of a new notification.
    pub(super) fn of(new: &'a NewNotification) -> Self {
        Self {
            id: new.id,
            notification: &new.notification,
            content: &new.content,
            content_hash: &new.content_hash,
            accepted_at: new.life.accepted_at,
            ready_at: new.life.ready_at(),
        }
    }
}

/// What is recorded beside the row: an entry for each distinct recipient, the first with the content, or with the card
/// alone while the content is only with the queue.
pub(super) fn items_of(source: Source<'_>, with_content: bool, retention: Duration) -> Vec<Item> {
    let Source { id, notification, content, content_hash, accepted_at, ready_at } = source;
    let expires = n(ready_at.plus(retention).plus(KEPT_LONGER).as_ms() / 1000);
    let mut seen = HashSet::new();
    let mut items: Vec<Item> = Vec::new();
    let mut first_key = None;
    for (_, mailbox) in notification.recipients() {
        let recipient_key = keys::recipient_key(&mailbox.email);
        if seen.contains(&recipient_key) {
            continue;
        }
        let mut item = keys::entry_key(&recipient_key, accepted_at, id, content_hash).attributes();
        item.insert("exp".into(), expires.clone());
        match &first_key {
            None => first_key = Some(recipient_key.clone()),
            Some(first) => drop(item.insert("f".into(), s(first.as_str()))),
        }
        seen.insert(recipient_key);
        items.push(item);
    }
    let packed = if with_content { pack(content) } else { Vec::new() };
    let parts: Vec<_> = packed.chunks(PART_BYTES).collect();
    if let Some(first) = items.first_mut() {
        if parts.len() == 1 {
            first.insert("c".into(), b(packed));
            return items;
        }
        first.insert("k".into(), b(packed_card(notification)));
        if !parts.is_empty() {
            first.insert("cn".into(), n(parts.len()));
        }
    }
    let count = u32::try_from(parts.len()).unwrap_or(u32::MAX);
    for (key, part) in part_keys(id, count).zip(parts) {
        let mut item = key.attributes();
        item.insert("c".into(), b(part.to_vec()));
        item.insert("exp".into(), expires.clone());
        items.push(item);
    }
    items
}

thread_local! {
    // Making one costs more than compressing a mail with it.
    static PACKER: RefCell<Option<zstd::bulk::Compressor<'static>>> =
        RefCell::new(zstd::bulk::Compressor::new(ZSTD_LEVEL).ok());
}

/// Compresses.
pub(super) fn pack(bytes: &[u8]) -> Vec<u8> {
    let packed =
        PACKER.with_borrow_mut(|packer| packer.as_mut().and_then(|packer| packer.compress(bytes).ok()));
    // Compressing into memory cannot fail.
    packed.or_else(|| zstd::bulk::compress(bytes, ZSTD_LEVEL).ok()).unwrap_or_default()
}

/// Decompresses.
pub(super) fn unpack(packed: &[u8]) -> Result<Bytes, LogError> {
    zstd::stream::decode_all(packed).map(Bytes::from).map_err(|_| corrupt("compressed bytes"))
}

fn corrupt(what: &str) -> LogError {
    LogError::Corrupt(what.into())
}
