//! Folding: what is no repeat is appended, changes its recipients, and is taken as evidence.

use metrics::counter;
use rusqlite::{Connection, params};

use super::find::Placed;
use super::{Heard, Results};
use crate::clock::Timestamp;
use crate::message_log::sqlite::change::apply_to;
use crate::message_log::sqlite::row::{self, Tally, life, life_columns};
use crate::message_log::{LogError, Recorded};
use crate::metrics::EVENTS_LEFT_OUT_TOTAL;
use crate::notification::status::recipient::{RecipientState, RecipientStatus};
use crate::notification::status::{Fact, State, Status};
use crate::sqlite::heard::HeardList;

/// Of one recipient so many are kept; above it only what changes somebody or something is. A robot that opens a mail
/// again and again must not fill the disk.
const MOST_KEPT: usize = 1000;

/// A recipient's row.
struct Home {
    ix: i64,
    address_key: i64,
    before: RecipientState,
    after: RecipientState,
    heard: HeardList,
    is_new: bool,
}

/// Folds events of one notification, in their order.
pub(super) fn group(
    tx: &Connection,
    group: &[Placed],
    now: Timestamp,
    tally: &mut Tally,
    results: &mut Results,
) -> rusqlite::Result<()> {
    let Some(first) = group.first() else { return Ok(()) };
    let mut homes = homes(tx, first.n)?;
    for placed in group {
        tell(results, placed.ix, one(tx, placed, &mut homes, now, tally)?);
    }
    for home in &homes {
        store(tx, first.n, home)?;
    }
    Ok(())
}

/// The result of the event that was the call's `ix`th.
pub(super) fn tell(results: &mut Results, ix: usize, result: Result<Recorded, LogError>) {
    if let Some(slot) = results.get_mut(ix) {
        *slot = Some(result);
    }
}

fn one(
    tx: &Connection,
    placed: &Placed,
    homes: &mut [Home],
    now: Timestamp,
    tally: &mut Tally,
) -> rusqlite::Result<Result<Recorded, LogError>> {
    let (heard, found) = (&placed.heard, &placed.found);
    // What is about nobody whom we wrote to lies with the first.
    let own = homes.iter().position(|home| home.address_key == heard.address_key).unwrap_or(0);
    let repeat = Recorded::Repeat { tenant: Some(found.tenant.clone()) };
    match homes.get(own) {
        None => return Ok(Err(LogError::Corrupt("its recipients".into()))),
        Some(home) if home.heard.has(heard.keys) => return Ok(Ok(repeat)),
        Some(_) => {}
    }
    let proves = heard.event.kind.proves_acceptance() && !found.is_known;
    let settled = match proves.then(|| settle(tx, placed.n, heard, now, tally)).transpose()? {
        Some(Err(error)) => return Ok(Err(error)),
        settled => settled.and_then(Result::ok).flatten(),
    };
    let is_change = change(homes, heard) || settled.is_some();
    let Some(home) = homes.get_mut(own) else { return Ok(Ok(repeat)) };
    if home.heard.count() >= MOST_KEPT && !is_change {
        counter!(EVENTS_LEFT_OUT_TOTAL).increment(1);
        return Ok(Ok(repeat));
    }
    home.heard.push(append(tx, placed.n, heard)?, heard.keys);
    home.is_new = true;
    Ok(Ok(Recorded::Folded { tenant: found.tenant.clone(), settled, ready_at: found.ready_at }))
}

/// Lets every recipient of this address know; whether that changed one. The same address may stand in `to` and `cc`:
/// the provider sends to it once.
fn change(homes: &mut [Home], heard: &Heard) -> bool {
    let Some(status) = heard.event.kind.recipient_status() else { return false };
    let mut is_change = false;
    for home in homes.iter_mut().filter(|home| home.address_key == heard.address_key) {
        let after = home.after.after(status, heard.event.at);
        is_change |= after != home.after;
        home.after = after;
    }
    is_change
}

/// Takes the event as evidence of the acceptance; the status before, where it was not known.
fn settle(
    tx: &Connection,
    n: i64,
    heard: &Heard,
    now: Timestamp,
    tally: &mut Tally,
) -> rusqlite::Result<Result<Option<Status>, LogError>> {
    let stored = tx
        .prepare_cached(concat!("SELECT ", life_columns!(), " FROM notification WHERE n = ?1"))?
        .query_row([n], |row| life(row, 0))?;
    let life = match stored.sound() {
        Ok(life) => life,
        Err(error) => return Ok(Err(error)),
    };
    if life.state == State::Sent && life.provider_message_id.is_some() {
        return Ok(Ok(None));
    }
    let event = &heard.event;
    let fact = Fact::Accepted {
        provider: event.provider.clone(),
        message_id: event.provider_message_id.clone(),
        http_status: None,
    };
    let before = apply_to(tx, n, &life, &fact, now, tally)?;
    Ok(Ok(before.filter(|_| life.state != State::Sent)))
}

/// Keeps the event; its place.
fn append(tx: &Connection, n: i64, heard: &Heard) -> rusqlite::Result<i64> {
    let event = &heard.event;
    tx.prepare_cached(
        "INSERT INTO event (n, at, kind, recipient, machine, detail) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?
    .execute(params![
        n,
        event.at.as_ms(),
        event.kind.as_str(),
        event.recipient.as_ref().map(|address| address.reveal()),
        event.machine,
        heard.detail,
    ])?;
    Ok(tx.last_insert_rowid())
}

fn homes(tx: &Connection, n: i64) -> rusqlite::Result<Vec<Home>> {
    tx.prepare_cached("SELECT ix, address_key, status, since, heard FROM recipient WHERE n = ?1 ORDER BY ix")?
        .query_map([n], |row| {
            let before = RecipientState { status: recipient_status(row.get(2)?), since: row::time(row, 3)? };
            Ok(Home {
                ix: row.get(0)?,
                address_key: row.get(1)?,
                before,
                after: before,
                heard: HeardList::from_bytes(row.get_ref(4)?.as_blob_or_null()?),
                is_new: false,
            })
        })?
        .collect()
}

/// Names the status only where it changes: who listens to it hears of changes alone.
fn store(tx: &Connection, n: i64, home: &Home) -> rusqlite::Result<()> {
    let (since, heard) = (home.after.since.as_ms(), home.heard.as_bytes());
    if home.after.status != home.before.status {
        let status = recipient_code(home.after.status);
        tx.prepare_cached(
            "UPDATE recipient SET status = ?3, since = ?4, heard = ?5 WHERE n = ?1 AND ix = ?2",
        )?
        .execute(params![n, home.ix, status, since, heard])?;
    } else if home.is_new || home.after != home.before {
        tx.prepare_cached("UPDATE recipient SET since = ?3, heard = ?4 WHERE n = ?1 AND ix = ?2")?
            .execute(params![n, home.ix, since, heard])?;
    }
    Ok(())
}

/// A recipient's status by its code: its place in `RecipientStatus::ALL`.
pub(in crate::message_log::sqlite) fn recipient_status(code: i64) -> RecipientStatus {
    usize::try_from(code).ok().and_then(|code| RecipientStatus::ALL.get(code)).copied().unwrap_or_default()
}

fn recipient_code(status: RecipientStatus) -> i64 {
    let place = RecipientStatus::ALL.iter().position(|known| *known == status);
    place.and_then(|place| i64::try_from(place).ok()).unwrap_or(0)
}
