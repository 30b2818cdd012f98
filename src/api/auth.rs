//! Who may do what: bearer keys, known only by their SHA-256.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use rand::RngExt;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::named::named;

/// What a key allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Hand notifications in.
    Send,
    /// Look notifications up.
    Read,
    /// Cancel, hold, release, redrive; see the instance's status.
    Operate,
    /// Act for every tenant.
    Admin,
}

/// A name that is no scope.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a scope: allowed are send, read, operate, admin")]
pub struct UnknownScope;

named! {
    /// Every scope.
    Scope {
        Send: "send",
        Read: "read",
        Operate: "operate",
        Admin: "admin",
    }
}

impl FromStr for Scope {
    type Err = UnknownScope;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::named(text).ok_or(UnknownScope)
    }
}

/// One key. Its secret is not in it.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey {
    /// Names it in logs; never secret.
    pub id: String,
    /// SHA-256 of the secret. Fast is enough: a generated secret has 256 bits, which nobody guesses.
    pub sha256: [u8; 32],
    /// Whose notifications it may hand in and see.
    pub tenant: String,
    /// What it allows.
    pub scopes: Vec<Scope>,
}

// By hand because the hash of a short, hand-made secret can be guessed back.
impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiKey")
            .field("id", &self.id)
            .field("tenant", &self.tenant)
            .field("scopes", &self.scopes)
            .finish_non_exhaustive()
    }
}

impl ApiKey {
    /// A key for this secret.
    pub fn of_secret(id: &str, secret: &str, tenant: &str, scopes: &[Scope]) -> Self {
        let sha256 = Sha256::digest(secret.as_bytes()).into();
        Self { id: id.to_owned(), sha256, tenant: tenant.to_owned(), scopes: scopes.to_vec() }
    }

    /// A fresh random secret, `kk_live_` and 43 letters and digits, with its key. Only the key is to be kept; the
    /// secret is shown once. The prefix lets secret scanners find it.
    pub fn generate(id: &str, tenant: &str, scopes: &[Scope]) -> (String, Self) {
        let secret = format!("kk_live_{}", base62(rand::rng().random()));
        let key = Self::of_secret(id, &secret, tenant, scopes);
        (secret, key)
    }

    /// Whether it allows `scope`.
    pub fn allows(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope)
    }

    /// Whether it may act for `tenant`.
    pub fn may_act_for(&self, tenant: &str) -> bool {
        self.tenant == tenant || self.allows(Scope::Admin)
    }
}

/// The digits of a 256-bit number in base 62, most significant first, padded to 43.
fn base62(mut number: [u8; 32]) -> String {
    const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let mut text: Vec<char> = Vec::with_capacity(43);
    for _ in 0..43 {
        let mut rest = 0_u32;
        for byte in &mut number {
            let value = (rest << 8) | u32::from(*byte);
            // The quotient of a number below 62 * 256 fits a byte.
            *byte = u8::try_from(value / 62).unwrap_or(u8::MAX);
            rest = value % 62;
        }
        text.push(char::from(DIGITS[rest as usize % 62]));
    }
    text.iter().rev().collect()
}

/// Every key that opens the door.
#[derive(Clone, Debug, Default)]
pub struct KeyRing(Vec<Arc<ApiKey>>);

impl KeyRing {
    /// These keys.
    pub fn new(keys: Vec<ApiKey>) -> Self {
        Self(keys.into_iter().map(Arc::new).collect())
    }

    /// One key with every scope, tenant `default`.
    pub fn single(secret: &str) -> Self {
        Self::new(vec![ApiKey::of_secret("default", secret, "default", &Scope::ALL)])
    }

    /// The key with this secret. Looks at every key in constant time, so that neither the answer's time nor the
    /// position of a key says how close a guess was.
    pub fn find(&self, secret: &str) -> Option<Arc<ApiKey>> {
        let hash: [u8; 32] = Sha256::digest(secret.as_bytes()).into();
        let mut found = None;
        for key in &self.0 {
            if bool::from(key.sha256.ct_eq(&hash)) {
                found = Some(key);
            }
        }
        found.cloned()
    }
}

/// The token of an `Authorization: Bearer TOKEN` header (RFC 6750, 2.1; the scheme in any case, RFC 9110, 11.1).
pub(super) fn bearer(header: &str) -> Option<&str> {
    let (scheme, token) = header.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generated_secret_opens_the_door_and_no_other_does() {
        let (secret, key) = ApiKey::generate("ops", "hotel", &[Scope::Read]);
        assert!(secret.starts_with("kk_live_") && secret.len() == 51, "{} characters", secret.len());
        let ring = KeyRing::new(vec![ApiKey::of_secret("other", "another", "default", &[]), key]);
        assert_eq!(ring.find(&secret).map(|key| key.id.clone()).as_deref(), Some("ops"));
        assert_eq!(ring.find(&secret[1..]), None);
        assert_eq!(KeyRing::default().find(""), None);
    }

    #[test]
    fn base_62_keeps_every_bit() {
        assert_eq!(base62([0; 32]), "0".repeat(43));
        let mut number = [0; 32];
        number[31] = 63;
        assert_eq!(base62(number), format!("{}11", "0".repeat(41)));
        // 2^256 - 1, computed with another program.
        assert_eq!(base62([255; 32]), "yhjskwdA6OZ1AL1YmHWZWm8LLG7HjnuCA2j5rOw8Xp1");
    }

    #[test]
    fn a_key_never_prints_its_hash() {
        let key = ApiKey::of_secret("ops", "hunter2", "default", &Scope::ALL);
        let printed = format!("{key:?}");
        assert!(!printed.contains("sha256") && !printed.contains(&format!("{:?}", key.sha256)), "{printed}");
    }

    #[test]
    fn the_scheme_is_read_in_any_case() {
        assert_eq!(bearer("bEARER  abc"), Some("abc"));
        assert_eq!(bearer("Basic abc"), None);
        assert_eq!(bearer("Bearer "), None);
        assert_eq!(bearer("Bearer"), None);
    }
}
