//! The events of Amazon SES, each in a message of SNS. An event about several recipients becomes one for each.

use std::sync::Arc;

use async_trait::async_trait;
use reqwest::Url;
use serde_json::{Map, Value};

use super::certificate::Certificates;
use super::sns::Envelope;
use super::web::{FetchError, Internet, is_of_sns};
use super::{ID_TAG, LANE_TAG};
use crate::clock::Timestamp;
use crate::notification::address::Address;
use crate::provider::detail::{bounded, cut};
use crate::provider::signed::check_time;
use crate::provider::{EventKind, EventSource, Post, ProviderEvent, WebhookError, lane_in};

/// SES's ids of messages have 60 characters, SNS's 36.
const MAX_ID_BYTES: usize = 200;
/// A kind that we do not know is kept under its name up to this length.
const MAX_KIND_BYTES: usize = 64;

/// Verifies and reads what one SNS topic posts.
pub struct SesEvents {
    name: String,
    topic_arn: String,
    certificates: Certificates,
    internet: Arc<dyn Internet>,
}

impl SesEvents {
    /// Takes the messages of this topic alone.
    pub fn new(name: &str, topic_arn: &str, internet: Arc<dyn Internet>) -> Self {
        let certificates = Certificates::new(internet.clone());
        Self { name: name.to_owned(), topic_arn: topic_arn.to_owned(), certificates, internet }
    }

    /// Whoever owns the topic asked for its messages to come here: so do we, since the topic is the configured one.
    async fn confirm(&self, envelope: &Envelope) -> Result<(), WebhookError> {
        let url = envelope.subscribe_url.as_deref().and_then(|url| Url::parse(url).ok());
        let asks = |url: &Url| {
            is_of_sns(url) && url.query_pairs().any(|(k, v)| k == "Action" && v == "ConfirmSubscription")
        };
        let Some(url) = url.filter(asks) else {
            return Err(WebhookError::Malformed("its SubscribeURL is not an address of SNS".into()));
        };
        match self.internet.get(&url).await {
            Ok(_) => {
                tracing::info!(provider = self.name, topic = self.topic_arn, "confirmed the subscription");
                Ok(())
            }
            // Used up, most likely: SNS posts it again until the subscription is confirmed, and for three days.
            Err(FetchError::Refused(status)) => {
                tracing::error!(
                    provider = self.name,
                    status,
                    "SNS refused to confirm the subscription; subscribe again"
                );
                Ok(())
            }
            Err(FetchError::Unavailable(why)) => {
                Err(WebhookError::Unavailable(format!("the subscription could not be confirmed: {why}")))
            }
        }
    }
}

#[async_trait]
impl EventSource for SesEvents {
    fn name(&self) -> &str {
        &self.name
    }

    async fn events(&self, post: Post, now: Timestamp) -> Result<Vec<ProviderEvent>, WebhookError> {
        let envelope = Envelope::read(&post.body)?;
        // Before anything is fetched: a foreign topic is signed by SNS all the same.
        if envelope.topic_arn != self.topic_arn {
            return Err(WebhookError::Signature("it is for another topic than ses.topic_arn"));
        }
        let key = self.certificates.key(&envelope.certificate_url, now).await?;
        envelope.verify(&key)?;
        check_time(envelope.at()?, now)?;
        match envelope.kind.as_str() {
            "Notification" => Ok(read(&self.name, &envelope, now)),
            "SubscriptionConfirmation" => self.confirm(&envelope).await.map(|()| Vec::new()),
            "UnsubscribeConfirmation" => {
                tracing::error!(
                    provider = self.name,
                    topic = self.topic_arn,
                    "the topic's subscription was ended: no event comes any more until somebody subscribes again"
                );
                Ok(Vec::new())
            }
            _ => Err(WebhookError::Malformed("its Type is not one of SNS".into())),
        }
    }
}

fn read(provider: &str, envelope: &Envelope, now: Timestamp) -> Vec<ProviderEvent> {
    // SES tries a new destination with a sentence.
    let Ok(Value::Object(mut told)) = serde_json::from_str::<Value>(&envelope.message) else {
        tracing::info!(provider, "a message that is not an event; passed over");
        return Vec::new();
    };
    let name = ["eventType", "notificationType"].iter().find_map(|name| told.get(*name)?.as_str());
    let name = name.unwrap_or("malformed").to_owned();
    let mail = match told.remove("mail") {
        Some(Value::Object(mail)) => mail,
        _ => Map::new(),
    };
    let mut part = match told.remove(part_of(&name)) {
        Some(Value::Object(part)) => part,
        _ => Map::new(),
    };
    let kind = kind(&name, &part);
    let recipients = recipients(&mut part, &mail, &kind);
    let time = |fields: &Map<String, Value>| fields.get("timestamp")?.as_str().and_then(Timestamp::parse);
    let at = time(&part).or_else(|| time(&mail)).or_else(|| envelope.at().ok()).unwrap_or(now);
    let text = |name: &str| mail.get(name)?.as_str().filter(|id| !id.is_empty() && id.len() <= MAX_ID_BYTES);
    let base = ProviderEvent {
        provider: provider.to_owned(),
        id: tag(&mail, ID_TAG).and_then(|id| id.trim().parse().ok()),
        provider_message_id: text("messageId").map(str::to_owned),
        event_id: None,
        kind,
        // The newest event time is the witness that the webhook is alive: a far future would bear false witness.
        at: at.min(now),
        recipient: None,
        machine: false,
        lane: tag(&mail, LANE_TAG).and_then(lane_in),
        detail: Map::new(),
    };
    part.remove("timestamp");
    let about = recipients.into_iter().enumerate().map(|(place, (recipient, own))| {
        let message = cut(&envelope.message_id, MAX_ID_BYTES);
        let event_id = if place == 0 { message.to_owned() } else { format!("{message}:{place}") };
        let fields = part.clone().into_iter().chain(own);
        let detail = bounded(named(fields, &name));
        ProviderEvent { event_id: Some(event_id), recipient, detail, ..base.clone() }
    });
    about.collect()
}

