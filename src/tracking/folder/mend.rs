//! What is done about events that fail for themselves alone, so that they neither stop their neighbours nor get lost:
//! what can never be folded is set aside in the journal; what may go better later is put back as a parcel of its own.

use super::{Batch, Folder, Trouble};
use crate::clock::Timestamp;
use crate::inbox::pack;
use crate::metrics::EVENTS_SET_ASIDE_TOTAL;
use crate::provider::ProviderEvent;
use crate::tracking::aside::{self, Aside};

/// So many failures at the start of a look at each event, and not one success: nothing can be folded at all.
const OUTAGE_AFTER: usize = 3;

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
        let aside = Aside::new(event.clone(), received_at, why, now);
        match aside::keep(&*self.journal, &aside).await {
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
}
