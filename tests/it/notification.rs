//! What a notification may be: every field, every fault at its pointer, and a thousand sample bookings.

use std::collections::{BTreeMap, BTreeSet};

use kakitome::clock::Timestamp;
use kakitome::notification::content::batch::{self, Form};
use kakitome::notification::content::{Fault, Limits, decode, encode, hash, parse};
use kakitome::notification::{Notification, OnUnknown, Priority, RecipientKind};
use proptest::prelude::*;
use serde_json::{Value, json};

const LIMITS: Limits = Limits {
    body_bytes: 10 * 1024 * 1024,
};

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
    read(document)
        .unwrap_err()
        .into_iter()
        .map(|fault| fault.pointer)
        .collect()
}

fn only_fault(body: &[u8]) -> (String, String) {
    let mut faults = parse(body, "default", &LIMITS).unwrap_err();
    assert_eq!(faults.len(), 1, "{faults:?}");
    let fault = faults.remove(0);
    (fault.pointer, fault.detail)
}

#[test]
fn a_full_notification_is_read_as_it_is_written() {
    let mut document = sound();
    for (pointer, value) in [
        ("/idempotency_key", json!("booking-8123:confirmed:1")),
        ("/tenant", json!("hotel.tokyo")),
        ("/cc", json!([{"email": "hotel@example.jp"}])),
        ("/bcc", json!([{"email": "audit@example.jp", "name": ""}])),
        (
            "/reply_to",
            json!({"email": "desk@example.jp", "name": "Desk; Front, 1F"}),
        ),
        ("/html", json!("<p>お待ちしております。</p>")),
        (
            "/template",
            json!({"id": "d-0123", "data": {"room": "桜", "nights": 2, "extras": [null, 1.5, true]}}),
        ),
        (
            "/attachments",
            json!([{"filename": "予約.pdf", "content_type": "application/pdf", "content": "JVBERg=="}]),
        ),
        (
            "/headers",
            json!({"X-Booking": "8123", "List-Unsubscribe": "<https://example.jp/u>"}),
        ),
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
    let kinds: Vec<_> = read
        .recipients()
        .map(|(kind, mailbox)| (kind, mailbox.email.reveal()))
        .collect();
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
        assert_eq!(
            accepted(&with(&format!("/{field}"), Value::Null)).tenant,
            "default",
            "{field}"
        );
    }
    for (field, pointer) in [
        ("from", "/from"),
        ("to", "/to"),
        ("subject", "/subject"),
        ("text", "/text"),
    ] {
        assert_eq!(pointers(&with(&format!("/{field}"), Value::Null)), [pointer]);
    }
    assert_eq!(pointers(&with("/to/0/email", Value::Null)), ["/to/0/email"]);
}

#[test]
fn the_wrong_type_is_a_fault_of_that_field() {
    for pointer in [
        "/idempotency_key",
        "/tenant",
        "/from",
        "/from/email",
        "/from/name",
        "/to",
        "/to/0",
        "/to/0/email",
        "/cc",
        "/bcc",
        "/reply_to",
        "/subject",
        "/text",
        "/html",
        "/template",
        "/attachments",
        "/attachments/0",
        "/headers",
        "/categories",
        "/categories/0",
        "/metadata",
        "/metadata/a",
        "/headers/X-A",
        "/deliver_at",
        "/useful_until",
        "/priority",
        "/batch",
        "/on_unknown",
    ] {
        let mut document = sound();
        match pointer {
            "/attachments/0" => set(&mut document, "/attachments", json!([])),
            "/categories/0" => set(&mut document, "/categories", json!([])),
            _ => {}
        }
        set(&mut document, pointer, json!(7));
        assert_eq!(pointers(&document), [pointer]);
    }
    assert_eq!(
        pointers(&with("/template", json!({"id": "d-1", "data": []}))),
        ["/template/data"]
    );
}

