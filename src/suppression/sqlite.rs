//! The list in SQLite: one row for each mailbox, with everything that is known of it.

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::sheet::Sheet;
use super::{Added, Cursor, Entry, Filter, ListError, Page, Place, Reasons, Removal, SuppressionList};
use crate::clock::{Clock, Timestamp};
use crate::sqlite::{Engine, EngineError};

/// Forgotten removals that are deleted per write: more than one, so that the table shrinks, and bounded.
const PRUNED_AT_ONCE: u32 = 20;

/// [`SuppressionList`] on the embedded engine. Cheap to clone.
#[derive(Clone, Debug)]
pub struct SqliteSuppressions {
    engine: Engine,
    clock: Clock,
}

impl SqliteSuppressions {
    /// The list in `engine`.
    pub fn new(engine: Engine, clock: Clock) -> Self {
        Self { engine, clock }
    }

    /// Changes the sheets of these, in one transaction; what cannot be read is left as it is.
    async fn change<T, R>(
        &self,
        words: Vec<(Place, T)>,
        change: impl Fn(&mut Sheet, &T) -> R + Send + 'static,
    ) -> Vec<Result<R, ListError>>
    where
        T: Send + 'static,
        R: Send + 'static,
    {
        let (count, now) = (words.len(), self.clock.now());
        let changed = self.engine.write(move |tx| {
            let mut results = Vec::with_capacity(words.len());
            for (place, word) in &words {
                results.push(change_one(tx, place, |sheet| change(sheet, word))?);
            }
            prune(tx, now)?;
            Ok(results)
        });
        changed.await.unwrap_or_else(|error| failed(&error, count))
    }
}

fn failed<T>(error: &EngineError, count: usize) -> Vec<Result<T, ListError>> {
    (0..count).map(|_| Err(ListError::Unavailable(error.to_string()))).collect()
}

#[async_trait]
impl SuppressionList for SqliteSuppressions {
    async fn look_up(&self, asked: &[Place]) -> Vec<Result<Reasons, ListError>> {
        let (asked, count) = (asked.to_vec(), asked.len());
        let found = self.engine.read(move |tx| {
            let mut select =
                tx.prepare_cached("SELECT standing FROM suppression WHERE tenant = ?1 AND address = ?2")?;
            let mut look = |place: &Place| {
                let standing = select.query_row([&place.tenant, &place.canonical], |row| row.get(0));
                Ok(standing.optional()?.map_or(Reasons::default(), Reasons))
            };
            asked.iter().map(&mut look).collect::<rusqlite::Result<Vec<_>>>()
        });
        match found.await {
            Ok(found) => found.into_iter().map(Ok).collect(),
            Err(error) => failed(&error, count),
        }
    }

    async fn add(&self, entries: &[Entry]) -> Vec<Result<Added, ListError>> {
        let words = entries.iter().map(|one| (Place::of(&one.tenant, &one.address), one.clone()));
        self.change(words.collect(), Sheet::add).await
    }

    async fn remove(&self, removals: &[Removal]) -> Vec<Result<u64, ListError>> {
        let words = removals.iter().map(|one| (Place::of(&one.tenant, &one.address), one.clone()));
        self.change(words.collect(), Sheet::remove).await
    }

    async fn list(&self, filter: &Filter, cursor: Option<&str>, limit: usize) -> Result<Page, ListError> {
        let cursor = cursor.map(Cursor::parse).transpose()?;
        let filter = filter.clone();
        let page = self.engine.read(move |tx| {
            let mut page = Page::default();
            let read = each(tx, &filter, cursor, |entry| {
                if page.items.len() == limit {
                    page.next_cursor = page.items.last().map(|last| Cursor::at(last).write());
                    return false;
                }
                page.items.push(entry);
                true
            })?;
            Ok(read.map(|()| page))
        });
        page.await.map_err(|error| ListError::Unavailable(error.to_string()))?
    }

