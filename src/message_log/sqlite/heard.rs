//! What was sent and lacks a word of its provider. Found by the index on acceptance, and by one that holds only what was
//! sent late: sending writes to no index for it.

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::row;
use crate::clock::Timestamp;
use crate::message_log::{Heard, HeardPage, Lacks, LogError, SentSpan};
use crate::notification::NotificationId;

/// What is sent so soon after its acceptance is found by its acceptance, with a look this far back, and the rest by when
/// it was sent.
const SENT_SOON: Duration = Duration::from_secs(5);

/// Rows that one page looks at: some 20 ms.
const LOOKS: i64 = 5_000;

/// The literals in the queries below are these; the second one's must be those of the index, or it is not used.
const BY_ACCEPTANCE: &str = "SELECT n, accepted_at, id, tenant, provider, sent_at FROM notification
     WHERE accepted_at >= ?1 AND accepted_at < ?2 AND (accepted_at > ?3 OR n > ?4)
     ORDER BY accepted_at, n LIMIT ?5";
const BY_SENDING: &str =
    "SELECT n, sent_at, id, tenant, provider, sent_at FROM notification INDEXED BY notification_late
     WHERE sent_at > accepted_at + 5000 AND sent_at >= ?1 AND sent_at < ?2 AND (sent_at > ?3 OR n > ?4)
     ORDER BY sent_at, n LIMIT ?5";

/// Where a page ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Cursor {
    is_late: bool,
    at: i64,
    n: i64,
}

impl Cursor {
    pub(super) fn parse(text: &str) -> Result<Self, LogError> {
        let read = || {
            let text = String::from_utf8(BASE64_URL_SAFE_NO_PAD.decode(text).ok()?).ok()?;
            let mut parts = text.split('.');
            let (tag, at, n) = (parts.next()?, parts.next()?, parts.next()?);
            let is_late = match tag {
                "a" => false,
                "s" => true,
                _ => return None,
            };
            let cursor = Self { is_late, at: at.parse().ok()?, n: n.parse().ok()? };
            parts.next().is_none().then_some(cursor)
        };
        read().ok_or(LogError::BadCursor)
    }

    fn print(self) -> String {
        let tag = if self.is_late { "s" } else { "a" };
        BASE64_URL_SAFE_NO_PAD.encode(format!("{tag}.{}.{}", self.at, self.n))
    }
}

pub(super) fn page(
    tx: &Connection,
    span: SentSpan,
    lacks: Lacks,
    cursor: Cursor,
    limit: usize,
) -> rusqlite::Result<HeardPage> {
    let mut page = HeardPage::default();
    let mut looks = LOOKS;
    for is_late in [false, true] {
        if cursor.is_late && !is_late {
            continue;
        }
        let behind = if cursor.is_late == is_late { cursor } else { Cursor::default() };
        let back = if is_late { Duration::ZERO } else { SENT_SOON };
        let (from, until) = (span.from.minus(back).as_ms(), span.until.as_ms());
        let mut select = tx.prepare_cached(if is_late { BY_SENDING } else { BY_ACCEPTANCE })?;
        let from = from.max(behind.at);
        let mut rows = select.query(params![from, until, behind.at, behind.n, looks])?;
        while let Some(row) = rows.next()? {
            looks -= 1;
            page.looked_at += 1;
            let place = Cursor { is_late, n: row.get(0)?, at: row.get(1)? };
            if is_within(row, place, span)? {
                page.items.extend(
                    Some(heard(tx, row, row::time(row, 5)?)?).filter(|heard| heard.is_without(lacks)),
                );
            }
            if looks == 0 || page.items.len() >= limit {
                page.next_cursor = Some(place.print());
                return Ok(page);
            }
        }
    }
    Ok(page)
}

/// Whether it was sent in that span; what was sent late is found by its sending alone.
fn is_within(row: &Row<'_>, place: Cursor, span: SentSpan) -> rusqlite::Result<bool> {
    let Some(sent_at) = row.get::<_, Option<i64>>(5)?.map(Timestamp::from_ms) else { return Ok(false) };
    let is_soon = sent_at <= Timestamp::from_ms(place.at).plus(SENT_SOON);
    Ok(span.contains(sent_at) && (place.is_late || is_soon))
}

/// From `n`, anything, `id`, `tenant` and `provider`.
fn heard(tx: &Connection, row: &Row<'_>, sent_at: Timestamp) -> rusqlite::Result<Heard> {
    // The codes are ranks: nothing heard, and what comes before `delivered`.
    let mut count = tx.prepare_cached(
        "SELECT count(*), coalesce(sum(status = 0), 0), coalesce(sum(status < 3), 0) FROM recipient WHERE n = ?1",
    )?;
    let n: i64 = row.get(0)?;
    let counts = count.query_row([n], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    let (recipients, silent, open): (i64, i64, i64) = counts;
    let count = |number: i64| u64::try_from(number).unwrap_or(0);
    let id = <[u8; 16]>::try_from(row.get_ref(2)?.as_blob()?).unwrap_or_default();
    Ok(Heard {
        id: NotificationId::from_bytes(id),
        tenant: row.get(3)?,
        provider: row.get::<_, Option<String>>(4)?.unwrap_or_default(),
        sent_at,
        recipients: count(recipients),
        silent: count(silent),
        open: count(open),
    })
}

/// Of each of these; `None` where there is no such record, or it was not sent.
pub(super) fn of(tx: &Connection, ids: &[NotificationId]) -> rusqlite::Result<Vec<Option<Heard>>> {
    let mut select = tx.prepare_cached(
        "SELECT n, accepted_at, id, tenant, provider, sent_at FROM notification WHERE id = ?1 AND sent_at IS NOT NULL",
    )?;
    let one = |id: &NotificationId| {
        let read = |row: &Row<'_>| heard(tx, row, row::time(row, 5)?);
        select.query_row([id.as_bytes()], read).optional()
    };
    ids.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message_log::is_end;
    use crate::notification::status::recipient::RecipientStatus;

    #[test]
    fn the_numbers_in_the_queries_are_those_of_the_rules() {
        assert!(BY_SENDING.contains(&format!("accepted_at + {} ", SENT_SOON.as_millis())));
        let silent = RecipientStatus::ALL.iter().position(|status| *status == RecipientStatus::Pending);
        let end = RecipientStatus::ALL.iter().position(|status| is_end(*status));
        assert_eq!((silent, end), (Some(0), Some(3)));
    }
}
