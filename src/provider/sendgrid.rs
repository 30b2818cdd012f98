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

use super::http::{self, Wire};
use super::{Handover, Provider, SendError};
use crate::notification::{Notification, NotificationId};

/// Hands notifications to one SendGrid account, one request each.
pub struct SendGrid(Wire);

impl SendGrid {
    /// An account under the name that records and metrics use. Connects to nothing yet.
    pub fn new(name: &str, config: Config) -> Result<Self, ConfigError> {
        Wire::with_key(name, &config, "/v3/mail/send").map(Self)
    }
}

#[async_trait]
impl Provider for SendGrid {
    fn name(&self) -> &str {
        &self.0.name
    }

    async fn send(&self, id: NotificationId, notification: &Notification) -> Result<Handover, SendError> {
        let body = request::body(id, notification)
            .map_err(|error| http::unsendable(format!("the request cannot be written: {error}")))?;
        let response = self.0.post(self.0.headers.clone(), body).await?;
        let status = response.status();
        if status.is_success() {
            // The status alone is the acceptance: a body that is cut off afterwards changes nothing.
            let message_id = response.headers().get("x-message-id").and_then(|id| id.to_str().ok());
            let message_id = message_id.and_then(http::message_id);
            return Ok(Handover { message_id, http_status: status.as_u16() });
        }
        let headers = response.headers().clone();
        let body = http::body(response).await;
        let private = self.0.private_texts(notification);
        Err(classify::answer(status, &headers, &body, &private, self.0.clock.now()))
    }

    async fn reach(&self) -> Result<(), String> {
        self.0.reach().await
    }
}
