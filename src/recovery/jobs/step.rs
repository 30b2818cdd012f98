//! One step of a job.

use std::collections::VecDeque;
use std::time::Duration;

use super::decide::{self, Fate, Known, Next, Situation, Wire};
use super::pace::Bucket;
use super::{Runner, Trouble};
use crate::jobs::{Action, Job, JobState, Lease};
use crate::journal::{self, JournalError, Kind, Put};
use crate::message_log::{Applied, LogError, Record};
use crate::notification::NotificationId;
use crate::notification::status::Refusal;

/// Outcomes by which a share is judged: the latest ones, so that a provider that falls ill late is noticed soon.
const JUDGED: usize = 500;
/// The longest pause between two looks at what became of the redriven.
const LONGEST_LOOK: Duration = Duration::from_secs(5);
/// The same where nothing more is to be let go.
const LONGEST_WATCH: Duration = Duration::from_secs(60);

/// A job in the hands of this process.
pub struct Work {
    /// As it will be written down next.
    pub job: Job,
    version: u64,
    /// The page's records as they were listed; empty after a crash.
    pub(super) listed: Vec<Record>,
    bucket: Option<Bucket>,
    latest: VecDeque<bool>,
    failing: usize,
    looked_at: Option<Duration>,
    changed_at: Duration,
    written_at: Duration,
    /// Counts differ from those in the journal.
    is_changed: bool,
    /// A page is done that the journal has as under way.
    pub(super) is_page_done: bool,
}

/// How a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// There is more to do at once.
    Again,
    /// Nothing to do for so long.
    Wait(Duration),
    /// The job ended, and that is written down.
    Ended,
    /// The job is somebody else's now.
    Lost,
}

impl Work {
    pub(super) fn new(job: Job, version: u64, now: Duration) -> Self {
        let bucket = job.pace.per_second.map(|rate| Bucket::new(rate, now));
        // A canary is judged as a whole, whatever crashed meanwhile.
        let latest = if job.state == JobState::Canary {
            let of = |is_good: bool, count: u64| {
                std::iter::repeat_n(is_good, usize::try_from(count).unwrap_or(0).min(JUDGED))
            };
            of(true, job.progress.sent).chain(of(false, job.progress.failed)).collect()
        } else {
            VecDeque::new()
        };
        Self {
            job,
            version,
            listed: Vec::new(),
            bucket,
            latest,
            failing: 0,
            looked_at: None,
            changed_at: now,
            written_at: now,
            is_changed: false,
            is_page_done: false,
        }
    }

    fn judge(&mut self, is_good: bool) {
        self.latest.push_back(is_good);
        if self.latest.len() > JUDGED {
            self.latest.pop_front();
        }
    }

    /// A notification to which it was done.
    pub(super) fn count_done(&mut self) {
        self.job.progress.done += 1;
        self.is_changed = true;
    }

    /// A notification to which it was not done.
    pub(super) fn refuse(&mut self, code: &str) {
        *self.job.progress.refused.entry(code.to_owned()).or_default() += 1;
        self.is_changed = true;
    }

    fn known(&self) -> Known {
        let good = self.latest.iter().filter(|is_good| **is_good).count() as u64;
        Known { good, bad: self.latest.len() as u64 - good + self.failing as u64 }
    }

    /// How long to leave the awaited ones alone: the longer nothing changes, the longer.
    fn look_pause(&self, now: Duration, shortest: Duration) -> Duration {
        let longest = if self.job.state.is_active() { LONGEST_LOOK } else { LONGEST_WATCH };
        (now.saturating_sub(self.changed_at) / 10).clamp(shortest, longest.max(shortest))
    }
}

impl Runner {
    /// The unit of work: finishes the page that is under way, looks at what became of earlier ones, and turns the next
    /// page, waits, or ends.
    pub async fn step(&self, work: &mut Work) -> Result<Outcome, Trouble> {
        if !work.job.page.is_empty() {
            self.finish_page(work).await?;
        }
        self.look(work).await?;
        let now = self.clock.boot_time();
        match decide::next(&self.situation(work, now)) {
            Next::Page(limit) => match self.turn_page(work, limit).await {
                Ok(()) => {
                    if let Some(bucket) = &mut work.bucket {
                        bucket.spend(work.job.page.len());
                    }
                    Ok(if self.write(work).await? { ended(work, Outcome::Again) } else { Outcome::Lost })
                }
                Err(Trouble::Log(LogError::BadCursor)) => {
                    let note = "its place in the listing is not known any more: begin a new one";
                    self.end(work, JobState::Stopped, Some(note.into())).await
                }
                Err(error) => Err(error),
            },
            Next::Proceed => {
                work.job.state = JobState::Running;
                Ok(if self.write(work).await? { ended(work, Outcome::Again) } else { Outcome::Lost })
            }
            Next::Wait => {
                let since_written = now.saturating_sub(work.written_at);
                let is_stale = work.is_changed && since_written >= self.config.tell_every;
                let is_due = work.is_page_done || is_stale || since_written >= self.config.lease / 3;
                if is_due && !self.write(work).await? {
                    return Ok(Outcome::Lost);
                }
                let look = work.look_pause(now, self.config.look_every);
                let wait = work.bucket.map_or(look, |bucket| bucket.wait().min(look));
                Ok(ended(work, Outcome::Wait(wait.min(self.config.lease / 3))))
            }
            Next::Stop(note) => self.end(work, JobState::Stopped, Some(note)).await,
            Next::Done(note) => self.end(work, JobState::Done, note).await,
        }
    }

