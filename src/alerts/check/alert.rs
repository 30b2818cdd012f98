//! The closed vocabulary of alerts, each with its runbook.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Look at it today.
    Warning,
    /// Look at it now.
    Critical,
}

impl Severity {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Warning => "warning",
            Severity::Critical => "critical",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What can be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AlertName {
    /// The oldest unsent is older than it may be.
    OldestUnsent,
    /// Notifications failed for good.
    DeadLetters,
    /// Queue messages that could not be read.
    Unreadable,
    /// Many outcomes are unknown.
    Unknown,
    /// Unknown outcomes wait for a person.
    UnknownHeld,
    /// A provider refuses us: key, credits, sender.
    ProviderRefused,
    /// A provider is ill.
    BreakerOpen,
    /// The way to a provider is not secure: certificate trouble.
    ProviderTls,
    /// Mail goes by another provider than the preferred one.
    Failover,
    /// Too much of it bounces.
    BounceRate,
    /// Too many recipients complain.
    ComplaintRate,
    /// A tenant hands in far more than usual.
    UnusualRate,
    /// The storm guard keeps some back.
    GuardHeld,
    /// The worker receives nothing.
    NotPolling,
    /// Mail is sent, and no event comes.
    WebhookSilent,
    /// Webhook posts are refused for their signature.
    WebhookRefused,
    /// Events that came in wait to be folded.
    EventsWaiting,
    /// Events that came in could not be folded.
    EventsAside,
    /// Mail was sent, and its provider does not speak of it.
    Unconfirmed,
    /// The message log does not answer.
    LogUnreachable,
    /// The queue does not answer.
    QueueUnreachable,
    /// The journal does not answer.
    JournalUnreachable,
    /// A job's process is gone, and it is not finished.
    JobInterrupted,
    /// A producer's endpoint took nothing for too long, or is gone: it is told nothing any more.
    CallbackPaused,
}

impl AlertName {
    /// Every alert.
    pub const ALL: [AlertName; 24] = [
        AlertName::OldestUnsent,
        AlertName::DeadLetters,
        AlertName::Unreadable,
        AlertName::Unknown,
        AlertName::UnknownHeld,
        AlertName::ProviderRefused,
        AlertName::BreakerOpen,
        AlertName::ProviderTls,
        AlertName::Failover,
        AlertName::BounceRate,
        AlertName::ComplaintRate,
        AlertName::UnusualRate,
        AlertName::GuardHeld,
        AlertName::NotPolling,
        AlertName::WebhookSilent,
        AlertName::WebhookRefused,
        AlertName::EventsWaiting,
        AlertName::EventsAside,
        AlertName::Unconfirmed,
        AlertName::LogUnreachable,
        AlertName::QueueUnreachable,
        AlertName::JournalUnreachable,
        AlertName::JobInterrupted,
        AlertName::CallbackPaused,
    ];

    /// The name in messages, metrics and the journal.
    pub fn as_str(self) -> &'static str {
        match self {
            AlertName::OldestUnsent => "oldest_unsent",
            AlertName::DeadLetters => "dead_letters",
            AlertName::Unreadable => "unreadable_messages",
            AlertName::Unknown => "unknown_outcomes",
            AlertName::UnknownHeld => "unknown_held",
            AlertName::ProviderRefused => "provider_refused",
            AlertName::BreakerOpen => "breaker_open",
            AlertName::ProviderTls => "provider_tls",
            AlertName::Failover => "failover",
            AlertName::BounceRate => "bounce_rate",
            AlertName::ComplaintRate => "complaint_rate",
            AlertName::UnusualRate => "unusual_rate",
            AlertName::GuardHeld => "guard_held",
            AlertName::NotPolling => "not_polling",
            AlertName::WebhookSilent => "webhook_silent",
            AlertName::WebhookRefused => "webhook_refused",
            AlertName::EventsWaiting => "events_waiting",
            AlertName::EventsAside => "events_aside",
            AlertName::Unconfirmed => "unconfirmed",
            AlertName::LogUnreachable => "log_unreachable",
            AlertName::QueueUnreachable => "queue_unreachable",
            AlertName::JournalUnreachable => "journal_unreachable",
            AlertName::JobInterrupted => "job_interrupted",
            AlertName::CallbackPaused => "callback_paused",
        }
    }

    /// Its page in `runbooks/`.
    pub fn runbook(self) -> &'static str {
        match self {
            AlertName::DeadLetters | AlertName::Unreadable | AlertName::JobInterrupted => "dead-letters.md",
            AlertName::ProviderRefused | AlertName::ProviderTls => "provider-refuses-us.md",
            AlertName::BreakerOpen | AlertName::Failover => "provider-outage.md",
            AlertName::Unknown | AlertName::UnknownHeld => "unknown-outcomes.md",
            AlertName::OldestUnsent => "delay.md",
            AlertName::NotPolling => "worker-not-polling.md",
            AlertName::QueueUnreachable => "queue-throttled-or-unreachable.md",
            AlertName::LogUnreachable | AlertName::JournalUnreachable => "table-throttled.md",
            AlertName::BounceRate | AlertName::ComplaintRate | AlertName::UnusualRate => {
                "tenant-floods-or-bounces.md"
            }
            AlertName::Unconfirmed => "unconfirmed.md",
            AlertName::CallbackPaused => "callback-paused.md",
            AlertName::GuardHeld => "duplicate-broadcast.md",
            AlertName::WebhookSilent | AlertName::WebhookRefused => "webhook-silent.md",
            AlertName::EventsWaiting => "events-waiting.md",
            AlertName::EventsAside => "events-aside.md",
        }
    }
}
