//! Which notification an event is about.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use std::{mem, vec};

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::Heard;
use crate::background::patiently;
use crate::clock::Timestamp;
use crate::message_log::matched::{self, Send};
use crate::message_log::sqlite::row;
use crate::notification::NotificationId;
use crate::notification::status::State;
use crate::sqlite::Pace;
use crate::sqlite::heard::HeardList;

/// Of a recipient's notifications, so many are looked at for an event without our id, newest first: bounded, as a shop's
/// own mailbox may get every one of them.
const RECIPIENT_LOOKS: u32 = 500;

/// The provider's clock may be ahead of ours by so much; what claims to come from later says nothing about now.
pub(super) const FUTURE_ALLOWED: Duration = matched::FUTURE_ALLOWED;

/// The notification that an event is about: what of it does not change, or never back.
#[derive(Clone)]
pub(super) struct Found {
    n: i64,
    pub(super) tenant: Arc<str>,
    pub(super) ready_at: Timestamp,
    /// Its acceptance is known, with the provider's id of the message: an event has nothing to add.
    pub(super) is_known: bool,
}

impl Found {
    const COLUMNS: &str = "n, tenant, ready_at, state, provider_message_id IS NOT NULL";

    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let is_sent = row::state(row.get(3)?) == Some(State::Sent);
        Ok(Self {
            n: row.get(0)?,
            tenant: row.get(1)?,
            ready_at: row::time(row, 2)?,
            is_known: is_sent && row.get(4)?,
        })
    }
}

/// An event, its place in the call, and where it belongs.
pub(super) struct Placed {
    pub(super) ix: usize,
    pub(super) n: i64,
    pub(super) heard: Heard,
    pub(super) found: Found,
}

/// Every event that matches, in the order in which the notifications lie; and the others with their places in the call.
pub(super) type Matched = (Vec<Placed>, Vec<(usize, Heard)>);

/// The events of a call, and where those belong that were looked for.
pub(super) struct Search {
    /// In the order of the index in which they are looked up.
    left: vec::IntoIter<(usize, Heard)>,
    known: HashMap<NotificationId, Option<Found>>,
    placed: Vec<Placed>,
    strays: Vec<(usize, Heard)>,
}

impl Search {
    pub(super) fn of(heard: Vec<Heard>) -> Self {
        let count = heard.len();
        let mut left: Vec<_> = heard.into_iter().enumerate().collect();
        // Their places are sorted, not they themselves: each is some hundred bytes.
        left.sort_by_cached_key(|(_, heard)| heard.event.id);
        Self {
            left: left.into_iter(),
            known: HashMap::with_capacity(count),
            placed: Vec::with_capacity(count),
            strays: Vec::new(),
        }
    }

    /// Looks on until its pace is over; all that was found when nothing is left.
    pub(super) fn go_on(&mut self, tx: &Connection, pace: &Pace) -> rusqlite::Result<Option<Matched>> {
        for (ix, mut heard) in patiently(self.left.by_ref()) {
            match one(tx, &mut heard, &mut self.known)? {
                Some(found) => self.placed.push(Placed { ix, n: found.n, heard, found }),
                None => self.strays.push((ix, heard)),
            }
            if pace.is_over() {
                return Ok(None);
            }
        }
        self.placed.sort_by_cached_key(|placed| (placed.n, placed.ix));
        Ok(Some((mem::take(&mut self.placed), mem::take(&mut self.strays))))
    }
}

/// Where one belongs, for the writer, which sees what the reader did not see yet.
pub(super) fn again(tx: &Connection, heard: &mut Heard) -> rusqlite::Result<Option<(i64, Found)>> {
    Ok(one(tx, heard, &mut HashMap::new())?.map(|found| (found.n, found)))
}

fn one(
    tx: &Connection,
    heard: &mut Heard,
    known: &mut HashMap<NotificationId, Option<Found>>,
) -> rusqlite::Result<Option<Found>> {
    if let Some(id) = heard.event.id {
        let found = match known.get(&id) {
            Some(found) => found.clone(),
            None => known.entry(id).or_insert(by_id(tx, id)?).clone(),
        };
        if found.is_some() {
            return Ok(found);
        }
    }
    if let Some(message_id) = &heard.event.provider_message_id {
        return by_message_id(tx, message_id, heard);
    }
    if matched::is_by_address(&heard.event) { by_address(tx, heard) } else { Ok(None) }
}

fn by_id(tx: &Connection, id: NotificationId) -> rusqlite::Result<Option<Found>> {
    tx.prepare_cached(&format!("SELECT {} FROM notification WHERE id = ?1", Found::COLUMNS))?
        .query_row([id.as_bytes()], Found::read)
        .optional()
}

/// By the provider's own id, among what was recorded for the event's recipient.
fn by_message_id(tx: &Connection, message_id: &str, heard: &Heard) -> rusqlite::Result<Option<Found>> {
    tx.prepare_cached(&format!(
        "SELECT {} FROM notification
         WHERE n IN (SELECT n FROM recipient WHERE address_key = ?1 ORDER BY n DESC LIMIT ?2)
             AND provider = ?3 AND provider_message_id = ?4
         ORDER BY n DESC LIMIT 1",
        Found::COLUMNS
    ))?
    .query_row(params![heard.address_key, RECIPIENT_LOOKS, heard.event.provider, message_id], Found::read)
    .optional()
}

/// What this provider took last for this address before the event, whoever sent it; the event then says so.
fn by_address(tx: &Connection, heard: &mut Heard) -> rusqlite::Result<Option<Found>> {
    let (from, until) = matched::window(heard.event.at);
    let sends: Vec<(Timestamp, Found)> = tx
        .prepare_cached(&format!(
            "SELECT {}, sent_at FROM notification
             WHERE n IN (SELECT n FROM recipient WHERE address_key = ?1 ORDER BY n DESC LIMIT ?2)
                 AND provider = ?3 AND sent_at BETWEEN ?4 AND ?5
             ORDER BY n",
            Found::COLUMNS
        ))?
        .query_map(
            params![heard.address_key, RECIPIENT_LOOKS, heard.event.provider, from.as_ms(), until.as_ms()],
            |row| Ok((row::time(row, 5)?, Found::read(row)?)),
        )?
        .collect::<Result<_, _>>()?;
    // Where it was folded before, it is a repeat, whatever was sent since.
    if sends.len() > 1 {
        for (_, found) in &sends {
            if knows(tx, found.n, heard)? {
                return Ok(Some(found.clone()));
            }
        }
    }
    let candidates: Vec<Send<'_>> =
        sends.iter().map(|(at, found)| Send { at: *at, tenant: &found.tenant }).collect();
    let Some((best, mark)) = matched::choose(&candidates, heard.event.at) else { return Ok(None) };
    heard.event.detail.insert(matched::MARK.into(), mark);
    heard.detail = super::detail(&heard.event);
    Ok(sends.into_iter().nth(best).map(|(_, found)| found))
}

fn knows(tx: &Connection, n: i64, heard: &Heard) -> rusqlite::Result<bool> {
    let mut select = tx.prepare_cached("SELECT heard FROM recipient WHERE n = ?1 AND address_key = ?2")?;
    let mut rows = select.query(params![n, heard.address_key])?;
    while let Some(row) = rows.next()? {
        if HeardList::from_bytes(row.get_ref(0)?.as_blob_or_null()?).has(heard.keys) {
            return Ok(true);
        }
    }
    Ok(false)
}
