//! What a mail may carry besides recipients and content: attachments, categories, groups, settings.

use serde_json::{Map, Value};

use super::Findings;

/// The members of `mail_settings` and `tracking_settings`: section, its booleans, its strings.
type Section = (&'static str, &'static [&'static str], &'static [&'static str]);

const MAIL_SETTINGS: [Section; 8] = [
    ("bypass_list_management", &["enable"], &[]),
    ("bypass_spam_management", &["enable"], &[]),
    ("bypass_bounce_management", &["enable"], &[]),
    ("bypass_unsubscribe_management", &["enable"], &[]),
    ("footer", &["enable"], &["text", "html"]),
    ("sandbox_mode", &["enable"], &[]),
    ("bcc", &["enable"], &["email"]),
    ("spam_check", &["enable"], &["post_to_url"]),
];

const TRACKING_SETTINGS: [Section; 4] = [
    ("click_tracking", &["enable", "enable_text"], &[]),
    ("open_tracking", &["enable"], &["substitution_tag"]),
    ("subscription_tracking", &["enable"], &["text", "html", "substitution_tag"]),
    (
        "ganalytics",
        &["enable"],
        &["utm_source", "utm_medium", "utm_term", "utm_content", "utm_campaign", "utm_id"],
    ),
];

pub(super) fn attachments(found: &mut Findings, value: Option<&Value>) {
    for (index, one) in found.array("attachments", value).unwrap_or_default().iter().enumerate() {
        let field = format!("attachments.{index}");
        let Some(one) = found.object(&field, Some(one)) else {
            continue;
        };
        let known = ["content", "filename", "type", "disposition", "content_id"];
        found.unknown(&format!("{field}."), one, &known);
        match one.get("content").and_then(Value::as_str) {
            None | Some("") => found.add(
                format!("{field}.content"),
                "The attachment content must be a string at least one character in length.",
            ),
            Some(text) if !is_base64(text.as_bytes()) => {
                found.add(format!("{field}.content"), "The attachment content must be base64 encoded.");
            }
            Some(_) => {}
        }
        match one.get("filename") {
            Some(Value::String(name)) if name.contains(['\r', '\n']) => found.add(
                format!("{field}.filename"),
                "The filename of your attachment cannot contain CRLF characters.",
            ),
            Some(Value::String(name)) if !name.is_empty() => {}
            None | Some(Value::String(_)) => found.add(format!("{field}.filename"), "filename is required."),
            Some(_) => {
                found.add(format!("{field}.filename"), "The filename of your attachment must be a string.");
            }
        }
        attachment_extras(found, &field, one);
    }
}

fn attachment_extras(found: &mut Findings, field: &str, one: &Map<String, Value>) {
    match one.get("type").map(|kind| kind.as_str().unwrap_or_default()) {
        Some("") => found.add(
            format!("{field}.type"),
            "The attachment type must be a string and at least one character in length.",
        ),
        Some(kind) if kind.contains([';', '\r', '\n']) => {
            found.add(format!("{field}.type"), "The type cannot contain ';', or CRLF characters.");
        }
        _ => {}
    }
    if let Some(disposition) = one.get("disposition")
        && !matches!(disposition.as_str(), Some("inline" | "attachment"))
    {
        found.add(
            format!("{field}.disposition"),
            format!(
                "The disposition of your attachment can be either \"inline\" or \"attachment\". You provided \
                 {disposition}."
            ),
        );
    }
    match one.get("content_id") {
        None => {}
        Some(Value::String(id)) if id.contains(['\r', '\n']) => found.add(
            format!("{field}.content_id"),
            "The content ID of your attachment cannot contain CRLF characters.",
        ),
        Some(Value::String(_)) => {}
        Some(other) => found.add(
            format!("{field}.content_id"),
            format!("The content ID of your attachment must be a string. You provided {other}."),
        ),
    }
}

/// Standard alphabet with padding, without decoding: attachments are large and nobody needs their bytes.
fn is_base64(text: &[u8]) -> bool {
    let padding = text.iter().rev().take(2).take_while(|byte| **byte == b'=').count();
    let is_digit = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    text.len().is_multiple_of(4) && text[..text.len() - padding].iter().all(is_digit)
}

pub(super) fn categories(found: &mut Findings, value: Option<&Value>) {
    let list = found.array("categories", value).unwrap_or_default();
    if list.len() > 10 {
        found.add(
            "categories",
            format!(
                "There is a limit of 10 categories for each email that is sent. You provided {} categories.",
                list.len()
            ),
        );
    }
    for (index, category) in list.iter().enumerate() {
        let field = format!("categories.{index}");
        let Some(text) = category.as_str() else {
            found.add(field, "Categories must be an array of strings.");
            continue;
        };
        if text.len() > 255 {
            let message =
                format!("Each category must not be longer than 255 characters. {text} exceeds this limit");
            found.add(field.as_str(), message);
        }
        if !text.is_ascii() {
            found.add(field.as_str(), "Categories can not contain non-ASCII characters.");
        }
        if list[..index].contains(category) {
            let message =
                format!("The categories must be a unique list, and you have included {text} more than once.");
            found.add(field, message);
        }
    }
}

/// The settings of the whole request.
pub(super) fn settings(found: &mut Findings, request: &Map<String, Value>) {
    groups(found, request);
    if request.get("batch_id").is_some_and(|id| !id.is_string()) {
        found.add("batch_id", "The batch_id must be a string.");
    }
    match request.get("ip_pool_name").map(Value::as_str) {
        None => {}
        Some(None) => found.add("ip_pool_name", "The name of your IP pool must be a string."),
        Some(Some(name)) if (2..=64).contains(&name.len()) => {}
        Some(Some(name)) => found.add(
            "ip_pool_name",
            format!("The IP Pool name must be a valid pool name for your account. You provided {name}."),
        ),
    }
    sections(found, "mail_settings", request.get("mail_settings"), &MAIL_SETTINGS);
    sections(found, "tracking_settings", request.get("tracking_settings"), &TRACKING_SETTINGS);
    let is_on = |name: &str| request.get("mail_settings").is_some_and(|all| all[name]["enable"] == true);
    let partly = ["bypass_spam_management", "bypass_bounce_management", "bypass_unsubscribe_management"];
    if is_on("bypass_list_management") && partly.into_iter().any(is_on) {
        found.add(
            "mail_settings.bypass_list_management",
            "The bypass_list_management setting cannot be combined with the other bypass settings.",
        );
    }
}

fn groups(found: &mut Findings, request: &Map<String, Value>) {
    let Some(asm) = found.object("asm", request.get("asm")) else {
        return;
    };
    if asm.get("group_id").is_none_or(|id| !id.is_i64()) {
        found.add("asm.group_id", "The ASM group ID must be an integer.");
    }
    let Some(shown) = asm.get("groups_to_display") else {
        return;
    };
    match shown.as_array() {
        Some(ids) if ids.iter().all(Value::is_i64) => {
            if ids.len() > 25 {
                found.add(
                    "asm.groups_to_display",
                    "There is a limit of 25 unsubscribe groups that can be displayed to a user at a time.",
                );
            }
        }
        _ => found.add("asm.groups_to_display", "The ASM Group IDs to display must be an array of integers."),
    }
}

fn sections(found: &mut Findings, name: &str, value: Option<&Value>, known: &[Section]) {
    let Some(all) = found.object(name, value) else {
        return;
    };
    let names: Vec<_> = known.iter().map(|(section, ..)| *section).collect();
    found.unknown(&format!("{name}."), all, &names);
    for (section, booleans, strings) in known {
        let field = format!("{name}.{section}");
        let Some(members) = found.object(&field, all.get(*section)) else {
            continue;
        };
        let words = section.replace('_', " ");
        for member in booleans.iter().filter(|member| members.get(**member).is_some_and(|v| !v.is_boolean()))
        {
            let setting = member.replace('_', " ");
            let message = format!("The {words} {setting} param should be a boolean value.");
            found.add(format!("{field}.{member}"), message);
        }
        for member in strings.iter().filter(|member| members.get(**member).is_some_and(|v| !v.is_string())) {
            found.add(format!("{field}.{member}"), format!("The {words} {member} must be a string."));
        }
    }
}
