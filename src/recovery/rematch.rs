//! Looks again at the events that matched no notification: what they are about may be known by now. What matches is
//! folded and told as if it had just come; the rest is looked at later, each time later, until its 30 days are over.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::message_log::Recorded;
use crate::message_log::unmatched::{Looked, Unmatched, UnmatchedEvents};
use crate::metrics::EVENTS_UNMATCHED;
use crate::provider::ProviderEvent;
use crate::shutdown::Shutdown;
use crate::tracking::{TrackError, Tracker};

/// How it paces itself.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Between two rounds.
    pub interval: Duration,
    /// Events in one look.
    pub page: usize,
    /// Looks in one round.
    pub pages: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self { interval: Duration::from_secs(30), page: 500, pages: 10 }
    }
}

/// What one look did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rematched {
    /// Looked at.
    pub looked: usize,
    /// Recorded with their notifications now.
    pub matched: usize,
}

/// Looks again at unmatched events.
pub struct Rematcher {
    unmatched: Arc<dyn UnmatchedEvents>,
    tracker: Arc<Tracker>,
    clock: Clock,
    config: Config,
}

impl Rematcher {
    /// Over these.
    pub fn new(
        unmatched: Arc<dyn UnmatchedEvents>,
        tracker: Arc<Tracker>,
        clock: Clock,
        config: Config,
    ) -> Self {
        Self { unmatched, tracker, clock, config }
    }

    /// Looks until the shutdown is pulled.
    pub async fn run(self, shutdown: Shutdown) {
        while !shutdown.is_pulled() {
            if let Err(error) = self.round(&shutdown).await {
                tracing::warn!(%error, "could not look again at the unmatched events");
            }
            tokio::select! {
                () = tokio::time::sleep(self.config.interval) => {}
                () = shutdown.pulled() => {}
            }
        }
    }

    async fn round(&self, shutdown: &Shutdown) -> Result<(), TrackError> {
        for _page in 0..self.config.pages {
            if self.step().await?.looked < self.config.page || shutdown.is_pulled() {
                break;
            }
        }
        metrics::gauge!(EVENTS_UNMATCHED).set(self.unmatched.count().await? as f64);
        Ok(())
    }

    /// One look at up to a page of those whose time has come.
    pub async fn step(&self) -> Result<Rematched, TrackError> {
        let now = self.clock.now();
        let due = self.unmatched.due(now, self.config.page).await?;
        let events: Vec<ProviderEvent> = due.iter().map(|one| one.event.clone()).collect();
        let recorded = self.tracker.track_again(&events).await?;
        let looked: Vec<Looked> = due
            .into_iter()
            .zip(recorded)
            .map(|(Unmatched { key, kept_at, .. }, recorded)| {
                let is_matched = match recorded {
                    Recorded::Folded { .. } => true,
                    Recorded::Repeat { tenant } => tenant.is_some(),
                    Recorded::Unmatched => false,
                };
                Looked { key, kept_at, is_matched }
            })
            .collect();
        // Also with none: what is too old, or too much, goes now.
        self.unmatched.looked(&looked, now).await?;
        let matched = looked.iter().filter(|one| one.is_matched).count();
        if matched > 0 {
            tracing::info!(matched, of = looked.len(), "matched events that had matched nothing before");
        }
        Ok(Rematched { looked: looked.len(), matched })
    }
}
