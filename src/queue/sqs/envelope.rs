//! What lies on the queue: our envelope, or a bare notification that a producer put there.
//!
//! The envelope is one JSON object, told by its first key, the version:
//! `{"kakitome":1,"id":"…","tenant":"…","priority":"bulk","accepted_at":ms,"deliver_at":ms,"useful_until":ms,
//! "on_unknown":"hold","content":{…}}`. All after `tenant` may be absent. `accepted_at` stands there if this is the
//! first message for a life that just began; the three that follow it belong to that life.

use std::borrow::Cow;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::super::{Delivery, Message, Origin};
use super::dead::Unreadable;
use crate::clock::Timestamp;
use crate::notification::content::{self, Limits};
use crate::notification::status::Life;
use crate::notification::{Notification, NotificationId, OnUnknown, Priority};

/// The version that is written, and the one that is read.
const VERSION: u32 = 1;

/// How every envelope of ours begins.
const MARK: &[u8] = b"{\"kakitome\":";

/// The largest message that SQS takes, and the largest request, in bytes (SQS quotas, since August 2025).
pub(super) const MOST_BYTES: usize = 1 << 20;

#[derive(Serialize, Deserialize)]
struct Envelope<'a> {
    kakitome: u32,
    id: NotificationId,
    #[serde(borrow)]
    tenant: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "is_default")]
    priority: Priority,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    accepted_at: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    deliver_at: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    useful_until: Option<i64>,
    #[serde(default, skip_serializing_if = "is_default")]
    on_unknown: OnUnknown,
    /// Spliced in and sliced out as the bytes it is: a producer's content is parsed once in its life.
    #[serde(borrow, default, skip_serializing)]
    content: Option<&'a RawValue>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// The body of a message. The content is left out where the body would have more than `most` bytes: the log has it.
pub(super) fn of_message(message: &Message, most: usize) -> String {
    let mut envelope = bare(message.id, &message.tenant, message.priority);
    if let Some(life) = message.fresh.as_deref().filter(|life| **life == begun(life)) {
        envelope.accepted_at = Some(life.accepted_at.as_ms());
        envelope.deliver_at = life.deliver_at.map(Timestamp::as_ms);
        envelope.useful_until = life.useful_until.map(Timestamp::as_ms);
        envelope.on_unknown = life.on_unknown;
    }
    with_content(&envelope, message.content.as_deref(), most)
}

/// The body of another message for the same notification, with the content that came along. It is fresh no more.
pub(super) fn of_delivery(delivery: &Delivery) -> String {
    let envelope = bare(delivery.id, &delivery.tenant, delivery.priority);
    // What a producer put here directly may stand nowhere else yet: better too large than without it.
    with_content(&envelope, delivery.content.as_deref(), usize::MAX)
}

fn bare(id: NotificationId, tenant: &str, priority: Priority) -> Envelope<'_> {
    Envelope {
        kakitome: VERSION,
        id,
        tenant: Cow::Borrowed(tenant),
        priority,
        accepted_at: None,
        deliver_at: None,
        useful_until: None,
        on_unknown: OnUnknown::default(),
        content: None,
    }
}

/// The life as it was when it began: what the envelope can carry.
fn begun(life: &Life) -> Life {
    Life::accepted(life.accepted_at, life.deliver_at, life.useful_until, life.on_unknown)
}

fn with_content(envelope: &Envelope<'_>, content: Option<&[u8]>, most: usize) -> String {
    const KEY: &str = ",\"content\":";
    // Names, numbers and texts: there is nothing in it that cannot be written.
    let mut body = serde_json::to_string(envelope).unwrap_or_default();
    let content = content
        .filter(|content| body.len() + KEY.len() + content.len() <= most)
        .and_then(|content| str::from_utf8(content).ok())
        .filter(|content| content::is_storable(content));
    if let Some(content) = content
        && body.pop() == Some('}')
    {
        body.reserve_exact(KEY.len() + content.len() + 1);
        body.push_str(KEY);
        body.push_str(content);
        body.push('}');
    }
    body
}

/// What a body says.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) id: NotificationId,
    pub(super) tenant: String,
    pub(super) priority: Priority,
    /// Ours: a slice of the body.
    pub(super) content: Option<Bytes>,
    pub(super) origin: Origin,
}

/// Reads a body: an envelope, or a bare notification. One without a key of its own is named by `message_id`, which
/// stays the same however often the message is delivered.
pub(super) fn open(
    body: &Bytes,
    message_id: &str,
    default_tenant: &str,
    limits: &Limits,
) -> Result<Opened, Unreadable> {
    if body.starts_with(MARK) || has_version(body) {
        return open_envelope(body);
    }
    let notification = content::parse(body, default_tenant, limits).map_err(|faults| {
        let is_json = serde_json::from_slice::<serde::de::IgnoredAny>(body).is_ok();
        if is_json { Unreadable::invalid(&faults) } else { Unreadable::not_json(&faults) }
    })?;
    Ok(direct(notification, message_id))
}

fn direct(notification: Notification, message_id: &str) -> Opened {
    Opened {
        id: notification.id_from(&format!("sqs:{message_id}")),
        tenant: notification.tenant.clone(),
        priority: notification.priority,
        content: Some(content::encode(&notification)),
        origin: Origin::Direct(notification.into()),
    }
}

#[derive(Deserialize)]
struct Version<'a> {
    #[serde(borrow)]
    kakitome: Option<&'a RawValue>,
}

/// Whether it is an envelope that somebody wrote anew, with other spaces or another order.
fn has_version(body: &[u8]) -> bool {
    // Of a list serde would take the first entry for the version.
    let is_object = body.trim_ascii_start().starts_with(b"{");
    is_object && serde_json::from_slice::<Version<'_>>(body).is_ok_and(|version| version.kakitome.is_some())
}

fn open_envelope(body: &Bytes) -> Result<Opened, Unreadable> {
    let read: Result<Envelope<'_>, _> = serde_json::from_slice(body);
    let envelope = match read {
        Ok(envelope) if envelope.kakitome == VERSION => envelope,
        Ok(_) => return Err(Unreadable::version()),
        Err(error) => {
            let version: Result<Version<'_>, _> = serde_json::from_slice(body);
            let is_ours = |version: &RawValue| version.get().trim() == VERSION.to_string();
            let is_other = version.is_ok_and(|v| v.kakitome.is_some_and(|version| !is_ours(version)));
            return Err(if is_other { Unreadable::version() } else { Unreadable::envelope(&error) });
        }
    };
    let at = |ms: Option<i64>| ms.map(Timestamp::from_ms);
    let origin = at(envelope.accepted_at).map_or(Origin::Recorded, |accepted_at| {
        let (from, until) = (at(envelope.deliver_at), at(envelope.useful_until));
        Origin::Fresh(Box::new(Life::accepted(accepted_at, from, until, envelope.on_unknown)))
    });
    Ok(Opened {
        id: envelope.id,
        priority: envelope.priority,
        content: envelope.content.map(|raw| body.slice_ref(raw.get().as_bytes())),
        tenant: envelope.tenant.into_owned(),
        origin,
    })
}

#[cfg(test)]
#[path = "envelope_tests.rs"]
mod tests;
