//! What the feed is told of recipients, all of an events item at once: they share its writes.

use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;

use super::{History, Note, Place, Tenants, is_told_of_recipient};
use crate::clock::Timestamp;
use crate::message_log::LogError;
use crate::message_log::dynamodb::DynamoLog;
use crate::message_log::dynamodb::events_item::KeptEvent;
use crate::message_log::dynamodb::keys;
use crate::message_log::dynamodb::read::states;
use crate::message_log::dynamodb::row::{Row, WriteId};
use crate::notification::status::recipient::{RecipientState, RecipientStatus};

/// The entries of one write.
#[derive(Debug, Default)]
pub(in super::super) struct Notes {
    notes: Vec<Note>,
    /// What the item remembered before.
    history: History,
}

impl Notes {
    /// What the item is to remember; `None`: nothing is told of this write.
    pub(in super::super) fn remembered(&self) -> Option<AttributeValue> {
        Some(self.notes.last()?.remembered(&self.history))
    }

    /// Until when the change may be sent.
    pub(in super::super) fn send_before(&self) -> Option<Duration> {
        self.notes.first().map(Note::send_before)
    }
}

impl DynamoLog {
    /// Tells of every recipient of `row` whose status is another with the events `after` than with those `before`.
    pub(in super::super) async fn tell_recipients(
        &self,
        row: &Row,
        (history, write_id): (&History, WriteId),
        tenants: Option<&Tenants>,
        (before, after): (&[KeptEvent], &[KeptEvent]),
    ) -> Result<Notes, LogError> {
        if !tenants.is_some_and(|tenants| tenants.include(&row.tenant)) {
            return Ok(Notes::default());
        }
        let place = Place { id: row.id, tenant: &row.tenant, write_id };
        // What is told of the recipients follows what was told of the notification.
        let mut former = history.latest().max(row.history.latest());
        let mut notes = Vec::new();
        for (recipient_key, state) in changes(before, after) {
            let mut note = self.teller.of_recipient(place, &recipient_key, state);
            self.teller.stamp(&mut note, former);
            former = note.stamp;
            notes.push(note);
        }
        self.put_notes(notes.iter()).await.into_iter().collect::<Result<(), _>>()?;
        Ok(Notes { notes, history: history.clone() })
    }

    /// See [`DynamoLog::repeat_late`].
    pub(in super::super) async fn repeat_late_notes(&self, mut notes: Notes) {
        self.repeat_late(&mut notes.notes).await;
    }
}

/// Whose status is another and told, in the order of the events: by its key, with its status and since when.
fn changes(before: &[KeptEvent], after: &[KeptEvent]) -> Vec<(String, (RecipientStatus, Timestamp))> {
    let pending = RecipientState { status: RecipientStatus::Pending, since: Timestamp::default() };
    let (former, mut latter) = (states(before, pending), states(after, pending));
    let mut changes = Vec::new();
    for address in after.iter().skip(before.len()).filter_map(KeptEvent::recipient) {
        let canonical = address.canonical();
        let Some(state) = latter.remove(&canonical) else { continue };
        let is_other = former.get(&canonical).is_none_or(|former| former.status != state.status);
        if is_other && is_told_of_recipient(state.status) {
            changes.push((keys::recipient_key(address), (state.status, state.since)));
        }
    }
    changes
}
