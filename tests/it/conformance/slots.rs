//! What every journal does for the places of a tenant's callbacks.

use std::time::Duration;

use futures::future::join_all;
use kakitome::feed::callback::{PER_TENANT, slots};

use super::journal::JournalBench;

/// Every case, for one backend.
macro_rules! suite {
    ($bench:path) => {
        crate::conformance::on_each! { crate::conformance::slots, $bench;
            of_eight_who_add_at_once_five_have_a_place
        }
    };
}
pub(crate) use suite;

async fn take(bench: &JournalBench, tenant: &str, id: &str) -> bool {
    slots::take(&*bench.journal, tenant, id, &[], bench.clock.now()).await.unwrap()
}

pub async fn of_eight_who_add_at_once_five_have_a_place(bench: &JournalBench) {
    let ids: Vec<String> = (0..8).map(|number| format!("c-{number}")).collect();
    let taken = join_all(ids.iter().map(|id| take(bench, "hotel", id))).await;
    assert_eq!(taken.iter().filter(|has_place| **has_place).count(), PER_TENANT);
    assert!(take(bench, "inn", "c-9").await, "another tenant has places of his own");
    // What is removed makes room at once.
    let removed = ids.iter().zip(&taken).find(|(_, has_place)| **has_place).unwrap().0;
    slots::free(&*bench.journal, "hotel", removed).await.unwrap();
    assert!(take(bench, "hotel", "c-10").await && !take(bench, "hotel", "c-11").await);
    // Who took a place and died before he wrote anything does not keep it.
    bench.clock.advance(Duration::from_secs(60));
    assert!(take(bench, "hotel", "c-12").await);
}
