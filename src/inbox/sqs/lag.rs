//! How far the folding of events lags behind, where nobody sees all that waits: SQS tells how much lies on a queue and not
//! for how long. Whoever holds parcels that are late says so in the journal, before it folds them; whoever must know asks
//! the queue first, and what is said there only where it is not empty. Every doubt is told as "nobody knows".

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::{Clock, Timestamp};
use crate::inbox::InboxError;
use crate::journal::{self, Journal, JournalError, Kind};

/// The one document of all processes.
const MARK: &str = "events_late";

/// A doubt that was not looked at for so long begins anew.
const FORGOTTEN: Duration = Duration::from_secs(300);

/// How lateness is told and judged.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// A parcel that is older when it is held is late.
    pub late_after: Duration,
    /// A process says so at most this often.
    pub mark_every: Duration,
    /// After this SQS counts everything that was sent: its counts are of a minute ago at the worst.
    pub settles: Duration,
    /// An answer is told again for so long, and one that nobody contradicts must be given twice, this far apart.
    pub rests: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            late_after: Duration::from_secs(5),
            mark_every: Duration::from_secs(10),
            settles: Duration::from_secs(60),
            rests: Duration::from_secs(10),
        }
    }
}

/// What each process holds that is late.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Marks {
    by_process: BTreeMap<String, Mark>,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Mark {
    /// When it was said.
    at: Timestamp,
    /// When the oldest came that was held then.
    oldest: Timestamp,
}

/// What the queue says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    /// Nothing lies on it, in nobody's hands either.
    pub(super) is_empty: bool,
    /// When the oldest came that this very process holds.
    pub(super) oldest_held: Option<Timestamp>,
    /// The newest event that was folded by anybody: whoever folds is alive.
    pub(super) heard: Option<Timestamp>,
}

/// Since when, and until when, nobody contradicted.
#[derive(Clone, Copy, Debug)]
struct Steady {
    since: Timestamp,
    seen: Timestamp,
}

type Answer = Result<Option<Timestamp>, InboxError>;

/// What is kept from one answer to the next.
#[derive(Debug, Default)]
pub(super) struct Judged {
    latest: Option<(Timestamp, Answer)>,
    steady: Option<Steady>,
}

/// Says that this process is late, and judges from what all say.
pub(super) struct Lag {
    journal: Arc<dyn Journal>,
    clock: Clock,
    config: Config,
    /// What a process that died held comes again after this.
    visibility_timeout: Duration,
    process: String,
    marked: Mutex<Option<Timestamp>>,
    pub(super) judged: tokio::sync::Mutex<Judged>,
}

impl std::fmt::Debug for Lag {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lag").field("process", &self.process).finish_non_exhaustive()
    }
}

impl Lag {
    pub(super) fn new(
        journal: Arc<dyn Journal>,
        clock: Clock,
        visibility_timeout: Duration,
        config: Config,
    ) -> Self {
        let process = uuid::Uuid::now_v7().simple().to_string();
        let (marked, judged) = (Mutex::default(), tokio::sync::Mutex::default());
        Self { journal, clock, config, visibility_timeout, process, marked, judged }
    }

    /// Says so, where what is held is late and it was not said just now.
    pub(super) async fn mark(&self, oldest_held: Option<Timestamp>) {
        let now = self.clock.now();
        let Some(oldest) = oldest_held.filter(|at| now.since(*at) > self.config.late_after) else { return };
        if !self.is_to_mark(now) {
            return;
        }
        if let Err(error) = self.write(Mark { at: now, oldest }, now).await {
            *self.marked.lock().unwrap_or_else(PoisonError::into_inner) = None;
            tracing::warn!(%error, "that events are folded late cannot be told to others");
        }
    }

    fn is_to_mark(&self, now: Timestamp) -> bool {
        let mut marked = self.marked.lock().unwrap_or_else(PoisonError::into_inner);
        if marked.is_some_and(|at| now.since(at) < self.config.mark_every) {
            return false;
        }
        *marked = Some(now);
        true
    }

    async fn write(&self, mark: Mark, now: Timestamp) -> Result<(), JournalError> {
        let until = Some(now.plus(self.stands_for()));
        journal::change(&*self.journal, Kind::Mark, MARK, until, |known: Option<Marks>| {
            let mut marks = known.unwrap_or_default();
            marks.by_process.retain(|_, known| now.since(known.at) < self.stands_for());
            marks.by_process.insert(self.process.clone(), mark);
            (Some(marks), ())
        })
        .await
    }

    /// For so long after its last word what a process held may be in nobody's hands.
    fn stands_for(&self) -> Duration {
        self.visibility_timeout + self.config.mark_every * 2
    }

    /// The answer of just now, if there is one.
    pub(super) fn told(&self, judged: &Judged, now: Timestamp) -> Option<Answer> {
        let (at, answer) = judged.latest.as_ref()?;
        (now.since(*at) < self.config.rests).then(|| answer.clone())
    }

    /// Everything that came in before this is folded; `None`: nobody knows.
    pub(super) async fn judge(
        &self,
        judged: &mut Judged,
        seen: Result<Seen, InboxError>,
        now: Timestamp,
    ) -> Answer {
        let answer = match seen {
            Ok(seen) => self.weigh(judged, seen, now).await,
            Err(error) => Err(error),
        };
        if answer.is_err() {
            judged.steady = None;
        }
        judged.latest = Some((now, answer.clone()));
        answer
    }

    async fn weigh(&self, judged: &mut Judged, seen: Seen, now: Timestamp) -> Answer {
        let own = |until: Timestamp| seen.oldest_held.map_or(until, |oldest| oldest.min(until));
        let settled = now.minus(self.config.settles);
        if seen.is_empty {
            judged.steady = None;
            return Ok(Some(own(settled)));
        }
        let slack = self.config.settles + self.visibility_timeout;
        let document = self.journal.get(Kind::Mark, MARK).await;
        let document = document.map_err(|error| InboxError::Unavailable(error.to_string()))?;
        let marks: Option<Marks> = document
            .map(|document| document.read())
            .transpose()
            .map_err(|error| InboxError::Unavailable(error.to_string()))?;
        let marks = marks.unwrap_or_default().by_process.into_values();
        let late = marks.filter(|mark| now.since(mark.at) < self.stands_for()).map(|mark| mark.oldest).min();
        if let Some(oldest) = late {
            judged.steady = None;
            // SQS keeps no strict order: some that are older may wait behind it.
            return Ok(Some(own(oldest).minus(slack)));
        }
        if seen.heard.is_none_or(|at| now.since(at) > slack) {
            judged.steady = None;
            return Ok(None);
        }
        // Somebody folds, and nobody says that he is late. One who has just begun may not have met what is old.
        let steady = judged.steady.filter(|steady| now.since(steady.seen) < FORGOTTEN);
        let since = steady.map_or(now, |steady| steady.since);
        judged.steady = Some(Steady { since, seen: now });
        Ok((now.since(since) >= self.config.rests).then(|| own(now.minus(slack))))
    }
}
