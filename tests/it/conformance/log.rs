//! What every message log does.

mod acts;
mod claims;
mod events;
mod folds;
mod heard;
mod listing;

use std::sync::Arc;
use std::time::Duration;

use kakitome::clock::Timestamp;
use kakitome::message_log::{
    Acceptance, Applied, Claim, ClaimRequest, Hint, MessageLog, NewNotification, Record,
};
use kakitome::notification::address::Address;
use kakitome::notification::status::{AttemptLimits, Fact, Status, Token};
use kakitome::notification::{Mailbox, Notification, NotificationId, OnUnknown, Priority};

pub use acts::*;
pub use claims::*;
pub use events::*;
pub use folds::*;
pub use heard::*;
pub use listing::*;

/// Every case, for one backend.
macro_rules! suite {
    ($(#[$note:meta])* $bench:path) => {
        crate::conformance::on_each! { $(#[$note])* crate::conformance::log, $bench;
            the_same_id_is_recorded_once
            the_same_id_twice_in_one_batch_is_a_repeat_or_a_conflict
            an_unknown_id_is_absent
            a_claim_hands_out_the_content_and_leases_the_notification
            of_eight_claims_at_once_exactly_one_wins
            a_claim_that_is_repeated_is_the_same_claim
            only_the_latest_claim_may_say_not_accepted_or_refused
            an_acceptance_counts_whoever_tells_it
            an_attempt_without_an_answer_becomes_unknown_by_time_alone
            an_unknown_is_resent_only_by_who_saw_its_token
            facts_for_one_id_apply_in_their_order
            an_event_is_kept_folded_and_taken_as_evidence
            a_repeated_event_changes_nothing
            two_links_followed_within_one_second_are_two_clicks
            events_end_the_same_in_any_order
            an_event_may_come_before_the_workers_own_answer
            an_event_without_our_id_is_matched_by_the_providers
            a_bounce_with_nothing_but_an_address_is_matched_by_it
            an_event_that_matches_nothing_is_kept_once
            any_mix_of_events_folds_as_a_plain_fold_does
            an_event_that_came_too_early_is_matched_when_it_is_looked_at_again
            unmatched_events_are_listed_page_by_page_and_looked_at_ever_later
            a_bounce_hits_the_latest_of_two_tenants_mails_and_says_that_it_is_a_guess
            the_same_address_in_two_places_has_one_fate
            the_witness_is_the_newest_event_but_never_the_future
            every_filter_lists_what_it_says_without_gap_or_repeat
            a_cursor_of_another_listing_is_refused
            counts_agree_with_the_listing
            standings_agree_with_the_listing
            the_oldest_unsent_is_on_its_way
            what_is_due_comes_oldest_first
            acts_are_kept_and_read_back_in_their_order
            a_redrive_keeps_the_deadline_and_a_late_one_drops_it
            lives_and_contents_come_in_the_order_asked_for
            a_large_content_is_read_back_and_counted_by_its_template
            a_preview_counts_by_status_reason_tenant_template_and_deadline
            the_provider_of_the_latest_attempt_is_a_filter
            what_was_sent_and_not_heard_of_is_found_by_when_it_was_sent
            what_was_heard_of_lacks_only_the_rest
        }
    };
}
pub(crate) use suite;

/// When the tests begin.
pub fn start() -> Timestamp {
    Timestamp::from_ms(1_800_000_000_000)
}

pub fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub fn address(text: &str) -> Address {
    Address::parse(text).unwrap()
}

/// A plain notification; `change` makes it special.
pub fn notification(change: impl FnOnce(&mut Notification)) -> Notification {
    let mailbox = |email| Mailbox { email: address(email), name: None };
    let mut notification = Notification {
        idempotency_key: None,
        tenant: "default".into(),
        from: mailbox("reserve@example.jp"),
        to: vec![mailbox("guest@example.com")],
        cc: Vec::new(),
        bcc: Vec::new(),
        reply_to: None,
        subject: Some("ご予約が確定しました".into()),
        text: Some("…".into()),
        html: None,
        template: None,
        attachments: Vec::new(),
        headers: Default::default(),
        categories: Vec::new(),
        metadata: [("booking".to_owned(), "8123".to_owned())].into(),
        deliver_at: None,
        useful_until: None,
        priority: Priority::Transactional,
        batch: None,
        on_unknown: OnUnknown::Resend,
    };
    change(&mut notification);
    notification
}

pub fn to(email: &str) -> Vec<Mailbox> {
    vec![Mailbox { email: address(email), name: None }]
}

pub fn new(notification: Notification, now: Timestamp) -> NewNotification {
    NewNotification::of(notification.id(), Arc::new(notification), now)
}

/// Records one notification.
pub async fn accept(
    log: &dyn MessageLog,
    now: Timestamp,
    change: impl FnOnce(&mut Notification),
) -> NotificationId {
    let new = new(notification(change), now);
    let accepted = log.accept(std::slice::from_ref(&new)).await.remove(0).unwrap();
    assert!(matches!(accepted, Acceptance::Created(_)));
    new.id
}

pub fn claim_of(token: Token, now: Timestamp) -> Fact {
    Fact::Claimed {
        token,
        provider: "sendgrid".into(),
        lease_until: now.plus(secs(30)),
        hold_until: now.plus(secs(630)),
        resend_of: None,
        limits: AttemptLimits { attempts: 12, unknown_resends: 2 },
    }
}

pub async fn claim_with(log: &dyn MessageLog, id: NotificationId, fact: Fact, now: Timestamp) -> Claim {
    let request = ClaimRequest { id, fact, content: None, hint: Hint::None };
    log.claim(&[request], now).await.remove(0).unwrap()
}

/// Claims and returns the token.
pub async fn claim(log: &dyn MessageLog, id: NotificationId, now: Timestamp) -> Token {
    let token = Token::fresh();
    let claimed = claim_with(log, id, claim_of(token, now), now).await;
    assert!(matches!(claimed, Claim::Won(_)), "{claimed:?}");
    token
}

pub async fn apply(log: &dyn MessageLog, id: NotificationId, fact: Fact, now: Timestamp) -> Applied {
    log.apply(&[(id, fact)], now).await.remove(0).unwrap()
}

pub fn accepted_as(message_id: &str) -> Fact {
    Fact::Accepted {
        provider: "sendgrid".into(),
        message_id: Some(message_id.into()),
        http_status: Some(202),
    }
}

/// Claims and lets the provider take it.
pub async fn send(log: &dyn MessageLog, id: NotificationId, message_id: &str, now: Timestamp) {
    claim(log, id, now).await;
    let applied = apply(log, id, accepted_as(message_id), now).await;
    assert!(matches!(applied, Applied::Done { before: Status::Attempting, .. }));
}

pub async fn record(log: &dyn MessageLog, id: NotificationId) -> Record {
    log.get(id).await.unwrap().unwrap()
}

pub async fn status(log: &dyn MessageLog, id: NotificationId, now: Timestamp) -> Status {
    record(log, id).await.life.status(now)
}
