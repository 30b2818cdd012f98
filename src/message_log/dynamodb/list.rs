//! Listings: keyset pages that neither skip nor repeat a record while others are added.

use super::DynamoLog;
use super::cursor::Cursor;
use super::keys::{self, Item};
use super::merge::Candidate;
use super::plan::{Walk, is_within};
use super::read::{self, Stored};
use super::row::{self, Row};
use super::source::Source;
use super::table::Table;
use crate::clock::Timestamp;
use crate::message_log::{Filter, LogError, Page, Record};

/// What a listing shows as the reason of a record that cannot be read whole.
const CORRUPT: &str = "corrupt_record";

/// A page looks at this many rows at most, or ten times as many index entries: what was found until then is returned
/// with a cursor. About two seconds' work.
const MOST_ROWS: usize = 20_000;

/// Index entries that cost as much as a row.
const ENTRIES_A_ROW: usize = 10;

/// Rows that are read at once: four requests.
pub(super) const ROWS_AT_ONCE: usize = 400;

pub(super) async fn page(
    log: &DynamoLog,
    filter: &Filter,
    cursor: Option<&str>,
    limit: usize,
    now: Timestamp,
) -> Result<Page, LogError> {
    let walk = Walk::of(filter, now);
    let sorting = walk.sorting(filter);
    let cursor = cursor.map(|text| Cursor::parse(text, sorting)).transpose()?;
    let mut source = Source::open(&log.table, walk, filter, cursor, limit);
    let mut found: Vec<(Cursor, Stored<Row>)> = Vec::new();
    let (mut chunk, mut rows) = (limit + 1, 0);
    let next_cursor = loop {
        let candidates = source.next(chunk.min(ROWS_AT_ONCE)).await?;
        let Some(last) = candidates.last().map(Cursor::of) else { break None };
        rows += candidates.len();
        found.extend(fitting(&log.table, filter, &candidates, now).await?);
        if found.len() > limit {
            found.truncate(limit);
            break found.last().map(|(cursor, _)| *cursor);
        }
        if rows + source.read() / ENTRIES_A_ROW >= MOST_ROWS {
            break Some(last);
        }
        // Where few fit, more are looked at.
        chunk *= 2;
    };
    let rows = found.into_iter().map(|(_, row)| row).collect();
    let items = read::records(&log.table, rows).await?.into_iter().map(shown).collect();
    Ok(Page { items, next_cursor: next_cursor.map(|cursor| cursor.print(sorting)) })
}

/// A record that cannot be read whole is still to be seen.
fn shown(stored: Stored<Record>) -> Record {
    let mut record = stored.value;
    if let Some(fault) = stored.fault {
        tracing::error!(id = %record.id, fault, "a stored record cannot be read");
        record.life.reason = Some(CORRUPT.into());
    }
    record
}

/// Those of the candidates whose rows are what the filter asks for, in their order.
pub(super) async fn fitting(
    table: &Table,
    filter: &Filter,
    candidates: &[Candidate],
    now: Timestamp,
) -> Result<Vec<(Cursor, Stored<Row>)>, LogError> {
    let wanted: Vec<_> = candidates.iter().map(|candidate| keys::row_key(candidate.id)).collect();
    let rows = table.get(wanted).await?;
    let fitting = |candidate: &Candidate| {
        let item = rows.get(&keys::row_key(candidate.id))?;
        let row = read::stored_row(item)?;
        (candidate.means(&row.value) && fits(filter, item, &row.value, now))
            .then(|| (Cursor::of(candidate), row))
    };
    Ok(candidates.iter().filter_map(fitting).collect())
}

/// Everything that a filter says but the recipient, by whose entries the row was found.
fn fits(filter: &Filter, item: &Item, row: &Row, now: Timestamp) -> bool {
    let life = &row.life;
    !row::is_expired(item, now)
        && (filter.statuses.is_empty() || filter.statuses.contains(&life.status(now)))
        && filter.tenant.as_ref().is_none_or(|tenant| row.tenant == *tenant)
        && filter.batch.as_ref().is_none_or(|batch| row.batch.as_ref() == Some(batch))
        && filter.provider.as_ref().is_none_or(|provider| life.provider.as_ref() == Some(provider))
        && filter.reason.as_ref().is_none_or(|reason| life.reason.as_ref() == Some(reason))
        && is_within(filter, life.accepted_at)
}
