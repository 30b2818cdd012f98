//! Whether an incident is over, and whether it was handled well. Pure.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::incident::{FLOODING_TENANT, Goal, MOST_TO_ONE};
use crate::sandbox::{Mail, Stats};

/// How the server stands, as far as the verdict needs it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Standing {
    /// Notifications by status.
    pub by_status: BTreeMap<String, u64>,
    /// How long the longest-waiting one waits.
    pub oldest_unsent_seconds: Option<f64>,
    /// What lies on the queue.
    pub queue: Option<Depth>,
    /// The providers.
    pub providers: Vec<Circuit>,
}

/// Queue messages that a worker will get.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Depth {
    visible: u64,
    in_flight: u64,
    delayed: u64,
}

/// A provider's state.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Circuit {
    /// What the circuit breaker says.
    pub circuit: String,
}

impl Standing {
    /// How many stand in one of these.
    pub fn count(&self, statuses: &[&str]) -> u64 {
        statuses.iter().filter_map(|status| self.by_status.get(*status)).sum()
    }

    /// Whether nothing can still be sent, nothing waits for an operator, and where that is the goal, everything is heard.
    pub fn is_over(&self, goal: Goal, handed_in: u64, stats: Stats) -> bool {
        let open =
            ["accepted", "scheduled", "held", "attempting", "retrying", "unknown", "failed", "expired"];
        let queue_is_empty = self.queue.is_some_and(|q| q.visible + q.in_flight + q.delayed == 0);
        let ended = self.count(&["sent", "cancelled", "suppressed"]);
        // Two of each at the least: processed, and what became of it.
        let is_heard = goal != Goal::EachTracked || stats.events_posted >= 2 * handed_in;
        is_heard && queue_is_empty && self.count(&open) == 0 && ended >= handed_in
    }
}

/// What was handed in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HandedIn {
    /// In all.
    pub all: u64,
    /// Of these, by a tenant that has nothing to do with the incident.
    pub of_others: u64,
}

/// What is wrong with how it ended; nothing when it was handled well.
pub fn faults(
    goal: Goal,
    handed_in: HandedIn,
    standing: &Standing,
    stats: Stats,
    mails: &[Mail],
) -> Vec<String> {
    let mut faults = Vec::new();
    if stats.duplicates > 0 {
        faults.push(format!("{} mails were sent twice", stats.duplicates));
    }
    let sent = standing.count(&["sent"]);
    if stats.distinct != sent {
        faults.push(format!("the provider took {} mails, kakitome counts {sent}", stats.distinct));
    }
    let cancelled = standing.count(&["cancelled"]);
    match goal {
        Goal::EachSentOnce | Goal::EachTracked if sent != handed_in.all => {
            faults.push(format!("{sent} of {} were sent", handed_in.all));
        }
        Goal::EachSentOnce | Goal::EachTracked => {}
        Goal::SurplusCancelled => {
            let most = most_to_one(mails);
            if most > MOST_TO_ONE {
                faults.push(format!("somebody got {most} of the same mail"));
            }
            if cancelled == 0 {
                faults.push("nothing of the surplus was cancelled".into());
            }
        }
        Goal::FloodCancelled => {
            let others = mails.iter().filter(|mail| !is_of_flood(mail)).count() as u64;
            if others != handed_in.of_others {
                faults.push(format!("{others} of the other tenant's {} were sent", handed_in.of_others));
            }
            if cancelled == 0 {
                faults.push("nothing of the flood was cancelled".into());
            }
        }
    }
    faults
}

fn recipient(mail: &Mail) -> Option<String> {
    let request: Value = serde_json::from_slice(&mail.request).ok()?;
    Some(request["personalizations"][0]["to"][0]["email"].as_str()?.to_owned())
}

fn is_of_flood(mail: &Mail) -> bool {
    recipient(mail).is_some_and(|address| address.ends_with(&format!("@{FLOODING_TENANT}.example.com")))
}

fn most_to_one(mails: &[Mail]) -> u64 {
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    for address in mails.iter().filter_map(recipient) {
        *counts.entry(address).or_default() += 1;
    }
    counts.into_values().max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standing(by_status: &[(&str, u64)]) -> Standing {
        Standing {
            by_status: by_status.iter().map(|(status, count)| ((*status).to_owned(), *count)).collect(),
            queue: Some(Depth::default()),
            ..Standing::default()
        }
    }

    #[test]
    fn it_is_over_when_everything_handed_in_has_an_end_that_nobody_has_to_deal_with() {
        assert!(standing(&[("sent", 9), ("cancelled", 1)]).is_over(Goal::EachSentOnce, 10, Stats::default()));
        assert!(
            !standing(&[("sent", 9)]).is_over(Goal::EachSentOnce, 10, Stats::default()),
            "one is not seen yet"
        );
        for open in ["held", "failed", "unknown"] {
            assert!(
                !standing(&[("sent", 10), (open, 1)]).is_over(Goal::EachSentOnce, 10, Stats::default()),
                "{open}"
            );
        }
        let heard = |events_posted| Stats { events_posted, ..Stats::default() };
        assert!(!standing(&[("sent", 10)]).is_over(Goal::EachTracked, 10, heard(19)));
        assert!(standing(&[("sent", 10)]).is_over(Goal::EachTracked, 10, heard(20)));
        assert!(!Standing { queue: None, ..standing(&[("sent", 10)]) }.is_over(
            Goal::EachSentOnce,
            10,
            Stats::default()
        ));
    }

    #[test]
    fn a_mail_that_went_out_twice_or_not_at_all_is_told() {
        let handed_in = HandedIn { all: 10, of_others: 0 };
        let stats = |distinct, duplicates| Stats { distinct, duplicates, ..Stats::default() };
        let judge =
            |sent, stats| faults(Goal::EachSentOnce, handed_in, &standing(&[("sent", sent)]), stats, &[]);
        assert!(judge(10, stats(10, 0)).is_empty());
        assert_eq!(judge(10, stats(10, 1)), ["1 mails were sent twice"]);
        assert_eq!(judge(9, stats(9, 0)), ["9 of 10 were sent"]);
        assert_eq!(judge(10, stats(11, 0)), ["the provider took 11 mails, kakitome counts 10"]);
    }
}
