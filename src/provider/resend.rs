//! Resend: one mail a request, with an idempotency key that is remembered for a day, and Svix-signed events.

mod classify;
mod events;
mod request;
mod signature;

pub use super::http::{Config, ConfigError};
pub use events::ResendEvents;
pub use signature::SecretError;

use std::time::Duration;

use async_trait::async_trait;
use reqwest::header::{HeaderName, HeaderValue};
use serde::Deserialize;

use super::http::{self, Wire};
use super::{Handover, Idempotency, Provider, SendError};
use crate::notification::{Notification, NotificationId};

/// The tag that carries our id: it comes back in events.
const ID_TAG: &str = "kakitome_id";
/// The tag that carries the tenant's lane, see [`super::lane`].
const LANE_TAG: &str = "kakitome_lane";
/// The tag that says how many recipients a mail has: events do not say whom of several they are about.
const RECIPIENTS_TAG: &str = "kakitome_recipients";
/// The header that makes a repeat the same mail.
const KEY_HEADER: HeaderName = HeaderName::from_static("idempotency-key");
/// It remembers a key for a day (Resend, "Idempotency Keys").
pub const IDEMPOTENCY: Idempotency = Idempotency::Key { ttl: Duration::from_secs(24 * 3600) };

/// Hands notifications to one Resend account, one request each.
pub struct Resend(Wire);

/// The answer to a mail that was taken.
#[derive(Deserialize)]
struct Taken {
    id: String,
}

impl Resend {
    /// An account under the name that records and metrics use. Connects to nothing yet.
    pub fn new(name: &str, config: Config) -> Result<Self, ConfigError> {
        Wire::with_key(name, &config, "/emails").map(Self)
    }
}

#[async_trait]
impl Provider for Resend {
    fn name(&self) -> &str {
        &self.0.name
    }

    async fn send(&self, id: NotificationId, notification: &Notification) -> Result<Handover, SendError> {
        let body = request::body(id, notification).map_err(http::unsendable)?;
        // The same for every attempt of a notification: that is what makes the second one the same mail.
        let key = HeaderValue::from_str(&id.to_string())
            .map_err(|_| http::unsendable("the idempotency key cannot be written"))?;
        let mut headers = self.0.headers.clone();
        headers.insert(KEY_HEADER, key);
        let response = self.0.post(headers, body).await?;
        let status = response.status();
        let headers = response.headers().clone();
        let body = http::body(response).await;
        if status.is_success() {
            // The status alone is the acceptance: what is lacking in the body is the provider's id of it.
            let message_id = serde_json::from_slice::<Taken>(&body).ok();
            let message_id = message_id.and_then(|taken| http::message_id(&taken.id));
            return Ok(Handover { message_id, http_status: status.as_u16() });
        }
        let private = self.0.private_texts(notification);
        let asked = (private.as_slice(), notification.template.is_some());
        Err(classify::answer(status, &headers, &body, asked, self.0.clock.now()))
    }

    fn idempotency(&self) -> Idempotency {
        IDEMPOTENCY
    }

    async fn reach(&self) -> Result<(), String> {
        self.0.reach().await
    }
}
