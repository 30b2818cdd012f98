//! What SendGrid refuses in a `POST /v3/mail/send`, in its words where they are known.
//!
//! Sources: the documented limits (sendgrid/docs, "Mail Send errors", 2018; twilio/sendgrid-oai, 2026-01) and answers
//! quoted in the issue threads of SendGrid's SDKs. Where SendGrid is lenient in a way that hides a mistake, this is
//! strict: unknown fields are refused, as are header values that it would garble.

mod address;
mod extras;
mod personalizations;

use std::borrow::Cow;

use serde::Serialize;
use serde_json::{Map, Value};

use crate::clock::Timestamp;

/// The page that SendGrid's `help` points into.
const HELP: &str = "http://sendgrid.com/docs/API_Reference/Web_API_v3/Mail/errors.html#message";

/// SendGrid takes `send_at` at most 72 hours ahead.
const LATEST_SEND_SECONDS: i64 = 72 * 60 * 60;

const FIELDS: [&str; 18] = [
    "personalizations",
    "from",
    "reply_to",
    "reply_to_list",
    "subject",
    "content",
    "attachments",
    "template_id",
    "sections",
    "headers",
    "categories",
    "custom_args",
    "send_at",
    "batch_id",
    "asm",
    "ip_pool_name",
    "mail_settings",
    "tracking_settings",
];

/// One entry of SendGrid's error body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Issue {
    /// In SendGrid's words.
    pub(super) message: Cow<'static, str>,
    /// Which field, dotted: `personalizations.0.to.0.email`.
    pub(super) field: Option<String>,
    /// Where SendGrid explains it.
    pub(super) help: Option<String>,
}

impl Issue {
    /// One that belongs to no field.
    pub(super) fn general(message: impl Into<Cow<'static, str>>) -> Self {
        Self { message: message.into(), field: None, help: None }
    }
}

/// What was found so far.
struct Findings {
    issues: Vec<Issue>,
    /// Unix seconds.
    now: i64,
}

impl Findings {
    fn add(&mut self, field: impl Into<String>, message: impl Into<Cow<'static, str>>) {
        let field = field.into();
        // The anchors are the names without the places, at most two deep.
        let names = field.split('.').filter(|name| name.parse::<usize>().is_err()).take(2);
        let help = names.fold(HELP.to_owned(), |help, name| help + "." + name);
        self.issues.push(Issue { message: message.into(), field: Some(field), help: Some(help) });
    }

    fn wrong_type(&mut self, field: impl Into<String>, expected: &str, given: &Value) {
        let given = match given {
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::Number(number) if number.is_f64() => "number",
            Value::Number(_) => "integer",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        };
        self.add(field, format!("Invalid type. Expected: {expected}, given: {given}."));
    }

    /// The object in `value`; an issue when it is there and none.
    fn object<'a>(&mut self, field: &str, value: Option<&'a Value>) -> Option<&'a Map<String, Value>> {
        match value? {
            Value::Object(object) => Some(object),
            other => {
                self.wrong_type(field, "object", other);
                None
            }
        }
    }

    /// The array in `value`; an issue when it is there and none.
    fn array<'a>(&mut self, field: &str, value: Option<&'a Value>) -> Option<&'a [Value]> {
        match value? {
            Value::Array(array) => Some(array),
            other => {
                self.wrong_type(field, "array", other);
                None
            }
        }
    }

    fn unknown(&mut self, prefix: &str, object: &Map<String, Value>, known: &[&str]) {
        for name in object.keys().filter(|name| !known.contains(&name.as_str())) {
            self.add(format!("{prefix}{name}"), format!("Additional property {name} is not allowed."));
        }
    }

    fn send_at(&mut self, field: String, value: Option<&Value>) {
        match value.map(Value::as_i64) {
            None => {}
            Some(None) => self.add(
                field,
                "The send_at parameter is expecting a Unix timestamp as an integer. We will send immediately if you \
                 include a send_at timestamp that is in the past.",
            ),
            Some(Some(at)) if at > self.now + LATEST_SEND_SECONDS => {
                self.add(field, "Scheduling more than 72 hours in advance is forbidden.");
            }
            Some(Some(_)) => {}
        }
    }
}

/// Everything that is wrong with a request, all at once. Empty: SendGrid would take it.
pub(super) fn issues(request: &Value, now: Timestamp) -> Vec<Issue> {
    let Value::Object(request) = request else {
        return vec![Issue::general("Bad Request")];
    };
    let mut findings = Findings { issues: Vec::new(), now: now.as_ms() / 1000 };
    let found = &mut findings;
    found.unknown("", request, &FIELDS);
    personalizations::check(found, request);
    from(found, request.get("from"));
    reply_to(found, request);
    subject(found, request);
    content(found, request);
    template(found, request);
    extras::attachments(found, request.get("attachments"));
    personalizations::headers(found, "headers", request.get("headers"));
    extras::categories(found, request.get("categories"));
    extras::settings(found, request);
    found.send_at("send_at".to_owned(), request.get("send_at"));
    findings.issues
}

