//! Jobs: an act on many notifications, planned, shown, paced, stopped and resumed by its journal. This room knows what
//! a job is and where it is kept; `recovery` does it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::clock::Timestamp;
use crate::journal::{self, Journal, JournalError, Kind};
use crate::message_log::{Filter, Order};
use crate::notification::NotificationId;
use crate::notification::address::Address;
use crate::notification::status::Status;
use crate::stops::Scope;

/// For how long a job's record is kept after it was made.
pub const KEPT: std::time::Duration = std::time::Duration::from_secs(400 * 24 * 3600);

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
            Action::Redrive => status == Status::Failed || (late && status == Status::Expired),
            Action::Release => status == Status::Held,
            Action::Hold => !status.is_end() && status != Status::Held,
            Action::Cancel => !matches!(status, Status::Sent | Status::Cancelled | Status::Suppressed),
        }
    }

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Action::Redrive => "redrive",
            Action::Hold => "hold",
            Action::Release => "release",
            Action::Cancel => "cancel",
        }
    }
}

impl Job {
    /// The listing that it goes through, narrowed to what its action concerns.
    pub fn filter(&self) -> Filter {
        let concerned = |status: &Status| self.action.concerns(*status, self.pace.late);
        let asked = &self.selection.statuses;
        let statuses = Status::ALL.into_iter().filter(concerned);
        let Selection { tenant, batch, provider, recipient, reason, since, until, .. } =
            self.selection.clone();
        Filter {
            statuses: statuses.filter(|status| asked.is_empty() || asked.contains(status)).collect(),
            tenant,
            batch,
            provider,
            recipient,
            reason,
            since,
            until,
            order: Order::OldestFirst,
        }
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
