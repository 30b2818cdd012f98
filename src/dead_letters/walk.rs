//! A look at the dead-letter queue, page by page, after which everything that stays is shown to others again.

use crate::clock::Timestamp;
use crate::journal::Journal;
use crate::message_log::MessageLog;
use crate::queue::{DeadEnd, DeadHandle, DeadLetter, Queue, QueueError};

/// Letters of one page.
const PAGE: usize = 100;

/// Goes through the dead letters of a queue, each once.
pub struct Walk<'a> {
    queue: &'a dyn Queue,
    after: Option<String>,
    left: usize,
    shown: Vec<(DeadHandle, DeadEnd)>,
}

impl<'a> Walk<'a> {
    /// At most so many. If it is dropped instead of ended, SQS hides what was seen for another minute.
    pub fn over(queue: &'a dyn Queue, most: usize) -> Self {
        Self { queue, after: None, left: most, shown: Vec::new() }
    }

    /// Some more; none at the end.
    pub async fn next(&mut self) -> Result<Vec<DeadLetter>, QueueError> {
        if self.left == 0 {
            return Ok(Vec::new());
        }
        let letters = self.queue.dead_letters(self.after.as_deref(), PAGE.min(self.left)).await?;
        self.left = self.left.saturating_sub(letters.len());
        self.after = letters.last().map(|letter| letter.key.clone());
        self.shown.extend(letters.iter().map(|letter| (letter.handle.clone(), DeadEnd::Show)));
        Ok(letters)
    }

    /// Removes this one at the end.
    pub fn remove(&mut self, letter: &DeadLetter) {
        if let Some((_, end)) = self.shown.iter_mut().rev().find(|(handle, _)| *handle == letter.handle) {
            *end = DeadEnd::Remove;
        }
    }

    /// Whether it stopped before the last one.
    pub fn is_cut_short(&self) -> bool {
        self.left == 0
    }

    /// Shows what stays and removes the rest. What cannot be told to the queue comes into sight again by itself.
    pub async fn end(self) {
        for result in self.queue.end_dead_letters(self.shown).await {
            if let Err(error) = result {
                tracing::debug!(%error, "the look at a dead letter did not end as it should; it is seen again");
            }
        }
    }
}

/// What a look saw.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// How many.
    pub seen: usize,
    /// When the queue destroys the first of them.
    pub first_destroyed_at: Option<Timestamp>,
    /// Of them: they have a record in the log.
    pub recorded: usize,
    /// Of the others: a copy is kept in the journal.
    pub kept: usize,
    /// There may be more, which were not looked at.
    pub is_cut_short: bool,
}

impl Survey {
    /// Those that would be lost with the queue.
    pub fn unkept(&self) -> usize {
        self.seen.saturating_sub(self.recorded + self.kept)
    }
}

/// Why a survey failed, in words.
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Looks at up to `most` dead letters: what becomes of them, and when the queue destroys the first. On SQS a request
/// for ten.
pub async fn survey(
    queue: &dyn Queue,
    log: &dyn MessageLog,
    journal: &dyn Journal,
    most: usize,
) -> Result<Survey, Failure> {
    let mut walk = Walk::over(queue, most);
    let mut survey = Survey::default();
    let ended = go(&mut walk, log, journal, &mut survey).await;
    survey.is_cut_short = walk.is_cut_short();
    walk.end().await;
    ended.map(|()| survey)
}

async fn go(
    walk: &mut Walk<'_>,
    log: &dyn MessageLog,
    journal: &dyn Journal,
    survey: &mut Survey,
) -> Result<(), Failure> {
    loop {
        let letters = walk.next().await?;
        if letters.is_empty() {
            return Ok(());
        }
        survey.seen += letters.len();
        let first = letters.iter().map(|letter| letter.destroyed_at).min();
        survey.first_destroyed_at = survey.first_destroyed_at.into_iter().chain(first).min();
        for (letter, is_recorded) in letters.iter().zip(super::recorded(log, &letters).await?) {
            if is_recorded {
                survey.recorded += 1;
            } else if super::kept(journal, &letter.key).await?.is_some() {
                survey.kept += 1;
            }
        }
    }
}
