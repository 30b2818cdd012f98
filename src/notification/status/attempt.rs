//! What the record keeps of each attempt.

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;

/// One attempt to hand the notification to a provider, as the record shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Attempt {
    /// 1 for the first.
    pub number: u32,
    /// The provider's name.
    pub provider: String,
    /// When it was claimed.
    #[schema(value_type = String, format = DateTime)]
    pub started_at: Timestamp,
    /// When its outcome was known; absent while it runs or after a crash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub ended_at: Option<Timestamp>,
    /// What became of it.
    pub outcome: AttemptOutcome,
    /// The provider's status code, where there was an answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http_status: Option<u16>,
    /// The provider's or the network's words, truncated, addresses masked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// The closed vocabulary of what became of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AttemptOutcome {
    /// Under way, or cut off by a crash: nobody has said yet.
    Pending,
    /// The provider took it.
    Accepted,
    /// Provably not taken; another attempt follows.
    NotAccepted,
    /// The provider refused this message for good.
    Refused,
    /// The provider may have taken it.
    Unknown,
}
