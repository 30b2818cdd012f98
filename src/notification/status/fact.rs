//! What can happen to a notification, and why it may not apply.

use super::{By, Status, Token};
use crate::clock::Timestamp;

/// What the provider or the network answered to one attempt.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// The provider's status code.
    pub http_status: Option<u16>,
    /// Its words, truncated and redacted.
    pub error: Option<String>,
}

/// How many attempts a notification has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttemptLimits {
    /// Attempts that count, resends of unknowns included.
    pub attempts: u32,
    /// Resends of unknowns that count.
    pub unknown_resends: u32,
}

/// Something that happened to a notification. Applied by compare-and-set through [`super::Life::after`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    /// A worker takes it, before any byte is sent.
    Claimed {
        /// Names this claim.
        token: Token,
        /// The provider that will be asked.
        provider: String,
        /// Until then no one else may judge it.
        lease_until: Timestamp,
        /// Until then an unknown outcome is not resent.
        hold_until: Timestamp,
        /// Set when an unknown is resent: the token seen on the attempt that left it unknown.
        resend_of: Option<Token>,
        /// When the claim is refused as exhausted.
        limits: AttemptLimits,
    },
    /// The provider took it. Deliberately not fenced by a token: acceptance is a fact, whoever learns it.
    Accepted {
        /// The provider that took it.
        provider: String,
        /// The provider's id of the message.
        message_id: Option<String>,
        /// The status code, when a worker saw the answer; absent when an event is the evidence.
        http_status: Option<u16>,
    },
    /// Provably not accepted; try again at `due_at`. Fenced: an unfenced version duplicates.
    NotAccepted {
        /// The claim that speaks.
        token: Token,
        /// What was answered.
        answer: Answer,
        /// When to try again.
        due_at: Timestamp,
        /// Whether it counts against the limits (a probe of an ill provider does not).
        counts: bool,
    },
    /// The provider refused this message for good: a dead letter at once.
    Refused {
        /// The claim that speaks.
        token: Token,
        /// What was answered.
        answer: Answer,
        /// The reason code.
        reason: String,
    },
    /// The attempt ended and nobody knows whether the provider took it.
    Unsettled {
        /// The claim that speaks.
        token: Token,
        /// What was answered.
        answer: Answer,
        /// Whether it counts against the limits.
        counts: bool,
        /// When it may be judged instead of at the end of its hold: asking the provider again can settle it.
        again_at: Option<Timestamp>,
    },
    /// Claimed, but provably no byte was sent; nothing is counted.
    PutBack {
        /// The claim that speaks.
        token: Token,
        /// When it may be claimed again.
        due_at: Timestamp,
    },
    /// Attempts or unknown resends are used up, or the policy forbids a resend.
    Parked {
        /// The reason code.
        reason: String,
        /// Held for an operator instead of failed.
        hold: bool,
    },
    /// Its `useful_until` has passed.
    Expired,
    /// Everybody that it is for is on the suppression list.
    Suppressed {
        /// The reason code, such as `suppressed_bounce`.
        reason: String,
    },
    /// Somebody, a standing stop or a guard keeps it back.
    Held {
        /// Who and why.
        by: By,
    },
    /// Somebody lets it go on.
    Released {
        /// Who and why.
        by: By,
    },
    /// Somebody or a standing stop ends it.
    Cancelled {
        /// Who and why.
        by: By,
    },
    /// Somebody sends a dead letter again, with fresh attempts.
    Redriven {
        /// Who and why.
        by: By,
        /// Also what is past its `useful_until`, which is then no more.
        late: bool,
    },
    /// The sweeper saw to it that a queue message exists, and looks again at `wake_at`.
    Enqueued {
        /// When the sweeper looks again.
        wake_at: Timestamp,
    },
}

/// Why a fact does not apply. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is at an end.
    #[error("it is already {0}")]
    Ended(Status),
    /// It is kept back.
    #[error("it is held")]
    Held,
    /// It is not due.
    #[error("it is not due before {due_at}")]
    NotDue {
        /// When it is.
        due_at: Timestamp,
    },
    /// Another attempt is under way, or its outcome is on hold.
    #[error("an attempt is under way or unsettled until {until}")]
    Leased {
        /// When its outcome may be judged.
        until: Timestamp,
    },
    /// The hold is over and the outcome still unknown: the witness rule decides.
    #[error("the outcome of the last attempt is unknown")]
    Unknown {
        /// The token to name in a resend.
        seen: Token,
        /// The provider of that attempt.
        provider: String,
        /// When that attempt ended at the latest.
        ended_at: Timestamp,
        /// Whether the resends are used up.
        exhausted: bool,
    },
    /// The attempts are used up.
    #[error("its attempts are used up")]
    Exhausted,
    /// Its `useful_until` has passed.
    #[error("its useful_until has passed")]
    DeadlineOver,
    /// The claim that speaks is not the latest one.
    #[error("another attempt has taken over")]
    Stale,
    /// The fact does not fit its status.
    #[error("its status {0} does not allow it")]
    NotAllowed(Status),
}
