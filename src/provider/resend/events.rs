//! Resend's webhook: one event a post.

use async_trait::async_trait;
use ring::hmac;
use serde_json::{Map, Value};

use super::signature::{self, SecretError};
use super::{ID_TAG, LANE_TAG, RECIPIENTS_TAG};
use crate::clock::Timestamp;
use crate::notification::address::Address;
use crate::provider::detail::{bounded, cut};
use crate::provider::{EventKind, EventSource, Post, ProviderEvent, WebhookError, lane_in};

/// Svix's ids of messages have some 30 characters.
const MAX_EVENT_ID_BYTES: usize = 200;
/// A kind that we do not know is kept under its name up to this length.
const MAX_KIND_BYTES: usize = 64;
/// What the events repeat of the mail: the record has it already, and it names people.
const OF_THE_MAIL: [&str; 8] = ["to", "cc", "bcc", "from", "reply_to", "subject", "headers", "created_at"];

/// Verifies and reads the posts of one Resend account.
pub struct ResendEvents {
    name: String,
    keys: Vec<hmac::Key>,
}

impl ResendEvents {
    /// `secrets`: several while one replaces another. Without any, posts are taken unsigned, but only where `insecure`
    /// says so; where there are secrets, it changes nothing.
    pub fn new(name: &str, secrets: &[String], insecure: bool) -> Result<Self, SecretError> {
        if secrets.is_empty() && !insecure {
            return Err(SecretError::Missing);
        }
        Ok(Self { name: name.to_owned(), keys: signature::read_secrets(secrets)? })
    }
}

#[async_trait]
impl EventSource for ResendEvents {
    fn name(&self) -> &str {
        &self.name
    }

    async fn events(&self, post: Post, now: Timestamp) -> Result<Vec<ProviderEvent>, WebhookError> {
        if !self.keys.is_empty() {
            signature::verify(&self.keys, &post, now)?;
        }
        // One broken byte in a remote server's words must not cost the event.
        let text = String::from_utf8_lossy(&post.body);
        let told: Map<String, Value> = serde_json::from_str(&text).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            WebhookError::Malformed(format!("not a JSON object (line {line}, column {column})"))
        })?;
        Ok(read(&self.name, told, signature::message_id(&post), now))
    }
}

fn read(
    provider: &str,
    mut told: Map<String, Value>,
    message: Option<&str>,
    now: Timestamp,
) -> Vec<ProviderEvent> {
    let name = told.get("type").and_then(Value::as_str).unwrap_or_default().to_owned();
    // Contacts, domains, and mail that came in: none of it is about what we sent.
    if !name.starts_with("email.") || name == "email.received" {
        tracing::debug!(provider, "an event that is not about a mail of ours; passed over");
        return Vec::new();
    }
    let mut data = match told.remove("data") {
        Some(Value::Object(data)) => data,
        _ => Map::new(),
    };
    let at = told.get("created_at").and_then(Value::as_str).and_then(Timestamp::parse);
    let mut tags = tags(data.remove("tags"));
    let mut tag = |name: &str| tags.remove(name).as_ref().and_then(Value::as_str).map(str::to_owned);
    let (id, lane, count) = (tag(ID_TAG), tag(LANE_TAG), tag(RECIPIENTS_TAG));
    let message_id = data.remove("email_id").as_ref().and_then(Value::as_str).map(str::to_owned);
    let recipients = recipients(&name, &data, count.as_deref());
    for field in OF_THE_MAIL {
        data.remove(field);
    }
    let kind = kind(&name, &data);
    if !tags.is_empty() {
        data.insert("tags".into(), Value::Object(tags));
    }
    let event = ProviderEvent {
        provider: provider.to_owned(),
        id: id.and_then(|id| id.trim().parse().ok()),
        provider_message_id: message_id.filter(|id| !id.is_empty() && id.len() <= MAX_EVENT_ID_BYTES),
        event_id: message.filter(|id| !id.is_empty() && id.len() <= MAX_EVENT_ID_BYTES).map(str::to_owned),
        kind,
        // The newest event time is the witness that the webhook is alive: a far future would bear false witness.
        at: at.map_or(now, |at| at.min(now)),
        recipient: None,
        machine: false,
        lane: lane.as_deref().and_then(lane_in),
        detail: bounded(flattened(data, name)),
    };
    if recipients.is_empty() {
        return vec![event];
    }
    let to = |(place, recipient): (usize, Address)| {
        let event_id =
            event.event_id.as_ref().map(|id| if place == 0 { id.clone() } else { format!("{id}:{place}") });
        ProviderEvent { recipient: Some(recipient), event_id, ..event.clone() }
    };
    recipients.into_iter().enumerate().map(to).collect()
}

