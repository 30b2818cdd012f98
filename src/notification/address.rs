//! Mail addresses, those of old Japanese carriers included. Unprintable by type: one method reveals.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

/// A validated address. `Debug` and `Display` mask it; [`Address::reveal`] is the one way to its text.
///
/// Its domain is ASCII (international domains are kept as punycode), its local part too, as the provider takes no
/// other. `Deserialize` checks nothing: it is for records that this program wrote. Outside input goes through
/// [`Address::parse`].
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Address(String);

/// Why a text is not an address, in words for the producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct AddressFault(pub &'static str);

/// Longest address in characters: RFC 5321 allows a path of 256 octets with its angle brackets (RFC 3696, erratum
/// 1690). SendGrid takes 320, but mail servers do not, and a bounce is a worse answer than a refusal.
pub const MOST_CHARACTERS: usize = 254;

/// Longest local part, RFC 5321 section 4.5.3.1.1.
const MOST_LOCAL: usize = 64;

/// Longest domain label, RFC 1035 section 2.3.4.
const MOST_LABEL: usize = 63;

impl Address {
    /// Parses one bare address (no display name, no comment).
    ///
    /// The local part is made of RFC 5321 atoms with dots anywhere – old addresses of Japanese carriers start or end
    /// with dots or double them – or it is quoted. The domain has at least two labels: a bare host name or an IP
    /// literal is nothing that a provider sends to.
    pub fn parse(text: &str) -> Result<Self, AddressFault> {
        if text.is_empty() {
            return Err(AddressFault("must not be empty"));
        }
        if text.chars().any(|c| c.is_control() || c.is_whitespace() || matches!(c, ',' | ';' | '<' | '>')) {
            return Err(AddressFault(
                "must be one bare address, without spaces, control characters, commas, semicolons or angle brackets",
            ));
        }
        let Some((local, domain)) = text.rsplit_once('@') else {
            return Err(AddressFault("has no @"));
        };
        check_local(local)?;
        let domain = ascii_domain(domain)?;
        if local.len() + 1 + domain.len() > MOST_CHARACTERS {
            return Err(AddressFault("must have at most 254 characters"));
        }
        Ok(Self(format!("{local}@{domain}")))
    }

    /// The address as it was given, an international domain as punycode.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// The local part, without quotes if they were there for nothing but its dots; what cannot stand without
    /// quotes keeps them. Reveals the person.
    pub fn local(&self) -> Cow<'_, str> {
        let (local, _) = self.split();
        match unquote(local) {
            Some(bare) if is_dotted_atoms(&bare) => Cow::Owned(bare),
            _ => Cow::Borrowed(local),
        }
    }

    /// The domain, in the case it was given in.
    pub fn domain(&self) -> &str {
        self.split().1
    }

    /// Whether the local part starts or ends with a dot or doubles one, as RFC 5321 allows in quotes only.
    /// Says the same of `a..b@docomo.ne.jp` and `"a..b"@docomo.ne.jp`.
    pub fn breaks_rfc(&self) -> bool {
        let local = self.local();
        !local.starts_with('"') && (local.starts_with('.') || local.ends_with('.') || local.contains(".."))
    }

    /// The form that stands for the mailbox in look-ups: local part unquoted where quotes are not needed or only for
    /// its dots, all in lower case. `"a..b"@Docomo.ne.jp` and `a..b@docomo.ne.jp` are the same.
    ///
    /// RFC 5321 lets a host tell `Guest` from `guest`. None that matters does, and providers report events in either.
    pub fn canonical(&self) -> String {
        let mut text = format!("{}@{}", self.local(), self.domain());
        text.make_ascii_lowercase();
        text
    }

    fn split(&self) -> (&str, &str) {
        self.0.rsplit_once('@').unwrap_or((&self.0, ""))
    }
}

/// Masks the local part wholly; the domain says which mail system is meant.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "***@{}", self.domain())
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn check_local(local: &str) -> Result<(), AddressFault> {
    if local.is_empty() {
        return Err(AddressFault("has nothing before the @"));
    }
    if !local.is_ascii() {
        return Err(AddressFault("must be ASCII before the @: the provider takes no other local part"));
    }
    if local.len() > MOST_LOCAL {
        return Err(AddressFault("must have at most 64 characters before the @"));
    }
    if local.starts_with('"') {
        return match unquote(local) {
            Some(bare) if !bare.is_empty() => Ok(()),
            _ => Err(AddressFault("has a quoted local part that is empty or not closed or quoted wrongly")),
        };
    }
    if is_dotted_atoms(local) {
        Ok(())
    } else {
        Err(AddressFault("has a character before the @ that needs quotes, or nothing but dots"))
    }
}

/// What stands inside the quotes, escapes resolved. `None` unless the whole text is one RFC 5321 quoted string.
fn unquote(local: &str) -> Option<String> {
    let inner = local.strip_prefix('"')?.strip_suffix('"')?;
    let mut bare = String::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => return None,
            '\\' => bare.push(chars.next()?),
            c => bare.push(c),
        }
    }
    Some(bare)
}

/// RFC 5321 atoms and dots, the dots in any place.
fn is_dotted_atoms(text: &str) -> bool {
    let is_atom = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&b);
    text.bytes().all(|b| b == b'.' || is_atom(b)) && text.bytes().any(is_atom)
}

