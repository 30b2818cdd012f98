//! What is wrong with the mail itself: late, dead, unknown, bounced, held.

use super::{
    AlertName, Checked, Finding, Limits, LogReading, Reading, Severity, Unconfirmed, WebhookReading, human,
    word,
};

use crate::storm::Reason;

/// Fewer unknown outcomes settle themselves: every time-out leaves one for some minutes.
const UNKNOWN_AT: u64 = 10;
/// Fewer events say nothing about a rate.
const BOUNCE_EVENTS: u64 = 100;
const COMPLAINT_EVENTS: u64 = 1000;
/// In percent. Providers look at an account at 5 % and 0.1 %.
const BOUNCE_PERCENT: f64 = 5.0;
const COMPLAINT_PERCENT: f64 = 0.1;
/// So many tenants are named; a storm over all of them needs no message each.
const TENANTS: usize = 10;

/// The reason with which an unknown outcome is held for a person.
const UNKNOWN_REASON: &str = "unknown_outcome";

pub(super) fn check(reading: &Reading, limits: &Limits, checked: &mut Checked) {
    match &reading.log {
        Some(Ok(log)) => backlog(log, limits, checked),
        _ => checked.skip(&[
            AlertName::OldestUnsent,
            AlertName::DeadLetters,
            AlertName::Unknown,
            AlertName::UnknownHeld,
            AlertName::GuardHeld,
        ]),
    }
    match reading.unreadable {
        None => checked.skip(&[AlertName::Unreadable]),
        Some(0) => {}
        Some(count) => {
            let what = if count == 1 { "1 queue message".into() } else { format!("{count} queue messages") };
            let summary =
                format!("{what} of the last day could not be sent or even recorded; copies are kept.");
            let found =
                Finding::new(AlertName::Unreadable, Severity::Warning, summary, "kakitome dead-letters list");
            checked.findings.push(found.counting(count));
        }
    }
    match &reading.webhook {
        Some(events) => rates(events, reading, checked),
        None => checked.skip(&[AlertName::BounceRate, AlertName::ComplaintRate]),
    }
    match reading.unconfirmed {
        Some(found) => unconfirmed(found, checked),
        None => checked.skip(&[AlertName::Unconfirmed]),
    }
    storm(reading, checked);
}

fn unconfirmed(found: Unconfirmed, checked: &mut Checked) {
    let at_least = if found.at_least { "At least " } else { "" };
    let kinds = [
        ("processed", found.processed, "taken by a provider that says nothing of them since"),
        ("end", found.end, "taken by a provider that tells of no end: delivered, refused or dropped"),
    ];
    for (lacks, count, what) in kinds.into_iter().filter(|(_, count, _)| *count > 0) {
        let summary = format!("{at_least}{}: {what}.", notifications(count));
        let command = format!("kakitome unconfirmed --lacks {lacks}");
        let finding = Finding::new(AlertName::Unconfirmed, Severity::Warning, summary, command);
        checked.findings.push(finding.of(lacks).counting(count));
    }
}

