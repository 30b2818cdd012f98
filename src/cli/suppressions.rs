//! `suppressions`: list, add, remove, import and export.

mod export;
mod import;
mod line;
mod remove;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use super::client::Client;
use super::output::Output;
use super::when::{parse_moment, relative};
use super::{Exit, table};
use crate::clock::Timestamp;
use crate::suppression::{Reason, Source};

/// Entries asked for at once.
const PAGE: usize = 500;
/// Rows of a table, unless `--limit` says otherwise.
const ROWS: usize = 50;

/// The suppression list: to whom nothing is sent any more, and why
///
/// Bounces, complaints, unsubscribes and the provider's own drops fill it by themselves. Each tenant has its own.
#[derive(Debug, Args)]
pub struct SuppressionsArgs {
    #[command(subcommand)]
    command: SuppressionsCommand,
}

#[derive(Debug, Subcommand)]
enum SuppressionsCommand {
    List(ListArgs),
    Add(AddArgs),
    Remove(RemoveArgs),
    Import(ImportArgs),
    Export(ExportArgs),
}

/// Which entries: every given flag must match.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Which")]
struct WhichArgs {
    /// Of this tenant
    #[arg(long)]
    tenant: Option<String>,
    /// For this reason
    #[arg(long)]
    reason: Option<Reason>,
    /// This address; quoted and unquoted carrier forms are the same
    #[arg(long)]
    address: Option<String>,
    /// Standing since: 2h, 2026-11-21T09:00:00Z or 2026-11-21T18:00:00+09:00
    #[arg(long, value_name = "TIME", value_parser = parse_moment)]
    since: Option<Timestamp>,
}

/// List entries
#[derive(Debug, Args)]
#[command(after_help = "\
Example: why does this guest get no mail, and who took whom off lately
  kakitome suppressions list --address guest@example.com
  kakitome suppressions list --removed --json")]
struct ListArgs {
    #[command(flatten)]
    which: WhichArgs,
    /// What was taken off within the last 90 days, and by whom, instead of what stands
    #[arg(long)]
    removed: bool,
    /// One JSON entry a line, all of them unless --limit says otherwise
    #[arg(long)]
    json: bool,
    /// At most this many [default: 50 in a table]
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
}

/// Put addresses on the list: nothing is sent there any more
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  kakitome suppressions add guest@example.com --note 'asked by telephone'")]
struct AddArgs {
    /// The addresses
    #[arg(required = true, value_name = "ADDRESS")]
    addresses: Vec<String>,
    /// Why
    #[arg(long, default_value = "manual")]
    reason: Reason,
    /// In your words; kept with the entry
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
    /// Whose list [default: the key's own tenant]
    #[arg(long)]
    tenant: Option<String>,
    /// One JSON result a line
    #[arg(long)]
    json: bool,
}

/// Take addresses off the list: mail goes there again
///
/// Shows the exact count first and asks where it is more than one. An event that was told before does not put an address
/// back; a new one does. What ended as suppressed is sent by `redrive --status suppressed`.
#[derive(Debug, Args)]
#[command(after_help = "\
Example: a mailbox that was full works again; what was not sent meanwhile is sent now
  kakitome suppressions remove guest@example.com --reason bounce \\
      --note 'mailbox is back'
  kakitome redrive --status suppressed --recipient guest@example.com")]
struct RemoveArgs {
    /// The addresses
    #[arg(value_name = "ADDRESS", required_unless_present = "file")]
    addresses: Vec<String>,
    /// Also every address in this file, in the forms that import reads; -: standard input
    #[arg(long, value_name = "FILE|-")]
    file: Option<PathBuf>,
    /// Only this reason [default: all]
    #[arg(long)]
    reason: Option<Reason>,
    /// Why; kept with the entry
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
    /// Whose list [default: the key's own tenant]
    #[arg(long)]
    tenant: Option<String>,
    /// Show the count and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// One JSON result a line
    #[arg(long)]
    json: bool,
}

/// Put many addresses on the list: one a line in, one result a line out, in the same order
///
/// NDJSON ({"email":…,"reason":…,"note":…,"group":…,"tenant":…}, all but the email optional) or CSV (email, reason, note;
/// other columns by the names in the first line). What `export` writes is read back. Exit 1 if any line was refused.
#[derive(Debug, Args)]
#[command(after_help = "\
Example: a list from another system
  kakitome suppressions import bounces.csv --reason bounce --dry-run
  kakitome suppressions import bounces.csv --reason bounce > results.ndjson")]
struct ImportArgs {
    /// NDJSON or CSV; - or nothing: standard input
    #[arg(value_name = "FILE|-")]
    file: Option<PathBuf>,
    /// Why, where a line does not say
    #[arg(long, default_value = "manual")]
    reason: Reason,
    /// In your words, where a line does not say
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
    /// Whose list, whatever the lines say [default: the line's, else the key's own tenant]
    #[arg(long)]
    tenant: Option<String>,
    /// Read and check every line, and change nothing
    #[arg(long)]
    dry_run: bool,
}

/// Write every entry to standard output
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  kakitome suppressions export --format csv --tenant inn > suppressed.csv")]
struct ExportArgs {
    #[command(flatten)]
    which: WhichArgs,
    /// In which form
    #[arg(long, value_enum, default_value = "ndjson")]
    format: Form,
}

