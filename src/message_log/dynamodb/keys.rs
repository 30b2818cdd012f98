//! Where things lie in the table, and which index partition a row stands in.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use jiff::tz::TimeZone;
use sha2::{Digest, Sha256};

use crate::clock::Timestamp;
use crate::notification::NotificationId;
use crate::notification::address::Address;
use crate::notification::status::{Life, State};

/// One item as the SDK has it.
pub(super) type Item = HashMap<String, AttributeValue>;

/// The partition that names every hour in which something was accepted.
pub(super) const HOURS_PARTITION: &str = "hours";

/// Partitions of an hour's entries.
pub(super) const ENTRY_SHARDS: u8 = 16;

/// Partitions at the most of a class in the index `open`, see [`Class::shards`]: each takes 1,000 writes a second.
pub(super) const OPEN_SHARDS: u8 = 16;

/// Partitions of the index `wake`: only what failed or waits is written there, and every look reads all of them.
pub(super) const WAKE_SHARDS: u8 = 4;

/// Partitions of a batch in the index `batch`.
pub(super) const BATCH_SHARDS: u8 = 8;

/// The index of what is not at its end, by class and shard; see [`open_partition`].
pub(super) const OPEN_INDEX: &str = "open";
/// The index of what the sweeper looks at by its time; see [`wake_partition`].
pub(super) const WAKE_INDEX: &str = "wake";
/// The index of what belongs to a broadcast; see [`batch_partition`].
pub(super) const BATCH_INDEX: &str = "batch";

/// The sort key of every row.
pub(super) const ROW_SORT: &str = "n";

/// A primary key.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Key {
    /// The partition.
    pub(super) pk: String,
    /// The place in it.
    pub(super) sk: String,
}

impl Key {
    pub(super) fn new(pk: impl Into<String>, sk: impl Into<String>) -> Self {
        Self { pk: pk.into(), sk: sk.into() }
    }

    /// As the SDK has it.
    pub(super) fn attributes(&self) -> Item {
        HashMap::from([
            ("pk".to_owned(), AttributeValue::S(self.pk.clone())),
            ("sk".to_owned(), AttributeValue::S(self.sk.clone())),
        ])
    }

    /// Of an item, which always has one.
    pub(super) fn of(item: &Item) -> Option<Self> {
        let text = |name: &str| item.get(name)?.as_s().ok().cloned();
        Some(Self { pk: text("pk")?, sk: text("sk")? })
    }
}

/// The partition of a notification's row and events: `n#<uuid>`.
pub(super) fn notification_partition(id: NotificationId) -> String {
    format!("n#{id}")
}

/// The id in such a partition key.
pub(super) fn notification_id(pk: &str) -> Option<NotificationId> {
    pk.strip_prefix("n#")?.parse().ok()
}

/// Where a row lies.
pub(super) fn row_key(id: NotificationId) -> Key {
    Key::new(notification_partition(id), ROW_SORT)
}

/// What stands for an address in keys: the first 8 bytes of the SHA-256 of its canonical form, as 16 hex digits.
pub(super) fn recipient_key(address: &Address) -> String {
    hex(&Sha256::digest(address.canonical())[..8])
}

/// Lower-case hex.
pub(super) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text
}

/// The UTC hour that a moment lies in, as `YYYYMMDDHH`: it sorts as time does.
pub(super) fn hour(at: Timestamp) -> String {
    let Ok(at) = jiff::Timestamp::from_millisecond(at.as_ms()) else { return String::new() };
    let at = at.to_zoned(TimeZone::UTC);
    format!("{:04}{:02}{:02}{:02}", at.year(), at.month(), at.day(), at.hour())
}

/// The shard of this recipient's entries, `00` … `15`.
pub(super) fn entry_shard(recipient_key: &str) -> u8 {
    let digit = recipient_key.chars().next().and_then(|c| c.to_digit(16)).unwrap_or(0);
    u8::try_from(digit).unwrap_or(0) % ENTRY_SHARDS
}

/// The partition of the entries of an hour and shard: `h#<hour>#<shard>`.
pub(super) fn hour_partition(hour: &str, shard: u8) -> String {
    format!("h#{hour}#{shard:02}")
}

/// An entry's sort key: `<recipient key>#<accepted_at ms, 13 digits>#<uuid>#<16 hex of the content's hash>`.
///
/// With the hash in it, two producers who use one idempotency key for different contents within the same millisecond
/// never write over each other: the loser leaves an entry that belongs to no row, and that readers leave out.
pub(super) fn entry_sort(
    recipient_key: &str,
    accepted_at: Timestamp,
    id: NotificationId,
    content_hash: &[u8; 32],
) -> String {
    format!("{recipient_key}#{:013}#{id}#{}", accepted_at.as_ms(), hex(&content_hash[..8]))
}

