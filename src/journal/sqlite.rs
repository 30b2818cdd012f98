//! The journal in SQLite.

use async_trait::async_trait;
use rusqlite::{OptionalExtension, Row, params};

use super::{Document, Journal, JournalError, Kind, MAX_BODY_BYTES, Put};
use crate::clock::{Clock, Timestamp};
use crate::sqlite::{Engine, EngineError};

/// [`Journal`] on the embedded engine. Cheap to clone.
#[derive(Clone, Debug)]
pub struct SqliteJournal {
    engine: Engine,
    clock: Clock,
}

impl SqliteJournal {
    /// The journal in `engine`.
    pub fn new(engine: Engine, clock: Clock) -> Self {
        Self { engine, clock }
    }
}

#[async_trait]
impl Journal for SqliteJournal {
    async fn get(&self, kind: Kind, key: &str) -> Result<Option<Document>, JournalError> {
        let (key, now) = (key.to_owned(), self.clock.now().as_ms());
        let found = self.engine.read(move |tx| {
            tx.prepare_cached(
                "SELECT key, version, body FROM journal
                 WHERE kind = ?1 AND key = ?2 AND (keep_until IS NULL OR keep_until > ?3)",
            )?
            .query_row(params![kind.as_str(), key, now], document)
            .optional()
        });
        Ok(found.await?)
    }

    async fn put(
        &self,
        kind: Kind,
        key: &str,
        body: &str,
        expected: u64,
        keep_until: Option<Timestamp>,
    ) -> Result<Put, JournalError> {
        if body.len() > MAX_BODY_BYTES {
            return Err(JournalError::TooLarge(body.len()));
        }
        let (key, body, now) = (key.to_owned(), body.to_owned(), self.clock.now().as_ms());
        let keep_until = keep_until.map(Timestamp::as_ms);
        let expected = i64::try_from(expected).unwrap_or(i64::MAX);
        let written = self.engine.write(move |tx| {
            tx.prepare_cached("DELETE FROM journal WHERE kind = ?1 AND keep_until <= ?2")?
                .execute(params![kind.as_str(), now])?;
            let changed = if expected == 0 {
                tx.prepare_cached(
                    "INSERT INTO journal (kind, key, version, body, keep_until) VALUES (?1, ?2, 1, ?3, ?4)
                     ON CONFLICT (kind, key) DO NOTHING",
                )?
                .execute(params![kind.as_str(), key, body, keep_until])?
            } else {
                tx.prepare_cached(
                    "UPDATE journal SET version = version + 1, body = ?3, keep_until = ?4
                     WHERE kind = ?1 AND key = ?2 AND version = ?5",
                )?
                .execute(params![kind.as_str(), key, body, keep_until, expected])?
            };
            Ok(changed > 0)
        });
        let done = Put::Done(expected.unsigned_abs() + 1);
        Ok(if written.await? { done } else { Put::Conflict })
    }

    async fn delete(&self, kind: Kind, key: &str) -> Result<(), JournalError> {
        let key = key.to_owned();
        let deleted = self.engine.write(move |tx| {
            tx.prepare_cached("DELETE FROM journal WHERE kind = ?1 AND key = ?2")?
                .execute(params![kind.as_str(), key])
        });
        deleted.await?;
        Ok(())
    }

    async fn list(
        &self,
        kind: Kind,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Document>, JournalError> {
        let (after, now) = (after.map(str::to_owned), self.clock.now().as_ms());
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let found = self.engine.read(move |tx| {
            tx.prepare_cached(
                "SELECT key, version, body FROM journal
                 WHERE kind = ?1 AND (?2 IS NULL OR key < ?2) AND (keep_until IS NULL OR keep_until > ?3)
                 ORDER BY key DESC LIMIT ?4",
            )?
            .query_map(params![kind.as_str(), after, now, limit], document)?
            .collect()
        });
        Ok(found.await?)
    }
}

fn document(row: &Row<'_>) -> rusqlite::Result<Document> {
    Ok(Document { key: row.get(0)?, version: row.get::<_, i64>(1)?.unsigned_abs(), body: row.get(2)? })
}

impl From<EngineError> for JournalError {
    fn from(error: EngineError) -> Self {
        JournalError::Unavailable(error.to_string())
    }
}
