//! SendGrid's event webhook posts: signatures, and every oddity of their contents.

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kakitome::clock::Timestamp;
use kakitome::notification::address::Address;
use kakitome::provider::sendgrid::{KeyError, SIGNATURE_HEADER, SendGridEvents, TIMESTAMP_HEADER};
use kakitome::provider::{EventKind, EventSource, Post, ProviderEvent, WebhookError};
use p256::ecdsa::signature::Signer;
use p256::ecdsa::{Signature, SigningKey};
use p256::pkcs8::EncodePublicKey;
use serde_json::{Value, json};

use crate::vectors;

/// 2026-11-21T09:00:00Z, when the fixtures were posted.
const POSTED_AT: i64 = 1_795_251_600;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_ms(seconds * 1000)
}

fn read(
    source: &SendGridEvents,
    headers: &[(&str, &str)],
    body: &[u8],
    now: Timestamp,
) -> Result<Vec<ProviderEvent>, WebhookError> {
    let mut post = Post { headers: HeaderMap::new(), body: body.to_vec().into() };
    for (name, value) in headers {
        post.headers.insert(HeaderName::try_from(*name).unwrap(), HeaderValue::try_from(*value).unwrap());
    }
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(source.events(post, now))
}

/// Reads a body without a signature.
fn events(body: &str) -> Vec<ProviderEvent> {
    let source = SendGridEvents::new("sendgrid", &[], true).unwrap();
    read(&source, &[], body.as_bytes(), at(POSTED_AT)).unwrap()
}

#[test]
fn every_kind_of_event_is_read_with_all_its_oddities() {
    let events = events(include_str!("../fixtures/sendgrid_events.json"));
    let shown: Vec<Value> = events
        .iter()
        .map(|event| {
            json!({
                "id": event.id,
                "message": event.provider_message_id,
                "event": event.event_id,
                "kind": event.kind,
                "at": event.at,
                "recipient": event.recipient.as_ref().map(Address::reveal),
                "machine": event.machine,
                "detail": event.detail,
            })
        })
        .collect();
    insta::assert_json_snapshot!(shown);
}

