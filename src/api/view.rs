//! A record as the outside sees it: every field always there, `null` where there is nothing to say.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::next::Next;
use crate::clock::Timestamp;
use crate::engagement::{self, Engagement, MachineReason, Mark, Rules};
use crate::message_log::{Recipient, Record, RecordedEvent};
use crate::notification::address::Address;
use crate::notification::status::recipient::RecipientStatus;
use crate::notification::status::{Act, Attempt, AttemptOutcome, Status};
use crate::notification::{NotificationId, RecipientKind};
use crate::provider::EventKind;

/// One notification's record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = Record)]
pub struct RecordView {
    /// Its id.
    #[schema(value_type = String, format = "uuid")]
    pub id: NotificationId,
    /// Whose it is.
    pub tenant: String,
    /// Where it stands.
    pub status: Status,
    /// Since when it stands there.
    #[schema(value_type = String, format = DateTime)]
    pub status_since: Timestamp,
    /// Why it stands there: a short code or an operator's words.
    #[schema(required = true)]
    pub reason: Option<String>,
    /// When it was recorded.
    #[schema(value_type = String, format = DateTime)]
    pub accepted_at: Timestamp,
    /// Not to be sent before.
    #[schema(value_type = Option<String>, format = DateTime, required = true)]
    pub deliver_at: Option<Timestamp>,
    /// Not to be sent from then on.
    #[schema(value_type = Option<String>, format = DateTime, required = true)]
    pub useful_until: Option<Timestamp>,
    /// When the next attempt may happen by itself; null when none will.
    #[schema(value_type = Option<String>, format = DateTime, required = true)]
    pub next_attempt_at: Option<Timestamp>,
    /// When the provider took it.
    #[schema(value_type = Option<String>, format = DateTime, required = true)]
    pub sent_at: Option<Timestamp>,
    /// The provider of the latest attempt.
    #[schema(required = true)]
    pub provider: Option<String>,
    /// The provider's id of the message.
    #[schema(required = true)]
    pub provider_message_id: Option<String>,
    /// The broadcast it belongs to; null for none.
    #[schema(required = true)]
    pub batch: Option<String>,
    /// The producer's labels.
    pub metadata: BTreeMap<String, String>,
    /// Every attempt, oldest first.
    pub attempts: Vec<AttemptView>,
    /// Every recipient, in the order to, cc, bcc.
    pub recipients: Vec<RecipientView>,
    /// Every event, oldest first.
    pub events: Vec<EventView>,
    /// Its opens and clicks: how many people did, and how many machines.
    #[serde(default)]
    #[schema(required = true)]
    pub engagement: Engagement,
    /// What people, jobs, stops and guards did to it, oldest first.
    pub acts: Vec<Act>,
    /// What happens next by itself, when and why.
    #[serde(default)]
    #[schema(required = true)]
    pub next: Option<Next>,
}

/// One attempt to hand the notification to a provider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = RecordAttempt)]
pub struct AttemptView {
    /// 1 for the first.
    pub number: u32,
    /// The provider's name.
    pub provider: String,
    /// When it was claimed.
    #[schema(value_type = String, format = DateTime)]
    pub started_at: Timestamp,
    /// When its outcome was known; null while it runs or after a crash.
    #[schema(value_type = Option<String>, format = DateTime, required = true)]
    pub ended_at: Option<Timestamp>,
    /// What became of it.
    pub outcome: AttemptOutcome,
    /// The provider's status code, where there was an answer.
    #[schema(required = true)]
    pub http_status: Option<u16>,
    /// The provider's or the network's words, truncated, addresses masked.
    #[schema(required = true)]
    pub error: Option<String>,
}

/// One recipient and what the events say of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = RecordRecipient)]
pub struct RecipientView {
    /// The address as it was given.
    #[schema(value_type = String)]
    pub email: Address,
    /// How it was addressed.
    pub kind: RecipientKind,
    /// What the events say.
    pub status: RecipientStatus,
    /// Since when.
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
}

/// One event that the provider told of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = RecordEvent)]
pub struct EventView {
    /// When it happened, by the provider's clock.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// What happened: `processed`, `deferred`, `delivered`, `bounced`, `blocked`, `dropped`, `complained`, `opened`,
    /// `clicked`, `unsubscribed`, …; a kind that is not known here keeps the provider's name.
    #[schema(value_type = String)]
    pub kind: EventKind,
    /// To whom; null where the provider names nobody.
    #[schema(value_type = Option<String>, required = true)]
    pub recipient: Option<Address>,
    /// A machine did it, not a person: derived when the record is read, by the rules of that moment.
    pub machine: bool,
    /// How that is known; null for people.
    #[serde(default)]
    #[schema(required = true)]
    pub machine_reason: Option<MachineReason>,
    /// The provider's words.
    #[schema(value_type = Object)]
    pub detail: serde_json::Map<String, serde_json::Value>,
}

impl RecordView {
    /// The record as it stands at `now`, by these rules about machines.
    pub fn of(record: Record, rules: &Rules, now: Timestamp) -> Self {
        let life = record.life;
        let marks = engagement::marks(&record.events, rules);
        let engagement = Engagement::of(&record.events, &marks);
        let marked = record.events.into_iter().zip(marks);
        Self {
            id: record.id,
            tenant: record.tenant,
            status: life.status(now),
            status_since: life.status_since(now),
            next_attempt_at: life.next_attempt_at(now),
            reason: life.reason,
            accepted_at: life.accepted_at,
            deliver_at: life.deliver_at,
            useful_until: life.useful_until,
            sent_at: life.sent_at,
            provider: life.provider,
            provider_message_id: life.provider_message_id,
            batch: record.batch,
            metadata: record.metadata,
            attempts: life.attempts.into_iter().map(AttemptView::from).collect(),
            events: marked.map(|(event, mark)| EventView::of(event, mark, &record.recipients)).collect(),
            engagement,
            recipients: record.recipients.into_iter().map(RecipientView::from).collect(),
            acts: life.acts,
            next: None,
        }
    }
}

impl From<Attempt> for AttemptView {
    fn from(attempt: Attempt) -> Self {
        let Attempt { number, provider, started_at, ended_at, outcome, http_status, error } = attempt;
        Self { number, provider, started_at, ended_at, outcome, http_status, error }
    }
}

impl From<Recipient> for RecipientView {
    fn from(recipient: Recipient) -> Self {
        let Recipient { email, kind, status, since } = recipient;
        Self { email, kind, status, since }
    }
}

impl EventView {
    /// The provider names a carrier's address in its own form, and may change letters' case: the caller's form is the
    /// one that the record shows everywhere.
    fn of(event: RecordedEvent, mark: Mark, recipients: &[Recipient]) -> Self {
        let RecordedEvent { at, kind, recipient, machine: _, detail } = event;
        let recipient = recipient.map(|address| {
            let canonical = address.canonical();
            let given = recipients.iter().find(|given| given.email.canonical() == canonical);
            given.map_or(address, |given| given.email.clone())
        });
        let machine_reason = mark.reason();
        Self { at, kind, recipient, machine: machine_reason.is_some(), machine_reason, detail }
    }
}
