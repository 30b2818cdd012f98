//! What goes along: attachments, headers, categories, metadata.

use std::collections::{BTreeMap, HashSet};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::fault::{At, Faults};
use super::json::{Json, REPEATED};
use super::object::{Object, list, pairs};
use super::text::{Charset, Rule, ruled, string};
use crate::notification::Attachment;

pub(super) const MOST_ATTACHMENTS: usize = 50;
pub(super) const MOST_HEADERS: usize = 100;
/// SendGrid's limit.
pub(super) const MOST_CATEGORIES: usize = 10;
pub(super) const MOST_METADATA: usize = 50;

pub(super) const FILENAME: Rule = Rule::new(Charset::Line, 255);
/// RFC 6838 section 4.2: 127 on either side of the slash.
pub(super) const CONTENT_TYPE: Rule = Rule::new(Charset::Visible, 255);
/// RFC 5322 section 2.1.1 allows 998 in a line; the name takes its part of it.
const HEADER_LINE: usize = 998;
/// SendGrid's limit, and ASCII only.
pub(super) const CATEGORY: Rule = Rule::new(Charset::AsciiLine, 255);
pub(super) const METADATA_KEY: Rule = Rule::new(Charset::Line, 64);
pub(super) const METADATA_VALUE: Rule = Rule::new(Charset::Prose, 500);

/// SendGrid's reserved headers, those that a mail has once and the provider writes, and the one that would steer
/// the provider (`X-SMTPAPI`).
const RESERVED_HEADERS: [&str; 18] = [
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
    "sender",
    "return-path",
    "date",
    "message-id",
    "mime-version",
    "x-smtpapi",
];

/// What the program itself adds to a request starts so.
const RESERVED_METADATA: &str = "kakitome_";

/// Files. Their total size is bounded by the document's.
pub(super) fn attachments(value: Json<'_>, at: &At<'_>, faults: &mut Faults) -> Option<Vec<Attachment>> {
    let entries = list(value, MOST_ATTACHMENTS, at, faults)?;
    Some(
        entries
            .into_iter()
            .enumerate()
            .filter_map(|(i, entry)| attachment(entry, &at.index(i), faults))
            .collect(),
    )
}

fn attachment(value: Json<'_>, at: &At<'_>, faults: &mut Faults) -> Option<Attachment> {
    let mut fields = Object::open(value, &["filename", "content_type", "content"], at, faults)?;
    let filename = fields.required_text("filename", FILENAME);
    if filename.as_ref().is_some_and(|name| name.contains(['/', '\\'])) {
        fields.fault("filename", "must be a file name without slashes");
    }
    let content_type = fields.required_text("content_type", CONTENT_TYPE);
    if content_type.as_ref().is_some_and(|text| !is_media_type(text)) {
        fields.fault("content_type", "must be a media type such as application/pdf, without parameters");
    }
    let content = fields.required("content", string);
    match content.as_deref() {
        Some("") => fields.fault("content", "must not be empty"),
        Some(text) if STANDARD.decode(text).is_err() => {
            fields.fault("content", "must be base64 of the standard alphabet, padded, without line breaks");
        }
        _ => {}
    }
    Some(Attachment { filename: filename?, content_type: content_type?, content: content?.into_owned() })
}

fn is_media_type(text: &str) -> bool {
    let half = |part: &str| is_token(part) && part.len() <= 127;
    text.split_once('/').is_some_and(|(kind, subtype)| half(kind) && half(subtype))
}

/// RFC 9110 `token`, which suits names of mail headers (RFC 5322 allows more, providers do not) and media types.
fn is_token(text: &str) -> bool {
    let is_tchar = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    !text.is_empty() && text.bytes().all(is_tchar)
}

/// Further mail headers. A value that is not ASCII is refused: SendGrid wants it encoded already, and which encoding
/// and where to fold is the producer's to know.
pub(super) fn headers(value: Json<'_>, at: &At<'_>, faults: &mut Faults) -> Option<BTreeMap<String, String>> {
    let mut headers = BTreeMap::new();
    let mut names = HashSet::new();
    for (name, value) in pairs(value, MOST_HEADERS, at, faults)? {
        let here = at.field(&name);
        let lower = name.to_ascii_lowercase();
        if !is_token(&name) || name.len() > 255 {
            faults.add(
                &here,
                "must have a header name: ASCII without spaces and colons, at most 255 characters",
            );
        } else if RESERVED_HEADERS.contains(&lower.as_str()) {
            faults.add(&here, "is a header that only kakitome or the provider sets");
        } else if !names.insert(lower) {
            faults.add(&here, REPEATED);
        }
        let most = HEADER_LINE.saturating_sub(name.len() + 2);
        if let Some(text) = string(value, &here, faults) {
            match Rule::new(Charset::AsciiLine, most).broken_by(&text) {
                Some(detail) if text.is_ascii() => faults.add(&here, detail),
                Some(_) => faults
                    .add(&here, "must be ASCII; encode other characters as RFC 2047 says (=?UTF-8?B?…?=)"),
                None => {
                    headers.insert(name.into_owned(), text.into_owned());
                }
            }
        }
    }
    Some(headers)
}

/// The provider's categories, in the order given.
pub(super) fn categories(value: Json<'_>, at: &At<'_>, faults: &mut Faults) -> Option<Vec<String>> {
    let mut categories: Vec<String> = Vec::new();
    let entries = list(value, MOST_CATEGORIES, at, faults)?;
    for (index, entry) in entries.into_iter().enumerate() {
        let here = at.index(index);
        let Some(category) = ruled(entry, CATEGORY, &here, faults) else {
            continue;
        };
        if categories.contains(&category) {
            faults.add(&here, REPEATED);
        }
        categories.push(category);
    }
    Some(categories)
}

/// The producer's labels.
pub(super) fn metadata(
    value: Json<'_>,
    at: &At<'_>,
    faults: &mut Faults,
) -> Option<BTreeMap<String, String>> {
    let mut metadata = BTreeMap::new();
    for (key, value) in pairs(value, MOST_METADATA, at, faults)? {
        let here = at.field(&key);
        if let Some(detail) = METADATA_KEY.broken_by(&key) {
            faults.add(&here, format!("has a key that {detail}"));
        } else if key.starts_with(RESERVED_METADATA) {
            faults.add(&here, "has a key that starts with kakitome_, which is reserved");
        } else if metadata.contains_key(key.as_ref()) {
            faults.add(&here, REPEATED);
        }
        // An empty value is a value here.
        let text = string(value, &here, faults);
        if let Some(detail) =
            text.as_ref().filter(|t| !t.is_empty()).and_then(|t| METADATA_VALUE.broken_by(t))
        {
            faults.add(&here, detail);
        }
        metadata.insert(key.into_owned(), text.unwrap_or_default().into_owned());
    }
    Some(metadata)
}
