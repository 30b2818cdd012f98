//! What the worker last saw of each provider, for whoever reports it: a board of plain values.

mod minutes;

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use minutes::Minutes;
pub use minutes::Tick;

/// The board. Cheap to clone; every clone is the same board.
#[derive(Clone, Debug, Default)]
pub struct HealthBoard(Arc<Mutex<Board>>);

#[derive(Debug, Default)]
struct Board {
    providers: BTreeMap<String, ProviderHealth>,
    last_receive: Option<Timestamp>,
    /// Seconds since the epoch, and how many were sent in that second; the last [`RATE_SECONDS`] only.
    sent: VecDeque<(i64, u32)>,
    /// How often each circuit opened since the start.
    openings: BTreeMap<String, u64>,
    minutes: Minutes,
}

/// Over how many seconds the rate of sends is taken.
const RATE_SECONDS: i64 = 30;

/// One provider account as the worker sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ProviderHealth {
    /// The provider's name.
    pub name: String,
    /// What the circuit breaker says.
    pub circuit: Circuit,
    /// Since when.
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
    /// When it will be tried again, while the circuit is open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub probe_at: Option<Timestamp>,
    /// The last error, addresses masked; or who holds it, and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
}

/// The state of a circuit breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Circuit {
    /// Healthy.
    Closed,
    /// Ill: nothing is sent to it.
    Open,
    /// Being tried with a few messages.
    HalfOpen,
    /// It refuses us (key, credits, sender): paused, somebody must mend it.
    Refused,
    /// An operator holds it: nothing is sent to it until somebody releases it.
    Held,
}

impl HealthBoard {
    /// Writes down one provider's state.
    pub fn set_provider(&self, health: ProviderHealth) {
        let is_shut = |circuit| matches!(circuit, Circuit::Open | Circuit::Refused);
        self.with(|board| {
            let before = board.providers.get(&health.name).map(|before| before.circuit);
            if is_shut(health.circuit) && !before.is_some_and(is_shut) {
                *board.openings.entry(health.name.clone()).or_default() += 1;
            }
            board.providers.insert(health.name.clone(), health);
        });
    }

    /// How often each provider's circuit opened since the start: one that is closed again did, too.
    pub fn openings(&self) -> BTreeMap<String, u64> {
        self.with(|board| board.openings.clone())
    }

    /// Counts one of these.
    pub fn count(&self, tick: Tick, at: Timestamp) {
        self.with(|board| board.minutes.count(tick, at));
    }

    /// How many of these were counted from the minute of `from` to that of `to`.
    pub fn counted(&self, tick: &Tick, from: Timestamp, to: Timestamp) -> u64 {
        self.with(|board| board.minutes.counted(tick, from, to))
    }

    /// Every provider, by name.
    pub fn providers(&self) -> Vec<ProviderHealth> {
        self.with(|board| board.providers.values().cloned().collect())
    }

    /// Writes down that the queue answered a receive.
    pub fn set_last_receive(&self, at: Timestamp) {
        self.with(|board| board.last_receive = Some(at));
    }

    /// When the queue last answered a receive.
    pub fn last_receive(&self) -> Option<Timestamp> {
        self.with(|board| board.last_receive)
    }

    /// Writes down that a provider took one.
    pub fn record_sent(&self, at: Timestamp) {
        let second = at.as_ms() / 1000;
        self.with(|board| match board.sent.back_mut() {
            Some((last, count)) if *last >= second => *count += 1,
            _ => {
                board.sent.push_back((second, 1));
                board.sent.retain(|(at, _)| *at > second - RATE_SECONDS);
            }
        });
    }

    /// How many per second the providers took over the last half minute.
    pub fn sent_per_second(&self, now: Timestamp) -> f64 {
        let oldest = now.minus(Duration::from_secs(RATE_SECONDS.unsigned_abs())).as_ms() / 1000;
        let recent = |board: &Board| -> u32 {
            board.sent.iter().filter(|(at, _)| *at > oldest).map(|(_, count)| count).sum()
        };
        f64::from(self.with(|board| recent(board))) / RATE_SECONDS as f64
    }

    fn with<T>(&self, look: impl FnOnce(&mut Board) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
