//! An event that carries nothing but an address: which of the messages that were sent there it is about. One rule for
//! every backend. Pure.

use std::time::Duration;

use serde_json::{Value, json};

use crate::clock::Timestamp;
use crate::notification::status::recipient::RecipientStatus;
use crate::provider::ProviderEvent;

/// A bounce that carries nothing but an address belongs to what was sent there lately: receiving servers give up
/// after five days at most (RFC 5321, 4.5.4.1).
const WITHIN: Duration = Duration::from_secs(5 * 24 * 3600);

/// The provider's clock may be ahead of ours by so much.
pub(super) const FUTURE_ALLOWED: Duration = Duration::from_secs(5 * 60);

/// Where an event's detail says that it was matched by its address, and among how many.
pub(super) const MARK: &str = "kakitome_match";

/// Something that the event's provider took for the event's address.
#[derive(Clone, Copy, Debug)]
pub(super) struct Send<'a> {
    /// When it took it.
    pub(super) at: Timestamp,
    /// Who sent it.
    pub(super) tenant: &'a str,
}

/// Whether its address is all that such an event can be matched by: only what gives a recipient up comes without ids.
pub(super) fn is_by_address(event: &ProviderEvent) -> bool {
    let gives_up = event.kind.recipient_status().is_some_and(|status| status >= RecipientStatus::Blocked);
    event.id.is_none() && event.provider_message_id.is_none() && gives_up && event.recipient.is_some()
}

/// When what it is about was taken: not earlier, not later.
pub(super) fn window(at: Timestamp) -> (Timestamp, Timestamp) {
    (at.minus(WITHIN), at.plus(FUTURE_ALLOWED))
}

/// The place of the latest one before the event; only where there is none, of the first after it, for the provider's
/// clock. So what is sent later does not move a repeat elsewhere. And what the event is to say of it: where several
/// were sent there, it is a guess, and may be about another tenant's.
pub(super) fn choose(sends: &[Send<'_>], at: Timestamp) -> Option<(usize, Value)> {
    let (from, until) = window(at);
    let within = || sends.iter().enumerate().filter(|(_, send)| (from..=until).contains(&send.at));
    let before = within().filter(|(_, send)| send.at <= at).max_by_key(|(_, send)| send.at);
    let (best, chosen) = before.or_else(|| within().min_by_key(|(_, send)| send.at))?;
    let others = within().filter(|(_, send)| send.tenant != chosen.tenant).count();
    let mut mark = json!({ "by": "address", "sends": within().count() });
    if others > 0 {
        mark["of_other_tenants"] = json!(others);
    }
    Some((best, mark))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail by panicking")]
mod tests {
    use super::*;

    fn at(minutes: u64) -> Timestamp {
        Timestamp::from_ms(1_800_000_000_000).plus(Duration::from_secs(60 * minutes))
    }

    #[test]
    fn the_latest_send_before_the_event_is_chosen_and_doubt_is_told() {
        let sends = |minutes: &[(u64, &'static str)]| -> Vec<Send<'static>> {
            minutes.iter().map(|(minute, tenant)| Send { at: at(*minute), tenant }).collect()
        };
        let chosen = |minutes: &[(u64, &'static str)], event| choose(&sends(minutes), at(event));
        let one = json!({"by": "address", "sends": 1});
        assert_eq!(chosen(&[], 10), None);
        assert_eq!(chosen(&[(5, "a")], 10), Some((0, one.clone())));
        assert_eq!(chosen(&[(12, "a")], 10), Some((0, one)), "clocks differ");
        assert_eq!(chosen(&[(16, "a")], 10), None, "but not by so much");
        assert_eq!(chosen(&[(5, "a")], 5 + 5 * 24 * 60 + 1), None, "nobody tries for longer");
        let (place, mark) = chosen(&[(5, "a"), (9, "b"), (12, "a")], 10).unwrap();
        assert_eq!((place, mark), (1, json!({"by": "address", "sends": 3, "of_other_tenants": 2})));
    }
}
