//! What to do next, with the filters filled in.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

use super::{Incident, Why};
use crate::clock::Timestamp;

/// A command, ready to be copied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = IncidentCommand)]
pub struct Command {
    /// Why.
    pub why: String,
    /// To be typed as it stands.
    pub command: String,
}

/// One that many of the affected belong to is worth to be contained by itself from this share on, in percent.
const LARGE_SHARE: u64 = 50;

pub(super) fn next(incident: &Incident) -> Vec<Command> {
    let count = |why: Why| incident.by_why.get(&why).copied().unwrap_or(0);
    let mut commands = Vec::new();
    let mut add = |why: String, command: String| commands.push(Command { why, command });
    let waiting = count(Why::NotSent);
    if let Some((flag, name, share)) = culprit(incident).filter(|_| waiting > 0) {
        add(
            format!(
                "{share} of {} affected are of this {flag}: contain it first, if it is the cause",
                incident.affected
            ),
            format!("kakitome hold --{flag} {} --reason 'incident'", quoted(name)),
        );
    }
    let failed = count(Why::Failed);
    if failed > 0 {
        let which = which(incident, Why::Failed, &incident.dead_reasons);
        add(
            format!("{failed} failed: see what a redrive would do"),
            format!("kakitome redrive{which} --dry-run"),
        );
        add(
            "send them again, a few first, and stop if they fail again".into(),
            format!("kakitome redrive{which} --canary 20 --stop-above 10 --note 'incident'"),
        );
    }
    if count(Why::Held) > 0 {
        commands.extend(releases(incident));
    }
    let mut add = |why: String, command: String| commands.push(Command { why, command });
    let unknown = count(Why::Unknown);
    if unknown > 0 {
        let which = which(incident, Why::Unknown, &BTreeMap::new());
        add(
            format!(
                "{unknown} with an unknown outcome: they settle by themselves; `kakitome show ID` says when"
            ),
            format!("kakitome list --status unknown{which}"),
        );
    }
    if waiting > 0 {
        add(format!("{waiting} on their way: how long it takes"), "kakitome status".into());
    }
    if incident.affected > 0 {
        add("for the support desk".into(), {
            let which = since_and_tenant(incident, incident.question.since);
            format!("kakitome incident{which} --csv incident.csv")
        });
    }
    add("is it over".into(), "kakitome status --prove".into());
    commands
}

/// How many reasons of holds are told.
const MOST_REASONS: usize = 3;

/// One for each reason, most first; of one tenant, whatever the reason.
fn releases(incident: &Incident) -> Vec<Command> {
    let since = since(incident.earliest.get(&Why::Held).copied().unwrap_or(incident.question.since));
    let mut reasons: Vec<_> = incident.held_reasons.iter().collect();
    reasons.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    let release = |count: u64, which: String| Command {
        why: format!("{count} held: let them go on once the cause is mended"),
        command: format!("kakitome release {which}{since}"),
    };
    match &incident.question.tenant {
        Some(tenant) => {
            let held = incident.by_why.get(&Why::Held).copied().unwrap_or(0);
            vec![release(held, format!("--tenant {}", quoted(tenant)))]
        }
        None => reasons
            .into_iter()
            .take(MOST_REASONS)
            .map(|(reason, count)| release(*count, format!("--held-for {}", quoted(reason))))
            .collect(),
    }
}

/// The one broadcast, or else the one tenant among several, that most of the affected belong to.
fn culprit(incident: &Incident) -> Option<(&'static str, &str, u64)> {
    let is_large = |share: u64| share * 100 >= incident.affected * LARGE_SHARE;
    let batch = incident.batches.iter().max_by_key(|(_, count)| **count);
    if let Some((name, count)) = batch.filter(|(_, count)| is_large(**count)) {
        return Some(("batch", name, *count));
    }
    let tenant = incident.tenants.iter().max_by_key(|(_, share)| share.affected);
    let (name, share) = tenant.filter(|(_, share)| is_large(share.affected))?;
    (incident.tenants.len() > 1).then_some(("tenant", name.as_str(), share.affected))
}

/// The filter for those affected in this way, which may have been accepted before the incident began.
fn which(incident: &Incident, why: Why, reasons: &BTreeMap<String, u64>) -> String {
    let earliest = incident.earliest.get(&why).copied().unwrap_or(incident.question.since);
    let mut which = since_and_tenant(incident, earliest.min(incident.question.since));
    if let (1, Some((reason, _))) = (reasons.len(), reasons.first_key_value()) {
        which.push_str(&format!(" --reason {}", quoted(reason)));
    }
    which
}

fn since_and_tenant(incident: &Incident, since: Timestamp) -> String {
    // Whole seconds are easier to read; the first of them must stay inside.
    let whole =
        |at: Timestamp| Timestamp::from_ms(at.as_ms() / 1000 * 1000).to_string().replace(".000Z", "Z");
    let mut which = format!(" --since {}", whole(since));
    if let Some(until) = incident.question.until {
        which.push_str(&format!(" --until {until}"));
    }
    if let Some(tenant) = &incident.question.tenant {
        which.push_str(&format!(" --tenant {}", quoted(tenant)));
    }
    which
}

/// Whole seconds are easier to read; the first of them must stay inside.
fn since(at: Timestamp) -> String {
    let whole = Timestamp::from_ms(at.as_ms() / 1000 * 1000).to_string();
    format!(" --since {}", whole.replace(".000Z", "Z"))
}

/// For a shell.
fn quoted(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | ':' | '/');
    if !text.is_empty() && !text.starts_with('-') && text.chars().all(is_plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_shell_would_read_otherwise_is_quoted() {
        assert_eq!(quoted("refused_400"), "refused_400");
        assert_eq!(quoted("it's $HOME"), r"'it'\''s $HOME'");
        assert_eq!(quoted(""), "''");
        assert_eq!(quoted("--yes"), "'--yes'");
    }
}
