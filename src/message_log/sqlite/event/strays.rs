//! Events that match no notification: kept, recognised when repeated, and looked at again.

use rusqlite::{Connection, Row, params};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::find::{self, Placed};
use super::{Heard, Results, fold};
use crate::clock::Timestamp;
use crate::message_log::sqlite::row::{self, Tally};
use crate::message_log::unmatched::{self, Looked, Unmatched, UnmatchedPage};
use crate::message_log::{LogError, Recorded};
use crate::provider::ProviderEvent;

/// Unmatched events pruned per added one: more than one, so that the table shrinks, and bounded.
const PRUNED_AT_ONCE: u32 = 10;

/// So many are kept at the most, the newest: an account that others share tells of all their mail too.
const MOST_KEPT: i64 = 500_000;

/// Of what is above that, so many go at once.
const DROPPED_AT_ONCE: i64 = 5_000;

/// Looks once more, with the writer's eyes, and keeps what still matches nothing.
pub(super) fn settle(
    tx: &Connection,
    heard: &Heard,
    now: Timestamp,
    tally: &mut Tally,
) -> rusqlite::Result<Result<Recorded, LogError>> {
    let mut again = Heard::of(&heard.event);
    let Some((n, found)) = find::again(tx, &mut again)? else {
        return Ok(Ok(keep(tx, heard, now)?));
    };
    let mut results: Results = vec![None];
    fold::group(tx, &[Placed { ix: 0, n, heard: again, found }], now, tally, &mut results)?;
    let lost = || Err(LogError::Corrupt("an event that matched has no result".into()));
    Ok(results.pop().flatten().unwrap_or_else(lost))
}

fn keep(tx: &Connection, heard: &Heard, now: Timestamp) -> rusqlite::Result<Recorded> {
    let digest = digest(heard);
    if tx.prepare_cached("SELECT 1 FROM unmatched_event WHERE digest = ?1")?.exists([digest])? {
        return Ok(Recorded::Repeat { tenant: None });
    }
    let event = &heard.event;
    tx.prepare_cached(
        "INSERT INTO unmatched_event (digest, kept_at, provider, event, look_at) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?
    .execute(params![
        digest,
        now.as_ms(),
        event.provider,
        unmatched::to_text(event),
        now.plus(unmatched::FIRST_LOOK).as_ms()
    ])?;
    prune(tx, now)?;
    Ok(Recorded::Unmatched)
}

fn prune(tx: &Connection, now: Timestamp) -> rusqlite::Result<()> {
    tx.prepare_cached(
        "DELETE FROM unmatched_event WHERE digest IN
             (SELECT digest FROM unmatched_event WHERE kept_at < ?1 ORDER BY kept_at LIMIT ?2)",
    )?
    .execute(params![now.minus(unmatched::KEPT).as_ms(), PRUNED_AT_ONCE])?;
    Ok(())
}

/// What makes an unmatched event the same event: the provider's number, else what it says.
fn digest(heard: &Heard) -> [u8; 32] {
    let event = &heard.event;
    let identity = match &event.event_id {
        Some(event_id) => json!([event.provider, event_id]),
        None => json!([
            event.provider,
            event.id,
            event.provider_message_id,
            event.kind,
            event.at,
            heard.address_key,
            event.link(),
        ]),
    };
    Sha256::digest(identity.to_string()).into()
}

const COLUMNS: &str = "hex(digest), kept_at, provider, event";

/// `None` where it cannot be read back: it is not offered again, and goes with its 30 days.
fn read(row: &Row<'_>) -> rusqlite::Result<Option<Unmatched>> {
    let (key, kept_at) = (row.get(0)?, row::time(row, 1)?);
    let provider: String = row.get(2)?;
    let event = unmatched::from_text(row.get_ref(3)?.as_str()?);
    Ok(event.map(|event| Unmatched { key, kept_at, event: ProviderEvent { provider, ..event } }))
}

pub(in crate::message_log::sqlite) fn due(
    tx: &Connection,
    now: Timestamp,
    limit: usize,
) -> rusqlite::Result<Vec<Unmatched>> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    tx.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM unmatched_event WHERE look_at <= ?1 ORDER BY look_at DESC LIMIT ?2"
    ))?
    .query_map(params![now.as_ms(), limit], read)?
    .filter_map(Result::transpose)
    .collect()
}

pub(in crate::message_log::sqlite) fn looked(
    tx: &Connection,
    looked: &[Looked],
    now: Timestamp,
) -> rusqlite::Result<()> {
    for one in looked {
        if one.is_matched {
            tx.prepare_cached("DELETE FROM unmatched_event WHERE digest = unhex(?1)")?.execute([&one.key])?;
        } else {
            tx.prepare_cached("UPDATE unmatched_event SET look_at = ?2 WHERE digest = unhex(?1)")?
                .execute(params![one.key, unmatched::next_look(one.kept_at, now).as_ms()])?;
        }
    }
    // Here and not only where some are added: also what nobody adds to is forgotten in the end.
    prune(tx, now)?;
    let over = i64::try_from(count(tx)?).unwrap_or(i64::MAX).saturating_sub(MOST_KEPT);
    if over > 0 {
        tx.prepare_cached(
            "DELETE FROM unmatched_event WHERE digest IN
                 (SELECT digest FROM unmatched_event ORDER BY kept_at LIMIT ?1)",
        )?
        .execute([over.min(DROPPED_AT_ONCE)])?;
    }
    Ok(())
}

/// A page's end: when the last one was kept, and its key.
fn parse(cursor: Option<&str>) -> Result<(i64, String), LogError> {
    let Some(cursor) = cursor else { return Ok((i64::MAX, String::new())) };
    let (at, key) = cursor.split_once('.').ok_or(LogError::BadCursor)?;
    let is_key = key.len() == 64 && key.bytes().all(|b| b.is_ascii_hexdigit());
    let at = at.parse().map_err(|_| LogError::BadCursor)?;
    if is_key { Ok((at, key.to_owned())) } else { Err(LogError::BadCursor) }
}

pub(in crate::message_log::sqlite) fn list(
    tx: &Connection,
    cursor: Option<&str>,
    limit: usize,
) -> rusqlite::Result<Result<UnmatchedPage, LogError>> {
    let (at, key) = match parse(cursor) {
        Ok(behind) => behind,
        Err(error) => return Ok(Err(error)),
    };
    let asked = i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1);
    let mut rows: Vec<(String, i64, Option<Unmatched>)> = tx
        .prepare_cached(&format!(
            "SELECT {COLUMNS} FROM unmatched_event
             WHERE kept_at <= ?1 AND (kept_at < ?1 OR digest < unhex(?2))
             ORDER BY kept_at DESC, digest DESC LIMIT ?3"
        ))?
        .query_map(params![at, key, asked], |row| Ok((row.get(0)?, row.get(1)?, read(row)?)))?
        .collect::<Result<_, _>>()?;
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next_cursor = rows.last().filter(|_| more).map(|(key, at, _)| format!("{at}.{key}"));
    let items = rows.into_iter().filter_map(|(.., item)| item).collect();
    Ok(Ok(UnmatchedPage { items, next_cursor }))
}

pub(in crate::message_log::sqlite) fn count(tx: &Connection) -> rusqlite::Result<u64> {
    let count: i64 =
        tx.prepare_cached("SELECT count(*) FROM unmatched_event")?.query_row([], |row| row.get(0))?;
    Ok(u64::try_from(count).unwrap_or(0))
}
