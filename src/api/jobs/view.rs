//! Jobs and stops as the outside sees them.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::JobFilter;
use crate::clock::Timestamp;
use crate::jobs::{Action, Job, JobState, Pace, Progress};
use crate::message_log::{Deadline, Group, Record};
use crate::notification::NotificationId;
use crate::notification::status::Status;
use crate::stops::Stop;

/// What a job would meet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = JobPreview)]
pub struct Preview {
    /// How many match, exactly.
    pub matched: u64,
    /// The same by everything that matters, most first.
    pub groups: Vec<GroupView>,
    /// A few of them.
    pub samples: Vec<Sample>,
    /// Of the ids that were named: to which it would not be done, and why; the first 20.
    pub refused: Vec<RefusedView>,
    /// Whether a standing stop comes or goes with it, which also concerns what arrives later.
    pub standing: bool,
}

/// How many there are of one kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = JobGroup)]
pub struct GroupView {
    /// The status.
    pub status: Status,
    /// The reason, if it has one.
    #[schema(required = true)]
    pub reason: Option<String>,
    /// Whose.
    pub tenant: String,
    /// The provider's template, if it is made from one.
    #[schema(required = true)]
    pub template: Option<String>,
    /// How long it is still useful.
    pub deadline: Deadline,
    /// How many.
    pub count: u64,
}

impl From<Group> for GroupView {
    fn from(group: Group) -> Self {
        let Group { status, reason, tenant, template, deadline, count } = group;
        Self { status, reason, tenant, template, deadline, count }
    }
}

/// One of many, without anybody's address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = JobSample)]
pub struct Sample {
    /// Which.
    #[schema(value_type = String, format = "uuid")]
    pub id: NotificationId,
    /// Whose.
    pub tenant: String,
    /// The status.
    pub status: Status,
    /// The reason, if it has one.
    #[schema(required = true)]
    pub reason: Option<String>,
    /// Its first recipient, masked.
    #[schema(required = true)]
    pub to: Option<String>,
    /// Not to be sent from then on.
    #[schema(value_type = Option<String>, format = DateTime, required = true)]
    pub useful_until: Option<Timestamp>,
}

impl Sample {
    pub(super) fn of(record: &Record, now: Timestamp) -> Self {
        Self {
            id: record.id,
            tenant: record.tenant.clone(),
            status: record.life.status(now),
            reason: record.life.reason.clone(),
            to: record.recipients.first().map(|one| one.email.to_string()),
            useful_until: record.life.useful_until,
        }
    }
}

/// One notification to which it would not be done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = JobRefused)]
pub struct RefusedView {
    /// Which.
    #[schema(value_type = String, format = "uuid")]
    pub id: NotificationId,
    /// Why not.
    pub detail: String,
}

/// A job: what was asked, by whom, and what came of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = Job)]
pub struct JobView {
    /// Its id.
    pub id: String,
    /// What it does.
    pub action: Action,
    /// To which; a recipient's address is masked.
    pub filter: JobFilter,
    /// To everything.
    pub all: bool,
    /// How.
    pub pace: Pace,
    /// Who asked for it: the name of an API key.
    pub who: String,
    /// Why, in their words.
    #[schema(required = true)]
    pub reason: Option<String>,
    /// When it was asked for. What failed later than that is not part of it.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// How it stands. `stopped` and `interrupted` jobs go on only when they are resumed.
    pub state: JobState,
    /// Why it stands so.
    #[schema(required = true)]
    pub note: Option<String>,
    /// When it ended or stopped.
    #[schema(value_type = Option<String>, format = DateTime, required = true)]
    pub ended_at: Option<Timestamp>,
    /// What it has done so far. `refused` counts by `deadline_over`, `changed` (its status is another by now),
    /// `not_matching` and `absent`.
    pub progress: Progress,
    /// How many are done and not known yet.
    pub awaited: u64,
}

impl From<Job> for JobView {
    fn from(job: Job) -> Self {
        let selection = job.selection;
        let filter = JobFilter {
            ids: (!selection.ids.is_empty()).then_some(selection.ids),
            status: selection.statuses,
            tenant: selection.tenant,
            batch: selection.batch,
            provider: selection.provider,
            recipient: selection.recipient.map(|address| address.to_string()),
            reason: selection.reason,
            since: selection.since.map(|at| at.to_string()),
            until: selection.until.map(|at| at.to_string()),
        };
        Self {
            id: job.id,
            action: job.action,
            filter,
            all: job.scope.is_some_and(|scope| scope.all),
            pace: job.pace,
            who: job.who,
            reason: job.why,
            created_at: job.created_at,
            state: job.state,
            note: job.note,
            ended_at: job.ended_at,
            progress: job.progress,
            awaited: job.awaited.len() as u64,
        }
    }
}

/// A page of jobs, the latest first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = JobPage)]
pub struct JobsView {
    /// The jobs.
    pub items: Vec<JobView>,
    /// Give it as `cursor` for the next page; null on the last one.
    #[schema(required = true)]
    pub next_cursor: Option<String>,
}

/// What stands stopped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Stops)]
pub struct StopsView {
    /// Each standing stop, the latest first.
    pub items: Vec<Stop>,
}
