//! What every provider's webhook takes, what it refuses, and what is made of it.

use std::sync::Arc;

use kakitome::message_log::sqlite::SqliteLog;
use kakitome::message_log::{MessageLog, NewNotification, Recorded};
use kakitome::notification::NotificationId;
use kakitome::notification::address::Address;
use kakitome::notification::status::Status;
use kakitome::notification::status::recipient::RecipientStatus;
use kakitome::provider::resend::{ResendEvents, SecretError};
use kakitome::provider::{EventKind, EventSource, Post, ProviderEvent, WebhookError};
use kakitome::sqlite::Engine;
use serde_json::Value;

use super::ears::{
    EARS, Ear, Happening, LANE, POSTED_AT, RESEND_SECRET, at, post_of, resend_body, resend_post,
    svix_signature,
};
use super::{ID, id};
use crate::vectors;

const GUEST: &str = "guest@example.com";

async fn read(ear: &Ear, post: Post) -> Result<Vec<ProviderEvent>, WebhookError> {
    (ear.source)().events(post, at(POSTED_AT)).await
}

fn signed(ear: &Ear, happening: Happening) -> Post {
    (ear.post)(&(ear.body)(happening, GUEST, 10), POSTED_AT, "event-1")
}

#[tokio::test]
async fn every_kind_of_event_brings_our_id_its_recipient_and_its_moment() {
    for ear in &EARS {
        for happening in Happening::ALL {
            let events = read(ear, signed(ear, happening)).await.unwrap();
            let [event] = events.as_slice() else { panic!("{}: {events:?}", ear.name) };
            let what = format!("{} {happening:?}: {event:?}", ear.name);
            assert_eq!(
                (event.provider.as_str(), event.kind.as_str()),
                (ear.name, happening.kind().as_str()),
                "{what}"
            );
            assert_eq!((event.id, event.at), (Some(id()), at(POSTED_AT - 10)), "{what}");
            assert_eq!(event.recipient.as_ref().map(Address::reveal), Some(GUEST), "{what}");
            assert_eq!(event.event_id.as_deref(), Some("event-1"), "{what}");
            assert!(event.provider_message_id.is_some(), "{what}");
            assert_eq!(event.lane.as_deref(), Some(LANE), "{what}");
            let kept = Value::Object(event.detail.clone()).to_string();
            assert!(
                !kept.contains(ID) && !kept.contains(GUEST),
                "our ids and the address are left out: {kept}"
            );
        }
    }
}

#[tokio::test]
async fn a_forged_post_is_refused_without_being_repeated() {
    for ear in &EARS {
        let genuine = signed(ear, Happening::Bounced);
        let mut changed = genuine.clone();
        changed.body = String::from_utf8_lossy(&genuine.body).replace(GUEST, "other@example.com").into();
        let mut unsigned = genuine.clone();
        unsigned.headers.clear();
        unsigned.body =
            String::from_utf8_lossy(&genuine.body).replace("\"Signature\":\"", "\"Signature\":\"AAAA").into();
        for post in [changed, unsigned] {
            let error = read(ear, post).await.unwrap_err();
            assert!(matches!(error, WebhookError::Signature(_)), "{}: {error}", ear.name);
            assert!(!error.to_string().contains('@'));
        }
        assert!(read(ear, genuine).await.is_ok());
    }
}

#[tokio::test]
async fn a_post_is_good_for_a_day_of_repeats_and_not_from_the_future() {
    for ear in &EARS {
        let body = (ear.body)(Happening::Delivered, GUEST, 10);
        for (age, is_taken) in
            [(0, true), (25 * 3600, true), (-300, true), (25 * 3600 + 1, false), (-301, false)]
        {
            let read = read(ear, (ear.post)(&body, POSTED_AT - age, "event-1")).await;
            assert_eq!(read.is_ok(), is_taken, "{} {age}: {read:?}", ear.name);
        }
    }
}

#[tokio::test]
async fn a_post_that_is_cut_off_or_empty_is_refused() {
    for ear in &EARS {
        let whole = signed(ear, Happening::Delivered);
        for length in [0, 1, whole.body.len() / 2, whole.body.len() - 1] {
            let cut = Post { body: whole.body.slice(..length), ..whole.clone() };
            let error = read(ear, cut).await.unwrap_err();
            let refused = matches!(error, WebhookError::Signature(_) | WebhookError::Malformed(_));
            assert!(refused && !error.to_string().contains('@'), "{}: {error}", ear.name);
        }
    }
}

#[tokio::test]
async fn a_moment_ahead_of_us_counts_as_now() {
    for ear in &EARS {
        let body = (ear.body)(Happening::Delivered, GUEST, -1000);
        let events = read(ear, (ear.post)(&body, POSTED_AT, "event-1")).await.unwrap();
        assert_eq!(events[0].at, at(POSTED_AT), "{}", ear.name);
    }
}

