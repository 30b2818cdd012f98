//! Whatever comes in.

use kakitome::notification::content::batch::{self, Form};
use kakitome::notification::content::{decode, encode, parse};
use proptest::prelude::*;
use serde_json::Value;

use super::{LIMITS, read, set, sound};

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
        let key =
            prop::sample::select(vec!["email", "name", "id", "data", "filename", "content", "X-A", "~/"]);
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
