//! What is unsent, by status and by how long it waits: for a proof, which wants to know the old ones apart.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::clock::Timestamp;
use crate::notification::status::Status;

/// How those in one status stand. The wait counts from [`crate::notification::status::Life::ready_at`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// How many.
    pub count: u64,
    /// Since when the one waits that waits longest.
    pub oldest: Option<Timestamp>,
    /// They add up to the count.
    pub by_age: ByAge,
}

/// Every unsent status that somebody stands in.
pub type Standings = BTreeMap<Status, Standing>;

/// Counts by how long they wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ByAge {
    /// Their `deliver_at` has not come.
    pub not_due: u64,
    /// For less than a minute.
    pub under_1m: u64,
    /// For less than ten minutes.
    pub under_10m: u64,
    /// For less than an hour.
    pub under_1h: u64,
    /// For less than a day.
    pub under_24h: u64,
    /// Longer.
    pub older: u64,
}

/// From youngest to oldest: where one ends, the next begins.
const LIMITS: [Duration; 4] = [
    Duration::from_secs(60),
    Duration::from_secs(600),
    Duration::from_secs(3600),
    Duration::from_secs(24 * 3600),
];

impl ByAge {
    /// The ages as ranges of the moment since which one waits, each after its first and up to its second moment.
    pub fn ranges(now: Timestamp) -> [(Option<Timestamp>, Option<Timestamp>); 6] {
        let [minute, ten, hour, day] = LIMITS.map(|limit| Some(now.minus(limit)));
        let now = Some(now);
        [(now, None), (minute, now), (ten, minute), (hour, ten), (day, hour), (None, day)]
    }

    /// The counts, youngest first, in the order of [`ByAge::ranges`].
    pub fn counts(&self) -> [u64; 6] {
        [self.not_due, self.under_1m, self.under_10m, self.under_1h, self.under_24h, self.older]
    }

    fn slot(&mut self, age: usize) -> &mut u64 {
        match age {
            0 => &mut self.not_due,
            1 => &mut self.under_1m,
            2 => &mut self.under_10m,
            3 => &mut self.under_1h,
            4 => &mut self.under_24h,
            _ => &mut self.older,
        }
    }
}

impl Standing {
    /// One more, who waits since `ready_at`.
    pub fn add(&mut self, ready_at: Timestamp, now: Timestamp) {
        let age = ByAge::ranges(now)
            .iter()
            .position(|(after, to)| {
                after.is_none_or(|after| ready_at > after) && to.is_none_or(|to| ready_at <= to)
            })
            .unwrap_or(5);
        self.add_many(age, 1, Some(ready_at));
    }

    /// So many more of the age with this place in [`ByAge::ranges`]; `oldest`: since when the first of them waits.
    pub fn add_many(&mut self, age: usize, count: u64, oldest: Option<Timestamp>) {
        self.count += count;
        *self.by_age.slot(age) += count;
        self.oldest = self.oldest.into_iter().chain(oldest).min();
    }
}

/// How many stand where.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// By status. Statuses with none are absent. In a backlog of thousands a backend may count those under way with
    /// what they were before.
    pub by_status: BTreeMap<Status, u64>,
    /// From when the longest-waiting one that should be on its way counts (dead letters, held and scheduled ones
    /// are not on their way).
    pub oldest_unsent: Option<Timestamp>,
}

impl Counts {
    /// How many should be on their way: each has a queue message, or waits in the log for its time.
    pub fn on_their_way(&self) -> u64 {
        [Status::Accepted, Status::Attempting, Status::Retrying, Status::Unknown]
            .iter()
            .filter_map(|status| self.by_status.get(status))
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_wait_has_one_age_and_the_ages_add_up() {
        let now = Timestamp::from_ms(1_000_000_000_000);
        let ago = |seconds| now.minus(Duration::from_secs(seconds));
        let mut standing = Standing::default();
        let later = now.plus(Duration::from_secs(1));
        for at in [later, ago(0), ago(59), ago(60), ago(599), ago(600), ago(3600), ago(86_399), ago(86_400)] {
            standing.add(at, now);
        }
        assert_eq!(standing.by_age.counts(), [1, 2, 2, 1, 2, 1]);
        assert_eq!((standing.count, standing.oldest), (9, Some(ago(86_400))));
    }
}
