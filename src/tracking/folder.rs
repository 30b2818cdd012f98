//! The folder: takes parcels from the inbox, fairly, folds them, and says done. Whatever fails is tried again, slower
//! and slower, while the inbox keeps the rest; nothing is said done before everybody has acted on it.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use tokio::time::Instant;

use super::{TrackError, Tracker};
use crate::inbox::{Inbox, Receipt, Taken};
use crate::message_log::LogError;
use crate::provider::ProviderEvent;
use crate::shutdown::Shutdown;

/// How the folder works.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Takes no further parcel once it holds so many events.
    pub events: usize,
    /// Steps at once: while one waits for the log, another reads its parcels.
    pub at_once: usize,
    /// How long a step waits for the first parcel.
    pub wait: Duration,
    /// The wait after a first failure; it doubles.
    pub first_backoff: Duration,
    /// The longest wait after a failure.
    pub longest_backoff: Duration,
    /// How long a shutdown goes on folding what waits.
    pub drain: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            events: 500,
            at_once: 2,
            wait: Duration::from_secs(20),
            first_backoff: Duration::from_millis(100),
            longest_backoff: Duration::from_secs(30),
            drain: Duration::from_secs(5),
        }
    }
}

/// What one step came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing waited.
    Idle,
    /// So many events were folded and are done.
    Folded(usize),
    /// The inbox did not answer.
    Failed,
}

/// Folds what waits in the inbox.
pub struct Folder {
    inbox: Arc<dyn Inbox>,
    tracker: Arc<Tracker>,
    config: Config,
}

impl Folder {
    /// Folds `inbox` through `tracker`.
    pub fn new(inbox: Arc<dyn Inbox>, tracker: Arc<Tracker>, config: Config) -> Self {
        Self { inbox, tracker, config }
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
                pause(backoff, stopped).await;
                backoff = (backoff * 2).min(self.config.longest_backoff);
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
            Ok(taken) if taken.is_empty() => return Outcome::Idle,
            Ok(taken) => taken,
            Err(error) => {
                tracing::error!(%error, "events wait: the inbox does not hand them out");
                return Outcome::Failed;
            }
        };
        self.fold(taken, stopped).await
    }

    async fn fold(&self, taken: Vec<Taken>, stopped: &Shutdown) -> Outcome {
        let (mut events, mut receipts) = (Vec::new(), Vec::new());
        for one in taken {
            match one.parcel.open() {
                Ok(opened) => {
                    events.extend(opened);
                    receipts.push(one.receipt);
                }
                Err(error) => tracing::error!(%error, "a parcel of events stays in the inbox"),
            }
        }
        let mut backoff = self.config.first_backoff;
        while let Err(error) = self.track(&events).await {
            if stopped.is_pulled() {
                tracing::warn!(%error, events = events.len(), "events stay in the inbox");
                return Outcome::Failed;
            }
            tracing::error!(%error, events = events.len(), "events could not be folded; they are tried again");
            self.keep(&receipts).await;
            pause(backoff, stopped).await;
            backoff = (backoff * 2).min(self.config.longest_backoff);
        }
        // Folded they are: what is not removed comes again, as repeats.
        while let Err(error) = self.inbox.done(&receipts).await {
            tracing::warn!(%error, "folded events stay in the inbox for now");
            if stopped.is_pulled() {
                return Outcome::Failed;
            }
            pause(backoff, stopped).await;
            backoff = (backoff * 2).min(self.config.longest_backoff);
        }
        Outcome::Folded(events.len())
    }

    async fn track(&self, events: &[ProviderEvent]) -> Result<(), TrackError> {
        let tracked = AssertUnwindSafe(self.tracker.track(events)).catch_unwind().await;
        tracked.unwrap_or_else(|_panic| Err(LogError::Corrupt("folding it panicked".into()).into()))
    }

    async fn keep(&self, receipts: &[Receipt]) {
        if let Err(error) = self.inbox.keep(receipts).await {
            tracing::warn!(%error, "others may fold the same events meanwhile");
        }
    }
}

async fn pause(span: Duration, stopped: &Shutdown) {
    tokio::select! {
        () = tokio::time::sleep(span) => {}
        () = stopped.pulled() => {}
    }
}
