//! What can still be sent: pure, from what was read. Nothing is taken for well that did not answer.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::evidence::{QueueRead, Read};
use super::jobs::JobLine;
use crate::message_log::Standings;
use crate::notification::status::Status;

/// One thing for which it is not over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = StatusOpen)]
pub struct Open {
    /// Where it was seen.
    pub source: OpenSource,
    /// What: a status, `messages`, a job's id, or the source that did not answer.
    pub what: String,
    /// How many; null where nobody can say.
    #[schema(required = true)]
    pub count: Option<u64>,
}

/// Where it was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum OpenSource {
    /// A row in the log that is not at an end.
    Log,
    /// Messages on the queue that are not known to be for nothing.
    Queue,
    /// A job that can still set something on its way.
    Job,
    /// A source that did not answer.
    Unread,
}

/// Everything for which it is not over; empty: converged.
pub(super) fn open(
    by_status: &BTreeMap<Status, u64>,
    standings: &Read<Standings>,
    queue: &Read<QueueRead>,
    jobs: &Read<Vec<JobLine>>,
) -> Vec<Open> {
    let mut open = Vec::new();
    let mut add = |source, what: &str, count| open.push(Open { source, what: what.to_owned(), count });
    for (status, count) in by_status.iter().filter(|(status, count)| !status.is_end() && **count > 0) {
        add(OpenSource::Log, status.as_str(), Some(*count));
    }
    if standings.value.is_none() || by_status.is_empty() {
        add(OpenSource::Unread, "log", None);
    }
    match &queue.value {
        Some(queue) if queue.can_send() > 0 => add(OpenSource::Queue, "messages", Some(queue.can_send())),
        Some(_) => {}
        None => add(OpenSource::Unread, "queue", None),
    }
    match &jobs.value {
        Some(jobs) => {
            jobs.iter()
                .filter(|job| job.can_send())
                .for_each(|job| add(OpenSource::Job, &job.id, Some(job.left)));
        }
        None => add(OpenSource::Unread, "journal", None),
    }
    open
}
