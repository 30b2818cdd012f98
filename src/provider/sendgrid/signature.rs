//! The signature of SendGrid's event webhook: ECDSA over P-256 and SHA-256, of the time stamp's bytes followed by the
//! raw body (Twilio SendGrid, "Signed Event Webhook").

use base64::Engine;
use p256::ecdsa::signature::MultipartVerifier;
use p256::ecdsa::{Signature, VerifyingKey};
use p256::pkcs8::DecodePublicKey;

use crate::clock::Timestamp;
use crate::provider::WebhookError;
use crate::provider::signed::{BASE64, check_time};

/// The header with the signature: base64 of its ASN.1 DER form. Lower case, as look-ups are.
pub const SIGNATURE_HEADER: &str = "x-twilio-email-event-webhook-signature";
/// The header with the time stamp: Unix seconds.
pub const TIMESTAMP_HEADER: &str = "x-twilio-email-event-webhook-timestamp";

/// Why the webhook keys are not usable. Names the key by its place (the first is 1), never by its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// No key, and posts without a signature were not allowed explicitly.
    #[error("no webhook key is given, so nobody could tell a genuine post from a forged one")]
    Missing,
    /// Not base64.
    #[error("webhook key {place} is not valid base64; it should start with MFkwEwYHKoZIzj0")]
    Base64 {
        /// Which one.
        place: usize,
    },
    /// Base64, but of something else.
    #[error(
        "webhook key {place} is not a P-256 public key in SPKI form; it should start with MFkwEwYHKoZIzj0"
    )]
    NotP256 {
        /// Which one.
        place: usize,
    },
}

/// Reads the keys: base64 of DER SPKI, without PEM armour.
pub fn read_keys(keys: &[String]) -> Result<Vec<VerifyingKey>, KeyError> {
    let read = |(index, key): (usize, &String)| {
        let place = index + 1;
        let der = BASE64.decode(key.trim()).map_err(|_| KeyError::Base64 { place })?;
        VerifyingKey::from_public_key_der(&der).map_err(|_| KeyError::NotP256 { place })
    };
    keys.iter().enumerate().map(read).collect()
}

/// Whether one of the keys signed this time stamp and body, and the time stamp is near enough to `now`.
pub fn verify(
    keys: &[VerifyingKey],
    signature: Option<&str>,
    timestamp: Option<&str>,
    body: &[u8],
    now: Timestamp,
) -> Result<(), WebhookError> {
    let refuse = |why| Err(WebhookError::Signature(why));
    let Some(signature) = signature else {
        return refuse("there is no signature");
    };
    let Some(timestamp) = timestamp else {
        return refuse("there is no time stamp");
    };
    let Ok(der) = BASE64.decode(signature.trim()) else {
        return refuse("it is not base64");
    };
    let Ok(signature) = Signature::from_der(&der) else {
        return refuse("it is not an ECDSA signature");
    };
    let message = [timestamp.as_bytes(), body];
    if !keys.iter().any(|key| key.multipart_verify(&message, &signature).is_ok()) {
        return refuse("none of the keys made it");
    }
    // Only now: what an unsigned time stamp says means nothing.
    let Ok(seconds) = timestamp.parse::<i64>() else {
        return refuse("the time stamp is not a number");
    };
    check_time(Timestamp::from_ms(seconds.saturating_mul(1000)), now)
}
