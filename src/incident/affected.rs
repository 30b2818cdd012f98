//! Who is affected, why, and in which order they want help.

use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::time::Duration;

use serde::{Serialize, Serializer};
use utoipa::ToSchema;

use super::answers::normal;
use crate::clock::Timestamp;
use crate::message_log::Record;
use crate::notification::NotificationId;
use crate::notification::address::Address;
use crate::notification::status::{Attempt, AttemptOutcome, Life, Status};
use crate::provider::EventKind;

/// Why one is affected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// It should be on its way and no provider took it yet.
    NotSent,
    /// Nobody knows yet whether a provider took it.
    Unknown,
    /// It is held.
    Held,
    /// A dead letter.
    Failed,
    /// Its deadline passed before it was sent.
    Expired,
    /// It was sent later than it should.
    SentLate,
    /// It was taken twice: the provider's events say so.
    SentTwice,
    /// It was sent again after an attempt of which nobody knows whether it was taken.
    PerhapsTwice,
}

/// One that is affected.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = IncidentItem)]
pub struct Affected {
    /// Its id.
    #[schema(value_type = String, format = "uuid")]
    pub id: NotificationId,
    /// Whose.
    pub tenant: String,
    /// Its broadcast.
    #[schema(required = true)]
    pub batch: Option<String>,
    /// The producer's labels.
    pub metadata: BTreeMap<String, String>,
    /// Recipients' addresses, in full for a key that may read them.
    #[schema(value_type = Vec<String>)]
    pub recipients: Vec<Shown>,
    /// Why it is affected.
    pub why: Vec<Why>,
    /// Where it stands.
    pub status: Status,
    /// Why it stands there.
    #[schema(required = true)]
    pub reason: Option<String>,
    /// When it was recorded.
    #[schema(value_type = String, format = DateTime)]
    pub accepted_at: Timestamp,
    /// Its `useful_until`.
    #[schema(value_type = Option<String>, format = DateTime, required = true)]
    pub deadline: Option<Timestamp>,
    /// Whole seconds until then; 0 when it is over, null without a deadline and once it is sent.
    #[schema(required = true)]
    pub time_left_seconds: Option<u64>,
    /// Whole seconds from when it was ready until it was sent, or until now.
    pub delay_seconds: u64,
    /// When the provider took it.
    #[schema(value_type = Option<String>, format = DateTime, required = true)]
    pub sent_at: Option<Timestamp>,
    /// How many attempts there were.
    pub attempts: u32,
    /// What the provider or the network said last, addresses masked.
    #[schema(required = true)]
    pub last_error: Option<String>,
}

/// An address as it is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    address: Address,
    in_full: bool,
}

impl Serialize for Shown {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.in_full {
            true => serializer.serialize_str(self.address.reveal()),
            false => serializer.collect_str(&self.address),
        }
    }
}

/// How long it waited, or waits.
pub(super) fn delay(life: &Life, now: Timestamp) -> Duration {
    life.sent_at.unwrap_or(now).since(life.ready_at())
}

/// Why it is affected; empty: it is not. What is scheduled and not due is not, nor what was stopped on purpose.
pub(super) fn why(record: &Record, status: Status, late_after: Duration, now: Timestamp) -> Vec<Why> {
    let life = &record.life;
    let mut why = match status {
        Status::Accepted | Status::Attempting | Status::Retrying => vec![Why::NotSent],
        Status::Unknown => vec![Why::Unknown],
        Status::Held => vec![Why::Held],
        Status::Failed => vec![Why::Failed],
        Status::Expired => vec![Why::Expired],
        Status::Sent if delay(life, now) > late_after => vec![Why::SentLate],
        Status::Sent | Status::Scheduled | Status::Cancelled | Status::Suppressed => Vec::new(),
    };
    if was_taken_twice(record) {
        why.push(Why::SentTwice);
    } else if may_be_taken_twice(&life.attempts) {
        why.push(Why::PerhapsTwice);
    }
    why
}

/// A provider tells `processed` and `delivered` once for each message and recipient.
fn was_taken_twice(record: &Record) -> bool {
    let mut heard = BTreeSet::new();
    let once = |kind: &EventKind| matches!(kind, EventKind::Processed | EventKind::Delivered);
    let mut events = record.events.iter().filter(|event| once(&event.kind) && event.recipient.is_some());
    let is_second = |event: &crate::message_log::RecordedEvent| {
        let recipient = event.recipient.as_ref().map(Address::canonical);
        !heard.insert((event.kind == EventKind::Delivered, recipient))
    };
    record.life.attempts.len() > 1 && events.any(is_second)
}

