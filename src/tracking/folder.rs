//! The folder: takes parcels from the inbox, fairly, folds them, and says done. Whatever fails is tried again, slower
//! and slower, while the inbox keeps the rest; nothing is said done before everybody has acted on it.
//!
//! What fails for itself alone must not stop its neighbours: see `mend`.

mod mend;

use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::FutureExt;
use tokio::time::Instant;

use super::{EVENTS_PER_CALL, TrackError, Tracker};
use crate::background::patiently;
use crate::clock::{Clock, Timestamp};
use crate::inbox::{Inbox, Receipt, Taken};
use crate::journal::Journal;
use crate::message_log::LogError;
use crate::provider::ProviderEvent;
use crate::shutdown::Shutdown;

/// How the folder works.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Takes no further parcel once it holds so many events: in a flood, what comes later waits while so many are folded.
    pub events: usize,
    /// Steps at once: while one waits for the log, another reads its parcels.
    pub at_once: usize,
    /// How long a step waits for the first parcel.
    pub wait: Duration,
    /// The wait after a first failure; it doubles.
    pub first_backoff: Duration,
    /// The longest wait after a failure.
    pub longest_backoff: Duration,
    /// Failures in a row after which events are tried one by one.
    pub stubborn: u32,
    /// A parcel that was taken so often before by somebody who came to no end is folded without neighbours.
    pub suspect_tries: u32,
    /// A parcel that was taken so often before is not folded any more, but taken apart; an event, set aside.
    pub last_tries: u32,
    /// How long a shutdown goes on folding what waits.
    pub drain: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            events: EVENTS_PER_CALL,
            at_once: 2,
            wait: Duration::from_secs(20),
            first_backoff: Duration::from_millis(100),
            longest_backoff: Duration::from_secs(30),
            stubborn: 6,
            suspect_tries: 2,
            last_tries: 5,
            drain: Duration::from_secs(5),
        }
    }
}

/// What one step came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing waited.
    Idle,
    /// So many events are done: folded, or set apart.
    Folded(usize),
    /// The inbox did not answer, or the shutdown came while nothing could be folded.
    Failed,
}

/// Folds what waits in the inbox.
pub struct Folder {
    inbox: Arc<dyn Inbox>,
    tracker: Arc<Tracker>,
    journal: Arc<dyn Journal>,
    clock: Clock,
    config: Config,
    /// The inbox did not answer, and that was told.
    is_ill: AtomicBool,
}

/// Events that are folded in one go, with their parcels' receipts.
struct Batch {
    events: Vec<ProviderEvent>,
    receipts: Vec<Receipt>,
    received_at: Timestamp,
    tries: u32,
}

impl Drop for Batch {
    fn drop(&mut self) {
        patiently(self.events.drain(..)).for_each(drop);
    }
}

/// Why events were not folded.
enum Trouble {
    /// It may go better later.
    Later(String),
    /// It will not: what is stored of them cannot be read, or folding them panics.
    Never(String),
}

impl Folder {
    /// Folds `inbox` through `tracker`; what can never be folded goes to the journal.
    pub fn new(
        inbox: Arc<dyn Inbox>,
        tracker: Arc<Tracker>,
        journal: Arc<dyn Journal>,
        clock: Clock,
        config: Config,
    ) -> Self {
        Self { inbox, tracker, journal, clock, config, is_ill: AtomicBool::new(false) }
    }

    /// Folds until the shutdown is pulled, and then, within bounds, what still waits.
    pub async fn run(self, stopped: Shutdown) {
        let steps = (0..self.config.at_once.max(1)).map(|_| self.run_one(&stopped));
        futures::future::join_all(steps).await;
    }

    async fn run_one(&self, stopped: &Shutdown) {
        let mut backoff = self.config.first_backoff;
        while !stopped.is_pulled() {
            if self.step(self.config.wait, stopped).await == Outcome::Failed {
                self.pause(&mut backoff, stopped).await;
            } else {
                backoff = self.config.first_backoff;
            }
        }
        let end = Instant::now() + self.config.drain;
        while Instant::now() < end && matches!(self.step(Duration::ZERO, stopped).await, Outcome::Folded(_)) {
        }
    }

    /// Takes some parcels and folds them, however often that must be tried.
    pub async fn step(&self, wait: Duration, stopped: &Shutdown) -> Outcome {
        let taken = match self.inbox.take(self.config.events, wait).await {
            Ok(taken) => taken,
            Err(error) => {
                if !self.is_ill.swap(true, Ordering::Relaxed) {
                    tracing::error!(%error, "events wait: the inbox does not hand them out");
                }
                return Outcome::Failed;
            }
        };
        if self.is_ill.swap(false, Ordering::Relaxed) {
            tracing::info!("the inbox hands events out again");
        }
        if taken.is_empty() {
            return Outcome::Idle;
        }
        let mut done = 0;
        for batch in self.batches(taken) {
            let events = batch.events.len();
            if !self.settle(batch, stopped).await {
                return Outcome::Failed;
            }
            done += events;
        }
        Outcome::Folded(done)
    }

