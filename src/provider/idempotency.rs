//! What a provider makes of a request that it had before.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::notification::status::{Attempt, AttemptOutcome, Life};

/// Whether a provider tells a repeated request from a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Idempotency {
    /// It takes every request for a new one.
    None,
    /// The same key again, within this time of its first use, is the same mail: it sends nothing, and answers as it
    /// answered before.
    Key {
        /// How long it remembers.
        ttl: Duration,
    },
}

impl Idempotency {
    /// What the clocks of a provider and of several workers may differ by, and an attempt may take.
    const MARGIN: Duration = Duration::from_secs(3600);

    /// Until when a further request to `provider` is certainly known for a repeat of those of `life` that it may have
    /// taken; `None` where no request is.
    pub fn settles_until(self, life: &Life, provider: &str) -> Option<Timestamp> {
        let Idempotency::Key { ttl } = self else { return None };
        let may_be_taken = |attempt: &&Attempt| {
            attempt.provider == provider
                && matches!(attempt.outcome, AttemptOutcome::Unknown | AttemptOutcome::Pending)
        };
        let first = life.attempts.iter().filter(may_be_taken).map(|attempt| attempt.started_at).min()?;
        Some(first.plus(ttl.saturating_sub(Self::MARGIN)))
    }
}
