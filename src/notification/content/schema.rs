//! The JSON Schema of a notification, for who writes one without asking the API first: from the types, and from the
//! very rules that the parser applies.

use serde_json::{Map, Value, json};
use utoipa::{PartialSchema, ToSchema};

use super::text::Rule;
use super::{fields, parts, people};
use crate::notification::Notification;
use crate::notification::address;

/// The schema (JSON Schema 2020-12). What it cannot say the parser still judges: that no recipient stands there twice,
/// which headers are the provider's, the size of the whole.
pub fn schema() -> Value {
    let mut found = Vec::new();
    Notification::schemas(&mut found);
    let to_value = |schema| serde_json::to_value(schema).unwrap_or_default();
    let defs: Map<String, Value> = found.into_iter().map(|(name, schema)| (name, to_value(schema))).collect();
    let mut schema = to_value(Notification::schema());
    merge(&mut schema, json!({ "$defs": defs }));
    merge(&mut schema, limits());
    finish(&mut schema);
    let head = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:kakitome:notification",
        "title": "kakitome notification",
        "anyOf": content_or_template(),
    });
    merge(&mut schema, head);
    schema
}

/// The schema as the file that is published: `schema/notification.json`.
pub fn schema_file() -> String {
    format!("{:#}\n", schema())
}

/// A template brings its own subject and body.
fn content_or_template() -> Value {
    // A null stands for an absent field.
    let has =
        |name: &str| json!({ "required": [name], "properties": { name: { "not": { "type": "null" } } } });
    json!([
        has("template"),
        { "allOf": [has("subject"), { "anyOf": [has("text"), has("html")] }] },
    ])
}

/// What the parser's rules add to the types.
fn limits() -> Value {
    let recipients = people::MOST_RECIPIENTS;
    // An empty name is no name, and an empty value is a value.
    let or_empty = |rule: Rule| json!({ "maxLength": rule.most, "pattern": rule.charset.pattern() });
    let tenant = "Whose notification it is. On the queue: the configured default when left out; through the API: the \
                  key's own, and another's needs the scope `admin`.";
    let mut limits = json!({
        "properties": {
            "idempotency_key": ruled(fields::IDEMPOTENCY_KEY),
            "tenant": ruled(fields::TENANT),
            "to": { "minItems": 1, "maxItems": recipients },
            "cc": { "maxItems": recipients },
            "bcc": { "maxItems": recipients },
            "subject": ruled(fields::SUBJECT),
            "text": ruled(fields::BODY),
            "html": ruled(fields::BODY),
            "attachments": { "maxItems": parts::MOST_ATTACHMENTS },
            "headers": { "maxProperties": parts::MOST_HEADERS },
            "categories": {
                "maxItems": parts::MOST_CATEGORIES,
                "uniqueItems": true,
                "items": ruled(parts::CATEGORY),
            },
            "metadata": {
                "maxProperties": parts::MOST_METADATA,
                "propertyNames": ruled(parts::METADATA_KEY),
                "additionalProperties": { "maxLength": parts::METADATA_VALUE.most },
            },
            "batch": ruled(fields::BATCH),
        },
        "$defs": {
            "Mailbox": { "properties": {
                "email": { "minLength": 1, "maxLength": address::MOST_CHARACTERS },
                "name": or_empty(people::NAME),
            } },
            "Template": { "properties": { "id": ruled(fields::TEMPLATE_ID) } },
            "Attachment": { "properties": {
                "filename": ruled(parts::FILENAME),
                "content_type": ruled(parts::CONTENT_TYPE),
                "content": { "minLength": 1, "contentEncoding": "base64" },
            } },
        },
    });
    limits["properties"]["tenant"]["description"] = tenant.into();
    limits
}

fn ruled(rule: Rule) -> Value {
    let mut schema = json!({ "minLength": 1 });
    if rule.most < usize::MAX {
        schema["maxLength"] = rule.most.into();
    }
    if let Some(pattern) = rule.charset.pattern() {
        schema["pattern"] = pattern.into();
    }
    schema
}

/// Adds `more` to `schema`, object by object; anything else replaces what is there.
fn merge(schema: &mut Value, more: Value) {
    match (schema, more) {
        (Value::Object(schema), Value::Object(more)) => {
            for (name, value) in more {
                merge(schema.entry(name).or_insert(Value::Null), value);
            }
        }
        (schema, more) => *schema = more,
    }
}

/// Closes every object whose fields are known, and turns references to the API's description into references to `$defs`.
fn finish(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            if let Some(Value::String(target)) = object.get_mut("$ref") {
                *target = target.replacen("#/components/schemas/", "#/$defs/", 1);
            }
            if object.contains_key("properties") {
                object.insert("additionalProperties".into(), false.into());
            }
            object.values_mut().for_each(finish);
        }
        Value::Array(list) => list.iter_mut().for_each(finish),
        _ => {}
    }
}
