//! The transitions: [`Life::after`], pure and total.

mod operate;

use super::{Answer, Attempt, AttemptOutcome, Fact, Life, Refusal, State, Token};
use crate::clock::Timestamp;

impl Life {
    /// The life after `fact`, learnt at `now`; or why the fact does not apply.
    ///
    /// Total: every fact in every state has an answer. `Sent` is never left, and no fact but an acceptance or an
    /// operator's act leaves another end. A fact that is told twice changes nothing the second time.
    pub fn after(&self, fact: &Fact, now: Timestamp) -> Result<Life, Refusal> {
        let mut life = self.clone();
        match fact {
            Fact::Claimed { .. } => life.claim(fact, now)?,
            Fact::Accepted { provider, message_id, http_status } => {
                life.accept(provider, message_id.as_deref(), *http_status, now);
            }
            Fact::NotAccepted { token, answer, due_at, counts } => {
                life.fence(*token, now)?;
                life.close_attempt(AttemptOutcome::NotAccepted, answer, now);
                life.refund_unless(*counts);
                life.token = None;
                life.due_at = *due_at;
                life.enter(State::Retrying, None, now);
            }
            Fact::Refused { token, answer, reason } => {
                life.fence(*token, now)?;
                life.close_attempt(AttemptOutcome::Refused, answer, now);
                life.token = None;
                life.enter(State::Failed, Some(reason.clone()), now);
            }
            Fact::Unsettled { token, answer, counts, again_at } => {
                life.fence(*token, now)?;
                life.close_attempt(AttemptOutcome::Unknown, answer, now);
                life.refund_unless(*counts);
                life.lease_until = life.lease_until.min(now);
                if let Some(again_at) = again_at {
                    life.hold_until = *again_at;
                    life.schedule_wake(now);
                }
            }
            Fact::PutBack { token, due_at } => {
                life.fence(*token, now)?;
                life.take_claim_back(*due_at, now);
            }
            Fact::Parked { reason, hold } => life.park(reason, *hold, now)?,
            Fact::Expired => life.expire(now)?,
            Fact::Suppressed { reason } => life.suppress(reason, now)?,
            Fact::Held { by } => life.hold(by, now)?,
            Fact::Released { by } => life.release(by, now)?,
            Fact::Cancelled { by } => life.cancel(by, now)?,
            Fact::Redriven { by, late } => life.redrive(by, *late, now)?,
            Fact::Enqueued { wake_at } => life.look_again(*wake_at, now)?,
        }
        Ok(life)
    }

    fn enter(&mut self, state: State, reason: Option<String>, now: Timestamp) {
        self.state = state;
        self.state_since = now;
        self.reason = reason;
        self.schedule_wake(now);
    }

    fn claim(&mut self, fact: &Fact, now: Timestamp) -> Result<(), Refusal> {
        let Fact::Claimed { token, provider, lease_until, hold_until, resend_of, limits } = fact else {
            return Err(Refusal::NotAllowed(self.status(now)));
        };
        match self.state {
            State::Accepted | State::Scheduled | State::Retrying => {
                if self.is_past_deadline(now) {
                    return Err(Refusal::DeadlineOver);
                }
                if self.due_at > now {
                    return Err(Refusal::NotDue { due_at: self.due_at });
                }
                if self.spent >= limits.attempts {
                    return Err(Refusal::Exhausted);
                }
                self.is_resend = false;
            }
            // The storage may apply a claim and lose its answer; the same claim again is the same claim.
            State::Attempting if self.token == Some(*token) && self.is_attempt_open() => return Ok(()),
            State::Attempting if self.hold_until > now => {
                return Err(Refusal::Leased { until: self.hold_until });
            }
            State::Attempting => {
                if self.is_past_deadline(now) {
                    return Err(Refusal::DeadlineOver);
                }
                let exhausted = self.spent >= limits.attempts || self.resends >= limits.unknown_resends;
                if exhausted || *resend_of != self.token || resend_of.is_none() {
                    return Err(self.unknown(exhausted));
                }
                self.close_attempt(AttemptOutcome::Unknown, &Answer::default(), self.lease_until);
                self.is_resend = true;
                self.resends += 1;
            }
            State::Held => return Err(Refusal::Held),
            State::Sent | State::Failed | State::Expired | State::Cancelled | State::Suppressed => {
                return Err(Refusal::Ended(self.status(now)));
            }
        }
        self.attempt += 1;
        self.spent += 1;
        self.token = Some(*token);
        self.lease_until = *lease_until;
        self.hold_until = *hold_until;
        self.provider = Some(provider.clone());
        self.keep_attempt(Attempt {
            number: self.attempt,
            provider: provider.clone(),
            started_at: now,
            ended_at: None,
            outcome: AttemptOutcome::Pending,
            http_status: None,
            error: None,
        });
        self.enter(State::Attempting, None, now);
        Ok(())
    }