fn from(found: &mut Findings, from: Option<&Value>) {
    if from.is_none_or(Value::is_null) {
        found.add(
            "from",
            "The from object must be provided for every email send. It is an object that requires the email \
             parameter, but may also contain a name parameter.  e.g. {\"email\" : \"example@example.com\"}  or \
             {\"email\" : \"example@example.com\", \"name\" : \"Example Recipient\"}.",
        );
    } else {
        address::check_object(found, "from", from);
    }
}

fn reply_to(found: &mut Findings, request: &Map<String, Value>) {
    address::check_object(found, "reply_to", request.get("reply_to"));
    let Some(list) = found.array("reply_to_list", request.get("reply_to_list")) else {
        return;
    };
    if request.contains_key("reply_to") {
        found.add("reply_to_list", "Only one of reply_to and reply_to_list may be used.");
    }
    if list.len() > 1000 {
        found.add("reply_to_list", "There is a limit of 1000 reply-to addresses per request.");
    }
    let mut seen = std::collections::HashSet::new();
    for (index, entry) in list.iter().enumerate() {
        let field = format!("reply_to_list.{index}");
        address::check_object(found, &field, Some(entry));
        if let Some(email) = entry["email"].as_str()
            && !seen.insert(email.to_ascii_lowercase())
        {
            found.add(field, "Each email address in the reply_to_list should be unique.");
        }
    }
}

fn is_filled(value: Option<&Value>) -> bool {
    value.and_then(Value::as_str).is_some_and(|text| !text.is_empty())
}

fn subject(found: &mut Findings, request: &Map<String, Value>) {
    let subject = request.get("subject");
    if subject.is_some() && !is_filled(subject) {
        let message = "The subject of your email must be a string at least one character in length.";
        return found.add("subject", message);
    }
    let all_have_one = || {
        let list = request.get("personalizations").and_then(Value::as_array);
        list.is_some_and(|list| !list.is_empty() && list.iter().all(|one| is_filled(one.get("subject"))))
    };
    if subject.is_none() && !request.contains_key("template_id") && !all_have_one() {
        found.add(
            "subject",
            "The subject is required. You can get around this requirement if you use a template with a subject \
             defined or if every personalization has a subject defined.",
        );
    }
}

fn content(found: &mut Findings, request: &Map<String, Value>) {
    let content = request.get("content");
    let blocks = found.array("content", content);
    if content.is_none_or(|content| content.as_array().is_some_and(Vec::is_empty)) {
        if !request.contains_key("template_id") {
            found.add(
                "content",
                "Unless a valid template_id is provided, the content parameter is required. There must be at least \
                 one defined content block. We typically suggest both text/plain and text/html blocks are included, \
                 but only one block is required.",
            );
        }
        return;
    }
    let mut highest = 0;
    for (index, block) in blocks.unwrap_or_default().iter().enumerate() {
        let field = format!("content.{index}");
        let Some(block) = found.object(&field, Some(block)) else {
            continue;
        };
        found.unknown(&format!("{field}."), block, &["type", "value"]);
        if !is_filled(block.get("value")) {
            let message = "The content value must be a string at least one character in length.";
            found.add(format!("{field}.value"), message);
        }
        let Some(kind) = block.get("type").and_then(Value::as_str).filter(|kind| !kind.is_empty()) else {
            let message = "Your content type must be a string with length of at least one character.";
            found.add(format!("{field}.type"), message);
            continue;
        };
        if kind.contains([';', '\r', '\n']) {
            found.add(format!("{field}.type"), "Cannot contain ';', or CRLF characters.");
        }
        let place = match kind {
            "text/plain" => 0,
            "text/html" => 1,
            _ => 2,
        };
        if place < highest {
            found.add(
                "content",
                "Following RFC 1341, section 7.2, if either text/html or text/plain are to be sent in your email: \
                 text/plain needs to be first, followed by text/html, followed by any other content.",
            );
        }
        highest = highest.max(place);
    }
}

fn template(found: &mut Findings, request: &Map<String, Value>) {
    if let Some(id) = request.get("template_id")
        && !is_filled(Some(id))
    {
        found.add("template_id", format!("The template ID must be a string, you provided {id}."));
    }
    if let Some(sections) = found.object("sections", request.get("sections"))
        && sections.values().any(|section| !section.is_string())
    {
        found.add("sections", "The section values must be strings.");
    }
}
