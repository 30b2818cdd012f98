//! The circuit breaker of one provider account: pure, fed with what attempts ended in and the boot time.

use std::collections::VecDeque;
use std::time::Duration;

use crate::provider::SendErrorClass;

/// When the circuit opens, and for how long.
#[derive(Clone, Debug)]
pub struct Config {
    /// How far back failures count.
    pub window: Duration,
    /// Fewer calls than this in the window say nothing.
    pub min_calls: u32,
    /// The share of transient failures in the window that opens it, in percent.
    pub open_percent: u32,
    /// So many failures in a row open it: each may be an unknown, and a quiet house never fills the window.
    pub failures_in_a_row: u32,
    /// So many refusals for speed in a row open it: slowing down comes first.
    pub throttled_in_a_row: u32,
    /// The first opening lasts this long, each further one twice as long.
    pub first_open: Duration,
    /// No opening lasts longer.
    pub longest_open: Duration,
    /// How long to wait before trying a provider that refuses us as a whole.
    pub refused_open: Duration,
    /// So many at once again close it.
    pub closed_at: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            window: Duration::from_secs(30),
            min_calls: 20,
            open_percent: 50,
            failures_in_a_row: 5,
            throttled_in_a_row: 10,
            first_open: Duration::from_secs(15),
            longest_open: Duration::from_secs(300),
            refused_open: Duration::from_secs(60),
            closed_at: 64,
        }
    }
}

/// How many attempts may be under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// As many as the concurrency allows.
    Open,
    /// So many, as probes.
    Probing(u32),
    /// None before this boot time.
    Shut {
        /// When the next probe may go.
        until: Duration,
    },
}

/// What one attempt says of its provider.
pub type Heard = Result<(), SendErrorClass>;

/// The breaker. Time is boot time, so that a turned wall clock neither opens nor shuts it.
#[derive(Clone, Debug)]
pub struct Breaker {
    config: Config,
    state: State,
    /// One entry a second: (second, calls, transient failures).
    seconds: VecDeque<(u64, u32, u32)>,
    failures_in_a_row: u32,
    throttled_in_a_row: u32,
    /// How often it opened since it was last closed.
    openings: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Closed,
    Open { until: Duration, refused: bool },
    HalfOpen { at_once: u32, answered: u32 },
}

impl Breaker {
    /// A closed breaker.
    pub fn new(config: Config) -> Self {
        let state = State::Closed;
        Self {
            config,
            state,
            seconds: VecDeque::new(),
            failures_in_a_row: 0,
            throttled_in_a_row: 0,
            openings: 0,
        }
    }

    /// What may be sent at `now`. An opening that is over becomes half open here.
    pub fn gate(&mut self, now: Duration) -> Gate {
        if let State::Open { until, .. } = self.state
            && until <= now
        {
            self.state = State::HalfOpen { at_once: 1, answered: 0 };
        }
        match self.state {
            State::Closed => Gate::Open,
            State::Open { until, .. } => Gate::Shut { until },
            State::HalfOpen { at_once, .. } => Gate::Probing(at_once),
        }
    }

    /// Whether it is shut because the provider refuses us as a whole.
    pub fn is_refused(&self) -> bool {
        matches!(self.state, State::Open { refused: true, .. })
    }

    /// Learns what an attempt ended in. `randomness` in 0 … 1 spreads the openings of several workers by ±20 %.
    pub fn hear(&mut self, heard: Heard, now: Duration, randomness: f64) {
        let transient = match heard {
            // The provider answered and decided: it is well, whatever it thinks of the message.
            Ok(()) | Err(SendErrorClass::Refused) => false,
            Err(SendErrorClass::ProviderRefused) => {
                self.open(self.config.refused_open, true, now, randomness);
                return;
            }
            Err(SendErrorClass::Throttled) => {
                self.throttled_in_a_row += 1;
                true
            }
            Err(SendErrorClass::NotAccepted | SendErrorClass::Unknown) => {
                self.failures_in_a_row += 1;
                true
            }
        };
        if !transient {
            self.failures_in_a_row = 0;
            self.throttled_in_a_row = 0;
        }
        match self.state {
            State::Closed => {
                self.count(now, transient);
                if transient && self.should_open() {
                    self.open_for_illness(now, randomness);
                }
            }
            State::HalfOpen { .. } if transient => self.open_for_illness(now, randomness),
            State::HalfOpen { at_once, answered } => self.widen(at_once, answered + 1),
            // A straggler from before the opening.
            State::Open { .. } => {}
        }
    }

    fn widen(&mut self, at_once: u32, answered: u32) {
        if answered < at_once {
            self.state = State::HalfOpen { at_once, answered };
            return;
        }
        let wider = if at_once == 1 { 5 } else { at_once * 2 };
        if wider < self.config.closed_at {
            self.state = State::HalfOpen { at_once: wider, answered: 0 };
        } else {
            self.state = State::Closed;
            self.openings = 0;
            self.seconds.clear();
        }
    }

    fn count(&mut self, now: Duration, transient: bool) {
        let second = now.as_secs();
        if self.seconds.back().is_none_or(|(last, ..)| *last != second) {
            self.seconds.push_back((second, 0, 0));
        }
        if let Some((_, calls, failures)) = self.seconds.back_mut() {
            *calls += 1;
            *failures += u32::from(transient);
        }
        let oldest = second.saturating_sub(self.config.window.as_secs());
        while self.seconds.front().is_some_and(|(at, ..)| *at < oldest) {
            self.seconds.pop_front();
        }
    }

    fn should_open(&self) -> bool {
        let calls: u32 = self.seconds.iter().map(|(_, calls, _)| calls).sum();
        let failures: u32 = self.seconds.iter().map(|(_, _, failures)| failures).sum();
        let ill_share = calls >= self.config.min_calls && failures * 100 >= calls * self.config.open_percent;
        ill_share
            || self.failures_in_a_row >= self.config.failures_in_a_row
            || self.throttled_in_a_row >= self.config.throttled_in_a_row
    }

    fn open_for_illness(&mut self, now: Duration, randomness: f64) {
        let doublings = self.openings.min(16);
        let span = self.config.first_open.saturating_mul(1 << doublings).min(self.config.longest_open);
        self.open(span, false, now, randomness);
    }

    fn open(&mut self, span: Duration, refused: bool, now: Duration, randomness: f64) {
        let spread = 0.8 + 0.4 * randomness.clamp(0.0, 1.0);
        self.state = State::Open { until: now + span.mul_f64(spread), refused };
        self.openings += 1;
        self.failures_in_a_row = 0;
        self.throttled_in_a_row = 0;
        self.seconds.clear();
    }
}

#[cfg(test)]
#[path = "breaker_tests.rs"]
mod tests;
