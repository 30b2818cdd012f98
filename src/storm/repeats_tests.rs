use super::*;
use crate::notification::OnUnknown;
use crate::notification::content::{Limits, parse};
use crate::notification::status::{AttemptLimits, Fact, Token};

fn at(s: i64) -> Timestamp {
    Timestamp::from_ms(s * 1000)
}

fn repeats() -> Repeats {
    Repeats::new(3, Duration::from_secs(3600))
}

#[expect(clippy::expect_used, reason = "a failed expectation is the failed test")]
fn notification(change: impl FnOnce(&mut serde_json::Value)) -> Notification {
    let mut body = serde_json::json!({
        "idempotency_key": "k", "from": {"email": "a@example.jp"}, "to": [{"email": "guest@example.com"}],
        "subject": "s", "text": "t", "template": {"id": "d-1", "data": {"b": 1, "a": 2}},
        "attachments": [{"filename": "f", "content_type": "text/plain", "content": "QUJD"}],
    });
    change(&mut body);
    parse(body.to_string().as_bytes(), "inn", &Limits { body_bytes: 100_000 }).expect("it is valid")
}

#[test]
fn the_content_is_what_a_recipient_sees_and_nothing_else() {
    let repeats = repeats();
    let content = |change: fn(&mut serde_json::Value)| repeats.content(&notification(change));
    let same = content(|_| {});
    for (path, value) in [
        ("idempotency_key", serde_json::json!("other")),
        ("metadata", serde_json::json!({"booking": "8123"})),
        ("batch", serde_json::json!("tos")),
        ("deliver_at", serde_json::json!("2026-11-22T00:00:00Z")),
        ("priority", serde_json::json!("bulk")),
    ] {
        let changed = notification(|body| body[path] = value);
        assert_eq!(repeats.content(&changed), same, "{path}");
    }
    let others = [
        content(|body| body["from"]["email"] = "b@example.jp".into()),
        content(|body| body["from"]["name"] = "b".into()),
        content(|body| body["reply_to"] = serde_json::json!({"email": "a@example.jp"})),
        content(|body| body["subject"] = "s2".into()),
        content(|body| body["text"] = "t2".into()),
        content(|body| body["html"] = "t".into()),
        content(|body| body["template"]["data"]["a"] = 3.into()),
        content(|body| body["attachments"][0]["content"] = "QUJE".into()),
    ];
    for other in others {
        assert_ne!(other, same);
    }
}

#[test]
fn a_sight_is_the_first_until_another_notification_with_the_same_key_comes() {
    let repeats = repeats();
    let (one, other) = (NotificationId::fresh(), NotificationId::fresh());
    let (one, other) = (Sight::of(one, at(10)), Sight::of(other, at(11)));
    assert_eq!(repeats.see(7, one, at(10)), None);
    assert_eq!(repeats.see(7, one, at(10)), None, "it was put back, and comes again");
    assert_eq!(repeats.see(7, other, at(11)), Some(one));
    assert_eq!(repeats.see(8, other, at(11)), None);
}

#[test]
fn what_is_sent_or_under_way_has_gone_and_what_waits_for_its_verdict_has_not() {
    let now = at(100);
    let accepted = Life::accepted(now, None, None, OnUnknown::Resend);
    let claim = Fact::Claimed {
        token: Token([1; 16]),
        provider: "sandbox".into(),
        lease_until: at(130),
        hold_until: at(700),
        resend_of: None,
        limits: AttemptLimits { attempts: 3, unknown_resends: 1 },
    };
    let after =
        |life: &Life, fact: &Fact| life.after(fact, now).unwrap_or_else(|refusal| panic!("{refusal}"));
    let claimed = after(&accepted, &claim);
    assert_eq!(gone_at(&accepted, now, || false), None);
    assert_eq!(gone_at(&claimed, now, || true), None);
    assert_eq!(gone_at(&claimed, now, || false), Some(now));
    assert_eq!(gone_at(&claimed, at(200), || false), Some(now), "unknown");
    let sent = Fact::Accepted { provider: "sandbox".into(), message_id: None, http_status: None };
    assert_eq!(gone_at(&after(&claimed, &sent), at(200), || true), Some(now));
    let put_back = Fact::PutBack { token: Token([1; 16]), due_at: now };
    assert_eq!(gone_at(&after(&claimed, &put_back), now, || false), None);
}
