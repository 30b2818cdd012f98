//! A notification's row, its attributes, and those by which the indexes know it.

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;

use super::keys::{self, Class, Item};
use super::life;
use super::told::History;
use crate::clock::Timestamp;
use crate::message_log::{LogError, NewNotification};
use crate::notification::status::Life;
use crate::notification::{NotificationId, Priority};

/// Names one write, so that it is recognised when its answer was lost.
pub(super) type WriteId = [u8; 8];

/// A row as it was read.
#[derive(Clone, Debug)]
pub(super) struct Row {
    /// Whose row.
    pub(super) id: NotificationId,
    /// 1 as it was accepted; one more with every write.
    pub(super) version: u64,
    /// The latest write.
    pub(super) write_id: WriteId,
    /// The state.
    pub(super) life: Life,
    /// Whose notification.
    pub(super) tenant: String,
    /// The broadcast.
    pub(super) batch: Option<String>,
    /// The lane.
    pub(super) priority: Priority,
    /// Tells a repeat from a conflict.
    pub(super) content_hash: [u8; 32],
    /// Of the first recipient; with the acceptance and the id it leads to the entry with the content.
    pub(super) recipient_key: String,
    /// The content is not in the log yet, only in the queue message.
    pub(super) content_is_with_queue: bool,
    /// Its place in the index `wake`; may be earlier than `life.wake_at`, never later by more than a claim's hold.
    pub(super) indexed_wake: Option<Timestamp>,
    /// Its class letter in the index `open`; may be that of before a claim.
    pub(super) indexed_class: Option<char>,
    /// What of it was told.
    pub(super) history: History,
}

impl Row {
    /// Reads an item whose sort key is [`keys::ROW_SORT`].
    pub(super) fn read(item: &Item) -> Result<Self, LogError> {
        let corrupt = |what: &str| LogError::Corrupt(what.to_owned());
        Ok(Self {
            id: text(item, "pk").and_then(keys::notification_id).ok_or_else(|| corrupt("its id"))?,
            version: number(item, "v").ok_or_else(|| corrupt("its version"))?,
            write_id: bytes(item, "w").unwrap_or_default(),
            life: life::read(text(item, "l").ok_or_else(|| corrupt("its life"))?)?,
            tenant: text(item, "te").unwrap_or_default().to_owned(),
            batch: text(item, "ba").map(str::to_owned),
            priority: if item.contains_key("pr") { Priority::Bulk } else { Priority::Transactional },
            content_hash: bytes(item, "ch").ok_or_else(|| corrupt("its content's hash"))?,
            recipient_key: text(item, "rk").unwrap_or_default().to_owned(),
            content_is_with_queue: item.contains_key("nc"),
            indexed_wake: number(item, "wk").map(Timestamp::from_ms),
            indexed_class: text(item, "os").and_then(|partition| partition.chars().next()),
            history: History::read(item),
        })
    }

    /// Where its first entry lies, which has its recipients and content.
    pub(super) fn entry_key(&self) -> keys::Key {
        keys::entry_key(&self.recipient_key, self.life.accepted_at, self.id, &self.content_hash)
    }
}

/// The attributes of a new row, keys first. `life` is the new notification's, or the one after its first claim.
pub(super) fn new_row(
    new: &NewNotification,
    life: &Life,
    version: u64,
    write_id: WriteId,
    content_is_with_queue: bool,
) -> Vec<(&'static str, AttributeValue)> {
    let notification = &new.notification;
    let key = keys::row_key(new.id);
    let accepted_at = life.accepted_at;
    let mut attributes = Vec::with_capacity(17);
    let mut set = |name, value| attributes.push((name, value));
    set("pk", s(key.pk));
    set("sk", s(key.sk));
    set("v", n(version));
    set("w", b(write_id.to_vec()));
    set("l", s(life::write(life)));
    set("te", s(notification.tenant.as_str()));
    set("ch", b(new.content_hash.to_vec()));
    set("aa", n(accepted_at.as_ms()));
    set("ra", n(life.ready_at().as_ms()));
    if let Some(first) = notification.to.first() {
        set("rk", s(keys::recipient_key(&first.email)));
    }
    if let Some(batch) = &notification.batch {
        set("ba", s(batch.as_str()));
        set("bk", s(keys::batch_partition_of(batch, new.id)));
    }
    if notification.priority == Priority::Bulk {
        set("pr", n(1));
    }
    if content_is_with_queue {
        set("nc", n(1));
    }
    // Its place is that of the life it was accepted with: a claim moves nothing in the index.
    if let Some(class) = Class::of(&new.life, accepted_at) {
        set("os", s(keys::open_partition_of(class, new.id)));
        set("oa", n(life.ready_at().as_ms()));
        set("sv", n(life::state_code(new.life.state)));
    }
    attributes
}

/// A text attribute.
pub(super) fn s(text: impl Into<String>) -> AttributeValue {
    AttributeValue::S(text.into())
}

/// A number attribute.
pub(super) fn n(number: impl ToString) -> AttributeValue {
    AttributeValue::N(number.to_string())
}

/// A bytes attribute.
pub(super) fn b(bytes: Vec<u8>) -> AttributeValue {
    AttributeValue::B(Blob::new(bytes))
}

/// The text attribute of this name.
pub(super) fn text<'a>(item: &'a Item, name: &str) -> Option<&'a str> {
    item.get(name)?.as_s().ok().map(String::as_str)
}

/// The number attribute of this name.
pub(super) fn number<N: std::str::FromStr>(item: &Item, name: &str) -> Option<N> {
    item.get(name)?.as_n().ok()?.parse().ok()
}

/// The bytes attribute of this name.
pub(super) fn blob<'a>(item: &'a Item, name: &str) -> Option<&'a [u8]> {
    item.get(name)?.as_b().ok().map(AsRef::as_ref)
}

/// The bytes attribute of this name, if it has this length.
pub(super) fn bytes<const N: usize>(item: &Item, name: &str) -> Option<[u8; N]> {
    blob(item, name)?.try_into().ok()
}

/// Whether its time to live is over: DynamoDB deletes such items within days, and readers leave them out.
pub(super) fn is_expired(item: &Item, now: Timestamp) -> bool {
    number::<i64>(item, "exp").is_some_and(|at| at < now.as_ms() / 1000)
}
