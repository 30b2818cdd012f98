//! Addresses and names as RFC 5322 writes them, for providers that take whole mailboxes as text.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::notification::Mailbox;
use crate::notification::address::Address;

/// Bytes of text in one encoded word: in base64 with its frame they stay below the 75 characters of RFC 2047.
const ENCODED_WORD_BYTES: usize = 45;

/// The address, its local part quoted where it breaks the rules otherwise: the form that RFC 5321 has for the dots of
/// old Japanese carriers. Compliant ones stay as they are, since some receiving servers refuse quotes.
pub fn address(address: &Address) -> Cow<'_, str> {
    if address.breaks_rfc() {
        Cow::Owned(format!("\"{}\"@{}", address.local(), address.domain()))
    } else {
        Cow::Borrowed(address.reveal())
    }
}

/// `Name <address>`, the name in UTF-8.
pub fn utf8(mailbox: &Mailbox) -> String {
    written(mailbox, quoted)
}

/// `Name <address>` in ASCII alone, other names as encoded words (RFC 2047).
pub fn ascii(mailbox: &Mailbox) -> String {
    written(mailbox, |name| if name.is_ascii() { quoted(name) } else { Cow::Owned(encoded_words(name)) })
}

fn written(mailbox: &Mailbox, name: impl FnOnce(&str) -> Cow<'_, str>) -> String {
    let address = address(&mailbox.email);
    match mailbox.name.as_ref().map(|name| name.0.trim()).filter(|name| !name.is_empty()) {
        Some(text) => format!("{} <{address}>", name(text)),
        None => address.into_owned(),
    }
}

/// Quoted where RFC 5322 has a use of its own for one of its characters.
fn quoted(name: &str) -> Cow<'_, str> {
    if !name.contains(|c: char| "()<>[]:;@\\,.\"".contains(c)) {
        return Cow::Borrowed(name);
    }
    Cow::Owned(format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\"")))
}

/// The text as encoded words, each of whole characters.
pub fn encoded_words(text: &str) -> String {
    let mut words = String::new();
    let mut rest = text;
    while !rest.is_empty() {
        let end = (1..=ENCODED_WORD_BYTES.min(rest.len())).rev().find(|end| rest.is_char_boundary(*end));
        let (word, later) = rest.split_at(end.unwrap_or(rest.len()));
        if !words.is_empty() {
            words.push(' ');
        }
        words.push_str(&format!("=?UTF-8?B?{}?=", STANDARD.encode(word)));
        rest = later;
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notification::DisplayName;

    fn mailbox(email: &str, name: Option<&str>) -> Option<Mailbox> {
        let name = name.map(|name| DisplayName(name.to_owned()));
        Some(Mailbox { email: Address::parse(email).ok()?, name })
    }

    #[test]
    fn only_what_breaks_the_rules_is_quoted() {
        let of = |email: &str, name| mailbox(email, name).map(|mailbox| utf8(&mailbox));
        assert_eq!(of("a..b@docomo.ne.jp", None).as_deref(), Some("\"a..b\"@docomo.ne.jp"));
        assert_eq!(of("\".a\"@ezweb.ne.jp", None).as_deref(), Some("\".a\"@ezweb.ne.jp"));
        assert_eq!(of("a.b@example.com", Some("山田 太郎")).as_deref(), Some("山田 太郎 <a.b@example.com>"));
        assert_eq!(
            of("a@example.com", Some("Ya, \"T\"")).as_deref(),
            Some("\"Ya, \\\"T\\\"\" <a@example.com>")
        );
        assert_eq!(of("a@example.com", Some(" ")).as_deref(), Some("a@example.com"));
    }

    #[test]
    fn a_name_that_is_not_ascii_becomes_encoded_words_of_whole_characters() {
        let long = "予約センター".repeat(8);
        let written =
            mailbox("a@example.com", Some(&long)).map(|mailbox| ascii(&mailbox)).unwrap_or_default();
        assert!(written.is_ascii() && written.ends_with(" <a@example.com>"), "{written}");
        let words = written.trim_end_matches(" <a@example.com>").split(' ');
        let read: Vec<u8> = words
            .flat_map(|word| {
                assert!(word.len() <= 75, "{word}");
                let inner = word.strip_prefix("=?UTF-8?B?").and_then(|word| word.strip_suffix("?="));
                STANDARD.decode(inner.unwrap_or_default()).unwrap_or_default()
            })
            .collect();
        assert_eq!(String::from_utf8(read).as_deref(), Ok(long.as_str()));
        let plain = mailbox("a@example.com", Some("Desk")).map(|mailbox| ascii(&mailbox));
        assert_eq!(plain.as_deref(), Some("Desk <a@example.com>"));
    }
}
