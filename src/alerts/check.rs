//! Is anything wrong? Pure: a [`Reading`] in, [`Finding`]s out.

mod alert;
mod mail;
mod ways;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

pub use alert::{AlertName, Severity};

use crate::clock::{Timestamp, human};
use crate::provider::health::ProviderHealth;

/// When something is wrong.
#[derive(Clone, Debug)]
pub struct Limits {
    /// The oldest unsent may be this old.
    pub delay: Duration,
    /// A worker may go without an answered receive for this long.
    pub poll_silence: Duration,
    /// After mail was sent, an event should come within this; `None`: silence is no alert.
    pub webhook_silence: Option<Duration>,
    /// Whether events are expected at all, before the first came.
    pub webhook_expected: bool,
    /// The providers in order of preference.
    pub providers: Vec<String>,
}

/// Over how long bounces and complaints are counted.
pub const RATE_WINDOW: Duration = Duration::from_secs(3600);
/// Over how long refused webhook posts are counted.
pub const POST_WINDOW: Duration = Duration::from_secs(600);

/// What was seen at one moment, as plain values. `None`: it could not be seen.
#[derive(Clone, Debug, Default)]
pub struct Reading {
    /// When.
    pub at: Timestamp,
    /// For how long this process runs: what it counts in memory begins with it.
    pub running_for: Duration,
    /// What the worker of this process saw; `None`: it runs none.
    pub worker: Option<WorkerReading>,
    /// What this process's webhook counted; `None`: it runs none.
    pub webhook: Option<WebhookReading>,
    /// The log's counts, or why there are none.
    pub log: Option<Result<LogReading, String>>,
    /// Messages of the last day that could not be read, are kept for repair and were not sent since.
    pub unreadable: Option<u64>,
    /// Whether the queue answers, or why not.
    pub queue: Option<Result<(), String>>,
    /// Whether the journal answers, or why not.
    pub journal: Option<Result<(), String>>,
    /// Tenants that hand in far more than usual, as the storm guard sees them.
    pub unusual: Option<Vec<Unusual>>,
    /// What was sent and not heard of, as the watchdog found it.
    pub unconfirmed: Option<Unconfirmed>,
    /// Events that could not be folded and that nobody has dealt with.
    pub events_aside: Option<u64>,
    /// Jobs whose process is gone: their ids.
    pub interrupted_jobs: Option<Vec<String>>,
    /// Callbacks that took nothing for too long, or are gone: their ids.
    pub paused_callbacks: Option<Vec<String>>,
}

/// What the log counts.
#[derive(Clone, Debug, Default)]
pub struct LogReading {
    /// Age of the longest-waiting one that should be on its way.
    pub oldest_unsent: Option<Duration>,
    /// Dead letters.
    pub failed: u64,
    /// Unknown outcomes.
    pub unknown: u64,
    /// Held ones by reason, where they were looked at.
    pub held: Option<BTreeMap<String, u64>>,
}

/// What a worker saw.
#[derive(Clone, Debug, Default)]
pub struct WorkerReading {
    /// Each provider's circuit.
    pub providers: Vec<ProviderHealth>,
    /// Whose circuit opened since the last reading, also where it is closed again.
    pub opened: BTreeSet<String>,
    /// How long ago the queue last answered a receive, or the worker began.
    pub last_receive_age: Duration,
    /// By provider: the newest event heard of it, and how many it took since that should have led to one by now.
    pub witnesses: BTreeMap<String, Witness>,
}

/// How long a provider's events are silent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Witness {
    /// How long ago the newest event happened; `None`: there never was one.
    pub newest_age: Option<Duration>,
    /// How many were sent after it and longer ago than silence is allowed.
    pub sent_since: u64,
}

/// What a webhook counted lately.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WebhookReading {
    /// Deliveries in [`RATE_WINDOW`].
    pub delivered: u64,
    /// Bounces in it.
    pub bounced: u64,
    /// Complaints in it.
    pub complained: u64,
    /// Posts taken in [`POST_WINDOW`].
    pub posts_taken: u64,
    /// Posts in it whose signature was refused.
    pub posts_refused: u64,
    /// How long the oldest event that waits to be folded has waited; `None`: none does, as far as can be seen.
    pub oldest_waiting: Option<Duration>,
}

/// What was sent and not heard of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unconfirmed {
    /// Of which nothing was heard.
    pub processed: u64,
    /// Of which no end was.
    pub end: u64,
    /// There may be more.
    pub at_least: bool,
}

/// A tenant that hands in far more than usual.
#[derive(Clone, Debug, PartialEq)]
pub struct Unusual {
    /// Who.
    pub tenant: String,
    /// How many a minute now.
    pub per_minute: f64,
    /// How many a minute usually.
    pub usual: f64,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// What.
    pub alert: AlertName,
    /// With which provider, tenant or reason, where there may be several.
    pub subject: Option<String>,
    /// How bad.
    pub severity: Severity,
    /// One sentence with the numbers. No address, no secret.
    pub summary: String,
    /// How many it concerns; ten times as many are worth saying again.
    pub count: u64,
    /// The command to begin with.
    pub command: String,
    /// One reading is enough.
    pub is_conclusive: bool,
}

impl Finding {
    fn new(alert: AlertName, severity: Severity, summary: String, command: impl Into<String>) -> Self {
        let command = command.into();
        Self { alert, subject: None, severity, summary, count: 1, command, is_conclusive: true }
    }

    fn of(self, subject: &str) -> Self {
        Self { subject: Some(subject.to_owned()), ..self }
    }

    fn counting(self, count: u64) -> Self {
        Self { count, ..self }
    }

    fn not_at_once(self) -> Self {
        Self { is_conclusive: false, ..self }
    }

    /// Its alert's key.
    pub fn key(&self) -> String {
        key(self.alert, self.subject.as_deref())
    }
}

/// The key of an alert: `breaker_open:sendgrid`.
pub fn key(alert: AlertName, subject: Option<&str>) -> String {
    match subject {
        Some(subject) => format!("{}:{subject}", alert.as_str()),
        None => alert.as_str().to_owned(),
    }
}

/// What came of a look.
#[derive(Clone, Debug, Default)]
pub struct Checked {
    /// What is wrong.
    pub findings: Vec<Finding>,
    /// Alerts, or keys of single ones, of which this look can say neither that they are nor that they are not.
    pub unjudged: BTreeSet<String>,
}

impl Checked {
    fn skip(&mut self, alerts: &[AlertName]) {
        self.unjudged.extend(alerts.iter().map(|alert| alert.as_str().to_owned()));
    }

    /// Whether this look says anything about the alert with this key.
    pub fn judges(&self, key: &str) -> bool {
        let name = key.split(':').next().unwrap_or(key);
        !self.unjudged.contains(key) && !self.unjudged.contains(name)
    }
}

/// Everything that is wrong.
pub fn checks(reading: &Reading, limits: &Limits) -> Checked {
    let mut checked = Checked::default();
    mail::check(reading, limits, &mut checked);
    ways::check(reading, limits, &mut checked);
    checked
}

/// A word of a command line, quoted where a shell would not leave it alone.
fn word(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | ':' | '/' | ',');
    if !text.is_empty() && !text.starts_with('-') && text.chars().all(is_plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
#[path = "check_tests.rs"]
mod tests;
