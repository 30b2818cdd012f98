//! Rules for texts: what may stand in them and how long they may be.

use std::borrow::Cow;

use super::fault::{At, Faults};
use super::json::Json;

/// Which characters a text may hold.
#[derive(Clone, Copy)]
pub(super) enum Charset {
    /// Anything that can be stored, line breaks included.
    Prose,
    /// Anything on one line: what ends up near a mail header must not be able to start another one.
    Line,
    /// ASCII on one line.
    AsciiLine,
    /// ASCII without spaces.
    Visible,
    /// Letters, digits and `.`, `_`, `:`, `-`.
    Label,
}

/// What a text must be like. It is never empty.
#[derive(Clone, Copy)]
pub(super) struct Rule {
    /// Which characters.
    pub(super) charset: Charset,
    /// At most so many characters.
    pub(super) most: usize,
}

impl Rule {
    /// So many characters at most, out of this set.
    pub(super) const fn new(charset: Charset, most: usize) -> Self {
        Self { charset, most }
    }

    /// Why `text` breaks the rule, if it does.
    pub(super) fn broken_by(self, text: &str) -> Option<Cow<'static, str>> {
        if text.is_empty() {
            return Some("must not be empty".into());
        }
        // Bytes are never fewer than characters, so most texts need no count.
        if text.len() > self.most && text.chars().nth(self.most).is_some() {
            return Some(format!("must have at most {} characters", self.most).into());
        }
        self.charset.broken_by(text).map(Cow::Borrowed)
    }
}

impl Charset {
    /// The same as a regular expression, for those that one can say in a line.
    pub(super) fn pattern(self) -> Option<&'static str> {
        match self {
            // What is storable is no shorter to say than the parser's own words.
            Charset::Prose => None,
            Charset::Line => Some("^[^\\u0000-\\u001f\\u007f-\\u009f]*$"),
            Charset::AsciiLine => Some("^[ -~]*$"),
            Charset::Visible => Some("^[!-~]*$"),
            Charset::Label => Some("^[A-Za-z0-9._:-]*$"),
        }
    }

    fn broken_by(self, text: &str) -> Option<&'static str> {
        let bytes = text.as_bytes();
        match self {
            Charset::Prose => (!is_storable(text)).then_some(NOT_STORABLE),
            Charset::Line => {
                let fits = !text.chars().any(char::is_control) && is_storable(text);
                (!fits).then_some("must be one line without control characters")
            }
            Charset::AsciiLine => {
                let fits = bytes.iter().all(|b| matches!(b, b' '..=b'~'));
                (!fits).then_some("must be one line of ASCII")
            }
            Charset::Visible => {
                let fits = bytes.iter().all(u8::is_ascii_graphic);
                (!fits).then_some("must be ASCII without spaces")
            }
            Charset::Label => {
                let fits = bytes.iter().all(|b| b.is_ascii_alphanumeric() || b"._:-".contains(b));
                (!fits).then_some("must be made of A-Z, a-z, 0-9 and . _ : -")
            }
        }
    }
}

/// The detail for what [`is_storable`] refuses.
pub(super) const NOT_STORABLE: &str = "holds a character that cannot be stored: U+FFFE, U+FFFF or a control character other than tab and line breaks";

/// Whether every character is one that XML 1.0 allows: SQS takes no other (`SendMessage`, "Message contents").
pub fn is_storable(text: &str) -> bool {
    let bytes = text.as_bytes();
    // Two loops without a branch inside run over many bytes at a time.
    let control =
        bytes.iter().fold(false, |found, &b| found | ((b < 0x20) & (b != 9) & (b != 10) & (b != 13)));
    // U+FFFE and U+FFFF are EF BF BE and EF BF BF.
    let end_of_plane =
        bytes.windows(3).fold(false, |found, w| found | ((w[0] == 0xEF) & (w[1] == 0xBF) & (w[2] >= 0xBE)));
    !control && !end_of_plane
}

/// The text here, whatever stands in it.
pub(super) fn string<'a>(value: Json<'a>, at: &At<'_>, faults: &mut Faults) -> Option<Cow<'a, str>> {
    match value {
        Json::Text(text) => Some(text),
        other => {
            faults.add(at, format!("must be a string, not {}", other.kind()));
            None
        }
    }
}

/// The text here, if it keeps the rule.
pub(super) fn ruled(value: Json<'_>, rule: Rule, at: &At<'_>, faults: &mut Faults) -> Option<String> {
    let text = string(value, at, faults)?;
    match rule.broken_by(&text) {
        Some(detail) => {
            faults.add(at, detail);
            None
        }
        None => Some(text.into_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_sqs_would_refuse_is_not_storable() {
        for text in ["a\0b", "\u{1}", "\u{b}", "\u{1f}", "x\u{fffe}", "\u{ffff}x"] {
            assert!(!is_storable(text), "{text:?}");
        }
        for text in ["", "tab\tline\r\n", "\u{7f}\u{85}", "\u{fffd}\u{e000}", "桜 🌸", "\u{ffbe}"] {
            assert!(is_storable(text), "{text:?}");
        }
    }

    #[test]
    fn lengths_count_characters_not_bytes() {
        let rule = Rule::new(Charset::Line, 3);
        assert_eq!(rule.broken_by("予約書"), None);
        assert_eq!(rule.broken_by("予約書留").as_deref(), Some("must have at most 3 characters"));
    }
}
