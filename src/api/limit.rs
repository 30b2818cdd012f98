//! Bounds over all requests: bytes of bodies in memory, requests per key, open notifications.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::clock::Clock;
use crate::message_log::{LogError, MessageLog};

/// Bytes of bodies that may be in memory at once, so that many big bodies cannot exhaust it.
pub(super) struct BodyBudget(Arc<Semaphore>);

impl BodyBudget {
    pub(super) fn new(bytes: usize) -> Self {
        Self(Arc::new(Semaphore::new(bytes.div_ceil(1024).min(Semaphore::MAX_PERMITS))))
    }

    /// Room for a body, empty as yet.
    pub(super) fn room(&self) -> Room {
        Room { budget: Arc::clone(&self.0), held: None, bytes: 0 }
    }
}

/// The room that one body takes up, by what has come and not by what was declared; given back when dropped.
pub(super) struct Room {
    budget: Arc<Semaphore>,
    held: Option<OwnedSemaphorePermit>,
    bytes: usize,
}

impl Room {
    /// Makes room for so many more bytes. `false` while there is none: waiting for it would only move the heap of
    /// bodies into the sockets.
    pub(super) fn grow(&mut self, bytes: usize) -> bool {
        self.bytes += bytes;
        let held_kib = self.held.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let more_kib = u32::try_from(self.bytes.div_ceil(1024) - held_kib).unwrap_or(u32::MAX);
        let Ok(more) = Arc::clone(&self.budget).try_acquire_many_owned(more_kib) else {
            return false;
        };
        match &mut self.held {
            Some(held) => held.merge(more),
            None => self.held = Some(more),
        }
        true
    }
}

/// A token bucket per key, with a burst of one second's worth.
pub(super) struct RequestRates {
    per_second: Option<u32>,
    buckets: Mutex<HashMap<String, Bucket>>,
}

struct Bucket {
    tokens: f64,
    at: Duration,
}

impl RequestRates {
    pub(super) fn new(per_second: Option<u32>) -> Self {
        Self { per_second, buckets: Mutex::default() }
    }

    /// Takes one request's token of this key; else how long until there is one. There are as many buckets as keys.
    pub(super) fn take(&self, key_id: &str, boot_time: Duration) -> Result<(), Duration> {
        let Some(per_second) = self.per_second.map(|rate| f64::from(rate.max(1))) else {
            return Ok(());
        };
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if !buckets.contains_key(key_id) {
            buckets.insert(key_id.to_owned(), Bucket { tokens: per_second, at: boot_time });
        }
        let Some(bucket) = buckets.get_mut(key_id) else {
            return Ok(());
        };
        let passed = boot_time.saturating_sub(bucket.at).as_secs_f64();
        bucket.tokens = passed.mul_add(per_second, bucket.tokens).min(per_second);
        bucket.at = boot_time;
        if bucket.tokens < 1.0 {
            return Err(Duration::from_secs_f64((1.0 - bucket.tokens) / per_second));
        }
        bucket.tokens -= 1.0;
        Ok(())
    }
}

/// How many notifications are open, counted at most once a second and carried on by what was recorded since.
pub(super) struct Backlog {
    cap: Option<u64>,
    open: AtomicU64,
    counted_at: tokio::sync::Mutex<Option<Duration>>,
}

impl Backlog {
    const FRESH: Duration = Duration::from_secs(1);

    pub(super) fn new(cap: Option<u64>) -> Self {
        Self { cap, open: AtomicU64::new(0), counted_at: tokio::sync::Mutex::default() }
    }

    /// Whether `more` notifications fit under the cap.
    pub(super) async fn has_room(
        &self,
        more: usize,
        log: &dyn MessageLog,
        clock: &Clock,
    ) -> Result<bool, LogError> {
        let Some(cap) = self.cap else {
            return Ok(true);
        };
        let mut counted_at = self.counted_at.lock().await;
        let boot_time = clock.boot_time();
        if counted_at.is_none_or(|at| boot_time.saturating_sub(at) >= Self::FRESH) {
            let counts = log.counts(clock.now()).await?;
            let open = counts.by_status.iter().filter(|(status, _)| !status.is_end()).map(|(_, n)| n).sum();
            self.open.store(open, Ordering::Relaxed);
            *counted_at = Some(boot_time);
        }
        Ok(self.open.load(Ordering::Relaxed).saturating_add(more as u64) <= cap)
    }

    /// Carries the count on until the next counting.
    pub(super) fn add(&self, recorded: u64) {
        self.open.fetch_add(recorded, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_share_one_budget_and_give_it_back() {
        let budget = BodyBudget::new(10 * 1024);
        let (mut first, mut second) = (budget.room(), budget.room());
        assert!((0..1024).all(|_| first.grow(8)), "small pieces add up to what they are");
        assert!(!second.grow(4 * 1024));
        drop(first);
        assert!(budget.room().grow(10 * 1024));
    }

    #[test]
    fn a_key_has_its_own_rate_and_is_told_how_long_to_wait() {
        let rates = RequestRates::new(Some(2));
        let at = Duration::from_secs(100);
        assert_eq!([rates.take("a", at), rates.take("a", at)], [Ok(()), Ok(())]);
        assert_eq!(rates.take("a", at), Err(Duration::from_millis(500)));
        assert_eq!(rates.take("b", at), Ok(()));
        assert_eq!(rates.take("a", at + Duration::from_millis(500)), Ok(()));
        assert!(rates.take("a", at + Duration::from_millis(500)).is_err());
    }
}
