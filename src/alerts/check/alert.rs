//! The closed vocabulary of alerts, each with its runbook.

use serde::{Deserialize, Serialize};

use crate::named::named;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Look at it today.
    Warning,
    /// Look at it now.
    Critical,
}

named! {
    /// The milder one first.
    Severity {
        Warning: "warning",
        Critical: "critical",
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

named! {
    /// Every alert.
    AlertName {
        OldestUnsent: "oldest_unsent",
        DeadLetters: "dead_letters",
        Unreadable: "unreadable_messages",
        Unknown: "unknown_outcomes",
        UnknownHeld: "unknown_held",
        ProviderRefused: "provider_refused",
        BreakerOpen: "breaker_open",
        ProviderTls: "provider_tls",
        Failover: "failover",
        BounceRate: "bounce_rate",
        ComplaintRate: "complaint_rate",
        UnusualRate: "unusual_rate",
        GuardHeld: "guard_held",
        NotPolling: "not_polling",
        WebhookSilent: "webhook_silent",
        WebhookRefused: "webhook_refused",
        EventsWaiting: "events_waiting",
        EventsAside: "events_aside",
        Unconfirmed: "unconfirmed",
        LogUnreachable: "log_unreachable",
        QueueUnreachable: "queue_unreachable",
        JournalUnreachable: "journal_unreachable",
        JobInterrupted: "job_interrupted",
        CallbackPaused: "callback_paused",
    }
}

impl AlertName {
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