/// Where an event says what is its own.
fn part_of(name: &str) -> &str {
    match name {
        "Send" => "send",
        "Reject" => "reject",
        "Bounce" => "bounce",
        "Complaint" => "complaint",
        "Delivery" => "delivery",
        "DeliveryDelay" => "deliveryDelay",
        "Open" => "open",
        "Click" => "click",
        "Rendering Failure" => "failure",
        "Subscription" => "subscription",
        _ => "",
    }
}

fn kind(name: &str, part: &Map<String, Value>) -> EventKind {
    let text = |name: &str| part.get(name).and_then(Value::as_str).unwrap_or_default();
    match name {
        "Send" => EventKind::Processed,
        "Delivery" => EventKind::Delivered,
        "DeliveryDelay" => EventKind::Deferred,
        "Bounce" if text("bounceType") == "Permanent" => EventKind::Bounced,
        "Bounce" => EventKind::Blocked,
        // SES did not try, because of a former complaint.
        "Complaint" if text("complaintSubType") == "OnAccountSuppressionList" => EventKind::Dropped,
        "Complaint" => EventKind::Complained,
        "Open" => EventKind::Opened,
        "Click" => EventKind::Clicked,
        // Taken, and then not sent.
        "Reject" | "Rendering Failure" => EventKind::Dropped,
        "Subscription" => EventKind::Unsubscribed,
        other => EventKind::Other(cut(other, MAX_KIND_BYTES).to_owned()),
    }
}

/// Whom it is about, with what it says of each alone. Opens and clicks do not say who of several it was.
fn recipients(
    part: &mut Map<String, Value>,
    mail: &Map<String, Value>,
    kind: &EventKind,
) -> Vec<(Option<Address>, Map<String, Value>)> {
    let lists = ["bouncedRecipients", "complainedRecipients", "delayedRecipients", "recipients"];
    let named = lists.iter().find_map(|list| part.remove(*list));
    let is_own = named.is_some();
    let listed = named.or_else(|| mail.get("destination").cloned());
    let entries = match listed {
        Some(Value::Array(entries)) => entries,
        _ => Vec::new(),
    };
    let of_one_alone = matches!(kind, EventKind::Opened | EventKind::Clicked | EventKind::Unsubscribed);
    if entries.is_empty() || (!is_own && of_one_alone && entries.len() > 1) {
        return vec![(None, Map::new())];
    }
    let read = |entry: Value| match entry {
        Value::Object(mut fields) => {
            let address = fields.remove("emailAddress");
            (address.as_ref().and_then(Value::as_str).and_then(address_in), fields)
        }
        other => (other.as_str().and_then(address_in), Map::new()),
    };
    entries.into_iter().map(read).collect()
}

/// The address in `Name <address>`, or alone.
fn address_in(text: &str) -> Option<Address> {
    let bare = text.rsplit_once('<').and_then(|(_, rest)| rest.trim_end().strip_suffix('>'));
    Address::parse(bare.unwrap_or(text).trim()).ok()
}

fn tag<'a>(mail: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    let value = mail.get("tags")?.get(name)?;
    value.get(0).unwrap_or(value).as_str()
}

/// The fields under the names that every provider's details have here; the rest as it came.
fn named(fields: impl Iterator<Item = (String, Value)>, name: &str) -> Map<String, Value> {
    const NAMES: [(&str, &str); 10] = [
        ("diagnosticCode", "reason"),
        ("errorMessage", "reason"),
        ("smtpResponse", "response"),
        ("bounceType", "type"),
        ("bounceSubType", "sub_type"),
        ("complaintSubType", "sub_type"),
        ("delayType", "type"),
        ("ipAddress", "ip"),
        ("userAgent", "useragent"),
        ("link", "url"),
    ];
    let renamed = |(field, value): (String, Value)| {
        let known = NAMES.iter().find(|(from, _)| *from == field).map(|(_, to)| (*to).to_owned());
        (known.unwrap_or(field), value)
    };
    let mut detail: Map<String, Value> = fields.filter(|(_, value)| !value.is_null()).map(renamed).collect();
    detail.insert("event".into(), Value::from(cut(name, MAX_KIND_BYTES)));
    detail
}
