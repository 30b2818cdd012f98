//! Counting, and what is due.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, params};

use super::plan;
use super::row::{self, life, life_columns, state_code};
use crate::clock::Timestamp;
use crate::message_log::{ByAge, Counts, Deadline, Due, Filter, Group, Standing, Standings};
use crate::notification::NotificationId;
use crate::notification::status::{State, Status};

/// From the tally, and from the index for the statuses that time derives.
pub(super) fn counts(tx: &Connection, now: Timestamp) -> rusqlite::Result<Counts> {
    let now = now.as_ms();
    let mut by_status: BTreeMap<Status, u64> = BTreeMap::new();
    let mut add = |status, count: i64| *by_status.entry(status).or_default() += count.unsigned_abs();
    let due: i64 = tx
        .prepare_cached(
            "SELECT count(*) FROM notification INDEXED BY notification_unsent
             WHERE unsent = 1 AND state = 1 AND ready_at <= ?1 AND due_at <= ?1",
        )?
        .query_row([now], |row| row.get(0))?;
    let unknown: i64 = tx
        .prepare_cached(
            "SELECT count(*) FROM notification INDEXED BY notification_unsent
             WHERE unsent = 1 AND state = 3 AND lease_until <= ?1",
        )?
        .query_row([now], |row| row.get(0))?;
    let mut select = tx.prepare_cached("SELECT state, count FROM tally")?;
    let mut rows = select.query([])?;
    while let Some(row) = rows.next()? {
        let (code, count): (i64, i64) = (row.get(0)?, row.get(1)?);
        let Some(state) = row::state(code) else { continue };
        let later = match state {
            State::Scheduled => due,
            State::Attempting => unknown,
            _ => 0,
        };
        add(row::status(state, false, false), count - later);
        add(row::status(state, true, true), later);
    }
    by_status.retain(|_, count| *count > 0);
    Ok(Counts { by_status, oldest_unsent: oldest_unsent(tx, now)? })
}

/// The first entry of each state that is on its way: four index seeks.
fn oldest_unsent(tx: &Connection, now: i64) -> rusqlite::Result<Option<Timestamp>> {
    let mut oldest = None;
    for state in [State::Accepted, State::Scheduled, State::Attempting, State::Retrying] {
        // Only a scheduled one that is due is on its way; the others have been ready.
        let due = if state == State::Scheduled { now } else { i64::MAX };
        let first: Option<i64> = tx
            .prepare_cached(
                "SELECT ready_at FROM notification INDEXED BY notification_unsent
                 WHERE unsent = 1 AND state = ?1 AND ready_at <= ?2 AND due_at <= ?2 ORDER BY ready_at LIMIT 1",
            )?
            .query_row(params![i64::try_from(state_code(state)).unwrap_or(0), due], |row| row.get(0))
            .optional()?;
        oldest = oldest.into_iter().chain(first).min();
    }
    Ok(oldest.map(Timestamp::from_ms))
}

/// Each age of each status is a range of the index that [`counts`] walks too.
pub(super) fn standings(tx: &Connection, now: Timestamp) -> rusqlite::Result<Standings> {
    let mut standings = Standings::new();
    for status in Status::ALL.into_iter().filter(|status| status.is_unsent()) {
        let mut standing = Standing::default();
        for (_, condition) in plan::states(&[status], now) {
            let sql = format!(
                "SELECT count(*), min(ready_at) FROM notification INDEXED BY notification_unsent
                 WHERE unsent = 1 AND {condition} AND ready_at > ?1 AND ready_at <= ?2"
            );
            let mut select = tx.prepare(&sql)?;
            for (age, (after, to)) in ByAge::ranges(now).into_iter().enumerate() {
                let range = [after.map_or(i64::MIN, Timestamp::as_ms), to.map_or(i64::MAX, Timestamp::as_ms)];
                let (count, oldest): (i64, Option<i64>) =
                    select.query_row(range, |row| Ok((row.get(0)?, row.get(1)?)))?;
                standing.add_many(age, count.unsigned_abs(), oldest.map(Timestamp::from_ms));
            }
        }
        if standing.count > 0 {
            standings.insert(status, standing);
        }
    }
    Ok(standings)
}

/// The template is looked up in the content: a few microseconds a row, and nothing to write for each notification.
pub(super) fn groups(tx: &Connection, filter: &Filter, now: Timestamp) -> rusqlite::Result<Vec<Group>> {
    let (at, hour, day) = (now.as_ms(), 3_600_000, 86_400_000);
    let columns = format!(
        "state, due_at <= {at}, lease_until <= {at}, reason, tenant,
         (SELECT json_extract(CAST(body AS TEXT), '$.template.id') FROM content WHERE content.n = notification.n),
         CASE WHEN useful_until IS NULL THEN 4 WHEN useful_until <= {at} THEN 0
              WHEN useful_until < {} THEN 1 WHEN useful_until < {} THEN 2 ELSE 3 END,
         count(*)",
        at + hour,
        at + day,
    );
    let mut groups: Vec<Group> = Vec::new();
    for source in plan::sources(tx, filter, now)? {
        source.select(tx, &columns, "GROUP BY 1, 2, 3, 4, 5, 6, 7", |row| {
            let state = row::state(row.get(0)?).unwrap_or(State::Held);
            groups.push(Group {
                status: row::status(state, row.get(1)?, row.get(2)?),
                reason: row.get(3)?,
                tenant: row.get(4)?,
                template: row.get(5)?,
                deadline: DEADLINES
                    .get(usize::from(row.get::<_, u16>(6)?))
                    .copied()
                    .unwrap_or(Deadline::None),
                count: row.get::<_, i64>(7)?.unsigned_abs(),
            });
            Ok(())
        })?;
    }
    Ok(Group::merged(groups))
}

/// Each in the place of its code above.
const DEADLINES: [Deadline; 5] =
    [Deadline::Over, Deadline::WithinHour, Deadline::WithinDay, Deadline::Later, Deadline::None];

pub(super) fn due(tx: &Connection, now: Timestamp, limit: usize) -> rusqlite::Result<Vec<Due>> {
    let mut select = tx.prepare_cached(concat!(
        "SELECT id, tenant, priority, ",
        life_columns!(),
        " FROM notification INDEXED BY notification_wake WHERE wake_at <= ?1 ORDER BY wake_at LIMIT ?2"
    ))?;
    let mut rows = select.query(params![now.as_ms(), i64::try_from(limit).unwrap_or(i64::MAX)])?;
    let mut due = Vec::new();
    while let Some(row) = rows.next()? {
        let id =
            NotificationId::from_bytes(<[u8; 16]>::try_from(row.get_ref(0)?.as_blob()?).unwrap_or_default());
        match life(row, 3)?.sound() {
            Ok(life) => due.push(Due { id, tenant: row.get(1)?, priority: row::priority(row.get(2)?), life }),
            // One unreadable record must not keep the sweeper from the others.
            Err(error) => tracing::error!(%id, %error, "the sweeper leaves a record out"),
        }
    }
    Ok(due)
}