#[test]
fn a_single_object_is_one_event_and_an_empty_array_is_none() {
    assert_eq!(events(r#"{"event":"open","email":"a@example.com"}"#).len(), 1);
    assert_eq!(events(" [] \r\n"), vec![]);
}

#[test]
fn an_unreadable_entry_is_kept_and_spoils_no_neighbour() {
    let body = r#"[1, null, "x", {"event":"bounce","reason":"\ud83d"}, {"event":"open","n":1e999}, {"event":"open"}]"#;
    let kinds: Vec<_> =
        events(body).into_iter().map(|event| (event.kind, event.detail.get("raw").cloned())).collect();
    let malformed = |raw: &str| (EventKind::Other("malformed".into()), Some(json!(raw)));
    assert_eq!(
        kinds,
        vec![
            malformed("1"),
            malformed("null"),
            malformed("\"x\""),
            malformed(r#"{"event":"bounce","reason":"\ud83d"}"#),
            malformed(r#"{"event":"open","n":1e999}"#),
            (EventKind::Opened, None),
        ]
    );
}

#[test]
fn bytes_that_are_not_utf_8_cost_only_themselves() {
    let source = SendGridEvents::new("sendgrid", &[], true).unwrap();
    let body = b"[{\"event\":\"bounce\",\"reason\":\"\x82\xa0\",\"email\":\"a@example.com\"}]";
    let events = read(&source, &[], body, at(POSTED_AT)).unwrap();
    assert_eq!(events[0].kind, EventKind::Bounced);
    assert!(events[0].recipient.is_some());
}

#[test]
fn what_is_not_json_is_refused_without_being_repeated() {
    let source = SendGridEvents::new("sendgrid", &[], true).unwrap();
    for body in ["", "guest@example.com", "[{\"email\":\"guest@example.com\"", "\"x\"", "7"] {
        let error = read(&source, &[], body.as_bytes(), at(POSTED_AT)).unwrap_err();
        assert!(matches!(&error, WebhookError::Malformed(_)), "{body}");
        assert!(!error.to_string().contains('@'));
    }
}

#[test]
fn the_detail_of_an_event_is_bounded() {
    let mut event = serde_json::Map::from_iter([("event".to_owned(), json!("click"))]);
    event.insert("useragent".into(), json!("あ".repeat(10_000)));
    event.extend((0..1000).map(|n| (format!("key-{n:04}"), json!({"value": "x".repeat(100)}))));
    let events = events(&Value::Object(event).to_string());
    assert_eq!(events[0].detail["truncated"], json!(true));
    assert!(Value::Object(events[0].detail.clone()).to_string().len() < 32 * 1024);
}

#[test]
fn events_come_oldest_first() {
    let body =
        r#"[{"event":"delivered","timestamp":1795251502},{"event":"processed","timestamp":1795251500}]"#;
    let kinds: Vec<_> = events(body).into_iter().map(|event| event.kind).collect();
    assert_eq!(kinds, vec![EventKind::Processed, EventKind::Delivered]);
}

fn public_key(key: &SigningKey) -> String {
    STANDARD.encode(key.verifying_key().to_public_key_der().unwrap().as_bytes())
}

fn sign(key: &SigningKey, timestamp: &str, body: &[u8]) -> String {
    let signature: Signature = key.sign(&[timestamp.as_bytes(), body].concat());
    STANDARD.encode(signature.to_der().as_bytes())
}

fn key(seed: u8) -> SigningKey {
    SigningKey::from_slice(&[seed; 32]).unwrap()
}

#[test]
fn a_post_signed_by_another_implementation_is_taken_and_any_change_to_it_refused() {
    let fixture: Value = serde_json::from_str(include_str!("../fixtures/sendgrid_signature.json")).unwrap();
    let field = |name: &str| fixture[name].as_str().unwrap().to_owned();
    let body = STANDARD.decode(field("body_base64")).unwrap();
    let source = SendGridEvents::new("sendgrid", &[field("public_key")], false).unwrap();
    let (timestamp, signature) = (field("timestamp"), field("signature"));
    let headers = [(SIGNATURE_HEADER, signature.as_str()), (TIMESTAMP_HEADER, timestamp.as_str())];
    let kinds: Vec<_> =
        read(&source, &headers, &body, at(POSTED_AT)).unwrap().into_iter().map(|event| event.kind).collect();
    assert_eq!(kinds, vec![EventKind::Delivered, EventKind::Opened]);

    let trimmed = body.trim_ascii_end();
    assert!(read(&source, &headers, trimmed, at(POSTED_AT)).is_err(), "the line end is signed too");
    let later = [(SIGNATURE_HEADER, signature.as_str()), (TIMESTAMP_HEADER, "1795251601")];
    assert!(read(&source, &later, &body, at(POSTED_AT)).is_err());
    let other = SendGridEvents::new("sendgrid", &[public_key(&key(9))], false).unwrap();
    assert!(read(&other, &headers, &body, at(POSTED_AT)).is_err());
}

#[test]
fn while_keys_rotate_either_of_them_may_have_signed() {
    let source = SendGridEvents::new("sendgrid", &[public_key(&key(1)), public_key(&key(2))], false).unwrap();
    let timestamp = POSTED_AT.to_string();
    for (seed, taken) in [(1, true), (2, true), (3, false)] {
        let signature = sign(&key(seed), &timestamp, b"[]");
        let headers = [(SIGNATURE_HEADER, signature.as_str()), (TIMESTAMP_HEADER, timestamp.as_str())];
        assert_eq!(read(&source, &headers, b"[]", at(POSTED_AT)).is_ok(), taken);
    }
}

#[test]
fn a_signature_is_good_for_a_day_of_repeats_and_not_from_the_future() {
    let source = SendGridEvents::new("sendgrid", &[public_key(&key(1))], false).unwrap();
    let taken = |age_seconds: i64| {
        let timestamp = (POSTED_AT - age_seconds).to_string();
        let signature = sign(&key(1), &timestamp, b"[]");
        let headers = [(SIGNATURE_HEADER, signature.as_str()), (TIMESTAMP_HEADER, timestamp.as_str())];
        read(&source, &headers, b"[]", at(POSTED_AT)).is_ok()
    };
    assert!(taken(0) && taken(25 * 3600) && taken(-300));
    assert!(!taken(25 * 3600 + 1) && !taken(-301));
}

#[test]
fn missing_or_broken_signature_headers_are_refused() {
    let source = SendGridEvents::new("sendgrid", &[public_key(&key(1))], false).unwrap();
    let timestamp = POSTED_AT.to_string();
    let good = sign(&key(1), &timestamp, b"[]");
    let odd = sign(&key(1), "soon", b"[]");
    let cases: [&[(&str, &str)]; 6] = [
        &[],
        &[(SIGNATURE_HEADER, &good)],
        &[(TIMESTAMP_HEADER, &timestamp)],
        &[(SIGNATURE_HEADER, "%%%"), (TIMESTAMP_HEADER, &timestamp)],
        &[(SIGNATURE_HEADER, "AAAA"), (TIMESTAMP_HEADER, &timestamp)],
        &[(SIGNATURE_HEADER, &odd), (TIMESTAMP_HEADER, "soon")],
    ];
    for headers in cases {
        let error = read(&source, headers, b"[]", at(POSTED_AT)).unwrap_err();
        assert!(matches!(error, WebhookError::Signature(_)), "{headers:?}");
    }
}

#[test]
fn a_key_that_cannot_verify_is_named_by_its_place_and_not_repeated() {
    let new = |keys: &[String]| SendGridEvents::new("sendgrid", keys, false).err();
    let good = public_key(&key(1));
    assert_eq!(new(&[]), Some(KeyError::Missing));
    assert_eq!(new(&[good.clone(), "not base64!".into()]), Some(KeyError::Base64 { place: 2 }));
    assert_eq!(new(&[STANDARD.encode("something else")]), Some(KeyError::NotP256 { place: 1 }));
    assert_eq!(new(&[format!(" {good}\n")]), None);
    assert!(!KeyError::Base64 { place: 2 }.to_string().contains("not base64!"));
}

#[test]
fn the_official_signature_vectors_hold() {
    let Some(vectors) = vectors::read("sendgrid_webhook_signature_vectors.json") else {
        return;
    };
    for case in vectors["cases"].as_array().unwrap() {
        let field = |name: &str| case[name].as_str().unwrap_or_default().to_owned();
        let source = SendGridEvents::new("sendgrid", &[field("public_key_b64_spki")], false).unwrap();
        let (signature, timestamp) = (field("signature_b64_der"), field("timestamp"));
        let headers = [(SIGNATURE_HEADER, signature.as_str()), (TIMESTAMP_HEADER, timestamp.as_str())];
        let body = STANDARD.decode(field("body_b64")).unwrap();
        let now = at(timestamp.parse().unwrap_or(POSTED_AT));
        let result = read(&source, &headers, &body, now);
        assert_eq!(result.is_ok(), case["expect_valid"].as_bool().unwrap(), "{}: {result:?}", case["name"]);
    }
}

#[test]
fn captured_posts_are_read_whole() {
    for (file, list, entry) in [
        ("sendgrid_event_webhook_samples_docs2021.json", "samples", None),
        ("sendgrid_webhook_events_anymail.json", "cases", Some("payload")),
    ] {
        let Some(posts) = vectors::read(file) else { return };
        for post in posts[list].as_array().unwrap() {
            let post = entry.map_or(post, |name| &post[name]);
            let entries = post.as_array().map_or(std::slice::from_ref(post), Vec::as_slice);
            let named = entries.iter().filter(|entry| entry.get("event").is_some()).count();
            let read = events(&post.to_string());
            assert_eq!(read.len(), entries.len());
            let known = read.iter().filter(|event| !matches!(event.kind, EventKind::Other(_))).count();
            assert_eq!(known, named, "{read:?}");
            assert!(read.iter().all(|event| event.at > at(0) && event.at <= at(POSTED_AT)), "{read:?}");
        }
    }
}
