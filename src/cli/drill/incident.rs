//! The incidents that can be played: what is handed in, what goes wrong and when, and what it means that it is over.

use std::time::Duration;

/// One incident.
#[derive(Debug)]
pub struct Incident {
    /// As `kakitome drill NAME` calls it.
    pub name: &'static str,
    /// The page to follow, in `runbooks/`.
    pub runbook: &'static str,
    /// What has happened, as far as the operator can know.
    pub story: &'static str,
    /// How many notifications it is played with.
    pub size: usize,
    /// What happens, in order.
    pub script: &'static [Step],
    /// What it means that it is over and was handled well.
    pub goal: Goal,
}

/// What happens next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Bookings come in: this share of the size, in percent.
    Bookings(usize),
    /// A broadcast to a fifth as many readers as the size says, enqueued five times.
    BroadcastFiveTimes,
    /// One tenant's test batch to addresses that do not exist, the whole size; another tenant's bookings go on.
    DummyAddresses,
    /// The provider has these faults from now on, see the sandbox's grammar.
    Provider(&'static str),
    /// The provider takes a new key alone. It lies in `new-provider.key`.
    RevokeKey,
    /// The provider signs its events with a key that the server does not know. The right one lies in
    /// `new-webhook.key`.
    RotateWebhookKey,
    /// The server stands still, neither dead nor alive.
    Hang,
    /// Every queue message is gone.
    PurgeQueue,
    /// The data directory is copied to `backup`.
    Backup,
    /// The machine dies with its disk.
    LoseDisk,
    /// A new version of the configuration is rolled out, with a wrong provider address in it.
    DeployBadly,
    /// Nothing, for a while.
    Wait(Duration),
}

/// What the end is judged by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    /// Each notification was sent once.
    EachSentOnce,
    /// Each was sent once, and the provider's events of each have come in.
    EachTracked,
    /// Nobody got the broadcast more often than the storm guard lets through, and the rest was cancelled.
    SurplusCancelled,
    /// The flood was cancelled as far as it had not gone out; each of the other tenant's was sent once.
    FloodCancelled,
}

/// The broadcast's name, and the flood's.
pub const BATCH: &str = "tos-2026-11";
/// Whose the flood is.
pub const FLOODING_TENANT: &str = "load-test";
/// The storm guard's default: so many of the same to one address within an hour.
pub const MOST_TO_ONE: u64 = 3;

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Every incident.
pub const INCIDENTS: [Incident; 12] = [
    Incident {
        name: "provider-outage",
        runbook: "provider-outage.md",
        story: "The provider answers 503 to everything, for 45 minutes (played in 45 s).",
        size: 10_000,
        script: &[Step::Bookings(1), Step::Provider("outage:for=45s"), Step::Bookings(99)],
        goal: Goal::EachSentOnce,
    },
    Incident {
        name: "delay",
        runbook: "delay.md",
        story: "The provider has become slow. Nothing fails.",
        size: 600,
        script: &[
            Step::Provider("slow:for=900ms"),
            Step::Bookings(100),
            Step::Wait(s(12)),
            Step::Provider("none"),
        ],
        goal: Goal::EachSentOnce,
    },
    Incident {
        name: "key-revoked",
        runbook: "provider-refuses-us.md",
        story: "Somebody has revoked the API key. A new one lies in new-provider.key.",
        size: 200,
        script: &[Step::Bookings(50), Step::RevokeKey, Step::Bookings(50)],
        goal: Goal::EachSentOnce,
    },
    Incident {
        name: "accepts-and-times-out",
        runbook: "unknown-outcomes.md",
        story: "The provider takes mails and does not answer.",
        size: 200,
        script: &[
            Step::Provider("timeout-after-accept=60%"),
            Step::Bookings(100),
            Step::Wait(s(10)),
            Step::Provider("none"),
        ],
        goal: Goal::EachSentOnce,
    },
    Incident {
        name: "dead-letters",
        runbook: "dead-letters.md",
        story: "The provider refused a template for a while; its team has mended it since.",
        size: 300,
        script: &[
            Step::Provider("4xx=40%:status=400"),
            Step::Bookings(100),
            Step::Wait(s(6)),
            Step::Provider("none"),
        ],
        goal: Goal::EachSentOnce,
    },
    Incident {
        name: "duplicate-broadcast",
        runbook: "duplicate-broadcast.md",
        story: "A job has enqueued the broadcast tos-2026-11 five times, each time with keys of its own.",
        size: 5_000,
        script: &[Step::Provider("slow:for=400ms"), Step::BroadcastFiveTimes],
        goal: Goal::SurplusCancelled,
    },
    Incident {
        name: "tenant-flood",
        runbook: "tenant-floods-or-bounces.md",
        story: "A tenant tests with addresses that do not exist: tens of thousands of them.",
        size: 100_000,
        script: &[Step::Provider("bounce=90%,slow:for=50ms"), Step::DummyAddresses],
        goal: Goal::FloodCancelled,
    },
    Incident {
        name: "queue-purged",
        runbook: "queue-or-table-deleted.md",
        story: "Somebody has purged the queue.",
        size: 500,
        script: &[Step::Provider("outage:for=8s"), Step::Bookings(100), Step::PurgeQueue],
        goal: Goal::EachSentOnce,
    },
    Incident {
        name: "webhook-key",
        runbook: "webhook-silent.md",
        story: "Somebody has rotated the webhook's key at the provider. The new one lies in new-webhook.key.",
        size: 200,
        script: &[Step::Bookings(50), Step::RotateWebhookKey, Step::Bookings(50)],
        goal: Goal::EachTracked,
    },
    Incident {
        name: "worker-hung",
        runbook: "worker-not-polling.md",
        story: "The server does not answer. Its process is there.",
        size: 500,
        script: &[Step::Provider("slow:for=200ms"), Step::Bookings(100), Step::Hang],
        goal: Goal::EachSentOnce,
    },
    Incident {
        name: "bad-deploy",
        runbook: "bad-deploy.md",
        story: "A new configuration was rolled out a minute ago.",
        size: 300,
        script: &[Step::Bookings(50), Step::DeployBadly, Step::Bookings(50)],
        goal: Goal::EachSentOnce,
    },
    Incident {
        name: "restore",
        runbook: "restore.md",
        story: "The machine and its disk are lost. The last backup lies in backup, the producer's outbox in outbox.ndjson.",
        size: 300,
        script: &[
            Step::Provider("outage:for=10s"),
            Step::Bookings(50),
            Step::Backup,
            Step::Bookings(50),
            Step::LoseDisk,
        ],
        goal: Goal::EachSentOnce,
    },
];

/// The incident of this name.
pub fn find(name: &str) -> Option<&'static Incident> {
    INCIDENTS.iter().find(|incident| incident.name == name)
}