fn ascii_domain(domain: &str) -> Result<Cow<'_, str>, AddressFault> {
    if domain.is_empty() {
        return Err(AddressFault("has nothing after the @"));
    }
    if domain.starts_with('[') {
        return Err(AddressFault("must name a domain, not an IP address"));
    }
    let domain = if domain.is_ascii() {
        Cow::Borrowed(domain)
    } else {
        let ascii = idna::domain_to_ascii_strict(domain);
        Cow::Owned(
            ascii.map_err(|_| AddressFault("has an international domain that does not exist in DNS form"))?,
        )
    };
    if !domain.split('.').all(is_label) {
        return Err(AddressFault("has a domain that is not labels of letters, digits and inner hyphens"));
    }
    match domain.rsplit_once('.') {
        None => Err(AddressFault("must have a dot after the @")),
        Some((_, top)) if top.bytes().all(|b| b.is_ascii_digit()) => {
            Err(AddressFault("must name a domain, not an IP address"))
        }
        Some(_) => Ok(domain),
    }
}

fn is_label(label: &str) -> bool {
    let edges = label.starts_with('-') || label.ends_with('-');
    let inside = label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    (1..=MOST_LABEL).contains(&label.len()) && inside && !edges
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail by panicking")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn addresses_in_use_are_taken_as_given() {
        for text in [
            "guest@example.com",
            "Guest+booking.8123@Example.CO.JP",
            "a..b@docomo.ne.jp",
            ".a@ezweb.ne.jp",
            "a.@docomo.ne.jp",
            "a...b.@example.com",
            "\"a..b\"@docomo.ne.jp",
            "\"front@desk\"@example.com",
            "o'hara/tokyo=x@example.com",
            "x@xn--wgv71a119e.jp",
        ] {
            assert_eq!(Address::parse(text).unwrap().reveal(), text);
        }
    }

    #[test]
    fn what_no_provider_sends_to_is_refused_with_a_reason() {
        let long_local = format!("{}@example.com", "a".repeat(65));
        let long_label = format!("a@{}.com", "b".repeat(64));
        let long = format!("a@{}com", "label-of-20-letters.".repeat(13));
        for (text, reason) in [
            ("", "must not be empty"),
            ("guest", "has no @"),
            ("@example.com", "nothing before"),
            ("guest@", "nothing after"),
            ("guest@example", "a dot after"),
            ("guest@localhost", "a dot after"),
            ("guest@[192.0.2.1]", "not an IP address"),
            ("guest@192.0.2.1", "not an IP address"),
            ("guest@example..com", "labels"),
            ("guest@.com", "labels"),
            ("guest@example.com.", "labels"),
            ("guest@-example.com", "labels"),
            ("guest@exa_mple.com", "labels"),
            ("..@example.com", "nothing but dots"),
            ("a@b@example.com", "needs quotes"),
            ("a(b)@example.com", "needs quotes"),
            ("\"a@example.com", "quoted"),
            ("\"\"@example.com", "quoted"),
            ("\"a\"b\"@example.com", "quoted"),
            ("\"a\\\"@example.com", "quoted"),
            ("a b@example.com", "one bare address"),
            ("a@example.com,b@example.com", "one bare address"),
            ("a@example.com;", "one bare address"),
            ("Guest<a@example.com>", "one bare address"),
            ("a@example.com\r\nBcc:b@example.com", "one bare address"),
            ("a\0@example.com", "one bare address"),
            ("\"a b\"@example.com", "one bare address"),
            ("予約@example.com", "ASCII before"),
            ("a@日本語。。jp", "international domain"),
            (&long_local, "64"),
            (&long_label, "labels"),
            (&long, "254"),
        ] {
            let fault = Address::parse(text).unwrap_err();
            assert!(fault.0.contains(reason), "{text}: {fault}");
        }
    }

    #[test]
    fn an_international_domain_is_kept_as_ascii() {
        assert_eq!(Address::parse("yado@日本語.jp").unwrap().reveal(), "yado@xn--wgv71a119e.jp");
        assert_eq!(Address::parse("yado@Bücher.example").unwrap().reveal(), "yado@xn--bcher-kva.example");
    }

    #[test]
    fn one_mailbox_has_one_canonical_form() {
        for (text, canonical, breaks_rfc) in [
            ("\"a..b\"@Docomo.ne.jp", "a..b@docomo.ne.jp", true),
            ("a..b@docomo.ne.jp", "a..b@docomo.ne.jp", true),
            (".a@ezweb.ne.jp", ".a@ezweb.ne.jp", true),
            ("a.@docomo.ne.jp", "a.@docomo.ne.jp", true),
            ("\"a\\.b\"@example.com", "a.b@example.com", false),
            ("Guest@Example.com", "guest@example.com", false),
            ("\"front@desk\"@example.com", "\"front@desk\"@example.com", false),
            ("\".front@desk\"@example.com", "\".front@desk\"@example.com", false),
        ] {
            let address = Address::parse(text).unwrap();
            assert_eq!(
                (address.canonical().as_str(), address.breaks_rfc()),
                (canonical, breaks_rfc),
                "{text}"
            );
        }
    }

    #[test]
    fn an_address_prints_without_the_person() {
        let address = Address::parse("taro.yamada@example.com").unwrap();
        assert_eq!(format!("{address} {address:?}"), "***@example.com ***@example.com");
    }

    proptest! {
        #[test]
        fn whatever_is_taken_is_one_line_and_stays_itself(text in "[a.@\"\\\\\r\n, é日]{0,8}@?[a-b.\\-日]{0,8}") {
            if let Ok(address) = Address::parse(&text) {
                let shown = address.reveal();
                prop_assert!(shown.is_ascii() && !shown.contains(['\r', '\n', ' ', ',']));
                prop_assert_eq!(Address::parse(shown), Ok(address.clone()));
                prop_assert_eq!(Address::parse(&address.canonical()).unwrap().canonical(), address.canonical());
            }
        }
    }
}
