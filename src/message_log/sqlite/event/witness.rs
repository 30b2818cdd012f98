//! The newest event time heard from each provider.

use std::collections::BTreeMap;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, params};

use super::Heard;
use super::find::FUTURE_ALLOWED;
use crate::clock::Timestamp;
use crate::message_log::sqlite::row;

/// The witness is written only when it moves by this much: events come many to a second.
const STEP: Duration = Duration::from_secs(1);

/// The newest time of some events, by provider.
pub(super) type Newest = BTreeMap<String, Timestamp>;

/// What claims to come from later than now says nothing about now.
pub(super) fn newest(heard: &[Heard], now: Timestamp) -> Newest {
    let mut newest = Newest::new();
    for event in heard.iter().map(|heard| &heard.event).filter(|event| event.at <= now.plus(FUTURE_ALLOWED)) {
        match newest.get_mut(&event.provider) {
            Some(at) => *at = event.at.max(*at),
            None => drop(newest.insert(event.provider.clone(), event.at)),
        }
    }
    newest
}

pub(super) fn move_to(tx: &Connection, newest: &Newest) -> rusqlite::Result<()> {
    for (provider, at) in newest {
        let seen = witness(tx, provider)?;
        if seen.is_none_or(|seen| at.since(seen) >= STEP) {
            tx.prepare_cached(
                "INSERT INTO witness (provider, at) VALUES (?1, ?2)
                 ON CONFLICT (provider) DO UPDATE SET at = excluded.at",
            )?
            .execute(params![provider, at.as_ms()])?;
        }
    }
    Ok(())
}

pub(in crate::message_log::sqlite) fn witness(
    tx: &Connection,
    provider: &str,
) -> rusqlite::Result<Option<Timestamp>> {
    tx.prepare_cached("SELECT at FROM witness WHERE provider = ?1")?
        .query_row([provider], |row| row::time(row, 0))
        .optional()
}
