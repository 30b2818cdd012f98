//! Signatures (SigV4) for the one AWS service that is called without its SDK.

use std::time::{Duration, UNIX_EPOCH};

use aws_sdk_sqs::config::{Credentials, ProvideCredentials, SharedCredentialsProvider};
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4::SigningParams;
use tokio::sync::Mutex;

use crate::clock::Timestamp;
use crate::secret::Secret;

/// Temporary credentials are fetched anew this long before they end.
const RENEWED_BEFORE: Duration = Duration::from_secs(300);

/// As whom a request is signed.
#[derive(Clone, Debug, Default)]
pub enum Identity {
    /// As the usual AWS variables, profiles and roles say.
    #[default]
    Environment,
    /// As this access key.
    Fixed {
        /// The access key's id.
        key_id: String,
        /// The access key's secret.
        key_secret: Secret,
    },
}

/// Signs requests to one service in one region.
pub struct Signer {
    identity: Identity,
    region: String,
    service: &'static str,
    known: Mutex<Known>,
}

/// What was learnt so far. Nothing is fetched before the first request.
#[derive(Default)]
struct Known {
    provider: Option<SharedCredentialsProvider>,
    credentials: Option<Credentials>,
}

impl Signer {
    /// A signer that fetches nothing yet.
    pub fn new(identity: Identity, region: &str, service: &'static str) -> Self {
        Self { identity, region: region.to_owned(), service, known: Mutex::default() }
    }

    /// The headers to add to a `POST` of this JSON body, with the values that are secret marked.
    pub async fn sign(
        &self,
        url: &str,
        body: &[u8],
        now: Timestamp,
    ) -> Result<Vec<(&'static str, Secret)>, String> {
        let identity = self.credentials(now).await?.into();
        let time = UNIX_EPOCH + Duration::from_millis(now.as_ms().unsigned_abs());
        let params = SigningParams::builder()
            .identity(&identity)
            .region(&self.region)
            .name(self.service)
            .time(time)
            .settings(SigningSettings::default())
            .build()
            .map_err(|error| error.to_string())?
            .into();
        let headers = [("content-type", "application/json")].into_iter();
        let request = SignableRequest::new("POST", url, headers, SignableBody::Bytes(body));
        let signed = sign(request.map_err(|error| error.to_string())?, &params);
        let (instructions, _) = signed.map_err(|error| error.to_string())?.into_parts();
        let (headers, _) = instructions.into_parts();
        Ok(headers.iter().map(|header| (header.name(), Secret::new(header.value()))).collect())
    }

    /// Whether there is anybody to sign as.
    pub async fn check(&self, now: Timestamp) -> Result<(), String> {
        self.credentials(now).await.map(drop)
    }

    /// One caller fetches, the others wait for it.
    async fn credentials(&self, now: Timestamp) -> Result<Credentials, String> {
        let mut known = self.known.lock().await;
        let soon = UNIX_EPOCH + Duration::from_millis(now.as_ms().unsigned_abs()) + RENEWED_BEFORE;
        if let Some(credentials) = &known.credentials
            && credentials.expiry().is_none_or(|expiry| expiry > soon)
        {
            return Ok(credentials.clone());
        }
        if known.provider.is_none() {
            known.provider = match &self.identity {
                Identity::Environment => super::credentials().await,
                Identity::Fixed { key_id, key_secret } => {
                    let fixed = Credentials::new(key_id, key_secret.reveal(), None, None, "fixed");
                    Some(SharedCredentialsProvider::new(fixed))
                }
            };
        }
        let Some(provider) = known.provider.clone() else {
            return Err("no source of AWS credentials is configured".into());
        };
        let credentials = provider.provide_credentials().await;
        let credentials = credentials.map_err(|error| format!("no AWS credentials: {error}"))?;
        known.credentials = Some(credentials.clone());
        Ok(credentials)
    }
}
