//! Senders and recipients.

use std::collections::HashSet;

use super::fault::{At, Faults};
use super::json::Json;
use super::object::{Object, list};
use super::text::{Charset, Rule, string};
use crate::notification::address::Address;
use crate::notification::{DisplayName, Mailbox};

/// SendGrid's limit of `to`, `cc` and `bcc` together, over the whole request.
pub(super) const MOST_RECIPIENTS: usize = 1000;

/// Commas and semicolons are allowed: an adapter whose provider splits at them quotes the name.
pub(super) const NAME: Rule = Rule::new(Charset::Line, 256);

/// The mailboxes met so far. SendGrid refuses a request that names one twice.
#[derive(Default)]
pub(super) struct Seen {
    count: usize,
    canonical: HashSet<String>,
}

/// A list of recipients. Notes mailboxes that were met before, in this list or another.
pub(super) fn mailboxes(
    value: Json<'_>,
    seen: &mut Seen,
    at: &At<'_>,
    faults: &mut Faults,
) -> Option<Vec<Mailbox>> {
    let entries = list(value, MOST_RECIPIENTS, at, faults)?;
    seen.count += entries.len();
    if seen.count > MOST_RECIPIENTS {
        faults.add(at, format!("to, cc and bcc together must have at most {MOST_RECIPIENTS} recipients"));
        return None;
    }
    let mut mailboxes = Vec::with_capacity(entries.len());
    let mut sound = true;
    for (index, entry) in entries.into_iter().enumerate() {
        let here = at.index(index);
        let Some(mailbox) = mailbox(entry, &here, faults) else {
            sound = false;
            continue;
        };
        if !seen.canonical.insert(mailbox.email.canonical()) {
            faults.add(&here.field("email"), "is a recipient already, in to, cc or bcc");
        }
        mailboxes.push(mailbox);
    }
    sound.then_some(mailboxes)
}

/// One address with an optional name. An empty name is no name: form fields that were left open come so.
pub(super) fn mailbox(value: Json<'_>, at: &At<'_>, faults: &mut Faults) -> Option<Mailbox> {
    let mut fields = Object::open(value, &["email", "name"], at, faults)?;
    let email = fields.required("email", |value, at, faults| {
        let text = string(value, at, faults)?;
        Address::parse(&text).map_err(|fault| faults.add(at, fault.0)).ok()
    });
    let name = fields.optional("name", |value, at, faults| {
        let text = string(value, at, faults).filter(|text| !text.is_empty())?;
        if let Some(detail) = NAME.broken_by(&text) {
            faults.add(at, detail);
        }
        Some(DisplayName(text.into_owned()))
    });
    Some(Mailbox { email: email?, name })
}
