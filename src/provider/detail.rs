//! What is kept of an event besides the fields that are read: bounded, since remote servers write some of it.

use std::borrow::Cow;

use serde_json::{Map, Value};

/// One entry, in bytes.
const MAX_ENTRY_BYTES: usize = 2_048;
/// All entries of one event, in bytes.
pub const MAX_DETAIL_BYTES: usize = 16 * 1024;

/// Keeps every entry, long ones cut, until the room is used up; `truncated` then says that there was more.
pub fn bounded(fields: Map<String, Value>) -> Map<String, Value> {
    let mut room = MAX_DETAIL_BYTES;
    let mut is_cut = false;
    let mut detail = Map::new();
    for (name, value) in fields {
        let written = match &value {
            Value::String(text) => Cow::Borrowed(text.as_str()),
            other => Cow::Owned(other.to_string()),
        };
        let size = name.len() + written.len().min(MAX_ENTRY_BYTES);
        if name.len() > MAX_ENTRY_BYTES || size > room {
            is_cut = true;
            continue;
        }
        room -= size;
        let is_long = written.len() > MAX_ENTRY_BYTES;
        let kept = if is_long { Value::from(cut(&written, MAX_ENTRY_BYTES)) } else { value };
        is_cut |= is_long;
        detail.insert(name, kept);
    }
    if is_cut {
        detail.insert("truncated".into(), Value::Bool(true));
    }
    detail
}

/// At most so many bytes of it, in whole characters.
pub fn cut(text: &str, bytes: usize) -> &str {
    let end = (0..=bytes.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    &text[..end]
}
