//! Records: the row, its first entry with the recipients, and the events.

use std::collections::HashMap;

use futures::FutureExt;
use futures::stream::{self, StreamExt, TryStreamExt};

use super::DynamoLog;
use super::entry::{Card, Entry};
use super::events_item::{self, KeptEvent};
use super::keys::{self, Item, Key};
use super::life;
use super::page::{Ask, Span};
use super::row::{self, Row, number, text};
use super::table::Table;
use super::told::History;
use crate::clock::Timestamp;
use crate::message_log::{LogError, Recipient, Record};
use crate::notification::status::recipient::{RecipientState, RecipientStatus};
use crate::notification::status::{Life, State};
use crate::notification::{NotificationId, OnUnknown, Priority};

/// Notifications whose events are read at once.
const AT_ONCE: usize = 32;

/// A value that was read, and what of it could not be: that part is then empty. Who changes records refuses such a
/// value, who lists them shows it.
#[derive(Clone, Debug)]
pub(super) struct Stored<T> {
    pub(super) value: T,
    pub(super) fault: Option<String>,
}

impl<T> Stored<T> {
    fn sound(self) -> Result<T, LogError> {
        match self.fault {
            None => Ok(self.value),
            Some(fault) => Err(LogError::Corrupt(fault)),
        }
    }
}

/// The row in this item, however much of it can be read; `None` if not even its id.
pub(super) fn stored_row(item: &Item) -> Option<Stored<Row>> {
    let fault = match Row::read(item) {
        Ok(value) => return Some(Stored { value, fault: None }),
        Err(LogError::Corrupt(fault)) => fault,
        Err(error) => error.to_string(),
    };
    let accepted_at = Timestamp::from_ms(number(item, "aa").unwrap_or(0));
    let mut life = Life::accepted(accepted_at, None, None, OnUnknown::Resend);
    life.state = number(item, "sv").and_then(life::state).unwrap_or(State::Held);
    life.reason = text(item, "rn").map(str::to_owned);
    life.wake_at = None;
    let value = Row {
        id: text(item, "pk").and_then(keys::notification_id)?,
        version: number(item, "v").unwrap_or(0),
        write_id: row::bytes(item, "w").unwrap_or_default(),
        life,
        tenant: text(item, "te").unwrap_or_default().to_owned(),
        batch: text(item, "ba").map(str::to_owned),
        priority: if item.contains_key("pr") { Priority::Bulk } else { Priority::Transactional },
        content_hash: row::bytes(item, "ch").unwrap_or([0; 32]),
        recipient_key: text(item, "rk").unwrap_or_default().to_owned(),
        content_is_with_queue: item.contains_key("nc"),
        indexed_wake: None,
        indexed_class: None,
        history: History::read(item),
    };
    Some(Stored { value, fault: Some(fault) })
}

pub(super) async fn get(log: &DynamoLog, id: NotificationId) -> Result<Option<Record>, LogError> {
    let key = keys::row_key(id);
    let found = log.table.get([key.clone()]).await?;
    let Some(row) = found.get(&key).and_then(stored_row) else { return Ok(None) };
    records(&log.table, vec![row]).await?.pop().map(Stored::sound).transpose()
}

pub(super) async fn lives(log: &DynamoLog, ids: &[NotificationId]) -> Result<Vec<Option<Life>>, LogError> {
    let found = log.table.get(ids.iter().map(|id| keys::row_key(*id))).await?;
    let life = |id: &NotificationId| {
        found.get(&keys::row_key(*id)).map(|item| Row::read(item).map(|row| row.life)).transpose()
    };
    ids.iter().map(life).collect()
}

/// The records of these rows, in their order.
pub(super) async fn records(table: &Table, rows: Vec<Stored<Row>>) -> Result<Vec<Stored<Record>>, LogError> {
    let keys: Vec<Key> = rows.iter().map(|row| row.value.entry_key()).collect();
    let asks: Vec<_> = rows.iter().map(|row| events(table, row.value.id).boxed()).collect();
    let entries = table.get(keys);
    let events = stream::iter(asks).buffered(AT_ONCE).try_collect::<Vec<_>>();
    let (entries, events) = futures::try_join!(entries, events)?;
    let record = |(row, events)| record(row, &entries, events);
    Ok(rows.into_iter().zip(events).map(record).collect())
}

/// All events items of a notification.
async fn events(table: &Table, id: NotificationId) -> Result<Vec<Item>, LogError> {
    let ask = Ask {
        partition: ("pk", keys::notification_partition(id)),
        sort: Some("sk"),
        span: Span::below("e"),
        is_up: true,
        is_consistent: true,
        ..Ask::default()
    };
    ask.all(table).await
}

fn record(row: Stored<Row>, entries: &HashMap<Key, Item>, events: Vec<Item>) -> Stored<Record> {
    let Stored { value: row, mut fault } = row;
    let mut blame = |what: &str| fault = fault.take().or_else(|| Some(what.to_owned()));
    let card = entries.get(&row.entry_key()).map(|item| Entry::read(item).and_then(|entry| entry.card()));
    let card = match card {
        Some(Ok(Some(card))) => card,
        _ => {
            blame("its content");
            Card::default()
        }
    };
    let mut kept = Vec::new();
    for item in &events {
        match events_item::read(item) {
            Ok(mut events) => kept.append(&mut events),
            Err(_) => blame("its events"),
        }
    }
    kept.sort_by(KeptEvent::compare);
    let recipients = recipients(&card, row.life.accepted_at, &kept);
    let value = Record {
        id: row.id,
        tenant: row.tenant,
        batch: row.batch,
        priority: row.priority,
        metadata: card.metadata,
        life: row.life,
        recipients,
        events: kept.into_iter().map(KeptEvent::into_recorded).collect(),
    };
    Stored { value, fault }
}

/// What the events say of each recipient that they name, by its canonical address.
pub(super) fn states(events: &[KeptEvent], pending: RecipientState) -> HashMap<String, RecipientState> {
    let mut states: HashMap<String, RecipientState> = HashMap::new();
    for event in events {
        if let (Some(address), Some(status)) = (event.recipient(), event.kind().recipient_status()) {
            let state = states.entry(address.canonical()).or_insert(pending);
            *state = state.after(status, event.at());
        }
    }
    states
}

/// Each recipient with what the events say. The same address may stand in `to` and `cc`; the provider sends to it once.
fn recipients(card: &Card, accepted_at: Timestamp, events: &[KeptEvent]) -> Vec<Recipient> {
    let pending = RecipientState { status: RecipientStatus::Pending, since: accepted_at };
    let states = states(events, pending);
    let recipient = |(kind, email): (_, &crate::notification::address::Address)| {
        let state = states.get(&email.canonical()).copied().unwrap_or(pending);
        Recipient { email: email.clone(), kind, status: state.status.shown(), since: state.since }
    };
    card.recipients().map(recipient).collect()
}
