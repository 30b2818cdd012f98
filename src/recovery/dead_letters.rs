//! The keeper: what lies in the dead-letter queue and stands nowhere else is copied into the journal, long before the
//! queue destroys it.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::{Clock, Timestamp};
use crate::dead_letters::{self, Keeping, Walk};
use crate::journal::{Journal, JournalError};
use crate::message_log::{LogError, MessageLog};
use crate::metrics::{DEAD_LETTERS_KEPT_TOTAL, DEAD_LETTERS_UNKEPT};
use crate::queue::{DeadLetter, Queue, QueueError};
use crate::shutdown::Shutdown;

/// How the keeper paces itself.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Between two looks. One that finds as many dead letters as the last costs a request for the number.
    pub interval: Duration,
    /// Dead letters in one look.
    pub most: usize,
    /// After so long all are looked at anew, whatever their number.
    pub anew: Duration,
}

impl Default for Config {
    fn default() -> Self {
        let (interval, anew) = (Duration::from_secs(60), Duration::from_secs(15 * 60));
        Self { interval, most: 5_000, anew }
    }
}

/// What one look did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Looked {
    /// Dead letters that were looked at.
    pub seen: usize,
    /// Copied now.
    pub kept: usize,
    /// Removed from the queue, as they were sent again.
    pub removed: usize,
    /// Neither recorded nor copied: the journal did not take them.
    pub unkept: usize,
}

/// Why a look failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum KeepError {
    /// Of the queue.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// Of the log.
    #[error(transparent)]
    Log(#[from] LogError),
    /// Of the journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// Copies dead letters that have no record.
pub struct Keeper {
    log: Arc<dyn MessageLog>,
    queue: Arc<dyn Queue>,
    journal: Arc<dyn Journal>,
    clock: Clock,
    config: Config,
    seen: Seen,
}

/// What earlier looks saw to.
#[derive(Default)]
struct Seen {
    /// Keys that need nothing more.
    done: HashSet<String>,
    /// How many lay there at the last look that went through all of them.
    count: Option<u64>,
    /// When to begin anew.
    until: Option<Timestamp>,
}

impl Keeper {
    /// A keeper over these ports.
    pub fn new(
        log: Arc<dyn MessageLog>,
        queue: Arc<dyn Queue>,
        journal: Arc<dyn Journal>,
        clock: Clock,
        config: Config,
    ) -> Self {
        Self { log, queue, journal, clock, config, seen: Seen::default() }
    }

    /// Looks until the shutdown is pulled.
    pub async fn run(mut self, shutdown: Shutdown) {
        let mut was_ill = false;
        while !shutdown.is_pulled() {
            // Whatever a look that is cut off has hidden comes into sight again by itself.
            let looked = tokio::select! {
                looked = self.step() => looked,
                () = shutdown.pulled() => return,
            };
            if let Err(error) = looked.as_ref()
                && !was_ill
            {
                tracing::warn!(%error, "dead letters cannot be looked at, or not be copied");
            }
            was_ill = looked.is_err();
            tokio::select! {
                () = tokio::time::sleep(self.config.interval) => {}
                () = shutdown.pulled() => {}
            }
        }
    }

    /// One look.
    pub async fn step(&mut self) -> Result<Looked, KeepError> {
        let count = self.queue.depth().await?.dead;
        let now = self.clock.now();
        if count == 0 || self.seen.until.is_none_or(|until| until <= now) {
            self.seen = Seen { until: Some(now.plus(self.config.anew)), ..Seen::default() };
        }
        if count == 0 || self.seen.count == Some(count) {
            return Ok(Looked::default());
        }
        let queue = self.queue.clone();
        let mut walk = Walk::over(queue.as_ref(), self.config.most);
        let mut looked = Looked::default();
        let ended = self.go(&mut walk, &mut looked).await;
        let is_whole = ended.is_ok() && !walk.is_cut_short() && looked.unkept == 0;
        walk.end().await;
        self.seen.count = is_whole.then(|| count.saturating_sub(looked.removed as u64));
        metrics::counter!(DEAD_LETTERS_KEPT_TOTAL).increment(looked.kept as u64);
        metrics::gauge!(DEAD_LETTERS_UNKEPT).set(looked.unkept as f64);
        if looked.kept > 0 {
            let kept = looked.kept;
            tracing::warn!(
                kept,
                "copied dead letters that belong to no record: `kakitome dead-letters list`"
            );
        }
        ended.map(|()| looked)
    }

    async fn go(&mut self, walk: &mut Walk<'_>, looked: &mut Looked) -> Result<(), KeepError> {
        let mut failed = None;
        loop {
            let mut letters = walk.next().await?;
            if letters.is_empty() {
                return failed.map_or(Ok(()), |error: JournalError| Err(error.into()));
            }
            looked.seen += letters.len();
            letters.retain(|letter| !self.seen.done.contains(&letter.key));
            let recorded = dead_letters::recorded(self.log.as_ref(), &letters).await?;
            for (letter, is_recorded) in letters.iter().zip(recorded) {
                if is_recorded {
                    self.done(letter);
                    continue;
                }
                match dead_letters::keep(self.journal.as_ref(), letter, self.clock.now()).await {
                    Ok(keeping) => {
                        looked.kept += usize::from(matches!(keeping, Keeping::Done(_)));
                        if keeping.kept().resent.is_some() {
                            walk.remove(letter);
                            looked.removed += 1;
                        } else {
                            self.done(letter);
                        }
                    }
                    Err(error) => {
                        looked.unkept += 1;
                        failed.get_or_insert(error);
                    }
                }
            }
        }
    }

    fn done(&mut self, letter: &DeadLetter) {
        // Bounded: whatever is forgotten is looked up again.
        if self.seen.done.len() >= 100_000 {
            self.seen.done.clear();
        }
        self.seen.done.insert(letter.key.clone());
    }
}
