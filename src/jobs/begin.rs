//! How a job begins.

use super::{Action, Job, JobState, Pace, Progress, Selection};
use crate::clock::Timestamp;
use crate::stops::Scope;

/// What is asked for.
#[derive(Clone, Debug)]
pub struct New {
    /// What to do.
    pub action: Action,
    /// To which.
    pub selection: Selection,
    /// The standing stop that comes or goes with it.
    pub scope: Option<Scope>,
    /// How.
    pub pace: Pace,
    /// Who asks.
    pub who: String,
    /// Why.
    pub why: Option<String>,
    /// How many match.
    pub planned: u64,
}

impl Job {
    /// A job that is offered to whichever process takes it first. One that concerns a provider is done with its
    /// standing stop: it marks no notification.
    pub fn new(new: New, now: Timestamp) -> Self {
        let New { action, selection, scope, pace, who, why, planned } = new;
        let is_of_provider = scope.as_ref().is_some_and(|scope| scope.provider.is_some());
        let state = if pace.canary.is_some() { JobState::Canary } else { JobState::Running };
        let mut job = Self {
            id: uuid::Uuid::now_v7().to_string(),
            action,
            selection,
            scope,
            pace,
            who,
            why,
            created_at: now,
            state,
            note: None,
            lease: None,
            ended_at: None,
            progress: Progress { planned, ..Progress::default() },
            cursor: None,
            behind: None,
            page: Vec::new(),
            awaited: Vec::new(),
        };
        if is_of_provider {
            job.end(JobState::Done, None, now);
        } else {
            job.offer(now);
        }
        job
    }
}
