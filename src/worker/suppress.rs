//! The suppression list, asked right before the bytes: who is left out of a mail, and that its record says so.

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::Hands;
use crate::message_log::Recorded;
use crate::metrics::SUPPRESSED_TOTAL;
use crate::notification::status::{ActKind, Life};
use crate::notification::{Mailbox, Notification, NotificationId};
use crate::provider::{EventKind, ProviderEvent};
use crate::suppression::Reason;
use crate::suppression::guard::{Judgement, LeftOut};

/// In whose name the record's events are that say who was left out.
const WE: &str = "kakitome";

/// Why a mail goes to nobody.
pub(super) enum Refused {
    /// Everyone in `to` is on the list.
    Nobody(Reason),
    /// The list or the record cannot be reached.
    Unjudged,
}

impl Hands {
    /// Who is to be left out. When this returns, the record names everyone who is.
    pub(super) async fn left_out(
        &self,
        id: NotificationId,
        life: &Life,
        notification: &Notification,
    ) -> Result<Vec<LeftOut>, Refused> {
        let judged = match self.guards.suppressions.judge(notification).await {
            Ok(judged) => judged,
            Err(error) => {
                tracing::debug!(%id, %error, "nobody knows who is suppressed; put back");
                return Err(Refused::Unjudged);
            }
        };
        let (left_out, nobody) = match judged {
            Judgement::But(left_out) => (left_out, None),
            Judgement::Nobody { reason, left_out } => (left_out, Some(reason)),
        };
        if left_out.is_empty() {
            return Ok(left_out);
        }
        self.tell(id, life, &left_out).await?;
        match nobody {
            Some(reason) => {
                tracing::debug!(%id, reason = reason.as_str(), "everybody it is for is suppressed");
                Err(Refused::Nobody(reason))
            }
            None => Ok(left_out),
        }
    }

    async fn tell(&self, id: NotificationId, life: &Life, left_out: &[LeftOut]) -> Result<(), Refused> {
        let now = self.clock.now();
        let redriven = life.acts.iter().filter(|act| act.kind != ActKind::Held).count();
        let events: Vec<_> = left_out
            .iter()
            .map(|one| ProviderEvent {
                provider: WE.into(),
                lane: None,
                id: Some(id),
                provider_message_id: None,
                // A retry leaves the same people out again: that is no news.
                event_id: Some(event_id(id, redriven, one)),
                kind: EventKind::Suppressed,
                at: now,
                recipient: Some(one.address.clone()),
                machine: false,
                detail: Map::from_iter([("reason".to_owned(), Value::from(one.reason.as_str()))]),
            })
            .collect();
        for (one, recorded) in left_out.iter().zip(self.log.record_events(&events, now).await) {
            match recorded {
                Ok(Recorded::Folded { .. }) => {
                    metrics::counter!(SUPPRESSED_TOTAL, "reason" => one.reason.as_str()).increment(1);
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::debug!(%id, %error, "who is suppressed cannot be written down; put back");
                    return Err(Refused::Unjudged);
                }
            }
        }
        Ok(())
    }
}

fn event_id(id: NotificationId, round: usize, one: &LeftOut) -> String {
    let digest = Sha256::digest(one.address.canonical());
    let who: String = digest[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{id}:{round}:{who}:{}", one.reason)
}

/// The mail without these.
pub(super) fn leave_out(notification: &mut Notification, left_out: &[LeftOut]) {
    if left_out.is_empty() {
        return;
    }
    let canonical: Vec<_> = left_out.iter().map(|one| one.address.canonical()).collect();
    let stays = |mailbox: &Mailbox| !canonical.contains(&mailbox.email.canonical());
    notification.to.retain(stays);
    notification.cc.retain(stays);
    notification.bcc.retain(stays);
}
