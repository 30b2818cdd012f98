//! The certificates that SNS signs with: fetched once each, kept, and never more than a handful.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use reqwest::Url;
use ring::signature::{
    RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey,
};
use tokio::sync::Mutex;
use x509_cert::Certificate;
use x509_cert::der::DecodePem;

use super::web::{FetchError, Internet, is_of_sns};
use crate::clock::Timestamp;
use crate::provider::WebhookError;

/// SNS changes its certificate about once a year, and every region has its own.
const MOST_KEPT: usize = 16;
/// Whoever posts forgeries must not make us fetch for each of them.
const REFUSED_FOR: Duration = Duration::from_secs(60);
/// A post may come late, and its certificate may have ended meanwhile.
const GRACE: Duration = Duration::from_secs(25 * 3600);

/// The public key of a certificate.
pub struct SigningKey(Vec<u8>);

/// How a post is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// SHA-1.
    One,
    /// SHA-256.
    Two,
}

impl SigningKey {
    /// Whether its owner signed this.
    pub fn verifies(&self, version: Version, message: &[u8], signature: &[u8]) -> bool {
        let algorithm = match version {
            Version::One => &RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY,
            Version::Two => &RSA_PKCS1_2048_8192_SHA256,
        };
        UnparsedPublicKey::new(algorithm, &self.0).verify(message, signature).is_ok()
    }
}

/// What became of an address.
enum Kept {
    Key(Arc<SigningKey>),
    Refused { until: Timestamp },
}

/// The certificates that were fetched.
pub struct Certificates {
    internet: Arc<dyn Internet>,
    /// Held while fetching: one at a time, however many posts ask.
    kept: Mutex<HashMap<String, Kept>>,
}

impl Certificates {
    pub fn new(internet: Arc<dyn Internet>) -> Self {
        Self { internet, kept: Mutex::default() }
    }

    /// The key at this address, if it is one of SNS's.
    pub async fn key(&self, address: &str, now: Timestamp) -> Result<Arc<SigningKey>, WebhookError> {
        let refuse = |why| Err(WebhookError::Signature(why));
        let Some(url) = Url::parse(address).ok().filter(is_of_certificate) else {
            return refuse("its certificate is not at an address of SNS");
        };
        let mut kept = self.kept.lock().await;
        match kept.get(url.as_str()) {
            Some(Kept::Key(key)) => return Ok(key.clone()),
            Some(Kept::Refused { until }) if *until > now => {
                return refuse("its certificate is not there or not valid");
            }
            _ => {}
        }
        let read = match self.internet.get(&url).await {
            Ok(pem) => read(&pem, now),
            Err(FetchError::Refused(_)) => None,
            Err(FetchError::Unavailable(why)) => {
                return Err(WebhookError::Unavailable(format!("SNS's certificate: {why}")));
            }
        };
        if kept.len() >= MOST_KEPT {
            // Refusals first: they come of forgeries, keys of genuine posts.
            let is_refused = |kept: &Kept| matches!(kept, Kept::Refused { .. });
            let refused = kept.iter().find(|(_, kept)| is_refused(kept));
            let oldest = refused.or_else(|| kept.iter().next()).map(|(url, _)| url.clone());
            oldest.map(|url| kept.remove(&url));
        }
        let Some(key) = read.map(Arc::new) else {
            kept.insert(url.into(), Kept::Refused { until: now.plus(REFUSED_FOR) });
            return refuse("its certificate is not there or not valid");
        };
        kept.insert(url.into(), Kept::Key(key.clone()));
        Ok(key)
    }
}

fn is_of_certificate(url: &Url) -> bool {
    let name =
        url.path().strip_prefix("/SimpleNotificationService-").and_then(|rest| rest.strip_suffix(".pem"));
    let is_name = |name: &str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric());
    is_of_sns(url) && url.query().is_none() && name.is_some_and(is_name)
}

/// The RSA key of a certificate that is valid now.
fn read(pem: &[u8], now: Timestamp) -> Option<SigningKey> {
    let certificate = Certificate::from_pem(pem).ok()?;
    let certificate = certificate.tbs_certificate();
    let at = |time: &x509_cert::time::Time| {
        Timestamp::from_ms(i64::try_from(time.to_unix_duration().as_millis()).unwrap_or(i64::MAX))
    };
    let validity = certificate.validity();
    let is_valid = at(&validity.not_before) <= now && now <= at(&validity.not_after).plus(GRACE);
    let key = certificate.subject_public_key_info().subject_public_key.as_bytes()?;
    is_valid.then(|| SigningKey(key.to_vec()))
}
