//! Jobs: an act on many notifications, planned, shown, paced, stopped and resumed by its journal. This room knows what
//! a job is and where it is kept; `recovery` does it.

mod begin;
mod bell;

pub use begin::New;
pub use bell::{Bell, Rings};

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::clock::Timestamp;
use crate::journal::{self, Journal, JournalError, Kind};
use crate::message_log::{Filter, Order, Record};
use crate::named::named;
use crate::notification::NotificationId;
use crate::notification::address::Address;
use crate::notification::status::{By, Fact, Status};
use crate::stops::Scope;

/// For how long a job's record is kept after it was made.
pub const KEPT: Duration = Duration::from_secs(400 * 24 * 3600);

/// For how long a job that was asked for waits for a process to take it. Later than that, somebody has to ask again: a
/// job must not come to life hours after it was asked for.
pub const OFFERED: Duration = Duration::from_secs(60);

/// How many ids one job may name.
pub const MAX_IDS: usize = 1000;

/// What a job does to each notification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Send a dead letter again, with fresh attempts.
    Redrive,
    /// Keep it back, wherever it waits.
    Hold,
    /// Let a held one go on.
    Release,
    /// Stop it for good.
    Cancel,
}

/// How a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum JobState {
    /// A few are done, and what becomes of them is awaited.
    Canary,
    /// Going through everything that was planned.
    Running,
    /// Everything is done; what becomes of the last ones is still awaited.
    Watching,
    /// It stopped itself, or somebody stopped it; `resume` goes on.
    Stopped,
    /// The process that did it is gone; `resume` goes on, nothing else does.
    Interrupted,
    /// Everything is done and known.
    Done,
}

impl JobState {
    /// Whether it can still set notifications on their way by itself.
    pub fn is_active(self) -> bool {
        matches!(self, JobState::Canary | JobState::Running)
    }
}

/// Which notifications, as asked for and as kept in the journal. Every given field must match.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Selection {
    /// These; empty: all.
    pub ids: Vec<NotificationId>,
    /// Any of these; empty: all that the action concerns.
    pub statuses: Vec<Status>,
    /// Whose.
    pub tenant: Option<String>,
    /// The broadcast.
    pub batch: Option<String>,
    /// The provider of the latest attempt.
    pub provider: Option<String>,
    /// A recipient. Kept in the journal as the record itself keeps it; shown masked.
    pub recipient: Option<Address>,
    /// The reason, to the letter.
    pub reason: Option<String>,
    /// Accepted at or after.
    pub since: Option<Timestamp>,
    /// Accepted before.
    pub until: Option<Timestamp>,
}

/// How a job goes about it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Pace {
    /// At most so many a second; absent: as fast as what was redriven before is being sent.
    pub per_second: Option<u32>,
    /// First so many, then wait for what becomes of them.
    pub canary: Option<u32>,
    /// Stop when more than so many percent of those whose outcome is known failed again.
    pub stop_above_percent: Option<u32>,
    /// Also what is past its `useful_until`.
    pub late: bool,
}

/// What a job has done so far.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct Progress {
    /// How many matched when it was planned.
    pub planned: u64,
    /// To how many it was done.
    pub done: u64,
    /// To how many it was not done, by why.
    pub refused: BTreeMap<String, u64>,
    /// Of those that were redriven: taken by a provider since.
    pub sent: u64,
    /// Of those that were redriven: failed again.
    pub failed: u64,
    /// Of those that were redriven: held, cancelled or expired since.
    pub stopped: u64,
    /// Of those that were held or cancelled: on the wire at that moment.
    pub on_the_wire: u64,
    /// Of those on the wire: went out.
    pub went_out: u64,
}

/// A job, as the journal keeps it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// UUIDv7.
    pub id: String,
    /// What it does.
    pub action: Action,
    /// To which.
    pub selection: Selection,
    /// The standing stop that it sets or lifts, if it concerns more than single notifications.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<Scope>,
    /// How.
    pub pace: Pace,
    /// Who asked for it.
    pub who: String,
    /// Why, in their words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// When it was asked for. What failed later than that is not part of it.
    pub created_at: Timestamp,
    /// How it stands.
    pub state: JobState,
    /// Why it stands so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// The process that does it, and until when nobody else may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<Lease>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    /// How far it is.
    pub progress: Progress,
    /// The listing's cursor behind the last finished page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// The listing's cursor behind the page under way; absent on the last page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub behind: Option<String>,
    /// The page under way, written down before it is begun: after a crash each of these is looked at again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub page: Vec<NotificationId>,
    /// Done, outcome not known yet, with the moment since which it is awaited.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub awaited: Vec<(NotificationId, Timestamp)>,
}

/// Who does a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// A process, fresh random per start.
    pub owner: String,
    /// Until then nobody else may.
    pub until: Timestamp,
}

impl Action {
    /// Whether it does anything to a notification in this status.
    pub fn concerns(self, status: Status, late: bool) -> bool {
        match self {
            Action::Redrive => {
                matches!(status, Status::Failed | Status::Suppressed) || (late && status == Status::Expired)
            }
            Action::Release => status == Status::Held,
            Action::Hold => !status.is_end() && status != Status::Held,
            Action::Cancel => !matches!(status, Status::Sent | Status::Cancelled | Status::Suppressed),
        }
    }

