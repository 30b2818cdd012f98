//! Counts by minute: what happened how often lately, in memory that does not grow.

use std::collections::{BTreeMap, VecDeque};

use crate::clock::Timestamp;

/// What is counted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tick {
    /// A provider took one.
    Sent(String),
    /// An event of this kind was recorded.
    Event(String),
    /// A webhook post was taken.
    PostTaken,
    /// A webhook post's signature was refused.
    PostRefused,
}

/// How many minutes in which something happened are kept: a day of a busy house, longer in a quiet one.
const MINUTES: usize = 1440;

/// Counts by minute.
#[derive(Debug, Default)]
pub struct Minutes(VecDeque<(i64, BTreeMap<Tick, u64>)>);

fn minute(at: Timestamp) -> i64 {
    at.as_ms() / 60_000
}

impl Minutes {
    /// Counts one.
    pub fn count(&mut self, tick: Tick, at: Timestamp) {
        let now = minute(at);
        if self.0.back().is_none_or(|(last, _)| *last < now) {
            self.0.push_back((now, BTreeMap::new()));
            if self.0.len() > MINUTES {
                self.0.pop_front();
            }
        }
        if let Some((_, counts)) = self.0.back_mut() {
            *counts.entry(tick).or_default() += 1;
        }
    }

    /// How many in the minutes from that of `from` to that of `to`, both included.
    pub fn counted(&self, tick: &Tick, from: Timestamp, to: Timestamp) -> u64 {
        let (from, to) = (minute(from), minute(to));
        let within = self.0.iter().filter(|(at, _)| (from..=to).contains(at));
        within.filter_map(|(_, counts)| counts.get(tick)).sum()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_is_older_than_a_busy_day_is_forgotten_and_the_rest_is_exact() {
        let mut minutes = Minutes::default();
        let begun = Timestamp::from_ms(0);
        let at = |minute: u64| begun.plus(Duration::from_secs(60 * minute));
        for minute in 0..2000 {
            minutes.count(Tick::PostTaken, at(minute));
            minutes.count(Tick::Sent("a".into()), at(minute));
        }
        assert_eq!(minutes.counted(&Tick::PostTaken, begun, at(3000)), 1440);
        assert_eq!(minutes.counted(&Tick::Sent("a".into()), at(1990), at(1994)), 5);
        assert_eq!(minutes.counted(&Tick::Sent("b".into()), begun, at(3000)), 0);
    }
}
