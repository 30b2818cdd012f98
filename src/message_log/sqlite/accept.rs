//! Recording a notification: creating its row is the deduplication.

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, params};

use super::row::{self, Tally, life, life_columns};
use crate::clock::Timestamp;
use crate::message_log::{Acceptance, LogError, NewNotification};
use crate::notification::status::Life;
use crate::notification::{NotificationId, Priority};

/// What the tables need of a new notification: made by the caller, to leave the writer's thread little to do.
pub(super) struct NewRow {
    id: NotificationId,
    tenant: String,
    batch: Option<String>,
    priority: Priority,
    life: Life,
    metadata: String,
    content: Bytes,
    content_hash: [u8; 32],
    recipients: Vec<NewRecipient>,
}

struct NewRecipient {
    email: String,
    address_key: i64,
    kind: i64,
}

impl NewRow {
    pub(super) fn of(new: &NewNotification) -> Self {
        let notification = &new.notification;
        let recipients = notification.recipients().map(|(kind, mailbox)| NewRecipient {
            email: mailbox.email.reveal().to_owned(),
            address_key: row::key(&mailbox.email.canonical()),
            kind: row::kind_code(kind),
        });
        Self {
            id: new.id,
            tenant: notification.tenant.clone(),
            batch: notification.batch.clone(),
            priority: notification.priority,
            life: new.life.clone(),
            // A map of texts: writing it as JSON cannot fail.
            metadata: serde_json::to_string(&notification.metadata).unwrap_or_else(|_| "{}".into()),
            content: new.content.clone(),
            content_hash: new.content_hash,
            recipients: recipients.collect(),
        }
    }
}

/// Notifications on their way into the log.
pub(crate) struct Accepting(Vec<NewRow>);

impl Accepting {
    pub(crate) fn of(new: &[NewNotification]) -> Self {
        Self(new.iter().map(NewRow::of).collect())
    }

    /// Records them inside the caller's transaction. One result per entry, in order.
    pub(crate) fn run(&self, tx: &Connection) -> rusqlite::Result<Vec<Result<Acceptance, LogError>>> {
        let mut tally = Tally::default();
        let mut found = Vec::with_capacity(self.0.len());
        for new in &self.0 {
            found.push(accept_one(tx, new, &mut tally)?);
        }
        tally.write(tx)?;
        Ok(found)
    }
}

pub(super) fn accept_one(
    tx: &Connection,
    new: &NewRow,
    tally: &mut Tally,
) -> rusqlite::Result<Result<Acceptance, LogError>> {
    if !insert(tx, new)? {
        return known(tx, new);
    }
    tally.count(new.life.state, 1);
    Ok(Ok(Acceptance::Created(new.life.status(new.life.accepted_at))))
}

/// Whether it was new.
fn insert(tx: &Connection, new: &NewRow) -> rusqlite::Result<bool> {
    let life = &new.life;
    let created = tx
        .prepare_cached(concat!(
            "INSERT INTO notification (",
            life_columns!(),
            ", id, tenant, batch, priority, unsent, ready_at, metadata, content_hash)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20,
                 ?21, ?22, ?23, ?24, ?25, ?26, ?27, ?28, ?29)
             ON CONFLICT (id) DO NOTHING"
        ))?
        .execute(params![
            i64::try_from(row::state_code(life.state)).unwrap_or(0),
            life.state_since.as_ms(),
            life.reason,
            life.accepted_at.as_ms(),
            life.deliver_at.map(Timestamp::as_ms),
            life.useful_until.map(Timestamp::as_ms),
            row::on_unknown_code(life.on_unknown),
            life.due_at.as_ms(),
            life.wake_at.map(Timestamp::as_ms),
            life.attempt,
            life.spent,
            life.resends,
            life.is_resend,
            life.token.map(|token| token.0),
            life.lease_until.as_ms(),
            life.hold_until.as_ms(),
            life.provider,
            life.provider_message_id,
            life.sent_at.map(Timestamp::as_ms),
            row::attempts_json(life),
            row::acts_json(life),
            new.id.as_bytes(),
            new.tenant,
            new.batch,
            row::priority_code(new.priority),
            row::is_unsent(life.state),
            life.ready_at().as_ms(),
            new.metadata,
            new.content_hash,
        ])?;
    if created == 0 {
        return Ok(false);
    }
    let n = tx.last_insert_rowid();
    tx.prepare_cached("INSERT INTO content (n, body) VALUES (?1, ?2)")?
        .execute(params![n, &new.content[..]])?;
    let mut add = tx.prepare_cached(
        "INSERT INTO recipient (n, ix, email, address_key, kind, status, since) VALUES (?1, ?2, ?3, ?4, ?5, 0, ?6)",
    )?;
    for (ix, to) in (0_i64..).zip(&new.recipients) {
        add.execute(params![n, ix, to.email, to.address_key, to.kind, life.accepted_at.as_ms()])?;
    }
    Ok(true)
}

/// The id is taken: by a repeat, or by other content?
fn known(tx: &Connection, new: &NewRow) -> rusqlite::Result<Result<Acceptance, LogError>> {
    let found = tx
        .prepare_cached(concat!(
            "SELECT content_hash, ",
            life_columns!(),
            " FROM notification WHERE id = ?1"
        ))?
        .query_row([new.id.as_bytes()], |row| Ok((row.get::<_, Vec<u8>>(0)?, life(row, 1)?)))
        .optional()?;
    Ok(match found {
        None => Err(LogError::Corrupt("a row that refuses its id to another cannot be found".into())),
        Some((hash, _)) if hash != new.content_hash => Ok(Acceptance::Conflict),
        Some((_, life)) => life.sound().map(|life| Acceptance::Duplicate(life.status(new.life.accepted_at))),
    })
}
