//! What people, jobs and guards do to a notification, and what the record keeps of it.

use serde::{Deserialize, Serialize};

use super::Life;
use crate::clock::Timestamp;

/// Who does something, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct By {
    /// The name of an API key, a job (`job <id>`), or a guard of our own (`storm guard`). Never an address.
    pub who: String,
    /// In their words, or a short code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

impl By {
    /// The reason of what is done without one.
    const NO_REASON: &str = "operator";

    /// Somebody, with or without a reason.
    pub fn new(who: impl Into<String>, why: Option<&str>) -> Self {
        Self { who: who.into(), why: why.map(str::to_owned) }
    }

    /// The reason that the record shows.
    pub fn reason(&self) -> String {
        self.why.clone().unwrap_or_else(|| Self::NO_REASON.to_owned())
    }
}

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ActKind {
    /// Kept back.
    Held,
    /// Let go on.
    Released,
    /// Stopped for good.
    Cancelled,
    /// Sent again.
    Redriven,
    /// Sent again although its `useful_until` had passed.
    RedrivenLate,
}

/// One act, as the record shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Act {
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// What.
    pub kind: ActKind,
    /// Who: the name of an API key, a job (`job <id>`), or a guard.
    pub who: String,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

impl Life {
    pub(super) fn keep_act(&mut self, kind: ActKind, by: &By, at: Timestamp) {
        if self.acts.len() >= Self::KEPT_ACTS {
            self.acts.remove(Self::KEPT_ACTS / 2);
        }
        self.acts.push(Act { at, kind, who: by.who.clone(), why: by.why.clone() });
    }
}
