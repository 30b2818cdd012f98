//! Permits: one lane per provider, in order of preference. Taken before the work is accepted, given back by dropping,
//! also by a panic.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::breaker::{self, Breaker, Gate, Heard};
use super::concurrency::{self, Concurrency};
use crate::clock::{Clock, Timestamp};
use crate::metrics::{ATTEMPTS_TOTAL, PROVIDER_UP};
use crate::provider::health::{Circuit, HealthBoard, ProviderHealth, Tick};
use crate::provider::{Idempotency, Provider, SendErrorClass};
use crate::stops::Stops;

/// Every lane.
pub struct Lanes {
    lanes: Vec<Arc<Lane>>,
    clock: Clock,
    health: HealthBoard,
    freed: Arc<Notify>,
}

/// One provider, with what limits it.
struct Lane {
    provider: Arc<dyn Provider>,
    state: Mutex<LaneState>,
    freed: Arc<Notify>,
}

struct LaneState {
    breaker: Breaker,
    concurrency: Concurrency,
    in_flight: u32,
    /// Who holds the provider, and why.
    held: Option<String>,
    shown: Option<Shown>,
}

/// How soon it is looked whether a held lane may open again.
const HELD_LOOK: Duration = Duration::from_millis(250);

/// What the board says of a lane.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Shown {
    circuit: Circuit,
    since: Timestamp,
    shut_until: Option<Duration>,
}

/// The right to one attempt at one provider.
pub struct Permit {
    lane: Arc<Lane>,
}

/// How many more may be taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// So many, some lane being open; may be 0 for now.
    For(u32),
    /// Every lane is shut; the first opens at this boot time.
    ShutUntil(Duration),
}

impl Lanes {
    /// A lane per provider, in order of preference.
    pub fn new(
        providers: Vec<Arc<dyn Provider>>,
        breaker: &breaker::Config,
        concurrency: concurrency::Config,
        clock: Clock,
        health: HealthBoard,
    ) -> Self {
        let freed = Arc::new(Notify::new());
        let breaker = breaker::Config { closed_at: concurrency.max, ..breaker.clone() };
        let lanes: Vec<_> = providers
            .into_iter()
            .map(|provider| {
                let state = Mutex::new(LaneState {
                    breaker: Breaker::new(breaker.clone()),
                    concurrency: Concurrency::new(concurrency),
                    in_flight: 0,
                    held: None,
                    shown: None,
                });
                Arc::new(Lane { provider, state, freed: freed.clone() })
            })
            .collect();
        let lanes = Self { lanes, clock, health, freed };
        for lane in &lanes.lanes {
            lanes.show(lane, &mut lane.lock(), None);
            let outcomes = SendErrorClass::ALL.map(SendErrorClass::as_str);
            for outcome in outcomes.into_iter().chain(["accepted"]) {
                let provider = lane.provider.name().to_owned();
                metrics::counter!(ATTEMPTS_TOTAL, "provider" => provider, "outcome" => outcome).increment(0);
            }
        }
        lanes
    }

    /// Up to `wanted` permits, all of the most preferred lane that has room.
    pub fn take(&self, wanted: usize) -> Vec<Permit> {
        let wanted = u32::try_from(wanted).unwrap_or(u32::MAX);
        self.lanes
            .iter()
            .map(|lane| self.take_from(lane, wanted))
            .find(|taken| !taken.is_empty())
            .unwrap_or_default()
    }

    /// A permit of the named provider's lane, for an unknown that must stay with its provider.
    pub fn take_of(&self, provider: &str) -> Option<Permit> {
        let lane = self.lanes.iter().find(|lane| lane.provider.name() == provider)?;
        self.take_from(lane, 1).pop()
    }

    /// The configured providers.
    pub fn names(&self) -> Vec<String> {
        self.lanes.iter().map(|lane| lane.provider.name().to_owned()).collect()
    }

    /// Whether the named provider is still configured.
    pub fn knows(&self, provider: &str) -> bool {
        self.lanes.iter().any(|lane| lane.provider.name() == provider)
    }

    /// Whether the named provider knows a repeat for one.
    pub fn idempotency_of(&self, provider: &str) -> Idempotency {
        let lane = self.lanes.iter().find(|lane| lane.provider.name() == provider);
        lane.map_or(Idempotency::None, |lane| lane.provider.idempotency())
    }

    fn take_from(&self, lane: &Arc<Lane>, wanted: u32) -> Vec<Permit> {
        let mut state = lane.lock();
        let gate = state.breaker.gate(self.clock.boot_time());
        let limit = match gate {
            Gate::Open => state.concurrency.limit(),
            Gate::Probing(at_once) => at_once.min(state.concurrency.limit()),
            Gate::Shut { .. } => 0,
        };
        let limit = if state.held.is_some() { 0 } else { limit };
        self.show(lane, &mut state, None);
        let taken = limit.saturating_sub(state.in_flight).min(wanted);
        state.in_flight += taken;
        (0..taken).map(|_| Permit { lane: lane.clone() }).collect()
    }

