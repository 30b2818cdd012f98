//! Between rows and values.

use rusqlite::{Connection, OptionalExtension, Row, Statement, params};
use serde::Deserialize;
use serde::de::IntoDeserializer;
use serde::de::value::{Error as ValueError, StrDeserializer};
use sha2::{Digest, Sha256};

use crate::clock::Timestamp;
use crate::message_log::LogError;
use crate::notification::address::Address;
use crate::notification::status::{Life, State, Status, Token};
use crate::notification::{NotificationId, OnUnknown, Priority, RecipientKind};

/// Every written state; its place is its code in the table.
pub(super) const STATES: [State; 10] = [
    State::Accepted,
    State::Scheduled,
    State::Held,
    State::Attempting,
    State::Retrying,
    State::Sent,
    State::Failed,
    State::Expired,
    State::Cancelled,
    State::Suppressed,
];

/// The columns of a [`Life`], in the order that [`life`] reads them. A macro, so that statements are literals.
macro_rules! life_columns {
    () => {
        "state, state_since, reason, accepted_at, deliver_at, useful_until, on_unknown, due_at, wake_at, attempt, \
         spent, resends, is_resend, token, lease_until, hold_until, provider, provider_message_id, sent_at, attempts, \
         acts"
    };
}
pub(super) use life_columns;

pub(super) fn state_code(state: State) -> usize {
    STATES.iter().position(|known| *known == state).unwrap_or(0)
}

/// What stands for a text in an index: the first eight bytes of its SHA-256. Two texts that share a key
/// are not to be expected in any number of records that a disk holds.
pub(super) fn key(text: &str) -> i64 {
    let mut first = [0; 8];
    first.copy_from_slice(&Sha256::digest(text)[..8]);
    i64::from_be_bytes(first)
}

/// The state with this code.
pub(super) fn state(code: i64) -> Option<State> {
    usize::try_from(code).ok().and_then(|code| STATES.get(code)).copied()
}

/// The status that a state stands for, see `Life::status`.
pub(super) fn status(state: State, due: bool, lease_over: bool) -> Status {
    match state {
        State::Accepted => Status::Accepted,
        State::Scheduled if due => Status::Accepted,
        State::Scheduled => Status::Scheduled,
        State::Held => Status::Held,
        State::Attempting if lease_over => Status::Unknown,
        State::Attempting => Status::Attempting,
        State::Retrying => Status::Retrying,
        State::Sent => Status::Sent,
        State::Failed => Status::Failed,
        State::Expired => Status::Expired,
        State::Cancelled => Status::Cancelled,
        State::Suppressed => Status::Suppressed,
    }
}

/// Whether a row in this state lists as unsent.
pub(super) fn is_unsent(state: State) -> bool {
    !matches!(state, State::Sent | State::Cancelled | State::Suppressed)
}

pub(super) fn priority_code(priority: Priority) -> i64 {
    i64::from(priority == Priority::Bulk)
}

pub(super) fn priority(code: i64) -> Priority {
    if code == 1 { Priority::Bulk } else { Priority::Transactional }
}

pub(super) fn on_unknown_code(policy: OnUnknown) -> i64 {
    i64::from(policy == OnUnknown::Hold)
}

pub(super) fn kind_code(kind: RecipientKind) -> i64 {
    match kind {
        RecipientKind::To => 0,
        RecipientKind::Cc => 1,
        RecipientKind::Bcc => 2,
    }
}

pub(super) fn kind(code: i64) -> RecipientKind {
    match code {
        0 => RecipientKind::To,
        1 => RecipientKind::Cc,
        _ => RecipientKind::Bcc,
    }
}

/// A stored address, as it was when it was accepted: a later version's stricter rules must not hide a record.
pub(super) fn address(text: &str) -> Option<Address> {
    let stored: StrDeserializer<'_, ValueError> = text.into_deserializer();
    Address::deserialize(stored).ok()
}

pub(super) fn time(row: &Row<'_>, ix: usize) -> rusqlite::Result<Timestamp> {
    row.get(ix).map(Timestamp::from_ms)
}

fn maybe_time(row: &Row<'_>, ix: usize) -> rusqlite::Result<Option<Timestamp>> {
    Ok(row.get::<_, Option<i64>>(ix)?.map(Timestamp::from_ms))
}

