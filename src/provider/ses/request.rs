//! The body of `POST /v2/email/outbound-emails`, written from borrowed parts. Shapes: SES API v2, `SendEmail`.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{ID_TAG, LANE_TAG};
use crate::notification::{Attachment, Mailbox, Notification, NotificationId};
use crate::provider::{lane, mailbox};

/// The most recipients of one message, copies included (SES quotas).
const MOST_RECIPIENTS: usize = 50;
const CHARSET: &str = "UTF-8";

/// The JSON body for one notification; or why SES cannot send it, in words that repeat nothing of it.
pub fn body(id: NotificationId, notification: &Notification, set: Option<&str>) -> Result<Vec<u8>, String> {
    check(notification)?;
    let attached: usize = notification.attachments.iter().map(|attachment| attachment.content.len()).sum();
    let text = notification.text.as_ref().map_or(0, String::len);
    let html = notification.html.as_ref().map_or(0, String::len);
    // Escaping lengthens HTML by its quotes and line ends; an eighth covers it without a second allocation.
    let mut body = Vec::with_capacity(1024 + attached + (text + html) * 9 / 8);
    let unwritable = |error: serde_json::Error| format!("the request cannot be written: {error}");
    let request = SendEmail::of(id, notification, set).map_err(unwritable)?;
    serde_json::to_writer(&mut body, &request).map_err(unwritable)?;
    Ok(body)
}

fn check(notification: &Notification) -> Result<(), String> {
    let count = notification.recipients().count();
    if count > MOST_RECIPIENTS {
        return Err(format!("Amazon SES takes at most {MOST_RECIPIENTS} recipients, and these are {count}"));
    }
    let has_content =
        notification.subject.is_some() || notification.text.is_some() || notification.html.is_some();
    if notification.template.is_some() && has_content {
        return Err("Amazon SES takes subject and text from its template, or none".into());
    }
    Ok(())
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct SendEmail<'a> {
    from_email_address: String,
    destination: Destination,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    reply_to_addresses: Vec<String>,
    content: Content<'a>,
    email_tags: [Pair<'a>; 2],
    #[serde(skip_serializing_if = "Option::is_none")]
    configuration_set_name: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Destination {
    to_addresses: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    cc_addresses: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    bcc_addresses: Vec<String>,
}

#[derive(Serialize)]
enum Content<'a> {
    Simple(Simple<'a>),
    Template(Template<'a>),
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Simple<'a> {
    subject: Text<'a>,
    body: Body<'a>,
    #[serde(flatten)]
    extras: Extras<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Template<'a> {
    template_name: &'a str,
    /// JSON within JSON.
    template_data: String,
    #[serde(flatten)]
    extras: Extras<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Extras<'a> {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    headers: Vec<Pair<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    attachments: Vec<File<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Body<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    html: Option<Text<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Text<'a> {
    data: &'a str,
    charset: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Pair<'a> {
    name: &'a str,
    value: std::borrow::Cow<'a, str>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct File<'a> {
    file_name: &'a str,
    raw_content: &'a str,
    content_type: &'a str,
    content_disposition: &'static str,
    /// How it stands in the mail: seven bits are SES's default, which would spoil what is not text.
    content_transfer_encoding: &'static str,
}

impl<'a> SendEmail<'a> {
    fn of(
        id: NotificationId,
        notification: &'a Notification,
        set: Option<&'a str>,
    ) -> Result<Self, serde_json::Error> {
        // Headers are written as they are given here, so names must be ASCII.
        let written = |list: &[Mailbox]| list.iter().map(mailbox::ascii).collect::<Vec<_>>();
        Ok(Self {
            from_email_address: mailbox::ascii(&notification.from),
            destination: Destination {
                to_addresses: written(&notification.to),
                cc_addresses: written(&notification.cc),
                bcc_addresses: written(&notification.bcc),
            },
            reply_to_addresses: notification.reply_to.iter().map(mailbox::ascii).collect(),
            content: Content::of(notification)?,
            email_tags: [
                Pair { name: ID_TAG, value: id.to_string().into() },
                Pair { name: LANE_TAG, value: lane(&notification.tenant).into() },
            ],
            configuration_set_name: set,
        })
    }
}

impl<'a> Content<'a> {
    fn of(notification: &'a Notification) -> Result<Self, serde_json::Error> {
        let extras = Extras {
            headers: headers(&notification.headers),
            attachments: notification.attachments.iter().map(File::of).collect(),
        };
        let text = |data: &'a String| Text { data, charset: CHARSET };
        Ok(match &notification.template {
            Some(template) => Content::Template(Template {
                template_name: &template.id,
                template_data: serde_json::to_string(&template.data)?,
                extras,
            }),
            None => Content::Simple(Simple {
                subject: Text { data: notification.subject.as_deref().unwrap_or_default(), charset: CHARSET },
                body: Body {
                    text: notification.text.as_ref().map(text),
                    html: notification.html.as_ref().map(text),
                },
                extras,
            }),
        })
    }
}

fn headers(headers: &BTreeMap<String, String>) -> Vec<Pair<'_>> {
    headers.iter().map(|(name, value)| Pair { name, value: value.as_str().into() }).collect()
}

impl<'a> File<'a> {
    fn of(attachment: &'a Attachment) -> Self {
        Self {
            file_name: &attachment.filename,
            raw_content: &attachment.content,
            content_type: &attachment.content_type,
            content_disposition: "ATTACHMENT",
            content_transfer_encoding: "BASE64",
        }
    }
}
