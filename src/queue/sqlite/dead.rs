//! The dead letters: ids only, as the log has the contents.

use std::time::Duration;

use rusqlite::{Connection, params};

use super::{DeadEnd, DeadHandle, DeadLetter};
use crate::clock::Timestamp;
use crate::notification::NotificationId;

/// Those behind `after`, by id.
pub(super) fn letters(
    tx: &Connection,
    after: Option<NotificationId>,
    limit: usize,
    kept: Duration,
) -> rusqlite::Result<Vec<DeadLetter>> {
    let after = after.map(|id| id.as_bytes().to_vec()).unwrap_or_default();
    tx.prepare_cached("SELECT id, tenant, reason, at FROM queue_dead WHERE id > ?1 ORDER BY id LIMIT ?2")?
        .query_map(params![after, i64::try_from(limit).unwrap_or(i64::MAX)], |row| {
            let id = NotificationId::from_bytes(row.get(0)?);
            let at = Timestamp::from_ms(row.get(3)?);
            Ok(DeadLetter {
                key: id.to_string(),
                id: Some(id),
                tenant: Some(row.get(1)?),
                reason: row.get(2)?,
                body: None,
                enqueued_at: at,
                destroyed_at: at.plus(kept),
                handle: DeadHandle(id.to_string()),
            })
        })?
        .collect()
}

/// Whether each was there still.
pub(super) fn end(tx: &Connection, ends: &[(DeadHandle, DeadEnd)]) -> rusqlite::Result<Vec<bool>> {
    let mut remove = tx.prepare_cached("DELETE FROM queue_dead WHERE id = ?1")?;
    let mut there = tx.prepare_cached("SELECT 1 FROM queue_dead WHERE id = ?1")?;
    let known = |(handle, end): &(DeadHandle, DeadEnd)| match (handle.0.parse::<NotificationId>(), end) {
        (Ok(id), DeadEnd::Remove) => Ok(remove.execute([id.as_bytes()])? == 1),
        (Ok(id), DeadEnd::Show) => there.exists([id.as_bytes()]),
        (Err(_), _) => Ok(false),
    };
    ends.iter().map(known).collect()
}
