//! `show`.

mod timeline;

use clap::Args;
use serde_json::value::RawValue;

use super::client::{Client, ClientError};
use super::output::Output;
use super::record::{Next, Record};
use super::when::relative;
use super::{Exit, table};
use crate::clock::Timestamp;
use crate::notification::NotificationId;

/// Show one notification: its status, every attempt, event and act in their order, and what happens next and when
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
        ("opens", record.engagement.opens.words()),
        ("clicks", record.engagement.clicks.words()),
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
    for line in timeline::lines(record, now) {
        out.line(line)?;
    }
    for line in next(record, now) {
        out.line(line)?;
    }
    Ok(())
}

/// What happens next and when, and a line for why.
fn next(record: &Record, now: Timestamp) -> Vec<String> {
    let Some(Next { what, at, latest, why }) = &record.next else {
        return vec![match record.next_attempt_at {
            Some(at) => format!("next: an attempt at {at}, {}", relative(at, now)),
            None => "next: nothing that this server tells of".into(),
        }];
    };
    let what = match what.as_str() {
        "attempt" => "an attempt",
        "answer" => "the attempt under way ends",
        "resend" => "sent again",
        "expire" => "it expires",
        "hold" => "it is held",
        "cancel" => "it is cancelled",
        "fail" => "it becomes a dead letter",
        "nothing" => return vec![format!("next: {why}")],
        other => other,
    };
    let at = match at {
        Some(at) if *at <= now => ", due now".into(),
        Some(at) => format!(" at {at}, {}", relative(*at, now)),
        None => String::new(),
    };
    let latest = latest.map(|at| format!("      at the latest at {at}, {}", relative(at, now)));
    let mut lines = vec![format!("next: {what}{at}")];
    lines.extend(latest);
    lines.extend(why.split("; ").map(|why| format!("      {why}")));
    lines
}
