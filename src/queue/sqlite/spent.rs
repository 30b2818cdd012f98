//! Messages for what is at an end: the log lies in the same file.

use rusqlite::Connection;

/// In a longer queue they are not counted: it is a look-up for each, some 200 ms for so many.
const MOST: i64 = 100_000;

/// How many messages are for notifications at an end: sent, failed, expired, cancelled, suppressed (the states 5 … 9 of
/// the log's table).
pub(super) fn spent(tx: &Connection) -> rusqlite::Result<Option<u64>> {
    let (messages, spent): (i64, i64) = tx
        .prepare_cached(
            "SELECT count(*), coalesce(sum(n.state BETWEEN 5 AND 9), 0)
             FROM (SELECT id FROM queue LIMIT ?1) AS q LEFT JOIN notification AS n ON n.id = q.id",
        )?
        .query_row([MOST + 1], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok((messages <= MOST).then_some(spent.unsigned_abs()))
}