    /// How many deliveries may be received ahead: a window's worth while a lane is open, a probe's while it is tried.
    pub fn room(&self) -> Room {
        let now = self.clock.boot_time();
        let mut opens_at: Option<Duration> = None;
        let mut room = None;
        for lane in &self.lanes {
            let mut state = lane.lock();
            let gate = match state.held {
                Some(_) => Gate::Shut { until: now + HELD_LOOK },
                None => state.breaker.gate(now),
            };
            match gate {
                Gate::Open => room = Some(room.unwrap_or(0) + state.concurrency.limit()),
                Gate::Probing(at_once) => {
                    room = Some(room.unwrap_or(0) + at_once.saturating_sub(state.in_flight));
                }
                Gate::Shut { until } => opens_at = Some(opens_at.map_or(until, |at| at.min(until))),
            }
        }
        match (room, opens_at) {
            (Some(room), _) => Room::For(room),
            (None, Some(until)) => Room::ShutUntil(until),
            (None, None) => Room::For(0),
        }
    }

    /// Learns what an attempt ended in, and shows it on the board when the circuit changed. Whether a failure counts
    /// against its message: only if the provider was well as far as anybody knew.
    pub fn hear(&self, permit: &Permit, heard: Heard, error: Option<&str>, randomness: f64) -> bool {
        let now = self.clock.boot_time();
        let mut state = permit.lane.lock();
        let counts = state.breaker.is_trusted();
        state.breaker.hear(heard, now, randomness);
        state.concurrency.hear(heard, now);
        if heard.is_ok() {
            let sent_at = self.clock.now();
            self.health.record_sent(sent_at);
            self.health.count(Tick::Sent(permit.lane.provider.name().to_owned()), sent_at);
        }
        self.show(&permit.lane, &mut state, error);
        counts
    }

    /// Shuts and opens lanes as the standing stops say, as soon as they change. Never ends.
    pub async fn follow(&self, stops: &Stops) {
        let mut changes = stops.watch();
        loop {
            changes.borrow_and_update();
            self.review(stops);
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    /// Shuts and opens lanes as the standing stops say.
    pub fn review(&self, stops: &Stops) {
        for lane in &self.lanes {
            let stop = stops.of_provider(lane.provider.name());
            let held = stop.map(|stop| format!("held by {}: {}", stop.who, stop.reason));
            let mut state = lane.lock();
            if state.held != held {
                state.held = held;
                self.show(lane, &mut state, None);
            }
        }
        self.freed.notify_one();
    }

    /// Waits until a permit was given back or a circuit changed.
    pub async fn freed(&self) {
        self.freed.notified().await;
    }

    fn show(&self, lane: &Lane, state: &mut LaneState, error: Option<&str>) {
        let now = self.clock.boot_time();
        let gate = state.breaker.gate(now);
        let held = state.held.clone();
        let circuit = match gate {
            _ if held.is_some() => Circuit::Held,
            Gate::Open => Circuit::Closed,
            Gate::Probing(_) => Circuit::HalfOpen,
            Gate::Shut { .. } if state.breaker.is_refused() => Circuit::Refused,
            Gate::Shut { .. } => Circuit::Open,
        };
        let shut_until = match gate {
            Gate::Shut { until } if held.is_none() => Some(until),
            Gate::Shut { .. } | Gate::Open | Gate::Probing(_) => None,
        };
        let before = state.shown;
        let same = before.filter(|shown| shown.circuit == circuit);
        if same.is_some_and(|shown| shown.shut_until == shut_until) {
            return;
        }
        let shown_at = self.clock.now();
        let since = same.map_or(shown_at, |shown| shown.since);
        state.shown = Some(Shown { circuit, since, shut_until });
        let provider = lane.provider.name().to_owned();
        let wait = shut_until.map(|until| until.saturating_sub(now));
        match circuit {
            // A probe that failed: only the time of the next one is news.
            _ if same.is_some() => {}
            Circuit::Closed if before.is_none() => {}
            Circuit::Closed if before.is_some_and(|shown| shown.circuit == Circuit::Held) => {
                tracing::info!(provider, "released: the provider is sent to again");
            }
            Circuit::Closed => tracing::info!(provider, "circuit closed: the provider is well again"),
            Circuit::HalfOpen => tracing::info!(provider, "circuit half open: probing"),
            Circuit::Open => {
                tracing::warn!(provider, error, wait_s = wait.map(|w| w.as_secs()), "circuit opened")
            }
            Circuit::Refused => {
                tracing::error!(provider, error, "the provider refuses us; sending is paused")
            }
            Circuit::Held => tracing::warn!(provider, held, "nothing is sent to the provider"),
        }
        let up = if circuit == Circuit::Closed { 1.0 } else { 0.0 };
        metrics::gauge!(PROVIDER_UP, "provider" => provider.clone()).set(up);
        let probe_at = wait.map(|wait| shown_at.plus(wait));
        let last_error = held.or_else(|| error.map(str::to_owned)).filter(|_| circuit != Circuit::Closed);
        self.health.set_provider(ProviderHealth { name: provider, circuit, since, probe_at, last_error });
    }
}

impl Lane {
    fn lock(&self) -> MutexGuard<'_, LaneState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Permit {
    /// The provider to ask.
    pub fn provider(&self) -> &Arc<dyn Provider> {
        &self.lane.provider
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut state = self.lane.lock();
        state.in_flight = state.in_flight.saturating_sub(1);
        drop(state);
        self.lane.freed.notify_one();
    }
}
