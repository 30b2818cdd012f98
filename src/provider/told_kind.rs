//! A kind's name, marked where it is the provider's: one that calls something else `bounced` must not be read back as
//! ours.

use serde::{Deserialize, Deserializer, Serializer};

use super::EventKind;

const THEIRS: char = '?';

pub(super) fn serialize<S: Serializer>(kind: &EventKind, serializer: S) -> Result<S::Ok, S::Error> {
    match kind {
        EventKind::Other(name) => serializer.collect_str(&format_args!("{THEIRS}{name}")),
        known => serializer.serialize_str(known.as_str()),
    }
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<EventKind, D::Error> {
    let name = String::deserialize(deserializer)?;
    Ok(match name.strip_prefix(THEIRS) {
        Some(theirs) => EventKind::Other(theirs.to_owned()),
        None => EventKind::from(name),
    })
}
