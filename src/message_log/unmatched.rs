//! Events that match no notification: kept, counted, listed, and looked at again, as what they are about may come to be
//! known later: the worker's answer, a restored table, another region's row.

use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::LogError;
use crate::clock::Timestamp;
use crate::notification::NotificationId;
use crate::notification::address::Address;
use crate::provider::{EventKind, ProviderEvent};

/// For how long they are kept.
pub(super) const KEPT: Duration = Duration::from_secs(30 * 24 * 3600);

/// The first look comes after this long: what was only a moment early matches then.
pub(super) const FIRST_LOOK: Duration = Duration::from_secs(30);

/// The events that `record_events` could not match. Whoever looks again records an event anew, and then says what came
/// of it: a crash between the two makes a repeat.
#[async_trait]
pub trait UnmatchedEvents: Send + Sync {
    /// Up to `limit` whose next look has come, newest first as far as the backend can.
    async fn due(&self, now: Timestamp, limit: usize) -> Result<Vec<Unmatched>, LogError>;

    /// Those that matched are forgotten, the others come again, later each time, until their 30 days are over.
    async fn looked(&self, looked: &[Looked], now: Timestamp) -> Result<(), LogError>;

    /// A page of them, newest first as far as the backend can. `cursor` is a former page's `next_cursor`.
    async fn list(&self, cursor: Option<&str>, limit: usize) -> Result<UnmatchedPage, LogError>;

    /// How many there are.
    async fn count(&self) -> Result<u64, LogError>;
}

/// One of them.
#[derive(Clone, Debug, PartialEq)]
pub struct Unmatched {
    /// Names it in the backend.
    pub key: String,
    /// When it was heard first.
    pub kept_at: Timestamp,
    /// What was heard.
    pub event: ProviderEvent,
}

/// What a look at one came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Looked {
    /// Its key.
    pub key: String,
    /// When it was heard first.
    pub kept_at: Timestamp,
    /// It is recorded with its notification now.
    pub is_matched: bool,
}

/// One page of a listing.
#[derive(Clone, Debug, Default)]
pub struct UnmatchedPage {
    /// The events.
    pub items: Vec<Unmatched>,
    /// Opaque; absent on the last page.
    pub next_cursor: Option<String>,
}

/// When the next look comes: it has waited for so long, it can wait for as long again.
pub(super) fn next_look(kept_at: Timestamp, now: Timestamp) -> Timestamp {
    now.plus(now.since(kept_at).max(FIRST_LOOK))
}

/// An event as its text is stored; its lane was for the way in.
#[derive(Serialize, Deserialize)]
struct Stored {
    #[serde(default)]
    provider: String,
    id: Option<NotificationId>,
    provider_message_id: Option<String>,
    event_id: Option<String>,
    kind: EventKind,
    at: Timestamp,
    recipient: Option<Address>,
    machine: bool,
    detail: serde_json::Map<String, serde_json::Value>,
}

/// An event as it is stored.
pub(super) fn to_text(event: &ProviderEvent) -> String {
    let event = event.clone();
    let ProviderEvent {
        provider,
        id,
        provider_message_id,
        event_id,
        kind,
        at,
        recipient,
        machine,
        detail,
        ..
    } = event;
    let stored = Stored { provider, id, provider_message_id, event_id, kind, at, recipient, machine, detail };
    // Texts, numbers and what came as JSON: writing them as JSON cannot fail.
    serde_json::to_string(&stored).unwrap_or_default()
}

/// Reads it back.
pub(super) fn from_text(text: &str) -> Option<ProviderEvent> {
    let Stored { provider, id, provider_message_id, event_id, kind, at, recipient, machine, detail } =
        serde_json::from_str(text).ok()?;
    let lane = None;
    Some(ProviderEvent {
        provider,
        id,
        provider_message_id,
        event_id,
        kind,
        at,
        recipient,
        machine,
        lane,
        detail,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_looked_at_about_fifteen_times_in_its_thirty_days() {
        let kept_at = Timestamp::from_ms(1_800_000_000_000);
        let (mut now, mut looks) = (kept_at.plus(FIRST_LOOK), 0);
        while now < kept_at.plus(KEPT) {
            looks += 1;
            now = next_look(kept_at, now);
        }
        assert!((12..=20).contains(&looks), "{looks}");
    }
}
