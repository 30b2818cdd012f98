//! Facts: read the row, ask `Life::after`, write the row, all inside one transaction.

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension};

use super::accept::{self, NewRow};
use super::row::{self, Tally};
use crate::clock::Timestamp;
use crate::message_log::{Acceptance, Applied, Claim, ClaimRequest, Claimed, Hint, LogError};
use crate::notification::NotificationId;
use crate::notification::status::{Fact, Life, Refusal, Status};

pub(super) fn apply(
    tx: &Connection,
    facts: &[(NotificationId, Fact)],
    now: Timestamp,
) -> rusqlite::Result<Vec<Result<Applied, LogError>>> {
    let mut tally = Tally::default();
    let mut applied = Vec::with_capacity(facts.len());
    for (id, fact) in facts {
        applied.push(match look(tx, *id, fact, now)? {
            Look::Fits { n, before, after } => {
                row::store(tx, n, &before, &after, &mut tally)?;
                Ok(Applied::Done { before: before.status(now), life: Box::new(after) })
            }
            Look::Refused(refusal, _) => Ok(Applied::Refused(refusal)),
            Look::Absent => Ok(Applied::Absent),
            Look::Unreadable(error) => Err(error),
        });
    }
    tally.write(tx)?;
    Ok(applied)
}

/// A claim as the writer's thread needs it.
pub(super) struct Asked {
    id: NotificationId,
    fact: Fact,
    new: Option<NewRow>,
}

impl Asked {
    pub(super) fn of(request: &ClaimRequest) -> Self {
        let new = match &request.hint {
            Hint::New(new) => Some(NewRow::of(new)),
            Hint::None | Hint::Fresh(_) => None,
        };
        Self { id: request.id, fact: request.fact.clone(), new }
    }
}

pub(super) fn claim(
    tx: &Connection,
    claims: &[Asked],
    now: Timestamp,
) -> rusqlite::Result<Vec<Result<Claim, LogError>>> {
    let mut tally = Tally::default();
    let mut claimed = Vec::with_capacity(claims.len());
    for asked in claims {
        claimed.push(claim_one(tx, asked, now, &mut tally)?);
    }
    tally.write(tx)?;
    Ok(claimed)
}

fn claim_one(
    tx: &Connection,
    asked: &Asked,
    now: Timestamp,
    tally: &mut Tally,
) -> rusqlite::Result<Result<Claim, LogError>> {
    let mut created = false;
    if let Some(new) = &asked.new {
        match accept::accept_one(tx, new, tally)? {
            Ok(Acceptance::Created(_)) => created = true,
            Ok(Acceptance::Duplicate(_)) => {}
            Ok(Acceptance::Conflict) => return Ok(Ok(Claim::Conflict)),
            Err(error) => return Ok(Err(error)),
        }
    }
    Ok(match look(tx, asked.id, &asked.fact, now)? {
        // The content is read first: what cannot be sent is not claimed.
        Look::Fits { n, before, after } => match content(tx, n)? {
            Some(content) => {
                row::store(tx, n, &before, &after, tally)?;
                Ok(Claim::Won(Box::new(Claimed { life: after, content, created })))
            }
            None => Err(LogError::Corrupt("its content".into())),
        },
        Look::Refused(refusal, life) => Ok(Claim::Refused { refusal, life, created }),
        Look::Absent => Ok(Claim::Absent),
        Look::Unreadable(error) => Err(error),
    })
}

/// Applies one fact to a row that is known; the status before it, if it fitted.
pub(super) fn apply_to(
    tx: &Connection,
    n: i64,
    before: &Life,
    fact: &Fact,
    now: Timestamp,
    tally: &mut Tally,
) -> rusqlite::Result<Option<Status>> {
    let Ok(after) = before.after(fact, now) else {
        return Ok(None);
    };
    row::store(tx, n, before, &after, tally)?;
    Ok(Some(before.status(now)))
}

#[expect(
    clippy::large_enum_variant,
    reason = "one at a time, on the stack of one call: boxing would cost an allocation a fact"
)]
enum Look {
    Fits { n: i64, before: Life, after: Life },
    Refused(Refusal, Box<Life>),
    Absent,
    Unreadable(LogError),
}

fn look(tx: &Connection, id: NotificationId, fact: &Fact, now: Timestamp) -> rusqlite::Result<Look> {
    let Some((n, stored)) = row::find(tx, id)? else {
        return Ok(Look::Absent);
    };
    let before = match stored.sound() {
        Ok(life) => life,
        Err(error) => return Ok(Look::Unreadable(error)),
    };
    Ok(match before.after(fact, now) {
        Ok(after) => Look::Fits { n, before, after },
        Err(refusal) => Look::Refused(refusal, Box::new(before)),
    })
}

fn content(tx: &Connection, n: i64) -> rusqlite::Result<Option<Bytes>> {
    tx.prepare_cached("SELECT body FROM content WHERE n = ?1")?
        .query_row([n], |row| row.get::<_, Vec<u8>>(0).map(Bytes::from))
        .optional()
}