#[tokio::test]
async fn carrier_addresses_come_back_quoted_or_not_and_are_the_same_mailbox() {
    for ear in &EARS {
        for email in ["a..b@docomo.ne.jp", "\"a..b\"@docomo.ne.jp"] {
            let body = (ear.body)(Happening::Delivered, email, 10);
            let events = read(ear, (ear.post)(&body, POSTED_AT, "event-1")).await.unwrap();
            let canonical = events[0].recipient.as_ref().map(Address::canonical);
            assert_eq!(canonical.as_deref(), Some("a..b@docomo.ne.jp"), "{}", ear.name);
        }
    }
}

/// The whole way into the log: an acceptance proved, recipients' states, repeats that change nothing.
#[tokio::test]
async fn events_of_every_provider_are_folded_and_repeats_change_nothing() {
    for ear in &EARS {
        let home = tempfile::tempdir().unwrap();
        let log = SqliteLog::new(Engine::open(home.path(), kakitome::sqlite::Config::default()).unwrap());
        let asked = Arc::new(super::notification());
        log.accept(&[NewNotification::of(id(), asked, at(POSTED_AT - 60))]).await[0].as_ref().unwrap();
        let source = (ear.source)();
        let mut posts = Vec::new();
        for (n, happening) in
            [Happening::Delivered, Happening::Processed, Happening::Bounced].into_iter().enumerate()
        {
            let body = (ear.body)(happening, GUEST, 10 - i64::try_from(n).unwrap());
            posts.push((ear.post)(&body, POSTED_AT, &format!("event-{n}")));
        }
        for (round, post) in posts.iter().chain(&posts).enumerate() {
            let events = source.events(post.clone(), at(POSTED_AT)).await.unwrap();
            for recorded in log.record_events(&events, at(POSTED_AT)).await {
                let is_repeat = matches!(recorded.unwrap(), Recorded::Repeat { .. });
                assert_eq!(is_repeat, round >= posts.len(), "{} {round}", ear.name);
            }
        }
        let record = log.get(id()).await.unwrap().unwrap();
        assert_eq!(record.life.status(at(POSTED_AT)), Status::Sent, "an event proves the acceptance");
        assert_eq!(record.life.provider.as_deref(), Some(ear.name));
        assert_eq!(record.recipients[0].status, RecipientStatus::Bounced, "{}", ear.name);
        assert_eq!(record.events.len(), 3, "{}", ear.name);
    }
}

#[tokio::test]
async fn captured_posts_of_resend_and_ses_are_read_whole() {
    for (ear, file) in
        [(&EARS[1], "resend_webhook_events_anymail.json"), (&EARS[2], "amazon_ses_sns_events_awsdocs.json")]
    {
        let Some(vectors) = vectors::read(file) else { continue };
        let cases = vectors["cases"].as_array().unwrap();
        assert!(cases.len() >= 8);
        for case in cases {
            let post = (ear.post)(&case["payload"].to_string(), POSTED_AT, "event-1");
            let events = read(ear, post).await.unwrap();
            assert!(!events.is_empty(), "{case}");
            for event in &events {
                assert!(!matches!(event.kind, EventKind::Other(_)), "{event:?}");
                assert!(event.at > at(1_400_000_000) && event.at < at(POSTED_AT), "{event:?}");
                assert!(event.recipient.is_some() && event.provider_message_id.is_some(), "{event:?}");
            }
            let payload = &case["payload"];
            let length = |place: &str| payload.pointer(place).and_then(Value::as_array).map(Vec::len);
            let of_resend = || length("/data/to").filter(|_| payload["type"] == "email.sent");
            let expected = length("/bounce/bouncedRecipients")
                .or_else(|| length("/complaint/complainedRecipients"))
                .or_else(|| length("/delivery/recipients"))
                .or_else(of_resend)
                .unwrap_or(1);
            assert_eq!(events.len(), expected, "{case}");
        }
    }
}

