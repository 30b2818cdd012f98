//! The body of `POST /v3/mail/send`, written from borrowed parts. Shapes: SendGrid's v3 mail-send schema.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Serialize, Serializer};

use crate::notification::address::Address;
use crate::notification::{Attachment, Mailbox, Notification, NotificationId};
use crate::provider::lane;

/// The custom argument that carries our id: it comes back in events. Custom arguments are kept at the provider for
/// long and are not meant for personal data, so nothing else goes there but the lane's tag.
pub const ID_ARGUMENT: &str = "kakitome_id";

/// The custom argument that carries the tenant's lane, see [`lane`].
pub const LANE_ARGUMENT: &str = "kakitome_lane";

/// The JSON body for one notification. Fails only where serde_json does, which on these types it cannot.
pub fn body(id: NotificationId, notification: &Notification) -> Result<Vec<u8>, serde_json::Error> {
    let attached: usize = notification.attachments.iter().map(|attachment| attachment.content.len()).sum();
    let text = notification.text.as_ref().map_or(0, String::len);
    let html = notification.html.as_ref().map_or(0, String::len);
    // Escaping lengthens HTML by its quotes and line ends; an eighth covers it without a second allocation.
    let mut body = Vec::with_capacity(1024 + attached + (text + html) * 9 / 8);
    serde_json::to_writer(&mut body, &MailSend::of(id, notification))?;
    Ok(body)
}

#[derive(Serialize)]
struct MailSend<'a> {
    personalizations: [Personalization<'a>; 1],
    from: Party<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reply_to: Option<Party<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    content: Vec<Content<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    template_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    attachments: Vec<File<'a>>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    headers: &'a BTreeMap<String, String>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    categories: &'a [String],
    custom_args: CustomArguments,
}

#[derive(Serialize)]
struct Personalization<'a> {
    to: Vec<Party<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    cc: Vec<Party<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    bcc: Vec<Party<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dynamic_template_data: Option<&'a serde_json::Map<String, serde_json::Value>>,
}

#[derive(Serialize)]
struct Party<'a> {
    email: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<Cow<'a, str>>,
}

#[derive(Serialize)]
struct Content<'a> {
    r#type: &'static str,
    value: &'a str,
}

#[derive(Serialize)]
struct File<'a> {
    content: &'a str,
    r#type: &'a str,
    filename: &'a str,
    disposition: &'static str,
}

struct CustomArguments {
    id: NotificationId,
    lane: String,
}

impl Serialize for CustomArguments {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map([(ID_ARGUMENT, &self.id.to_string()), (LANE_ARGUMENT, &self.lane)])
    }
}

impl<'a> MailSend<'a> {
    fn of(id: NotificationId, notification: &'a Notification) -> Self {
        let recipients = |list: &'a [Mailbox]| list.iter().map(Party::recipient).collect::<Vec<_>>();
        // SendGrid refuses any other order than plain text, HTML, the rest.
        let content = [("text/plain", &notification.text), ("text/html", &notification.html)];
        let template = notification.template.as_ref();
        Self {
            personalizations: [Personalization {
                to: recipients(&notification.to),
                cc: recipients(&notification.cc),
                bcc: recipients(&notification.bcc),
                dynamic_template_data: template
                    .map(|template| &template.data)
                    .filter(|data| !data.is_empty()),
            }],
            from: Party::sender(&notification.from),
            reply_to: notification.reply_to.as_ref().map(Party::sender),
            subject: notification.subject.as_deref(),
            content: content
                .into_iter()
                .filter_map(|(r#type, value)| value.as_deref().map(|value| Content { r#type, value }))
                .collect(),
            template_id: template.map(|template| template.id.as_str()),
            attachments: notification.attachments.iter().map(File::of).collect(),
            headers: &notification.headers,
            categories: &notification.categories,
            custom_args: CustomArguments { id, lane: lane(&notification.tenant) },
        }
    }
}

impl<'a> File<'a> {
    fn of(attachment: &'a Attachment) -> Self {
        Self {
            content: &attachment.content,
            r#type: &attachment.content_type,
            filename: &attachment.filename,
            disposition: "attachment",
        }
    }
}

impl<'a> Party<'a> {
    /// In `to`, `cc` or `bcc`, where a name must not hold `;` or `,` unless it is quoted.
    fn recipient(mailbox: &'a Mailbox) -> Self {
        let name = mailbox.name.as_ref().map(|name| quoted_name(&name.0));
        Self { email: wire_address(&mailbox.email), name }
    }

    /// In `from` or `reply_to`, where the name is taken as it is.
    fn sender(mailbox: &'a Mailbox) -> Self {
        let name = mailbox.name.as_ref().map(|name| Cow::Borrowed(name.0.as_str()));
        Self { email: wire_address(&mailbox.email), name }
    }
}

/// SendGrid takes the addresses of old Japanese carriers only with a quoted local part, and some receiving servers
/// refuse quotes around a compliant one (support.sendgrid.kke.co.jp, article 360000019762).
fn wire_address(address: &Address) -> Cow<'_, str> {
    let text = address.reveal();
    match text.rsplit_once('@') {
        Some((local, domain)) if breaks_rules(local) => Cow::Owned(format!("\"{local}\"@{domain}")),
        _ => Cow::Borrowed(text),
    }
}

/// Whether the dots of an unquoted local part are not where RFC 5321 allows them.
fn breaks_rules(local: &str) -> bool {
    !local.starts_with('"') && (local.starts_with('.') || local.ends_with('.') || local.contains(".."))
}

fn quoted_name(name: &str) -> Cow<'_, str> {
    let is_quoted = name.len() >= 2
        && name.starts_with('"')
        && name.ends_with('"')
        && !name[1..name.len() - 1].contains(['"', '\\']);
    if is_quoted || !name.contains([';', ',']) {
        return Cow::Borrowed(name);
    }
    let escaped = name.replace('\\', "\\\\").replace('"', "\\\"");
    Cow::Owned(format!("\"{escaped}\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `None` also for what is no address.
    fn wire(address: &str) -> Option<String> {
        Address::parse(address).ok().map(|address| wire_address(&address).into_owned())
    }

    #[test]
    fn only_a_local_part_that_breaks_the_rules_is_quoted() {
        assert_eq!(wire(".abcde@example.com").as_deref(), Some("\".abcde\"@example.com"));
        assert_eq!(wire("ab..cde@example.com").as_deref(), Some("\"ab..cde\"@example.com"));
        assert_eq!(wire("abcde.@example.com").as_deref(), Some("\"abcde.\"@example.com"));
        assert_eq!(wire("ab.cde@example.com").as_deref(), Some("ab.cde@example.com"));
        assert_eq!(wire("\"ab..cde\"@example.com").as_deref(), Some("\"ab..cde\"@example.com"));
    }

    #[test]
    fn a_name_with_a_separator_is_quoted_once_and_its_quotes_are_escaped() {
        assert_eq!(quoted_name("山田 太郎"), "山田 太郎");
        assert_eq!(quoted_name("Yamada, Taro"), "\"Yamada, Taro\"");
        assert_eq!(quoted_name("\"Yamada; Taro\""), "\"Yamada; Taro\"");
        assert_eq!(quoted_name("Taro \"T\\\" Yamada; Ltd"), r#""Taro \"T\\\" Yamada; Ltd""#);
    }
}
