//! How each provider posts its events: what they look like, and how they are signed.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use kakitome::clock::Timestamp;
use kakitome::provider::resend::ResendEvents;
use kakitome::provider::sendgrid::{SIGNATURE_HEADER, SendGridEvents, TIMESTAMP_HEADER};
use kakitome::provider::ses::{FetchError, Internet, SesEvents};
use kakitome::provider::{EventSource, Post};
use p256::ecdsa::signature::Signer;
use p256::ecdsa::{Signature, SigningKey};
use p256::pkcs8::EncodePublicKey;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use serde_json::{Value, json};

use super::ID;

/// 2026-11-21T09:00:00Z, when everything here is posted.
pub const POSTED_AT: i64 = 1_795_251_600;

/// Of a tenant.
pub const LANE: &str = "37a8eec1ce19687d";

pub fn at(seconds: i64) -> Timestamp {
    Timestamp::from_ms(seconds * 1000)
}

/// What an event says happened, in the words of none of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Happening {
    Processed,
    Deferred,
    Delivered,
    Bounced,
    Blocked,
    Dropped,
    Complained,
    Opened,
    Clicked,
}

impl Happening {
    pub const ALL: [Happening; 9] = [
        Happening::Processed,
        Happening::Deferred,
        Happening::Delivered,
        Happening::Bounced,
        Happening::Blocked,
        Happening::Dropped,
        Happening::Complained,
        Happening::Opened,
        Happening::Clicked,
    ];

    /// The kind that it is to be read as.
    pub fn kind(self) -> String {
        format!("{self:?}").to_lowercase()
    }
}

/// One provider's webhook.
pub struct Ear {
    pub name: &'static str,
    /// Takes what [`Ear::post`] signs.
    pub source: fn() -> Arc<dyn EventSource>,
    /// The body of an event about the notification [`ID`] and this one recipient, `n` seconds before the post.
    pub body: fn(Happening, &str, i64) -> String,
    /// Signs it at this time, under this id of the event's.
    pub post: fn(&str, i64, &str) -> Post,
}

pub const EARS: [Ear; 3] = [
    Ear { name: "sendgrid", source: sendgrid, body: sendgrid_body, post: sendgrid_post },
    Ear { name: "resend", source: resend, body: resend_body, post: resend_post },
    Ear { name: "ses", source: || ses().1, body: ses_body, post: ses_post },
];

pub fn post_of(headers: &[(&str, &str)], body: &str) -> Post {
    let mut post = Post { headers: HeaderMap::new(), body: body.as_bytes().to_vec().into() };
    for (name, value) in headers {
        post.headers.insert(HeaderName::try_from(*name).unwrap(), HeaderValue::try_from(*value).unwrap());
    }
    post
}

fn sendgrid_key() -> SigningKey {
    SigningKey::from_slice(&[7; 32]).unwrap()
}

fn sendgrid() -> Arc<dyn EventSource> {
    let key = sendgrid_key().verifying_key().to_public_key_der().unwrap();
    Arc::new(SendGridEvents::new("sendgrid", &[STANDARD.encode(key.as_bytes())], false).unwrap())
}

fn sendgrid_body(happening: Happening, email: &str, ago: i64) -> String {
    let (event, kind) = match happening {
        Happening::Bounced => ("bounce", Some("bounce")),
        Happening::Blocked => ("bounce", Some("blocked")),
        Happening::Complained => ("spamreport", None),
        Happening::Opened => ("open", None),
        Happening::Clicked => ("click", None),
        Happening::Processed => ("processed", None),
        Happening::Deferred => ("deferred", None),
        Happening::Delivered => ("delivered", None),
        Happening::Dropped => ("dropped", None),
    };
    json!([{"event": event, "type": kind, "email": email, "timestamp": POSTED_AT - ago, "kakitome_id": ID,
        "kakitome_lane": LANE, "sg_event_id": "EVENT-ID", "sg_message_id": "kA5kcHA8SVGtVh5S9rAUew.recvd-1-2-3"}])
    .to_string()
}

fn sendgrid_post(body: &str, signed_at: i64, event_id: &str) -> Post {
    let (body, timestamp) = (body.replace("EVENT-ID", event_id), signed_at.to_string());
    let signature: Signature = sendgrid_key().sign(format!("{timestamp}{body}").as_bytes());
    let signature = STANDARD.encode(signature.to_der().as_bytes());
    post_of(&[(SIGNATURE_HEADER, &signature), (TIMESTAMP_HEADER, &timestamp)], &body)
}

/// The secret of the vectors of Standard Webhooks.
pub const RESEND_SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

fn resend() -> Arc<dyn EventSource> {
    Arc::new(ResendEvents::new("resend", &[RESEND_SECRET.to_owned()], false).unwrap())
}

pub fn resend_body(happening: Happening, email: &str, ago: i64) -> String {
    let (kind, part) = match happening {
        Happening::Processed => ("sent", json!({})),
        Happening::Deferred => ("delivery_delayed", json!({})),
        Happening::Delivered => ("delivered", json!({})),
        Happening::Bounced => {
            ("bounced", json!({"bounce": {"type": "Permanent", "message": "unknown user"}}))
        }
        Happening::Blocked => ("bounced", json!({"bounce": {"type": "Transient", "subType": "MailboxFull"}})),
        Happening::Dropped => ("failed", json!({"failed": {"reason": "reached_daily_quota"}})),
        Happening::Complained => ("complained", json!({})),
        Happening::Opened => {
            ("opened", json!({"open": {"ipAddress": "192.0.2.1", "userAgent": "Mozilla/5.0"}}))
        }
        Happening::Clicked => {
            ("clicked", json!({"click": {"link": "https://example.com", "userAgent": "Mozilla/5.0"}}))
        }
    };
    let mut data = json!({"created_at": "2026-11-21T08:00:00Z", "email_id": "49a3999c", "from": "a@example.jp",
        "to": [email], "subject": "s", "tags": {"kakitome_id": ID, "kakitome_lane": LANE, "kakitome_recipients": "1"}});
    data.as_object_mut().unwrap().extend(part.as_object().unwrap().clone());
    json!({"type": format!("email.{kind}"), "created_at": at(POSTED_AT - ago), "data": data}).to_string()
}

