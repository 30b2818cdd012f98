//! One life's next version: which attributes a write sets and removes.
//!
//! | write | besides `v`, `w`, `l` |
//! | --- | --- |
//! | claim | nothing: it costs one unit and no index unit |
//! | to sent | out of every index, or, where it was sent late, to its own place in `open`; `exp` |
//! | any other | its place in `open` and `wake`; `exp` at an end that does not list as unsent |

use std::sync::Arc;

use aws_sdk_dynamodb::types::AttributeValue;
use rand::RngExt;

use super::due::WALK_ANEW;
use super::heard;
use super::keys::{self, Class};
use super::life;
use super::row::{Row, WriteId, b, n, s};
use super::told::{History, Note};
use super::write::Write;
use super::{DynamoLog, Table};
use crate::clock::Timestamp;
use crate::notification::NotificationId;
use crate::notification::status::{Life, State};

/// What is known, or taken for likely, of a row: enough to write its next version.
#[derive(Clone, Debug)]
pub(super) struct Known {
    /// The version that the next write must find.
    pub(super) version: u64,
    /// The state.
    pub(super) life: Arc<Life>,
    /// See [`Row::content_is_with_queue`].
    pub(super) content_is_with_queue: bool,
    /// See [`Row::indexed_wake`].
    pub(super) indexed_wake: Option<Timestamp>,
    /// See [`Row::indexed_class`].
    pub(super) indexed_class: Option<char>,
    /// Whose notification, where that was asked for.
    pub(super) tenant: Option<Arc<str>>,
    /// What of it was told.
    pub(super) history: History,
}

impl Known {
    pub(super) fn of(row: Row) -> Self {
        Self {
            version: row.version,
            life: Arc::new(row.life),
            content_is_with_queue: row.content_is_with_queue,
            indexed_wake: row.indexed_wake,
            indexed_class: row.indexed_class,
            tenant: Some(row.tenant.into()),
            history: row.history,
        }
    }

    /// A row that was accepted with this life, and nothing else happened to it.
    pub(super) fn fresh(life: &Life) -> Self {
        Self {
            version: 1,
            indexed_class: Class::of(life, life.accepted_at).map(Class::letter),
            life: Arc::new(life.clone()),
            content_is_with_queue: false,
            indexed_wake: None,
            tenant: None,
            history: History::default(),
        }
    }

    /// Whether the indexes know its place already, but for the time when the sweeper looks, which the walk over the
    /// open index makes up for where it need not be soon.
    pub(super) fn needs_no_index(&self, after: &Life, now: Timestamp) -> bool {
        let is_soon = |at: Timestamp| at < now.plus(WALK_ANEW / 2);
        self.indexed_wake.is_none()
            && !after.wake_at.is_some_and(is_soon)
            && after.useful_until.is_none()
            && self.indexed_class == Some(Class::OnItsWay.letter())
            && Class::of(after, now) == Some(Class::OnItsWay)
    }
}

/// A fresh name for a write.
pub(super) fn write_id() -> WriteId {
    rand::rng().random()
}

/// The write of `after` over what is known, as a claim: it moves nothing in the indexes.
pub(super) fn claim_write(
    table: &Table,
    id: NotificationId,
    known: &Known,
    after: &Life,
    w: WriteId,
) -> Write {
    Update::new(table, known, after, w).finish(id, known.version)
}

impl DynamoLog {
    /// The write of `after` over what is known. `has_content`: the content has been written to its entry; `note`: what the
    /// feed was told of it.
    pub(super) fn change_write(
        &self,
        id: NotificationId,
        known: &Known,
        after: &Life,
        (w, note): (WriteId, Option<&Note>),
        has_content: bool,
        now: Timestamp,
    ) -> Write {
        let mut update = Update::new(&self.table, known, after, w);
        if let Some(note) = note {
            update.set("fd", note.remembered(&known.history));
        }
        let status = after.status(now);
        // What still lists as unsent is never forgotten by itself.
        if status.is_end() && !status.is_unsent() {
            update.set("exp", n(after.state_since.plus(self.retention).as_ms() / 1000));
        } else {
            update.remove("exp");
        }
        match Class::of(after, now) {
            Some(class) => {
                update.set("os", s(keys::open_partition_of(class, id)));
                update.set("oa", n(after.ready_at().as_ms()));
                update.set("sv", n(life::state_code(after.state)));
                update.set_or_remove("rn", after.reason.as_deref().map(s));
                update.set_or_remove("ws", after.wake_at.map(|_| s(keys::wake_partition_of(id))));
                update.set_or_remove("wk", after.wake_at.map(|at| n(at.as_ms())));
            }
            None => {
                ["sv", "rn", "ws", "wk"].into_iter().for_each(|name| update.remove(name));
                // In the same write, so that none is missed: a unit more for what was sent late, and for nothing else.
                let late = heard::sent_late(after);
                update.set_or_remove("os", late.map(|_| s(heard::late_partition_of(id))));
                update.set_or_remove("oa", late.map(|at| n(at.as_ms())));
            }
        }
        if has_content {
            update.remove("nc");
        }
        Write { send_before: note.map(Note::send_before), ..update.finish(id, known.version) }
    }
}

