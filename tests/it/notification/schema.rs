//! `schema/notification.json`, which producers check against before they put a notification on the queue.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use kakitome::notification::content::{self, Limits};
use serde_json::{Value, json};

fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("schema/notification.json")
}

fn parses(document: &Value) -> bool {
    content::parse(document.to_string().as_bytes(), "default", &Limits { body_bytes: 1 << 20 }).is_ok()
}

#[test]
fn the_published_schema_is_that_of_the_code() {
    let made = content::schema_file();
    if std::env::var_os("UPDATE").is_some() {
        fs::write(path(), &made).unwrap();
    }
    let published = fs::read_to_string(path()).unwrap_or_default();
    assert!(
        published == made,
        "schema/notification.json is not that of the code: run \
         `UPDATE=1 cargo test --test it the_published_schema` and look at the difference"
    );
}

/// What of JSON Schema the schema uses; whatever else stood in it would make this panic.
fn valid(schema: &Value, root: &Value, value: &Value) -> bool {
    let Some(schema) = schema.as_object() else { return schema.as_bool().unwrap() };
    schema.iter().all(|(word, rule)| keeps(word, rule, schema, root, value))
}

fn keeps(word: &str, rule: &Value, of: &serde_json::Map<String, Value>, root: &Value, value: &Value) -> bool {
    let all = |rules: &Value, value: &Value| rules.as_array().unwrap().iter().all(|r| valid(r, root, value));
    let most = |len: usize| len as u64 <= rule.as_u64().unwrap();
    match word {
        "$schema" | "$id" | "$defs" | "title" | "description" | "example" | "default" | "format" => true,
        "pattern" | "contentEncoding" => true,
        "$ref" => {
            valid(root.pointer(rule.as_str().unwrap().strip_prefix('#').unwrap()).unwrap(), root, value)
        }
        "type" => {
            let is = |name: &Value| match name.as_str().unwrap() {
                "object" => value.is_object(),
                "array" => value.is_array(),
                "string" => value.is_string(),
                "null" => value.is_null(),
                other => panic!("the type {other}"),
            };
            rule.as_array().map_or_else(|| is(rule), |names| names.iter().any(is))
        }
        "enum" => rule.as_array().unwrap().contains(value),
        "not" => !valid(rule, root, value),
        "allOf" => all(rule, value),
        "anyOf" => rule.as_array().unwrap().iter().any(|r| valid(r, root, value)),
        "oneOf" => rule.as_array().unwrap().iter().filter(|r| valid(r, root, value)).count() == 1,
        "required" => value.as_object().is_none_or(|object| {
            rule.as_array().unwrap().iter().all(|name| object.contains_key(name.as_str().unwrap()))
        }),
        "properties" => value.as_object().is_none_or(|object| {
            object.iter().all(|(name, value)| rule.get(name).is_none_or(|rule| valid(rule, root, value)))
        }),
        "additionalProperties" => value.as_object().is_none_or(|object| {
            let known = of.get("properties").and_then(Value::as_object);
            let is_known = |name: &str| known.is_some_and(|known| known.contains_key(name));
            object.iter().all(|(name, value)| is_known(name) || valid(rule, root, value))
        }),
        "propertyNames" => value
            .as_object()
            .is_none_or(|object| object.keys().all(|name| valid(rule, root, &Value::String(name.clone())))),
        "items" => value.as_array().is_none_or(|list| list.iter().all(|one| valid(rule, root, one))),
        "minItems" => value.as_array().is_none_or(|list| list.len() as u64 >= rule.as_u64().unwrap()),
        "maxItems" => value.as_array().is_none_or(|list| most(list.len())),
        "maxProperties" => value.as_object().is_none_or(|object| most(object.len())),
        "uniqueItems" => value.as_array().is_none_or(|list| {
            list.iter().map(Value::to_string).collect::<BTreeSet<_>>().len() == list.len()
        }),
        "minLength" => {
            value.as_str().is_none_or(|text| text.chars().count() as u64 >= rule.as_u64().unwrap())
        }
        "maxLength" => value.as_str().is_none_or(|text| most(text.chars().count())),
        other => panic!("the schema uses {other}"),
    }
}

