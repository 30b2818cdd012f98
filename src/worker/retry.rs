//! When to try again: pure functions of what happened, the time and a random number. The only place of the worker that
//! knows delays; their schedule is `jitter`'s.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::jitter::Schedule;
use crate::notification::OnUnknown;
use crate::notification::status::{Answer, AttemptLimits, Fact, Life, State, Token};
use crate::provider::{Idempotency, SendError, SendErrorClass};
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

/// An attempt that ended in a failure.
#[derive(Clone, Copy, Debug)]
pub struct Failed<'a> {
    /// The life as it was after the claim.
    pub life: &'a Life,
    /// The claim.
    pub token: Token,
    /// The provider was well as far as anybody knew; else its failure says nothing of the message.
    pub counts: bool,
    /// Until when the same request again tells whether the provider took it; `None` where it never does.
    pub key_until: Option<Timestamp>,
}

/// An outcome that is unknown.
#[derive(Clone, Copy, Debug)]
pub struct Unsettled {
    /// What its producer asked for.
    pub on_unknown: OnUnknown,
    /// Whether its attempts or resends are used up.
    pub exhausted: bool,
    /// The end of the attempt in question, at the latest.
    pub ended_at: Timestamp,
    /// How long events are waited for.
    pub hold: Duration,
    /// Until when the same request again tells whether the provider took it; `None` where it never does.
    pub key_until: Option<Timestamp>,
    /// The newest event time of its provider.
    pub witness: Option<Timestamp>,
    /// Every event that came in before this is folded.
    pub folded_until: Timestamp,
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

    /// How many attempts it has at a provider: a repeat that is known for one cannot be a second mail, so only attempts
    /// are counted there.
    pub fn limits_at(&self, idempotency: Idempotency) -> AttemptLimits {
        match idempotency {
            Idempotency::None => self.limits,
            Idempotency::Key { .. } => AttemptLimits { unknown_resends: self.limits.attempts, ..self.limits },
        }
    }

    /// The facts that follow from a failed attempt.
    pub fn after_failure(
        &self,
        error: &SendError,
        failed: Failed<'_>,
        now: Timestamp,
        randomness: f64,
    ) -> Vec<Fact> {
        let Failed { life, token, counts, key_until } = failed;
        let answer = Answer { http_status: error.http_status, error: Some(error.message.clone()) };
        let by_key = life.on_unknown == OnUnknown::Resend && key_until.is_some_and(|until| until > now);
        let wait = match error.class {
            SendErrorClass::ProviderRefused => self.provider_refused_wait,
            _ => self.delay(life.spent, error.retry_after, randomness),
        };
        let counts = counts && error.class != SendErrorClass::ProviderRefused;
        match error.class {
            SendErrorClass::Refused => {
                let reason = error.http_status.map_or("refused".into(), |status| format!("refused_{status}"));
                vec![Fact::Refused { token, answer, reason }]
            }
            SendErrorClass::Unknown => {
                let again_at = by_key.then(|| now.plus(wait));
                vec![Fact::Unsettled { token, answer, counts, again_at }]
            }
            // That this request was not taken says nothing of the former one, which nobody has waited for here.
            _ if by_key && life.is_resend => {
                vec![Fact::Unsettled { token, answer, counts, again_at: Some(now.plus(wait)) }]
            }
            SendErrorClass::ProviderRefused | SendErrorClass::NotAccepted | SendErrorClass::Throttled => {
                let due_at = now.plus(wait);
                let due_at = life.useful_until.map_or(due_at, |deadline| due_at.min(deadline));
                let mut facts = vec![Fact::NotAccepted { token, answer, due_at, counts }];
                if counts && life.spent >= self.limits.attempts {
                    facts.push(Fact::Parked { reason: "attempts_exhausted".into(), hold: false });
                }
                facts
            }
        }
    }

    /// The witness rule: silence is evidence only while the webhook is known to be alive and past that time. A provider
    /// that knows a repeat for one needs no evidence: the same request again settles it.
    pub fn judge_unknown(&self, case: &Unsettled, now: Timestamp) -> Judgement {
        let Unsettled { on_unknown, exhausted, ended_at, hold, key_until, witness, folded_until } = *case;
        let is_held = on_unknown == OnUnknown::Hold;
        if !is_held && !exhausted && key_until.is_some_and(|until| until > now) {
            return Judgement::Resend;
        }
        let held_until = ended_at.plus(hold);
        if now < held_until {
            return Judgement::Wait(self.witness_poll.min(held_until.since(now)));
        }
        let cap_at = ended_at.plus(self.witness_cap);
        // The evidence may have come in time, and wait to be folded behind others.
        if folded_until < held_until && now < cap_at {
            return Judgement::Wait(self.witness_poll.min(cap_at.since(now)));
        }
        if is_held || exhausted {
            return Judgement::Park(Fact::Parked { reason: "unknown_outcome".into(), hold: is_held });
        }
        let heard_past_it = witness.is_some_and(|at| at >= ended_at.plus(self.witness_margin));
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
