//! One notification's fields: which there are, and what each must be like.

use super::fault::{At, Faults};
use super::json::{Json, into_map};
use super::object::{Object, pairs};
use super::parts;
use super::people::{self, Seen};
use super::text::{Charset, Rule, string};
use crate::clock::Timestamp;
use crate::notification::{Mailbox, Notification, OnUnknown, Priority, Template};

const NAMES: &[&str] = &[
    "idempotency_key",
    "tenant",
    "from",
    "to",
    "cc",
    "bcc",
    "reply_to",
    "subject",
    "text",
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
];

/// Printable, so that it can be read out and typed.
pub(super) const IDEMPOTENCY_KEY: Rule = Rule::new(Charset::Line, 255);
pub(super) const TENANT: Rule = Rule::new(Charset::Label, 64);
pub(super) const BATCH: Rule = Rule::new(Charset::Label, 100);
/// RFC 5322 section 2.1.1: no line of a mail over 998.
pub(super) const SUBJECT: Rule = Rule::new(Charset::Line, 998);
/// Bounded by the size of the whole document.
pub(super) const BODY: Rule = Rule::new(Charset::Prose, usize::MAX);
pub(super) const TEMPLATE_ID: Rule = Rule::new(Charset::Visible, 100);

const PRIORITIES: &[(&str, Priority)] =
    &[("transactional", Priority::Transactional), ("bulk", Priority::Bulk)];
const POLICIES: &[(&str, OnUnknown)] = &[("resend", OnUnknown::Resend), ("hold", OnUnknown::Hold)];

/// Walks the whole document. `None` only if there is a fault.
pub(super) fn notification(
    document: Json<'_>,
    default_tenant: &str,
    faults: &mut Faults,
) -> Option<Notification> {
    let mut fields = Object::open(document, NAMES, &At::ROOT, faults)?;
    require_content(&mut fields);
    let tenant = match fields.has("tenant") {
        true => fields.text("tenant", TENANT),
        false => Some(default_tenant.to_owned()),
    };
    let from = fields.required("from", people::mailbox);
    let (to, cc, bcc) = recipients(&mut fields);
    let (deliver_at, useful_until) = times(&mut fields);
    Some(Notification {
        idempotency_key: fields.text("idempotency_key", IDEMPOTENCY_KEY),
        reply_to: fields.optional("reply_to", people::mailbox),
        subject: fields.text("subject", SUBJECT),
        text: fields.text("text", BODY),
        html: fields.text("html", BODY),
        template: fields.optional("template", template),
        attachments: fields.optional("attachments", parts::attachments).unwrap_or_default(),
        headers: fields.optional("headers", parts::headers).unwrap_or_default(),
        categories: fields.optional("categories", parts::categories).unwrap_or_default(),
        metadata: fields.optional("metadata", parts::metadata).unwrap_or_default(),
        priority: fields
            .optional("priority", |v, at, faults| choice(v, PRIORITIES, at, faults))
            .unwrap_or_default(),
        batch: fields.text("batch", BATCH),
        on_unknown: fields
            .optional("on_unknown", |v, at, faults| choice(v, POLICIES, at, faults))
            .unwrap_or_default(),
        tenant: tenant?,
        from: from?,
        to: to?,
        cc,
        bcc,
        deliver_at,
        useful_until,
    })
}

/// A template brings its own subject and body; without one both must be here.
fn require_content(fields: &mut Object<'_, '_>) {
    if fields.has("template") {
        return;
    }
    if !fields.has("subject") {
        fields.fault("subject", "is required unless there is a template");
    }
    if !fields.has("text") && !fields.has("html") {
        fields.fault("text", "text or html is required unless there is a template");
    }
}

fn recipients(fields: &mut Object<'_, '_>) -> (Option<Vec<Mailbox>>, Vec<Mailbox>, Vec<Mailbox>) {
    let mut seen = Seen::default();
    let to = fields.required("to", |v, at, faults| people::mailboxes(v, &mut seen, at, faults));
    if to.as_ref().is_some_and(Vec::is_empty) {
        fields.fault("to", "must name at least one recipient");
    }
    let mut copies =
        |name| fields.optional(name, |v, at, faults| people::mailboxes(v, &mut seen, at, faults));
    (to, copies("cc").unwrap_or_default(), copies("bcc").unwrap_or_default())
}

fn times(fields: &mut Object<'_, '_>) -> (Option<Timestamp>, Option<Timestamp>) {
    let deliver_at = fields.optional("deliver_at", moment);
    let useful_until = fields.optional("useful_until", moment);
    if deliver_at.zip(useful_until).is_some_and(|(from, until)| until <= from) {
        fields.fault("useful_until", "must be after deliver_at");
    }
    (deliver_at, useful_until)
}

fn moment(value: Json<'_>, at: &At<'_>, faults: &mut Faults) -> Option<Timestamp> {
    let moment = Timestamp::parse(&string(value, at, faults)?);
    if moment.is_none() {
        faults.add(at, "must be an RFC 3339 time with an offset, such as 2026-11-22T00:00:00Z");
    }
    moment
}

fn template(value: Json<'_>, at: &At<'_>, faults: &mut Faults) -> Option<Template> {
    let mut fields = Object::open(value, &["id", "data"], at, faults)?;
    let id = fields.required_text("id", TEMPLATE_ID);
    let data = fields.optional("data", |value, at, faults| {
        let entries = pairs(value, usize::MAX, at, faults)?;
        Some(into_map(entries, at, faults))
    });
    Some(Template { id: id?, data: data.unwrap_or_default() })
}

fn choice<T: Copy>(value: Json<'_>, all: &[(&str, T)], at: &At<'_>, faults: &mut Faults) -> Option<T> {
    let named = match &value {
        Json::Text(text) => all.iter().find(|(name, _)| name == text),
        _ => None,
    };
    if named.is_none() {
        let names: Vec<_> = all.iter().map(|(name, _)| format!("\"{name}\"")).collect();
        faults.add(at, format!("must be {}", names.join(" or ")));
    }
    named.map(|(_, chosen)| *chosen)
}