/// Whether two attempts at least may have been taken.
fn may_be_taken_twice(attempts: &[Attempt]) -> bool {
    let may_be_taken = |attempt: &&Attempt| {
        matches!(
            attempt.outcome,
            AttemptOutcome::Accepted | AttemptOutcome::Unknown | AttemptOutcome::Pending
        )
    };
    attempts.iter().filter(may_be_taken).count() > 1
}

/// Its reason; without one what was said last.
pub(super) fn reason(life: &Life) -> String {
    let last = life.attempts.last();
    life.reason
        .clone()
        .or_else(|| last.and_then(|attempt| attempt.error.as_deref()).map(normal))
        .unwrap_or_else(|| if last.is_some() { "no error".into() } else { "no attempt yet".into() })
}

impl Affected {
    pub(super) fn of(record: &Record, status: Status, why: Vec<Why>, in_full: bool, now: Timestamp) -> Self {
        let life = &record.life;
        let shown = |address: &Address| Shown { address: address.clone(), in_full };
        let is_over = status == Status::Sent;
        Self {
            id: record.id,
            tenant: record.tenant.clone(),
            batch: record.batch.clone(),
            metadata: record.metadata.clone(),
            recipients: record.recipients.iter().map(|recipient| shown(&recipient.email)).collect(),
            why,
            status,
            reason: life.reason.clone(),
            accepted_at: life.accepted_at,
            deadline: life.useful_until,
            time_left_seconds: life.useful_until.filter(|_| !is_over).map(|at| at.since(now).as_secs()),
            delay_seconds: delay(life, now).as_secs(),
            sent_at: life.sent_at,
            attempts: life.attempt,
            last_error: life.attempts.iter().rev().find_map(|attempt| attempt.error.clone()),
        }
    }
}

/// The place of one in the order; the least comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ranked {
    group: Group,
    within: i64,
    /// Settles ties the same way each time.
    id: [u8; 16],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Group {
    /// Its deadline is to come: by the time left.
    TimeLeft,
    /// It has none: longest wait first.
    NoDeadline,
    /// Its deadline is over: longest wait first.
    Over,
    /// Sent, late or twice: latest first.
    Sent,
}

impl Ranked {
    pub(super) fn of(life: &Life, status: Status, id: NotificationId, now: Timestamp) -> Self {
        let waited = -i64::try_from(delay(life, now).as_millis()).unwrap_or(i64::MAX);
        let (group, within) = match (status, life.useful_until) {
            (Status::Sent, _) => (Group::Sent, waited),
            (Status::Expired, _) => (Group::Over, waited),
            (_, Some(deadline)) if deadline > now => (Group::TimeLeft, deadline.as_ms()),
            (_, Some(_)) => (Group::Over, waited),
            (_, None) => (Group::NoDeadline, waited),
        };
        Self { group, within, id: *id.as_bytes() }
    }
}

/// The first so many in the order, however many are offered.
pub(super) struct Rows {
    limit: usize,
    /// The last in the order on top.
    kept: BinaryHeap<Row>,
}

struct Row {
    rank: Ranked,
    row: Box<Affected>,
}

impl PartialEq for Row {
    fn eq(&self, other: &Self) -> bool {
        self.rank == other.rank
    }
}

impl Eq for Row {}

impl PartialOrd for Row {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Row {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.rank.cmp(&other.rank)
    }
}

impl Rows {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, kept: BinaryHeap::new() }
    }

    pub(super) fn offer(&mut self, rank: Ranked, row: impl FnOnce() -> Affected) {
        let is_full = self.kept.len() >= self.limit;
        if is_full && self.kept.peek().is_none_or(|last| last.rank <= rank) {
            return;
        }
        if is_full {
            self.kept.pop();
        }
        self.kept.push(Row { rank, row: Box::new(row()) });
    }

    pub(super) fn len(&self) -> u64 {
        u64::try_from(self.kept.len()).unwrap_or(u64::MAX)
    }

    pub(super) fn finish(self) -> Vec<Affected> {
        self.kept.into_sorted_vec().into_iter().map(|row| *row.row).collect()
    }
}