fn fits(document: &Value) -> bool {
    let schema = content::schema();
    valid(&schema, &schema, document)
}

fn whole() -> Value {
    json!({
        "idempotency_key": "booking-8123:confirmed:1",
        "tenant": "inn-7",
        "from": {"email": "reserve@example.jp", "name": "予約センター"},
        "to": [{"email": "guest@example.com", "name": "山田 太郎"}],
        "cc": [{"email": "copy@example.com", "name": ""}],
        "bcc": [{"email": "blind@example.com"}],
        "reply_to": {"email": "answers@example.jp"},
        "subject": "ご予約が確定しました",
        "text": "予約番号 8123",
        "html": "<p>8123</p>",
        "template": {"id": "d-1", "data": {"rooms": [{"name": "桜", "nights": 2}]}},
        "attachments": [{"filename": "a.pdf", "content_type": "application/pdf", "content": "QUJD"}],
        "headers": {"X-Booking": "8123"},
        "categories": ["confirmed"],
        "metadata": {"booking": "8123", "note": ""},
        "deliver_at": "2030-01-01T00:00:00Z",
        "useful_until": "2030-01-02T09:00:00+09:00",
        "priority": "bulk",
        "batch": "spring",
        "on_unknown": "hold",
    })
}

#[test]
fn what_the_parser_takes_fits_the_schema() {
    let examples = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/bookings.ndjson"));
    let examples = examples.unwrap();
    let mut samples: Vec<Value> = examples.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(samples.len() > 100);
    samples.push(whole());
    samples.push(content::schema()["example"].clone());
    for sample in samples {
        assert!(parses(&sample), "{sample}");
        assert!(fits(&sample), "{sample}");
    }
}

#[test]
fn what_breaks_the_schema_is_refused_by_the_parser_too() {
    let with = |field: &str, value: Value| {
        let mut changed = whole();
        *changed.pointer_mut(field).unwrap() = value;
        changed
    };
    let without = |names: &[&str]| {
        let mut changed = whole();
        changed.as_object_mut().unwrap().retain(|name, _| !names.contains(&name.as_str()));
        changed
    };
    let mut unknown = [whole(), whole(), whole(), whole()];
    unknown[0]["recipient"] = "x".into();
    unknown[1]["from"]["address"] = "x".into();
    unknown[2]["template"]["version"] = 1.into();
    unknown[3]["attachments"][0]["size"] = 1.into();
    let mut broken = vec![
        without(&["from"]),
        without(&["to"]),
        without(&["template", "subject"]),
        without(&["template", "text", "html"]),
        with("/to", json!([])),
        with("/to/0/email", "".into()),
        with("/priority", "urgent".into()),
        with("/on_unknown", "guess".into()),
        with("/subject", 1.into()),
        with("/metadata/booking", 8123.into()),
        with("/categories", json!(["a", "a"])),
        with("/attachments/0/content", "".into()),
    ];
    broken.extend(unknown);
    let long = [
        ("/idempotency_key", 255),
        ("/tenant", 64),
        ("/batch", 100),
        ("/subject", 998),
        ("/template/id", 100),
        ("/from/name", 256),
        ("/categories/0", 255),
        ("/attachments/0/filename", 255),
        ("/metadata/booking", 500),
    ];
    for (field, most) in long {
        let longest = with(field, "x".repeat(most).into());
        assert!(fits(&longest) && parses(&longest), "{field}");
        broken.push(with(field, "x".repeat(most + 1).into()));
    }
    for document in broken {
        assert!(!fits(&document), "{document}");
        assert!(!parses(&document), "{document}");
    }
    for least in [without(&["template"]), without(&["subject", "text", "html"])] {
        assert!(fits(&least) && parses(&least), "{least}");
    }
}
