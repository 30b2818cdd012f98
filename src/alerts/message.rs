//! What a channel is told, as text for people and as JSON for programs. No address, no secret.

use std::time::Duration;

use serde::Serialize;

use super::check::Severity;
use super::state::{Alert, Change, Posting};
use crate::clock::{Timestamp, human};

/// One message.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Message {
    /// The same each time it is posted: a channel may get it twice.
    pub id: String,
    /// What it says.
    pub change: Change,
    /// What is wrong.
    pub alert: String,
    /// With which provider, tenant or reason.
    pub subject: Option<String>,
    /// How bad.
    pub severity: Severity,
    /// In a sentence.
    pub summary: String,
    /// Since when.
    pub since: Timestamp,
    /// When that was so.
    pub at: Timestamp,
    /// How long it lasted, or lasts.
    pub duration_seconds: u64,
    /// How many it concerns.
    pub count: u64,
    /// The runbook.
    pub runbook: String,
    /// The command to begin with.
    pub command: String,
}

impl Message {
    /// What is to be posted about this alert. `runbooks`: where the pages are.
    pub fn of(alert: &Alert, posting: &Posting, runbooks: &str) -> Self {
        Self {
            id: posting.id.clone(),
            change: posting.change,
            alert: alert.alert.clone(),
            subject: alert.subject.clone(),
            severity: posting.severity,
            summary: posting.summary.clone(),
            since: posting.since,
            at: posting.at,
            duration_seconds: posting.at.since(posting.since).as_secs(),
            count: alert.count,
            runbook: format!("{}/{}", runbooks.trim_end_matches('/'), alert.runbook),
            command: alert.command.clone(),
        }
    }

    /// A message that tries a channel.
    pub fn test(now: Timestamp, runbooks: &str) -> Self {
        Self {
            id: uuid::Uuid::now_v7().to_string(),
            change: Change::Test,
            alert: "test".into(),
            subject: None,
            severity: Severity::Warning,
            summary: "This is a test: alerts reach this channel.".into(),
            since: now,
            at: now,
            duration_seconds: 0,
            count: 1,
            runbook: format!("{}/README.md", runbooks.trim_end_matches('/')),
            command: "kakitome alerts".into(),
        }
    }

    /// What it says, in one line.
    pub fn headline(&self) -> String {
        let lasted = human(Duration::from_secs(self.duration_seconds));
        match self.change {
            Change::Firing | Change::Test => self.summary.clone(),
            Change::Worse => format!("Worse: {}", self.summary),
            Change::Reminder => format!("Still, for {lasted}: {}", self.summary),
            Change::Resolved => format!("Over after {lasted}. It was: {}", self.summary),
        }
    }
}
