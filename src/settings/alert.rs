//! How alerts are watched for and posted.

use std::time::Duration;

use super::reader::Reader;
use crate::secret::Secret;

/// Alerts.
#[derive(Debug, Clone)]
pub struct AlertSettings {
    /// Slack's incoming webhook.
    pub slack_webhook_url: Option<Secret>,
    /// Any other webhook.
    pub webhook_url: Option<Secret>,
    /// Signs what is posted there.
    pub webhook_secret: Option<Secret>,
    /// Between two looks.
    pub interval: Duration,
    /// How long all must be well before an alert is over.
    pub calm: Duration,
    /// Between two messages about an alert that goes on.
    pub reminder: Duration,
    /// Mail that was sent this long ago without any event since is an alert; `None`: it is none.
    pub webhook_silence: Option<Duration>,
    /// Where the runbooks are.
    pub runbook_url: Option<String>,
}

impl AlertSettings {
    pub(super) fn read(reader: &mut Reader) -> Self {
        Self {
            slack_webhook_url: reader.secret_url("slack.webhook_url"),
            webhook_url: reader.secret_url("alert.webhook_url"),
            webhook_secret: reader.secret("alert.webhook_secret"),
            interval: reader.span("alert.interval"),
            calm: reader.span("alert.calm"),
            reminder: reader.span("alert.reminder"),
            webhook_silence: Some(reader.span("alert.webhook_silence")).filter(|silence| !silence.is_zero()),
            runbook_url: reader.url("alert.runbook_url"),
        }
    }
}
