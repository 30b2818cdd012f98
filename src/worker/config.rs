//! The worker's numbers.

use std::time::Duration;

use super::{breaker, concurrency, retry, settle};

/// The worker's numbers. `settings` refuses the combinations that are unsafe.
#[derive(Clone, Debug)]
pub struct Config {
    /// How long a claim keeps others away.
    pub lease: Duration,
    /// How long after the lease an unknown outcome waits for evidence before it may be resent: more than the latest
    /// acceptance after our time-out plus the webhook's lag plus twice the clock skew.
    pub hold: Duration,
    /// The provider adapter's whole-attempt time-out.
    pub attempt_timeout: Duration,
    /// The queue's visibility time-out; held deliveries are extended at a third of it.
    pub visibility: Duration,
    /// One long poll.
    pub long_poll: Duration,
    /// Deliveries received in one call.
    pub receive_batch: usize,
    /// How long a message rests after the log could not be asked about it.
    pub trouble_wait: Duration,
    /// How long running sends and their outcomes may take to end at shutdown.
    pub drain: Duration,
    /// Retries, limits, the witness rule.
    pub retry: retry::Policy,
    /// The circuit breaker.
    pub breaker: breaker::Config,
    /// Attempts at once.
    pub concurrency: concurrency::Config,
    /// Batches of outcomes.
    pub settle: settle::Config,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(30),
            hold: Duration::from_secs(600),
            attempt_timeout: Duration::from_secs(10),
            visibility: Duration::from_secs(60),
            long_poll: Duration::from_secs(20),
            receive_batch: 64,
            trouble_wait: Duration::from_secs(5),
            drain: Duration::from_secs(25),
            retry: retry::Policy::default(),
            breaker: breaker::Config::default(),
            concurrency: concurrency::Config::default(),
            settle: settle::Config::default(),
        }
    }
}

impl Config {
    /// What is left of a lease for everything but the attempt itself: clocks, scheduling, the write before it.
    pub const LEASE_MARGIN: Duration = Duration::from_millis(500);

    /// How long after the claim was asked for an attempt may still begin: it must end within the lease.
    pub(super) fn latest_start(&self) -> Duration {
        self.lease.saturating_sub(self.attempt_timeout + Self::LEASE_MARGIN)
    }
}
