//! One alert over its life, shared by every process through the journal: it fires when the first process sees it and is
//! over when none does any more. One pure function; every change of it is said once.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::check::{Finding, Severity};
use super::streak::Sight;
use crate::clock::Timestamp;

/// How alerts are said.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Between two messages about an alert that goes on.
    pub reminder: Duration,
    /// How long it must be well before it is over; longer each time when it comes back soon.
    pub calm: Duration,
    /// A process that has not said for this long that it sees it, does not.
    pub stale: Duration,
    /// For how long whoever writes a message down may post it alone.
    pub lease: Duration,
    /// Where messages go.
    pub channels: Vec<String>,
}

/// An alert that comes back within this is the same trouble: it must then be well for twice as long.
const RELAPSE: Duration = Duration::from_secs(1800);
/// Twice as long at most so often.
const MOST_RELAPSES: u32 = 4;
/// So many times as many are worth saying again.
const GROWTH: u64 = 10;
/// Messages of one alert that wait for their channel; the oldest goes.
const MOST_POSTINGS: usize = 4;

/// An alert as the journal keeps it. `GET /v1/alerts` reads the same document.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    /// What, and with whom: `breaker_open:sendgrid`.
    pub key: String,
    /// What.
    pub alert: String,
    /// With whom.
    #[serde(default)]
    pub subject: Option<String>,
    /// How bad.
    pub severity: Severity,
    /// Whether it is over.
    pub state: State,
    /// Since when.
    pub since: Timestamp,
    /// Until when.
    #[serde(default)]
    pub resolved_at: Option<Timestamp>,
    /// In a sentence.
    pub summary: String,
    /// How many it concerns.
    pub count: u64,
    /// The command to begin with.
    pub command: String,
    /// The page in `runbooks/`.
    pub runbook: String,
    /// Who sees it, and when each last said so.
    #[serde(default)]
    pub seen_by: BTreeMap<String, Timestamp>,
    /// When it was last said.
    pub said_at: Timestamp,
    /// How many it was then.
    pub said_count: u64,
    /// How bad it was then.
    pub said_severity: Severity,
    /// How often it came back soon.
    #[serde(default)]
    pub relapses: u32,
    /// What is still to be posted.
    #[serde(default)]
    pub outbox: Vec<Posting>,
}

/// Whether an alert is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It is there.
    Firing,
    /// It is over.
    Resolved,
}

/// What a message says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// It began.
    Firing,
    /// It is far worse than when it was last said.
    Worse,
    /// It is still there.
    Reminder,
    /// It is over.
    Resolved,
    /// Somebody tries the channel.
    Test,
}

/// A message that is not posted everywhere yet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Posting {
    /// The same each time it is posted.
    pub id: String,
    /// What it says.
    pub change: Change,
    /// How bad.
    pub severity: Severity,
    /// In a sentence.
    pub summary: String,
    /// When that was so.
    pub at: Timestamp,
    /// Since when the alert was there.
    pub since: Timestamp,
    /// Channels that have not taken it.
    pub left: Vec<String>,
    /// How often it was tried in vain.
    pub tries: u32,
    /// Until then somebody is posting it.
    pub lease_until: Timestamp,
}

impl Alert {
    fn begun(finding: &Finding, by: &str, now: Timestamp, relapses: u32, outbox: Vec<Posting>) -> Self {
        Self {
            key: finding.key(),
            alert: finding.alert.as_str().to_owned(),
            subject: finding.subject.clone(),
            severity: finding.severity,
            state: State::Firing,
            since: now,
            resolved_at: None,
            summary: finding.summary.clone(),
            count: finding.count,
            command: finding.command.clone(),
            runbook: finding.alert.runbook().to_owned(),
            seen_by: BTreeMap::from([(by.to_owned(), now)]),
            said_at: now,
            said_count: finding.count,
            said_severity: finding.severity,
            relapses,
            outbox,
        }
    }

