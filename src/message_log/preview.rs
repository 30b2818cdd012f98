//! What a preview counts by.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::notification::status::Status;

/// A line of a preview.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// The status.
    pub status: Status,
    /// The reason, if it has one.
    pub reason: Option<String>,
    /// Whose.
    pub tenant: String,
    /// The provider's template, if it is made from one.
    pub template: Option<String>,
    /// How long it is still useful.
    pub deadline: Deadline,
    /// How many.
    pub count: u64,
}

impl Group {
    /// The same with one line for each kind, most first.
    pub fn merged(groups: Vec<Self>) -> Vec<Self> {
        let mut counts = BTreeMap::new();
        for Group { status, reason, tenant, template, deadline, count } in groups {
            *counts.entry((status, reason, tenant, template, deadline)).or_insert(0) += count;
        }
        let line = |((status, reason, tenant, template, deadline), count)| Group {
            status,
            reason,
            tenant,
            template,
            deadline,
            count,
        };
        let mut merged: Vec<Self> = counts.into_iter().map(line).collect();
        merged.sort_by_key(|group| std::cmp::Reverse(group.count));
        merged
    }
}

/// How long something is still useful.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Deadline {
    /// It is over.
    Over,
    /// For less than an hour.
    WithinHour,
    /// For an hour to less than a day.
    WithinDay,
    /// For a day or longer.
    Later,
    /// It has none.
    None,
}

impl Deadline {
    /// Of a `useful_until` at `now`. Pure.
    pub fn of(useful_until: Option<Timestamp>, now: Timestamp) -> Self {
        const HOUR: Duration = Duration::from_secs(3600);
        match useful_until {
            None => Deadline::None,
            Some(at) if at <= now => Deadline::Over,
            Some(at) if at.since(now) < HOUR => Deadline::WithinHour,
            Some(at) if at.since(now) < 24 * HOUR => Deadline::WithinDay,
            Some(_) => Deadline::Later,
        }
    }
}
