//! Every field with what it refuses: the fault stands at exactly that field, and all of them come at once.

use std::collections::{BTreeMap, BTreeSet};

use kakitome::notification::content::{Limits, parse};
use serde_json::{Value, json};

use super::{LIMITS, pointers, read, set, sound, with};

fn only_fault(body: &[u8]) -> (String, String) {
    let mut faults = parse(body, "default", &LIMITS).unwrap_err();
    assert_eq!(faults.len(), 1, "{faults:?}");
    let fault = faults.remove(0);
    (fault.pointer, fault.detail)
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
    assert_eq!(pointers(&with("/template", json!({"id": "d-1", "data": []}))), ["/template/data"]);
}

fn long(characters: usize) -> Value {
    json!("あ".repeat(characters))
}

/// Each value makes one fault, at the given pointer.
fn refuses<'a>(table: impl IntoIterator<Item = (&'a str, Value, &'a str)>) {
    for (pointer, value, fault) in table {
        assert_eq!(pointers(&with(pointer, value)), [fault]);
    }
}

#[test]
fn each_field_has_its_limits() {
    refuses([
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
        ("/deliver_at", json!("2026-11-22"), "/deliver_at"),
        ("/deliver_at", json!("2026-11-22T09:00:00"), "/deliver_at"),
        ("/useful_until", json!("tomorrow"), "/useful_until"),
        ("/priority", json!("Bulk"), "/priority"),
        ("/on_unknown", json!(""), "/on_unknown"),
    ]);
    assert!(read(&with("/subject", long(998))).is_ok());
    assert!(read(&with("/idempotency_key", long(255))).is_ok());
}

#[test]
fn attachments_have_their_limits() {
    let file = |field: &str, value: Value| {
        let mut file = json!({"filename": "a.pdf", "content_type": "application/pdf", "content": "JVBERg=="});
        file[field] = value;
        json!([file])
    };
    for (field, value) in [
        ("filename", json!("")),
        ("filename", json!("../../etc")),
        ("filename", json!("a\\b")),
        ("filename", json!("a\r\nX: y")),
        ("filename", long(256)),
        ("content_type", json!("pdf")),
        ("content_type", json!("text/calendar;x=y")),
        ("content_type", json!("text/html\r\n")),
        ("content", json!("")),
        ("content", json!("JVBERg")),
        ("content", json!("JVBE\nRg==")),
        ("content", json!("_-==")),
        ("content", Value::Null),
        ("disposition", json!("inline")),
    ] {
        let pointer = format!("/attachments/0/{field}");
        refuses([("/attachments", file(field, value), pointer.as_str())]);
    }
    refuses([("/attachments", json!(vec![file("a", json!(1)); 51]), "/attachments")]);
    assert!(read(&with("/attachments", file("filename", long(255)))).is_ok());
}

#[test]
fn headers_categories_and_metadata_have_their_limits() {
    let many = |n: usize| {
        let entries = (0..n).map(|i| (format!("k{i}"), json!("v")));
        Value::Object(entries.collect())
    };
    refuses([
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
        ("/metadata", json!({"a": null}), "/metadata/a"),
        ("/metadata", json!({"a": "v".repeat(501)}), "/metadata/a"),
    ]);
    assert!(read(&with("/headers/X-A", json!("a".repeat(993)))).is_ok());
}

#[test]
fn an_enum_says_what_it_takes() {
    let faults = read(&with("/priority", json!("urgent"))).unwrap_err();
    assert_eq!(faults[0].detail, "must be \"transactional\" or \"bulk\"");
    let faults = read(&with("/on_unknown", json!(1))).unwrap_err();
    assert_eq!(faults[0].detail, "must be \"resend\" or \"hold\"");
}

#[test]
fn an_unknown_field_is_refused_where_it_stands() {
    for pointer in ["/sender", "/from/phone", "/to/0/type"] {
        assert_eq!(pointers(&with(pointer, json!("x"))), [pointer]);
    }
    let mut document = sound();
    document["a/b~c"] = json!(null);
    assert_eq!(pointers(&document), ["/a~1b~0c"]);
    document = with("/template", json!({"id": "d-1", "version": 2}));
    let faults = read(&document).unwrap_err();
    assert_eq!(faults[0].pointer, "/template/version");
    assert_eq!(faults[0].detail, "is not a field here; there are id, data");
}

#[test]
fn a_repeated_key_is_refused_at_every_level() {
    let body = r#"{"subject":null,"subject":"a","text":"b","from":{"email":"a@example.com","email":"b@example.com"},
        "to":[{"email":"c@example.com"}],"metadata":{"a":"1","a":"2"},"headers":{"X-A":"1","x-a":"2"},
        "template":{"id":"d-1","data":{"room":{"no":1,"no":1}}}}"#;
    let faults = parse(body.as_bytes(), "default", &LIMITS).unwrap_err();
    let found: Vec<_> = faults.iter().map(|fault| fault.pointer.as_str()).collect();
    assert_eq!(found, ["/subject", "/from/email", "/template/data/room/no", "/headers/x-a", "/metadata/a"]);
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
        assert_eq!(pointers(&with(&format!("/headers/{name}"), json!("x"))), [format!("/headers/{name}")]);
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
    let limits = Limits { body_bytes: body.len() - 1 };
    let faults = parse(body.as_bytes(), "default", &limits).unwrap_err();
    assert_eq!((faults[0].pointer.as_str(), faults[0].detail.starts_with("must have at most")), ("", true));
    assert!(parse(format!("\u{feff}{body}").as_bytes(), "default", &LIMITS).is_ok());
}