    fn unknown(&self, exhausted: bool) -> Refusal {
        Refusal::Unknown {
            seen: self.token.unwrap_or(Token([0; 16])),
            provider: self.provider.clone().unwrap_or_default(),
            ended_at: self.attempts.last().and_then(|last| last.ended_at).unwrap_or(self.lease_until),
            exhausted,
        }
    }

    fn accept(&mut self, provider: &str, message_id: Option<&str>, http_status: Option<u16>, now: Timestamp) {
        if self.state == State::Sent {
            self.complete_acceptance(provider, message_id, http_status);
            return;
        }
        let open = self
            .attempts
            .iter_mut()
            .rev()
            .find(|a| matches!(a.outcome, AttemptOutcome::Pending | AttemptOutcome::Unknown));
        if let Some(attempt) = open {
            attempt.outcome = AttemptOutcome::Accepted;
            attempt.ended_at.get_or_insert(now);
            attempt.http_status = http_status.or(attempt.http_status);
        }
        self.provider_message_id = message_id.map(str::to_owned);
        self.provider = Some(provider.to_owned());
        self.token = None;
        self.sent_at = Some(now);
        self.enter(State::Sent, None, now);
    }

    /// The worker's answer and the provider's event both tell of the one acceptance: the later one only adds what the
    /// former did not know.
    fn complete_acceptance(&mut self, provider: &str, message_id: Option<&str>, http_status: Option<u16>) {
        if self.provider.as_deref() != Some(provider) {
            return;
        }
        if self.provider_message_id.is_none() {
            self.provider_message_id = message_id.map(str::to_owned);
        }
        let accepted = self.attempts.iter_mut().rev().find(|a| a.outcome == AttemptOutcome::Accepted);
        if let Some(attempt) = accepted {
            attempt.http_status = attempt.http_status.or(http_status);
        }
    }

    /// Only the latest claim may speak, and only once: what it settled or put back is not its own any more.
    fn fence(&self, token: Token, now: Timestamp) -> Result<(), Refusal> {
        match self.state {
            State::Attempting if self.token == Some(token) && self.is_attempt_open() => Ok(()),
            _ if self.status(now).is_end() => Err(Refusal::Ended(self.status(now))),
            _ => Err(Refusal::Stale),
        }
    }

    fn is_attempt_open(&self) -> bool {
        self.attempts.last().is_some_and(|a| a.outcome == AttemptOutcome::Pending)
    }

    /// Writes the outcome into the latest attempt if it is still open.
    fn close_attempt(&mut self, outcome: AttemptOutcome, answer: &Answer, ended_at: Timestamp) {
        let Some(attempt) = self.attempts.last_mut().filter(|a| a.outcome == AttemptOutcome::Pending) else {
            return;
        };
        attempt.outcome = outcome;
        attempt.ended_at = Some(ended_at);
        attempt.http_status = answer.http_status;
        attempt.error.clone_from(&answer.error);
    }

    fn keep_attempt(&mut self, attempt: Attempt) {
        if self.attempts.len() >= Self::KEPT_ATTEMPTS {
            self.attempts.remove(Self::KEPT_ATTEMPTS / 2);
        }
        self.attempts.push(attempt);
    }