    /// Whether it is there.
    pub fn is_firing(&self) -> bool {
        self.state == State::Firing
    }

    fn say(&mut self, change: Change, now: Timestamp, policy: &Policy) {
        (self.said_at, self.said_count, self.said_severity) = (now, self.count, self.severity);
        if policy.channels.is_empty() {
            return;
        }
        // A reminder that nobody has read yet is overtaken.
        self.outbox.retain(|posting| posting.change != Change::Reminder);
        if self.outbox.len() >= MOST_POSTINGS {
            self.outbox.remove(0);
        }
        self.outbox.push(Posting {
            id: uuid::Uuid::now_v7().to_string(),
            change,
            severity: self.severity,
            summary: self.summary.clone(),
            at: now,
            since: self.since,
            left: policy.channels.clone(),
            tries: 0,
            lease_until: now.plus(policy.lease),
        });
    }
}

/// The alert after the process `by` said what it sees, with what is to be said about it; `None`: nothing changes.
pub fn after(
    alert: Option<&Alert>,
    sight: &Sight,
    by: &str,
    now: Timestamp,
    policy: &Policy,
) -> Option<(Alert, Option<Change>)> {
    match (alert, sight) {
        (Some(alert), Sight::Bad(finding)) if alert.is_firing() => seen(alert, finding, by, now, policy),
        (Some(alert), Sight::Well(well_for)) if alert.is_firing() => well(alert, *well_for, by, now, policy),
        (before, Sight::Bad(finding)) => {
            let ended = before.and_then(|before| before.resolved_at);
            let is_relapse = ended.is_some_and(|ended| now.since(ended) < RELAPSE);
            let relapses = before.map_or(0, |before| before.relapses + 1).min(MOST_RELAPSES);
            let outbox = before.map(|before| before.outbox.clone()).unwrap_or_default();
            let mut alert = Alert::begun(finding, by, now, if is_relapse { relapses } else { 0 }, outbox);
            alert.say(Change::Firing, now, policy);
            Some((alert, Some(Change::Firing)))
        }
        (_, Sight::Well(_)) => None,
    }
}

fn seen(
    alert: &Alert,
    finding: &Finding,
    by: &str,
    now: Timestamp,
    policy: &Policy,
) -> Option<(Alert, Option<Change>)> {
    let mut changed = alert.clone();
    let Finding { severity, summary, count, command, .. } = finding.clone();
    (changed.severity, changed.summary, changed.count, changed.command) = (severity, summary, count, command);
    let has_grown = count >= alert.said_count.max(1).saturating_mul(GROWTH);
    let change = if has_grown || severity > alert.said_severity {
        Some(Change::Worse)
    } else {
        (now.since(alert.said_at) >= policy.reminder).then_some(Change::Reminder)
    };
    // Each process writes down now and then that it still sees it, not with every reading.
    let is_fresh = alert.seen_by.get(by).is_some_and(|at| now.since(*at) < policy.stale / 4);
    if is_fresh && change.is_none() {
        return None;
    }
    changed.seen_by.retain(|_, at| now.since(*at) < policy.stale);
    changed.seen_by.insert(by.to_owned(), now);
    if let Some(change) = change {
        changed.say(change, now, policy);
    }
    Some((changed, change))
}

fn well(
    alert: &Alert,
    well_for: Duration,
    by: &str,
    now: Timestamp,
    policy: &Policy,
) -> Option<(Alert, Option<Change>)> {
    let mut changed = alert.clone();
    changed.seen_by.retain(|name, at| name != by && now.since(*at) < policy.stale);
    let wait = policy.calm.saturating_mul(1 << alert.relapses.min(MOST_RELAPSES));
    if changed.seen_by.is_empty() && well_for >= wait {
        changed.state = State::Resolved;
        changed.resolved_at = Some(now);
        changed.say(Change::Resolved, now, policy);
        return Some((changed, Some(Change::Resolved)));
    }
    (changed != *alert).then_some((changed, None))
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
