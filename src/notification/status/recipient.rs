//! What became of each recipient: events folded monotonically, in any order and any number of repeats.

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::named::named;

/// What the provider's events say of one recipient. Declared in rank order: a later one is never taken back by an
/// earlier one.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    utoipa::ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum RecipientStatus {
    /// Nothing heard.
    #[default]
    Pending,
    /// We left it out, see [`RecipientStatus::shown`]. Whatever the provider says later outranks it: it was sent to then.
    #[serde(skip)]
    Suppressed,
    /// The provider works on it.
    Processed,
    /// The receiving server asked to try later; the provider does.
    Deferred,
    /// The receiving server took it.
    Delivered,
    /// Refused for now (reputation, content); the address itself is fine.
    Blocked,
    /// The provider did not try: its own suppression list.
    Dropped,
    /// Refused for good.
    Bounced,
    /// The person marked it as spam.
    Complained,
}

named! {
    /// Every status, by its code in storage: never to be sorted anew.
    RecipientStatus {
        Pending: "pending",
        Processed: "processed",
        Deferred: "deferred",
        Delivered: "delivered",
        Blocked: "blocked",
        Dropped: "dropped",
        Bounced: "bounced",
        Complained: "complained",
        Suppressed: "suppressed",
    }
}

impl RecipientStatus {
    /// As the outside sees it: nothing was sent to whom we left out, as if the provider had dropped it.
    pub fn shown(self) -> Self {
        if self == RecipientStatus::Suppressed { RecipientStatus::Dropped } else { self }
    }
}

/// One recipient's status and since when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecipientState {
    /// The highest-ranked status heard of.
    pub status: RecipientStatus,
    /// The earliest event that said so.
    pub since: Timestamp,
}

impl RecipientState {
    /// The state after an event that says `status` happened at `at`. Commutative, associative and idempotent.
    pub fn after(self, status: RecipientStatus, at: Timestamp) -> Self {
        match status.cmp(&self.status) {
            std::cmp::Ordering::Greater => Self { status, since: at },
            std::cmp::Ordering::Equal => Self { status, since: self.since.min(at) },
            std::cmp::Ordering::Less => self,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn heard() -> impl Strategy<Value = (RecipientStatus, Timestamp)> {
        (1_usize..RecipientStatus::ALL.len(), 0_i64..1000)
            .prop_map(|(i, ms)| (RecipientStatus::ALL[i], Timestamp::from_ms(5_000 + ms)))
    }

    fn fold(events: &[(RecipientStatus, Timestamp)]) -> RecipientState {
        let start = RecipientState { status: RecipientStatus::Pending, since: Timestamp::from_ms(0) };
        events.iter().fold(start, |state, (status, at)| state.after(*status, *at))
    }

    proptest! {
        #[test]
        fn any_order_and_any_repetition_ends_the_same(
            events in prop::collection::vec(heard(), 1..12),
            seed in prop::collection::vec(any::<prop::sample::Index>(), 24),
        ) {
            let expected = fold(&events);
            let mut shuffled = events.clone();
            for (i, pick) in seed.iter().enumerate() {
                let j = pick.index(shuffled.len());
                let i = i % shuffled.len();
                shuffled.swap(i, j);
            }
            let repeated: Vec<_> = shuffled.iter().chain(events.iter()).copied().collect();
            prop_assert_eq!(fold(&shuffled), expected);
            prop_assert_eq!(fold(&repeated), expected);
        }
    }
}