    fn situation(&self, work: &mut Work, now: Duration) -> Situation {
        let room = self.config.window.saturating_sub(work.job.awaited.len()).min(self.config.page);
        let allowed = work.bucket.as_mut().map_or(room, |bucket| room.min(bucket.allowed(now)));
        Situation {
            state: work.job.state,
            done: work.job.progress.done,
            canary: work.job.pace.canary,
            stop_above_percent: work.job.pace.stop_above_percent,
            known: work.known(),
            awaited: work.job.awaited.len(),
            failing: work.failing,
            allowed,
            unchanged_for: now.saturating_sub(work.changed_at),
        }
    }

    async fn end(&self, work: &mut Work, state: JobState, note: Option<String>) -> Result<Outcome, Trouble> {
        work.job.end(state, note, self.clock.now());
        if !self.write(work).await? {
            return Ok(Outcome::Lost);
        }
        let (job, action) = (&work.job.id, work.job.action.as_str());
        tracing::info!(job, action, done = work.job.progress.done, ?state, "a job ended");
        Ok(Outcome::Ended)
    }

    /// Writes the job down, with the lease renewed. Where somebody stopped it meanwhile, it ends so. Whether it is
    /// still this process's.
    pub(super) async fn write(&self, work: &mut Work) -> Result<bool, JournalError> {
        loop {
            if work.job.ended_at.is_none() && (work.job.lease.is_some() || !work.job.state.is_active()) {
                let until = self.clock.now().plus(self.config.lease);
                work.job.lease = Some(Lease { owner: self.owner.clone(), until });
            }
            let (body, keep_until) = (journal::write(&work.job), work.job.keep_until());
            let put = self.journal.put(Kind::Job, &work.job.id, &body, work.version, Some(keep_until));
            if let Put::Done(version) = put.await? {
                (work.version, work.written_at) = (version, self.clock.boot_time());
                (work.is_changed, work.is_page_done) = (false, false);
                return Ok(true);
            }
            let Some(document) = self.journal.get(Kind::Job, &work.job.id).await? else { return Ok(false) };
            let Some(mut merged) = decide::merge(work.job.clone(), document.read()?, &self.owner) else {
                tracing::warn!(job = work.job.id, "a job was taken over by another process");
                return Ok(false);
            };
            if merged.ended_at.is_some() {
                merged.lease = None;
                work.listed.clear();
            }
            (work.job, work.version) = (merged, document.version);
        }
    }

    /// Looks at what became of those that are awaited, if it is time.
    async fn look(&self, work: &mut Work) -> Result<(), Trouble> {
        let now = self.clock.boot_time();
        let pause = work.look_pause(now, self.config.look_every);
        let is_early = work.looked_at.is_some_and(|at| now.saturating_sub(at) < pause);
        if work.job.awaited.is_empty() || is_early {
            return Ok(());
        }
        work.looked_at = Some(now);
        let before = work.job.awaited.len();
        match work.job.action {
            Action::Redrive => self.look_at_redriven(work).await?,
            Action::Hold | Action::Release | Action::Cancel => self.look_at_the_wire(work).await?,
        }
        if work.job.awaited.len() != before {
            (work.changed_at, work.is_changed) = (now, true);
        }
        Ok(())
    }

    async fn look_at_redriven(&self, work: &mut Work) -> Result<(), Trouble> {
        let ids: Vec<NotificationId> = work.job.awaited.iter().map(|(id, _)| *id).collect();
        let lives = self.log.lives(&ids).await?;
        let mut failing = 0;
        let awaited = std::mem::take(&mut work.job.awaited);
        for ((id, since), life) in awaited.into_iter().zip(lives) {
            match decide::fate(life.as_ref(), since) {
                Fate::Pending => work.job.awaited.push((id, since)),
                Fate::Failing => {
                    failing += 1;
                    work.job.awaited.push((id, since));
                }
                Fate::Sent => {
                    work.job.progress.sent += 1;
                    work.judge(true);
                }
                Fate::Failed => {
                    work.job.progress.failed += 1;
                    work.judge(false);
                }
                Fate::Stopped => work.job.progress.stopped += 1,
            }
        }
        work.failing = failing;
        Ok(())
    }

    /// What came back from the wire unsent is held or cancelled like the others.
    async fn look_at_the_wire(&self, work: &mut Work) -> Result<(), Trouble> {
        let now = self.clock.now();
        let ids: Vec<NotificationId> = work.job.awaited.iter().map(|(id, _)| *id).collect();
        let lives = self.log.lives(&ids).await?;
        let mut back = Vec::new();
        let mut on = Vec::new();
        let (mut stopped, mut out) = (0, 0);
        for (one, life) in work.job.awaited.iter().zip(lives) {
            match decide::wire(work.job.action, life.as_ref(), now) {
                Wire::On => on.push(*one),
                Wire::Out => out += 1,
                Wire::Back => back.push(*one),
                Wire::Stopped => stopped += 1,
                Wire::Over => {}
            }
        }
        let facts: Vec<_> = back.iter().map(|(id, _)| (*id, work.job.fact())).collect();
        for (one, applied) in back.iter().zip(self.log.apply(&facts, now).await) {
            match applied? {
                Applied::Done { .. } => stopped += 1,
                // Claimed again in between: the standing stop will meet it.
                Applied::Refused(Refusal::Leased { .. }) => on.push(*one),
                Applied::Refused(_) | Applied::Absent => {}
            }
        }
        work.job.progress.done += stopped;
        work.job.progress.went_out += out;
        work.job.awaited = on;
        Ok(())
    }
}

/// A job that somebody stopped meanwhile has ended, whatever was to come.
fn ended(work: &Work, otherwise: Outcome) -> Outcome {
    if work.job.ended_at.is_some() { Outcome::Ended } else { otherwise }
}
