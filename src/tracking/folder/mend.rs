//! What is done about events that fail for themselves alone, so that they neither stop their neighbours nor get lost:
//! what can never be folded is set aside in the journal; what may go better later is put back as a parcel of its own.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{Batch, Folder, Trouble};
use crate::clock::Timestamp;
use crate::inbox::pack;
use crate::journal::{JournalError, Kind, Put};
use crate::metrics::EVENTS_SET_ASIDE_TOTAL;
use crate::provider::ProviderEvent;

/// For how long events that were set aside are kept.
const KEPT: Duration = Duration::from_secs(90 * 24 * 3600);

/// So many failures at the start of a look at each event, and not one success: nothing can be folded at all.
const OUTAGE_AFTER: usize = 3;

/// An event that cannot be folded, as the journal keeps it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Aside {
    /// When it was set aside.
    pub at: Timestamp,
    /// When it came.
    pub received_at: Timestamp,
    /// Why.
    pub why: String,
    /// The event.
    pub event: ProviderEvent,
}

impl Folder {
    /// Whether nothing of the batch is left to do. `false` where nothing could be folded at all.
    pub(super) async fn fold_one_by_one(&self, batch: &Batch) -> bool {
        let (mut folded, mut left) = (0, Vec::new());
        for event in &batch.events {
            match self.track(std::slice::from_ref(event), &batch.receipts).await {
                Ok(()) => folded += 1,
                Err(trouble) => left.push((event, trouble)),
            }
            let is_outage = left.iter().all(|(_, trouble)| matches!(trouble, Trouble::Later(_)));
            if folded == 0 && left.len() >= OUTAGE_AFTER && is_outage {
                return false;
            }
        }
        self.set_apart(batch, left).await
    }

    /// What nobody came to an end with, again and again, may be what ended them: it is not even tried.
    pub(super) async fn take_apart(&self, batch: &Batch) -> bool {
        let why = format!("whoever tried to fold it came to no end, {} times", batch.tries);
        // One of many is to blame, and has no neighbours the next time.
        let trouble = if batch.events.len() == 1 { Trouble::Never } else { Trouble::Later };
        self.set_apart(batch, batch.events.iter().map(|event| (event, trouble(why.clone()))).collect()).await
    }

    async fn set_apart(&self, batch: &Batch, left: Vec<(&ProviderEvent, Trouble)>) -> bool {
        let mut back = Vec::new();
        for (event, trouble) in left {
            let is_kept = match &trouble {
                Trouble::Never(why) => self.set_aside(event, batch.received_at, why).await,
                Trouble::Later(_) => false,
            };
            if !is_kept {
                back.extend(pack(std::slice::from_ref(event), batch.received_at));
            }
        }
        if back.is_empty() {
            return true;
        }
        tracing::warn!(events = back.len(), "events that cannot be folded now wait by themselves");
        match self.inbox.append(back).await {
            Ok(_appended) => true,
            Err(error) => {
                tracing::warn!(%error, "the inbox does not take them back; they stay in their parcel");
                false
            }
        }
    }

    /// Whether it is safe in the journal.
    async fn set_aside(&self, event: &ProviderEvent, received_at: Timestamp, why: &str) -> bool {
        let now = self.clock.now();
        let aside = Aside { at: now, received_at, why: why.to_owned(), event: event.clone() };
        match self.keep_aside(&aside).await {
            Ok(()) => {
                metrics::counter!(EVENTS_SET_ASIDE_TOTAL).increment(1);
                tracing::error!(why, "an event that cannot be folded is set aside");
                true
            }
            Err(error) => {
                tracing::warn!(%error, "an event that cannot be folded could not be set aside");
                false
            }
        }
    }

    async fn keep_aside(&self, aside: &Aside) -> Result<(), JournalError> {
        let event = serde_json::to_string(&aside.event).unwrap_or_default();
        let digest = Sha256::digest(event.as_bytes());
        let key: String = digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        let body = serde_json::to_string(aside).unwrap_or_default();
        let until = Some(aside.at.plus(KEPT));
        match self.journal.put(Kind::EventAside, &key, &body, 0, until).await? {
            // The same event, set aside before.
            Put::Done(_) | Put::Conflict => Ok(()),
        }
    }
}