    /// What it is in a notification's life.
    pub fn fact(self, by: By, late: bool) -> Fact {
        match self {
            Action::Redrive => Fact::Redriven { by, late },
            Action::Hold => Fact::Held { by },
            Action::Release => Fact::Released { by },
            Action::Cancel => Fact::Cancelled { by },
        }
    }

    /// Whether it sets a notification on its way, so that the queue must bring it.
    pub fn sets_on_the_way(self) -> bool {
        matches!(self, Action::Redrive | Action::Release)
    }
}

named! {
    /// Every action.
    Action { Redrive: "redrive", Hold: "hold", Release: "release", Cancel: "cancel" }
}

impl Selection {
    /// Whether it names anything.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether a record matches everything but the tenant. Of a selection without ids, a listing has seen to it. Pure.
    pub fn fits(&self, record: &Record, now: Timestamp) -> bool {
        let life = &record.life;
        if self.ids.is_empty() {
            return true;
        }
        let is =
            |wanted: &Option<String>, actual: Option<&str>| wanted.is_none() || wanted.as_deref() == actual;
        let recipient = self.recipient.as_ref().map(|address| address.canonical());
        (self.statuses.is_empty() || self.statuses.contains(&life.status(now)))
            && is(&self.batch, record.batch.as_deref())
            && is(&self.provider, life.provider.as_deref())
            && is(&self.reason, life.reason.as_deref())
            && self.since.is_none_or(|since| life.accepted_at >= since)
            && self.until.is_none_or(|until| life.accepted_at < until)
            && recipient
                .is_none_or(|wanted| record.recipients.iter().any(|one| one.email.canonical() == wanted))
    }

    /// The listing of what `action` concerns among these; `None` where it concerns none of the statuses asked for.
    pub fn filter(&self, action: Action, late: bool) -> Option<Filter> {
        let Self { statuses: asked, tenant, batch, provider, recipient, reason, since, until, .. } =
            self.clone();
        // Whoever is on the suppression list gets nothing by the way: that is asked for by name.
        let is_asked = |status: &Status| match asked.is_empty() {
            true => *status != Status::Suppressed || action != Action::Redrive,
            false => asked.contains(status),
        };
        let is_meant = |status: &Status| action.concerns(*status, late) && is_asked(status);
        let statuses: Vec<_> = Status::ALL.into_iter().filter(is_meant).collect();
        let order = Order::OldestFirst;
        // To the log no status means every status.
        (!statuses.is_empty()).then_some(Filter {
            statuses,
            tenant,
            batch,
            recipient,
            provider,
            reason,
            since,
            until,
            order,
        })
    }
}

impl Job {
    /// The listing that it goes through; `None` where nothing can match.
    pub fn filter(&self) -> Option<Filter> {
        self.selection.filter(self.action, self.pace.late)
    }

    /// In whose name it acts; a notification's record names the job, and the job its author.
    pub fn name(&self) -> String {
        format!("job {}", self.id)
    }

    /// What it does to a notification.
    pub fn fact(&self) -> Fact {
        self.action.fact(By::new(self.name(), self.why.as_deref()), self.pace.late)
    }

    /// Until when its record is kept.
    pub fn keep_until(&self) -> Timestamp {
        self.created_at.plus(KEPT)
    }

    /// Whether it can be resumed.
    pub fn is_resumable(&self) -> bool {
        matches!(self.state, JobState::Stopped | JobState::Interrupted)
    }

    /// Offers it to whichever process takes it first.
    pub fn offer(&mut self, now: Timestamp) {
        self.lease = Some(Lease { owner: String::new(), until: now.plus(OFFERED) });
    }

    /// Goes on where it ended. What was awaited is judged by what happens from now on.
    pub fn resume(&mut self, now: Timestamp) {
        let canary = self.pace.canary.map_or(0, u64::from);
        self.state = if self.progress.done < canary { JobState::Canary } else { JobState::Running };
        (self.note, self.ended_at) = (None, None);
        self.awaited.iter_mut().for_each(|(_, since)| *since = now);
        self.offer(now);
    }

    /// Ends it, for now or for good.
    pub fn end(&mut self, state: JobState, note: Option<String>, now: Timestamp) {
        (self.state, self.note, self.ended_at, self.lease) = (state, note, Some(now), None);
    }
}

impl Lease {
    /// Whether no process has taken the job yet.
    pub fn is_offer(&self) -> bool {
        self.owner.is_empty()
    }
}

/// One job.
pub async fn get(journal: &dyn Journal, id: &str) -> Result<Option<Job>, JournalError> {
    journal.get(Kind::Job, id).await?.map(|document| document.read()).transpose()
}

/// The latest jobs first.
pub async fn list(
    journal: &dyn Journal,
    after: Option<&str>,
    limit: usize,
) -> Result<Vec<Job>, JournalError> {
    journal.list(Kind::Job, after, limit).await?.iter().map(journal::Document::read).collect()
}
