//! What operators do to a notification.

use super::{Answer, AttemptOutcome, Life, Refusal, State};
use crate::clock::Timestamp;
use crate::notification::status::{ActKind, By};

impl Life {
    pub(super) fn hold(&mut self, by: &By, now: Timestamp) -> Result<(), Refusal> {
        match self.state {
            State::Accepted | State::Scheduled | State::Retrying => {}
            // The token stays: released, it is the same unknown again.
            State::Attempting if self.lease_until <= now => {}
            State::Attempting => {
                return Err(Refusal::Leased { until: self.lease_until });
            }
            State::Held => return Ok(()),
            _ => return Err(Refusal::Ended(self.status(now))),
        }
        self.keep_act(ActKind::Held, by, now);
        self.enter(State::Held, Some(by.reason()), now);
        Ok(())
    }

    pub(super) fn release(&mut self, by: &By, now: Timestamp) -> Result<(), Refusal> {
        match self.state {
            State::Held if self.token.is_some() => self.enter(State::Attempting, None, now),
            State::Held => {
                self.due_at = self.due_at.max(now);
                let scheduled = self.attempt == 0 && self.due_at > now;
                let state = match (scheduled, self.attempts.is_empty()) {
                    (true, _) => State::Scheduled,
                    (false, true) => State::Accepted,
                    (false, false) => State::Retrying,
                };
                self.enter(state, None, now);
            }
            _ => return Err(Refusal::NotAllowed(self.status(now))),
        }
        self.keep_act(ActKind::Released, by, now);
        Ok(())
    }

    pub(super) fn cancel(&mut self, by: &By, now: Timestamp) -> Result<(), Refusal> {
        match self.state {
            State::Attempting if self.lease_until > now => {
                return Err(Refusal::Leased { until: self.lease_until });
            }
            State::Cancelled => return Ok(()),
            State::Sent | State::Suppressed => return Err(Refusal::Ended(self.status(now))),
            _ => {}
        }
        self.close_attempt(AttemptOutcome::Unknown, &Answer::default(), self.lease_until);
        self.token = None;
        self.keep_act(ActKind::Cancelled, by, now);
        self.enter(State::Cancelled, Some(by.reason()), now);
        Ok(())
    }

    pub(super) fn redrive(&mut self, by: &By, late: bool, now: Timestamp) -> Result<(), Refusal> {
        match self.state {
            State::Failed | State::Suppressed => {}
            State::Expired if late => {}
            _ => return Err(Refusal::NotAllowed(self.status(now))),
        }
        let is_late = self.is_past_deadline(now);
        if is_late && !late {
            return Err(Refusal::DeadlineOver);
        }
        if is_late {
            self.useful_until = None;
        }
        self.spent = 0;
        self.resends = 0;
        self.due_at = now;
        self.keep_act(if is_late { ActKind::RedrivenLate } else { ActKind::Redriven }, by, now);
        self.enter(State::Retrying, None, now);
        Ok(())
    }
}
