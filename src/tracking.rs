//! What follows from provider events: they are folded into the log, counted, and told to whoever acts on them.

pub mod aside;
pub mod folder;

use std::sync::Arc;

use async_trait::async_trait;
use metrics::{counter, histogram};

use crate::background::patiently;
use crate::clock::{Clock, Timestamp};
use crate::message_log::{LogError, MessageLog, Recorded};
use crate::metrics::{ACCEPT_TO_SENT_SECONDS, EVENTS_TOTAL, UNKNOWN_TOTAL, WEBHOOK_LAG_SECONDS};
use crate::notification::status::Status;
use crate::provider::health::{HealthBoard, Tick};
use crate::provider::{EventKind, ProviderEvent};

/// Events that are recorded in one call. A log folds many together far more cheaply than one by one, and lets others
/// have their turn meanwhile; this bounds the memory.
pub const EVENTS_PER_CALL: usize = 16_000;

/// Acts on events that were folded. It may hear of one again, also as a repeat: until everybody has acted, events are
/// not done, and come again after a crash.
#[async_trait]
pub trait Listener: Send + Sync {
    /// Acts on these.
    async fn hear(&self, told: &[(&ProviderEvent, Recorded)]) -> Result<(), String>;
}

/// Why events are not done; they are to be tracked again.
#[derive(Clone, Debug, thiserror::Error)]
pub enum TrackError {
    /// The log could not record some.
    #[error(transparent)]
    Log(#[from] LogError),
    /// A listener could not act.
    #[error("{0}")]
    Listener(String),
}

/// Folds events.
pub struct Tracker {
    log: Arc<dyn MessageLog>,
    health: HealthBoard,
    clock: Clock,
    listeners: Vec<Arc<dyn Listener>>,
}

impl Tracker {
    /// Folds into `log`, counts on `health`, tells the listeners.
    pub fn new(
        log: Arc<dyn MessageLog>,
        health: HealthBoard,
        clock: Clock,
        listeners: Vec<Arc<dyn Listener>>,
    ) -> Self {
        Self { log, health, clock, listeners }
    }

    /// Folds these; they are done only if it succeeds, and may be tracked again at any time.
    pub async fn track(&self, events: &[ProviderEvent]) -> Result<(), TrackError> {
        let mut tally = Tally::default();
        let tracked = self.track_all(events, &mut tally).await;
        let Tally { folded, repeated, unmatched, .. } = tally;
        if unmatched > 0 {
            tracing::info!(folded, repeated, unmatched, "recorded events");
        } else {
            tracing::debug!(folded, repeated, unmatched, "recorded events");
        }
        tracked
    }

    /// Folds events that were counted when they came: what became of each. They may be told again, as with
    /// [`Tracker::track`].
    pub async fn track_again(&self, events: &[ProviderEvent]) -> Result<Vec<Recorded>, TrackError> {
        let mut again = Tally { counts_new: false, ..Tally::default() };
        let mut recorded = Vec::with_capacity(events.len());
        for events in events.chunks(EVENTS_PER_CALL) {
            let told = self.track_call(events, &mut again).await?;
            recorded.extend(told.into_iter().map(|(_, recorded)| recorded));
        }
        Ok(recorded)
    }

    async fn track_all(&self, events: &[ProviderEvent], tally: &mut Tally) -> Result<(), TrackError> {
        for events in events.chunks(EVENTS_PER_CALL) {
            self.track_call(events, tally).await?;
        }
        Ok(())
    }

    async fn track_call<'a>(
        &self,
        events: &'a [ProviderEvent],
        tally: &mut Tally,
    ) -> Result<Vec<(&'a ProviderEvent, Recorded)>, TrackError> {
        let results = self.log.record_events(events, self.clock.now()).await;
        let durable_at = self.clock.now();
        let mut failure = missing(events.len(), results.len());
        let mut told = Vec::with_capacity(events.len());
        for (event, result) in patiently(events.iter().zip(results)) {
            match result {
                Ok(recorded) => {
                    tally.count(event, &recorded, durable_at);
                    if tally.counts_new && !matches!(recorded, Recorded::Repeat { .. }) {
                        self.health.count(Tick::Event(label(&event.kind)), durable_at);
                    }
                    told.push((event, recorded));
                }
                Err(error) => failure = Some(error),
            }
        }
        for listener in &self.listeners {
            listener.hear(&told).await.map_err(TrackError::Listener)?;
        }
        match failure {
            Some(error) => Err(error.into()),
            None => Ok(told),
        }
    }
}

/// An event without a result is not known to be durable, so it counts as failed.
fn missing(asked: usize, answered: usize) -> Option<LogError> {
    (answered < asked).then(|| LogError::Unavailable(format!("{answered} results for {asked} events")))
}

/// What became of a post's events.
struct Tally {
    folded: usize,
    repeated: usize,
    unmatched: usize,
    /// Whether those that are no repeats were not counted before.
    counts_new: bool,
}

impl Default for Tally {
    fn default() -> Self {
        Self { folded: 0, repeated: 0, unmatched: 0, counts_new: true }
    }
}

impl Tally {
    fn count(&mut self, event: &ProviderEvent, recorded: &Recorded, durable_at: Timestamp) {
        match recorded {
            Recorded::Repeat { .. } => {
                self.repeated += 1;
                return;
            }
            Recorded::Folded { settled, ready_at, .. } => {
                self.folded += 1;
                // The worker that learns of it later, if at all, finds it sent and counts nothing.
                if settled.is_some() {
                    histogram!(ACCEPT_TO_SENT_SECONDS).record(durable_at.since(*ready_at).as_secs_f64());
                }
                if *settled == Some(Status::Unknown) {
                    counter!(UNKNOWN_TOTAL, "resolution" => "event").increment(1);
                }
            }
            Recorded::Unmatched => self.unmatched += 1,
        }
        if !self.counts_new {
            return;
        }
        let provider = event.provider.clone();
        counter!(EVENTS_TOTAL, "provider" => provider, "kind" => label(&event.kind)).increment(1);
        histogram!(WEBHOOK_LAG_SECONDS).record(durable_at.since(event.at).as_secs_f64());
    }
}

/// Kinds that we do not know share one label: their names come from outside and would make series without end.
fn label(kind: &EventKind) -> String {
    match kind {
        EventKind::Other(_) => "other".to_owned(),
        known => known.as_str().to_owned(),
    }
}
