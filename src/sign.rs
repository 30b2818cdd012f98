//! HMAC-SHA-256 (RFC 2104), and what is signed with it the way of Standard Webhooks, so that a receiver knows from whom
//! a message is. Twenty lines on the hash that is here anyway, rather than one more library.

use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rand::RngExt;
use sha2::{Digest, Sha256};

use crate::secret::Secret;

const BLOCK_BYTES: usize = 64;

/// HMAC-SHA-256 of `message`.
pub fn hmac_sha256(key: &[u8], message: &[u8]) -> [u8; 32] {
    let mut block = [0_u8; BLOCK_BYTES];
    if key.len() > BLOCK_BYTES {
        block[..32].copy_from_slice(&Sha256::digest(key));
    } else {
        block[..key.len()].copy_from_slice(key);
    }
    let padded = |pad: u8| block.map(|byte| byte ^ pad);
    let inner = Sha256::new().chain_update(padded(0x36)).chain_update(message).finalize();
    Sha256::new().chain_update(padded(0x5c)).chain_update(inner).finalize().into()
}

/// In lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a text cannot fail.
        let _written = write!(text, "{byte:02x}");
        text
    })
}

/// What a secret begins with.
const PREFIX: &str = "whsec_";
/// How many bytes a secret has (Standard Webhooks, "Signature scheme").
const SECRET_BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// The key of a signing secret: `whsec_` and base64 of 24 to 64 bytes. `None` for anything else.
pub fn key_of(secret: &Secret) -> Option<Vec<u8>> {
    let key = STANDARD.decode(secret.reveal().strip_prefix(PREFIX)?).ok()?;
    SECRET_BYTES.contains(&key.len()).then_some(key)
}

/// A fresh signing secret.
pub fn fresh_secret() -> Secret {
    Secret::new(format!("{PREFIX}{}", STANDARD.encode(rand::rng().random::<[u8; 32]>())))
}

/// The value of `webhook-signature`: one signature a secret, over `ID.SECONDS.BODY` (Standard Webhooks, symmetric
/// `v1`). Secrets that are none are left out.
pub fn webhook_signature(secrets: &[Secret], id: &str, seconds: i64, body: &[u8]) -> String {
    let content = [format!("{id}.{seconds}.").as_bytes(), body].concat();
    let keys = secrets.iter().filter_map(key_of);
    let signed = keys.map(|key| format!("v1,{}", STANDARD.encode(hmac_sha256(&key, &content))));
    signed.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_signs_as_rfc_4231_says() {
        let told = hex(&hmac_sha256(b"Jefe", b"what do ya want for nothing?"));
        assert_eq!(told, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
        let long = hmac_sha256(&[0xaa; 131], b"Test Using Larger Than Block-Size Key - Hash Key First");
        assert_eq!(hex(&long), "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
    }

    #[test]
    fn only_what_has_the_form_of_a_secret_is_one() {
        assert_eq!(key_of(&fresh_secret()).map(|key| key.len()), Some(32));
        let short = format!("{PREFIX}{}", STANDARD.encode([7; 23]));
        for wrong in ["", "whsec_", "whsec_not base64", short.as_str(), "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"] {
            assert_eq!(key_of(&Secret::new(wrong)), None, "{wrong}");
        }
    }
}
