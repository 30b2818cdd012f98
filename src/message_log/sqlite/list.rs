//! Records, one and many: keyset pages that neither skip nor repeat a row while others are added.

use std::cmp::Ordering;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, Row};

use super::event::recipient_status;
use super::plan::{self, Key};
use super::row::{self, Stored, life, life_columns};
use crate::clock::Timestamp;
use crate::message_log::{Filter, LogError, Page, Recipient, Record, RecordedEvent};
use crate::notification::NotificationId;
use crate::notification::status::Life;
use crate::provider::EventKind;
use crate::sqlite::heard::HeardList;

/// What a listing shows as the reason of a record that cannot be read whole.
const CORRUPT: &str = "corrupt_record";

/// Where a page ended: the last row's sort key and number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cursor {
    key: i64,
    n: i64,
}

impl Cursor {
    /// Reads a cursor back; one from a listing in another order is refused.
    pub(super) fn parse(text: &str, filter: &Filter) -> Result<Self, LogError> {
        let read = || {
            let text = String::from_utf8(BASE64_URL_SAFE_NO_PAD.decode(text).ok()?).ok()?;
            let mut parts = text.split('.');
            let (order, key, n) = (parts.next()?, parts.next()?, parts.next()?);
            let cursor = Self { key: key.parse().ok()?, n: n.parse().ok()? };
            (order == tag(Key::of(filter)) && parts.next().is_none()).then_some(cursor)
        };
        read().ok_or(LogError::BadCursor)
    }

    fn print(self, filter: &Filter) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(format!("{}.{}.{}", tag(Key::of(filter)), self.key, self.n))
    }

    /// The condition for what lies behind it. The first term is the one that an index can use.
    fn behind(self, key: Key) -> String {
        let (column, at, n) = (key.column(), self.key, self.n);
        match key {
            Key::Newest => format!("AND {column} <= {at} AND ({column} < {at} OR n < {n})"),
            Key::Oldest | Key::LongestWaiting => {
                format!("AND {column} >= {at} AND ({column} > {at} OR n > {n})")
            }
        }
    }
}

fn tag(key: Key) -> &'static str {
    match key {
        Key::Newest => "n",
        Key::LongestWaiting => "w",
        Key::Oldest => "o",
    }
}

