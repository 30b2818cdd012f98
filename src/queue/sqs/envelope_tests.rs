#![expect(clippy::expect_used, reason = "a failed expectation is the failed test")]

use std::time::Duration;

use serde_json::json;

use super::*;

const LIMITS: Limits = Limits { body_bytes: MOST_BYTES };

fn life(ms: i64) -> Life {
    Life::accepted(Timestamp::from_ms(ms), None, None, OnUnknown::Resend)
}

fn message(content: Option<&str>, fresh: Option<Life>) -> Message {
    Message {
        id: NotificationId::derived("inn-7", "booking-1"),
        tenant: "inn-7".into(),
        priority: Priority::Bulk,
        delay: Duration::ZERO,
        content: content.map(|text| Bytes::from(text.to_owned())),
        fresh: fresh.map(Box::new),
    }
}

fn reopened(body: &str) -> Result<Opened, Unreadable> {
    open(&Bytes::from(body.to_owned()), "m-1", "default", &LIMITS)
}

fn code(body: &str) -> Option<&'static str> {
    reopened(body).err().map(|unreadable| unreadable.code)
}

#[test]
fn an_envelope_brings_back_the_life_and_the_very_bytes_of_the_content() {
    let content = r#"{"to":[{"email":"a@example.com"}], "text":"予約\n\u0001 \"x\""}"#;
    let later = Some(Timestamp::from_ms(1_800_000_900_123));
    let life = Life::accepted(Timestamp::from_ms(1_800_000_000_001), later, later, OnUnknown::Hold);
    let sent = message(Some(content), Some(life.clone()));
    let body = of_message(&sent, MOST_BYTES);
    let opened = reopened(&body).expect("an envelope");
    assert_eq!((opened.id, opened.tenant.as_str(), opened.priority), (sent.id, "inn-7", Priority::Bulk));
    assert_eq!(opened.content.as_deref(), Some(content.as_bytes()));
    assert!(matches!(opened.origin, Origin::Fresh(found) if *found == life));
}

#[test]
fn the_content_is_a_slice_of_the_body_and_not_a_copy() {
    let body = Bytes::from(of_message(&message(Some(r#"{"a":1}"#), None), MOST_BYTES));
    let content = open(&body, "m-1", "default", &LIMITS).expect("an envelope").content.expect("content");
    assert!(body.as_ptr_range().contains(&content.as_ptr()));
}

#[test]
fn the_shape_of_an_envelope_is_what_other_versions_read() {
    let read: serde_json::Value =
        serde_json::from_str(&of_message(&message(Some("{}"), Some(life(5))), MOST_BYTES)).expect("JSON");
    let id = NotificationId::derived("inn-7", "booking-1");
    let expected = json!({
        "kakitome": 1, "id": id, "tenant": "inn-7", "priority": "bulk", "accepted_at": 5, "content": {},
    });
    assert_eq!(read, expected);
    let urgent = Message { priority: Priority::Transactional, ..message(None, None) };
    assert_eq!(of_message(&urgent, MOST_BYTES), format!(r#"{{"kakitome":1,"id":"{id}","tenant":"inn-7"}}"#));
}

#[test]
fn content_that_is_too_large_or_that_sqs_refuses_is_left_to_the_log() {
    let small = message(Some(r#"{"text":"x"}"#), None);
    let whole = of_message(&small, MOST_BYTES).len();
    let has_content = |message: &Message, most| {
        reopened(&of_message(message, most)).expect("an envelope").content.is_some()
    };
    assert!(has_content(&small, whole));
    assert!(!has_content(&small, whole - 1));
    for refused in ["{\"text\":\"\u{fffe}\"}", "{\"text\":\"\u{ffff}\"}", "{\"text\":\"\u{1}\"}"] {
        assert!(!has_content(&message(Some(refused), None), MOST_BYTES), "{refused:?}");
    }
}

#[test]
fn a_life_that_is_not_as_it_began_is_left_to_the_log() {
    let changed = Life { attempt: 1, ..life(5) };
    let opened = reopened(&of_message(&message(None, Some(changed)), MOST_BYTES)).expect("an envelope");
    assert!(matches!(opened.origin, Origin::Recorded));
}

#[test]
fn an_envelope_that_was_written_anew_by_hand_is_still_one() {
    let id = NotificationId::derived("t", "k");
    let body = format!("{{\n  \"tenant\": \"t\",\n  \"id\": \"{id}\", \"kakitome\": 1, \"later\": [1]\n}}");
    assert_eq!(reopened(&body).expect("an envelope").id, id);
}

#[test]
fn a_bare_notification_is_direct_and_keeps_its_id_however_often_it_comes() {
    let bare = json!({
        "from": {"email": "inn@example.jp"}, "to": [{"email": "guest@example.com"}],
        "subject": "予約", "text": "8123", "priority": "bulk",
    });
    let opened = reopened(&bare.to_string()).expect("a notification");
    assert_eq!((opened.tenant.as_str(), opened.priority), ("default", Priority::Bulk));
    assert_eq!(opened.id, reopened(&bare.to_string()).expect("a notification").id);
    let Origin::Direct(notification) = &opened.origin else { panic!("not direct") };
    assert_eq!(opened.content, Some(content::encode(notification)));
    let other = open(&Bytes::from(bare.to_string()), "m-2", "default", &LIMITS).expect("a notification");
    assert_ne!(opened.id, other.id, "without a key each message is a notification of its own");

    let mut keyed = bare;
    keyed["idempotency_key"] = "booking-1".into();
    keyed["tenant"] = "inn-7".into();
    let opened = reopened(&keyed.to_string()).expect("a notification");
    assert_eq!(opened.id, NotificationId::derived("inn-7", "booking-1"));
}

#[test]
fn what_cannot_be_read_says_why_and_repeats_no_value() {
    assert_eq!(code("Taro <taro@example.jp>"), Some("not_json"));
    assert_eq!(code(""), Some("not_json"));
    assert_eq!(code("[1]"), Some("invalid"));
    assert_eq!(code("{}"), Some("invalid"));
    assert_eq!(code(r#"{"kakitome":2,"other":"shape"}"#), Some("envelope_version"));
    assert_eq!(code(r#"{"kakitome":"1"}"#), Some("envelope_version"));
    assert_eq!(code(r#"{"kakitome":1,"id":"taro@example.jp"}"#), Some("envelope"));
    assert_eq!(code(r#"{"kakitome":1,"id":"#), Some("envelope"));
    for body in
        ["Taro <taro@example.jp>", r#"{"kakitome":1,"id":"taro@example.jp"}"#, r#"{"taro@example.jp":1}"#]
    {
        let reason = reopened(body).expect_err("unreadable").reason();
        assert!(!reason.contains("taro"), "{reason}");
    }
}