    async fn count(&self, filter: &Filter) -> Result<u64, ListError> {
        let filter = filter.clone();
        let count = self.engine.read(move |tx| {
            let mut count = 0_u64;
            let read = each(tx, &filter, None, |_| {
                count += 1;
                true
            })?;
            Ok(read.map(|()| count))
        });
        count.await.map_err(|error| ListError::Unavailable(error.to_string()))?
    }
}

fn change_one<R>(
    tx: &Connection,
    place: &Place,
    change: impl FnOnce(&mut Sheet) -> R,
) -> rusqlite::Result<Result<R, ListError>> {
    let known: Option<String> = tx
        .prepare_cached("SELECT lines FROM suppression WHERE tenant = ?1 AND address = ?2")?
        .query_row([&place.tenant, &place.canonical], |row| row.get(0))
        .optional()?;
    let before = match known.as_deref().map(Sheet::parse).transpose() {
        Ok(before) => before.unwrap_or_default(),
        Err(error) => return Ok(Err(error)),
    };
    let mut after = before.clone();
    let answer = change(&mut after);
    // Read before write: a repeat costs no commit.
    if after != before {
        tx.prepare_cached(
            "INSERT INTO suppression (tenant, address, standing, lines, expires_at) VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT (tenant, address) DO UPDATE
             SET standing = excluded.standing, lines = excluded.lines, expires_at = excluded.expires_at",
        )?
        .execute(params![
            place.tenant,
            place.canonical,
            after.standing().0,
            after.write(),
            after.expires_at().map(Timestamp::as_ms),
        ])?;
    }
    Ok(Ok(answer))
}

fn prune(tx: &Connection, now: Timestamp) -> rusqlite::Result<()> {
    tx.prepare_cached(
        "DELETE FROM suppression WHERE (tenant, address) IN
             (SELECT tenant, address FROM suppression WHERE expires_at < ?1 LIMIT ?2)",
    )?
    .execute(params![now.as_ms(), PRUNED_AT_ONCE])?;
    Ok(())
}

/// Hands out each matching entry behind the cursor, in order, until `take` says that it is enough.
fn each(
    tx: &Connection,
    filter: &Filter,
    after: Option<Cursor>,
    mut take: impl FnMut(Entry) -> bool,
) -> rusqlite::Result<Result<(), ListError>> {
    let mut select = tx.prepare_cached(
        "SELECT tenant, address, lines FROM suppression
         WHERE (tenant, address) >= (?1, ?2) AND (?3 IS NULL OR tenant = ?3) AND (?4 IS NULL OR address = ?4)
             AND (standing <> 0 OR ?5)
         ORDER BY tenant, address",
    )?;
    let (tenant, canonical) = match (&after, &filter.tenant) {
        (Some(after), _) => (after.tenant.as_str(), after.canonical.as_str()),
        (None, tenant) => (tenant.as_deref().unwrap_or_default(), ""),
    };
    let wanted = filter.address.as_ref().map(|address| address.canonical());
    let mut rows = select.query(params![tenant, canonical, filter.tenant, wanted, filter.removed])?;
    while let Some(row) = rows.next()? {
        let (place, sheet) = match read(row)? {
            Ok(read) => read,
            Err(error) => return Ok(Err(error)),
        };
        for entry in sheet.entries(&place.tenant, filter.removed) {
            let is_behind = after.as_ref().is_none_or(|after| after.is_before(&place, &entry));
            if is_behind && filter.fits(&entry) && !take(entry) {
                return Ok(Ok(()));
            }
        }
    }
    Ok(Ok(()))
}

fn read(row: &Row<'_>) -> rusqlite::Result<Result<(Place, Sheet), ListError>> {
    let place = Place { tenant: row.get(0)?, canonical: row.get(1)? };
    Ok(Sheet::parse(row.get_ref(2)?.as_str()?).map(|sheet| (place, sheet)))
}
