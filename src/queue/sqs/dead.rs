//! Dead letters: why a message is one, in words that may be kept beside it and logged.

use std::borrow::Cow;

use crate::notification::content::{self, Fault};

/// The message attribute that says why.
pub(super) const REASON: &str = "kakitome_reason";
/// The message attribute that names the message which could not be read.
pub(super) const SOURCE: &str = "kakitome_source_message_id";

/// The longest reason, in bytes.
const MOST_BYTES: usize = 1024;

/// Why a message cannot be read: `code: details`. Repeats nothing that stood in it but names of fields, and those
/// masked where they look like addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unreadable {
    pub(super) code: &'static str,
    detail: String,
}

impl Unreadable {
    /// An envelope of a version that this program does not know: a newer one wrote it.
    pub(super) fn version() -> Self {
        Self { code: "envelope_version", detail: "the envelope has a version that is not known here".into() }
    }

    /// An envelope of our version that is broken. Only the place is told: the parser's words repeat values.
    pub(super) fn envelope(error: &serde_json::Error) -> Self {
        let detail = format!("the envelope is broken at line {}, column {}", error.line(), error.column());
        Self { code: "envelope", detail }
    }

    /// Not JSON at all.
    pub(super) fn not_json(faults: &[Fault]) -> Self {
        Self { code: "not_json", detail: listed(faults) }
    }

    /// A notification that breaks the rules.
    pub(super) fn invalid(faults: &[Fault]) -> Self {
        Self { code: "invalid", detail: listed(faults) }
    }

    /// As it is kept with the dead letter.
    pub(super) fn reason(&self) -> String {
        format!("{}: {}", self.code, self.detail)
    }
}

/// `pointer: detail; pointer: detail`. A fault of the whole has no pointer.
fn listed(faults: &[Fault]) -> String {
    let one = |fault: &Fault| match fault.pointer.as_str() {
        "" => fault.detail.clone(),
        pointer => format!("{}: {}", masked(pointer), fault.detail),
    };
    faults.iter().map(one).collect::<Vec<_>>().join("; ")
}

/// A producer may have used an address as a name.
fn masked(pointer: &str) -> Cow<'_, str> {
    if !pointer.contains('@') {
        return pointer.into();
    }
    let steps = pointer.split('/').map(|step| if step.contains('@') { "***" } else { step });
    steps.collect::<Vec<_>>().join("/").into()
}

/// `text` as SQS takes it in an attribute: not empty, at most 1 KB, no character that it refuses.
pub(super) fn attribute(text: &str) -> String {
    let fits = |c: char| {
        let mut buffer = [0; 4];
        content::is_storable(c.encode_utf8(&mut buffer))
    };
    let mut text: String = text.chars().map(|c| if fits(c) { c } else { '?' }).collect();
    if text.len() > MOST_BYTES {
        text.truncate(text.floor_char_boundary(MOST_BYTES - '…'.len_utf8()));
        text.push('…');
    }
    if text.is_empty() { "unknown".into() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(pointer: &str, detail: &str) -> Fault {
        Fault { pointer: pointer.into(), detail: detail.into() }
    }

    #[test]
    fn a_reason_names_every_fault_and_no_address() {
        let faults =
            [fault("/to", "is required"), fault("/metadata/taro@example.jp/x", "no"), fault("", "all of it")];
        assert_eq!(
            Unreadable::invalid(&faults).reason(),
            "invalid: /to: is required; /metadata/***/x: no; all of it"
        );
    }

    #[test]
    fn an_attribute_is_short_and_has_only_characters_that_sqs_takes() {
        assert_eq!(attribute("a\u{1}b\u{fffe}c"), "a?b?c");
        assert_eq!(attribute(""), "unknown");
        let long = attribute(&"予".repeat(1000));
        assert!(long.len() <= 1024 && long.ends_with('…'), "{}", long.len());
    }
}
