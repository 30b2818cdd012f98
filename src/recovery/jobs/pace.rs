//! How many a second.

use std::time::Duration;

/// Lets at most so many go a second, in ten portions.
#[derive(Clone, Copy, Debug)]
pub struct Bucket {
    per_second: f64,
    tokens: f64,
    filled_at: Duration,
}

impl Bucket {
    /// Portions a second: small enough to be even, large enough to be worth a page.
    const PORTIONS: f64 = 10.0;

    /// A bucket with its first portion, at this time since boot.
    pub fn new(per_second: u32, now: Duration) -> Self {
        let per_second = f64::from(per_second);
        Self { per_second, tokens: (per_second / Self::PORTIONS).max(1.0), filled_at: now }
    }

    /// How many may go now: none before a portion is together. A late look finds no more than a quarter of a second's.
    pub fn allowed(&mut self, now: Duration) -> usize {
        let passed = now.saturating_sub(self.filled_at).as_secs_f64();
        self.filled_at = now;
        self.tokens = (self.tokens + passed * self.per_second).min((self.per_second / 4.0).max(1.0));
        let portion = (self.per_second / Self::PORTIONS).max(1.0);
        if self.tokens + 1e-9 < portion {
            return 0;
        }
        // A positive number of at most four digits.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positive and small")]
        let whole = (self.tokens + 1e-9).floor() as usize;
        whole
    }

    /// So many went.
    pub fn spend(&mut self, count: usize) {
        self.tokens = (self.tokens - count as f64).max(0.0);
    }

    /// How long to wait for the next portion.
    pub fn wait(&self) -> Duration {
        let portion = (self.per_second / Self::PORTIONS).max(1.0);
        Duration::from_secs_f64(((portion - self.tokens) / self.per_second).clamp(0.001, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_second_has_much_more_than_its_share_and_no_portion_is_lost() {
        for per_second in [1, 7, 20, 50, 1000] {
            let mut bucket = Bucket::new(per_second, Duration::ZERO);
            let (mut now, mut gone) = (Duration::ZERO, 0);
            while now < Duration::from_secs(10) {
                let allowed = bucket.allowed(now);
                bucket.spend(allowed);
                gone += allowed;
                now += bucket.wait();
            }
            let share = per_second as usize * 10;
            assert!(gone <= share + share / 20 + 1, "{gone} of {share}");
            assert!(gone + share / 20 + 1 >= share, "{gone} of {share}");
        }
    }

    #[test]
    fn a_long_pause_is_not_made_up_for_at_once() {
        let mut bucket = Bucket::new(100, Duration::ZERO);
        assert!(bucket.allowed(Duration::from_secs(60)) <= 25);
    }
}
