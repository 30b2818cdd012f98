//! SendGrid's event webhook: from a post's bytes to what happened. Field by field as its event reference and captured
//! posts have it; nothing that was signed is refused or dropped for being odd.

use std::sync::Arc;

use async_trait::async_trait;
use p256::ecdsa::VerifyingKey;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::request::{ID_ARGUMENT, LANE_ARGUMENT};
use super::signature::{self, KeyError, SIGNATURE_HEADER, TIMESTAMP_HEADER};
use crate::background::patiently;
use crate::clock::Timestamp;
use crate::notification::address::Address;
use crate::provider::detail::{MAX_DETAIL_BYTES, bounded, cut};
use crate::provider::{EventKind, EventSource, Post, ProviderEvent, WebhookError};

/// SendGrid's event ids have up to 100 characters.
const MAX_EVENT_ID_BYTES: usize = 255;
/// Events in one post. SendGrid's 768 KB hold some two thousand; four megabytes of `{}` would be a million.
const MAX_EVENTS: usize = 50_000;
/// A kind that we do not know is kept under its name up to this length.
const MAX_KIND_CHARS: usize = 64;
/// Numbers above it are milliseconds: as seconds it would be the year 5138.
const LATEST_SECONDS: f64 = 1e11;
/// The length of an `X-Message-Id`: 16 bytes in base64url.
const X_MESSAGE_ID_CHARS: usize = 22;

/// The length of a lane's tag, see [`crate::provider::lane`].
const LANE_CHARS: usize = 16;

/// The kind of an entry that is not an event; its detail holds it as it came, under `raw`.
const MALFORMED: &str = "malformed";

/// Verifies and reads the posts of one SendGrid account.
pub struct SendGridEvents {
    reader: Arc<Reader>,
}

struct Reader {
    name: String,
    keys: Vec<VerifyingKey>,
}

impl SendGridEvents {
    /// `keys`: base64 SPKI public keys, several while one replaces another. Without any, posts are taken unsigned, but
    /// only where `insecure` says so; where there are keys, it changes nothing.
    pub fn new(name: &str, keys: &[String], insecure: bool) -> Result<Self, KeyError> {
        if keys.is_empty() && !insecure {
            return Err(KeyError::Missing);
        }
        Ok(Self { reader: Arc::new(Reader { name: name.to_owned(), keys: signature::read_keys(keys)? }) })
    }
}

#[async_trait]
impl EventSource for SendGridEvents {
    fn name(&self) -> &str {
        &self.reader.name
    }

    async fn events(&self, post: Post, now: Timestamp) -> Result<Vec<ProviderEvent>, WebhookError> {
        let reader = self.reader.clone();
        // Off the async threads: a post of some megabytes takes tens of milliseconds.
        let reading = tokio::task::spawn_blocking(move || reader.read(&post, now));
        reading.await.unwrap_or_else(|panic| Err(WebhookError::Unavailable(panic.to_string())))
    }
}

impl Reader {
    fn read(&self, post: &Post, now: Timestamp) -> Result<Vec<ProviderEvent>, WebhookError> {
        if !self.keys.is_empty() {
            let (signature, timestamp) = (post.header(SIGNATURE_HEADER), post.header(TIMESTAMP_HEADER));
            signature::verify(&self.keys, signature, timestamp, &post.body, now)?;
        }
        let mut events = parse(&self.name, &post.body, now)?;
        events.sort_by_key(|event| event.at);
        Ok(events)
    }
}

fn parse(provider: &str, body: &[u8], now: Timestamp) -> Result<Vec<ProviderEvent>, WebhookError> {
    // One broken byte in a remote server's words must not cost the other events.
    let text = String::from_utf8_lossy(body);
    let malformed = |error: serde_json::Error| WebhookError::Malformed(position(&error));
    // Entry by entry: what is well-formed but unreadable (a lone surrogate, a number out of range) spoils only itself.
    let entries: Vec<&RawValue> = if text.trim_start().starts_with('{') {
        vec![serde_json::from_str(&text).map_err(malformed)?]
    } else {
        serde_json::from_str(&text).map_err(malformed)?
    };
    if entries.len() > MAX_EVENTS {
        return Err(WebhookError::Malformed(format!("more than {MAX_EVENTS} events")));
    }
    Ok(patiently(entries).map(|entry| read_entry(provider, entry.get(), now)).collect())
}

