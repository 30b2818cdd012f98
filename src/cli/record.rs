//! A record as a client reads it: words, not closed vocabularies, since the server may be newer than this program.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::clock::Timestamp;

/// One notification.
#[derive(Debug, Clone, Deserialize)]
pub struct Record {
    pub id: String,
    #[serde(default)]
    pub tenant: String,
    pub status: String,
    pub status_since: Option<Timestamp>,
    pub reason: Option<String>,
    pub accepted_at: Timestamp,
    pub deliver_at: Option<Timestamp>,
    pub useful_until: Option<Timestamp>,
    pub next_attempt_at: Option<Timestamp>,
    pub sent_at: Option<Timestamp>,
    pub provider: Option<String>,
    pub provider_message_id: Option<String>,
    pub batch: Option<String>,
    #[serde(default)]
    pub metadata: std::collections::BTreeMap<String, String>,
    #[serde(default)]
    pub attempts: Vec<Attempt>,
    #[serde(default)]
    pub recipients: Vec<Recipient>,
    #[serde(default)]
    pub events: Vec<Event>,
    #[serde(default)]
    pub acts: Vec<Act>,
    pub next: Option<Next>,
    #[serde(default)]
    pub engagement: Engagement,
}

/// Its opens and clicks.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Engagement {
    #[serde(default)]
    pub opens: Counted,
    #[serde(default)]
    pub clicks: Counted,
}

/// How many people did, and how many machines.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Counted {
    #[serde(default)]
    pub people: u64,
    #[serde(default)]
    pub machines: u64,
}

impl Counted {
    /// In words; nothing where nobody did.
    pub fn words(&self) -> Option<String> {
        let Self { people, machines } = self;
        (people + machines > 0).then(|| format!("{people} by people, {machines} by machines"))
    }
}

/// What somebody did to it.
#[derive(Debug, Clone, Deserialize)]
pub struct Act {
    pub at: Timestamp,
    pub kind: String,
    pub who: String,
    pub why: Option<String>,
}

/// What happens next by itself.
#[derive(Debug, Clone, Deserialize)]
pub struct Next {
    pub what: String,
    pub at: Option<Timestamp>,
    pub latest: Option<Timestamp>,
    #[serde(default)]
    pub why: String,
}

/// One attempt.
#[derive(Debug, Clone, Deserialize)]
pub struct Attempt {
    pub number: u32,
    pub provider: String,
    pub started_at: Timestamp,
    pub ended_at: Option<Timestamp>,
    pub outcome: String,
    pub http_status: Option<u16>,
    pub error: Option<String>,
}

/// One recipient.
#[derive(Debug, Clone, Deserialize)]
pub struct Recipient {
    pub email: String,
    pub kind: String,
    pub status: String,
    pub since: Timestamp,
}

/// One event.
#[derive(Debug, Clone, Deserialize)]
pub struct Event {
    pub at: Timestamp,
    pub kind: String,
    pub recipient: Option<String>,
    #[serde(default)]
    pub machine: bool,
    pub machine_reason: Option<String>,
    #[serde(default)]
    pub detail: serde_json::Map<String, serde_json::Value>,
}

/// A page of a listing. Records stay as they came, so that `--json` hands on every field.
#[derive(Debug, Deserialize)]
pub struct Page {
    pub items: Vec<Box<RawValue>>,
    pub next_cursor: Option<String>,
}