pub(super) fn page(
    tx: &Connection,
    filter: &Filter,
    cursor: Option<Cursor>,
    limit: usize,
    now: Timestamp,
) -> rusqlite::Result<Page> {
    let mut found = keys(tx, filter, cursor, limit + 1, now)?;
    let more = found.len() > limit;
    found.truncate(limit);
    let next_cursor = found.last().filter(|_| more).map(|last| last.print(filter));
    let mut items = Vec::with_capacity(found.len());
    for Cursor { n, .. } in found {
        let stored = tx
            .prepare_cached(concat!(
                "SELECT n, id, tenant, batch, priority, metadata, ",
                life_columns!(),
                " FROM notification WHERE n = ?1"
            ))?
            .query_row([n], |row| record(tx, row))?;
        items.push(shown(stored));
    }
    Ok(Page { items, next_cursor })
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

/// The sort keys and numbers of the first `limit` rows behind the cursor.
fn keys(
    tx: &Connection,
    filter: &Filter,
    cursor: Option<Cursor>,
    limit: usize,
    now: Timestamp,
) -> rusqlite::Result<Vec<Cursor>> {
    let key = Key::of(filter);
    let direction = if key == Key::Newest { "DESC" } else { "ASC" };
    let column = key.column();
    let behind = cursor.map(|cursor| cursor.behind(key)).unwrap_or_default();
    let rest = format!("{behind} ORDER BY {column} {direction}, n {direction} LIMIT {limit}");
    let mut found = Vec::new();
    for source in plan::sources(tx, filter, now)? {
        source.select(tx, &format!("{column}, n"), &rest, |row| {
            found.push(Cursor { key: row.get(0)?, n: row.get(1)? });
            Ok(())
        })?;
    }
    found.sort_unstable_by_key(|cursor| (cursor.key, cursor.n));
    if key == Key::Newest {
        found.reverse();
    }
    found.truncate(limit);
    Ok(found)
}

pub(super) fn get(tx: &Connection, id: NotificationId) -> rusqlite::Result<Result<Option<Record>, LogError>> {
    let stored = tx
        .prepare_cached(concat!(
            "SELECT n, id, tenant, batch, priority, metadata, ",
            life_columns!(),
            " FROM notification WHERE id = ?1"
        ))?
        .query_row([id.as_bytes()], |row| record(tx, row))
        .optional()?;
    Ok(stored.map(Stored::sound).transpose())
}

pub(super) fn lives(
    tx: &Connection,
    ids: &[NotificationId],
) -> rusqlite::Result<Result<Vec<Option<Life>>, LogError>> {
    let mut lives = Vec::with_capacity(ids.len());
    for id in ids {
        match row::find(tx, *id)?.map(|(_, life)| life.sound()).transpose() {
            Ok(life) => lives.push(life),
            Err(error) => return Ok(Err(error)),
        }
    }
    Ok(Ok(lives))
}

pub(super) fn contents(tx: &Connection, ids: &[NotificationId]) -> rusqlite::Result<Vec<Option<Bytes>>> {
    let mut select = tx.prepare_cached(
        "SELECT body FROM notification JOIN content ON content.n = notification.n WHERE id = ?1",
    )?;
    let body = |row: &Row<'_>| Ok(Bytes::from(row.get::<_, Vec<u8>>(0)?));
    ids.iter().map(|id| select.query_row([id.as_bytes()], body).optional()).collect()
}

fn record(tx: &Connection, row: &Row<'_>) -> rusqlite::Result<Stored<Record>> {
    let n: i64 = row.get(0)?;
    let id = <[u8; 16]>::try_from(row.get_ref(1)?.as_blob()?);
    let metadata = serde_json::from_str(row.get_ref(5)?.as_str()?);
    let life = life(row, 6)?;
    let (recipients, places) = recipients(tx, n)?;
    let events = events(tx, n, &places)?;
    let fault = match (&id, &metadata) {
        (Err(_), _) => Some("its id"),
        (_, Err(_)) => Some("its metadata"),
        _ => life.fault.or(recipients.fault).or(events.fault),
    };
    let value = Record {
        id: NotificationId::from_bytes(id.unwrap_or_default()),
        tenant: row.get(2)?,
        batch: row.get(3)?,
        priority: row::priority(row.get(4)?),
        metadata: metadata.unwrap_or_default(),
        life: life.value,
        recipients: recipients.value,
        events: events.value,
    };
    Ok(Stored { value, fault })
}

/// The recipients, and where their events stand.
fn recipients(tx: &Connection, n: i64) -> rusqlite::Result<(Stored<Vec<Recipient>>, Vec<i64>)> {
    let mut select = tx
        .prepare_cached("SELECT email, kind, status, since, heard FROM recipient WHERE n = ?1 ORDER BY ix")?;
    let mut rows = select.query([n])?;
    let mut stored = Stored { value: Vec::new(), fault: None };
    let mut places = Vec::new();
    while let Some(row) = rows.next()? {
        places.extend(HeardList::places(row.get_ref(4)?.as_blob_or_null()?.unwrap_or_default()));
        let Some(email) = row::address(row.get_ref(0)?.as_str()?) else {
            stored.fault = Some("a recipient");
            continue;
        };
        stored.value.push(Recipient {
            email,
            kind: row::kind(row.get(1)?),
            status: recipient_status(row.get(2)?),
            since: row::time(row, 3)?,
        });
    }
    Ok((stored, places))
}

fn events(tx: &Connection, n: i64, places: &[i64]) -> rusqlite::Result<Stored<Vec<RecordedEvent>>> {
    let mut select = tx
        .prepare_cached("SELECT at, kind, recipient, machine, detail FROM event WHERE seq = ?1 AND n = ?2")?;
    let mut stored = Stored { value: Vec::with_capacity(places.len()), fault: None };
    for seq in places {
        let mut rows = select.query([*seq, n])?;
        let Some(row) = rows.next()? else {
            stored.fault = Some("an event");
            continue;
        };
        let recipient = row.get_ref(2)?.as_str_or_null()?.map(row::address);
        let detail = serde_json::from_str(row.get_ref(4)?.as_str()?);
        if detail.is_err() || recipient == Some(None) {
            stored.fault = Some("an event");
        }
        stored.value.push(RecordedEvent {
            at: row::time(row, 0)?,
            kind: EventKind::from(row.get::<_, String>(1)?),
            recipient: recipient.flatten(),
            machine: row.get::<_, i64>(3)? != 0,
            detail: detail.unwrap_or_default(),
        });
    }
    stored.value.sort_by(in_order);
    Ok(stored)
}

/// Oldest first. The provider tells whole seconds: within one, what comes first in a message's life stands first.
fn in_order(one: &RecordedEvent, other: &RecordedEvent) -> Ordering {
    let place = |event: &RecordedEvent| match event.kind {
        EventKind::Processed => 0,
        EventKind::Deferred => 1,
        EventKind::Delivered => 2,
        _ => 3,
    };
    (one.at, place(one))
        .cmp(&(other.at, place(other)))
        .then_with(|| one.kind.as_str().cmp(other.kind.as_str()))
        .then_with(|| one.recipient.cmp(&other.recipient))
}
