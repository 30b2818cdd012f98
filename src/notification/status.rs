//! A notification's life: which facts change it, and how. Pure; every adapter applies these very functions.

use std::time::Duration;

use rand::RngExt;
use serde::{Deserialize, Serialize};

use super::OnUnknown;
use crate::clock::Timestamp;
use crate::named::named;

mod act;
mod after;
mod attempt;
mod fact;
pub mod recipient;

pub use act::{Act, ActKind, By};
pub use attempt::{Attempt, AttemptOutcome};
pub use fact::{Answer, AttemptLimits, Fact, Refusal};

/// The status that the outside sees. `Unknown` is derived from time, never written: that is what survives `kill -9`.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    utoipa::ToSchema,
    clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Recorded, waiting for its first attempt.
    Accepted,
    /// Recorded, waiting for its `deliver_at`.
    Scheduled,
    /// Kept back until somebody releases it.
    Held,
    /// A worker is handing it to the provider.
    Attempting,
    /// Not accepted by the provider; waiting for the next attempt.
    Retrying,
    /// An attempt ended without an answer that says whether the provider took it.
    Unknown,
    /// The provider took it.
    Sent,
    /// Dead letter: refused for good, or attempts used up.
    Failed,
    /// Its `useful_until` passed before it could be sent.
    Expired,
    /// An operator or producer stopped it.
    Cancelled,
    /// A recipient is on the suppression list.
    Suppressed,
}

named! {
    /// Every status, in the order of a life.
    Status {
        Accepted: "accepted",
        Scheduled: "scheduled",
        Held: "held",
        Attempting: "attempting",
        Retrying: "retrying",
        Unknown: "unknown",
        Sent: "sent",
        Failed: "failed",
        Expired: "expired",
        Cancelled: "cancelled",
        Suppressed: "suppressed",
    }
}

impl Status {
    /// Whether it lists as unsent: accepted, not handed to a provider, and nobody decided that it should not be.
    /// Dead letters and expired ones stay listed until an operator deals with them.
    pub fn is_unsent(self) -> bool {
        !matches!(self, Status::Sent | Status::Cancelled | Status::Suppressed)
    }

    /// Whether nothing further happens to it by itself.
    pub fn is_end(self) -> bool {
        matches!(
            self,
            Status::Sent | Status::Failed | Status::Expired | Status::Cancelled | Status::Suppressed
        )
    }
}

/// The state that is written. [`Life::status`] derives the [`Status`] from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// See [`Status::Accepted`].
    Accepted,
    /// See [`Status::Scheduled`].
    Scheduled,
    /// See [`Status::Held`].
    Held,
    /// Claimed: [`Status::Attempting`] while the lease lasts, [`Status::Unknown`] after it.
    Attempting,
    /// See [`Status::Retrying`].
    Retrying,
    /// See [`Status::Sent`].
    Sent,
    /// See [`Status::Failed`].
    Failed,
    /// See [`Status::Expired`].
    Expired,
    /// See [`Status::Cancelled`].
    Cancelled,
    /// See [`Status::Suppressed`].
    Suppressed,
}

/// Names one claim: fresh random per claim, so that a stale worker cannot speak for a newer attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Token(pub [u8; 16]);

impl Token {
    /// A fresh random token.
    pub fn fresh() -> Self {
        Self(rand::rng().random())
    }
}

/// The part of a record that moves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Life {
    /// The written state.
    pub state: State,
    /// Since when it is in that state.
    pub state_since: Timestamp,
    /// Why it is there: a short code or an operator's words.
    pub reason: Option<String>,
    /// When it was recorded.
    pub accepted_at: Timestamp,
    /// Not to be sent before.
    pub deliver_at: Option<Timestamp>,
    /// Not to be sent from then on.
    pub useful_until: Option<Timestamp>,
    /// The policy for an unknown outcome.
    pub on_unknown: OnUnknown,
    /// When it may next be claimed.
    pub due_at: Timestamp,
    /// When the sweeper looks at it; `None` at an end and while held without a deadline.
    pub wake_at: Option<Timestamp>,
    /// The latest attempt's number.
    pub attempt: u32,
    /// Attempts that count against the limit.
    pub spent: u32,
    /// Resends of unknowns that count against the limit.
    pub resends: u32,
    /// Whether the attempt under way resends an unknown (its refund then covers both counters).
    pub is_resend: bool,
    /// The latest claim; kept while its outcome is open.
    pub token: Option<Token>,
    /// The end of that claim's lease.
    pub lease_until: Timestamp,
    /// The end of that claim's hold.
    pub hold_until: Timestamp,
    /// The provider of the latest attempt.
    pub provider: Option<String>,
    /// The provider's id of the message.
    pub provider_message_id: Option<String>,
    /// When the provider took it.
    pub sent_at: Option<Timestamp>,
    /// Every attempt, oldest first; above [`Life::KEPT_ATTEMPTS`] the middle ones are dropped.
    pub attempts: Vec<Attempt>,
    /// What people, jobs and guards did to it, oldest first; above [`Life::KEPT_ACTS`] the middle ones are dropped.
    pub acts: Vec<Act>,
}

