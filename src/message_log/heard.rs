//! What a provider took and said nothing of, or not yet the end.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::clock::Timestamp;
use crate::named::named;
use crate::notification::NotificationId;
use crate::notification::status::recipient::RecipientStatus;

/// What a provider owes a word of.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    ToSchema,
    clap::ValueEnum,
)]
#[serde(rename_all = "snake_case")]
pub enum Lacks {
    /// Nothing at all was heard of some recipient.
    Processed,
    /// No end was heard of some recipient: delivered, refused, dropped.
    End,
}

named! {
    /// Both.
    Lacks {
        Processed: "processed",
        End: "end",
    }
}

/// What was sent from … on, before ….
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SentSpan {
    /// From then on.
    pub from: Timestamp,
    /// Before then.
    pub until: Timestamp,
}

impl SentSpan {
    /// Whether it holds this moment.
    pub fn contains(&self, at: Timestamp) -> bool {
        self.from <= at && at < self.until
    }
}

/// Something that was sent, and how far its provider's words go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    /// Its id.
    pub id: NotificationId,
    /// Whose.
    pub tenant: String,
    /// Who took it.
    pub provider: String,
    /// When.
    pub sent_at: Timestamp,
    /// How many recipients it has.
    pub recipients: u64,
    /// Of how many nothing was heard.
    pub silent: u64,
    /// Of how many no end was heard, the silent ones included.
    pub open: u64,
}

impl Heard {
    /// What is lacking; the worse of both.
    pub fn lacks(&self) -> Option<Lacks> {
        match (self.silent, self.open) {
            (0, 0) => None,
            (0, _) => Some(Lacks::End),
            _ => Some(Lacks::Processed),
        }
    }

    /// Whether this is lacking.
    pub fn is_without(&self, lacks: Lacks) -> bool {
        match lacks {
            Lacks::Processed => self.silent > 0,
            Lacks::End => self.open > 0,
        }
    }
}

/// Whether it is an end of a recipient's story.
pub fn is_end(status: RecipientStatus) -> bool {
    status >= RecipientStatus::Delivered
}

/// A page of what lacks a word.
#[derive(Clone, Debug, Default)]
pub struct HeardPage {
    /// Those that lack it.
    pub items: Vec<Heard>,
    /// How many were looked at.
    pub looked_at: u64,
    /// Opaque; absent on the last page. A page may have no items and a next one all the same.
    pub next_cursor: Option<String>,
}
