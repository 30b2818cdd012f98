//! Provider events that are durable and wait to be folded: nothing is sent for them, but what they tell is not known yet.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::evidence::{Read, Reading, within};
use crate::api::ApiState;
use crate::clock::Timestamp;

/// What waits to be folded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = StatusInbox)]
pub struct InboxView {
    /// Parcels of events; approximate on SQS.
    pub parcels: u64,
    /// Events in them; null where nobody counts them (SQS).
    #[schema(required = true)]
    pub events: Option<u64>,
    /// Since when the oldest waits; on SQS the oldest that this process has taken. Null when none waits.
    #[schema(value_type = Option<String>, format = DateTime, required = true)]
    pub oldest_since: Option<Timestamp>,
    /// The same as an age: how far tracking lags behind, in whole seconds.
    #[schema(required = true)]
    pub lag_seconds: Option<u64>,
}

/// Events that wait to be folded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = StatusInboxProof)]
pub struct InboxProof {
    /// Where and when.
    #[serde(flatten)]
    pub reading: Reading,
    /// The figures; null when it did not answer.
    #[schema(required = true)]
    pub waiting: Option<InboxView>,
}

/// `None` where this process knows of no inbox.
pub(super) async fn read(state: &ApiState) -> Option<Read<InboxView>> {
    let inbox = state.inbox.as_ref()?;
    let depth = within(inbox.depth()).await;
    let now = state.clock.now();
    let view = depth.map(|depth| InboxView {
        parcels: depth.parcels,
        events: depth.events,
        oldest_since: depth.oldest,
        lag_seconds: depth.oldest.map(|since| now.since(since).as_secs()),
    });
    Some(Read::of(state, view, "the inbox of events"))
}

/// The proof's part of it.
pub(super) fn proof(state: &ApiState, read: &Read<InboxView>) -> InboxProof {
    let note =
        "events that wait change nothing that is sent, except that an unknown outcome may be settled by one";
    InboxProof {
        reading: read.reading(&state.config.sources.inbox, Some(note.into())),
        waiting: read.value.clone(),
    }
}