    fn refund_unless(&mut self, counts: bool) {
        if !counts {
            self.spent = self.spent.saturating_sub(1);
            self.resends = self.resends.saturating_sub(u32::from(self.is_resend));
        }
    }

    /// Undoes a claim of which provably nothing left the house. A resend goes back to being the unknown it was.
    fn take_claim_back(&mut self, due_at: Timestamp, now: Timestamp) {
        self.refund_unless(false);
        self.attempts.pop();
        self.attempt = self.attempt.saturating_sub(1);
        self.provider = self.attempts.last().map(|last| last.provider.clone());
        if self.is_resend {
            self.lease_until = self.lease_until.min(now);
            self.hold_until = due_at;
            self.schedule_wake(now);
            return;
        }
        self.token = None;
        self.due_at = due_at;
        let state = if self.attempts.is_empty() { State::Accepted } else { State::Retrying };
        self.enter(state, None, now);
    }

    fn park(&mut self, reason: &str, hold: bool, now: Timestamp) -> Result<(), Refusal> {
        match self.state {
            State::Accepted | State::Scheduled | State::Retrying => {}
            State::Attempting => self.settle_as_unknown(now)?,
            State::Held => return Err(Refusal::Held),
            _ => return Err(Refusal::Ended(self.status(now))),
        }
        self.enter(if hold { State::Held } else { State::Failed }, Some(reason.to_owned()), now);
        Ok(())
    }

    /// After the claim was put back. An unknown that was to be resent ends too: only evidence may still call it sent.
    fn suppress(&mut self, reason: &str, now: Timestamp) -> Result<(), Refusal> {
        match self.state {
            State::Accepted | State::Scheduled | State::Retrying => {}
            State::Attempting => self.settle_as_unknown(now)?,
            State::Held => return Err(Refusal::Held),
            State::Suppressed => return Ok(()),
            _ => return Err(Refusal::Ended(self.status(now))),
        }
        self.enter(State::Suppressed, Some(reason.to_owned()), now);
        Ok(())
    }

    fn expire(&mut self, now: Timestamp) -> Result<(), Refusal> {
        match self.state {
            State::Accepted | State::Scheduled | State::Retrying | State::Held
                if !self.is_past_deadline(now) =>
            {
                return Err(Refusal::NotAllowed(self.status(now)));
            }
            State::Accepted | State::Scheduled | State::Retrying | State::Held => {}
            State::Attempting if !self.is_past_deadline(now) => {
                return Err(Refusal::NotAllowed(self.status(now)));
            }
            State::Attempting => self.settle_as_unknown(now)?,
            _ => return Err(Refusal::Ended(self.status(now))),
        }
        // Held with an open outcome: whatever comes in now is the provider's acceptance or nothing.
        self.close_attempt(AttemptOutcome::Unknown, &Answer::default(), self.lease_until);
        self.token = None;
        self.enter(State::Expired, Some("deadline_over".into()), now);
        Ok(())
    }

    /// Leaves an attempt whose hold is over behind as unknown. The token goes: only evidence may speak for it now.
    fn settle_as_unknown(&mut self, now: Timestamp) -> Result<(), Refusal> {
        if self.hold_until > now {
            return Err(Refusal::Leased { until: self.hold_until });
        }
        self.close_attempt(AttemptOutcome::Unknown, &Answer::default(), self.lease_until);
        self.token = None;
        Ok(())
    }

    fn look_again(&mut self, wake_at: Timestamp, now: Timestamp) -> Result<(), Refusal> {
        if self.status(now).is_end() {
            return Err(Refusal::Ended(self.status(now)));
        }
        if self.state == State::Held {
            return Err(Refusal::Held);
        }
        // A deadline that is over cannot be looked at earlier: an unsettled outcome must be waited for first.
        let deadline = self.useful_until.filter(|deadline| *deadline > now);
        self.wake_at = Some(deadline.map_or(wake_at, |deadline| deadline.min(wake_at)));
        Ok(())
    }

    fn is_past_deadline(&self, now: Timestamp) -> bool {
        self.useful_until.is_some_and(|deadline| deadline <= now)
    }
}

#[cfg(test)]
#[path = "after_tests.rs"]
mod tests;
