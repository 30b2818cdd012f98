//! How many callbacks a tenant has, where several are added at once: a document for each tenant, in which a place is taken
//! before the callback is written.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Callback, PER_TENANT};
use crate::clock::Timestamp;
use crate::journal::{self, Journal, JournalError, Kind};

/// Whoever took a place writes its callback within this, or died: then it is free again.
const TAKEN_FOR: Duration = Duration::from_secs(60);

/// The places of one tenant.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Slots {
    taken: Vec<Slot>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Slot {
    /// The callback's id.
    id: String,
    at: Timestamp,
}

fn key(tenant: &str) -> String {
    format!("callbacks#{tenant}")
}

/// Takes a place for the callback `id`. `known`: what was listed just now. False: the tenant has as many as it may have.
pub async fn take(
    journal: &dyn Journal,
    tenant: &str,
    id: &str,
    known: &[Callback],
    now: Timestamp,
) -> Result<bool, JournalError> {
    let there: BTreeSet<&str> =
        known.iter().filter(|one| one.tenant == tenant).map(|one| one.id.as_str()).collect();
    journal::change(journal, Kind::Mark, &key(tenant), None, |slots: Option<Slots>| {
        let mut slots = slots.unwrap_or_default();
        slots.taken.retain(|slot| there.contains(slot.id.as_str()) || now.since(slot.at) < TAKEN_FOR);
        // Those that were added before there were places.
        for id in &there {
            if !slots.taken.iter().any(|slot| slot.id == *id) {
                slots.taken.push(Slot { id: (*id).to_owned(), at: now });
            }
        }
        if slots.taken.len() >= PER_TENANT {
            return (None, false);
        }
        slots.taken.push(Slot { id: id.to_owned(), at: now });
        (Some(slots), true)
    })
    .await
}

/// Gives the place of a callback back that was removed.
pub async fn free(journal: &dyn Journal, tenant: &str, id: &str) -> Result<(), JournalError> {
    journal::change(journal, Kind::Mark, &key(tenant), None, |slots: Option<Slots>| {
        let Some(mut slots) = slots else { return (None, ()) };
        let before = slots.taken.len();
        slots.taken.retain(|slot| slot.id != id);
        ((slots.taken.len() < before).then_some(slots), ())
    })
    .await
}