/// Where the JSON breaks; serde's own text could repeat a piece of it.
fn position(error: &serde_json::Error) -> String {
    format!("not a JSON array of events (line {}, column {})", error.line(), error.column())
}

fn read_entry(provider: &str, raw: &str, now: Timestamp) -> ProviderEvent {
    if let Ok(Value::Object(fields)) = serde_json::from_str(raw) {
        return read_event(provider, fields, now);
    }
    ProviderEvent {
        provider: provider.to_owned(),
        id: None,
        provider_message_id: None,
        event_id: None,
        kind: EventKind::Other(MALFORMED.into()),
        at: now,
        recipient: None,
        machine: false,
        lane: None,
        detail: Map::from_iter([("raw".to_owned(), Value::from(cut(raw, MAX_DETAIL_BYTES)))]),
    }
}

fn read_event(provider: &str, mut fields: Map<String, Value>, now: Timestamp) -> ProviderEvent {
    let kind = kind(fields.get("event"), fields.get("type"));
    // An unknown kind's name may be cut in `kind`, a malformed one has no name: both stay with the detail.
    if !matches!(kind, EventKind::Other(_)) {
        fields.remove("event");
    }
    let message_id = take(&mut fields, "sg_message_id", |value| message_id(value.as_str()?));
    let provider_message_id = message_id.or_else(|| id_from_smtp(fields.get("smtp-id")?.as_str()?));
    let at = take(&mut fields, "timestamp", |value| time(value, now)).unwrap_or(now);
    let event_id = take(&mut fields, "sg_event_id", event_id);
    // What is not an address stays with the detail, the one place where it can then be looked up.
    let recipient = take(&mut fields, "email", |value| Address::parse(value.as_str()?.trim()).ok());
    let machine = take(&mut fields, "sg_machine_open", truth).unwrap_or(false);
    let id = own_argument(&mut fields, ID_ARGUMENT, |value| value.as_str()?.trim().parse().ok());
    let lane = own_argument(&mut fields, LANE_ARGUMENT, lane_tag);
    if let Some(category @ Value::String(_)) = fields.get_mut("category") {
        *category = Value::Array(vec![category.take()]);
    }
    ProviderEvent {
        provider: provider.to_owned(),
        id,
        provider_message_id,
        event_id,
        kind,
        at,
        recipient,
        machine,
        lane,
        detail: bounded(fields),
    }
}

/// Removes the field if it can be read; unreadable, it stays with the detail.
fn take<T>(fields: &mut Map<String, Value>, name: &str, read: impl FnOnce(&Value) -> Option<T>) -> Option<T> {
    let value = read(fields.get(name)?)?;
    fields.remove(name);
    Some(value)
}

fn kind(event: Option<&Value>, bounce_type: Option<&Value>) -> EventKind {
    let Some(name) = event.and_then(Value::as_str).map(str::trim).filter(|name| !name.is_empty()) else {
        return EventKind::Other(MALFORMED.into());
    };
    match name.to_ascii_lowercase().as_str() {
        "processed" => EventKind::Processed,
        "deferred" => EventKind::Deferred,
        "delivered" => EventKind::Delivered,
        // `expired` is what is left of 72 h of deferrals: like `blocked`, it says nothing against the address.
        "bounce" => match bounce_type.and_then(Value::as_str) {
            Some("blocked" | "expired") => EventKind::Blocked,
            _ => EventKind::Bounced,
        },
        "dropped" => EventKind::Dropped,
        "spamreport" | "spam_report" => EventKind::Complained,
        "open" => EventKind::Opened,
        "click" => EventKind::Clicked,
        "unsubscribe" => EventKind::Unsubscribed,
        "group_unsubscribe" => EventKind::GroupUnsubscribed,
        "group_resubscribe" => EventKind::GroupResubscribed,
        "account_status_change" => EventKind::AccountStatusChanged,
        // Our own names for kinds are not SendGrid's: one that looks like them still proves nothing.
        _ => EventKind::Other(name.chars().take(MAX_KIND_CHARS).collect()),
    }
}

