//! The inbox's statements. Every function runs inside one transaction of the engine.

use std::collections::HashMap;

use bytes::Bytes;
use rusqlite::{Connection, params};

use super::Parcel;
use super::lanes::Head;
use crate::clock::Timestamp;

/// What an earlier process left, oldest first. The bodies lie behind the other columns: a row's first
/// page is all that is read.
pub(super) fn load(tx: &Connection) -> rusqlite::Result<Vec<Head>> {
    tx.prepare_cached("SELECT lane, seq, received_at, events, tries, length(body) FROM inbox ORDER BY seq")?
        .query_map([], |row| {
            Ok(Head {
                lane: row.get(0)?,
                seq: row.get(1)?,
                received_at: Timestamp::from_ms(row.get(2)?),
                events: usize::try_from(row.get::<_, i64>(3)?).unwrap_or(0),
                tries: u32::try_from(row.get::<_, i64>(4)?).unwrap_or(u32::MAX),
                bytes: u64::try_from(row.get::<_, i64>(5)?).unwrap_or(0),
                is_left_behind: true,
                body: None,
                folded: None,
            })
        })?
        .collect()
}

pub(super) fn insert(tx: &Connection, first: i64, parcels: &[Parcel]) -> rusqlite::Result<()> {
    let mut insert = tx.prepare_cached(
        "INSERT INTO inbox (seq, lane, received_at, events, tries, body) VALUES (?1, ?2, ?3, ?4, 0, ?5)",
    )?;
    for (seq, parcel) in (first..).zip(parcels) {
        let events = i64::try_from(parcel.events).unwrap_or(i64::MAX);
        insert.execute(params![seq, parcel.lane, parcel.received_at.as_ms(), events, &parcel.body[..]])?;
    }
    Ok(())
}

pub(super) fn bodies(tx: &Connection, seqs: &[i64]) -> rusqlite::Result<HashMap<i64, Bytes>> {
    let mut read = tx.prepare_cached("SELECT body FROM inbox WHERE seq = ?1")?;
    let body = |seq: &i64| Ok((*seq, read.query_row([seq], |row| row.get::<_, Vec<u8>>(0))?.into()));
    seqs.iter().map(body).collect()
}

pub(super) fn count_tries(tx: &Connection, seqs: &[i64]) -> rusqlite::Result<()> {
    let mut count = tx.prepare_cached("UPDATE inbox SET tries = tries + 1 WHERE seq = ?1")?;
    seqs.iter().try_for_each(|seq| count.execute([seq]).map(drop))
}

pub(super) fn delete(tx: &Connection, seqs: &[i64]) -> rusqlite::Result<()> {
    let mut delete = tx.prepare_cached("DELETE FROM inbox WHERE seq = ?1")?;
    seqs.iter().try_for_each(|seq| delete.execute([seq]).map(drop))
}