#[tokio::test]
async fn the_vector_of_standard_webhooks_holds() {
    // Of the libraries of Standard Webhooks and of Svix; under either name of the headers.
    let body = r#"{"test": 2432232314}"#;
    let signature = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
    if let Some(vector) = vectors::read("standard_webhooks_svix_vector.json") {
        assert_eq!((vector["body"].as_str(), vector["secret"].as_str()), (Some(body), Some(RESEND_SECRET)));
    }
    for prefix in ["svix", "webhook"] {
        let names = ["id", "timestamp", "signature"].map(|name| format!("{prefix}-{name}"));
        let values = ["msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", signature];
        let headers: Vec<_> = names.iter().map(String::as_str).zip(values).collect();
        let source = (EARS[1].source)();
        let read = source.events(post_of(&headers, body), at(1_614_265_330)).await;
        // It is no event of a mail, but it is genuine.
        assert_eq!(read.unwrap(), vec![]);
        let changed = post_of(&headers, r#"{"test": 2432232315}"#);
        assert!(source.events(changed, at(1_614_265_330)).await.is_err());
    }
}

#[tokio::test]
async fn while_secrets_rotate_either_of_them_may_have_signed() {
    let (old, new) = (RESEND_SECRET.to_owned(), "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX".to_owned());
    let both = ResendEvents::new("resend", &[old.clone(), new.clone()], false).unwrap();
    let one = ResendEvents::new("resend", std::slice::from_ref(&old), false).unwrap();
    let (time, body) = (POSTED_AT.to_string(), resend_body(Happening::Delivered, GUEST, 1));
    let by = |secret: &str| svix_signature(secret, "e", &time, &body);
    let stranger = by("whsec_//////////////////////////8=");
    for (signature, by_both, by_one) in [
        (by(&old), true, true),
        (by(&new), true, false),
        (format!("{stranger} v1a,AAAA {}", by(&old)), true, true),
        (stranger, false, false),
        (by(&old).replace("v1,", "v2,"), false, false),
    ] {
        let headers = [("svix-id", "e"), ("svix-timestamp", &time), ("svix-signature", &signature)];
        let post = post_of(&headers, &body);
        assert_eq!(both.events(post.clone(), at(POSTED_AT)).await.is_ok(), by_both, "{signature}");
        assert_eq!(one.events(post, at(POSTED_AT)).await.is_ok(), by_one, "{signature}");
    }
    let refused = |secrets: &[&str]| {
        let secrets: Vec<_> = secrets.iter().map(|secret| (*secret).to_owned()).collect();
        ResendEvents::new("resend", &secrets, false).err()
    };
    assert_eq!(refused(&[]), Some(SecretError::Missing));
    assert_eq!(refused(&[RESEND_SECRET, "whsec_short"]), Some(SecretError::Unusable { place: 2 }));
}

#[tokio::test]
async fn of_a_mail_to_several_people_resend_names_nobody_but_for_the_first_event() {
    let source: Arc<dyn EventSource> = (EARS[1].source)();
    let of = async |happening, change: fn(&mut Value)| {
        let mut event: Value = serde_json::from_str(&resend_body(happening, GUEST, 1)).unwrap();
        change(&mut event["data"]);
        let post = resend_post(&event.to_string(), POSTED_AT, "e");
        let events = source.events(post, at(POSTED_AT)).await.unwrap();
        events
            .into_iter()
            .map(|event| (event.recipient.map(|r| r.reveal().to_owned()), event.event_id))
            .collect::<Vec<_>>()
    };
    let two: fn(&mut Value) = |data| {
        data["to"] = serde_json::json!(["Guest <guest@example.com>", "other@example.com"]);
        data["tags"]["kakitome_recipients"] = "2".into();
    };
    let copied: fn(&mut Value) = |data| data["tags"]["kakitome_recipients"] = "2".into();
    let event = |recipient: Option<&str>, id: &str| (recipient.map(str::to_owned), Some(id.to_owned()));
    assert_eq!(of(Happening::Bounced, two).await, [event(None, "e")]);
    assert_eq!(of(Happening::Bounced, copied).await, [event(None, "e")], "it may have been the copy");
    let everybody = [event(Some(GUEST), "e"), event(Some("other@example.com"), "e:1")];
    assert_eq!(of(Happening::Processed, two).await, everybody);
    let listed: fn(&mut Value) = |data| {
        let tags = serde_json::json!([{"name": "kakitome_id", "value": ID}, {"name": "other", "value": "1"}]);
        data["tags"] = tags;
    };
    assert_eq!(of(Happening::Bounced, listed).await, [event(Some(GUEST), "e")], "tags as a list");
}

#[tokio::test]
async fn what_is_not_about_mail_of_ours_is_passed_over() {
    let source = (EARS[1].source)();
    for body in [
        r#"{"type":"contact.created","created_at":"2026-11-21T08:00:00Z","data":{"email":"guest@example.com"}}"#,
        r#"{"type":"email.received","created_at":"2026-11-21T08:00:00Z","data":{"to":["us@example.jp"]}}"#,
        "{}",
    ] {
        let events = source.events(resend_post(body, POSTED_AT, "e"), at(POSTED_AT)).await;
        assert_eq!(events.unwrap(), vec![], "{body}");
    }
    let odd =
        source.events(resend_post(r#"{"type":"email.teleported"}"#, POSTED_AT, "e"), at(POSTED_AT)).await;
    assert_eq!(odd.unwrap()[0].kind, EventKind::Other("email.teleported".into()));
    assert!(ID.parse::<NotificationId>().is_ok());
}
