//! `show`.

use std::time::Duration;

use clap::Args;
use serde_json::value::RawValue;

use super::client::{Client, ClientError};
use super::output::Output;
use super::record::{Attempt, Event, Record};
use super::when::relative;
use super::{Exit, table};
use crate::clock::Timestamp;
use crate::notification::NotificationId;

/// Show one notification: its status, every attempt and event, and what happens next
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  kakitome show 0197a3c2-7a10-7c3e-9a55-0d5f6f1f2a3b")]
pub struct ShowArgs {
    /// The id that accepting it answered
    id: NotificationId,
    /// The record as one line of JSON
    #[arg(long)]
    json: bool,
}

/// Runs `show`.
pub async fn run(args: &ShowArgs, client: &Client, out: &mut Output) -> anyhow::Result<Exit> {
    let found = client.get::<Box<RawValue>>(&format!("/v1/notifications/{}", args.id), &[]).await;
    let raw = match found {
        Err(ClientError::Refused(problem)) if problem.status == 404 => {
            anyhow::bail!("there is no notification {}", args.id)
        }
        found => found?,
    };
    if args.json {
        out.line(raw.get())?;
        return Ok(Exit::Done);
    }
    let record: Record = serde_json::from_str(raw.get())?;
    let now = out.now();
    print(&record, now, out)?;
    Ok(Exit::Done)
}

fn print(record: &Record, now: Timestamp, out: &mut Output) -> anyhow::Result<()> {
    out.line(format_args!("{}  {}", record.id, record.status))?;
    let at = |at: Timestamp| format!("{at}  {}", relative(at, now));
    let labels: Vec<String> = record.metadata.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let fields = [
        ("reason", record.reason.clone()),
        ("since", record.status_since.map(at)),
        ("tenant", Some(record.tenant.clone())),
        ("batch", record.batch.clone()),
        ("accepted", Some(at(record.accepted_at))),
        ("deliver at", record.deliver_at.map(at)),
        ("useful until", record.useful_until.map(at)),
        ("sent", record.sent_at.map(at)),
        ("provider", record.provider.clone()),
        ("message id", record.provider_message_id.clone()),
        ("metadata", Some(labels.join(" ")).filter(|labels| !labels.is_empty())),
    ];
    for (name, value) in fields {
        if let Some(value) = value {
            out.line(format_args!("  {name:<13} {value}"))?;
        }
    }
    let mut recipients = table::table(&["recipient", "as", "status", "since"], out.is_out_terminal());
    for recipient in &record.recipients {
        let since = if recipient.status == "pending" { String::new() } else { recipient.since.to_string() };
        recipients.add_row([&recipient.email, &recipient.kind, &recipient.status, &since]);
    }
    out.line(format_args!("\n{}", table::render(&recipients)))?;
    out.line("")?;
    for line in timeline(record) {
        out.line(line)?;
    }
    Ok(out.line(format_args!("next: {}", next(record, now)))?)
}

/// Attempts and events in the order in which they happened.
fn timeline(record: &Record) -> Vec<String> {
    let mut lines = vec![(record.accepted_at, "accepted".to_owned())];
    lines.extend(record.attempts.iter().map(|attempt| (attempt.started_at, tell_attempt(attempt))));
    // An event's whole second began before the attempt that it tells of ended: it counts by its end.
    let told_at = |event: &Event| match event.at.as_ms() % 1000 {
        0 => event.at.plus(Duration::from_millis(999)),
        _ => event.at,
    };
    let mut lines: Vec<_> = lines.into_iter().map(|(at, text)| (at, at, text)).collect();
    lines.extend(record.events.iter().map(|event| (told_at(event), event.at, tell_event(event))));
    lines.sort_by_key(|(order, _, _)| *order);
    lines.into_iter().map(|(_, at, text)| format!("{at}  {text}")).collect()
}

fn tell_attempt(attempt: &Attempt) -> String {
    let took = attempt.ended_at.map_or_else(String::new, |end| {
        format!(" after {}", crate::settings::show_span(end.since(attempt.started_at)))
    });
    let status = attempt.http_status.map_or_else(String::new, |status| format!(", HTTP {status}"));
    let error = attempt.error.as_ref().map_or_else(String::new, |error| format!(": {error}"));
    let outcome = attempt.outcome.replace('_', " ");
    format!("attempt {} at {}: {outcome}{took}{status}{error}", attempt.number, attempt.provider)
}

fn tell_event(event: &Event) -> String {
    let to = event.recipient.as_ref().map_or_else(String::new, |recipient| format!(" {recipient}"));
    let machine = if event.machine { " (by a machine)" } else { "" };
    let words =
        ["reason", "response", "type", "url"].iter().find_map(|name| event.detail.get(*name)?.as_str());
    let words = words.map_or_else(String::new, |words| format!(": {words}"));
    format!("{}{to}{machine}{words}", event.kind)
}

fn next(record: &Record, now: Timestamp) -> String {
    let at = |what: &str| {
        record.next_attempt_at.map_or_else(
            || what.to_owned(),
            |at| {
                if at <= now {
                    format!("{what}, due now")
                } else {
                    format!("{what} at {at}, {}", relative(at, now))
                }
            },
        )
    };
    match record.status.as_str() {
        "accepted" => at("the first attempt"),
        "scheduled" => at("waits for its deliver_at; an attempt"),
        "attempting" => "an attempt is under way".into(),
        "retrying" => at("another attempt"),
        "unknown" if record.next_attempt_at.is_none() => {
            "waits for an event; it is not sent again by itself".into()
        }
        "unknown" => at("waits for an event; if none comes, sent again"),
        "held" => "nothing by itself; `kakitome release` or `kakitome cancel`".into(),
        "failed" => {
            "nothing by itself; `kakitome redrive` sends it again, `kakitome cancel` lets it go".into()
        }
        "expired" => "nothing; its useful_until has passed, `kakitome cancel` takes it off the list".into(),
        "sent" => "the provider's events".into(),
        _ => "nothing".into(),
    }
}
