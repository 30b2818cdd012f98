//! What happens next to a notification by itself, when, and why: from its life, the policy, the stop that concerns it,
//! and the newest event of its provider. Pure.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Door;
use super::view::RecordView;
use crate::clock::Timestamp;
use crate::message_log::Record;
use crate::notification::OnUnknown;
use crate::notification::status::{ActKind, AttemptLimits, Life, Status};
use crate::provider::Idempotency;
use crate::stops::{Candidate, Stop, StopKind};

/// The numbers of the retry policy that tell what comes next. They must be the worker's.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// How many attempts, and how many resends of unknowns.
    pub limits: AttemptLimits,
    /// An unknown is resent only when the newest event is at least this much later than the attempt's end.
    pub witness_margin: Duration,
    /// Without any witness an unknown is resent after this long all the same.
    pub witness_cap: Duration,
    /// Providers that know a repeated request for one, by name.
    pub keyed: &'static [(&'static str, Idempotency)],
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            limits: AttemptLimits { attempts: 12, unknown_resends: 2 },
            witness_margin: Duration::from_secs(60),
            witness_cap: Duration::from_secs(6 * 3600),
            keyed: &[],
        }
    }
}

/// What happens next by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// It is handed to a provider.
    Attempt,
    /// The attempt under way ends, with an answer or without.
    Answer,
    /// It is sent again, unless an event says that it was taken.
    Resend,
    /// Its `useful_until` ends it.
    Expire,
    /// It is kept back.
    Hold,
    /// It is ended by a standing cancellation.
    Cancel,
    /// It becomes a dead letter.
    Fail,
    /// Nothing.
    Nothing,
}

/// What happens next, when, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Next {
    /// What.
    pub what: Step,
    /// When at the earliest; null when no time is known.
    #[schema(value_type = Option<String>, format = DateTime, required = true)]
    pub at: Option<Timestamp>,
    /// When at the latest, where that differs; null where it does not, or nobody can say.
    #[schema(value_type = Option<String>, format = DateTime, required = true)]
    pub latest: Option<Timestamp>,
    /// Why, for people.
    pub why: String,
}

impl Next {
    fn new(what: Step, at: impl Into<Option<Timestamp>>, why: impl Into<String>) -> Self {
        Self { what, at: at.into(), latest: None, why: why.into() }
    }
}

/// What happens next at `now` to what lives this life. `stop`: the one that concerns it; `witness`: the newest event
/// of its provider, where its outcome is unknown.
pub fn next_action(
    life: &Life,
    policy: &Policy,
    stop: Option<&Stop>,
    witness: Option<Timestamp>,
    now: Timestamp,
) -> Next {
    let deadline = life.useful_until;
    match life.status(now) {
        Status::Accepted | Status::Scheduled | Status::Retrying => {
            let at = life.due_at.max(now);
            if let Some(next) = expiry(deadline, at, now) {
                return next;
            }
            if let Some(stop) = stop {
                return stopped(stop, at);
            }
            if life.spent >= policy.limits.attempts {
                return Next::new(Step::Fail, at, "its attempts are used up");
            }
            Next::new(Step::Attempt, at, why_attempt(life, now))
        }
        Status::Attempting => Next {
            what: Step::Answer,
            at: None,
            latest: Some(life.lease_until),
            why: "a worker hands it to the provider; without an answer by then its outcome is unknown".into(),
        },
        Status::Unknown => unknown(life, policy, stop, witness, now),
        Status::Held => held(life, now),
        Status::Sent => Next::new(Step::Nothing, None, "the provider took it; its events follow"),
        Status::Failed => Next::new(
            Step::Nothing,
            None,
            "a dead letter: nothing until an operator redrives it or cancels it, which takes it off the list",
        ),
        Status::Expired => Next::new(
            Step::Nothing,
            None,
            "its useful_until has passed: nothing, unless an operator redrives it late; cancel takes it off the list",
        ),
        Status::Cancelled => Next::new(Step::Nothing, None, "it was cancelled"),
        Status::Suppressed => Next::new(
            Step::Nothing,
            None,
            "everybody it is for is on the suppression list: nothing, unless an operator removes an address there and \
             redrives it",
        ),
    }
}

/// Its end, where its deadline comes no later than what would come at `at`.
fn expiry(deadline: Option<Timestamp>, at: Timestamp, now: Timestamp) -> Option<Next> {
    let deadline = deadline.filter(|deadline| *deadline <= at)?;
    let why = match deadline <= now {
        true => "its useful_until has passed; whoever looks at it next ends it",
        false => "its useful_until passes before it may be sent",
    };
    Some(Next::new(Step::Expire, deadline.max(now), why))
}

fn stopped(stop: &Stop, at: Timestamp) -> Next {
    match stop.kind {
        StopKind::Hold => Next::new(Step::Hold, at, format!("a standing stop keeps it back: {stop}")),
        StopKind::Cancel => Next::new(Step::Cancel, at, format!("a standing stop ends it: {stop}")),
    }
}

