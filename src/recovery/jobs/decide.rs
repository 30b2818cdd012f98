//! What a job does next, decided purely.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::jobs::{Action, Job, JobState, Lease};
use crate::message_log::Record;
use crate::notification::status::{AttemptOutcome, Life, Refusal, State, Status};

/// Above which share of failures a canary stops the job, in percent, where the operator named none.
pub const CANARY_PERCENT: u32 = 10;
/// Before so many outcomes are known, a share says nothing.
const LEAST_KNOWN: u64 = 10;
/// For how long what becomes of the last ones is awaited.
pub const WATCHED: Duration = Duration::from_secs(24 * 3600);

/// What a notification of a page needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// The act.
    Act,
    /// Nothing: the job did it before a crash and did not come to count it.
    WasDone,
    /// Nothing: why it is not part of the job any more.
    Nothing(&'static str),
}

/// What this notification of the job's page needs now, whatever happened since the page was written down. Pure.
pub fn need(job: &Job, record: Option<&Record>, now: Timestamp) -> Need {
    let Some(record) = record else { return Need::Nothing("absent") };
    let tenant = job.selection.tenant.as_ref();
    if tenant.is_some_and(|tenant| *tenant != record.tenant) {
        // Nobody is to learn of other tenants' ids.
        Need::Nothing("absent")
    } else if did(job, &record.life) {
        Need::WasDone
    } else if !job.selection.fits(record, now) {
        Need::Nothing("not_matching")
    } else if !job.action.concerns(record.life.status(now), job.pace.late) {
        Need::Nothing("changed")
    } else {
        Need::Act
    }
}

/// Whether the job has acted on it already.
pub fn did(job: &Job, life: &Life) -> bool {
    let name = job.name();
    life.acts.iter().any(|act| act.who == name)
}

/// Whether a listed one belongs to the job. What came into that state later, also by failing again, does not. Pure.
pub fn belongs(job: &Job, life: &Life) -> bool {
    let came_later = match job.action {
        Action::Redrive | Action::Release => life.state_since > job.created_at,
        Action::Hold | Action::Cancel => false,
    };
    !came_later && !did(job, life)
}

/// The short code under which a refusal is counted.
pub fn code(refusal: &Refusal) -> &'static str {
    match refusal {
        Refusal::DeadlineOver => "deadline_over",
        Refusal::Leased { .. } => "on_the_wire",
        Refusal::Ended(_)
        | Refusal::Held
        | Refusal::NotDue { .. }
        | Refusal::Unknown { .. }
        | Refusal::Exhausted
        | Refusal::Stale
        | Refusal::NotAllowed(_) => "changed",
    }
}

/// What became of one that was redriven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Nothing yet.
    Pending,
    /// An attempt failed; it is tried again.
    Failing,
    /// A provider took it.
    Sent,
    /// It failed for good once more.
    Failed,
    /// Held, cancelled or expired meanwhile.
    Stopped,
}

/// What became of one that was redriven at `since`. Pure.
pub fn fate(life: Option<&Life>, since: Timestamp) -> Fate {
    let Some(life) = life else { return Fate::Stopped };
    match life.state {
        State::Sent => Fate::Sent,
        State::Failed => Fate::Failed,
        State::Held | State::Expired | State::Cancelled | State::Suppressed => Fate::Stopped,
        State::Accepted | State::Scheduled | State::Attempting | State::Retrying => {
            let failed = |outcome| matches!(outcome, AttemptOutcome::NotAccepted | AttemptOutcome::Unknown);
            let failing = life.attempts.iter().any(|one| one.started_at >= since && failed(one.outcome));
            if failing { Fate::Failing } else { Fate::Pending }
        }
    }
}

/// What became of one that was on the wire when it was to be held or cancelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    /// Still there.
    On,
    /// It went out.
    Out,
    /// It came back unsent, and is now to be stopped.
    Back,
    /// It came back, and was stopped on its way.
    Stopped,
    /// It ended otherwise.
    Over,
}

/// Where one is that was on the wire. Pure.
pub fn wire(action: Action, life: Option<&Life>, now: Timestamp) -> Wire {
    let Some(life) = life else { return Wire::Over };
    match life.status(now) {
        Status::Sent => Wire::Out,
        Status::Attempting => Wire::On,
        Status::Held if action == Action::Hold => Wire::Stopped,
        Status::Cancelled if action == Action::Cancel => Wire::Stopped,
        status if action.concerns(status, false) => Wire::Back,
        _ => Wire::Over,
    }
}

/// How many of those whose outcome is known lately went well.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// Sent.
    pub good: u64,
    /// Failed for good, or in an attempt.
    pub bad: u64,
}

impl Known {
    /// Whether more than `percent` of at least `least` went badly.
    fn is_over(self, percent: u32, least: u64) -> bool {
        let known = self.good + self.bad;
        known >= least.max(1) && self.bad * 100 > u64::from(percent) * known
    }
}

