//! How many attempts at once: additive increase, multiplicative decrease. Pure.

use std::time::Duration;

use super::breaker::Heard;
use crate::provider::SendErrorClass;

/// The bounds.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Where it starts, and where it falls to at the lowest.
    pub min: u32,
    /// Where it rises to. Also the most unknowns that one worker can make in a blackout.
    pub max: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self { min: 8, max: 64 }
    }
}

/// The limit on attempts under way to one provider.
#[derive(Clone, Debug)]
pub struct Concurrency {
    config: Config,
    limit: f64,
    /// Until the first sign of congestion it doubles a second instead of adding one, as TCP does.
    is_slow_start: bool,
    second: u64,
    is_clean: bool,
    heard_this_second: bool,
}

impl Concurrency {
    /// Starts at the lower bound.
    pub fn new(config: Config) -> Self {
        let limit = f64::from(config.min);
        Self { config, limit, is_slow_start: true, second: 0, is_clean: true, heard_this_second: false }
    }

    /// How many may be under way.
    pub fn limit(&self) -> u32 {
        // In range by construction: min ≤ limit ≤ max.
        self.limit as u32
    }

    /// Learns what an attempt ended in at boot time `now`.
    pub fn hear(&mut self, heard: Heard, now: Duration) {
        let second = now.as_secs();
        if second != self.second {
            if self.is_clean && self.heard_this_second {
                let raised = if self.is_slow_start { self.limit * 2.0 } else { self.limit + 1.0 };
                self.limit = raised.min(f64::from(self.config.max));
            }
            self.second = second;
            self.is_clean = true;
            self.heard_this_second = false;
        }
        match heard {
            Ok(()) => self.heard_this_second = true,
            Err(SendErrorClass::Throttled | SendErrorClass::Unknown) if self.is_clean => {
                // Once a second at most: a burst of answers to one congestion is one sign.
                self.limit = (self.limit * 0.7).max(f64::from(self.config.min));
                self.is_clean = false;
                self.is_slow_start = false;
            }
            Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: u64) -> Duration {
        Duration::from_secs(second)
    }

    #[test]
    fn clean_seconds_double_it_until_the_first_congestion_and_add_one_afterwards() {
        let mut concurrency = Concurrency::new(Config::default());
        for second in 1..=3 {
            concurrency.hear(Ok(()), at(second));
        }
        assert_eq!(concurrency.limit(), 32);
        concurrency.hear(Err(SendErrorClass::Throttled), at(3));
        concurrency.hear(Err(SendErrorClass::Throttled), at(3));
        assert_eq!(concurrency.limit(), 22);
        concurrency.hear(Ok(()), at(4));
        concurrency.hear(Ok(()), at(5));
        assert_eq!(concurrency.limit(), 23);
    }

    #[test]
    fn it_stays_within_its_bounds() {
        let mut concurrency = Concurrency::new(Config::default());
        for second in 1..100 {
            concurrency.hear(Ok(()), at(second));
        }
        assert_eq!(concurrency.limit(), 64);
        for second in 100..200 {
            concurrency.hear(Err(SendErrorClass::Unknown), at(second));
        }
        assert_eq!(concurrency.limit(), 8);
    }
}
