//! The pages of a job: written down, done, counted.

use super::decide::{self, Need};
use super::{Runner, Trouble, Work};
use crate::clock::Timestamp;
use crate::jobs::{Action, Job, JobState};
use crate::message_log::{Applied, LogError, Record};
use crate::notification::NotificationId;
use crate::notification::status::{Life, Refusal, State};
use crate::queue::{self, Message};

/// Listings in one turn of the page: where hardly any belong, the lease must be renewed in between.
const LISTINGS: usize = 10;
/// Records that are read at once after a crash.
const READ_AT_ONCE: usize = 16;

impl Runner {
    /// Takes the next page of at most `limit` in hand. None left: from now on the job only watches.
    pub(super) async fn turn_page(&self, work: &mut Work, limit: usize) -> Result<(), Trouble> {
        if work.job.selection.ids.is_empty() {
            self.turn_page_of_filter(work, limit).await
        } else {
            self.turn_page_of_ids(&mut work.job, limit);
            Ok(())
        }
    }

    async fn turn_page_of_filter(&self, work: &mut Work, limit: usize) -> Result<(), Trouble> {
        let Some(filter) = work.job.filter() else {
            work.job.state = JobState::Watching;
            return Ok(());
        };
        for _ in 0..LISTINGS {
            let job = &mut work.job;
            let page = self.log.list(&filter, job.cursor.as_deref(), limit, self.clock.now()).await?;
            let items = page.items.into_iter().filter(|record| decide::belongs(job, &record.life));
            let items: Vec<Record> = items.collect();
            if !items.is_empty() {
                job.page = items.iter().map(|record| record.id).collect();
                job.behind = page.next_cursor;
                work.listed = items;
                return Ok(());
            }
            if page.next_cursor.is_none() {
                job.state = JobState::Watching;
                return Ok(());
            }
            job.cursor = page.next_cursor;
        }
        Ok(())
    }

    /// The cursor of a list of ids is the place in it.
    fn turn_page_of_ids(&self, job: &mut Job, limit: usize) {
        let from: usize = job.cursor.as_deref().and_then(|place| place.parse().ok()).unwrap_or(0);
        let ids = &job.selection.ids;
        let to = from.saturating_add(limit).min(ids.len());
        job.page = ids.get(from..to).unwrap_or_default().to_vec();
        job.behind = (to < ids.len()).then(|| to.to_string());
        if job.page.is_empty() {
            job.state = JobState::Watching;
        }
    }

    /// Does to each of the page what it still needs, and counts it. Whatever goes wrong: the page stays, and is looked
    /// at again.
    pub(super) async fn finish_page(&self, work: &mut Work) -> Result<(), Trouble> {
        let listed = std::mem::take(&mut work.listed);
        let records = if listed.is_empty() {
            self.read(&work.job.page).await?
        } else {
            listed.into_iter().map(Some).collect()
        };
        let now = self.clock.now();
        let page = work.job.page.clone();
        let done = self.act(&work.job, &page, records, now).await?;
        let mut messages = Vec::new();
        for (id, result) in page.iter().zip(done) {
            match result {
                Acted::Done(record) => {
                    work.count_done();
                    if work.job.action.sets_on_the_way() {
                        messages.extend(message(&record, now));
                    }
                    if work.job.action == Action::Redrive && self.config.sees_outcomes {
                        work.job.awaited.push((*id, now));
                    }
                }
                Acted::OnTheWire => {
                    work.job.progress.on_the_wire += 1;
                    if work.job.awaited.len() < self.config.window {
                        work.job.awaited.push((*id, now));
                    }
                }
                Acted::Refused(code) => work.refuse(code),
            }
        }
        queue::bring(self.queue.as_ref(), &messages, self.config.queue_timeout).await;
        work.job.page.clear();
        work.is_page_done = true;
        match work.job.behind.take() {
            Some(behind) => work.job.cursor = Some(behind),
            None => work.job.state = JobState::Watching,
        }
        Ok(())
    }

