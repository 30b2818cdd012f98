//! The personalizations: recipients, headers, custom arguments, substitutions.

use std::collections::HashSet;

use serde_json::{Map, Value};

use super::{Findings, address, is_filled};

const FIELDS: [&str; 10] = [
    "to",
    "from",
    "cc",
    "bcc",
    "subject",
    "headers",
    "substitutions",
    "dynamic_template_data",
    "custom_args",
    "send_at",
];

/// Headers that SendGrid writes itself.
const RESERVED_HEADERS: [&str; 12] = [
    "x-sg-id",
    "x-sg-eid",
    "received",
    "dkim-signature",
    "content-type",
    "content-transfer-encoding",
    "to",
    "from",
    "subject",
    "reply-to",
    "cc",
    "bcc",
];

const MOST_RECIPIENTS: usize = 1000;
const MOST_CUSTOM_ARG_BYTES: usize = 10_000;
const MOST_SUBSTITUTIONS: usize = 10_000;

pub(super) fn check(found: &mut Findings, request: &Map<String, Value>) {
    let root_args = custom_args(found, "custom_args", request.get("custom_args"));
    let given = request.get("personalizations");
    let list = found.array("personalizations", given).unwrap_or_default();
    if given.is_none_or(|given| given.as_array().is_some_and(Vec::is_empty)) {
        let message = "The personalizations field is required and must have at least one personalization.";
        return found.add("personalizations", message);
    }
    if list.len() > 1000 {
        found.add(
            "personalizations",
            format!(
                "The personalization block is limited to 1000 personalizations per API request. You have provided {} \
                 personalizations. Please consider splitting this into multiple requests and resending your request.",
                list.len()
            ),
        );
    }
    let template = request.get("template_id").and_then(Value::as_str);
    let mut recipients = 0;
    for (index, one) in list.iter().enumerate() {
        let field = format!("personalizations.{index}");
        if let Some(one) = found.object(&field, Some(one)) {
            recipients += personalization(found, &field, one, template, root_args);
        }
    }
    if recipients > MOST_RECIPIENTS {
        let message = "There is a limit of 1000 total recipients (to + cc + bcc) per request.";
        found.add("personalizations", message);
    }
}

/// Checks one and says how many recipients it has.
fn personalization(
    found: &mut Findings,
    field: &str,
    one: &Map<String, Value>,
    template: Option<&str>,
    root_args: Option<&Map<String, Value>>,
) -> usize {
    found.unknown(&format!("{field}."), one, &FIELDS);
    let count = recipients(found, field, one);
    address::check_object(found, &format!("{field}.from"), one.get("from"));
    if one.contains_key("subject") && !is_filled(one.get("subject")) {
        let message = "The subject of your email must be a string at least one character in length.";
        found.add(format!("{field}.subject"), message);
    }
    headers(found, &format!("{field}.headers"), one.get("headers"));
    substitutions(found, field, one, template);
    let args_field = format!("{field}.custom_args");
    let own_args = custom_args(found, &args_field, one.get("custom_args"));
    if merged_bytes(root_args, own_args) > MOST_CUSTOM_ARG_BYTES {
        found.add(
            args_field,
            "The combined size of both global and personalization custom arguments may not exceed 10,000 bytes per \
             personalization.",
        );
    }
    found.send_at(format!("{field}.send_at"), one.get("send_at"));
    count
}

fn recipients(found: &mut Findings, field: &str, one: &Map<String, Value>) -> usize {
    let mut seen = HashSet::new();
    let mut duplicate = None;
    let mut count = 0;
    for name in ["to", "cc", "bcc"] {
        let list_field = format!("{field}.{name}");
        let list = found.array(&list_field, one.get(name)).unwrap_or_default();
        count += list.len();
        if name == "to" && list.is_empty() && one.get("to").is_none_or(Value::is_array) {
            found.add(
                list_field.as_str(),
                "The to array is required for all personalization objects, and must have at least one email object \
                 with a valid email address.",
            );
        }
        for (index, entry) in list.iter().enumerate() {
            address::check_object(found, &format!("{list_field}.{index}"), Some(entry));
            if let Some(email) = entry["email"].as_str()
                && !seen.insert(email.to_ascii_lowercase())
            {
                duplicate.get_or_insert((email, list_field.clone()));
            }
        }
    }
    if let Some((email, list_field)) = duplicate {
        found.add(
            field,
            format!(
                "Each email address in the personalization block should be unique between to, cc, and bcc. We found \
                 the first duplicate instance of [{email}] in the {list_field} field."
            ),
        );
    }
    count
}

