//! `unconfirmed`.

use clap::Args;
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use super::client::Client;
use super::output::Output;
use super::when::relative;
use super::{Exit, Usage, table};
use crate::clock::Timestamp;
use crate::message_log::Lacks;

/// List what a provider took and was not heard of: nothing within 15 minutes, or no end within 72 hours
#[derive(Debug, Args)]
#[command(after_help = "\
Example: what was accepted by the provider and may be lost there
  kakitome unconfirmed --lacks processed
  kakitome unconfirmed --lacks processed \\
      --dismiss 'lost at the provider, handed in again'

The deadlines are watchdog.processed_within and watchdog.end_within. What is heard of later leaves the list by itself. At \
most 10,000 are kept; with more it says so. The runbook is runbooks/unconfirmed.md.")]
pub struct UnconfirmedArgs {
    /// Only what lacks this
    #[arg(long, value_enum)]
    lacks: Option<Lacks>,
    /// Only this tenant's
    #[arg(long)]
    tenant: Option<String>,
    /// At most this many
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,
    /// One JSON object a line
    #[arg(long, conflicts_with = "dismiss")]
    json: bool,
    /// Take what matches off the list, for this reason: it was dealt with
    #[arg(long, value_name = "REASON")]
    dismiss: Option<String>,
    /// Do not ask
    #[arg(long, requires = "dismiss")]
    yes: bool,
}

/// How many there are.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Counts {
    pub processed: u64,
    pub end: u64,
    pub at_least: bool,
    pub looked_at: Option<Timestamp>,
    pub without_events: Vec<String>,
}

impl Counts {
    /// In words; nothing where there are none.
    pub fn words(&self) -> Option<String> {
        let at_least = if self.at_least { "at least " } else { "" };
        let parts = [(self.processed, "sent and not heard of"), (self.end, "sent without an end")];
        let parts: Vec<_> = parts
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, what)| format!("{count} {what}"))
            .collect();
        (!parts.is_empty()).then(|| format!("{at_least}{}", parts.join(", ")))
    }
}

#[derive(Debug, Deserialize)]
struct Page {
    items: Vec<Box<RawValue>>,
    next_cursor: Option<String>,
    #[serde(flatten)]
    counts: Counts,
}

#[derive(Debug, Deserialize)]
struct Finding {
    id: String,
    tenant: String,
    provider: String,
    sent_at: Timestamp,
    lacks: String,
    without: u64,
    recipients: u64,
}

/// Runs `unconfirmed`.
pub async fn run(args: &UnconfirmedArgs, client: &Client, out: &mut Output) -> anyhow::Result<Exit> {
    if let Some(reason) = &args.dismiss {
        return dismiss(args, reason, client, out).await;
    }
    let mut query = Vec::new();
    query.extend(args.tenant.clone().map(|tenant| ("tenant", tenant)));
    query.extend(args.lacks.map(|lacks| ("lacks", lacks.as_str().to_owned())));
    let mut left = usize::try_from(args.limit).unwrap_or(usize::MAX);
    let (mut found, mut cursor) = (Vec::new(), None::<String>);
    let (counts, has_more) = loop {
        let mut asked = query.clone();
        asked.push(("limit", left.min(1000).to_string()));
        asked.extend(cursor.take().map(|cursor| ("cursor", cursor)));
        let page: Page = client.get("/v1/unconfirmed", &asked).await?;
        left = left.saturating_sub(page.items.len());
        found.extend(page.items);
        cursor = page.next_cursor;
        if cursor.is_none() || left == 0 {
            break (page.counts, cursor.is_some());
        }
    };
    if args.json {
        for item in found {
            out.line(item.get())?;
        }
    } else {
        print(&found, out)?;
    }
    if has_more {
        out.note("there are more; --limit shows them")?;
    }
    tell(&counts, out)?;
    Ok(Exit::Done)
}

#[derive(Debug, Deserialize)]
struct Dismissed {
    count: u64,
}

async fn dismiss(
    args: &UnconfirmedArgs,
    reason: &str,
    client: &Client,
    out: &mut Output,
) -> anyhow::Result<Exit> {
    let mut body = json!({"reason": reason, "dry_run": true});
    if let Some(tenant) = &args.tenant {
        body["tenant"] = tenant.as_str().into();
    }
    if let Some(lacks) = args.lacks {
        body["lacks"] = lacks.as_str().into();
    }
    let Dismissed { count } = client.post("/v1/unconfirmed/dismiss", &body).await?;
    if count == 0 {
        out.note("nothing matches")?;
        return Ok(Exit::Done);
    }
    if !args.yes {
        match out.ask(format_args!("take {count} off the list?"))? {
            Some(true) => {}
            Some(false) => {
                out.note("nothing was changed")?;
                return Ok(Exit::Done);
            }
            None => {
                let words = format!(
                    "nothing was changed: to take {count} off the list without a terminal, add --yes"
                );
                return Err(Usage(words).into());
            }
        }
    }
    body["dry_run"] = false.into();
    let Dismissed { count } = client.post("/v1/unconfirmed/dismiss", &body).await?;
    out.line(format_args!("{count} taken off the list"))?;
    Ok(Exit::Done)
}

fn print(found: &[Box<RawValue>], out: &mut Output) -> anyhow::Result<()> {
    if found.is_empty() {
        return Ok(());
    }
    let now = out.now();
    let heads = ["id", "tenant", "provider", "sent", "lacks", "recipients"];
    let mut rows = table::table(&heads, out.is_out_terminal());
    for item in found {
        let one: Finding = serde_json::from_str(item.get())?;
        let sent = relative(one.sent_at, now);
        let recipients = format!("{} of {}", one.without, one.recipients);
        rows.add_row([one.id, one.tenant, one.provider, sent, one.lacks, recipients]);
    }
    out.line(table::render(&rows))?;
    Ok(())
}

/// What the list does not say.
fn tell(counts: &Counts, out: &mut Output) -> anyhow::Result<()> {
    match (counts.words(), counts.looked_at) {
        (_, None) => out.note("nobody looked yet: a process with the worker role does")?,
        (Some(words), _) => out.note(words)?,
        (None, Some(at)) => out
            .note(format_args!("everything that was sent was heard of, as of {}", relative(at, out.now())))?,
    }
    for provider in &counts.without_events {
        out.note(format_args!("{provider}: no events configured, and none ever came: not watched"))?;
    }
    Ok(())
}
