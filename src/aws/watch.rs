//! A service that fails is told once in the log, and once that it is well again.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// It is well again when nothing has failed for so long. Much of an ill service may answer all the while: one action
/// that is denied, a share of requests that is throttled. Twice the wait after which the worker asks again for what it
/// could not claim.
const QUIET: Duration = Duration::from_secs(10);

/// Says once that a service began to fail, and once that it answers again.
#[derive(Debug)]
pub struct Watch {
    what: &'static str,
    is_ill: AtomicBool,
    failed_at: Mutex<Option<Instant>>,
}

impl Watch {
    /// `what` as it stands in the log, such as `SQS`.
    pub const fn new(what: &'static str) -> Self {
        Self { what, is_ill: AtomicBool::new(false), failed_at: Mutex::new(None) }
    }

    /// It failed.
    pub fn failed(&self, error: &str) {
        if self.begins(Instant::now()) {
            tracing::error!(error, "{} fails: nothing is lost, everything is tried again", self.what);
        }
    }

    /// It answered.
    pub fn answered(&self) {
        if self.is_ill.load(Ordering::Relaxed) && self.ends(Instant::now()) {
            tracing::info!("{} answers again", self.what);
        }
    }

    /// Whether a failure now is the first.
    fn begins(&self, now: Instant) -> bool {
        let mut failed_at = self.failed_at.lock().unwrap_or_else(PoisonError::into_inner);
        self.is_ill.store(true, Ordering::Relaxed);
        failed_at.replace(now).is_none()
    }

    /// Whether with an answer now the illness is over.
    fn ends(&self, now: Instant) -> bool {
        let mut failed_at = self.failed_at.lock().unwrap_or_else(PoisonError::into_inner);
        let is_over = failed_at.is_some_and(|at| now.saturating_duration_since(at) >= QUIET);
        if is_over {
            *failed_at = None;
            self.is_ill.store(false, Ordering::Relaxed);
        }
        is_over
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_between_failures_neither_end_an_illness_nor_begin_another() {
        let (watch, start) = (Watch::new("SQS"), Instant::now());
        let at = |secs| start + Duration::from_secs(secs);
        assert!(watch.begins(at(0)));
        for secs in 1..30 {
            assert!(!watch.ends(at(secs)));
            assert!(!watch.begins(at(secs)));
        }
        assert!(!watch.ends(at(38)));
        assert!(watch.ends(at(39)));
        assert!(!watch.ends(at(60)), "once");
        assert!(watch.begins(at(60)), "the next illness");
    }
}