/// A form of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Form {
    /// One JSON object a line
    Ndjson,
    /// Columns, with their names in the first line
    Csv,
}

#[derive(Debug, Deserialize)]
struct Listed {
    items: Vec<Box<RawValue>>,
    next_cursor: Option<String>,
}

/// An entry as the API tells it.
#[derive(Debug, Deserialize)]
struct Entry {
    email: String,
    tenant: String,
    reason: Reason,
    group: Option<String>,
    source: Source,
    created_at: Timestamp,
    removed: Option<Source>,
}

/// Runs `suppressions`.
pub async fn run(args: &SuppressionsArgs, client: &Client, out: &mut Output) -> anyhow::Result<Exit> {
    match &args.command {
        SuppressionsCommand::List(args) => list(args, client, out).await,
        SuppressionsCommand::Add(args) => add(args, client, out).await,
        SuppressionsCommand::Remove(args) => remove::run(args, client, out).await,
        SuppressionsCommand::Import(args) => import::run(args, client, out).await,
        SuppressionsCommand::Export(args) => export::run(args, client, out).await,
    }
}

impl WhichArgs {
    fn query(&self) -> Vec<(&'static str, String)> {
        let Self { tenant, reason, address, since } = self;
        let texts = [("tenant", tenant.clone()), ("address", address.clone())];
        let others =
            [("reason", reason.map(|reason| reason.to_string())), ("since", since.map(|at| at.to_string()))];
        let all = texts.into_iter().chain(others);
        all.filter_map(|(name, value)| Some((name, value?))).collect()
    }
}

/// Hands out up to `most` entries; whether there are more.
async fn each(
    query: &[(&'static str, String)],
    most: usize,
    client: &Client,
    mut take: impl FnMut(&RawValue) -> anyhow::Result<()>,
) -> anyhow::Result<bool> {
    let (mut left, mut cursor) = (most, None::<String>);
    while left > 0 {
        let mut query = query.to_vec();
        query.push(("limit", left.min(PAGE).to_string()));
        query.extend(cursor.take().map(|cursor| ("cursor", cursor)));
        let page: Listed = client.get("/v1/suppressions", &query).await?;
        for item in &page.items {
            take(item)?;
        }
        left = left.saturating_sub(page.items.len());
        cursor = page.next_cursor;
        if cursor.is_none() {
            return Ok(false);
        }
    }
    Ok(true)
}

async fn list(args: &ListArgs, client: &Client, out: &mut Output) -> anyhow::Result<Exit> {
    let mut query = args.which.query();
    query.extend(args.removed.then(|| ("removed", "true".to_owned())));
    let most = args.limit.unwrap_or(if args.json { usize::MAX } else { ROWS });
    let mut rows: Vec<Entry> = Vec::new();
    let more = each(&query, most, client, |item| {
        match args.json {
            true => out.line(item.get())?,
            false => rows.push(serde_json::from_str(item.get())?),
        }
        Ok(())
    })
    .await?;
    if args.json {
        return Ok(Exit::Done);
    }
    if rows.is_empty() {
        out.note("nothing matches")?;
        return Ok(Exit::Done);
    }
    let now = out.now();
    let last = if args.removed { "removed by" } else { "by" };
    let heads = ["address", "tenant", "reason", "since", last, "note"];
    let mut table = table::table(&heads, out.is_out_terminal());
    for entry in rows {
        let reason = match &entry.group {
            Some(group) => format!("{} (group {group})", entry.reason),
            None => entry.reason.to_string(),
        };
        let (by, note) = by(entry.removed.as_ref().unwrap_or(&entry.source));
        table.add_row([entry.email, entry.tenant, reason, relative(entry.created_at, now), by, note]);
    }
    out.line(table::render(&table))?;
    if more {
        out.line("… and more: --limit N or --json")?;
    }
    Ok(Exit::Done)
}

/// Who says so, and in which words.
fn by(source: &Source) -> (String, String) {
    match source {
        Source::Event { provider, notification, .. } => {
            (format!("{provider}'s event"), notification.map(|id| id.to_string()).unwrap_or_default())
        }
        Source::Operator { who, note, .. } => (who.clone(), note.clone().unwrap_or_default()),
    }
}

async fn add(args: &AddArgs, client: &Client, out: &mut Output) -> anyhow::Result<Exit> {
    let entry = |address: &String| {
        let mut entry = json!({"email": address, "reason": args.reason});
        for (name, text) in [("note", &args.note), ("tenant", &args.tenant)] {
            if let Some(text) = text {
                entry[name] = text.as_str().into();
            }
        }
        entry
    };
    let mut ended = Exit::Done;
    for some in args.addresses.chunks(PAGE) {
        let body = some.iter().map(entry).collect::<Vec<_>>().into();
        let answer: import::Answer = client.post("/v1/suppressions", &body).await?;
        for (address, result) in some.iter().zip(answer.results) {
            let told = match (&result.error, args.json) {
                (_, true) => result.json(None, address).to_string(),
                (Some(problem), false) => format!("{address}: {problem}"),
                (None, false) if result.added => format!("{address}: added ({})", args.reason),
                (None, false) => format!("{address}: stood there already ({})", args.reason),
            };
            out.line(told)?;
            if result.error.is_some() {
                ended = Exit::Failed;
            }
        }
    }
    Ok(ended)
}