/// What is known after a claim.
pub(super) fn claimed(known: &Known, after: Arc<Life>) -> Known {
    Known { version: known.version + 1, life: after, ..known.clone() }
}

/// What is known after any other write.
pub(super) fn changed(known: &Known, after: Arc<Life>, has_content: bool, now: Timestamp) -> Known {
    Known {
        version: known.version + 1,
        indexed_wake: after.wake_at.filter(|_| after.state != State::Sent),
        indexed_class: Class::of(&after, now).map(Class::letter),
        content_is_with_queue: known.content_is_with_queue && !has_content,
        life: after,
        tenant: known.tenant.clone(),
        history: known.history.clone(),
    }
}

/// Index attributes alone, for a row whose place in an index is behind its life. The version stays: whoever works on
/// the row is not disturbed, and if the row has moved on, nothing is written.
pub(super) fn index_write(table: &Table, row: &Row, now: Timestamp) -> Write {
    let mut update = Update::of(table);
    if let Some(class) = Class::of(&row.life, now) {
        update.set("os", s(keys::open_partition_of(class, row.id)));
    }
    update.set_or_remove("ws", row.life.wake_at.map(|_| s(keys::wake_partition_of(row.id))));
    update.set_or_remove("wk", row.life.wake_at.map(|at| n(at.as_ms())));
    update.finish(row.id, row.version)
}

/// Takes down that the content is in the log now. The version stays, as with [`index_write`].
pub(super) fn content_saved_write(table: &Table, id: NotificationId, version: u64) -> Write {
    let mut update = Update::of(table);
    update.remove("nc");
    update.finish(id, version)
}

/// An `UPDATE` in the making.
struct Update {
    sets: String,
    removes: String,
    parameters: Vec<AttributeValue>,
}

impl Update {
    fn of(table: &Table) -> Self {
        let mut sets = String::with_capacity(256);
        sets.push_str("UPDATE \"");
        sets.push_str(&table.name);
        sets.push('"');
        Self { sets, removes: String::new(), parameters: Vec::with_capacity(14) }
    }

    fn new(table: &Table, known: &Known, after: &Life, w: WriteId) -> Self {
        let mut update = Self::of(table);
        update.set("v", n(known.version + 1));
        update.set("w", b(w.to_vec()));
        update.set("l", s(life::write(after)));
        update
    }

    fn set(&mut self, name: &str, value: AttributeValue) {
        self.sets.push_str(" SET ");
        self.sets.push_str(name);
        self.sets.push_str("=?");
        self.parameters.push(value);
    }

    fn remove(&mut self, name: &str) {
        self.removes.push_str(" REMOVE ");
        self.removes.push_str(name);
    }

    fn set_or_remove(&mut self, name: &str, value: Option<AttributeValue>) {
        match value {
            Some(value) => self.set(name, value),
            None => self.remove(name),
        }
    }

    fn finish(mut self, id: NotificationId, version: u64) -> Write {
        let key = keys::row_key(id);
        self.sets.push_str(&self.removes);
        self.sets.push_str(" WHERE pk=? AND sk=? AND v=?");
        self.parameters.push(s(key.pk.as_str()));
        self.parameters.push(s(key.sk.as_str()));
        self.parameters.push(n(version));
        Write { key, statement: self.sets, parameters: self.parameters, send_before: None }
    }
}

/// The creation of an item that must not exist. Keys first.
pub(super) fn insert(table: &Table, attributes: Vec<(&str, AttributeValue)>) -> Write {
    let mut statement = String::with_capacity(192);
    statement.push_str("INSERT INTO \"");
    statement.push_str(&table.name);
    statement.push_str("\" VALUE {");
    let mut parameters = Vec::with_capacity(attributes.len());
    let mut key = keys::Key::new("", "");
    for (ix, (name, value)) in attributes.into_iter().enumerate() {
        statement.push_str(if ix == 0 { "'" } else { ", '" });
        statement.push_str(name);
        statement.push_str("': ?");
        match (name, &value) {
            ("pk", AttributeValue::S(text)) => key.pk.clone_from(text),
            ("sk", AttributeValue::S(text)) => key.sk.clone_from(text),
            _ => {}
        }
        parameters.push(value);
    }
    statement.push('}');
    Write { key, statement, parameters, send_before: None }
}
