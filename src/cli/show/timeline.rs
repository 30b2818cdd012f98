//! What happened to one notification, in the order of cause and effect.

use std::time::Duration;

use crate::cli::record::{Act, Attempt, Event, Record};
use crate::clock::Timestamp;

/// One thing that happened. What the same millisecond holds comes in the order in which it was put in.
struct Happening {
    order: Timestamp,
    at: Timestamp,
    text: String,
}

/// Everything that happened until `now`, a line each.
pub fn lines(record: &Record, now: Timestamp) -> Vec<String> {
    let mut happened = vec![accepted(record)];
    let mut add = |at: Timestamp, text: String| happened.push(Happening { order: at, at, text });
    let last = record.attempts.len().saturating_sub(1);
    let mut after_unknown = false;
    for (ix, attempt) in record.attempts.iter().enumerate() {
        add(attempt.started_at, tell_attempt(attempt, after_unknown));
        let derived = ix == last && record.status == "unknown" && attempt.outcome == "pending";
        let unknown_at = match (attempt.outcome.as_str(), derived) {
            ("unknown", _) => attempt.ended_at,
            (_, true) => record.status_since,
            _ => None,
        };
        after_unknown = unknown_at.is_some() || attempt.outcome == "unknown";
        if let Some(at) = unknown_at {
            add(at, format!("its outcome is unknown: {} may have taken it", attempt.provider));
        }
    }
    record.acts.iter().for_each(|act| add(act.at, tell_act(act)));
    if let Some((at, text)) = end(record) {
        add(at, text);
    }
    if let Some(deadline) = record.useful_until.filter(|at| *at <= now && record.status != "expired") {
        add(deadline, "its useful_until passed".into());
    }
    let told = |event: &Event| Happening { order: told_at(event), at: event.at, text: tell_event(event) };
    happened.extend(record.events.iter().map(told));
    happened.sort_by_key(|one| one.order);
    happened.into_iter().map(|Happening { at, text, .. }| format!("{at}  {text}")).collect()
}

fn accepted(record: &Record) -> Happening {
    let at = record.accepted_at;
    let later = record.deliver_at.filter(|later| *later > at);
    let text =
        later.map_or_else(|| "accepted".to_owned(), |later| format!("accepted, to be sent at {later}"));
    Happening { order: at, at, text }
}

/// The end, or the stand, that no attempt and no act tells of.
fn end(record: &Record) -> Option<(Timestamp, String)> {
    let since = record.status_since?;
    let reason = record.reason.as_ref().map_or_else(String::new, |reason| format!(": {reason}"));
    let by_act = record.acts.iter().any(|act| act.at == since);
    match record.status.as_str() {
        "sent" => {
            let at = record.sent_at?;
            let answered = record.attempts.iter().any(|attempt| {
                attempt.outcome == "accepted" && attempt.ended_at.is_some_and(|end| end >= at)
            });
            (!answered).then(|| (at, "an event proves that the provider took it".to_owned()))
        }
        "expired" => Some((since, "expired: its useful_until passed before it was sent".into())),
        "failed" => Some((since, format!("a dead letter{reason}"))),
        "held" if !by_act => Some((since, format!("held{reason}"))),
        "suppressed" => Some((since, format!("suppressed{reason}"))),
        _ => None,
    }
}

/// An event's whole second began before the attempt that it tells of ended: it counts by its end.
fn told_at(event: &Event) -> Timestamp {
    match event.at.as_ms() % 1000 {
        0 => event.at.plus(Duration::from_millis(999)),
        _ => event.at,
    }
}

fn tell_attempt(attempt: &Attempt, after_unknown: bool) -> String {
    let Attempt { number, provider, .. } = attempt;
    let again = if after_unknown { ", sent again after an unknown outcome" } else { "" };
    let took = attempt.ended_at.map_or_else(String::new, |end| {
        format!(" after {}", crate::settings::show_span(end.since(attempt.started_at)))
    });
    let status = attempt.http_status.map_or_else(String::new, |status| format!(", HTTP {status}"));
    let error = attempt.error.as_ref().map_or_else(String::new, |error| format!(": {error}"));
    let outcome = match attempt.outcome.as_str() {
        "pending" => "no answer yet".to_owned(),
        outcome => outcome.replace('_', " "),
    };
    format!("attempt {number} at {provider}{again}: {outcome}{took}{status}{error}")
}

fn tell_act(act: &Act) -> String {
    let why = act.why.as_ref().map_or_else(String::new, |why| format!(": {why}"));
    let kind = match act.kind.as_str() {
        "redriven_late" => "redriven past its useful_until".to_owned(),
        kind => kind.replace('_', " "),
    };
    format!("{kind} by {}{why}", act.who)
}

fn tell_event(event: &Event) -> String {
    let to = event.recipient.as_ref().map_or_else(String::new, |recipient| format!(" {recipient}"));
    let machine = match &event.machine_reason {
        Some(reason) => format!(" (by a machine: {})", reason.replace('_', " ")),
        None if event.machine => " (by a machine)".into(),
        None => String::new(),
    };
    let words =
        ["reason", "response", "type", "url"].iter().find_map(|name| event.detail.get(*name)?.as_str());
    let words = words.map_or_else(String::new, |words| format!(": {words}"));
    format!("{}{to}{machine}{words}", event.kind)
}
