//! Events: matched, recognised when repeated, folded into their recipient, and taken as evidence.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Row, params};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::change::apply_to;
use super::row::{self, Tally, life, life_columns};
use crate::clock::Timestamp;
use crate::message_log::{LogError, Recorded};
use crate::notification::NotificationId;
use crate::notification::status::recipient::{RecipientState, RecipientStatus};
use crate::notification::status::{Fact, Life, State};
use crate::provider::ProviderEvent;

/// A bounce that carries nothing but an address belongs to what was sent there lately: receiving servers give up
/// after five days at most (RFC 5321, 4.5.4.1).
const BOUNCES_WITHIN: Duration = Duration::from_secs(5 * 24 * 3600);

/// Of a recipient's notifications, so many are looked at for an event without our id, newest first: bounded, as a shop's
/// own mailbox may get every one of them.
const RECIPIENT_LOOKS: u32 = 500;

/// The provider's clock may be ahead of ours by so much; what claims to come from later says nothing about now.
const FUTURE_ALLOWED: Duration = Duration::from_secs(5 * 60);

/// The witness is written only when it moves by this much: events come many to a second.
const WITNESS_STEP: Duration = Duration::from_secs(1);

/// For how long unmatched events are kept.
const UNMATCHED_KEPT: Duration = Duration::from_secs(30 * 24 * 3600);

/// Unmatched events pruned per added one: more than one, so that the table shrinks, and bounded.
const PRUNED_AT_ONCE: u32 = 10;

/// An event as the tables need it: made by the caller, to leave the writer's thread little to do.
pub(super) struct Heard {
    event: ProviderEvent,
    /// Zero where the provider names nobody: part of what makes two events the same, so never absent.
    address_key: i64,
    detail: String,
}

impl Heard {
    pub(super) fn of(event: &ProviderEvent) -> Self {
        let mut event = event.clone();
        // Asynchronous bounces come with empty ids.
        event.provider_message_id = event.provider_message_id.filter(|id| !id.is_empty());
        event.event_id = event.event_id.filter(|id| !id.is_empty());
        Self {
            address_key: event.recipient.as_ref().map_or(0, |address| row::key(&address.canonical())),
            detail: serde_json::Value::Object(std::mem::take(&mut event.detail)).to_string(),
            event,
        }
    }
}

pub(super) fn record(
    tx: &Connection,
    heard: &[Heard],
    now: Timestamp,
) -> rusqlite::Result<Vec<Result<Recorded, LogError>>> {
    let mut tally = Tally::default();
    let mut recorded = Vec::with_capacity(heard.len());
    for heard in heard {
        recorded.push(match find(tx, heard)? {
            None => Ok(keep_unmatched(tx, heard, now)?),
            Some(found) => match found.life.sound() {
                Ok(life) => Ok(fold(tx, heard, (found.n, found.tenant), &life, now, &mut tally)?),
                Err(error) => Err(error),
            },
        });
    }
    tally.write(tx)?;
    move_witnesses(tx, heard, now)?;
    Ok(recorded)
}

/// The notification that an event is about.
struct Found {
    n: i64,
    tenant: Arc<str>,
    life: row::Stored<Life>,
}

impl Found {
    /// From `n`, `tenant` and a life's columns.
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self { n: row.get(0)?, tenant: row.get(1)?, life: life(row, 2)? })
    }
}

fn find(tx: &Connection, heard: &Heard) -> rusqlite::Result<Option<Found>> {
    let event = &heard.event;
    if let Some(id) = event.id
        && let Some(found) = find_by_id(tx, id)?
    {
        return Ok(Some(found));
    }
    if let Some(message_id) = &event.provider_message_id {
        return find_by_message_id(tx, message_id, heard);
    }
    let gives_up = event.kind.recipient_status().is_some_and(|status| status >= RecipientStatus::Blocked);
    if event.id.is_none() && gives_up && event.recipient.is_some() {
        return find_by_address(tx, heard);
    }
    Ok(None)
}

fn find_by_id(tx: &Connection, id: NotificationId) -> rusqlite::Result<Option<Found>> {
    tx.prepare_cached(concat!("SELECT n, tenant, ", life_columns!(), " FROM notification WHERE id = ?1"))?
        .query_row([id.as_bytes()], Found::read)
        .optional()
}

