//! Whose turn it is: round-robin over the tenants that may have something visible. Pure.

use std::collections::BTreeMap;
use std::ops::Bound;

use crate::clock::Timestamp;
use crate::notification::Priority;

/// So often a receive begins with the bulk lane, so that a flood of transactional mail does not starve it for ever.
const BULK_FIRST_EVERY: u64 = 8;

/// Both lanes. Changed on the writer's thread only, in step with the table; read by waiting receivers.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    transactional: Lane,
    bulk: Lane,
    receives: u64,
}

/// One lane: for every tenant with messages a moment before which none of them is visible. It may be too early (the
/// message was settled or extended since), never too late, so that only a receive needs to correct it.
#[derive(Debug, Default)]
struct Lane {
    tenants: BTreeMap<String, Timestamp>,
    /// The tenant that was served last; the next turn begins behind it.
    served: String,
}

impl Lanes {
    /// A message of this tenant may become visible at `at`.
    pub(super) fn expect(&mut self, lane: Priority, tenant: &str, at: Timestamp) {
        let tenants = &mut self.lane_mut(lane).tenants;
        match tenants.get_mut(tenant) {
            Some(next) => *next = at.min(*next),
            None => drop(tenants.insert(tenant.to_owned(), at)),
        }
    }

    /// What the table says after a receive: the tenant's next moment, or that it has no message.
    pub(super) fn correct(&mut self, lane: Priority, tenant: &str, next: Option<Timestamp>) {
        let tenants = &mut self.lane_mut(lane).tenants;
        match next {
            Some(next) => drop(tenants.insert(tenant.to_owned(), next)),
            None => drop(tenants.remove(tenant)),
        }
    }

    /// The moment before which a receive would find nothing.
    pub(super) fn next_visible_at(&self) -> Option<Timestamp> {
        let both = self.transactional.tenants.values().chain(self.bulk.tenants.values());
        both.min().copied()
    }

    /// In which order this receive looks at the lanes.
    pub(super) fn order(&mut self) -> [Priority; 2] {
        self.receives += 1;
        if self.receives.is_multiple_of(BULK_FIRST_EVERY) {
            [Priority::Bulk, Priority::Transactional]
        } else {
            [Priority::Transactional, Priority::Bulk]
        }
    }

    /// Up to `max` tenants that may have something visible at `now`, beginning behind the one served last.
    pub(super) fn turn(&mut self, lane: Priority, now: Timestamp, max: usize) -> Vec<String> {
        let lane = self.lane_mut(lane);
        let behind = (Bound::Excluded(lane.served.as_str()), Bound::Unbounded);
        let around = (Bound::Unbounded, Bound::Included(lane.served.as_str()));
        let from_there = lane.tenants.range::<str, _>(behind).chain(lane.tenants.range::<str, _>(around));
        let turn: Vec<String> = from_there
            .filter(|(_, next)| **next <= now)
            .map(|(tenant, _)| tenant.clone())
            .take(max)
            .collect();
        if let Some(last) = turn.last() {
            lane.served.clone_from(last);
        }
        turn
    }

    fn lane_mut(&mut self, lane: Priority) -> &mut Lane {
        match lane {
            Priority::Transactional => &mut self.transactional,
            Priority::Bulk => &mut self.bulk,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_ms(ms)
    }

    #[test]
    fn every_ready_tenant_has_its_turn_before_any_has_a_second() {
        let mut lanes = Lanes::default();
        for tenant in ["a", "b", "c", "later"] {
            lanes.expect(Priority::Bulk, tenant, at(if tenant == "later" { 99 } else { 1 }));
        }
        assert_eq!(lanes.turn(Priority::Bulk, at(5), 2), ["a", "b"]);
        assert_eq!(lanes.turn(Priority::Bulk, at(5), 2), ["c", "a"]);
        assert_eq!(lanes.turn(Priority::Bulk, at(5), 9), ["b", "c", "a"]);
        assert!(lanes.turn(Priority::Transactional, at(5), 9).is_empty());
    }

    #[test]
    fn the_next_moment_moves_only_earlier_until_a_receive_corrects_it() {
        let mut lanes = Lanes::default();
        assert_eq!(lanes.next_visible_at(), None);
        lanes.expect(Priority::Transactional, "a", at(50));
        lanes.expect(Priority::Transactional, "a", at(70));
        lanes.expect(Priority::Bulk, "b", at(60));
        assert_eq!(lanes.next_visible_at(), Some(at(50)));
        lanes.correct(Priority::Transactional, "a", Some(at(70)));
        assert_eq!(lanes.next_visible_at(), Some(at(60)));
        lanes.correct(Priority::Bulk, "b", None);
        assert_eq!(lanes.next_visible_at(), Some(at(70)));
    }
}
