//! The feed in SQLite: triggers write it with the change (`sqlite/schema.rs`), reading joins the rest.

use std::collections::BTreeMap;

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::Deserialize;
use serde::de::IntoDeserializer;
use serde::de::value::{Error as ValueError, StrDeserializer};
use sha2::{Digest, Sha256};

use super::{Cursor, Entry, Feed, FeedError, MAX_LIMIT, Page, Told, What};
use crate::clock::Timestamp;
use crate::notification::NotificationId;
use crate::notification::address::Address;
use crate::notification::status::recipient::RecipientStatus;
use crate::sqlite::{Engine, EngineError};

/// [`Feed`] on the embedded engine. Cheap to clone.
#[derive(Clone, Debug)]
pub struct SqliteFeed {
    engine: Engine,
}

impl SqliteFeed {
    /// The feed in `engine`.
    pub fn new(engine: Engine) -> Self {
        Self { engine }
    }
}

#[async_trait]
impl Feed for SqliteFeed {
    async fn read(&self, tenant: &str, after: Option<&Cursor>, limit: usize) -> Result<Page, FeedError> {
        let after = after.map(|cursor| place(cursor, tenant)).transpose()?;
        let (tenant, limit) = (tenant.to_owned(), limit.clamp(1, MAX_LIMIT));
        self.engine.read(move |tx| page(tx, &tenant, after, limit)).await?
    }

    async fn between(&self, tenant: &str, after: &Cursor, until: &Cursor) -> Result<Vec<Entry>, FeedError> {
        let (after, until) = (place(after, tenant)?, place(until, tenant)?);
        let limit = usize::try_from(until.saturating_sub(after)).unwrap_or(0).min(MAX_LIMIT);
        if limit == 0 {
            return Ok(Vec::new());
        }
        let tenant = tenant.to_owned();
        // Numbers have no holes, so the limit ends it where it should.
        self.engine.read(move |tx| page(tx, &tenant, Some(after), limit)).await?.map(|page| page.entries)
    }

    async fn begin(&self, tenant: &str) -> Result<Cursor, FeedError> {
        let tenant = tenant.to_owned();
        let begin = self.engine.read(move |tx| Ok(cursor(&tenant, (reach(tx, &tenant)?.first - 1).max(0))));
        Ok(begin.await?)
    }

    async fn end(&self, tenant: &str) -> Result<Cursor, FeedError> {
        let tenant = tenant.to_owned();
        Ok(self.engine.read(move |tx| Ok(cursor(&tenant, reach(tx, &tenant)?.last))).await?)
    }

    async fn count(&self, tenant: &str, after: &Cursor) -> Result<u64, FeedError> {
        let after = place(after, tenant)?;
        let tenant = tenant.to_owned();
        let counted = self.engine.read(move |tx| {
            tx.prepare_cached("SELECT count(*) FROM feed WHERE tenant = ?1 AND seq > ?2")?
                .query_row(params![tenant, after], |row| row.get::<_, i64>(0))
        });
        Ok(counted.await?.unsigned_abs())
    }

    /// Every tenant's are.
    async fn follow(&self, _tenant: &str) {}

    async fn prune(&self, before: Timestamp, limit: usize) -> Result<u64, FeedError> {
        Ok(self.engine.write_between(move |tx, _| prune(tx, before, limit).map(Some)).await?)
    }
}

/// The first and the last entry that are kept; 0 and 0 where there was never one.
struct Reach {
    first: i64,
    first_at: Timestamp,
    last: i64,
}

fn reach(tx: &Connection, tenant: &str) -> rusqlite::Result<Reach> {
    let end = |sql: &str| {
        let mut end = tx.prepare_cached(sql)?;
        let row = |row: &Row<'_>| Ok((row.get(0)?, Timestamp::from_ms(row.get(1)?)));
        Ok::<_, rusqlite::Error>(end.query_row([tenant], row).optional()?.unwrap_or_default())
    };
    let (first, first_at) = end("SELECT seq, at FROM feed WHERE tenant = ?1 ORDER BY seq LIMIT 1")?;
    let (last, _) = end("SELECT seq, at FROM feed WHERE tenant = ?1 ORDER BY seq DESC LIMIT 1")?;
    Ok(Reach { first, first_at, last })
}

fn page(
    tx: &Connection,
    tenant: &str,
    after: Option<i64>,
    limit: usize,
) -> rusqlite::Result<Result<Page, FeedError>> {
    let Reach { first, first_at, last } = reach(tx, tenant)?;
    let after = match after {
        None => first.saturating_sub(1).max(0),
        Some(after) if after > last => return Ok(Err(FeedError::BadCursor)),
        Some(after) if first > 0 && after < first - 1 => {
            return Ok(Err(FeedError::Expired { since: first_at }));
        }
        Some(after) => after,
    };
    let rows: Vec<(i64, Option<Entry>)> = tx
        .prepare_cached(
            "SELECT f.seq, f.at, f.ix, f.status, f.reason, x.id, x.batch, x.metadata, r.email
             FROM feed f
                 LEFT JOIN notification x ON x.n = f.n
                 LEFT JOIN recipient r ON r.n = f.n AND r.ix = f.ix
             WHERE f.tenant = ?1 AND f.seq > ?2 ORDER BY f.seq LIMIT ?3",
        )?
        .query_map(params![tenant, after, i64::try_from(limit).unwrap_or(i64::MAX)], |row| {
            Ok((row.get(0)?, entry(tenant, row)?))
        })?
        .collect::<Result<_, _>>()?;
    let end = rows.last().map_or(after, |(seq, _)| *seq);
    let entries = rows.into_iter().filter_map(|(_, entry)| entry).collect();
    Ok(Ok(Page { entries, next: cursor(tenant, end), more: end < last }))
}

