//! What providers' events put on the list, and take off it.

use async_trait::async_trait;

use super::guard::Suppressions;
use super::{Entry, ListError, Reason, Removal, Source, What};
use crate::clock::Clock;
use crate::message_log::Recorded;
use crate::provider::{EventKind, ProviderEvent};
use crate::tracking::Listener;

/// Listens to events that were folded. Told again, they change nothing.
pub struct EventListener {
    suppressions: Suppressions,
    clock: Clock,
}

impl EventListener {
    /// Writes to this list.
    pub fn new(suppressions: Suppressions, clock: Clock) -> Self {
        Self { suppressions, clock }
    }
}

#[async_trait]
impl Listener for EventListener {
    async fn hear(&self, told: &[(&ProviderEvent, Recorded)]) -> Result<(), String> {
        let now = self.clock.now();
        let (mut entries, mut removals) = (Vec::new(), Vec::new());
        for (event, recorded) in told {
            // Without a tenant there is no list: nobody here wrote to that address lately.
            let tenant = match recorded {
                Recorded::Folded { tenant, .. } => tenant.to_string(),
                Recorded::Repeat { tenant: Some(tenant) } => tenant.to_string(),
                Recorded::Repeat { tenant: None } | Recorded::Unmatched => continue,
            };
            let (Some(address), Some(word)) = (event.recipient.clone(), word(event)) else { continue };
            let source =
                Source::Event { provider: event.provider.clone(), at: event.at, notification: event.id };
            match word {
                Word::Against(reason, group) => {
                    entries.push(Entry {
                        tenant,
                        address,
                        reason,
                        group,
                        source,
                        created_at: now,
                        removed: None,
                    });
                }
                Word::Again(group) => {
                    removals.push(Removal { tenant, address, what: What::Group(group), source });
                }
            }
        }
        let failed = |error: ListError| error.to_string();
        for added in self.suppressions.add(&entries).await.map_err(|error| error.to_string())? {
            added.map_err(failed)?;
        }
        for removed in self.suppressions.remove(&removals).await {
            removed.map_err(failed)?;
        }
        Ok(())
    }
}

/// What an event says of its recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Word {
    /// Send nothing more.
    Against(Reason, Option<String>),
    /// The unsubscription from this group is over.
    Again(String),
}

/// Pure. What is blocked or expired says nothing against the address.
fn word(event: &ProviderEvent) -> Option<Word> {
    let group = || {
        let id = event.detail.get("asm_group_id")?;
        Some(id.as_str().map_or_else(|| id.to_string(), str::to_owned).chars().take(64).collect())
    };
    Some(match event.kind {
        EventKind::Bounced => Word::Against(Reason::Bounce, None),
        EventKind::Complained => Word::Against(Reason::Complaint, None),
        EventKind::Unsubscribed => Word::Against(Reason::Unsubscribe, None),
        EventKind::GroupUnsubscribed => Word::Against(Reason::Unsubscribe, group()),
        EventKind::GroupResubscribed => Word::Again(group().unwrap_or_default()),
        EventKind::Dropped => {
            let text = |name: &str| event.detail.get(name).and_then(|text| text.as_str()).unwrap_or_default();
            let is_listed = ["event", "sub_type"].iter().any(|name| says_suppressed(text(name)));
            let reason = reason_of_drop(text("reason")).or(is_listed.then_some(Reason::Drop));
            Word::Against(reason?, None)
        }
        _ => return None,
    })
}

/// Why a provider did not try, by its words (SendGrid's event reference). What lies in the mail or in the account says
/// nothing against the address.
fn reason_of_drop(text: &str) -> Option<Reason> {
    let text = text.trim().to_ascii_lowercase();
    Some(match text.as_str() {
        "bounced address" => Reason::Bounce,
        "spam reporting address" => Reason::Complaint,
        "unsubscribed address" | "group unsubscribe" | "group unsubscribed address" => Reason::Unsubscribe,
        // An address that cannot be, and whatever a provider of another name has on a list of its own.
        "invalid" => Reason::Drop,
        other if says_suppressed(other) => Reason::Drop,
        _ => return None,
    })
}

/// What providers say of an address on a list of their own.
fn says_suppressed(text: &str) -> bool {
    text.to_ascii_lowercase().contains("suppress")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;

    fn event(kind: EventKind, detail: serde_json::Value) -> ProviderEvent {
        ProviderEvent {
            provider: "sendgrid".into(),
            id: None,
            provider_message_id: None,
            event_id: None,
            kind,
            at: Timestamp::from_ms(0),
            recipient: None,
            lane: None,
            machine: false,
            detail: detail.as_object().cloned().unwrap_or_default(),
        }
    }

    #[test]
    fn what_speaks_against_an_address_is_told_from_what_speaks_against_the_mail() {
        use serde_json::json;
        let against = |reason| Some(Word::Against(reason, None));
        for (kind, detail, expected) in [
            (EventKind::Bounced, json!({"type": "bounce"}), against(Reason::Bounce)),
            (EventKind::Blocked, json!({"type": "blocked"}), None),
            (EventKind::Deferred, json!({}), None),
            (EventKind::Delivered, json!({}), None),
            (EventKind::Opened, json!({}), None),
            (EventKind::Suppressed, json!({"reason": "bounce"}), None),
            (EventKind::Other("suppressed".into()), json!({"reason": "Bounced Address"}), None),
            (EventKind::Complained, json!({}), against(Reason::Complaint)),
            (EventKind::Unsubscribed, json!({}), against(Reason::Unsubscribe)),
            (
                EventKind::GroupUnsubscribed,
                json!({"asm_group_id": 7}),
                Some(Word::Against(Reason::Unsubscribe, Some("7".into()))),
            ),
            (EventKind::GroupResubscribed, json!({"asm_group_id": "7"}), Some(Word::Again("7".into()))),
            (EventKind::Dropped, json!({"reason": "Bounced Address"}), against(Reason::Bounce)),
            (EventKind::Dropped, json!({"reason": "Spam Reporting Address"}), against(Reason::Complaint)),
            (EventKind::Dropped, json!({"reason": "Unsubscribed Address"}), against(Reason::Unsubscribe)),
            (EventKind::Dropped, json!({"reason": "Invalid"}), against(Reason::Drop)),
            (EventKind::Dropped, json!({"reason": "on the suppression list"}), against(Reason::Drop)),
            (EventKind::Dropped, json!({"reason": "Invalid SMTPAPI header"}), None),
            (EventKind::Dropped, json!({"reason": "Spam Content"}), None),
            (EventKind::Dropped, json!({"reason": "Recipient List over Package Quota"}), None),
            (EventKind::Dropped, json!({"event": "email.suppressed"}), against(Reason::Drop)),
            (EventKind::Dropped, json!({"sub_type": "OnAccountSuppressionList"}), against(Reason::Drop)),
            (EventKind::Dropped, json!({"event": "email.failed", "reason": "reached_daily_quota"}), None),
            (EventKind::Dropped, json!({"reason": 7}), None),
            (EventKind::Dropped, json!({}), None),
        ] {
            assert_eq!(word(&event(kind.clone(), detail.clone())), expected, "{kind} {detail}");
        }
    }
}