/// All that the next step depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Situation {
    /// How the job stands.
    pub state: JobState,
    /// To how many it was done.
    pub done: u64,
    /// Of the plan.
    pub canary: Option<u32>,
    /// Of the plan.
    pub stop_above_percent: Option<u32>,
    /// Of those whose outcome is known.
    pub known: Known,
    /// How many outcomes are awaited.
    pub awaited: usize,
    /// Of these, how many had an attempt that failed.
    pub failing: usize,
    /// How many more the pace and the window of the awaited let go now.
    pub allowed: usize,
    /// How long outcomes have been awaited without any change.
    pub unchanged_for: Duration,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Turn the page, to at most so many.
    Page(usize),
    /// Wait: for the pace, or for what becomes of those that were let go.
    Wait,
    /// The canary lives: go on with all the others.
    Proceed,
    /// Too many fail: stop, with these words.
    Stop(String),
    /// The end, with these words.
    Done(Option<String>),
}

/// What to do next. Pure.
pub fn next(here: &Situation) -> Next {
    match here.state {
        JobState::Canary => canary(here),
        JobState::Running => {
            let canary = here.canary.map_or(LEAST_KNOWN, u64::from);
            match here.stop_above_percent {
                Some(percent) if here.known.is_over(percent, LEAST_KNOWN.min(canary)) => {
                    Next::Stop(words(here.known, percent))
                }
                _ if here.allowed > 0 => Next::Page(here.allowed),
                _ => Next::Wait,
            }
        }
        JobState::Watching if here.awaited == 0 => Next::Done(None),
        JobState::Watching if here.unchanged_for > WATCHED => {
            Next::Done(Some(format!("{} were still open after a day without any change", here.awaited)))
        }
        JobState::Watching => Next::Wait,
        JobState::Stopped | JobState::Interrupted | JobState::Done => Next::Done(None),
    }
}

fn canary(here: &Situation) -> Next {
    let wanted = here.canary.map_or(0, u64::from);
    let percent = here.stop_above_percent.unwrap_or(CANARY_PERCENT);
    let missing = usize::try_from(wanted.saturating_sub(here.done)).unwrap_or(usize::MAX);
    if missing > 0 {
        let allowed = missing.min(here.allowed);
        return if allowed > 0 { Next::Page(allowed) } else { Next::Wait };
    }
    if here.awaited > here.failing {
        return Next::Wait;
    }
    if here.known == Known::default() {
        return Next::Stop("nothing of the canary was sent: it was held, cancelled or expired".into());
    }
    if here.known.is_over(percent, 1) { Next::Stop(words(here.known, percent)) } else { Next::Proceed }
}

fn words(known: Known, percent: u32) -> String {
    let Known { good, bad } = known;
    format!("{bad} of {} failed again: more than {percent} percent", good + bad)
}

/// What a process finds when somebody else changed its job meanwhile: with which job to go on; `None` if it is not its
/// own any more. Pure.
pub fn merge(mut ours: Job, theirs: Job, owner: &str) -> Option<Job> {
    if theirs.lease.as_ref().is_none_or(|lease| lease.owner != owner) {
        return None;
    }
    if theirs.state == JobState::Stopped {
        if ours.page != theirs.page {
            // A page that was to be turned now was not written down: nothing of it is done.
            ours.page.clear();
            ours.behind = None;
        }
        (ours.state, ours.note, ours.ended_at) = (theirs.state, theirs.note, theirs.ended_at);
    }
    Some(ours)
}

/// What somebody who looks through the journal does about a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Find {
    /// Do it.
    Take,
    /// Say that the process that did it is gone, or that none took it in time.
    Interrupt(&'static str),
    /// Nothing.
    Leave,
}

/// What to do about a job that was found. `alone`: no other process can be at work on this storage, and this one has
/// just begun. Pure.
pub fn find(job: &Job, now: Timestamp, alone: bool) -> Find {
    const GONE: &str = "the process that did it is gone";
    let is_free = |lease: &Lease| lease.until <= now || alone;
    match (&job.lease, job.state) {
        (_, state) if state.is_active() && alone => Find::Interrupt(GONE),
        (Some(lease), state) if state.is_active() => match (lease.is_offer(), is_free(lease)) {
            (true, false) => Find::Take,
            (true, true) => Find::Interrupt("no process took it within a minute"),
            (false, true) => Find::Interrupt(GONE),
            (false, false) => Find::Leave,
        },
        (None, state) if state.is_active() => Find::Interrupt(GONE),
        // It sends nothing, so it may go on by itself.
        (lease, JobState::Watching) if lease.as_ref().is_none_or(is_free) => Find::Take,
        _ => Find::Leave,
    }
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
