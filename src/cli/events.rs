//! `events`.

mod aside;
mod unmatched;

use clap::{Args, Subcommand};
use serde_json::value::RawValue;

use super::client::Client;
use super::output::Output;
use super::{Exit, table};
use crate::feed::{Cursor, Entry};

/// What changed, in order: notifications that came to an end, are held or came back, and what became of recipients
///
/// Prints from a cursor to the present end, and on stderr the cursor to go on from. Without --since it begins with the
/// oldest change that is kept, with --follow with what happens from now on.
#[derive(Debug, Args)]
#[command(after_help = "\
Example: what happens, as it happens; and everything since a cursor, for a program
  kakitome events --follow
  kakitome events --since 41.a8cfde63 --json
Example: whose mail does a provider account tell of that is not ours?
  kakitome events --unmatched --json | jq -r .recipient | sort | uniq -c | sort -n")]
#[command(args_conflicts_with_subcommands = true)]
pub struct EventsArgs {
    #[command(subcommand)]
    command: Option<EventsCommand>,
    /// Whose [default: the key's own tenant]
    #[arg(long)]
    tenant: Option<String>,
    /// The cursor to begin behind, or `latest`
    #[arg(long, value_name = "CURSOR")]
    since: Option<String>,
    /// Go on with what happens, until it is stopped
    #[arg(long)]
    follow: bool,
    /// Instead: the providers' events that match no notification; kept for 30 days and looked at again
    #[arg(long, conflicts_with_all = ["tenant", "since", "follow"])]
    unmatched: bool,
    /// At most this many of those [default: 50 in a table]
    #[arg(long, value_name = "N", requires = "unmatched")]
    limit: Option<usize>,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum EventsCommand {
    Aside(aside::AsideArgs),
}

#[derive(serde::Deserialize)]
struct Page {
    items: Vec<Box<RawValue>>,
    next_cursor: Cursor,
}

/// As many as one page of the feed holds.
const PAGE: usize = 1000;

/// Runs `events`.
pub async fn run(args: &EventsArgs, client: &Client, out: &mut Output) -> anyhow::Result<Exit> {
    if let Some(EventsCommand::Aside(args)) = &args.command {
        return aside::run(args, client, out).await;
    }
    if args.unmatched {
        return unmatched::run(args.limit, args.json, client, out).await;
    }
    let mut cursor = args.since.clone().or_else(|| args.follow.then(|| "latest".to_owned()));
    let mut has_head = false;
    loop {
        let mut query = vec![("limit", PAGE.to_string())];
        query.extend(args.tenant.iter().map(|tenant| ("tenant", tenant.clone())));
        query.extend(cursor.iter().map(|cursor| ("cursor", cursor.clone())));
        if args.follow {
            query.push(("wait", "30".to_owned()));
        }
        let page: Page = client.get("/v1/events", &query).await?;
        if args.json {
            page.items.iter().try_for_each(|item| out.line(item.get()))?;
        } else if !page.items.is_empty() {
            print(&page.items, !has_head, out)?;
            has_head = true;
        }
        out.flush()?;
        let is_end = page.items.len() < PAGE;
        cursor = Some(page.next_cursor.as_str().to_owned());
        if is_end && !args.follow {
            out.note(format_args!("to go on: --since {}", page.next_cursor.as_str()))?;
            return Ok(Exit::Done);
        }
    }
}

fn print(items: &[Box<RawValue>], with_head: bool, out: &mut Output) -> anyhow::Result<()> {
    let heads: &[&str] =
        if with_head { &["at", "status", "notification", "recipient", "reason", "batch"] } else { &[] };
    let mut table = table::table(heads, out.is_out_terminal());
    for item in items {
        let Entry { at, status, id, recipient, reason, batch, .. } = serde_json::from_str(item.get())?;
        table.add_row([
            at.to_string(),
            status.as_str().to_owned(),
            id.to_string(),
            recipient.map_or_else(String::new, |address| address.reveal().to_owned()),
            reason.unwrap_or_default(),
            batch.unwrap_or_default(),
        ]);
    }
    out.line(table::render(&table))?;
    Ok(())
}