/// Recipient key, acceptance and id of such a sort key.
pub(super) fn entry_parts(sk: &str) -> Option<(&str, Timestamp, NotificationId)> {
    let mut parts = sk.split('#');
    let recipient_key = parts.next()?;
    let accepted_at = Timestamp::from_ms(parts.next()?.parse().ok()?);
    Some((recipient_key, accepted_at, parts.next()?.parse().ok()?))
}

/// Where the entry of this recipient and notification lies.
pub(super) fn entry_key(
    recipient_key: &str,
    accepted_at: Timestamp,
    id: NotificationId,
    content_hash: &[u8; 32],
) -> Key {
    let partition = hour_partition(&hour(accepted_at), entry_shard(recipient_key));
    Key::new(partition, entry_sort(recipient_key, accepted_at, id, content_hash))
}

/// Which part of the index `open` a row stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Class {
    /// Accepted, attempting, retrying, unknown. A claim leaves a row where it is, so that a scheduled one that was
    /// claimed when it came due stands among the scheduled ones, due.
    OnItsWay,
    /// Waiting for its `deliver_at`, which is its place in the index; due once that has come.
    Scheduled,
    /// Held.
    Held,
    /// Dead letters.
    Failed,
    /// Past their deadline.
    Expired,
    /// Cancelled and suppressed.
    Stopped,
}

impl Class {
    /// Every class.
    pub(super) const ALL: [Class; 6] =
        [Class::OnItsWay, Class::Scheduled, Class::Held, Class::Failed, Class::Expired, Class::Stopped];

    /// Its letter in the index's partition key.
    pub(super) fn letter(self) -> char {
        match self {
            Class::OnItsWay => 'q',
            Class::Scheduled => 's',
            Class::Held => 'h',
            Class::Failed => 'f',
            Class::Expired => 'x',
            Class::Stopped => 'c',
        }
    }

    /// Over how many partitions it is spread: everything passes through the first class, and every look of the
    /// sweeper reads all partitions of the second.
    pub(super) fn shards(self) -> u8 {
        match self {
            Class::OnItsWay => OPEN_SHARDS,
            Class::Scheduled | Class::Held | Class::Failed | Class::Expired | Class::Stopped => 4,
        }
    }

    /// Of a life when it is written at `now`; `None` once it is sent.
    pub(super) fn of(life: &Life, now: Timestamp) -> Option<Self> {
        Some(match life.state {
            State::Scheduled if life.due_at > now => Class::Scheduled,
            State::Accepted | State::Scheduled | State::Attempting | State::Retrying => Class::OnItsWay,
            State::Held => Class::Held,
            State::Failed => Class::Failed,
            State::Expired => Class::Expired,
            State::Cancelled | State::Suppressed => Class::Stopped,
            State::Sent => return None,
        })
    }
}

fn id_shard(id: NotificationId, shards: u8) -> u8 {
    id.as_bytes()[15] % shards
}

/// A partition of the index `open`, such as `q7`.
pub(super) fn open_partition(class: Class, shard: u8) -> String {
    format!("{}{shard:x}", class.letter())
}

/// The partition of the index `open` that this row stands in.
pub(super) fn open_partition_of(class: Class, id: NotificationId) -> String {
    open_partition(class, id_shard(id, class.shards()))
}

/// A partition of the index `wake`, such as `3`.
pub(super) fn wake_partition(shard: u8) -> String {
    format!("{shard:x}")
}

/// The partition of the index `wake` that this row stands in.
pub(super) fn wake_partition_of(id: NotificationId) -> String {
    wake_partition(id_shard(id, WAKE_SHARDS))
}

/// A partition of the index `batch`, such as `summer-sale#3`.
pub(super) fn batch_partition(batch: &str, shard: u8) -> String {
    format!("{batch}#{shard:x}")
}

/// The partition of the index `batch` that this row stands in.
pub(super) fn batch_partition_of(batch: &str, id: NotificationId) -> String {
    batch_partition(batch, id_shard(id, BATCH_SHARDS))
}

/// Where the events of a recipient lie; `None` for those that name nobody.
pub(super) fn events_key(id: NotificationId, recipient_key: Option<&str>) -> Key {
    let bucket = recipient_key.and_then(|key| key.get(..2)).unwrap_or("--");
    Key::new(notification_partition(id), format!("e#{bucket}"))
}