    /// One batch, and one for each parcel under suspicion. A parcel that cannot be read stays where it is: another
    /// release may have written it.
    fn batches(&self, taken: Vec<Taken>) -> Vec<Batch> {
        let mut batches: Vec<Batch> = Vec::new();
        for Taken { parcel, receipt, tries } in patiently(taken) {
            let events = match parcel.open() {
                Ok(events) => events,
                Err(error) => {
                    tracing::error!(%error, lane = parcel.lane, "a parcel of events stays in the inbox");
                    self.inbox.leave(&[receipt]);
                    continue;
                }
            };
            let is_trusted = |tries| tries < self.config.suspect_tries;
            match batches.first_mut().filter(|first| is_trusted(tries) && is_trusted(first.tries)) {
                Some(first) => {
                    first.events.extend(events);
                    first.receipts.push(receipt);
                    first.received_at = first.received_at.min(parcel.received_at);
                }
                None => {
                    let received_at = parcel.received_at;
                    batches.push(Batch { events, receipts: vec![receipt], received_at, tries });
                    // The trusted one is the first.
                    let last = batches.len() - 1;
                    if is_trusted(tries) {
                        batches.swap(0, last);
                    }
                }
            }
        }
        batches
    }

    /// Folds the batch, however often that must be tried, and says done. `false`: the shutdown came first.
    async fn settle(&self, batch: Batch, stopped: &Shutdown) -> bool {
        let (mut backoff, mut failures) = (self.config.first_backoff, 0);
        while !self.try_fold(&batch, &mut failures).await {
            if stopped.is_pulled() {
                tracing::warn!(events = batch.events.len(), "events stay in the inbox");
                return false;
            }
            self.keep(&batch.receipts).await;
            self.pause(&mut backoff, stopped).await;
        }
        // Done with they are: what is not removed comes again, as repeats.
        while let Err(error) = self.inbox.done(&batch.receipts).await {
            tracing::warn!(%error, "folded events stay in the inbox for now");
            if stopped.is_pulled() {
                return false;
            }
            self.pause(&mut backoff, stopped).await;
        }
        true
    }

    /// Whether nothing of the batch is left to do.
    async fn try_fold(&self, batch: &Batch, failures: &mut u32) -> bool {
        if batch.tries >= self.config.last_tries {
            return self.take_apart(batch).await;
        }
        let Err(trouble) = self.track(&batch.events, &batch.receipts).await else { return true };
        *failures += 1;
        if *failures == 1 {
            let events = batch.events.len();
            tracing::error!(
                error = trouble.words(),
                events,
                "events could not be folded; they are tried again"
            );
        }
        let is_stubborn =
            matches!(trouble, Trouble::Never(_)) || failures.is_multiple_of(self.config.stubborn);
        is_stubborn && self.fold_one_by_one(batch).await
    }

    /// Folds these, while their parcels are kept from others.
    async fn track(&self, events: &[ProviderEvent], receipts: &[Receipt]) -> Result<(), Trouble> {
        let mut tracking = pin!(AssertUnwindSafe(self.tracker.track(events)).catch_unwind());
        let beat = self.inbox.keeps_for().map_or(Duration::MAX, |span| span / 3);
        loop {
            let tracked = tokio::select! {
                tracked = &mut tracking => tracked,
                () = tokio::time::sleep(beat) => {
                    self.keep(receipts).await;
                    continue;
                }
            };
            return match tracked {
                Ok(Ok(())) => Ok(()),
                Ok(Err(TrackError::Log(LogError::Corrupt(why)))) => Err(Trouble::Never(why)),
                Ok(Err(error)) => Err(Trouble::Later(error.to_string())),
                Err(_panic) => Err(Trouble::Never("folding it panicked".into())),
            };
        }
    }

    async fn keep(&self, receipts: &[Receipt]) {
        if let Err(error) = self.inbox.keep(receipts).await {
            tracing::warn!(%error, "others may fold the same events meanwhile");
        }
    }

    async fn pause(&self, backoff: &mut Duration, stopped: &Shutdown) {
        tokio::select! {
            () = tokio::time::sleep(*backoff) => {}
            () = stopped.pulled() => {}
        }
        *backoff = (*backoff * 2).min(self.config.longest_backoff);
    }
}

impl Trouble {
    fn words(&self) -> &str {
        let (Trouble::Later(why) | Trouble::Never(why)) = self;
        why
    }
}
