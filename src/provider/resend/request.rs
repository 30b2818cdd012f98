//! The body of `POST /emails`, written from borrowed parts. Shapes: Resend's API reference, "Send Email".

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value};

use super::{ID_TAG, LANE_TAG, RECIPIENTS_TAG};
use crate::notification::{Mailbox, Notification, NotificationId};
use crate::provider::{lane, mailbox};

/// The most addresses that `to` may hold.
const MOST_RECIPIENTS: usize = 50;

/// The JSON body for one notification; or why Resend cannot send it, in words that repeat nothing of it.
pub fn body(id: NotificationId, notification: &Notification) -> Result<Vec<u8>, String> {
    check(notification)?;
    let attached: usize = notification.attachments.iter().map(|attachment| attachment.content.len()).sum();
    let text = notification.text.as_ref().map_or(0, String::len);
    let html = notification.html.as_ref().map_or(0, String::len);
    // Escaping lengthens HTML by its quotes and line ends; an eighth covers it without a second allocation.
    let mut body = Vec::with_capacity(1024 + attached + (text + html) * 9 / 8);
    let email = Email::of(id, notification);
    serde_json::to_writer(&mut body, &email)
        .map_err(|error| format!("the request cannot be written: {error}"))?;
    Ok(body)
}

fn check(notification: &Notification) -> Result<(), String> {
    let count = notification.to.len();
    if count > MOST_RECIPIENTS {
        return Err(format!(
            "Resend takes at most {MOST_RECIPIENTS} addresses in `to`, and these are {count}"
        ));
    }
    let Some(template) = &notification.template else { return Ok(()) };
    if notification.text.is_some() || notification.html.is_some() {
        return Err("Resend takes a template or `text` and `html`, not both".into());
    }
    match template.data.iter().find(|(_, value)| !(value.is_string() || value.is_number())) {
        Some((name, _)) => Err(format!(
            "Resend fills templates with texts and numbers alone, and `{name}` in the template's data is neither"
        )),
        None => Ok(()),
    }
}

#[derive(Serialize)]
struct Email<'a> {
    from: String,
    to: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    cc: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    bcc: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reply_to: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    html: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    template: Option<Template<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    attachments: Vec<File<'a>>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    headers: &'a BTreeMap<String, String>,
    tags: Vec<Tag>,
}

#[derive(Serialize)]
struct Template<'a> {
    id: &'a str,
    #[serde(skip_serializing_if = "Map::is_empty")]
    variables: &'a Map<String, Value>,
}

#[derive(Serialize)]
struct File<'a> {
    filename: &'a str,
    content: &'a str,
    content_type: &'a str,
}

/// Letters, digits, `_` and `-` alone.
#[derive(Serialize)]
struct Tag {
    name: &'static str,
    value: String,
}

impl<'a> Email<'a> {
    fn of(id: NotificationId, notification: &'a Notification) -> Self {
        let written = |list: &[Mailbox]| list.iter().map(mailbox::utf8).collect::<Vec<_>>();
        let tag = |name, value: String| Tag { name, value };
        Self {
            from: mailbox::utf8(&notification.from),
            to: written(&notification.to),
            cc: written(&notification.cc),
            bcc: written(&notification.bcc),
            reply_to: notification.reply_to.as_ref().map(mailbox::utf8),
            subject: notification.subject.as_deref(),
            text: notification.text.as_deref(),
            html: notification.html.as_deref(),
            template: notification
                .template
                .as_ref()
                .map(|template| Template { id: &template.id, variables: &template.data }),
            attachments: notification
                .attachments
                .iter()
                .map(|file| File {
                    filename: &file.filename,
                    content: &file.content,
                    content_type: &file.content_type,
                })
                .collect(),
            headers: &notification.headers,
            tags: vec![
                tag(ID_TAG, id.to_string()),
                tag(LANE_TAG, lane(&notification.tenant)),
                tag(RECIPIENTS_TAG, notification.recipients().count().to_string()),
            ],
        }
    }
}