fn count(row: &Row<'_>, ix: usize) -> rusqlite::Result<u32> {
    Ok(u32::try_from(row.get::<_, i64>(ix)?).unwrap_or(0))
}

/// A value read from a row, and what of it could not be read: that part is then empty. Who changes records refuses
/// such a value, who lists them shows it.
pub(super) struct Stored<T> {
    pub(super) value: T,
    pub(super) fault: Option<&'static str>,
}

impl<T> Stored<T> {
    pub(super) fn sound(self) -> Result<T, LogError> {
        match self.fault {
            None => Ok(self.value),
            Some(fault) => Err(LogError::Corrupt(fault.into())),
        }
    }
}

/// The life in `life_columns!`, of which the first is column `at`.
pub(super) fn life(row: &Row<'_>, at: usize) -> rusqlite::Result<Stored<Life>> {
    let state = state(row.get(at)?);
    let token: Option<Vec<u8>> = row.get(at + 13)?;
    let attempts = serde_json::from_str(row.get_ref(at + 19)?.as_str()?);
    let acts = row.get_ref(at + 20)?.as_str_or_null()?.map_or(Ok(Vec::new()), serde_json::from_str);
    let token_bytes = token.map(<[u8; 16]>::try_from);
    let fault = match (&state, &attempts, &acts, &token_bytes) {
        (None, ..) => Some("its state"),
        (_, Err(_), ..) => Some("its attempts"),
        (_, _, Err(_), _) => Some("its acts"),
        (.., Some(Err(_))) => Some("its token"),
        _ => None,
    };
    let value = Life {
        state: state.unwrap_or(State::Held),
        state_since: time(row, at + 1)?,
        reason: row.get(at + 2)?,
        accepted_at: time(row, at + 3)?,
        deliver_at: maybe_time(row, at + 4)?,
        useful_until: maybe_time(row, at + 5)?,
        on_unknown: if row.get::<_, i64>(at + 6)? == 1 { OnUnknown::Hold } else { OnUnknown::Resend },
        due_at: time(row, at + 7)?,
        wake_at: maybe_time(row, at + 8)?,
        attempt: count(row, at + 9)?,
        spent: count(row, at + 10)?,
        resends: count(row, at + 11)?,
        is_resend: row.get::<_, i64>(at + 12)? != 0,
        token: token_bytes.and_then(Result::ok).map(Token),
        lease_until: time(row, at + 14)?,
        hold_until: time(row, at + 15)?,
        provider: row.get(at + 16)?,
        provider_message_id: row.get(at + 17)?,
        sent_at: maybe_time(row, at + 18)?,
        attempts: attempts.unwrap_or_default(),
        acts: acts.unwrap_or_default(),
    };
    Ok(Stored { value, fault })
}

/// Where a notification lies, and its life.
pub(super) fn find(tx: &Connection, id: NotificationId) -> rusqlite::Result<Option<(i64, Stored<Life>)>> {
    tx.prepare_cached(concat!("SELECT n, ", life_columns!(), " FROM notification WHERE id = ?1"))?
        .query_row([id.as_bytes()], |row| Ok((row.get(0)?, life(row, 1)?)))
        .optional()
}