/// By the provider's own id, among what was recorded for the event's recipient.
fn find_by_message_id(tx: &Connection, message_id: &str, heard: &Heard) -> rusqlite::Result<Option<Found>> {
    tx.prepare_cached(concat!(
        "SELECT n, tenant, ",
        life_columns!(),
        " FROM notification
         WHERE n IN (SELECT n FROM recipient WHERE address_key = ?1 ORDER BY n DESC LIMIT ?2)
             AND provider = ?3 AND provider_message_id = ?4
         ORDER BY n DESC LIMIT 1"
    ))?
    .query_row(params![heard.address_key, RECIPIENT_LOOKS, heard.event.provider, message_id], Found::read)
    .optional()
}

/// What this provider took last for this address before the event.
fn find_by_address(tx: &Connection, heard: &Heard) -> rusqlite::Result<Option<Found>> {
    let at = heard.event.at;
    tx.prepare_cached(concat!(
        "SELECT n, tenant, ",
        life_columns!(),
        " FROM notification
         WHERE n IN (SELECT n FROM recipient WHERE address_key = ?1 ORDER BY n DESC LIMIT ?2)
             AND provider = ?3 AND sent_at BETWEEN ?4 AND ?5
         ORDER BY sent_at DESC LIMIT 1"
    ))?
    .query_row(
        params![
            heard.address_key,
            RECIPIENT_LOOKS,
            heard.event.provider,
            at.minus(BOUNCES_WITHIN).as_ms(),
            at.plus(FUTURE_ALLOWED).as_ms()
        ],
        Found::read,
    )
    .optional()
}

fn fold(
    tx: &Connection,
    heard: &Heard,
    (n, tenant): (i64, Arc<str>),
    life: &Life,
    now: Timestamp,
    tally: &mut Tally,
) -> rusqlite::Result<Recorded> {
    if is_repeat(tx, heard, n)? {
        return Ok(Recorded::Repeat { tenant: Some(tenant) });
    }
    keep(tx, heard, n)?;
    fold_recipient(tx, heard, n)?;
    let event = &heard.event;
    // Where the acceptance is known, with its id, an event has nothing to add.
    let known = life.state == State::Sent && life.provider_message_id.is_some();
    let mut settled = None;
    if event.kind.proves_acceptance() && !known {
        let fact = Fact::Accepted {
            provider: event.provider.clone(),
            message_id: event.provider_message_id.clone(),
            http_status: None,
        };
        let before = apply_to(tx, n, life, &fact, now, tally)?;
        settled = before.filter(|_| life.state != State::Sent);
    }
    Ok(Recorded::Folded { tenant, settled, ready_at: life.ready_at() })
}

/// Read before write: a repeat costs no commit.
fn is_repeat(tx: &Connection, heard: &Heard, n: i64) -> rusqlite::Result<bool> {
    let event = &heard.event;
    if let Some(event_id) = &event.event_id
        && tx
            .prepare_cached("SELECT 1 FROM event_key WHERE event_id = ?1 AND provider = ?2")?
            .exists([event_id, &event.provider])?
    {
        return Ok(true);
    }
    tx.prepare_cached("SELECT 1 FROM event WHERE n = ?1 AND at = ?2 AND kind = ?3 AND address_key = ?4")?
        .exists(params![n, event.at.as_ms(), event.kind.as_str(), heard.address_key])
}

