//! What is asked: one notification as producers hand it in, and its identity.

pub mod address;
pub mod content;
pub mod status;

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::clock::Timestamp;
use address::Address;

/// A notification's identity: a UUID, derived from (tenant, idempotency key) where there is a key, else version 7.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NotificationId(Uuid);

impl NotificationId {
    /// A fresh, time-ordered id for a notification without an idempotency key.
    pub fn fresh() -> Self {
        Self(Uuid::now_v7())
    }

    /// The id that belongs to this tenant and key for ever: creating its row is the deduplication.
    ///
    /// The length prefix keeps (`ab`, `c`) and (`a`, `bc`) apart. The form is UUID version 8 (RFC 9562, 5.8).
    pub fn derived(tenant: &str, idempotency_key: &str) -> Self {
        let mut hasher = Sha256::new();
        hasher.update((tenant.len() as u64).to_be_bytes());
        hasher.update(tenant.as_bytes());
        hasher.update(idempotency_key.as_bytes());
        let digest = hasher.finalize();
        let mut bytes = [0_u8; 16];
        bytes.copy_from_slice(&digest[..16]);
        Self(uuid::Builder::from_custom_bytes(bytes).into_uuid())
    }

    /// The sixteen bytes, in network order.
    pub fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }

    /// The id with these sixteen bytes.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }
}

impl fmt::Display for NotificationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for NotificationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl FromStr for NotificationId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

/// A validated notification. Only [`content::parse`] makes one from outside input, so every instance is sendable.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(
    description = "What is to be sent, and how. Required are `from`, one `to`, and either a `template` or a `subject` \
                   with `text` or `html`. An unknown field is refused.",
    example = json!({
        "idempotency_key": "booking-8123:confirmed:1",
        "from": {"email": "reserve@example.jp", "name": "予約センター"},
        "to": [{"email": "guest@example.com", "name": "山田 太郎"}],
        "subject": "ご予約が確定しました",
        "text": "予約番号 8123",
        "metadata": {"booking": "8123"}
    })
)]
pub struct Notification {
    /// The producer's key: the same key and content is the same notification, for as long as the record lives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    /// Whose notification it is; the key's own tenant when left out. Another's needs the scope `admin`.
    #[schema(required = false)]
    pub tenant: String,
    /// The sender.
    pub from: Mailbox,
    /// The recipients, at least one. All of them see each other.
    pub to: Vec<Mailbox>,
    /// Visible copies.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cc: Vec<Mailbox>,
    /// Blind copies.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bcc: Vec<Mailbox>,
    /// Where answers go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<Mailbox>,
    /// Required unless there is a template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Plain-text body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// HTML body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub html: Option<String>,
    /// The provider's template and its data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<Template>,
    /// Files that go along.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attachments: Vec<Attachment>,
    /// Further mail headers: ASCII names, one line each, none that the provider sets itself.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// The provider's categories, for its own statistics.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub categories: Vec<String>,
    /// The producer's own labels; kept with the record, never sent to the provider.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// Not to be sent before this moment; at most 366 days ahead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub deliver_at: Option<Timestamp>,
    /// Not to be sent from this moment on, retries and redrives included: it is then `expired`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub useful_until: Option<Timestamp>,
    /// Transactional mail goes before bulk mail.
    #[serde(default)]
    pub priority: Priority,
    /// The broadcast it belongs to: one name to list, hold, release, cancel or redrive all of it by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<String>,
    /// What to do when nothing settles whether the provider took it.
    #[serde(default)]
    pub on_unknown: OnUnknown,
}

impl Notification {
    /// The id that this notification gets when it is accepted.
    pub fn id(&self) -> NotificationId {
        match &self.idempotency_key {
            Some(key) => NotificationId::derived(&self.tenant, key),
            None => NotificationId::fresh(),
        }
    }

    /// The id of one that came by a way which may bring it again: without a key it derives from its `source`, the name
    /// that it has on that way.
    pub fn id_from(&self, source: &str) -> NotificationId {
        NotificationId::derived(&self.tenant, self.idempotency_key.as_deref().unwrap_or(source))
    }

    /// Every recipient, in the order to, cc, bcc.
    pub fn recipients(&self) -> impl Iterator<Item = (RecipientKind, &Mailbox)> {
        let of = |kind| move |mailbox| (kind, mailbox);
        let to = self.to.iter().map(of(RecipientKind::To));
        to.chain(self.cc.iter().map(of(RecipientKind::Cc))).chain(self.bcc.iter().map(of(RecipientKind::Bcc)))
    }
}

/// An address with an optional display name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Mailbox {
    /// The address.
    #[schema(value_type = String)]
    pub email: Address,
    /// The display name.
    // Masked in `Debug`, as a name is personal too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub name: Option<DisplayName>,
}

/// A person's or house's name; `Debug` does not print it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DisplayName(pub String);

impl fmt::Debug for DisplayName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"***\"")
    }
}

/// A template kept at the provider.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Template {
    /// The provider's id of it (SendGrid: starts with `d-`).
    pub id: String,
    /// What fills it.
    #[serde(default, skip_serializing_if = "serde_json::Map::is_empty")]
    #[schema(value_type = Object)]
    pub data: serde_json::Map<String, serde_json::Value>,
}

/// A file that goes along.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Attachment {
    /// As the recipient sees it.
    pub filename: String,
    /// A media type such as `application/pdf`.
    pub content_type: String,
    /// Base64, standard alphabet with padding; checked when parsed.
    pub content: String,
}

/// Which lane a notification takes: `transactional` (a person waits for it) goes before `bulk` (a broadcast).
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    utoipa::ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Priority {
    /// A person waits for it.
    #[default]
    Transactional,
    /// A broadcast; yields to transactional mail.
    Bulk,
}

/// What to do when a crash or time-out leaves it unknown whether the provider took it and no event settled it:
/// `resend` once silence is evidence that it was not, or `hold` for an operator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnUnknown {
    /// Send again once the witness rule allows it.
    #[default]
    Resend,
    /// Never resend by itself: hold it for an operator.
    Hold,
}

/// How a recipient was addressed.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum RecipientKind {
    /// In `to`.
    To,
    /// In `cc`.
    Cc,
    /// In `bcc`.
    Bcc,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_follows_from_tenant_and_key_and_from_nothing_else() {
        let id = NotificationId::derived("default", "booking-1");
        assert_eq!(id, NotificationId::derived("default", "booking-1"));
        assert_ne!(id, NotificationId::derived("defaultb", "ooking-1"));
        assert_ne!(id, NotificationId::derived("other", "booking-1"));
        assert_eq!(id.to_string().parse::<NotificationId>().ok(), Some(id));
    }
}
