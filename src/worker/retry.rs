//! When to try again: pure functions of what happened, the time and a random number. The only place of the worker that
//! knows delays; their schedule is `jitter`'s.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::jitter::Schedule;
use crate::notification::OnUnknown;
use crate::notification::status::{Answer, AttemptLimits, Fact, Life, State, Token};
use crate::provider::{SendError, SendErrorClass};
use crate::queue::Settlement;

/// How long a message rests that somebody else is seeing to.
pub const SHORT_WAIT: Duration = Duration::from_secs(5);

/// The numbers of the retry policy.
#[derive(Clone, Debug)]
pub struct Policy {
    /// The first retry comes within this.
    pub base: Duration,
    /// No retry waits longer by itself.
    pub cap: Duration,
    /// A provider's `Retry-After` is honoured up to this.
    pub longest_retry_after: Duration,
    /// How long messages wait while the provider refuses us as a whole.
    pub provider_refused_wait: Duration,
    /// How many attempts, and how many resends of unknowns.
    pub limits: AttemptLimits,
    /// An unknown is resent only when the newest event is at least this much later than the attempt's end.
    pub witness_margin: Duration,
    /// Without any witness an unknown is resent after this long all the same.
    pub witness_cap: Duration,
    /// How often an unknown is looked at again while the witness is silent.
    pub witness_poll: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            base: Duration::from_secs(1),
            cap: Duration::from_secs(900),
            longest_retry_after: Duration::from_secs(3600),
            provider_refused_wait: Duration::from_secs(60),
            limits: AttemptLimits { attempts: 12, unknown_resends: 2 },
            witness_margin: Duration::from_secs(60),
            witness_cap: Duration::from_secs(6 * 3600),
            witness_poll: Duration::from_secs(60),
        }
    }
}

/// What an unknown outcome leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// Silence is evidence now: send again.
    Resend,
    /// Nobody knows yet: look again after this.
    Wait(Duration),
    /// No resend: a dead letter, or held for an operator.
    Park(Fact),
}

impl Policy {
    /// How long to wait after the `spent`-th attempt (1 for the first) was not accepted: full jitter below an
    /// exponential ceiling, floored at what the provider asked for. `randomness` is in 0 … 1.
    pub fn delay(&self, spent: u32, retry_after: Option<Duration>, randomness: f64) -> Duration {
        let Self { base, cap, longest_retry_after, .. } = *self;
        Schedule { base, cap, longest_retry_after }.delay(spent, retry_after, randomness)
    }

    /// How long an unknown rests that cannot be resent right now: its provider is ill, or somebody else sees to it.
    pub fn look_again(&self) -> Duration {
        SHORT_WAIT.min(self.witness_poll)
    }

    /// The facts that follow from a failed attempt of `life` (as it was after the claim named `token`).
    ///
    /// `counts`: the provider was well as far as anybody knew; else its failure says nothing of the message.
    pub fn after_failure(
        &self,
        error: &SendError,
        life: &Life,
        token: Token,
        counts: bool,
        now: Timestamp,
        randomness: f64,
    ) -> Vec<Fact> {
        let answer = Answer { http_status: error.http_status, error: Some(error.message.clone()) };
        let not_accepted = |wait: Duration, counts| {
            let due_at = now.plus(wait);
            let due_at = life.useful_until.map_or(due_at, |deadline| due_at.min(deadline));
            Fact::NotAccepted { token, answer: answer.clone(), due_at, counts }
        };
        match error.class {
            SendErrorClass::Refused => {
                let reason = error.http_status.map_or("refused".into(), |status| format!("refused_{status}"));
                vec![Fact::Refused { token, answer, reason }]
            }
            SendErrorClass::ProviderRefused => vec![not_accepted(self.provider_refused_wait, false)],
            SendErrorClass::Unknown => vec![Fact::Unsettled { token, answer, counts }],
            SendErrorClass::NotAccepted | SendErrorClass::Throttled => {
                let wait = self.delay(life.spent, error.retry_after, randomness);
                let mut facts = vec![not_accepted(wait, counts)];
                if counts && life.spent >= self.limits.attempts {
                    facts.push(Fact::Parked { reason: "attempts_exhausted".into(), hold: false });
                }
                facts
            }
        }
    }

    /// The witness rule: silence is evidence only while the webhook is known to be alive and past that time.
    ///
    /// `ended_at`: the end of the attempt in question; `witness`: the newest event time of its provider.
    pub fn judge_unknown(
        &self,
        on_unknown: OnUnknown,
        exhausted: bool,
        ended_at: Timestamp,
        witness: Option<Timestamp>,
        now: Timestamp,
    ) -> Judgement {
        if on_unknown == OnUnknown::Hold || exhausted {
            let hold = on_unknown == OnUnknown::Hold;
            return Judgement::Park(Fact::Parked { reason: "unknown_outcome".into(), hold });
        }
        let heard_past_it = witness.is_some_and(|at| at >= ended_at.plus(self.witness_margin));
        let cap_at = ended_at.plus(self.witness_cap);
        if heard_past_it || now >= cap_at {
            return Judgement::Resend;
        }
        Judgement::Wait(self.witness_poll.min(cap_at.since(now)))
    }
}

/// How the queue message of a notification in this state ends.
pub fn settlement(life: &Life, now: Timestamp) -> Settlement {
    if life.state == State::Failed {
        return Settlement::Dead { reason: life.reason.clone().unwrap_or_default() };
    }
    match life.queue_delay(now) {
        Some(after) => Settlement::Again { after },
        // An end, a hold, or a wait that lives in the log: the sweeper brings it back.
        None => Settlement::Done,
    }
}

#[cfg(test)]
#[path = "retry_tests.rs"]
mod tests;
