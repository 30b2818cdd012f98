//! The jobs that an operator must know of: what still does something, and what was left before its end.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::evidence::{self, Read};
use crate::api::ApiState;
use crate::clock::Timestamp;
use crate::jobs::{self, Action, Job, JobState};

/// So many of the latest jobs are looked at.
pub const LATEST: usize = 500;

/// One job in short.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = StatusJob)]
pub struct JobLine {
    /// Its id.
    pub id: String,
    /// What it does.
    pub action: Action,
    /// How it stands.
    pub state: JobState,
    /// It says that it runs, and its process has not been heard of in time: it may be interrupted.
    pub is_orphaned: bool,
    /// Whose notifications it concerns; null: all.
    #[schema(required = true)]
    pub tenant: Option<String>,
    /// Who asked for it.
    pub who: String,
    /// Why.
    #[schema(required = true)]
    pub why: Option<String>,
    /// When it was asked for.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// Why it stands so.
    #[schema(required = true)]
    pub note: Option<String>,
    /// How many it was planned for.
    pub planned: u64,
    /// To how many it was done.
    pub done: u64,
    /// To how many it was not done.
    pub refused: u64,
    /// How many are left.
    pub left: u64,
}

impl JobLine {
    fn of(job: Job, now: Timestamp) -> Self {
        let refused = job.progress.refused.values().sum();
        let planned_left = job.progress.planned.saturating_sub(job.progress.done + refused);
        // A page that was begun counts as work, also where the plan's count was overtaken.
        let left = planned_left.max(u64::try_from(job.page.len()).unwrap_or(u64::MAX));
        Self {
            is_orphaned: job.state.is_active() && job.lease.is_some_and(|lease| lease.until <= now),
            id: job.id,
            action: job.action,
            state: job.state,
            tenant: job.selection.tenant,
            who: job.who,
            why: job.why,
            created_at: job.created_at,
            note: job.note,
            planned: job.progress.planned,
            done: job.progress.done,
            refused,
            left,
        }
    }

    /// Whether an operator must know of it.
    fn is_told(&self) -> bool {
        match self.state {
            JobState::Canary | JobState::Running | JobState::Watching => true,
            JobState::Stopped | JobState::Interrupted => self.left > 0,
            JobState::Done => false,
        }
    }

    /// Whether it can still set something on its way: by itself, or because it was cut off in the middle. What somebody
    /// stopped stays stopped.
    pub fn can_send(&self) -> bool {
        match self.state {
            JobState::Canary | JobState::Running => true,
            JobState::Interrupted => self.left > 0,
            JobState::Watching | JobState::Stopped | JobState::Done => false,
        }
    }
}

/// Those among the latest that an operator must know of.
pub(super) async fn read(state: &ApiState, now: Timestamp) -> Read<Vec<JobLine>> {
    let listed = evidence::within(jobs::list(&*state.journal, None, LATEST)).await;
    let lines = listed.map(|jobs| jobs.into_iter().map(|job| JobLine::of(job, now)));
    Read::of(state, lines.map(|lines| lines.filter(JobLine::is_told).collect()), "the jobs")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jobs::{Lease, Pace, Progress, Selection};

    fn line(state: JobState, done: u64, lease_until: Option<i64>) -> JobLine {
        let lease = lease_until.map(|s| Lease { owner: "p".into(), until: Timestamp::from_ms(s * 1000) });
        let progress = Progress { planned: 10, done, ..Progress::default() };
        let job = Job {
            id: "j".into(),
            action: Action::Redrive,
            selection: Selection::default(),
            scope: None,
            pace: Pace::default(),
            who: "operator".into(),
            why: None,
            created_at: Timestamp::from_ms(0),
            state,
            note: None,
            lease,
            ended_at: None,
            progress,
            cursor: None,
            page: Vec::new(),
            behind: None,
            awaited: Vec::new(),
        };
        JobLine::of(job, Timestamp::from_ms(100_000))
    }

    #[test]
    fn a_job_is_told_until_everything_is_done_and_can_send_until_somebody_stopped_it() {
        let told = |state, done| (line(state, done, None).is_told(), line(state, done, None).can_send());
        assert_eq!(told(JobState::Running, 10), (true, true));
        assert_eq!(told(JobState::Canary, 3), (true, true));
        assert_eq!(told(JobState::Watching, 10), (true, false));
        assert_eq!(told(JobState::Interrupted, 9), (true, true));
        assert_eq!(told(JobState::Interrupted, 10), (false, false));
        assert_eq!(told(JobState::Stopped, 9), (true, false));
        assert_eq!(told(JobState::Stopped, 10), (false, false));
        assert_eq!(told(JobState::Done, 0), (false, false));
    }

    #[test]
    fn a_running_job_whose_lease_is_over_is_orphaned() {
        assert!(line(JobState::Running, 1, Some(99)).is_orphaned);
        assert!(!line(JobState::Running, 1, Some(101)).is_orphaned);
        assert!(!line(JobState::Running, 1, None).is_orphaned);
        assert!(!line(JobState::Watching, 1, Some(99)).is_orphaned);
    }
}
