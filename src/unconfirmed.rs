//! What a provider took and was not heard of: what the watchdog (`recovery/watchdog.rs`) found, and how far it looked, as
//! the journal has it. Each finding is one small document, so that neither a restart nor a second process loses or
//! doubles one; it is bounded, and says when there is more.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::clock::Timestamp;
use crate::journal::{self, Journal, JournalError, Kind};
use crate::message_log::{Heard, Lacks};
use crate::notification::NotificationId;

/// So many findings are kept. With more the watchdog stands still until some are heard of or dismissed.
pub const MOST: u64 = 10_000;

/// A finding is kept this long after its mail was sent. Its record stays.
pub const KEPT: Duration = Duration::from_secs(30 * 24 * 3600);

/// Documents that are read at once.
pub const PAGE: usize = 1000;

/// The one document that says how far the watchdog looked.
const STAND: &str = "unconfirmed";

/// The latest millisecond that a key can tell.
const LATEST_MS: i64 = 9_999_999_999_999;

/// Something that was sent and lacks a word of its provider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = UnconfirmedNotification)]
pub struct Finding {
    /// Which notification.
    #[schema(value_type = String, format = "uuid")]
    pub id: NotificationId,
    /// Whose.
    pub tenant: String,
    /// Which provider took it.
    pub provider: String,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub sent_at: Timestamp,
    /// What is lacking: `processed`, nothing was heard of some recipient; or `end`.
    pub lacks: Lacks,
    /// Of how many recipients it is.
    pub without: u64,
    /// How many recipients it has.
    pub recipients: u64,
    /// When that was noticed.
    #[schema(value_type = String, format = DateTime)]
    pub found_at: Timestamp,
}

impl Finding {
    /// What is lacking in this; `None`: nothing.
    pub fn of(heard: &Heard, found_at: Timestamp) -> Option<Self> {
        let lacks = heard.lacks()?;
        Some(Self {
            id: heard.id,
            tenant: heard.tenant.clone(),
            provider: heard.provider.clone(),
            sent_at: heard.sent_at,
            lacks,
            without: if lacks == Lacks::Processed { heard.silent } else { heard.open },
            recipients: heard.recipients,
            found_at,
        })
    }

    /// Names its document. The journal lists the greatest first, and what was sent first is to stand first.
    pub fn key(&self) -> String {
        format!("{:013}#{}", LATEST_MS.saturating_sub(self.sent_at.as_ms()), self.id)
    }
}

/// How far one of the two looks is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Walk {
    /// Everything before was looked at.
    pub from: Timestamp,
    /// The end of the span that is under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// Where in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// Who looks now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// A process's name.
    pub owner: String,
    /// Until when nobody else does.
    pub until: Timestamp,
}

/// How the watchdog stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Stand {
    /// Who looks now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lease: Option<Lease>,
    /// How far it is.
    pub walks: BTreeMap<Lacks, Walk>,
    /// How many findings there are.
    pub found: BTreeMap<Lacks, u64>,
    /// There may be more: it stands still until some are heard of or dismissed.
    pub is_full: bool,
    /// When it last looked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub looked_at: Option<Timestamp>,
    /// Providers that never told of any event: what they took is not watched.
    pub without_events: Vec<String>,
    /// The finding that was looked at again last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub again: Option<String>,
}

impl Stand {
    /// How many findings of this kind there are.
    pub fn count(&self, lacks: Lacks) -> u64 {
        self.found.get(&lacks).copied().unwrap_or(0)
    }

    /// How many there are in all.
    pub fn total(&self) -> u64 {
        self.found.values().sum()
    }

    /// Changes the count of one kind.
    pub fn add(&mut self, lacks: Lacks, by: i64) {
        let count = self.found.entry(lacks).or_default();
        *count = count.saturating_add_signed(by);
    }
}

/// How the watchdog stands; empty where it never looked.
pub async fn stand(journal: &dyn Journal) -> Result<Stand, JournalError> {
    let found = journal.get(Kind::Mark, STAND).await?;
    Ok(found.map(|document| document.read()).transpose()?.unwrap_or_default())
}

/// Changes how it stands, against all others. `None`: it is left as it is.
pub async fn change<R: Send>(
    journal: &dyn Journal,
    mut change: impl FnMut(&mut Stand) -> Option<R> + Send,
) -> Result<Option<R>, JournalError> {
    journal::change(journal, Kind::Mark, STAND, None, |stand: Option<Stand>| {
        let mut stand = stand.unwrap_or_default();
        match change(&mut stand) {
            Some(answer) => (Some(stand), Some(answer)),
            None => (None, None),
        }
    })
    .await
}

/// Up to `limit` findings behind this key, what was sent first first. One that cannot be read is left out.
pub async fn list(
    journal: &dyn Journal,
    after: Option<&str>,
    limit: usize,
) -> Result<Vec<Finding>, JournalError> {
    let documents = journal.list(Kind::Unconfirmed, after, limit).await?;
    Ok(documents.iter().filter_map(|document| document.read().ok()).collect())
}

/// Keeps a finding, over what was known of it; whether it is new.
pub async fn keep(journal: &dyn Journal, finding: &Finding) -> Result<bool, JournalError> {
    let until = Some(finding.sent_at.plus(KEPT));
    journal::change(journal, Kind::Unconfirmed, &finding.key(), until, |known: Option<Finding>| {
        let is_new = known.is_none();
        // When it was first noticed stays.
        let found_at = known.map_or(finding.found_at, |known| known.found_at);
        (Some(Finding { found_at, ..finding.clone() }), is_new)
    })
    .await
}

/// Drops a finding.
pub async fn forget(journal: &dyn Journal, finding: &Finding) -> Result<(), JournalError> {
    journal.delete(Kind::Unconfirmed, &finding.key()).await
}