fn why_attempt(life: &Life, now: Timestamp) -> String {
    let number = life.attempt + 1;
    let redriven = life.acts.last().filter(|act| {
        matches!(act.kind, ActKind::Redriven | ActKind::RedrivenLate) && act.at >= life.state_since
    });
    let cause = match (life.status(now), redriven) {
        (_, Some(act)) => format!("attempt {number}; redriven by {}", act.who),
        (Status::Scheduled, _) => "its deliver_at; until then it waits in the log".into(),
        (Status::Retrying, _) => format!("attempt {number}; the provider did not take the last one"),
        _ => format!("attempt {number}"),
    };
    if life.due_at > now {
        return cause;
    }
    match life.wake_at.filter(|at| *at > now) {
        Some(at) => {
            format!("{cause}; due, the queue brings it to a worker, and if it lost it, the sweeper at {at}")
        }
        None => format!("{cause}; due, the queue brings it to a worker"),
    }
}

/// The witness rule: an event settles it; silence counts only once events from after it are known to arrive.
fn unknown(
    life: &Life,
    policy: &Policy,
    stop: Option<&Stop>,
    witness: Option<Timestamp>,
    now: Timestamp,
) -> Next {
    let at = life.hold_until.max(now);
    let provider = life.provider.as_deref().unwrap_or("the provider");
    let settles = format!("an event of {provider} about it settles it as sent");
    if let Some(deadline) = life.useful_until.filter(|deadline| *deadline <= at) {
        let why =
            format!("{settles}; without one its useful_until ({deadline}) ends it: it is not sent again");
        return Next::new(Step::Expire, deadline.max(at), why);
    }
    if life.on_unknown == OnUnknown::Hold {
        let why =
            format!("{settles}; without one it is held for an operator, as its on_unknown says: not resent");
        return Next::new(Step::Hold, at, why);
    }
    let keyed = policy.keyed.iter().find(|(name, _)| *name == provider);
    let key_until = keyed.and_then(|(_, key)| key.settles_until(life, provider)).filter(|until| *until > at);
    let is_used_up = key_until.is_none() && life.resends >= policy.limits.unknown_resends;
    if life.spent >= policy.limits.attempts || is_used_up {
        let why = format!("{settles}; without one it is a dead letter: its resends are used up");
        return Next::new(Step::Fail, at, why);
    }
    if let Some(stop) = stop {
        return Next { why: format!("{settles}; {}", stopped(stop, at).why), ..stopped(stop, at) };
    }
    if key_until.is_some() {
        let why = format!(
            "{settles}; sent again under the same key, which {provider} answers without a second mail"
        );
        return Next::new(Step::Resend, at, why);
    }
    let ended_at = life.attempts.last().and_then(|last| last.ended_at).unwrap_or(life.lease_until);
    let past = ended_at.plus(policy.witness_margin);
    if witness.is_some_and(|witness| witness >= past) {
        let why = format!(
            "{settles}; none came although later events did, so it is sent again when its hold is over"
        );
        return Next::new(Step::Resend, at, why);
    }
    let cap = ended_at.plus(policy.witness_cap).max(at);
    let late = match life.useful_until.filter(|deadline| *deadline <= cap) {
        Some(deadline) => format!("its useful_until ({deadline}) ends it otherwise"),
        None => format!("without any such event it is sent again at {cap}"),
    };
    let why = format!(
        "{settles}; sent again once {provider}'s events from {past} or later arrive without it; {late}"
    );
    let latest =
        Some(cap).filter(|cap| *cap > at && life.useful_until.is_none_or(|deadline| deadline > *cap));
    Next { latest, ..Next::new(Step::Resend, at, why) }
}

fn held(life: &Life, now: Timestamp) -> Next {
    let by = life.acts.iter().rev().find(|act| act.kind == ActKind::Held);
    let by = by.map_or_else(String::new, |act| format!(" by {}", act.who));
    match life.useful_until {
        Some(deadline) => {
            let why = format!("held{by}: if nobody releases it before, its useful_until ends it");
            Next::new(Step::Expire, deadline.max(now), why)
        }
        None => Next::new(Step::Nothing, None, format!("held{by}: nothing until an operator releases it")),
    }
}

impl Door {
    /// The record with what happens next; what the log cannot say of the provider's events is taken for silence.
    pub(super) async fn view(&self, record: Record, now: Timestamp) -> RecordView {
        let unknown_at = (record.life.status(now) == Status::Unknown).then_some(&record.life.provider);
        let witness = match unknown_at {
            Some(Some(provider)) => self.state.log.witness(provider).await.ok().flatten(),
            _ => None,
        };
        self.view_with(record, witness, now)
    }

    /// The same without asking the log for the provider's events: for listings.
    pub(super) fn view_with(&self, record: Record, witness: Option<Timestamp>, now: Timestamp) -> RecordView {
        let life = &record.life;
        let stop = self.state.stops.judge(&Candidate {
            id: record.id,
            tenant: &record.tenant,
            batch: record.batch.as_deref(),
            accepted_at: life.accepted_at,
            released_at: life.released_at(),
        });
        let next = next_action(life, &self.state.config.policy, stop.as_ref(), witness, now);
        RecordView { next: Some(next), ..RecordView::of(record, &self.state.machines.rules(now), now) }
    }
}

#[cfg(test)]
#[path = "next_tests.rs"]
mod tests;
