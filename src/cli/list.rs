//! `list` and `unsent`.

use clap::Args;

use super::client::Client;
use super::filter::FilterArgs;
use super::output::Output;
use super::record::{Page, Record};
use super::when::{human, relative};
use super::{Exit, table};
use crate::clock::{Clock, Timestamp};

/// Records asked for at once.
const PAGE: usize = 200;
/// Rows of a table, unless `--limit` says otherwise.
const ROWS: usize = 50;

/// List notifications, newest first
#[derive(Debug, Args)]
#[command(after_help = "\
Example: what failed for one guest since yesterday, and the same for a script
  kakitome list --status failed --recipient guest@example.com --since 1d
  kakitome list --status failed --since 1d --json | jq -r .id")]
pub struct ListArgs {
    #[command(flatten)]
    filter: FilterArgs,
    #[command(flatten)]
    form: FormArgs,
}

/// List everything accepted and not handed to a provider, dead letters included, worst first
#[derive(Debug, Args)]
#[command(after_help = "\
Example: what has been waiting since before nine o'clock in Tokyo
  kakitome unsent --until 2026-11-21T09:00:00+09:00")]
pub struct UnsentArgs {
    #[command(flatten)]
    filter: FilterArgs,
    #[command(flatten)]
    form: FormArgs,
}

#[derive(Debug, Args)]
struct FormArgs {
    /// One JSON record a line, all of them unless --limit says otherwise
    #[arg(long)]
    json: bool,
    /// At most this many [default: 50 in a table]
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
}

/// Runs `list`.
pub async fn run(args: &ListArgs, client: &Client, out: &mut Output) -> anyhow::Result<Exit> {
    listing(args.filter.query(), &args.form, client, out).await
}

/// Runs `unsent`.
pub async fn run_unsent(args: &UnsentArgs, client: &Client, out: &mut Output) -> anyhow::Result<Exit> {
    let mut query = args.filter.query();
    query.extend([("unsent", "true".to_owned()), ("order", "oldest".to_owned())]);
    listing(query, &args.form, client, out).await
}

async fn listing(
    query: Vec<(&'static str, String)>,
    form: &FormArgs,
    client: &Client,
    out: &mut Output,
) -> anyhow::Result<Exit> {
    let limit = form.limit.unwrap_or(if form.json { usize::MAX } else { ROWS });
    let (mut left, mut cursor) = (limit, None::<String>);
    let mut rows = Vec::new();
    let more = loop {
        if left == 0 {
            break cursor.is_some();
        }
        let mut query = query.clone();
        query.push(("limit", left.min(PAGE).to_string()));
        query.extend(cursor.take().map(|cursor| ("cursor", cursor)));
        let page: Page = client.get("/v1/notifications", &query).await?;
        for item in page.items.iter().take(left) {
            if form.json {
                out.line(item.get())?;
            } else {
                rows.push(serde_json::from_str::<Record>(item.get())?);
            }
        }
        left = left.saturating_sub(page.items.len());
        cursor = page.next_cursor;
        if cursor.is_none() {
            break false;
        }
    };
    if !form.json {
        print(&rows, more, out)?;
    }
    Ok(Exit::Done)
}

fn print(rows: &[Record], more: bool, out: &mut Output) -> anyhow::Result<()> {
    if rows.is_empty() {
        return Ok(out.note("nothing matches")?);
    }
    let now = Clock::system().now();
    let heads = ["id", "status", "age", "tenant", "to", "attempts", "reason", "next"];
    let mut table = table::table(&heads, out.is_out_terminal());
    for record in rows {
        table.add_row([
            record.id.clone(),
            record.status.clone(),
            human(now.since(record.accepted_at)),
            record.tenant.clone(),
            recipients(record),
            record.attempts.len().to_string(),
            reason(record),
            record.next_attempt_at.map_or_else(String::new, |at| next(at, now)),
        ]);
    }
    out.line(table::render(&table))?;
    if more {
        out.line("… and more: --limit N or --json")?;
    }
    Ok(())
}

fn recipients(record: &Record) -> String {
    match record.recipients.as_slice() {
        [] => String::new(),
        [one] => one.email.clone(),
        [first, others @ ..] => format!("{} +{}", first.email, others.len()),
    }
}

/// Its reason; without one what the provider said last, which is what an operator looks for.
fn reason(record: &Record) -> String {
    let last_error = || record.attempts.last().and_then(|attempt| attempt.error.clone());
    let text = record.reason.clone().or_else(last_error).unwrap_or_default();
    if text.chars().count() <= 60 { text } else { text.chars().take(59).chain(['…']).collect() }
}

fn next(at: Timestamp, now: Timestamp) -> String {
    if at <= now { "now".into() } else { relative(at, now) }
}