fn backlog(log: &LogReading, limits: &Limits, checked: &mut Checked) {
    if let Some(age) = log.oldest_unsent.filter(|age| *age > limits.delay) {
        let limit = human(limits.delay);
        let summary = format!("The oldest unsent notification waits for {}, above {limit}.", human(age));
        let command = format!("kakitome unsent --until {}", limit.replace(' ', ""));
        // Grows with the age, so that a delay that becomes ten times as long is said again.
        let minutes = (age.as_secs() / 60).max(1);
        let found = Finding::new(AlertName::OldestUnsent, Severity::Critical, summary, command);
        checked.findings.push(found.counting(minutes));
    }
    if log.failed > 0 {
        let count = log.failed;
        let summary = format!("{} failed for good and nobody has dealt with them.", notifications(count));
        let found = Finding::new(
            AlertName::DeadLetters,
            Severity::Warning,
            summary,
            "kakitome unsent --status failed",
        );
        checked.findings.push(found.counting(count));
    }
    if log.unknown >= UNKNOWN_AT {
        let count = log.unknown;
        let summary = format!(
            "Whether a provider took {} is unknown; events or time will settle it.",
            notifications(count)
        );
        let found =
            Finding::new(AlertName::Unknown, Severity::Warning, summary, "kakitome list --status unknown");
        checked.findings.push(found.counting(count).not_at_once());
    }
    let Some(held) = &log.held else {
        checked.skip(&[AlertName::UnknownHeld, AlertName::GuardHeld]);
        return;
    };
    let count = |reason: &str| held.get(reason).copied().filter(|count| *count > 0);
    let command = |reason: &str| format!("kakitome list --status held --reason {reason}");
    if let Some(count) = count(UNKNOWN_REASON) {
        let summary = format!(
            "{} whose outcome is unknown wait for a person to release or cancel.",
            notifications(count)
        );
        let found = Finding::new(AlertName::UnknownHeld, Severity::Warning, summary, command(UNKNOWN_REASON));
        checked.findings.push(found.counting(count));
    }
    for guarded in Reason::ALL {
        let reason = guarded.as_str();
        let Some(count) = count(reason) else { continue };
        let meaning = match guarded {
            Reason::Repeat => "the same content to the same recipient again",
            Reason::BatchSize => "more than their batch declared",
            Reason::Rate => "their tenant hands in far more than usual",
        };
        let summary = format!("The storm guard holds {}: {meaning}.", notifications(count));
        let found = Finding::new(AlertName::GuardHeld, Severity::Critical, summary, command(reason));
        checked.findings.push(found.of(reason).counting(count));
    }
}

fn notifications(count: u64) -> String {
    if count == 1 { "1 notification".into() } else { format!("{count} notifications") }
}

fn rates(events: &WebhookReading, reading: &Reading, checked: &mut Checked) {
    let ended = events.delivered + events.bounced;
    let has_counted_long = reading.running_for >= super::RATE_WINDOW;
    let mut rate = |name, part: u64, whole: u64, least: u64, limit: f64, what: &str| {
        if whole < least {
            // After a start few events mean nothing; after a whole window that there is little mail.
            if !has_counted_long {
                checked.skip(&[name]);
            }
            return;
        }
        let percent = part as f64 * 100.0 / whole as f64;
        if percent > limit {
            let summary =
                format!("{percent:.2} % {what} in the last hour ({part} of {whole}), above {limit} %.");
            let found =
                Finding::new(name, Severity::Critical, summary, "kakitome list --status sent --since 1h");
            checked.findings.push(found.not_at_once());
        }
    };
    rate(AlertName::BounceRate, events.bounced, ended, BOUNCE_EVENTS, BOUNCE_PERCENT, "bounced");
    let (part, whole) = (events.complained, events.delivered);
    rate(
        AlertName::ComplaintRate,
        part,
        whole,
        COMPLAINT_EVENTS,
        COMPLAINT_PERCENT,
        "of deliveries were complained of",
    );
}

fn storm(reading: &Reading, checked: &mut Checked) {
    let Some(unusual) = &reading.unusual else {
        checked.skip(&[AlertName::UnusualRate]);
        return;
    };
    let mut unusual: Vec<_> = unusual.iter().collect();
    unusual.sort_by(|a, b| b.per_minute.total_cmp(&a.per_minute));
    for tenant in unusual.into_iter().take(TENANTS) {
        let (name, rate, usual) = (&tenant.tenant, tenant.per_minute, tenant.usual);
        let summary = format!("Tenant {name} hands in {rate:.0} a minute; usual are {usual:.0}.");
        let command = format!("kakitome hold --tenant {} --reason 'unusual rate'", word(name));
        let found = Finding::new(AlertName::UnusualRate, Severity::Critical, summary, command);
        // The cast saturates, and no rate is negative.
        checked.findings.push(found.of(name).counting((rate as u64).max(1)));
    }
}
