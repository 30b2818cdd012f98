//! The signature of Resend's webhooks: Svix, which is Standard Webhooks with other header names. HMAC-SHA-256 of the
//! message id, the time stamp and the raw body, with a dot between each two.

use base64::Engine;
use ring::hmac;

use crate::clock::Timestamp;
use crate::provider::signed::{BASE64, check_time};
use crate::provider::{Post, WebhookError};

/// Secrets begin with it; what follows is base64.
const SECRET_PREFIX: &str = "whsec_";
/// Shorter ones can be guessed; Standard Webhooks has 24 to 64.
const SHORTEST_SECRET_BYTES: usize = 16;
/// Signatures in one header: one a secret in rotation, and nobody rotates so many.
const MOST_SIGNATURES: usize = 16;

/// Why the webhook's secrets are not usable. Names one by its place (the first is 1), never by its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// No secret, and posts without a signature were not allowed explicitly.
    #[error("no webhook secret is given, so nobody could tell a genuine post from a forged one")]
    Missing,
    /// Not `whsec_` and base64 of at least 16 bytes.
    #[error("webhook secret {place} is not one: it should be whsec_ and base64 of at least 16 bytes")]
    Unusable {
        /// Which one.
        place: usize,
    },
}

/// Reads the secrets, several while one replaces another.
pub fn read_secrets(secrets: &[String]) -> Result<Vec<hmac::Key>, SecretError> {
    let read = |(index, text): (usize, &String)| {
        let text = text.trim();
        let bytes = BASE64.decode(text.strip_prefix(SECRET_PREFIX).unwrap_or(text)).unwrap_or_default();
        if bytes.len() < SHORTEST_SECRET_BYTES {
            return Err(SecretError::Unusable { place: index + 1 });
        }
        Ok(hmac::Key::new(hmac::HMAC_SHA256, &bytes))
    };
    secrets.iter().enumerate().map(read).collect()
}

/// The id of the message in this post: the same in every repeat of it.
pub fn message_id(post: &Post) -> Option<&str> {
    header(post, "id")
}

fn header<'a>(post: &'a Post, name: &str) -> Option<&'a str> {
    post.header(&format!("svix-{name}")).or_else(|| post.header(&format!("webhook-{name}")))
}

/// Whether one of the secrets signed this id, time stamp and body, and the time stamp is near enough to `now`.
pub fn verify(keys: &[hmac::Key], post: &Post, now: Timestamp) -> Result<(), WebhookError> {
    let refuse = |why| Err(WebhookError::Signature(why));
    let (Some(id), Some(timestamp)) = (header(post, "id"), header(post, "timestamp")) else {
        return refuse("there is no message id or no time stamp");
    };
    let Some(signatures) = header(post, "signature") else {
        return refuse("there is no signature");
    };
    let message = [id.as_bytes(), b".", timestamp.as_bytes(), b".", &post.body].concat();
    // Other versions are other algorithms: they are nobody's here.
    let ours = signatures.split(' ').filter_map(|one| one.strip_prefix("v1,")).take(MOST_SIGNATURES);
    let is_genuine = ours
        .filter_map(|one| BASE64.decode(one.trim()).ok())
        .any(|tag| keys.iter().any(|key| hmac::verify(key, &message, &tag).is_ok()));
    if !is_genuine {
        return refuse("none of the secrets made it");
    }
    // Only now: what an unsigned time stamp says means nothing.
    let Ok(seconds) = timestamp.parse::<i64>() else {
        return refuse("the time stamp is not a number");
    };
    check_time(Timestamp::from_ms(seconds.saturating_mul(1000)), now)
}