/// Unix seconds, sometimes milliseconds, as a number or a string. A moment ahead of us counts as now: the newest
/// event time is the witness that the webhook is alive, and a far future would bear false witness for ever.
fn time(value: &Value, now: Timestamp) -> Option<Timestamp> {
    let number = match value {
        Value::Number(number) => number.as_f64()?,
        Value::String(text) => match text.trim().parse::<f64>() {
            Ok(number) => number,
            Err(_) => return Timestamp::parse(text.trim()).map(|at| at.min(now)),
        },
        _ => return None,
    };
    if !number.is_finite() || number <= 0.0 {
        return None;
    }
    let ms = if number > LATEST_SECONDS { number } else { number * 1000.0 };
    // A float saturates at the ends of an integer, and `from_ms` clamps.
    Some(Timestamp::from_ms(ms.round() as i64).min(now))
}

fn event_id(value: &Value) -> Option<String> {
    let id = match value {
        Value::String(text) => text.trim().to_owned(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    (!id.is_empty() && id.len() <= MAX_EVENT_ID_BYTES).then_some(id)
}

/// The part of `sg_message_id` that the send call returned as `X-Message-Id`: before `.filter` or `.recv`, else before
/// the first dot. Ids that begin with the name of a filter (seen on drops) hold none: cut, thousands of messages would
/// share one id. Asynchronous bounces have an empty one.
fn message_id(text: &str) -> Option<String> {
    let text = text.trim();
    let server = text.find(".filter").or_else(|| text.find(".recv"));
    let id = &text[..server.or_else(|| text.find('.')).unwrap_or(text.len())];
    let names_server = server.is_none() && (id.starts_with("filter") || id.starts_with("recv"));
    let holds_none = id.is_empty() || (names_server && id.len() != X_MESSAGE_ID_CHARS);
    (!holds_none).then(|| id.to_owned())
}

/// Mail that came through the API has `<X-Message-Id@….sendgrid.net>` as its SMTP id.
fn id_from_smtp(text: &str) -> Option<String> {
    let (id, host) = text.trim().strip_prefix('<')?.strip_suffix('>')?.split_once('@')?;
    let is_id = id.len() == X_MESSAGE_ID_CHARS
        && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    (is_id && host.ends_with(".sendgrid.net")).then(|| id.to_owned())
}

/// Custom arguments come back at the top level; some relays keep them in an object of their own.
fn own_argument<T>(
    fields: &mut Map<String, Value>,
    name: &str,
    read: impl Fn(&Value) -> Option<T>,
) -> Option<T> {
    take(fields, name, &read).or_else(|| {
        ["custom_args", "unique_args"].into_iter().find_map(|object| {
            let nested = fields.get_mut(object)?.as_object_mut()?;
            let value = take(nested, name, &read)?;
            if nested.is_empty() {
                fields.remove(object);
            }
            Some(value)
        })
    })
}

/// What is no tag of ours stays with the detail: lanes are made by us, so that nobody else makes thousands.
fn lane_tag(value: &Value) -> Option<String> {
    let text = value.as_str()?;
    let is_tag = text.len() == LANE_CHARS && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    is_tag.then(|| text.to_owned())
}

fn truth(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(flag) => Some(*flag),
        Value::Number(number) => Some(number.as_f64()? != 0.0),
        Value::String(text) => match text.trim() {
            "true" | "True" | "1" => Some(true),
            "false" | "False" | "0" | "" => Some(false),
            _ => None,
        },
        _ => None,
    }
}