impl Life {
    /// How many attempts a record keeps: the limits allow far fewer, but probes in a long outage do not count.
    pub const KEPT_ATTEMPTS: usize = 50;

    /// How many acts a record keeps.
    pub const KEPT_ACTS: usize = 20;

    /// The sweeper looks at a fresh notification after this long, in case the crash came before its queue message.
    pub const FIRST_LOOK: Duration = Duration::from_secs(60);

    /// Queue messages wait at most this long (the longest SQS delay); longer waits live in the log.
    pub const LONGEST_QUEUE_WAIT: Duration = Duration::from_secs(900);

    /// A life that begins at `now`.
    pub fn accepted(
        now: Timestamp,
        deliver_at: Option<Timestamp>,
        useful_until: Option<Timestamp>,
        on_unknown: OnUnknown,
    ) -> Self {
        let later = deliver_at.filter(|at| *at > now);
        let mut life = Self {
            state: if later.is_some() { State::Scheduled } else { State::Accepted },
            state_since: now,
            reason: None,
            accepted_at: now,
            deliver_at,
            useful_until,
            on_unknown,
            due_at: later.unwrap_or(now),
            wake_at: None,
            attempt: 0,
            spent: 0,
            resends: 0,
            is_resend: false,
            token: None,
            lease_until: now,
            hold_until: now,
            provider: None,
            provider_message_id: None,
            sent_at: None,
            attempts: Vec::new(),
            acts: Vec::new(),
        };
        life.schedule_wake(now);
        life
    }

    /// The status at `now`.
    pub fn status(&self, now: Timestamp) -> Status {
        match self.state {
            State::Accepted => Status::Accepted,
            State::Scheduled if self.due_at > now => Status::Scheduled,
            State::Scheduled => Status::Accepted,
            State::Held => Status::Held,
            State::Attempting if self.lease_until > now => Status::Attempting,
            State::Attempting => Status::Unknown,
            State::Retrying => Status::Retrying,
            State::Sent => Status::Sent,
            State::Failed => Status::Failed,
            State::Expired => Status::Expired,
            State::Cancelled => Status::Cancelled,
            State::Suppressed => Status::Suppressed,
        }
    }

    /// Since when the status at `now` holds.
    pub fn status_since(&self, now: Timestamp) -> Timestamp {
        match self.state {
            State::Attempting if self.lease_until <= now => self.lease_until,
            State::Scheduled if self.due_at <= now => self.due_at,
            _ => self.state_since,
        }
    }

    /// When the next attempt may happen by itself; `None` when none will.
    pub fn next_attempt_at(&self, now: Timestamp) -> Option<Timestamp> {
        match self.status(now) {
            Status::Accepted | Status::Scheduled | Status::Retrying => Some(self.due_at.max(now)),
            Status::Unknown if self.on_unknown == OnUnknown::Resend => Some(self.hold_until.max(now)),
            _ => None,
        }
    }

    /// From when the wait for it counts: its acceptance, or its `deliver_at` if that is later.
    pub fn ready_at(&self) -> Timestamp {
        self.deliver_at.map_or(self.accepted_at, |at| at.max(self.accepted_at))
    }

    /// When it was last released: a stop that was set earlier does not concern it any more.
    pub fn released_at(&self) -> Option<Timestamp> {
        self.acts.iter().rev().find(|act| act.kind == ActKind::Released).map(|act| act.at)
    }

    /// How long to let a queue message wait; `None` when the wait is the log's (too long, or nothing to wait for).
    pub fn queue_delay(&self, now: Timestamp) -> Option<Duration> {
        let until = match self.state {
            State::Accepted | State::Scheduled | State::Retrying => self.due_at,
            State::Attempting => self.hold_until,
            _ => return None,
        };
        let wait = until.since(now);
        (wait <= Self::LONGEST_QUEUE_WAIT).then_some(wait)
    }

    /// Sets when the sweeper looks: at the deadline, or when a long wait is over, or soon in case of a crash.
    fn schedule_wake(&mut self, now: Timestamp) {
        let look = match self.state {
            State::Accepted | State::Scheduled | State::Retrying => Some(self.due_at),
            State::Attempting => Some(self.hold_until),
            State::Held => None,
            State::Sent | State::Failed | State::Expired | State::Cancelled | State::Suppressed => {
                self.wake_at = None;
                return;
            }
        };
        let look = look.map(|at| {
            let long = at.since(now) > Self::LONGEST_QUEUE_WAIT;
            if long { at } else { at.max(now).plus(Self::FIRST_LOOK) }
        });
        self.wake_at = match (look, self.useful_until) {
            (Some(look), Some(deadline)) => Some(look.min(deadline)),
            (look, deadline) => look.or(deadline),
        };
    }
}
