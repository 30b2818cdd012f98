//! What a notification may be: every field, every fault at its pointer, and a thousand sample bookings.

mod any;
mod faults;
mod samples;
mod schema;

use kakitome::notification::content::batch::{self, Form};
use kakitome::notification::content::{Fault, Limits, decode, encode, hash, parse};
use kakitome::notification::{Notification, OnUnknown, Priority, RecipientKind};
use serde_json::{Value, json};

const LIMITS: Limits = Limits { body_bytes: 10 * 1024 * 1024 };

fn sound() -> Value {
    json!({
        "from": {"email": "reserve@example.jp", "name": "予約センター"},
        "to": [{"email": "guest@example.com", "name": "山田 太郎"}],
        "subject": "ご予約が確定しました",
        "text": "お待ちしております。",
    })
}

/// The sound one with the field at `pointer` set, its objects made where there are none.
fn with(pointer: &str, value: Value) -> Value {
    let mut document = sound();
    set(&mut document, pointer, value);
    document
}

fn set(document: &mut Value, pointer: &str, value: Value) {
    let mut here = document;
    for step in pointer.split('/').skip(1) {
        here = match here {
            Value::Array(list) => {
                let index = step.parse::<usize>().unwrap();
                list.resize(list.len().max(index + 1), json!({}));
                &mut list[index]
            }
            object => &mut object[step],
        };
    }
    *here = value;
}

fn read(document: &Value) -> Result<Notification, Vec<Fault>> {
    parse(document.to_string().as_bytes(), "default", &LIMITS)
}

fn accepted(document: &Value) -> Notification {
    read(document).unwrap_or_else(|faults| panic!("{faults:?} in {document}"))
}

fn pointers(document: &Value) -> Vec<String> {
    read(document).unwrap_err().into_iter().map(|fault| fault.pointer).collect()
}

#[test]
fn a_full_notification_is_read_as_it_is_written() {
    let mut document = sound();
    for (pointer, value) in [
        ("/idempotency_key", json!("booking-8123:confirmed:1")),
        ("/tenant", json!("hotel.tokyo")),
        ("/cc", json!([{"email": "hotel@example.jp"}])),
        ("/bcc", json!([{"email": "audit@example.jp", "name": ""}])),
        ("/reply_to", json!({"email": "desk@example.jp", "name": "Desk; Front, 1F"})),
        ("/html", json!("<p>お待ちしております。</p>")),
        (
            "/template",
            json!({"id": "d-0123", "data": {"room": "桜", "nights": 2, "extras": [null, 1.5, true]}}),
        ),
        (
            "/attachments",
            json!([{"filename": "予約.pdf", "content_type": "application/pdf", "content": "JVBERg=="}]),
        ),
        ("/headers", json!({"X-Booking": "8123", "List-Unsubscribe": "<https://example.jp/u>"})),
        ("/categories", json!(["booking", "confirmed"])),
        ("/metadata", json!({"booking": "8123", "note": ""})),
        ("/deliver_at", json!("2026-11-22T09:00:00+09:00")),
        ("/useful_until", json!("2026-11-22T06:00:00Z")),
        ("/priority", json!("bulk")),
        ("/batch", json!("tos-2026-11")),
        ("/on_unknown", json!("hold")),
    ] {
        set(&mut document, pointer, value);
    }
    let read = accepted(&document);
    assert_eq!(
        (read.tenant.as_str(), read.priority, read.on_unknown),
        ("hotel.tokyo", Priority::Bulk, OnUnknown::Hold)
    );
    assert_eq!(read.deliver_at.unwrap().to_string(), "2026-11-22T00:00:00.000Z");
    assert_eq!(read.bcc[0].name, None);
    let kinds: Vec<_> = read.recipients().map(|(kind, mailbox)| (kind, mailbox.email.reveal())).collect();
    assert_eq!(
        kinds,
        [
            (RecipientKind::To, "guest@example.com"),
            (RecipientKind::Cc, "hotel@example.jp"),
            (RecipientKind::Bcc, "audit@example.jp"),
        ]
    );
    assert_eq!(decode(&encode(&read)).unwrap(), read);
}

#[test]
fn what_is_left_out_has_its_default() {
    let read = accepted(&sound());
    assert_eq!(
        (read.tenant.as_str(), read.priority, read.on_unknown),
        ("default", Priority::Transactional, OnUnknown::Resend)
    );
    assert_eq!(read.idempotency_key, None);
}

