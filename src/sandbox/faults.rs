//! What goes wrong, and how often: a plan of faults, as text, as JSON and as values.
//!
//! The text form is a comma list (line ends separate too, `#` starts a comment):
//!
//! ```text
//! KIND[=RATE|=DURATION][:SETTING=VALUE]…      5xx=10%,429=5%:retry-after=2,slow=20%:for=3s,outage:after=10s:for=30s
//! seed=NUMBER                                 where the draws start; the same seed plays the same faults
//! ```
//!
//! A rate is a percentage (`2.5%`) or a fraction (`0.025`); left out it is 100 %. A duration is a number with `ms`,
//! `s`, `m` or `h`. A bare duration stands for `for`: `webhook-delay=30s` is `webhook-delay:for=30s`. The JSON form
//! has the same names: `{"seed":1,"faults":[{"kind":"429","rate":0.05,"retry-after":2}]}`.
//!
//! | kind | what happens | settings |
//! | --- | --- | --- |
//! | `5xx` | an error answer, not accepted | `rate`, `first`, `status` (500…599; else 500, 502, 503 or 504 by draw) |
//! | `4xx` | refused for good, not accepted | `rate`, `first`, `status` (400…499 but 429; else 400) |
//! | `429` | too many requests, not accepted | `rate`, `first`, `retry-after` in seconds |
//! | `slow` | waits before it takes the mail | `rate`, `first`, `for` (3s) |
//! | `reset-before` | TCP reset once the request's head is there, body unread, not accepted | `rate`, `first` |
//! | `reset-after-accept` | takes the mail, then TCP reset instead of an answer | `rate`, `first` |
//! | `timeout-after-accept` | takes the mail, says nothing, resets after a time | `rate`, `first`, `for` (60s) |
//! | `outage` | takes nothing for a time | `after` (0s), `for` (until changed), `mode` (`503`, `refuse`: resets, `timeout`: silence) |
//! | `bounce` | per recipient: ends badly | `rate`, `first`, `type` (`bounce`, `blocked`, `dropped`), `status` (`5.1.1`) |
//! | `defer` | per recipient: `deferred` before `delivered` | `rate`, `first` |
//! | `webhook-duplicate` | per event: posted again in a later post | `rate`, `first` |
//! | `webhook-reorder` | per recipient: its events newest first | `rate`, `first` |
//! | `webhook-drop` | per event: never posted | `rate`, `first` |
//! | `webhook-delay` | per event: posted later | `rate`, `first`, `for` (30s) |
//!
//! `first=N` limits a fault to the first N requests. An outage's clock starts when the plan becomes active.

mod grammar;
mod json;
mod play;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::Path;
use std::time::Duration;

pub(super) use play::{Script, Turn, Verdict};

/// The faults to play, and the seed of their draws.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Where the draws start; without one, the sandbox's own seed.
    pub seed: Option<u64>,
    /// The faults. The order matters only for the draws.
    pub faults: Vec<Fault>,
}

/// One kind of fault, how often and for how long it is played.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What goes wrong.
    pub kind: Kind,
    /// How often. An outage has no rate: always.
    pub rate: Rate,
    /// Only for the first so many requests.
    pub first: Option<u64>,
}

/// A probability in parts per million, so that it survives being written and read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rate(u32);

/// What can go wrong. See the table of this module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An error answer, not accepted.
    ServerError {
        /// 500 … 599; `None` draws one of 500, 502, 503 and 504.
        status: Option<u16>,
    },
    /// Refused for good, not accepted.
    Refused {
        /// 400 … 499 but 429.
        status: u16,
    },
    /// 429, not accepted.
    TooManyRequests {
        /// The `Retry-After` header; `None` leaves it out.
        retry_after_seconds: Option<u32>,
    },
    /// Waits before it takes the mail.
    Slow {
        /// How long.
        by: Duration,
    },
    /// TCP reset, not accepted.
    ResetBefore,
    /// Accepted, then TCP reset.
    ResetAfterAccept,
    /// Accepted, then silence.
    TimeoutAfterAccept {
        /// How long, if the client waits; then TCP reset.
        hold: Duration,
    },
    /// Nothing is accepted for a time.
    Outage {
        /// From the moment the plan becomes active.
        after: Duration,
        /// `None` until the plan is replaced.
        length: Option<Duration>,
        /// How it looks.
        mode: OutageMode,
    },
    /// A recipient ends badly.
    Bounce {
        /// How badly.
        how: BounceType,
        /// The enhanced status code (RFC 3463).
        status: String,
    },
    /// A recipient is deferred before it is delivered.
    Defer,
    /// An event is posted again in a later post.
    WebhookDuplicate,
    /// A recipient's events come newest first.
    WebhookReorder,
    /// An event is never posted.
    WebhookDrop,
    /// An event is posted later.
    WebhookDelay {
        /// How much.
        by: Duration,
    },
}

/// How an outage looks from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutageMode {
    /// A quick 503.
    Answers503,
    /// Every send is reset. The listener stays, so that the faults can still be changed.
    Refuse,
    /// No answer at all.
    Timeout,
}

/// How a recipient ends badly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BounceType {
    /// Refused for good.
    Bounce,
    /// Refused for now.
    Blocked,
    /// Not even tried.
    Dropped,
}

/// What is wrong with a plan, naming the bad part.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("faults: {0}")]
pub struct PlanError(pub(super) String);

impl Rate {
    /// Always.
    pub const ALWAYS: Rate = Rate(1_000_000);

    /// From a fraction, `None` outside 0 … 1. Rounded to a millionth.
    pub fn from_fraction(fraction: f64) -> Option<Self> {
        let rounded = (fraction * 1e6).round();
        (0.0..=1e6).contains(&rounded).then_some(Self(rounded as u32))
    }

    /// As a fraction.
    pub fn fraction(self) -> f64 {
        f64::from(self.0) / 1e6
    }

    fn parts_per_million(self) -> u64 {
        u64::from(self.0)
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, rest) = (self.0 / 10_000, self.0 % 10_000);
        if rest == 0 {
            write!(f, "{whole}%")
        } else {
            write!(f, "{whole}.{}%", format!("{rest:04}").trim_end_matches('0'))
        }
    }
}

impl Kind {
    /// The name in both forms.
    pub fn name(&self) -> &'static str {
        match self {
            Kind::ServerError { .. } => "5xx",
            Kind::Refused { .. } => "4xx",
            Kind::TooManyRequests { .. } => "429",
            Kind::Slow { .. } => "slow",
            Kind::ResetBefore => "reset-before",
            Kind::ResetAfterAccept => "reset-after-accept",
            Kind::TimeoutAfterAccept { .. } => "timeout-after-accept",
            Kind::Outage { .. } => "outage",
            Kind::Bounce { .. } => "bounce",
            Kind::Defer => "defer",
            Kind::WebhookDuplicate => "webhook-duplicate",
            Kind::WebhookReorder => "webhook-reorder",
            Kind::WebhookDrop => "webhook-drop",
            Kind::WebhookDelay { .. } => "webhook-delay",
        }
    }
}

impl Plan {
    /// Reads what `--faults` was given: the name of a file that holds a plan in either form, or a plan itself.
    pub fn load(file_or_spec: &str) -> Result<Self, PlanError> {
        if !Path::new(file_or_spec).is_file() {
            let no_file = |PlanError(error)| PlanError(format!("{error} (and `{file_or_spec}` is no file)"));
            return file_or_spec.parse().map_err(no_file);
        }
        std::fs::read_to_string(file_or_spec)
            .map_err(|error| PlanError(format!("cannot read {file_or_spec}: {error}")))?
            .parse()
    }
}
