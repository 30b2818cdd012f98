//! Amazon SES by its API v2: one mail a request, signed with AWS credentials; events come by an SNS topic.

mod certificate;
mod classify;
mod events;
mod request;
mod sns;
mod web;

pub use super::http::{Config, ConfigError};
pub use events::SesEvents;
pub use web::{FetchError, Internet, Web};

use std::time::{Duration, Instant};

use async_trait::async_trait;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;

use super::http::{self, Wire};
use super::{Handover, Provider, SendError, SendErrorClass};
use crate::aws::sign::{Identity, Signer};
use crate::notification::{Notification, NotificationId};

/// The tag that carries our id: it comes back in events.
const ID_TAG: &str = "kakitome_id";
/// The tag that carries the tenant's lane, see [`super::lane`].
const LANE_TAG: &str = "kakitome_lane";
/// The service's name in signatures.
const SERVICE: &str = "ses";

/// What is SES's own of an account.
#[derive(Clone, Debug)]
pub struct Account {
    /// Such as `ap-northeast-1`.
    pub region: String,
    /// The configuration set that publishes the events.
    pub configuration_set: Option<String>,
    /// As whom mail is sent.
    pub identity: Identity,
}

/// Hands notifications to one SES account in one region, one request each.
pub struct Ses {
    wire: Wire,
    signer: Signer,
    configuration_set: Option<String>,
    attempt_timeout: Duration,
}

/// The answer to a mail that was taken.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Taken {
    message_id: String,
}

/// The region's own address.
pub fn regional_url(region: &str) -> String {
    let suffix = if region.starts_with("cn-") { ".cn" } else { "" };
    format!("https://email.{region}.amazonaws.com{suffix}")
}

impl Ses {
    /// An account under the name that records and metrics use; its requests need no key. Connects to nothing yet.
    pub fn new(name: &str, config: Config, account: Account) -> Result<Self, ConfigError> {
        Ok(Self {
            wire: Wire::new(name, &config, "/v2/email/outbound-emails")?,
            signer: Signer::new(account.identity, &account.region, SERVICE),
            configuration_set: account.configuration_set,
            attempt_timeout: config.attempt_timeout,
        })
    }

    /// The signed headers of a request with this body.
    async fn signed(&self, body: &[u8]) -> Result<HeaderMap, SendError> {
        let signing = self.signer.sign(self.wire.send_url.as_str(), body, self.wire.clock.now());
        // Credentials may have to be fetched; half of the attempt is enough for that, and leaves a half.
        let signed = match tokio::time::timeout(self.attempt_timeout / 2, signing).await {
            Ok(signed) => signed.map_err(|why| unsigned(&why))?,
            Err(_) => return Err(unsigned("the AWS credentials did not come in time")),
        };
        let mut headers = self.wire.headers.clone();
        for (name, value) in signed {
            let mut value =
                HeaderValue::from_str(value.reveal()).map_err(|_| unsigned("it cannot stand in a header"))?;
            value.set_sensitive(true);
            headers.insert(HeaderName::from_static(name), value);
        }
        Ok(headers)
    }
}

/// Nobody to sign as: nothing was sent, and it is the same for every message.
fn unsigned(why: &str) -> SendError {
    let message = super::redact::redact(&format!("the request cannot be signed: {why}"), &[]);
    SendError { class: SendErrorClass::ProviderRefused, http_status: None, message, retry_after: None }
}

#[async_trait]
impl Provider for Ses {
    fn name(&self) -> &str {
        &self.wire.name
    }

    async fn send(&self, id: NotificationId, notification: &Notification) -> Result<Handover, SendError> {
        let begun = Instant::now();
        let set = self.configuration_set.as_deref();
        let body = request::body(id, notification, set).map_err(http::unsendable)?;
        let headers = self.signed(&body).await?;
        let within = Some(self.attempt_timeout.saturating_sub(begun.elapsed()));
        let response = self.wire.post_within(headers, body, within).await?;
        let status = response.status();
        let headers = response.headers().clone();
        let body = http::body(response).await;
        if status.is_success() {
            // The status alone is the acceptance: what is lacking in the body is the provider's id of it.
            let message_id = serde_json::from_slice::<Taken>(&body).ok();
            let message_id = message_id.and_then(|taken| http::message_id(&taken.message_id));
            return Ok(Handover { message_id, http_status: status.as_u16() });
        }
        let private = self.wire.private_texts(notification);
        let asked = (private.as_slice(), notification.template.is_some());
        Err(classify::answer(status, &headers, &body, asked, self.wire.clock.now()))
    }

    async fn reach(&self) -> Result<(), String> {
        self.wire.reach().await?;
        self.signer.check(self.wire.clock.now()).await
    }
}