pub fn svix_signature(secret: &str, id: &str, timestamp: &str, body: &str) -> String {
    let key = STANDARD.decode(secret.trim_start_matches("whsec_")).unwrap();
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &key);
    let tag = ring::hmac::sign(&key, format!("{id}.{timestamp}.{body}").as_bytes());
    format!("v1,{}", STANDARD.encode(tag.as_ref()))
}

pub fn resend_post(body: &str, signed_at: i64, event_id: &str) -> Post {
    let timestamp = signed_at.to_string();
    let signature = svix_signature(RESEND_SECRET, event_id, &timestamp, body);
    post_of(&[("svix-id", event_id), ("svix-timestamp", &timestamp), ("svix-signature", &signature)], body)
}

/// What SNS keeps at its addresses, and what it was asked for.
#[derive(Default)]
pub struct Sns {
    pub pages: Mutex<BTreeMap<String, Result<String, FetchError>>>,
    pub asked: Mutex<Vec<String>>,
    pub times: AtomicUsize,
}

#[async_trait]
impl Internet for Sns {
    async fn get(&self, url: &reqwest::Url) -> Result<Bytes, FetchError> {
        self.times.fetch_add(1, Ordering::SeqCst);
        self.asked.lock().unwrap().push(url.to_string());
        let page = self.pages.lock().unwrap().get(url.as_str()).cloned();
        page.unwrap_or(Err(FetchError::Refused(404))).map(Bytes::from)
    }
}

pub fn sns_fixture() -> Value {
    serde_json::from_str(include_str!("../fixtures/sns.json")).unwrap()
}

/// A source for the topic of the fixture, and the world it asks.
pub fn ses() -> (Arc<Sns>, Arc<dyn EventSource>) {
    let (fixture, sns) = (sns_fixture(), Arc::new(Sns::default()));
    let text = |name: &str| fixture[name].as_str().unwrap().to_owned();
    sns.pages.lock().unwrap().insert(text("certificate_url"), Ok(text("certificate")));
    let source = SesEvents::new("ses", &text("topic_arn"), sns.clone());
    (sns, Arc::new(source))
}

pub fn ses_body(happening: Happening, email: &str, ago: i64) -> String {
    let (kind, name, mut part) = match happening {
        Happening::Processed => ("Send", "send", json!({})),
        Happening::Deferred => {
            ("DeliveryDelay", "deliveryDelay", json!({"delayedRecipients": [{"emailAddress": email}]}))
        }
        Happening::Delivered => {
            ("Delivery", "delivery", json!({"recipients": [email], "smtpResponse": "250 ok"}))
        }
        Happening::Bounced => (
            "Bounce",
            "bounce",
            json!({"bounceType": "Permanent",
            "bouncedRecipients": [{"emailAddress": email, "diagnosticCode": "smtp; 550", "status": "5.1.1"}]}),
        ),
        Happening::Blocked => (
            "Bounce",
            "bounce",
            json!({"bounceType": "Transient", "bouncedRecipients": [{"emailAddress": email}]}),
        ),
        Happening::Dropped => ("Reject", "reject", json!({"reason": "Bad content"})),
        Happening::Complained => {
            ("Complaint", "complaint", json!({"complainedRecipients": [{"emailAddress": email}]}))
        }
        Happening::Opened => ("Open", "open", json!({"ipAddress": "192.0.2.1", "userAgent": "Mozilla/5.0"})),
        Happening::Clicked => {
            ("Click", "click", json!({"link": "https://example.com", "userAgent": "Mozilla/5.0"}))
        }
    };
    part["timestamp"] = json!(at(POSTED_AT - ago));
    let mail = json!({"timestamp": at(POSTED_AT - ago), "messageId": "0106018f2d", "destination": [email],
        "source": "a@example.jp", "tags": {"ses:from-domain": ["example.jp"], "kakitome_id": [ID], "kakitome_lane": [LANE]}});
    json!({"eventType": kind, "mail": mail, (name): part}).to_string()
}

pub fn ses_post(body: &str, signed_at: i64, event_id: &str) -> Post {
    let fixture = sns_fixture();
    let key = STANDARD.decode(fixture["key_pkcs8"].as_str().unwrap()).unwrap();
    let key = RsaKeyPair::from_pkcs8(&key).unwrap();
    let (topic, time) = (fixture["topic_arn"].as_str().unwrap(), at(signed_at).to_string());
    let text = format!(
        "Message\n{body}\nMessageId\n{event_id}\nTimestamp\n{time}\nTopicArn\n{topic}\nType\nNotification\n"
    );
    let mut signature = vec![0; key.public().modulus_len()];
    key.sign(&RSA_PKCS1_SHA256, &ring::rand::SystemRandom::new(), text.as_bytes(), &mut signature).unwrap();
    let envelope = json!({"Type": "Notification", "MessageId": event_id, "TopicArn": topic, "Message": body,
        "Timestamp": time, "SignatureVersion": "2", "Signature": STANDARD.encode(signature),
        "SigningCertURL": fixture["certificate_url"]});
    post_of(&[("content-type", "text/plain; charset=UTF-8")], &envelope.to_string())
}