/// Tags come as an object, or as the list of pairs that they were sent as.
fn tags(value: Option<Value>) -> Map<String, Value> {
    match value {
        Some(Value::Object(tags)) => tags,
        Some(Value::Array(pairs)) => pairs
            .into_iter()
            .filter_map(|mut pair| {
                let name = pair.get("name")?.as_str()?.to_owned();
                Some((name, pair.get_mut("value")?.take()))
            })
            .collect(),
        _ => Map::new(),
    }
}

/// Whom the event is about. It repeats the mail's `to`, and for a mail to several people there is an event for each,
/// which does not say for whom (django-anymail, webhooks/resend.py): only one that was sent to one person alone names
/// its recipient, apart from the first of all events, which is true of everybody.
fn recipients(name: &str, data: &Map<String, Value>, count: Option<&str>) -> Vec<Address> {
    let parse = |value: &Value| {
        let text = value.as_str()?;
        let bare = text.rsplit_once('<').and_then(|(_, rest)| rest.strip_suffix('>')).unwrap_or(text);
        Address::parse(bare.trim()).ok()
    };
    let to: Vec<Address> = match data.get("to") {
        Some(Value::Array(list)) => list.iter().filter_map(parse).collect(),
        Some(one) => parse(one).into_iter().collect(),
        None => Vec::new(),
    };
    let has_copies = ["cc", "bcc"].iter().any(|list| {
        data.get(*list)
            .is_some_and(|list| !list.is_null() && list.as_array().is_none_or(|list| !list.is_empty()))
    });
    let is_one = match count {
        Some(count) => count.trim() == "1",
        None => !has_copies,
    };
    match to.len() {
        1 if is_one => to,
        _ if name == "email.sent" => to,
        _ => Vec::new(),
    }
}

fn kind(name: &str, data: &Map<String, Value>) -> EventKind {
    match name {
        "email.sent" => EventKind::Processed,
        "email.delivered" => EventKind::Delivered,
        "email.delivery_delayed" => EventKind::Deferred,
        "email.bounced" => bounce(data.get("bounce")),
        "email.complained" => EventKind::Complained,
        "email.opened" => EventKind::Opened,
        "email.clicked" => EventKind::Clicked,
        // Taken, and then not tried.
        "email.failed" | "email.suppressed" => EventKind::Dropped,
        other => EventKind::Other(cut(other, MAX_KIND_BYTES).to_owned()),
    }
}

/// Resend passes on Amazon's words. Older posts have the sentence alone.
fn bounce(bounce: Option<&Value>) -> EventKind {
    let text = |name: &str| {
        bounce.and_then(|bounce| bounce.get(name)?.as_str()).unwrap_or_default().to_ascii_lowercase()
    };
    let (kind, sub, message) = (text("type"), text("subType"), text("message"));
    if sub.contains("suppress") || message.contains("suppressed sending") {
        return EventKind::Dropped;
    }
    match kind.as_str() {
        "permanent" => EventKind::Bounced,
        "transient" | "undetermined" => EventKind::Blocked,
        _ if message.contains("general bounce") || message.contains("inbox was full") => EventKind::Blocked,
        _ => EventKind::Bounced,
    }
}

/// The parts under the names that every provider's details have here; the rest as it came.
fn flattened(mut data: Map<String, Value>, name: String) -> Map<String, Value> {
    const NAMES: [(&str, &str); 8] = [
        ("message", "reason"),
        ("reason", "reason"),
        ("type", "type"),
        ("subType", "sub_type"),
        ("diagnosticCode", "response"),
        ("ipAddress", "ip"),
        ("userAgent", "useragent"),
        ("link", "url"),
    ];
    let parts = ["bounce", "failed", "suppressed", "click", "open", "complaint", "delivery_delayed"];
    for part in parts {
        let Some(Value::Object(inner)) = data.get_mut(part).map(Value::take) else { continue };
        data.remove(part);
        for (field, value) in inner {
            let known = NAMES.iter().find(|(from, _)| *from == field).map(|(_, to)| (*to).to_owned());
            data.insert(known.unwrap_or(field), value);
        }
    }
    data.insert("event".into(), Value::from(name));
    data
}