    async fn read(&self, ids: &[NotificationId]) -> Result<Vec<Option<Record>>, LogError> {
        let mut records = Vec::with_capacity(ids.len());
        for some in ids.chunks(READ_AT_ONCE) {
            let reads = some.iter().map(|id| self.log.get(*id));
            records.extend(futures::future::try_join_all(reads).await?);
        }
        Ok(records)
    }

    async fn act(
        &self,
        job: &Job,
        page: &[NotificationId],
        mut records: Vec<Option<Record>>,
        now: Timestamp,
    ) -> Result<Vec<Acted>, LogError> {
        let needs: Vec<Need> = records.iter().map(|record| decide::need(job, record.as_ref(), now)).collect();
        let is_act = |need: &&Need| **need == Need::Act;
        let asked: Vec<_> =
            page.iter().zip(&needs).filter(|(_, need)| is_act(need)).map(|(id, _)| *id).collect();
        let facts: Vec<_> = asked.iter().map(|id| (*id, job.fact())).collect();
        let mut results = self.log.apply(&facts, now).await;
        results.resize_with(facts.len(), || Err(LogError::Unavailable("it gave no answer".into())));
        let mut results = self.recheck(job, &asked, results).await?.into_iter();
        let mut acted = Vec::with_capacity(page.len());
        for (record, need) in records.iter_mut().zip(needs) {
            acted.push(match (need, record.take()) {
                (Need::Nothing(code), _) => Acted::Refused(code),
                (_, None) => Acted::Refused("absent"),
                (Need::WasDone, Some(record)) => Acted::Done(Box::new(record)),
                (Need::Act, Some(mut record)) => match results.next() {
                    Some(Answer::Done(life)) => {
                        record.life = *life;
                        Acted::Done(Box::new(record))
                    }
                    Some(Answer::OnTheWire) => Acted::OnTheWire,
                    Some(Answer::Refused(code)) => Acted::Refused(code),
                    None => Acted::Refused("absent"),
                },
            });
        }
        Ok(acted)
    }

    /// What was refused may have been done in this very job's name: by a call whose answer was lost, or by a process
    /// that believed the job to be still its own.
    async fn recheck(
        &self,
        job: &Job,
        ids: &[NotificationId],
        results: Vec<Result<Applied, LogError>>,
    ) -> Result<Vec<Answer>, LogError> {
        let mut answers = Vec::with_capacity(ids.len());
        let mut doubtful = Vec::new();
        for (at, result) in results.into_iter().enumerate() {
            answers.push(match result? {
                Applied::Done { life, .. } => Answer::Done(life),
                Applied::Refused(Refusal::Leased { .. }) => Answer::OnTheWire,
                Applied::Refused(refusal) => {
                    if !matches!(refusal, Refusal::DeadlineOver) {
                        doubtful.push(at);
                    }
                    Answer::Refused(decide::code(&refusal))
                }
                Applied::Absent => Answer::Refused("absent"),
            });
        }
        let again: Vec<_> = doubtful.iter().map(|at| ids[*at]).collect();
        if again.is_empty() {
            return Ok(answers);
        }
        for (at, life) in doubtful.into_iter().zip(self.log.lives(&again).await?) {
            if let Some(life) = life.filter(|life| decide::did(job, life)) {
                answers[at] = Answer::Done(Box::new(life));
            }
        }
        Ok(answers)
    }
}

/// What came of one of a page.
enum Acted {
    Done(Box<Record>),
    OnTheWire,
    Refused(&'static str),
}

/// What the log answered.
enum Answer {
    Done(Box<Life>),
    OnTheWire,
    Refused(&'static str),
}

fn message(record: &Record, now: Timestamp) -> Option<Message> {
    // Also where an earlier process did it: it may have been killed before this.
    if matches!(record.life.state, State::Attempting) && record.life.lease_until > now {
        return None;
    }
    Message::waking(record.id, &record.tenant, record.priority, &record.life, now)
}