/// The columns that every change of state changes.
macro_rules! moved {
    () => {
        "UPDATE notification SET state = ?2, state_since = ?3, due_at = ?4, wake_at = ?5, attempt = ?6, spent = ?7, \
         resends = ?8, is_resend = ?9, token = ?10, lease_until = ?11, hold_until = ?12, provider = ?13, attempts = ?14"
    };
}
/// Writes what differs between two lives of row `n`, and keeps the tally.
///
/// SQLite rewrites an index entry when a column of it is named, whether or not its value changes: so each statement
/// names no more than it must.
pub(super) fn store(
    tx: &Connection,
    n: i64,
    before: &Life,
    after: &Life,
    tally: &mut Tally,
) -> rusqlite::Result<()> {
    if before == after {
        return Ok(());
    }
    if before.wake_at != after.wake_at && (Life { wake_at: before.wake_at, ..after.clone() }) == *before {
        let wake_at = after.wake_at.map(Timestamp::as_ms);
        tx.prepare_cached("UPDATE notification SET wake_at = ?2 WHERE n = ?1")?
            .execute(params![n, wake_at])?;
        return Ok(());
    }
    tally.count(before.state, -1);
    tally.count(after.state, 1);
    let named = before.reason != after.reason || before.provider_message_id != after.provider_message_id;
    let acted = before.acts != after.acts;
    let sql = if acted {
        concat!(
            moved!(),
            ", unsent = ?15, reason = ?16, provider_message_id = ?17, sent_at = ?18, useful_until = ?19, acts = ?20 \
             WHERE n = ?1"
        )
    } else if named || is_unsent(before.state) != is_unsent(after.state) {
        concat!(
            moved!(),
            ", unsent = ?15, reason = ?16, provider_message_id = ?17, sent_at = ?18 WHERE n = ?1"
        )
    } else {
        concat!(moved!(), " WHERE n = ?1")
    };
    let mut update = tx.prepare_cached(sql)?;
    bind(&mut update, n, after)?;
    if update.parameter_count() > 14 {
        update.raw_bind_parameter(15, is_unsent(after.state))?;
        update.raw_bind_parameter(16, &after.reason)?;
        update.raw_bind_parameter(17, &after.provider_message_id)?;
        update.raw_bind_parameter(18, after.sent_at.map(Timestamp::as_ms))?;
    }
    if acted {
        update.raw_bind_parameter(19, after.useful_until.map(Timestamp::as_ms))?;
        update.raw_bind_parameter(20, acts_json(after))?;
    }
    update.raw_execute()?;
    Ok(())
}

fn bind(update: &mut Statement<'_>, n: i64, life: &Life) -> rusqlite::Result<()> {
    update.raw_bind_parameter(1, n)?;
    update.raw_bind_parameter(2, i64::try_from(state_code(life.state)).unwrap_or(0))?;
    update.raw_bind_parameter(3, life.state_since.as_ms())?;
    update.raw_bind_parameter(4, life.due_at.as_ms())?;
    update.raw_bind_parameter(5, life.wake_at.map(Timestamp::as_ms))?;
    update.raw_bind_parameter(6, life.attempt)?;
    update.raw_bind_parameter(7, life.spent)?;
    update.raw_bind_parameter(8, life.resends)?;
    update.raw_bind_parameter(9, life.is_resend)?;
    update.raw_bind_parameter(10, life.token.map(|token| token.0))?;
    update.raw_bind_parameter(11, life.lease_until.as_ms())?;
    update.raw_bind_parameter(12, life.hold_until.as_ms())?;
    update.raw_bind_parameter(13, &life.provider)?;
    update.raw_bind_parameter(14, attempts_json(life))
}

/// The attempts as they are stored.
pub(super) fn attempts_json(life: &Life) -> String {
    // Plain structs of texts and numbers: writing them as JSON cannot fail.
    serde_json::to_string(&life.attempts).unwrap_or_else(|_| "[]".into())
}

/// The acts as they are stored; `None` for none.
pub(super) fn acts_json(life: &Life) -> Option<String> {
    // Texts and times only: writing them as JSON cannot fail.
    (!life.acts.is_empty()).then(|| serde_json::to_string(&life.acts).unwrap_or_else(|_| "[]".into()))
}

/// Adds a row to the tally's change.
#[derive(Default)]
pub(super) struct Tally([i64; STATES.len()]);

impl Tally {
    pub(super) fn count(&mut self, state: State, by: i64) {
        if let Some(change) = self.0.get_mut(state_code(state)) {
            *change += by;
        }
    }

    /// Once per command, in its transaction.
    pub(super) fn write(self, tx: &Connection) -> rusqlite::Result<()> {
        let mut add = tx.prepare_cached(
            "INSERT INTO tally (state, count) VALUES (?1, ?2)
             ON CONFLICT (state) DO UPDATE SET count = count + excluded.count",
        )?;
        for (code, change) in self.0.iter().enumerate().filter(|(_, change)| **change != 0) {
            add.execute(params![i64::try_from(code).unwrap_or(0), change])?;
        }
        Ok(())
    }
}
