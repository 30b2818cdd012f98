//! How long it took, and takes.

use serde::Serialize;
use utoipa::ToSchema;

use super::affected::delay;
use crate::clock::Timestamp;
use crate::notification::status::{Life, Status};

/// How delays spread, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = IncidentSpread)]
pub struct Spread {
    /// How many.
    pub count: u64,
    /// Half of them took no longer.
    pub p50: f64,
    /// Nine of ten.
    pub p90: f64,
    /// 99 of 100.
    pub p99: f64,
    /// The longest.
    pub max: f64,
}

/// In milliseconds, one for each record: as many as are looked at.
#[derive(Default)]
pub(super) struct Delays {
    sent: Vec<u64>,
    waiting: Vec<u64>,
}

impl Delays {
    pub(super) fn add(&mut self, life: &Life, status: Status, now: Timestamp) {
        let ms = u64::try_from(delay(life, now).as_millis()).unwrap_or(u64::MAX);
        match status {
            Status::Sent => self.sent.push(ms),
            Status::Scheduled | Status::Cancelled | Status::Suppressed | Status::Expired => {}
            Status::Accepted
            | Status::Held
            | Status::Attempting
            | Status::Retrying
            | Status::Unknown
            | Status::Failed => self.waiting.push(ms),
        }
    }

    pub(super) fn sent(&self) -> Option<Spread> {
        spread(self.sent.clone())
    }

    pub(super) fn waiting(&self) -> Option<Spread> {
        spread(self.waiting.clone())
    }
}

/// Nearest rank: the p-th percentile is a delay that there was.
fn spread(mut delays: Vec<u64>) -> Option<Spread> {
    delays.sort_unstable();
    let max = *delays.last()?;
    let seconds = |ms: u64| ms as f64 / 1000.0;
    let percentile = |percent: usize| {
        let rank = (delays.len() * percent).div_ceil(100).max(1);
        seconds(delays.get(rank - 1).copied().unwrap_or(max))
    };
    Some(Spread {
        count: u64::try_from(delays.len()).unwrap_or(u64::MAX),
        p50: percentile(50),
        p90: percentile(90),
        p99: percentile(99),
        max: seconds(max),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_delays_that_there_were() {
        assert_eq!(spread(Vec::new()), None);
        let one = Spread { count: 1, p50: 2.5, p90: 2.5, p99: 2.5, max: 2.5 };
        assert_eq!(spread(vec![2500]), Some(one));
        let hundred = Spread { count: 100, p50: 50.0, p90: 90.0, p99: 99.0, max: 100.0 };
        assert_eq!(spread((1..=100).rev().map(|s| s * 1000).collect()), Some(hundred));
    }
}
