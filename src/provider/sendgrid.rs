//! SendGrid and whatever speaks its v3 mail-send protocol, the sandbox included.

mod classify;
mod events;
mod request;
mod signature;

pub use super::http::{Config, ConfigError};
pub use events::SendGridEvents;
pub use request::ID_ARGUMENT;
pub use signature::{KeyError, SIGNATURE_HEADER, TIMESTAMP_HEADER};

use async_trait::async_trait;
use reqwest::Url;
use reqwest::header::HeaderMap;

use super::http::{self, Wire};
use super::{Handover, Provider, SendError};
use crate::clock::Clock;
use crate::notification::{Notification, NotificationId};
use crate::secret::Secret;

/// Hands notifications to one SendGrid account, one request each.
pub struct SendGrid {
    name: String,
    wire: Wire,
    send_url: Url,
    headers: HeaderMap,
    api_key: Secret,
    clock: Clock,
}

impl SendGrid {
    /// An account under the name that records and metrics use. Connects to nothing yet.
    pub fn new(name: &str, config: Config) -> Result<Self, ConfigError> {
        let wire = Wire::new(&config)?;
        Ok(Self {
            name: name.to_owned(),
            send_url: wire.url("/v3/mail/send"),
            wire,
            headers: http::bearer_headers(&config.api_key)?,
            api_key: Secret::new(config.api_key.reveal().trim()),
            clock: Clock::system(),
        })
    }
}

#[async_trait]
impl Provider for SendGrid {
    fn name(&self) -> &str {
        &self.name
    }

    async fn send(&self, id: NotificationId, notification: &Notification) -> Result<Handover, SendError> {
        let body = request::body(id, notification)
            .map_err(|error| http::unsendable(format!("the request cannot be written: {error}")))?;
        let response = self.wire.post(self.send_url.clone(), self.headers.clone(), body).await?;
        let status = response.status();
        if status.is_success() {
            // The status alone is the acceptance: a body that is cut off afterwards changes nothing.
            let message_id = response.headers().get("x-message-id").and_then(|id| id.to_str().ok());
            let message_id = message_id.and_then(http::message_id);
            return Ok(Handover { message_id, http_status: status.as_u16() });
        }
        let headers = response.headers().clone();
        let body = http::body(response).await;
        let mut private = http::private_texts(notification);
        private.push(self.api_key.reveal());
        Err(classify::answer(status, &headers, &body, &private, self.clock.now()))
    }

    async fn reach(&self) -> Result<(), String> {
        self.wire.reach().await
    }
}
