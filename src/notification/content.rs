//! From outside bytes to a [`Notification`] and back: validation with every fault at once, the stored form, its hash.
//!
//! What a field must be like is written once, beside its name, in `content/`. The limits are those of the provider
//! with the strictest known rules (SendGrid v3), so that what is accepted here is not refused there.

pub mod batch;
mod fault;
mod fields;
mod json;
mod object;
mod parts;
mod people;
mod schema;
mod text;

use bytes::Bytes;

use super::Notification;
pub use fault::Fault;
use fault::Faults;
use json::Json;
pub use schema::{schema, schema_file};
pub use text::is_storable;

/// Whether a notification's `batch` can have this name.
pub fn is_batch_name(text: &str) -> bool {
    fields::BATCH.broken_by(text).is_none()
}

/// Whether a tenant can have this name.
pub fn is_tenant_name(text: &str) -> bool {
    fields::TENANT.broken_by(text).is_none()
}

/// How large a notification may be.
#[derive(Clone, Debug)]
pub struct Limits {
    /// The whole JSON document, in bytes.
    pub body_bytes: usize,
}

/// Parses and validates one notification; on failure every fault at once (up to a hundred), never none.
/// `default_tenant` is used when it names none.
///
/// A null stands for an absent field. Unknown and repeated fields are refused. Whether its times suit the present is
/// not judged here: a repeat of a recorded notification stays valid.
pub fn parse(body: &[u8], default_tenant: &str, limits: &Limits) -> Result<Notification, Vec<Fault>> {
    if body.len() > limits.body_bytes {
        return Err(Faults::whole(format!("must have at most {} bytes", limits.body_bytes)));
    }
    let document = Json::read(body).map_err(Faults::whole)?;
    let mut faults = Faults::default();
    let notification = fields::notification(document, default_tenant, &mut faults);
    match (notification, faults.into_list()) {
        (Some(notification), faults) if faults.is_empty() => Ok(notification),
        (_, faults) => Err(faults),
    }
}

/// The stored form: the same bytes for the same content, whatever key order, spaces or nulls it came with.
pub fn encode(notification: &Notification) -> Bytes {
    // Text keys and finite numbers only: there is nothing in a notification that cannot be written.
    Bytes::from(serde_json::to_vec(notification).unwrap_or_default())
}

/// Reads the stored form back.
pub fn decode(stored: &[u8]) -> Result<Notification, serde_json::Error> {
    // Checked as a whole, so that it is not checked text by text.
    match std::str::from_utf8(stored) {
        Ok(text) => serde_json::from_str(text),
        Err(_) => serde_json::from_slice(stored),
    }
}

/// Tells a repeat from a conflict: SHA-256 over the stored form.
pub fn hash(stored: &[u8]) -> [u8; 32] {
    use sha2::Digest;
    sha2::Sha256::digest(stored).into()
}