#[test]
fn a_null_is_an_absent_field() {
    let optional = [
        "idempotency_key",
        "tenant",
        "cc",
        "bcc",
        "reply_to",
        "html",
        "template",
        "attachments",
        "headers",
        "categories",
        "metadata",
        "deliver_at",
        "useful_until",
        "priority",
        "batch",
        "on_unknown",
        "to/0/name",
    ];
    for field in optional {
        assert_eq!(accepted(&with(&format!("/{field}"), Value::Null)).tenant, "default", "{field}");
    }
    for (field, pointer) in [("from", "/from"), ("to", "/to"), ("subject", "/subject"), ("text", "/text")] {
        assert_eq!(pointers(&with(&format!("/{field}"), Value::Null)), [pointer]);
    }
    assert_eq!(pointers(&with("/to/0/email", Value::Null)), ["/to/0/email"]);
}

#[test]
fn a_template_brings_subject_and_body_and_nothing_else_does() {
    let mut document = with("/template", json!({"id": "d-0123"}));
    for field in ["subject", "text"] {
        document[field].take();
    }
    assert!(read(&document).is_ok());
    document["template"].take();
    assert_eq!(pointers(&document), ["/subject", "/text"]);
    document["html"] = json!("<p>x</p>");
    assert_eq!(pointers(&document), ["/subject"]);
}

#[test]
fn recipients_are_counted_and_compared_across_to_cc_and_bcc() {
    let people = |from: usize, to: usize| {
        json!((from..to).map(|i| json!({"email": format!("g{i}@example.com")})).collect::<Vec<_>>())
    };
    let mut document = with("/to", people(0, 500));
    document["cc"] = people(500, 999);
    document["bcc"] = people(999, 1000);
    assert_eq!(accepted(&document).recipients().count(), 1000);
    document["bcc"] = people(999, 1001);
    assert_eq!(pointers(&document), ["/bcc"]);
    assert_eq!(pointers(&with("/to", people(0, 1001))), ["/to"]);
    let mut document = with("/to", json!([{"email": "a..b@docomo.ne.jp"}]));
    document["bcc"] = json!([{"email": "\"a..b\"@DOCOMO.ne.jp"}]);
    assert_eq!(pointers(&document), ["/bcc/0/email"]);
}

#[test]
fn addresses_of_old_carriers_are_taken() {
    for email in ["a..b@docomo.ne.jp", ".a@ezweb.ne.jp", "a.@docomo.ne.jp", "-a--b-@i.softbank.jp"] {
        let read = accepted(&with("/to/0/email", json!(email)));
        assert_eq!(read.to[0].email.reveal(), email);
    }
}

#[test]
fn the_same_content_has_one_hash_however_it_was_written() {
    let one = br#"{"from":{"email":"a@example.com"},"to":[{"email":"b@example.com"}],"subject":"\u4e88\u7d04","text":"x",
        "metadata":{"a":"1","b":"2"},"template":{"id":"d","data":{"x":{"p":1,"q":2},"y":3}},"deliver_at":"2026-11-22T09:00:00+09:00"}"#;
    let other = r#"{"deliver_at":"2026-11-22T00:00:00Z","cc":[],"bcc":null,"text":"x","subject":"予約","priority":"transactional",
        "template":{"data":{"y":3,"x":{"q":2,"p":1}},"id":"d"},"metadata":{"b":"2","a":"1"},
        "to":[{"name":"","email":"b@example.com"}],"from":{"email":"a@example.com"}}"#;
    let hash_of = |body: &[u8]| hash(&encode(&parse(body, "default", &LIMITS).unwrap()));
    assert_eq!(hash_of(one), hash_of(other.as_bytes()));
    assert_ne!(hash_of(one), hash_of(other.replace("\"y\":3", "\"y\":4").as_bytes()));
}

#[test]
fn one_bad_entry_of_a_batch_never_spoils_its_neighbours() {
    let sound = sound().to_string();
    let list = format!("[{sound},{{\"from\":}},null,{sound}]");
    let mut lines = format!("{sound}\n{{\"from\":\n\n").into_bytes();
    lines.extend_from_slice(b"\"\xff\"\r\n");
    lines.extend_from_slice(sound.as_bytes());
    for (body, numbers) in [(list.as_bytes(), [1, 2, 3, 4]), (&lines, [1, 2, 4, 5])] {
        let entries = batch::split(body, Form::of(body), 1000).unwrap();
        let read: Vec<_> =
            entries.iter().map(|e| (e.number, parse(e.body, "default", &LIMITS).is_ok())).collect();
        let [first, second, third, fourth] = numbers;
        assert_eq!(read, [(first, true), (second, false), (third, false), (fourth, true)]);
    }
}