#[test]
fn each_field_has_its_limits() {
    let long = |n: usize| json!("あ".repeat(n));
    let many = |n: usize| {
        json!(
            (0..n)
                .map(|i| (format!("k{i}"), "v".into()))
                .collect::<BTreeMap<String, String>>()
        )
    };
    let file = |field: &str, value: Value| {
        let mut file = json!({"filename": "a.pdf", "content_type": "application/pdf", "content": "JVBERg=="});
        file[field] = value;
        json!([file])
    };
    for (pointer, value, fault) in [
        ("/idempotency_key", json!(""), "/idempotency_key"),
        ("/idempotency_key", long(256), "/idempotency_key"),
        ("/idempotency_key", json!("a\nb"), "/idempotency_key"),
        ("/tenant", json!(""), "/tenant"),
        ("/tenant", json!("a b"), "/tenant"),
        ("/tenant", json!("a".repeat(65)), "/tenant"),
        ("/batch", json!("予約"), "/batch"),
        ("/batch", json!("a".repeat(101)), "/batch"),
        ("/to", json!([]), "/to"),
        ("/from/name", long(257), "/from/name"),
        ("/subject", json!(""), "/subject"),
        ("/subject", long(999), "/subject"),
        ("/text", json!(""), "/text"),
        ("/html", json!(""), "/html"),
        ("/template", json!({}), "/template/id"),
        ("/template", json!({"id": ""}), "/template/id"),
        ("/template", json!({"id": "d".repeat(101)}), "/template/id"),
        ("/template", json!({"id": "d-1", "name": "x"}), "/template/name"),
        ("/attachments", json!(vec![json!({}); 51]), "/attachments"),
        (
            "/attachments",
            file("filename", json!("../../etc")),
            "/attachments/0/filename",
        ),
        (
            "/attachments",
            file("filename", json!("a\\b")),
            "/attachments/0/filename",
        ),
        (
            "/attachments",
            file("filename", long(256)),
            "/attachments/0/filename",
        ),
        (
            "/attachments",
            file("content_type", json!("pdf")),
            "/attachments/0/content_type",
        ),
        (
            "/attachments",
            file("content_type", json!("text/calendar;x=y")),
            "/attachments/0/content_type",
        ),
        (
            "/attachments",
            file("content", json!("")),
            "/attachments/0/content",
        ),
        (
            "/attachments",
            file("content", json!("JVBERg")),
            "/attachments/0/content",
        ),
        (
            "/attachments",
            file("content", json!("JVBE\nRg==")),
            "/attachments/0/content",
        ),
        (
            "/attachments",
            file("content", json!("_-==")),
            "/attachments/0/content",
        ),
        ("/headers", many(101), "/headers"),
        ("/headers/X-A", json!(""), "/headers/X-A"),
        ("/headers/X-A", json!("a".repeat(994)), "/headers/X-A"),
        ("/headers/X-A", json!("予約"), "/headers/X-A"),
        ("/headers/X A", json!("a"), "/headers/X A"),
        ("/headers/X:A", json!("a"), "/headers/X:A"),
        ("/categories", json!(vec!["c"; 11]), "/categories"),
        ("/categories", json!(["a", "b", "a"]), "/categories/2"),
        ("/categories", json!(["a", "予約"]), "/categories/1"),
        ("/categories", json!(["a".repeat(256)]), "/categories/0"),
        ("/metadata", many(51), "/metadata"),
        ("/metadata", json!({"kakitome_id": "1"}), "/metadata/kakitome_id"),
        ("/metadata", json!({"": "1"}), "/metadata/"),
        ("/metadata", json!({"a": "v".repeat(501)}), "/metadata/a"),
        ("/deliver_at", json!("2026-11-22"), "/deliver_at"),
        ("/deliver_at", json!("2026-11-22T09:00:00"), "/deliver_at"),
        ("/useful_until", json!("tomorrow"), "/useful_until"),
        ("/priority", json!("Bulk"), "/priority"),
        ("/on_unknown", json!(""), "/on_unknown"),
    ] {
        assert_eq!(pointers(&with(pointer, value)), [fault]);
    }
    assert!(read(&with("/headers/X-A", json!("a".repeat(993)))).is_ok());
    assert!(read(&with("/subject", long(998))).is_ok());
    assert!(read(&with("/idempotency_key", long(255))).is_ok());
}