/// `None` where the record is gone or cannot be read: the entry then tells nothing of use.
fn entry(tenant: &str, row: &Row<'_>) -> rusqlite::Result<Option<Entry>> {
    let (seq, at, ix, code): (i64, i64, Option<i64>, i64) =
        (row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?);
    let id = row
        .get::<_, Option<Vec<u8>>>(5)?
        .and_then(|id| Some(NotificationId::from_bytes(id.try_into().ok()?)));
    let status = if ix.is_some() { recipient_status(code) } else { status(code) };
    let (Some(id), Some(status)) = (id, status) else { return Ok(None) };
    let metadata: BTreeMap<String, String> = row
        .get_ref(7)?
        .as_str_or_null()?
        .and_then(|text| serde_json::from_str(text).ok())
        .unwrap_or_default();
    Ok(Some(Entry {
        event_id: event_id(tenant, seq),
        tenant: tenant.to_owned(),
        id,
        at: Timestamp::from_ms(at),
        what: if ix.is_some() { What::Recipient } else { What::Notification },
        status,
        reason: row.get(4)?,
        recipient: row.get_ref(8)?.as_str_or_null()?.and_then(address),
        batch: row.get(6)?,
        metadata,
    }))
}

/// As it was when it was accepted: a later version's stricter rules must not hide it.
fn address(text: &str) -> Option<Address> {
    let stored: StrDeserializer<'_, ValueError> = text.into_deserializer();
    Address::deserialize(stored).ok()
}

/// A notification's state by its code in the log's table.
fn status(code: i64) -> Option<Told> {
    Some(match code {
        0 => Told::Accepted,
        1 => Told::Scheduled,
        2 => Told::Held,
        4 => Told::Retrying,
        5 => Told::Sent,
        6 => Told::Failed,
        7 => Told::Expired,
        8 => Told::Cancelled,
        9 => Told::Suppressed,
        _ => return None,
    })
}

/// A recipient's status by its code, as the log's table has it.
fn recipient_status(code: i64) -> Option<Told> {
    let status = usize::try_from(code).ok().and_then(|code| RecipientStatus::ALL.get(code).copied())?;
    Told::of_recipient(status)
}

/// Some of the oldest entries of every tenant that has any from before. From each tenant's front only, so that what is
/// kept has no holes.
fn prune(tx: &Connection, before: Timestamp, limit: usize) -> rusqlite::Result<u64> {
    let mut left = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut tenant: Option<String> = None;
    let mut pruned = 0;
    while left > 0 {
        // From tenant to tenant by a seek each: a plain DISTINCT would read every row.
        tenant = tx
            .prepare_cached("SELECT tenant FROM feed WHERE tenant > ?1 ORDER BY tenant LIMIT 1")?
            .query_row([tenant.as_deref().unwrap_or_default()], |row| row.get(0))
            .optional()?;
        let Some(tenant) = &tenant else { break };
        let Reach { first, last, .. } = reach(tx, tenant)?;
        let until: i64 = tx
            .prepare_cached(
                "SELECT coalesce(min(seq), ?3) FROM
                     (SELECT seq, at FROM feed WHERE tenant = ?1 ORDER BY seq LIMIT ?4) WHERE at >= ?2",
            )?
            .query_row(params![tenant, before.as_ms(), first.saturating_add(left), left], |row| row.get(0))?;
        let gone = tx
            .prepare_cached("DELETE FROM feed WHERE tenant = ?1 AND seq < ?2")?
            .execute(params![tenant, until.min(last)])?;
        left -= i64::try_from(gone).unwrap_or(i64::MAX);
        pruned += gone as u64;
    }
    Ok(pruned)
}

/// What ties a cursor to its tenant: not a secret, only a guard against a mix-up.
fn tag(tenant: &str) -> String {
    Sha256::digest(tenant.as_bytes()).iter().take(4).map(|byte| format!("{byte:02x}")).collect()
}

fn cursor(tenant: &str, seq: i64) -> Cursor {
    Cursor::new(format!("{seq}.{}", tag(tenant)))
}

fn event_id(tenant: &str, seq: i64) -> String {
    format!("evt_{}_{seq}", tag(tenant))
}

fn place(cursor: &Cursor, tenant: &str) -> Result<i64, FeedError> {
    let (seq, told) = cursor.as_str().split_once('.').ok_or(FeedError::BadCursor)?;
    let seq = seq.bytes().all(|b| b.is_ascii_digit()).then(|| seq.parse().ok()).flatten();
    seq.filter(|_| told == tag(tenant)).ok_or(FeedError::BadCursor)
}

impl From<EngineError> for FeedError {
    fn from(error: EngineError) -> Self {
        FeedError::Unavailable(error.to_string())
    }
}