/// Also for the headers of the whole request.
pub(super) fn headers(found: &mut Findings, field: &str, value: Option<&Value>) {
    let Some(headers) = found.object(field, value) else {
        return;
    };
    let mut seen = HashSet::new();
    for (name, value) in headers {
        let place = format!("{field}.{name}");
        let lower = name.to_ascii_lowercase();
        if RESERVED_HEADERS.contains(&lower.as_str()) {
            found.add(place.as_str(), "Header cannot be one of the reserved keys.");
        }
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':') {
            let message = "Header keys cannot contain non-ASCII characters or empty spaces.";
            found.add(place.as_str(), message);
        }
        if !seen.insert(lower) {
            found.add(place.as_str(), "The headers cannot contain duplicate keys.");
        }
        match value.as_str() {
            None => found.add(place, "All values of the headers object must be strings."),
            Some(text) if text.contains(['\r', '\n']) => {
                found.add(place, "Header values cannot contain CRLF characters.");
            }
            Some(text) if !text.is_ascii() => {
                found.add(
                    place,
                    "Header values cannot contain non-ASCII characters: encode them (RFC 2047) first.",
                );
            }
            Some(_) => {}
        }
    }
}

fn custom_args<'a>(
    found: &mut Findings,
    field: &str,
    value: Option<&'a Value>,
) -> Option<&'a Map<String, Value>> {
    let args = found.object(field, value)?;
    if args.is_empty() {
        found.add(field, "custom_args cannot be empty.");
    }
    if args.values().any(|value| !value.is_string()) {
        found.add(field, "All values of custom arguments object must be strings");
    }
    Some(args)
}

/// The length of both as one JSON object, the personalization's own winning.
fn merged_bytes(root: Option<&Map<String, Value>>, own: Option<&Map<String, Value>>) -> usize {
    let overridden = |name: &String| own.is_some_and(|own| own.contains_key(name));
    let root = root.into_iter().flatten().filter(|(name, _)| !overridden(name));
    let each = root.chain(own.into_iter().flatten());
    // Quotes, colon and comma around each pair; escapes are not counted, as they are not in what is stored.
    each.map(|(name, value)| name.len() + value.as_str().map_or(0, str::len) + 6).sum()
}

fn substitutions(found: &mut Findings, field: &str, one: &Map<String, Value>, template: Option<&str>) {
    let dynamic = template.is_some_and(|id| id.starts_with("d-"));
    let data_field = format!("{field}.dynamic_template_data");
    if found.object(&data_field, one.get("dynamic_template_data")).is_some() && !dynamic {
        let message = "The dynamic_template_data may only be used with a template_id that starts with d-.";
        found.add(data_field, message);
    }
    let field = format!("{field}.substitutions");
    let Some(values) = found.object(&field, one.get("substitutions")) else {
        return;
    };
    if dynamic {
        found.add(field.as_str(), "Substitutions may not be used with dynamic templating");
    }
    if values.len() > MOST_SUBSTITUTIONS {
        found.add(field.as_str(), "You are limited to 10,000 substitutions.");
    }
    if values.values().any(|value| !value.is_string()) {
        found.add(
            field.as_str(),
            "The substitution values must be an object of key/value pairs, where the values are all strings.",
        );
    }
    let bytes: usize =
        values.iter().map(|(name, value)| name.len() + value.as_str().map_or(0, str::len)).sum();
    if bytes > MOST_CUSTOM_ARG_BYTES {
        let message = "The total size of your substitutions may not exceed 10,000 bytes per personalization.";
        found.add(field, message);
    }
}