fn keep(tx: &Connection, heard: &Heard, n: i64) -> rusqlite::Result<()> {
    let event = &heard.event;
    tx.prepare_cached(
        "INSERT INTO event (n, at, kind, address_key, recipient, machine, detail) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?
    .execute(params![
        n,
        event.at.as_ms(),
        event.kind.as_str(),
        heard.address_key,
        event.recipient.as_ref().map(|address| address.reveal()),
        event.machine,
        heard.detail,
    ])?;
    if let Some(event_id) = &event.event_id {
        tx.prepare_cached("INSERT INTO event_key (event_id, provider) VALUES (?1, ?2)")?
            .execute([event_id, &event.provider])?;
    }
    Ok(())
}

fn fold_recipient(tx: &Connection, heard: &Heard, n: i64) -> rusqlite::Result<()> {
    let Some(status) = heard.event.kind.recipient_status() else {
        return Ok(());
    };
    // The same address may stand in `to` and `cc`; the provider sends to it once.
    let known: Vec<(i64, RecipientState)> = tx
        .prepare_cached("SELECT ix, status, since FROM recipient WHERE n = ?1 AND address_key = ?2")?
        .query_map(params![n, heard.address_key], |row| {
            let status = recipient_status(row.get(1)?);
            Ok((row.get(0)?, RecipientState { status, since: row::time(row, 2)? }))
        })?
        .collect::<Result<_, _>>()?;
    for (ix, before) in known {
        let after = before.after(status, heard.event.at);
        if after != before {
            tx.prepare_cached("UPDATE recipient SET status = ?3, since = ?4 WHERE n = ?1 AND ix = ?2")?
                .execute(params![n, ix, recipient_code(after.status), after.since.as_ms()])?;
        }
    }
    Ok(())
}

/// A recipient's status by its code: its rank.
pub(super) fn recipient_status(code: i64) -> RecipientStatus {
    usize::try_from(code).ok().and_then(|code| RecipientStatus::ALL.get(code)).copied().unwrap_or_default()
}

fn recipient_code(status: RecipientStatus) -> i64 {
    let rank = RecipientStatus::ALL.iter().position(|known| *known == status);
    rank.and_then(|rank| i64::try_from(rank).ok()).unwrap_or(0)
}

fn keep_unmatched(tx: &Connection, heard: &Heard, now: Timestamp) -> rusqlite::Result<Recorded> {
    let digest = digest(heard);
    if tx.prepare_cached("SELECT 1 FROM unmatched_event WHERE digest = ?1")?.exists([digest])? {
        return Ok(Recorded::Repeat { tenant: None });
    }
    let event = &heard.event;
    let text = json!({
        "id": event.id,
        "provider_message_id": event.provider_message_id,
        "event_id": event.event_id,
        "kind": event.kind,
        "at": event.at,
        "recipient": event.recipient,
        "machine": event.machine,
        "detail": serde_json::from_str::<serde_json::Value>(&heard.detail).unwrap_or_default(),
    });
    tx.prepare_cached(
        "INSERT INTO unmatched_event (digest, kept_at, provider, event) VALUES (?1, ?2, ?3, ?4)",
    )?
    .execute(params![digest, now.as_ms(), event.provider, text.to_string()])?;
    tx.prepare_cached(
        "DELETE FROM unmatched_event WHERE digest IN
             (SELECT digest FROM unmatched_event WHERE kept_at < ?1 ORDER BY kept_at LIMIT ?2)",
    )?
    .execute(params![now.minus(UNMATCHED_KEPT).as_ms(), PRUNED_AT_ONCE])?;
    Ok(Recorded::Unmatched)
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
            heard.address_key
        ]),
    };
    Sha256::digest(identity.to_string()).into()
}

fn move_witnesses(tx: &Connection, heard: &[Heard], now: Timestamp) -> rusqlite::Result<()> {
    let mut newest: BTreeMap<&str, Timestamp> = BTreeMap::new();
    for event in heard.iter().map(|heard| &heard.event).filter(|event| event.at <= now.plus(FUTURE_ALLOWED)) {
        let at = newest.entry(&event.provider).or_default();
        *at = event.at.max(*at);
    }
    for (provider, at) in newest {
        let seen = witness(tx, provider)?;
        if seen.is_none_or(|seen| at.since(seen) >= WITNESS_STEP) {
            tx.prepare_cached(
                "INSERT INTO witness (provider, at) VALUES (?1, ?2)
                 ON CONFLICT (provider) DO UPDATE SET at = excluded.at",
            )?
            .execute(params![provider, at.as_ms()])?;
        }
    }
    Ok(())
}

pub(super) fn witness(tx: &Connection, provider: &str) -> rusqlite::Result<Option<Timestamp>> {
    tx.prepare_cached("SELECT at FROM witness WHERE provider = ?1")?
        .query_row([provider], |row| row::time(row, 0))
        .optional()
}