#[test]
fn an_enum_says_what_it_takes() {
    let faults = read(&with("/priority", json!("urgent"))).unwrap_err();
    assert_eq!(faults[0].detail, "must be \"transactional\" or \"bulk\"");
    let faults = read(&with("/on_unknown", json!(1))).unwrap_err();
    assert_eq!(faults[0].detail, "must be \"resend\" or \"hold\"");
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
fn an_unknown_field_is_refused_where_it_stands() {
    for (pointer, document) in [
        ("/sender", with("/sender", json!("x"))),
        ("/from/phone", with("/from/phone", json!("x"))),
        ("/to/0/type", with("/to/0/type", json!("to"))),
        ("/a~1b~0c", with("/a~1b~0c", json!(null))),
    ] {
        // `with` does not unescape, so the field is spelt as in the pointer; the answer escapes it once more.
        let expected = if pointer.contains('~') {
            "/a~01b~00c"
        } else {
            pointer
        };
        assert_eq!(pointers(&document), [expected]);
    }
    let (pointer, detail) = only_fault(br#"{"template":{"id":"d-1","version":2},"from":{"email":"a@example.com"},"to":[{"email":"b@example.com"}]}"#);
    assert_eq!(
        (pointer.as_str(), detail.as_str()),
        ("/template/version", "is not a field here; there are id, data")
    );
}

#[test]
fn a_repeated_key_is_refused_at_every_level() {
    let body = r#"{"subject":null,"subject":"a","text":"b","from":{"email":"a@example.com","email":"b@example.com"},
        "to":[{"email":"c@example.com"}],"metadata":{"a":"1","a":"2"},"headers":{"X-A":"1","x-a":"2"},
        "template":{"id":"d-1","data":{"room":{"no":1,"no":1}}}}"#;
    let faults = parse(body.as_bytes(), "default", &LIMITS).unwrap_err();
    let found: Vec<_> = faults.iter().map(|fault| fault.pointer.as_str()).collect();
    assert_eq!(
        found,
        [
            "/subject",
            "/from/email",
            "/template/data/room/no",
            "/headers/x-a",
            "/metadata/a"
        ]
    );
}

#[test]
fn every_fault_is_told_at_once_and_none_repeats_a_value() {
    let document = json!({
        "from": {"email": "secret-sender"},
        "to": [{"email": "secret person@example.com"}, {"name": "secret name"}, {"email": "c@example.com"}],
        "cc": [{"email": "C@example.com"}],
        "subject": "secret\r\nBcc: victim@example.com",
        "headers": {"Subject": "secret", "X-A": "secret\r\nX-B: 1"},
        "metadata": {"a": 1},
        "template": {"id": "d-1", "data": {"note": "secret\u{0}", "list": [["\u{fffe}secret"]]}},
        "deliver_at": "2026-11-22T00:00:00Z",
        "useful_until": "2026-11-22T00:00:00Z",
        "surprise": "secret",
    });
    let faults = read(&document).unwrap_err();
    let found: BTreeSet<_> = faults.iter().map(|fault| fault.pointer.as_str()).collect();
    let expected = [
        "/cc/0/email",
        "/from/email",
        "/headers/Subject",
        "/headers/X-A",
        "/metadata/a",
        "/subject",
        "/surprise",
        "/template/data/list/0/0",
        "/template/data/note",
        "/to/0/email",
        "/to/1/email",
        "/useful_until",
    ];
    assert_eq!(found.into_iter().collect::<Vec<_>>(), expected);
    assert!(!format!("{faults:?}").contains("secret"));
}

#[test]
fn the_list_of_faults_has_an_end() {
    let fields: BTreeMap<String, u8> = (0..5000).map(|i| (format!("f{i}"), 1)).collect();
    let faults = read(&json!(fields)).unwrap_err();
    assert_eq!(faults.len(), 101);
    assert_eq!(faults[100].detail, "has further faults; the first 100 are listed");
}

#[test]
fn recipients_are_counted_and_compared_across_to_cc_and_bcc() {
    let people = |from: usize, to: usize| {
        json!(
            (from..to)
                .map(|i| json!({"email": format!("g{i}@example.com")}))
                .collect::<Vec<_>>()
        )
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
    for email in [
        "a..b@docomo.ne.jp",
        ".a@ezweb.ne.jp",
        "a.@docomo.ne.jp",
        "-a--b-@i.softbank.jp",
    ] {
        let read = accepted(&with("/to/0/email", json!(email)));
        assert_eq!(read.to[0].email.reveal(), email);
    }
}

#[test]
fn nothing_near_a_header_can_start_another_one() {
    for break_of in ["\r\n", "\n", "\r", "\0", "\u{b}", "\u{7f}", "\u{85}"] {
        let text = format!("a{break_of}Bcc: victim@example.com");
        for pointer in [
            "/from/email",
            "/from/name",
            "/to/0/email",
            "/to/0/name",
            "/subject",
            "/headers/X-A",
            "/batch",
            "/tenant",
            "/idempotency_key",
        ] {
            assert_eq!(pointers(&with(pointer, json!(text))), [pointer], "{break_of:?}");
        }
        assert_eq!(pointers(&with("/categories", json!([text]))), ["/categories/0"]);
    }
    for name in [
        "Bcc",
        "reply-TO",
        "DKIM-Signature",
        "X-SMTPAPI",
        "Message-ID",
        "Sender",
        "Return-Path",
        "MIME-Version",
    ] {
        assert_eq!(
            pointers(&with(&format!("/headers/{name}"), json!("x"))),
            [format!("/headers/{name}")]
        );
    }
}

#[test]
fn what_is_no_document_is_one_fault_of_the_whole() {
    let deep = format!("{}1{}", "[".repeat(5000), "]".repeat(5000));
    let nested = format!(r#"{{"template":{{"id":"d","data":{{"a":{deep}}}}}}}"#);
    let wide = format!("[{}0]", "0,".repeat(200_000));
    for (body, says) in [
        (&b""[..], "is empty"),
        (b" \n", "is empty"),
        (b"{", "is not JSON: EOF"),
        (b"{} {}", "is not JSON: trailing characters"),
        (b"{'a':1}", "is not JSON: key must be a string"),
        (b"[]", "must be an object, not a list"),
        (b"null", "must be an object, not null"),
        (b"{\"a\":\"\xff\"}", "is not UTF-8 from byte 6 on"),
        (b"{\"a\":\"\\ud800\"}", "is not JSON: "),
        (b"{\"a\":1e999}", "is not JSON: number out of range"),
        (deep.as_bytes(), "is nested deeper than 64 levels"),
        (nested.as_bytes(), "is nested deeper than 64 levels"),
        (wide.as_bytes(), "holds more than 100000 values"),
    ] {
        let (pointer, detail) = only_fault(body);
        assert_eq!(pointer, "");
        assert!(detail.contains(says), "{detail}");
    }
    let body = sound().to_string();
    let limits = Limits {
        body_bytes: body.len() - 1,
    };
    let faults = parse(body.as_bytes(), "default", &limits).unwrap_err();
    assert_eq!(
        (
            faults[0].pointer.as_str(),
            faults[0].detail.starts_with("must have at most")
        ),
        ("", true)
    );
    assert!(parse(format!("\u{feff}{body}").as_bytes(), "default", &LIMITS).is_ok());
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
    assert_ne!(
        hash_of(one),
        hash_of(other.replace("\"y\":3", "\"y\":4").as_bytes())
    );
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
        let read: Vec<_> = entries
            .iter()
            .map(|e| (e.number, parse(e.body, "default", &LIMITS).is_ok()))
            .collect();
        let [first, second, third, fourth] = numbers;
        assert_eq!(
            read,
            [(first, true), (second, false), (third, false), (fourth, true)]
        );
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        prop::sample::select(vec![
            "",
            "a@example.com",
            "a..b@docomo.ne.jp",
            "x\r\ny",
            "2026-11-22T00:00:00Z",
            "bulk"
        ])
        .prop_map(Value::from),
        "\\PC{0,6}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        let key = prop::sample::select(vec![
            "email", "name", "id", "data", "filename", "content", "X-A", "~/",
        ]);
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(key.prop_map(str::to_owned), inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_comes_is_a_notification_or_names_its_faults(
        fields in prop::collection::vec((prop::sample::select(vec![
            "/from", "/to", "/to/0", "/cc", "/reply_to", "/subject", "/text", "/template", "/template/data",
            "/attachments", "/headers", "/categories", "/metadata", "/deliver_at", "/useful_until", "/priority", "/odd",
        ]), any_json()), 0..4),
    ) {
        let mut document = sound();
        for (pointer, value) in fields {
            let parent = pointer.rsplit_once('/').unwrap().0;
            if document.pointer(parent).is_some_and(|parent| parent.is_object()) {
                set(&mut document, pointer, value);
            }
        }
        match read(&document) {
            Ok(notification) => {
                let stored = encode(&notification);
                prop_assert_eq!(&decode(&stored).unwrap(), &notification);
                // The stored form is itself a notification: what is exported can be handed in again.
                prop_assert_eq!(&parse(&stored, "other", &LIMITS).unwrap(), &notification);
            }
            Err(faults) => {
                prop_assert!(!faults.is_empty());
                for fault in faults {
                    let parent = fault.pointer.rsplit_once('/').map_or("", |(parent, _)| parent);
                    prop_assert!(document.pointer(parent).is_some(), "{} points nowhere", fault.pointer);
                }
            }
        }
    }

    #[test]
    fn no_bytes_make_it_panic(body in prop::collection::vec(any::<u8>(), 0..200), at in any::<prop::sample::Index>()) {
        prop_assert!(parse(&body, "default", &LIMITS).is_err());
        let mut damaged = sound().to_string().into_bytes();
        let at = at.index(damaged.len());
        damaged.splice(at..at + 1, body.iter().copied().take(3));
        let read = parse(&damaged, "default", &LIMITS);
        prop_assert!(read.is_ok() || !read.unwrap_err().is_empty());
        for form in [Form::List, Form::Ndjson] {
            prop_assert!(batch::split(&body, form, 5).map_or(0, |entries| entries.len()) <= 5);
        }
    }
}

#[test]
fn the_thousand_sample_bookings_are_sound_and_varied() {
    let file = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/bookings.ndjson")).unwrap();
    assert!(file.len() < 4_000_000);
    let entries = batch::split(&file, Form::of(&file), 1000).unwrap();
    let all: Vec<_> = entries
        .iter()
        .map(|e| {
            parse(e.body, "default", &LIMITS).unwrap_or_else(|faults| panic!("line {}: {faults:?}", e.number))
        })
        .collect();
    assert_eq!(all.len(), 1000);
    let keys: BTreeSet<_> = all.iter().map(|n| n.idempotency_key.clone().unwrap()).collect();
    assert_eq!(keys.len(), 1000);

    let count = |is: &dyn Fn(&Notification) -> bool| all.iter().filter(|n| is(n)).count();
    let distinct = |of: &dyn Fn(&Notification) -> String| all.iter().map(of).collect::<BTreeSet<_>>().len();
    assert!((20..=80).contains(&count(&|n| n.to[0].email.breaks_rfc())));
    assert!(count(&|n| n.to[0].email.domain().starts_with("xn--")) > 0);
    assert!(count(&|n| n.text.is_some() && n.html.is_some()) > 500);
    assert!(count(&|n| n.template.as_ref().is_some_and(|t| !t.data.is_empty())) > 80);
    assert!(count(&|n| n.tenant == "default") > 600);
    assert!((4..=5).contains(&distinct(&|n| n.tenant.clone())));
    assert!(distinct(&|n| n.metadata["language"].clone()) >= 5);
    assert_eq!(distinct(&|n| n.categories[1].clone()), 6);
    assert_eq!(distinct(&|n| n.categories[2].clone()), 6);
    for kind in ["application/pdf", "text/calendar"] {
        assert!(
            count(&|n| n.attachments.iter().any(|a| a.content_type == kind)) > 100,
            "{kind}"
        );
    }
    for (what, least) in [
        (count(&|n| !n.cc.is_empty()), 100),
        (count(&|n| !n.bcc.is_empty()), 100),
        (count(&|n| n.reply_to.is_some()), 100),
        (count(&|n| n.batch.is_some()), 50),
        (count(&|n| n.useful_until.is_some()), 100),
        (count(&|n| n.on_unknown == OnUnknown::Hold), 20),
    ] {
        assert!(what > least, "{what} of more than {least}");
    }
    // Usable on any day: no deadline that could have passed, no wait that could still lie ahead.
    let starts = |at: Timestamp, with: &str| at.to_string().starts_with(with);
    assert!(all.iter().filter_map(|n| n.useful_until).all(|at| starts(at, "2099-")));
    assert!(all.iter().filter_map(|n| n.deliver_at).all(|at| starts(at, "2026-01-")));
}
