//! `events`.

mod aside;
mod unmatched;

use std::num::NonZeroUsize;

use clap::{Args, Subcommand};
use serde_json::value::RawValue;

use super::client::Client;
use super::output::Output;
use super::{Exit, table};
use crate::clock::Timestamp;
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
  kakitome events --unmatched --json | jq -r .recipient | sort | uniq -c")]
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
    /// At most this many [default: all; of the unmatched 50 in a table]
    #[arg(long, value_name = "N")]
    limit: Option<NonZeroUsize>,
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
    let limit = args.limit.map(NonZeroUsize::get);
    if args.unmatched {
        return unmatched::run(limit, args.json, client, out).await;
    }
    let mut cursor = args.since.clone().or_else(|| args.follow.then(|| "latest".to_owned()));
    let (mut has_head, mut left) = (false, limit.unwrap_or(usize::MAX));
    loop {
        let asked = left.clamp(1, PAGE);
        let mut query = vec![("limit", asked.to_string())];
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
        left = left.saturating_sub(page.items.len());
        let is_end = page.items.len() < asked && !args.follow;
        cursor = Some(page.next_cursor.as_str().to_owned());
        if is_end || left == 0 {
            if !has_head && !args.json {
                out.note("nothing has changed")?;
            }
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
            seconds(at),
            // As wide as any: with --follow each page is a table of its own.
            format!("{status:<10}"),
            id.to_string(),
            recipient.map_or_else(String::new, |address| address.reveal().to_owned()),
            reason.unwrap_or_default(),
            batch.unwrap_or_default(),
        ]);
    }
    out.line(table::render(&table))?;
    Ok(())
}

/// To the second: an id and an address have to stand beside it.
fn seconds(at: Timestamp) -> String {
    let text = at.to_string();
    text.get(..19).map_or(text.clone(), |text| format!("{text}Z"))
}
