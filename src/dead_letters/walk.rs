//! A look at the dead-letter queue, page by page, after which everything that stays is shown to others again.

use crate::clock::Timestamp;
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
pub struct Looked {
    /// How many.
    pub seen: usize,
    /// When the queue destroys the first of them.
    pub first_destroyed_at: Option<Timestamp>,
    /// There may be more, which were not looked at.
    pub is_cut_short: bool,
}

/// Looks at up to `most` dead letters for the moment at which the queue destroys the first. On SQS a request for ten.
pub async fn look(queue: &dyn Queue, most: usize) -> Result<Looked, QueueError> {
    let mut walk = Walk::over(queue, most);
    let mut looked = Looked::default();
    let ended = loop {
        match walk.next().await {
            Ok(letters) if letters.is_empty() => break Ok(()),
            Ok(letters) => {
                looked.seen += letters.len();
                let first = letters.iter().map(|letter| letter.destroyed_at).min();
                looked.first_destroyed_at = looked.first_destroyed_at.into_iter().chain(first).min();
            }
            Err(error) => break Err(error),
        }
    };
    looked.is_cut_short = walk.is_cut_short();
    walk.end().await;
    ended.map(|()| looked)
}
