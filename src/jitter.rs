//! How long to wait before the next try: full jitter below an exponential ceiling. The one place that knows the `backoff`
//! crate; what may be tried again, and how often, is for others to say.

use std::time::Duration;

use backoff::ExponentialBackoffBuilder;
use backoff::backoff::Backoff;

/// The numbers of a schedule.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    /// The first retry comes within this.
    pub base: Duration,
    /// No retry waits longer by itself.
    pub cap: Duration,
    /// What the other side asked for is honoured up to this.
    pub longest_retry_after: Duration,
}

impl Default for Schedule {
    fn default() -> Self {
        Self {
            base: Duration::from_secs(1),
            cap: Duration::from_secs(900),
            longest_retry_after: Duration::from_secs(3600),
        }
    }
}

impl Schedule {
    /// How long to wait after the `spent`-th try (1 for the first) failed, floored at what the other side asked for.
    /// `randomness` is in 0 … 1.
    pub fn delay(&self, spent: u32, retry_after: Option<Duration>, randomness: f64) -> Duration {
        let jittered = self.ceiling(spent).mul_f64(randomness.clamp(0.0, 1.0));
        let floor = retry_after.unwrap_or_default().min(self.longest_retry_after);
        jittered.max(floor)
    }

    fn ceiling(&self, spent: u32) -> Duration {
        let mut schedule = ExponentialBackoffBuilder::new()
            .with_initial_interval(self.base)
            .with_max_interval(self.cap)
            .with_multiplier(2.0)
            .with_randomization_factor(0.0)
            .with_max_elapsed_time(None)
            .build();
        // Sixty-four doublings are beyond any cap; the bound keeps a corrupt counter from spinning.
        let steps = spent.clamp(1, 64);
        (0..steps).filter_map(|_| schedule.next_backoff()).last().unwrap_or(self.cap)
    }
}
